"""Runs on a robot of pure kinematics, recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import LiveScene, Policy
from gnfactor.rollout import Episode, rollout
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.journal import Event
from gnfactor.ros.links.journalled_link import JournalledLink
from gnfactor.ros.log.header import RunHeader
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.log.writer import RunLog
from gnfactor.ros.plan import Approve
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.scene import ARM, Observation
from tests.fake_robot import FakeRobot, robot_config

INSTRUCTION = "press the button"
STARTED = "2026-11-21T12:00:00+00:00"


class Wanderer:
    """Goes where the last bits of what it sees send it, and remembers what it was shown and what it wanted."""

    def __init__(self, refuse_at: int | None = None) -> None:
        self.shown: list[Observation] = []
        self.wanted: list[Action] = []
        self._refuse_at = refuse_at

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        (observation,) = observations
        arm = observation.arms[ARM]
        salt = sum(float(view.depth_m.sum()) for view in observation.views.values()) + arm.joint_positions.sum()
        pose = arm.world_from_gripper.copy()
        pose[:3, 3] += 0.04 * np.array([np.sin(1e3 * salt), np.cos(1e3 * salt), -0.5])
        if observation.step == self._refuse_at:
            pose[2, 3] = 0.5
        action = Action({ARM: ArmTarget(pose, observation.step % 2 == 0, ignore_collisions=True)})
        self.shown.append(observation)
        self.wanted.append(action)
        return [action]

    def reset(self, index: int) -> None:
        pass


def header(*overrides: str, **changes: Any) -> RunHeader:
    """Of a run on a robot with these settings."""
    return header_of(robot_config(*overrides), **changes)


def header_of(config: RobotConfig, **changes: Any) -> RunHeader:
    plain = {"instruction": INSTRUCTION, "confirm": "never", "started": STARTED}
    return RunHeader(config=config, **(plain | changes))


def seconds() -> Callable[[], float]:
    """A clock that is a second later whenever it is asked, so that every state is kept."""
    ticks = count(1)
    return lambda: float(next(ticks))


def written(path: Path, noted: list[Event], *overrides: str) -> list[Event]:
    with RunLog(path, header(*overrides), seconds()) as log:
        for event in noted:
            log.note(event)
    recording = Recording(path)
    assert recording.whole
    return [one.event for one in recording.events()]


def record(
    path: Path,
    robot: FakeRobot,
    policy: Policy,
    steps: int = 3,
    approve: Approve | None = None,
    image_size: tuple[int, int] | None = None,
    **changes: Any,
) -> Episode:
    """One episode over a journalled link, its log closed."""
    with RunLog(path, header_of(robot.config, **changes), robot.now_s) as log:
        env = RobotEnv(JournalledLink(robot, log), robot.config, image_size, approve, log)
        episode = rollout(env, policy, LiveScene(INSTRUCTION), steps, on_refusal="continue")
        env.close()
    return episode


def robot_for(executor: str, *overrides: str, **faults: Any) -> FakeRobot:
    return FakeRobot(robot_config(f"executor.name={executor}", *overrides), **faults)
