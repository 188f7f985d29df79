"""What is said and drawn of an action before it is done is what is done."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.kinematics import rotation_of
from gnfactor.ros.executors import Executor
from gnfactor.ros.link import JointTrajectory, PlanRequest, PoseTarget
from gnfactor.ros.plan import Answer, Plan, change_complaint, changes_nothing
from gnfactor.ros.safety import SafetyGuard, Verdict
from gnfactor.ros.session.forecast import Forecast, forecast, in_base
from gnfactor.ros.session.preview import draw_plan, step_lines
from gnfactor.scene import ARM
from tests.fake_robot import FakeRobot, robot_config

GREEN, RED = (60, 220, 90), (235, 60, 50)


def planned(robot: FakeRobot, action: Action, answer: Answer = "go") -> Plan:
    """What the operator is shown of an action, which is then carried out if he says so."""
    shown: list[Plan] = []

    def approve(plan: Plan) -> Answer:
        shown.append(plan)
        return answer

    Executor(robot, SafetyGuard(robot.config), robot.config, approve).execute(action)
    return shown[0]


def action_to(
    robot: FakeRobot,
    step: tuple[float, float, float],
    turn: tuple[float, float, float] = (0, 0, 0),
    is_open: bool = True,
) -> Action:
    pose = robot.pose
    pose[:3, :3] = rotation_of(np.array(turn, dtype=np.float64)) @ pose[:3, :3]
    pose[:3, 3] += step
    return Action({ARM: ArmTarget(pose, is_open, ignore_collisions=False)})


near = st.floats(-0.08, 0.08)


@settings(max_examples=12)
@given(st.tuples(near, near, near), st.tuples(near, near, near), st.sampled_from(["impedance", "trajectory", "moveit"]))
def test_what_is_foretold_is_what_is_sent(
    step: tuple[float, float, float], turn: tuple[float, float, float], name: str
) -> None:
    robot = FakeRobot(robot_config(f"executor.name={name}"))
    plan = planned(robot, action_to(robot, step, turn))
    expected = forecast(plan, robot.config)
    text = "\n".join(expected.lines)
    assert plan.verdict.ok
    assert expected.trips is None
    sent = [command for command in robot.record if isinstance(command, (PoseTarget, JointTrajectory, PlanRequest))]
    first, last = sent[0], sent[-1]
    if isinstance(last, PoseTarget) and isinstance(first, PoseTarget):
        distinct = {target.base_from_gripper.tobytes() for target in sent if isinstance(target, PoseTarget)}
        assert text.startswith(f"{len(distinct)} targets to /gnfactor/command")
        world_from_base = robot.config.arm.world_from_base.matrix
        assert in_base(robot.config, world_from_base @ first.base_from_gripper) in expected.lines[1]
        assert in_base(robot.config, world_from_base @ last.base_from_gripper) in expected.lines[2]
    elif isinstance(last, JointTrajectory):
        assert f"{len(last.times_s)} points in {last.times_s[-1]:.2f} s" in text
        peaks = [float(peak) for peak in re.findall(r"([\d.]+) of", text)]
        np.testing.assert_allclose(peaks, np.abs(last.velocities).max(0), atol=0.005)
    else:
        assert isinstance(last, PlanRequest)
        assert "around obstacles" in text
        assert f"at {last.speed_share:.0%}" in text


def test_the_fingers_part_is_foretold() -> None:
    robot = FakeRobot(robot_config())
    closing = forecast(planned(robot, action_to(robot, (0, 0, -0.05), is_open=False), "stop"), robot.config)
    assert closing.lines[-1] == "then, to /franka_gripper/grasp: close at 0.05 m/s with 20 N on anything up to 80 mm"
    staying = forecast(planned(robot, action_to(robot, (0, 0, -0.05)), "stop"), robot.config)
    assert staying.lines[-1] == "nothing to the fingers: they are open, and stay so"
    robot.fingers_m = np.zeros(2)
    opening = forecast(planned(robot, action_to(robot, (0, 0, -0.05)), "stop"), robot.config)
    assert opening.lines[-1] == "then, to /franka_gripper/move: open to 80 mm at 0.05 m/s"


@pytest.mark.parametrize("name", ["impedance", "trajectory"])
def test_a_motion_that_would_take_too_long_is_foretold_and_not_begun(name: str) -> None:
    robot = FakeRobot(robot_config(f"executor.name={name}", "executor.timeout_s=3"))
    action = action_to(robot, (0, 0, -0.3))
    plan = planned(robot, action, "stop")
    assert plan.verdict.ok
    trips = forecast(plan, robot.config).trips
    assert trips is not None
    assert "executor.timeout_s allows 3" in trips
    outcome = Executor(robot, SafetyGuard(robot.config), robot.config).execute(action)
    assert outcome.refused == trips
    assert set(robot.record) == {"hold"}


def test_an_action_that_is_no_pose_is_drawn_and_said_without_one() -> None:
    robot = FakeRobot(robot_config())
    for action in (Action({}), action_to(robot, (np.nan, 0, 0)), action_to(robot, (1e9, 0, 0))):
        plan = planned(robot, action)
        lines = step_lines(plan)
        assert lines[0].startswith("REFUSED: ")
        forecast(plan, robot.config)
        assert draw_plan(plan, robot.config, lines).shape[2] == 3
    assert forecast(planned(robot, Action({})), robot.config) == Forecast(
        (), step_lines(planned(robot, Action({})))[0][9:]
    )


def test_a_measured_pose_that_is_not_finite_is_drawn_and_said_without_it() -> None:
    def broken(state: object) -> object:
        return replace(state, base_from_gripper=np.full((4, 4), np.nan))  # type: ignore[type-var]

    robot = FakeRobot(robot_config(), alter_state=broken)  # type: ignore[arg-type]
    plan = planned(robot, action_to(robot, (0, 0, -0.1)))
    assert "nan m" in step_lines(plan)[1]
    assert forecast(plan, robot.config).lines == ()
    assert (draw_plan(plan, robot.config, ()) == GREEN).all(-1).sum() == 0


def test_what_is_allowed_is_green_and_what_is_refused_red() -> None:
    robot = FakeRobot(robot_config())
    allowed, refused = (
        planned(robot, action_to(robot, (0, 0, -0.1)), "stop"),
        planned(robot, action_to(robot, (0, 0, -0.7))),
    )
    for plan, colour, other in ((allowed, GREEN, RED), (refused, RED, GREEN)):
        picture = draw_plan(plan, robot.config, step_lines(plan))
        assert (picture == colour).all(-1).sum() > 1000
        assert not (picture == other).all(-1).any()


@settings(max_examples=12)
@given(st.tuples(near, near, near), st.booleans())
def test_an_action_changes_nothing_exactly_where_the_executor_would_say_arrived(
    step: tuple[float, float, float], is_open: bool
) -> None:
    robot = FakeRobot(robot_config())
    plan = planned(robot, action_to(robot, step, is_open=is_open), "stop")
    distance_m = float(np.linalg.norm(step))
    assert changes_nothing(plan, robot.config) == (distance_m <= robot.config.executor.arrived_m and is_open)


def test_an_agreement_holds_for_what_was_shown_and_nothing_else() -> None:
    robot = FakeRobot(robot_config())
    plan = planned(robot, action_to(robot, (0, 0, -0.1)), "stop")
    assert change_complaint(plan, plan, robot.config) is None
    moved = plan.start.copy()
    moved[0, 3] += 0.02
    said = change_complaint(plan, replace(plan, start=moved), robot.config)
    assert said is not None
    assert "moved 20 mm" in said
    closed = replace(plan.state, finger_positions_m=np.zeros(2))
    assert "fingers have moved" in str(change_complaint(plan, replace(plan, state=closed), robot.config))
    worse = replace(plan, verdict=Verdict("a hand is in the way"))
    assert "by now: a hand is in the way" in str(change_complaint(plan, worse, robot.config))
