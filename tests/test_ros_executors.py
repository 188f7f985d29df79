from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import LiveScene
from gnfactor.envs.check import check_env
from gnfactor.errors import RobotError
from gnfactor.kinematics import between
from gnfactor.ros.executors import EXECUTORS, Executor, Outcome
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, RobotMode
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.ros.safety import SafetyGuard
from gnfactor.scene import ARM
from tests.fake_robot import FakeRobot, robot_config

NAMES = sorted(EXECUTORS)


def robot_for(name: str, *overrides: str, **faults: object) -> FakeRobot:
    return FakeRobot(robot_config(f"executor.name={name}", *overrides), **faults)  # type: ignore[arg-type]


def go(robot: FakeRobot, z: float = -0.1, gripper_open: bool = True, ignore_collisions: bool = False) -> Outcome:
    pose = robot.pose
    pose[2, 3] += z
    action = Action({ARM: ArmTarget(pose, gripper_open, ignore_collisions)})
    return Executor(robot, SafetyGuard(robot.config), robot.config).execute(action)


@pytest.mark.parametrize("name", NAMES)
def test_every_executor_arrives_and_holds(name: str) -> None:
    robot = robot_for(name)
    goal = robot.pose
    goal[2, 3] -= 0.1
    assert go(robot) == Outcome()
    assert robot.holding
    assert between(robot.pose, goal)[0] < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_commands_count_up_and_expire_later_than_they_are_sent(name: str) -> None:
    robot = robot_for(name, held_width_m=0.05)
    assert go(robot, gripper_open=False) == Outcome()
    commands = [command for command in robot.record if command != "hold"]
    assert [command.sequence for command in commands] == list(range(1, len(commands) + 1))
    assert all(command.expires_s > 100 for command in commands)


def test_a_stream_is_never_faster_than_configured() -> None:
    robot = robot_for("impedance")
    assert go(robot, z=-0.3) == Outcome()
    pace, poses = robot.config.executor, [c.base_from_gripper for c in robot.record if isinstance(c, PoseTarget)]
    steps = np.array([between(a, b) for a, b in pairwise(poses)])
    assert steps[:, 0].max() * pace.rate_hz <= pace.speed_m_s * 1.001
    assert steps[:, 0].max() * pace.rate_hz >= pace.speed_m_s * 0.95


def test_a_trajectory_is_never_faster_than_configured() -> None:
    robot = robot_for("trajectory")
    assert go(robot, z=-0.3) == Outcome()
    (way,) = (command for command in robot.record if isinstance(command, JointTrajectory))
    speeds = np.diff(way.positions, axis=0) / np.diff(way.times_s)[:, None]
    assert np.abs(speeds).max() <= robot.config.executor.joint_speed_rad_s * 1.01
    np.testing.assert_array_equal(way.velocities[-1], 0)


@pytest.mark.parametrize("ignore_collisions", [False, True])
def test_the_policys_word_on_collisions_reaches_the_planner(ignore_collisions: bool) -> None:
    robot = robot_for("moveit")
    assert go(robot, ignore_collisions=ignore_collisions) == Outcome()
    (request,) = (command for command in robot.record if isinstance(command, PlanRequest))
    assert request.avoid_collisions is not ignore_collisions


def fail_after(count: int, **changes: object) -> object:
    """Sets attributes of the robot when its state is read for the so-manieth time."""
    left = [count]

    def on_state(robot: FakeRobot) -> None:
        left[0] -= 1
        if left[0] == 0:
            for name, value in changes.items():
                setattr(robot, name, value)

    return on_state


FAULTS = {
    "a reflex": ({"mode": RobotMode.REFLEX}, "mode is REFLEX"),
    "a user stop": ({"mode": RobotMode.USER_STOPPED}, "release the stop"),
    "a state that stays the same": ({"frozen": True}, "s old; at most 0.2 s"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_the_way_ends_in_a_hold_where_the_arm_is(name: str, fault: str) -> None:
    changes, answer = FAULTS[fault]
    robot = robot_for(name, on_state=fail_after(6, **changes))
    outcome = go(robot, z=-0.3)
    assert outcome.blocked is not None
    assert answer in outcome.blocked
    assert robot.holding
    assert robot.record.count("hold") == 1


def test_an_arm_that_does_not_follow_is_stopped_before_its_target_runs_away() -> None:
    robot = robot_for("impedance", follows=False)
    outcome = go(robot, z=-0.3)
    assert outcome.blocked is not None
    assert "behind its target; at most 80 mm" in outcome.blocked
    farthest = max(between(c.base_from_gripper, robot.record[0].base_from_gripper)[0] for c in robot.record[:-1])  # type: ignore[attr-defined]
    assert farthest < robot.config.executor.max_lag_m + robot.config.executor.speed_m_s / 30
    assert robot.holding


@pytest.mark.parametrize("name", ["trajectory", "moveit"])
def test_a_motion_that_never_ends_is_ended(name: str) -> None:
    robot = robot_for(name, follows=False)
    outcome = go(robot)
    assert outcome.blocked is not None
    assert "not done in time" in outcome.blocked
    assert robot.holding


def test_a_plan_that_fails_says_why() -> None:
    robot = robot_for("moveit", plan_fails="no motion plan found")
    outcome = go(robot)
    assert outcome.blocked is not None
    assert "no motion plan found" in outcome.blocked
    assert robot.holding


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("raised", [RobotError("the bridge is gone"), KeyboardInterrupt()])
def test_an_exception_on_the_way_goes_on_and_leaves_a_hold(name: str, raised: BaseException) -> None:
    left = [5]

    def on_state(robot: FakeRobot) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise raised

    robot = robot_for(name, on_state=on_state)
    with pytest.raises(type(raised)):
        go(robot, z=-0.3)
    assert robot.holding


def test_a_grasp_is_wide_and_its_failure_is_said() -> None:
    holding, empty = robot_for("impedance", held_width_m=0.05), robot_for("impedance")
    assert go(holding, gripper_open=False) == Outcome()
    (command,) = (command for command in holding.record if isinstance(command, GripCommand))
    assert command.grasp
    assert command.tolerance_m >= 0.08
    outcome = go(empty, gripper_open=False)
    assert outcome.blocked is not None
    assert "they hold nothing" in outcome.blocked


@pytest.mark.parametrize("name", NAMES)
def test_a_robot_keeps_every_promise_of_an_environment(name: str) -> None:
    config = robot_config(f"executor.name={name}")
    verdicts = check_env(lambda: RobotEnv(FakeRobot(config), config), LiveScene("press the button"))
    assert not [str(verdict) for verdict in verdicts if verdict.passed is False]


def test_stale_pictures_are_a_refusal_and_the_robot_holds() -> None:
    robot = robot_for("impedance", alter_view=lambda view: replace(view, stamp_s=view.stamp_s - 1))
    outcome = go(robot)
    assert outcome.refused is not None
    assert robot.record == ["hold"]


def test_a_hold_that_fails_does_not_hide_what_it_was_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    robot = robot_for("impedance")

    def unheld() -> None:
        raise RobotError("the watchdog does not know the measured pose")

    monkeypatch.setattr(robot, "hold", unheld)
    with pytest.raises(RobotError, match=r"^the gripper at the target .*; then: the watchdog does not know"):
        go(robot, z=0.6)
    with pytest.raises(RobotError, match=r"^the watchdog does not know"):
        go(robot)
