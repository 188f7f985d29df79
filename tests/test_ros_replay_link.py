"""A recorded run as a robot: who decides as before finds what was before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gnfactor.envs.base import LiveScene
from gnfactor.rollout import rollout
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.executors import EXECUTORS
from gnfactor.ros.replay_link import ReplayLink
from gnfactor.ros.robot_env import RobotEnv
from tests.made_up_events import same
from tests.recorded_run import INSTRUCTION, Wanderer, record, robot_for


def replaying(config: RobotConfig, path: Path) -> RobotConfig:
    return replace(config, link=replace(config.link, type="replay", uri=str(path)))


@pytest.mark.parametrize("executor", sorted(EXECUTORS))
def test_the_same_policy_over_the_recording_sees_and_does_the_same(tmp_path: Path, executor: str) -> None:
    path, robot, before, again = tmp_path / "run.mcap", robot_for(executor, held_width_m=0.02), Wanderer(1), Wanderer(1)
    recorded = record(path, robot, before)
    config = replaying(robot.config, path)
    env = RobotEnv(ReplayLink(config), config)
    repeated = rollout(env, again, LiveScene(INSTRUCTION), 3, on_refusal="continue")
    assert repeated == recorded
    for a, b in zip(before.shown, again.shown, strict=True):
        assert abs(a.time_s - b.time_s) < 2e-3  # a look at a robot takes time
        assert same(a, replace(b, time_s=a.time_s))
    assert all(same(a, b) for a, b in zip(before.wanted, again.wanted, strict=True))
