"""A recorded run as a robot: who decides as before finds what was before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnfactor.actions import Action
from gnfactor.envs.base import LiveScene, Policy
from gnfactor.errors import ConfigError, DataError, RobotError
from gnfactor.rollout import Episode, rollout
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.executors import EXECUTORS
from gnfactor.ros.journal import Commanded, Decided, Event, Judged, Looked, Progressed, Seen, Stated
from gnfactor.ros.link import GripCommand, PlanRequest, Progress, RobotLink
from gnfactor.ros.links.connect import connect
from gnfactor.ros.links.listening_link import ListeningLink
from gnfactor.ros.links.replay_link import ReplayLink
from gnfactor.ros.plan import Answer, Approve, Plan
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.scene import Observation
from tests.fake_robot import FakeRobot, robot_config
from tests.made_up_events import Maker, same
from tests.recorded_run import INSTRUCTION, Wanderer, record, robot_for, written


def replaying(config: RobotConfig, path: Path) -> RobotConfig:
    return replace(config, link=replace(config.link, type="replay", uri=str(path)))


def again(path: Path, config: RobotConfig, policy: Policy, steps: int = 3, approve: Approve | None = None) -> Episode:
    """One episode over a recording."""
    config = replaying(config, path)
    env = RobotEnv(ReplayLink(config), config, approve=approve)
    return rollout(env, policy, LiveScene(INSTRUCTION), steps, on_refusal="continue")


def assert_same_run(before: Wanderer, now: Wanderer) -> None:
    assert same(before.wanted, now.wanted)
    for a, b in zip(before.shown, now.shown, strict=True):
        assert abs(a.time_s - b.time_s) < 2e-3  # a look at a robot takes time
        assert same(a, replace(b, time_s=a.time_s))


@pytest.mark.parametrize("executor", sorted(EXECUTORS))
def test_the_same_policy_over_the_recording_sees_and_does_the_same(tmp_path: Path, executor: str) -> None:
    path, robot, before, now = tmp_path / "run.mcap", robot_for(executor, held_width_m=0.02), Wanderer(1), Wanderer(1)
    recorded = record(path, robot, before)
    assert again(path, robot.config, now) == recorded
    assert recorded.reason is not None
    assert "below the least height" in recorded.reason
    assert_same_run(before, now)


def test_what_happened_on_the_way_happens_again(tmp_path: Path) -> None:
    path, robot = tmp_path / "run.mcap", robot_for("moveit", plan_fails="no motion plan found")
    recorded = record(path, robot, Wanderer())
    assert recorded.reason is not None
    assert "no motion plan found" in recorded.reason
    assert again(path, robot.config, Wanderer()) == recorded


def agree(plan: Plan) -> Answer:
    return "go"


def slowly(robot: FakeRobot) -> Approve:
    """Somebody who thinks for a while."""

    def answer(plan: Plan) -> Answer:
        robot.wait(20.0)
        return "go"

    return answer


@pytest.mark.parametrize("recorded_asks", [False, True])
@pytest.mark.parametrize("now_asks", [False, True])
def test_whether_somebody_is_asked_makes_no_difference(tmp_path: Path, recorded_asks: bool, now_asks: bool) -> None:
    path, robot, before, now = tmp_path / "run.mcap", robot_for("trajectory"), Wanderer(1), Wanderer(1)
    recorded = record(path, robot, before, approve=slowly(robot) if recorded_asks else None)
    assert again(path, robot.config, now, approve=agree if now_asks else None) == recorded
    assert same(before.wanted, now.wanted)


def test_a_dry_run_over_a_recording_sees_every_moment_of_it(tmp_path: Path) -> None:
    path, robot, before, now = tmp_path / "run.mcap", robot_for("impedance"), Wanderer(1), Wanderer(1)
    record(path, robot, before)
    config = replaying(robot.config, path)
    env = RobotEnv(ListeningLink(ReplayLink(config)), config, approve=lambda _: "refuse")
    rollout(env, now, LiveScene(INSTRUCTION), 3, on_refusal="continue")
    assert_same_run(before, now)


class Contrary(Wanderer):
    """Wants to go up where the recorded one went down."""

    def act(self, observations: list[Observation], instructions: list[str]) -> list[Action]:
        (action,) = super().act(observations, instructions)
        pose = action.arms["right"].world_from_gripper
        pose[:3, 3] = observations[0].arms["right"].world_from_gripper[:3, 3] + (0.0, 0.0, 0.1)
        return [action]


@pytest.mark.parametrize("executor", sorted(EXECUTORS))
def test_the_recorded_arm_does_not_follow_who_decides_otherwise(tmp_path: Path, executor: str) -> None:
    path, robot = tmp_path / "run.mcap", robot_for(executor)
    record(path, robot, Wanderer(), steps=2)
    episode = again(path, robot.config, Contrary(), steps=1)
    assert episode.ending == "max_steps"
    assert episode.reason is not None
    assert episode.reason.startswith("stopped")


def test_after_its_end_a_recording_says_that_it_is_over(tmp_path: Path) -> None:
    path, robot, now = tmp_path / "run.mcap", robot_for("impedance"), Wanderer()
    record(path, robot, Wanderer(), steps=2)
    episode = again(path, robot.config, now, steps=5)
    assert (episode.ending, episode.steps) == ("crashed", 3)
    assert episode.reason == f"the recording is over: {path} has no more"
    assert len(now.shown) == 3


def test_a_recording_is_a_link(tmp_path: Path) -> None:
    path, robot = tmp_path / "run.mcap", robot_for("impedance")
    record(path, robot, Wanderer(), steps=1)
    link = connect(replaying(robot.config, path))
    assert isinstance(link, RobotLink)
    link.recover()
    link.close()
    link.close()


def test_what_cannot_be_replayed_is_said_in_a_line(tmp_path: Path) -> None:
    robot = robot_for("impedance")
    with pytest.raises(ConfigError, match=r"link.uri is null; name the log"):
        ReplayLink(robot.config)
    written(tmp_path / "empty.mcap", [])
    with pytest.raises(DataError, match="holds no event"):
        ReplayLink(replaying(robot.config, tmp_path / "empty.mcap"))
    written(tmp_path / "blind.mcap", [], "log.images=false")
    with pytest.raises(DataError, match="has no pictures"):
        ReplayLink(replaying(robot.config, tmp_path / "blind.mcap"))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        ReplayLink(replaying(robot_config(), tmp_path / "absent.mcap"))


def test_a_recording_that_broke_off_at_once_has_neither_pictures_nor_a_state(tmp_path: Path) -> None:
    robot = robot_for("impedance", alter_state=_lost)
    record(tmp_path / "run.mcap", robot, Wanderer())
    link = ReplayLink(replaying(robot.config, tmp_path / "run.mcap"))
    with pytest.raises(RobotError, match="holds no state"):
        link.state()
    with pytest.raises(RobotError, match="the recording is over"):
        link.observe(0.5)


def _lost(_: object) -> object:
    raise RobotError("the bridge is gone")


def test_a_command_finds_the_time_and_the_answers_of_the_recorded_one(tmp_path: Path) -> None:
    maker, grip = Maker(0, []), GripCommand(4, 99.0, 0.0, 0.05, 20.0, True, 0.08)
    seen, stated = Seen(replace(maker.observation(), views={"front": maker.view()})), Stated(maker.state())
    events: list[Event] = [stated, seen, Decided(Action({})), Looked({"front": 4.0}), stated, Judged(None)]
    events += [Commanded(grip, "start_grip"), Progressed(Progress(4, "running")), Progressed(Progress(4, "done"))]
    events += [Commanded(None, "hold"), seen]
    written(tmp_path / "run.mcap", events)  # a second for each, and one for the head
    link = ReplayLink(replaying(robot_config(), tmp_path / "run.mcap"))
    assert link.now_s() == 2.0
    link.observe(0.5)
    assert link.now_s() == 3.0
    assert link.observe(0.5)["front"].stamp_s == 4.0
    assert link.now_s() == 5.0
    link.start_grip(replace(grip, sequence=9))
    assert link.now_s() == 8.0
    assert link.progress() == Progress(9, "running")
    link.wait(2.0)
    assert link.progress() == Progress(9, "done")
    link.start_plan(PlanRequest(10, 99.0, np.eye(4), True, 0.1))
    assert link.progress() == Progress(10, "failed", "the recorded robot was not told so")
    link.hold()
    link.observe(0.5)
    assert link.now_s() == 12.0
