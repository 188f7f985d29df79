"""Record demonstrations on a real robot: a person guides the arm by hand from keyframe to keyframe.

    python -m data.record STORE --config ROBOT.yaml --task NAME --variation K --instruction "put the item in the drawer"

The first look is taken where the arm stands. Then, with the arm guided to where an action would have ended:

    Enter    keep a keyframe: waits until the arm has stood still for a second, then looks
    x        the same, for a motion that means to touch something on its way (it ignores collisions)
    o, c     open or close the fingers, after a question; keep the keyframe afterwards
    u        forget the last keyframe
    d        done: the demonstration goes into the store, whole
    q        forget all of it

The arm must be in a mode in which it lets itself be guided. Nothing but the fingers is ever told to move; when they
have moved, the robot is told to hold where it is measured to be, as after every command, so that the watchdog need not.
Pictures that the guard would refuse before a motion are refused here, too. The store is one that train.py reads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import cast

from rich.console import Console

from data.store import Store, check_name, episode_name
from gnfactor.command import Parser, run
from gnfactor.demonstration import Demonstration
from gnfactor.errors import ConfigError, DataError, RobotError
from gnfactor.files import try_writing_in
from gnfactor.kinematics import between
from gnfactor.rollout import describe
from gnfactor.ros.calibration.looking import Look, look_when_still
from gnfactor.ros.calibration.records import require_calibration, require_unmoved
from gnfactor.ros.commands import grip_command, is_open
from gnfactor.ros.config import RobotConfig, load
from gnfactor.ros.link import RobotLink
from gnfactor.ros.links.connect import connect
from gnfactor.ros.observing import observation_from
from gnfactor.ros.safety import SafetyGuard
from gnfactor.ros.session.interruption import signals_interrupt, uninterrupted
from gnfactor.ros.session.operator import Ask, Say, typed
from gnfactor.scene import ARM, Observation

RENDERER = "camera"
"""What a demonstration says that made its pictures."""
DISCARDED = 1
"""Exit status where nothing was kept."""
_KEYS = "Enter: keyframe, x: keyframe reached in contact, o/c: open/close the fingers, u: undo, d: done, q: discard"


@dataclass(frozen=True)
class Wanted:
    """What is recorded, and where it goes.

    Raises:
        ConfigError: the variation, an instruction or the size of the pictures makes no sense.
        DataError: the task's name cannot be a folder's.
    """

    store: Path
    robot: RobotConfig
    task: str
    variation: int
    instructions: tuple[str, ...]
    image_size: tuple[int, int]
    """Width and height of the pictures in the store."""

    def __post_init__(self) -> None:
        if self.variation < 0:
            raise ConfigError(f"--variation is {self.variation}; a number from 0 on is expected")
        check_name(episode_name(self.task, self.variation, "episode0"))
        if not all(text.strip() for text in self.instructions):
            raise ConfigError("--instruction: a text is empty; say what is done, in quotes")
        if min(self.image_size) < 1:
            raise ConfigError(f"--image-size is {self.image_size[0]}; a number above 0 is expected")

    @property
    def made_with(self) -> dict[str, str]:
        """What the demonstrations of one store have to have in common."""
        return {
            "renderer": RENDERER,
            "keyframe rule": "by hand",
            "cameras": ",".join(self.robot.cameras),
            "pictures": f"{self.image_size[0]}x{self.image_size[1]}",
            "robot": self.robot.arm.name,
        }


@dataclass(frozen=True, eq=False)
class Moment:
    """The start of a demonstration, or a keyframe."""

    observation: Observation
    ignores_collisions: bool
    """Of the motion that led there."""


class Recorder:
    """One demonstration in the making; the guard says which pictures can be used."""

    def __init__(self, link: RobotLink, wanted: Wanted, say: Say, ask: Ask) -> None:
        self._link, self._wanted, self._say, self._ask = link, wanted, say, ask
        self._guard = SafetyGuard(wanted.robot)
        self._began_s = link.now_s()
        self._sequence = count(1)
        self.moments: list[Moment] = []

    def record(self) -> Demonstration | None:
        """Take keys until the demonstration is done; None where it is not to be kept.

        Raises:
            RobotError: the robot cannot be reached any more.
            ObservationError: a camera's picture is smaller than wanted.
        """
        while not self.moments:
            self._say("the start of the demonstration: the scene is ready, the arm where it is to begin")
            key = self._ask("Enter: look, q: discard > ").strip().lower()
            if key == "q":
                return None
            if key == "":
                self._keep(ignores_collisions=False)
        while True:
            key = self._ask(f"{len(self.moments) - 1} keyframes. {_KEYS} > ").strip().lower()
            if key == "q":
                return None
            if key == "d" and len(self.moments) > 1:
                return self._demonstration()
            self._do(key)

    def _do(self, key: str) -> None:
        if key in ("", "x"):
            self._keep(ignores_collisions=key == "x")
        elif key in ("o", "c"):
            self._grip(gripper_open=key == "o")
        elif key == "u" and len(self.moments) > 1:
            self.moments.pop()
            self._say("  forgotten; bring the scene back to how it was then, too")
        elif key in ("u", "d"):
            self._say("  there is no keyframe yet")
        else:
            self._say(f"  '{key}' is none of the keys")

    def _keep(self, *, ignores_collisions: bool) -> None:
        """Look when the arm stands still, and keep what is seen if it can be used."""
        robot = self._wanted.robot
        look = look_when_still(self._link, robot)
        complaint = look if isinstance(look, str) else self._complaint(look)
        if isinstance(look, str) or complaint is not None:
            self._say(f"  not kept: {complaint}")
            return
        time_s = self._link.now_s() - self._began_s
        size = self._wanted.image_size
        observation = observation_from(look.views, look.state, len(self.moments), time_s, robot, size)
        self.moments.append(Moment(observation, ignores_collisions))
        place = ", ".join(f"{value:.3f}" for value in look.world_from_gripper[:3, 3])
        fingers = "open" if is_open(look.state, robot) else f"{look.state.width_m * 1000:.0f} mm apart"
        what = f"keyframe {len(self.moments) - 1}" if len(self.moments) > 1 else "the start"
        contact = ", reached in contact" if ignores_collisions else ""
        self._say(f"  kept {what}: the gripper at ({place}) m, fingers {fingers}{contact}")

    def _complaint(self, look: Look) -> str | None:
        """Why a look cannot be a keyframe, or None."""
        verdict = self._guard.check_views(look.views, self._link.now_s())
        if verdict.reason is not None or not self.moments:
            return verdict.reason
        robot, before = self._wanted.robot, self.moments[-1].observation.arms[ARM]
        distance_m, turn_rad = between(before.world_from_gripper, look.world_from_gripper)
        moved = distance_m > robot.executor.arrived_m or turn_rad > robot.executor.arrived_rad
        if moved or before.gripper_open != is_open(look.state, robot):
            return None
        return f"arm and fingers are where they were ({distance_m * 1000:.0f} mm away), which is no action"

    def _grip(self, *, gripper_open: bool) -> None:
        """Move the fingers if the person agrees; what goes wrong is said, and the recording goes on."""
        verb = "open" if gripper_open else "close"
        if self._ask(f"  the fingers will {verb}: hands off them; y: do it > ").strip().lower() != "y":
            self._say("  the fingers stay as they are")
            return
        try:
            complaint = self._gripped(gripper_open)
        except RobotError as error:
            complaint = str(error)
        finally:
            self._hold()
        width_mm = self._link.state().width_m * 1000
        self._say(f"  not done: {complaint}" if complaint else f"  the fingers are {width_mm:.0f} mm apart")

    def _gripped(self, gripper_open: bool) -> str | None:
        robot = self._wanted.robot
        self._link.hold()  # the watchdog lets nobody move before
        command = grip_command(robot, gripper_open, next(self._sequence), self._link.now_s())
        self._link.start_grip(command)
        while (progress := self._link.progress()).status == "running":
            if self._link.now_s() > command.expires_s:
                return f"the fingers did not end within {robot.executor.gripper.timeout_s} s"
            self._link.wait(1 / robot.executor.rate_hz)
        return None if progress.status == "done" else f"the robot reports: {progress.message or 'failed'}"

    def _hold(self) -> None:
        """The command is over: nobody need watch over it any more."""
        try:
            self._link.hold()
        except RobotError as error:
            self._say(f"  the robot could not be told to hold: {error}")

    def _demonstration(self) -> Demonstration:
        return Demonstration(
            task=self._wanted.task,
            variation=self._wanted.variation,
            seed=None,
            instructions=self._wanted.instructions,
            renderer=RENDERER,
            observations=tuple(moment.observation for moment in self.moments),
            ignore_collisions=tuple(moment.ignores_collisions for moment in self.moments),
            keyframes=tuple(range(1, len(self.moments))),
        )


def place_for(wanted: Wanted) -> tuple[Store, str]:
    """The store, made if there is none, and the first name in it that is free.

    Raises:
        DataError: the store cannot be written, or was made with other settings.
    """
    store = Store.create(wanted.store)
    store.refuse_others_than(wanted.made_with)
    names = (episode_name(wanted.task, wanted.variation, f"episode{number}") for number in count())
    return store, next(name for name in names if name not in store)


def check_place(wanted: Wanted) -> None:
    """Refuse a store that cannot take the demonstration; one that is not there is not made yet.

    Raises:
        DataError: the store cannot be written, or was made with other settings.
    """
    try:
        if wanted.store.is_dir() and any(wanted.store.iterdir()):
            place_for(wanted)
        else:
            try_writing_in(wanted.store)
    except OSError as error:
        raise DataError(
            f"cannot make a store in {wanted.store}: {error.strerror}; name a folder that can be written to"
        ) from error


def keep(demonstration: Demonstration, wanted: Wanted) -> str:
    """Write a demonstration into the store under the first free number, and return its name there.

    Raises:
        DataError: the store cannot be written, or was made with other settings.
    """
    store, name = place_for(wanted)
    store.write(demonstration, name, wanted.made_with)
    store.finish()
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; status 0: kept, 1: discarded, 2: wrong use or no robot, 130: interrupted (nothing is kept)."""

    def command(console: Console) -> int:
        def say(line: str) -> None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        wanted, accept = _parse(arguments)
        responsible = require_calibration(wanted.robot, accept)
        check_place(wanted)  # what is wrong with it is said before an hour of work
        with signals_interrupt():
            link = connect(wanted.robot)
            try:
                responsible = require_unmoved(link, wanted.robot, accept) or responsible
                if responsible is not None:
                    say(f"note: {responsible} answers for a calibration that was not checked")
                demonstration = Recorder(link, wanted, say, typed).record()
            finally:
                _leave(link, say)
        if demonstration is None:
            say("discarded: the store is as it was")
            return DISCARDED
        say(f"kept {keep(demonstration, wanted)} with {len(demonstration.keyframes)} keyframes in {wanted.store}")
        return 0

    return run(command, "interrupted: the store is as it was")


def _leave(link: RobotLink, say: Say) -> None:
    """Let go, which ends in a hold; a demonstration that is done is kept although the robot is gone."""
    with uninterrupted():
        try:
            link.close()
        except Exception as error:  # whatever it is, the demonstration is worth more
            say(f"note: {describe(error)}")


def _parse(arguments: Sequence[str] | None) -> tuple[Wanted, str | None]:
    parser = Parser(prog="python -m data.record", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path, help="folder of the store; made, or continued if it is there")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that differ from the file's")
    parser.add_argument(
        "--config", action="append", required=True, metavar="ROBOT.yaml", help="the robot and its cell; repeatable"
    )
    parser.add_argument("--task", required=True, help="name; letters, digits and underscores")
    parser.add_argument("--variation", type=int, default=0, help="which kind of the task; 0 if it is not given")
    parser.add_argument("--instruction", action="append", required=True, help="what is done; again for other words")
    parser.add_argument("--image-size", type=int, default=128, help="width and height of the stored pictures")
    parser.add_argument("--accept-calibration", metavar="NAME", help="who answers for a calibration not checked")
    given = parser.parse_intermixed_args(arguments)
    size = cast("int", given.image_size)
    wanted = Wanted(
        store=cast("Path", given.store),
        robot=load([*cast("list[str]", given.config), *cast("list[str]", given.settings)]),
        task=str(given.task),
        variation=cast("int", given.variation),
        instructions=tuple(cast("list[str]", given.instruction)),
        image_size=(size, size),
    )
    return wanted, cast("str | None", given.accept_calibration)


if __name__ == "__main__":
    sys.exit(main())
