"""A checkpoint on a robot: everything that must be so before anything moves, then the run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gnfactor.agent import Agent, device_named
from gnfactor.checkpoint import LoadedPolicy, load_policy
from gnfactor.errors import ConfigError
from gnfactor.files import try_writing_in
from gnfactor.rollout import Episode
from gnfactor.ros.calibration.records import require_calibration, require_unmoved
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotLink
from gnfactor.ros.links.connect import connect
from gnfactor.ros.links.journalled_link import JournalledLink
from gnfactor.ros.log.header import RunHeader, weights_sha256
from gnfactor.ros.log.writer import RunLog
from gnfactor.ros.session.interruption import signals_interrupt
from gnfactor.ros.session.operator import Say
from gnfactor.ros.session.session import Order, Terminal, act

LOG = "run.mcap"
_SHOWN = 5
"""Instructions that are named."""


def check_fit(agent: Agent, robot: RobotConfig) -> None:
    """A policy must have the cameras that it was trained with.

    Raises:
        ConfigError: names those that the robot has not, or says that the policy cannot act at all.
    """
    if agent.policy.head is None:
        raise ConfigError("this policy has no action head (policy.head=null): it was trained as a field alone")
    missing = [name for name in agent.cameras if name not in robot.cameras]
    if missing:
        raise ConfigError(
            f"the policy looks through the cameras {list(agent.cameras)}, and the robot's configuration has "
            f"{sorted(robot.cameras)}: {missing} missing; name the robot's cameras so, or train with those that it has"
        )


def deploy(order: Order, terminal: Terminal, link_to: Callable[[RobotConfig], RobotLink] = connect) -> Episode:
    """Check all that can be checked without the robot, connect, run, hold.

    Args:
        order: what to run.
        terminal: the operator's.
        link_to: makes the link.

    Raises:
        GNFactorError: the checkpoint, the configuration and the robot do not fit, or the robot cannot be reached.
    """
    require_room(order.folder)
    loaded = load_policy(order.checkpoint)
    agent = Agent(loaded.policy, device_named(order.device))
    check_fit(agent, order.robot)
    agent.policy.instructions.lookup([order.instruction])  # a text that cannot be encoded is found out at once
    _introduce(loaded, order, terminal.say)
    robot, accept = order.robot, order.accept_calibration
    responsible = _unless_dry(order, terminal.say, lambda: require_calibration(robot, accept))
    with signals_interrupt():
        link = link_to(robot)
        try:
            moved = _unless_dry(
                order, terminal.say, lambda: require_unmoved(link, order.robot, order.accept_calibration)
            )
            header = RunHeader(
                config=robot,
                instruction=order.instruction,
                confirm=order.confirm,
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                dry_run=order.dry_run,
                checkpoint=str(loaded.path),
                weights_sha256=weights_sha256(loaded.path),
                calibration=responsible or moved,
            )
            with RunLog(order.folder / LOG, header, link.now_s) as log:
                return act(JournalledLink(link, log), agent, agent.image_size, order, terminal, log)
        finally:
            link.close()


def require_room(folder: Path) -> None:
    """Refuse a folder in which no log can be begun, before anything is connected; nothing is left there.

    Raises:
        ConfigError: it holds the log of another run, or nothing can be written there.
    """
    try:
        taken = (folder / LOG).exists()
        if not taken:
            try_writing_in(folder)
    except OSError as error:
        raise ConfigError(
            f"no log can be written in {folder}: {error.strerror}; name another folder with --out or log.folder"
        ) from error
    if taken:
        raise ConfigError(f"{folder / LOG} is the log of another run; name another folder with --out")


def new_folder(parent: Path, now: datetime) -> Path:
    """A folder in `parent` called by the time, which is not there yet."""
    name = now.strftime("%Y-%m-%dT%H-%M-%S")
    paths = (parent / f"{name}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    return next(path for path in paths if not path.exists())


def _introduce(loaded: LoadedPolicy, order: Order, say: Say) -> None:
    """What is about to run, in a few lines."""
    robot = order.robot
    say(f"policy: {loaded.path}, {loaded.info.step} steps, sees {', '.join(loaded.config.policy.cameras)}")
    say(f"robot: {robot.arm.name} by {robot.link.type}, moved by {robot.executor.name}; in {order.folder}")
    say(f"told: {order.instruction}")
    if order.instruction not in loaded.info.instructions:
        known = "; ".join(loaded.info.instructions[:_SHOWN]) or "none"
        more = len(loaded.info.instructions) - _SHOWN
        say(
            f"note: it was not trained with this instruction; it knows {known}{f' and {more} more' if more > 0 else ''}"
        )


def _unless_dry(order: Order, say: Say, require: Callable[[], str | None]) -> str | None:
    """What a requirement gives; where nothing moves, one that is not met is said and does not end the run."""
    try:
        return require()
    except ConfigError as error:
        if not order.dry_run:
            raise
        say(f"note: {error}")
        return None
