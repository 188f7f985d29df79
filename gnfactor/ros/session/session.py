"""One run over a link: the operator before every motion, the journal beside it, a hold at its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gnfactor.agent import DeviceName
from gnfactor.envs.base import LiveScene, Policy
from gnfactor.errors import ConfigError
from gnfactor.rollout import Episode, describe, rollout
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.journal import Ended, Event, Failed, Journal
from gnfactor.ros.link import RobotLink
from gnfactor.ros.links.listening_link import ListeningLink
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.ros.session.interruption import uninterrupted
from gnfactor.ros.session.operator import Ask, Confirm, Operator, Say


@dataclass(frozen=True)
class Order:
    """What is to be run, and how."""

    checkpoint: Path
    """Folder of a checkpoint or of a run."""
    instruction: str
    robot: RobotConfig
    folder: Path
    """For the log and the pictures."""
    confirm: Confirm = "each"
    dry_run: bool = False
    """Nothing is sent."""
    max_steps: int = 25
    """Actions after which the run is over, refused ones included."""
    device: DeviceName = "auto"
    accept_calibration: str | None = None
    """Who answers for cameras whose calibration was not checked."""

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ConfigError("the instruction is empty; say what the robot is to do, in quotes")
        if self.max_steps < 1:
            raise ConfigError(f"--max-steps is {self.max_steps}; at least 1 is expected")


@dataclass(frozen=True)
class Terminal:
    """How the operator is spoken to."""

    say: Say
    ask: Ask


class Narrated:
    """A journal whose owner is also told, in a line, what came of each action; the operator learns it, too."""

    def __init__(self, journal: Journal, say: Say, learn: Callable[[Ended], None]) -> None:
        self._journal, self._say, self._learn = journal, say, learn

    def note(self, event: Event) -> None:
        """Keep it; say what came of an action."""
        self._journal.note(event)
        if isinstance(event, Ended):
            self._learn(event)
        if isinstance(event, Ended) and event.ended is None:
            words = {"not done": event.refused, "stopped on the way": event.blocked}
            said = [f"{title}: {reason}" for title, reason in words.items() if reason is not None]
            self._say(f"  {said[0] if said else 'arrived'}")


def act(
    link: RobotLink,
    policy: Policy,
    image_size: tuple[int, int],
    order: Order,
    terminal: Terminal,
    journal: Journal,
) -> Episode:
    """One run over a link; whatever ends it, the robot has been told to hold and the link is closed.

    Args:
        link: to the robot; in a dry run it is only listened to.
        policy: who decides.
        image_size: width and height of the policy's pictures.
        order: how to run.
        terminal: the operator's.
        journal: of the run.
    """
    operator = Operator(order.robot, order.folder, terminal.say, terminal.ask, journal, order.confirm, order.dry_run)
    told = Narrated(journal, terminal.say, operator.learn)
    used = ListeningLink(link) if order.dry_run else link
    try:
        env = RobotEnv(used, order.robot, image_size, operator.approve, told)
        episode = rollout(env, policy, LiveScene(order.instruction), order.max_steps, on_refusal="continue")
    except KeyboardInterrupt:
        journal.note(Failed("interrupted by Ctrl-C, or by a signal to end"))
        raise
    except Exception as error:
        journal.note(Failed(describe(error)))
        raise
    else:
        if episode.ending == "crashed":
            journal.note(Failed(episode.reason or "unknown"))
        return episode
    finally:
        leave(used, terminal.say)


def leave(link: RobotLink, say: Say) -> None:
    """Hold and let go; that the hold could not be sent is said, since the operator has to act then."""
    with uninterrupted():
        try:
            link.hold()
        except Exception as error:  # whatever it is, the operator has to know
            say(f"THE ROBOT COULD NOT BE TOLD TO HOLD: {describe(error)}; keep a hand at its stop")
        with suppress(Exception):  # a connection that is gone already, of which has been spoken
            link.close()
