from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from gnfactor import kinematics
from gnfactor.actions import Action, ArmTarget
from gnfactor.ros.arm_body import lowest
from gnfactor.ros.executors import Executor
from gnfactor.ros.link import JointTrajectory, PlanRequest, PoseTarget, RobotMode, RobotState, RobotView
from gnfactor.ros.safety import SafetyGuard, Verdict
from gnfactor.scene import ARM
from tests.fake_robot import READY, FakeRobot, robot_config

CONFIG = robot_config()
LOWER, UPPER = np.array(CONFIG.guard.box_lower), np.array(CONFIG.guard.box_upper)
absurd = st.one_of(st.floats(), st.floats(-2, 2), st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 0.0]))


def action(pose: np.ndarray, gripper_open: bool = True) -> Action:
    return Action({ARM: ArmTarget(pose, gripper_open, ignore_collisions=False)})


def moved(x: float = 0, y: float = 0, z: float = 0, turn: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    pose = FakeRobot(CONFIG).pose
    pose[:3, 3] += (x, y, z)
    pose[:3, :3] = kinematics.rotation_of(np.array(turn, dtype=float)) @ pose[:3, :3]
    return pose


def ask(
    pose: np.ndarray,
    alter_state: Callable[[RobotState], RobotState] = lambda state: state,
    alter_view: Callable[[RobotView], RobotView] = lambda view: view,
    *overrides: str,
) -> Verdict:
    config = robot_config(*overrides)
    robot = FakeRobot(config, alter_state=alter_state, alter_view=alter_view)
    return SafetyGuard(config).check(action(pose), robot.observe(0.5), robot.state(), robot.now_s())


def lowest_and_highest(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of hand and fingers, by plain loops."""
    guard, points = CONFIG.guard, []
    for lower, upper in ((guard.hand_lower, guard.hand_upper), (guard.fingers_lower, guard.fingers_upper)):
        for x in (lower[0], upper[0]):
            for y in (lower[1], upper[1]):
                points += [(pose @ (x, y, z, 1))[:3] for z in (lower[2], upper[2])]
    return np.min(points, 0), np.max(points, 0)


@st.composite
def absurd_poses(draw: st.DrawFn) -> np.ndarray:
    """From any sixteen numbers to rigid poses near the arm."""
    if draw(st.booleans()):
        return np.array(draw(st.lists(absurd, min_size=16, max_size=16))).reshape(4, 4)
    pose = FakeRobot(CONFIG).pose
    turn = draw(st.tuples(*[st.floats(-3, 3)] * 3))
    pose[:3, :3] = kinematics.rotation_of(np.array(turn)) @ pose[:3, :3]
    pose[:3, 3] += draw(st.tuples(*[st.one_of(st.floats(-0.2, 0.2), st.floats(-1, 1))] * 3))
    return pose


@given(absurd_poses())
def test_what_passes_is_inside_every_limit(pose: np.ndarray) -> None:
    verdict = ask(pose)
    if not verdict.ok:
        assert verdict.reason
        return
    low, high = lowest_and_highest(pose)
    assert (low >= LOWER - 1e-9).all()
    assert (high <= UPPER + 1e-9).all()
    assert low[2] >= CONFIG.guard.min_height_m - 1e-9
    distance_m, turn_rad = kinematics.between(FakeRobot(CONFIG).pose, pose)
    assert distance_m <= CONFIG.guard.max_step_m
    assert turn_rad <= CONFIG.guard.max_turn_rad
    path, margin = verdict.joint_path, CONFIG.guard.joint_margin_rad
    assert path is not None
    assert (path >= np.array(CONFIG.arm.joint_lower) + margin - 1e-9).all()
    assert (path <= np.array(CONFIG.arm.joint_upper) - margin + 1e-9).all()
    np.testing.assert_allclose(kinematics.gripper_pose(CONFIG.arm.model(), path[-1]), pose, atol=2e-3)


def commanded_poses(robot: FakeRobot) -> list[np.ndarray]:
    """`world_from_gripper` of everything that the robot was told to do."""
    world_from_base, found = robot.arm.world_from_base, list[np.ndarray]()
    for command in robot.record:
        if isinstance(command, PoseTarget | PlanRequest):
            found.append(world_from_base @ command.base_from_gripper)
        elif isinstance(command, JointTrajectory):
            found += [kinematics.gripper_pose(robot.arm, joints) for joints in command.positions]
    return found


@settings(max_examples=15, phases=[Phase.generate])
@given(
    st.sampled_from(["impedance", "trajectory", "moveit"]),
    st.lists(st.tuples(absurd_poses(), st.booleans()), min_size=1, max_size=4),
)
def test_no_sequence_of_actions_commands_anything_outside_the_limits(
    executor: str, sequence: list[tuple[np.ndarray, bool]]
) -> None:
    config = robot_config(f"executor.name={executor}", "executor.rate_hz=15")
    robot = FakeRobot(config)
    runner = Executor(robot, SafetyGuard(config), config)
    for pose, gripper_open in sequence:
        before = len(robot.record)
        outcome = runner.execute(action(pose, gripper_open))
        assert robot.holding
        if outcome.refused is not None:
            assert robot.record[before:] == ["hold"]
    for pose in commanded_poses(robot):
        low, high = lowest_and_highest(pose)
        assert (low >= LOWER - 1e-3).all()
        assert (high <= UPPER + 1e-3).all()
        assert low[2] >= config.guard.min_height_m - 1e-3


@given(st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_command_on_the_way_passes_exactly_where_the_whole_gripper_is_inside(aside: tuple[float, ...]) -> None:
    robot = FakeRobot(CONFIG)
    pose = moved(*aside)
    verdict = SafetyGuard(CONFIG).check_command(pose, robot.state())
    low, high = lowest_and_highest(pose)
    inside = (low >= LOWER).all() and (high <= UPPER).all() and low[2] >= CONFIG.guard.min_height_m
    assert verdict.ok == inside


REFUSALS: Mapping[str, tuple[np.ndarray, str]] = {
    "a table's depth": (moved(z=-0.49), r"below the least height, 0.753 m"),
    "behind the box": (moved(x=-0.4), r"mm below the box's least x, -0.25 m"),
    "a long step": (moved(x=0.4, y=0.35), r"0\.53\d m away; at most 0.5 m"),
    "a half turn": (moved(turn=(0, 0, 3.0)), r"turn of 3.00 rad away; at most 2.8"),
    "a huge number": (moved(x=1e300), "holds the number 1e.300; nothing beyond 100.0 m"),
    "a NaN": (moved(x=np.nan), "not finite"),
    "a mirror": (moved() @ np.diag([-1, 1, 1, 1]), "holds no rotation.*determinant is -1.000"),
    "a scaled pose": (moved() @ np.diag([1.01, 1.01, 1.01, 1]), "off orthonormal by 2.0e-02"),
    "a broken last row": (np.vstack((moved()[:3], (0, 0, 0, 2))), "last row"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_target_is_refused_with_the_numbers(name: str) -> None:
    pose, answer = REFUSALS[name]
    verdict = ask(pose)
    assert verdict.reason is not None
    with pytest.raises(AssertionError, match=answer):
        raise AssertionError(verdict.reason)


def test_a_small_step_is_allowed_and_comes_with_its_joint_path() -> None:
    verdict = ask(moved(z=0.05))
    assert verdict.ok, verdict.reason
    assert verdict.joint_path is not None
    np.testing.assert_array_equal(verdict.joint_path[0], READY)


def test_a_target_that_joints_cannot_reach_is_refused_before_anything_moves() -> None:
    far = ("guard.box_lower=[-3,-3,0]", "guard.box_upper=[3,3,3]", "guard.max_step_m=5")
    straight = ask(moved(x=1.0), lambda state: state, lambda view: view, *far)
    planned = ask(moved(x=1.0), lambda state: state, lambda view: view, *far, "executor.name=moveit")
    for verdict in (straight, planned):
        assert verdict.reason is not None
        assert "the nearest found misses it by" in verdict.reason


def test_a_finger_counts_as_much_as_the_point_between_the_fingers() -> None:
    """Lying on its side, the gripper's hand is 10 cm lower than its tip."""
    on_side = moved(z=-0.35, turn=(0, 0, 0))
    assert ask(on_side).ok
    tipped = moved(z=-0.35, turn=(1.2, 0, 0))
    low, _ = lowest_and_highest(tipped)
    assert low[2] > CONFIG.guard.min_height_m
    deeper = moved(z=-0.35 - (low[2] - CONFIG.guard.min_height_m) - 0.005, turn=(1.2, 0, 0))
    assert deeper[2, 3] > CONFIG.guard.min_height_m + 0.02
    reason = ask(deeper).reason
    assert reason is not None
    assert "5.0 mm below the least height" in reason


STATES: Mapping[str, tuple[Callable[[RobotState], RobotState], str]] = {
    "old": (lambda s: replace(s, stamp_s=s.stamp_s - 0.3), r"the state is 0.30\d s old; at most 0.2 s"),
    "future": (lambda s: replace(s, stamp_s=s.stamp_s + 0.2), "from the future"),
    "no time": (lambda s: replace(s, stamp_s=np.nan), "both must be finite"),
    "reflex": (lambda s: replace(s, mode=RobotMode.REFLEX), "mode is REFLEX; MOVE is expected"),
    "user stop": (lambda s: replace(s, mode=RobotMode.USER_STOPPED), "release the stop"),
    "idle": (lambda s: replace(s, mode=RobotMode.IDLE), "start the robot's controller"),
    "errors": (lambda s: replace(s, errors=("cartesian_reflex",)), "cartesian_reflex"),
    "NaN joint": (lambda s: replace(s, joint_positions=s.joint_positions * np.nan), "not finite"),
    "gripper too fast": (
        lambda s: replace(s, joint_velocities=1.4 * np.eye(7)[0]),
        r"the gripper moves at 0.\d\d m/s and 1.40 rad/s; at most 0.375 and 1.5 are allowed",
    ),
    "gripper turns too fast": (
        lambda s: replace(s, joint_velocities=1.6 * np.eye(7)[6]),
        r"moves at 0.\d\d m/s and 1.60 rad/s",
    ),
    "too fast": (lambda s: replace(s, joint_velocities=np.full(7, 2.5)), r"joint 1 moves at 2.50 rad/s"),
    "joint beyond": (
        lambda s: replace(s, joint_positions=s.joint_positions + 3.0 * np.eye(7)[0]),
        "joint 1 stands at 3.000 rad, beyond",
    ),
    "frames disagree": (
        lambda s: replace(s, joint_positions=s.joint_positions + 0.1 * np.eye(7)[0]),
        "arm.ee_from_gripper",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_cannot_be_trusted_moves_nothing(name: str) -> None:
    alter, answer = STATES[name]
    verdict = ask(moved(z=0.05), alter)
    assert verdict.reason is not None
    with pytest.raises(AssertionError, match=answer):
        raise AssertionError(verdict.reason)


VIEWS: Mapping[str, tuple[Callable[[RobotView], RobotView], str]] = {
    "old": (lambda v: replace(v, stamp_s=v.stamp_s - 0.7), r"picture of 'front' is 0.70\d s old; at most 0.5 s"),
    "future": (lambda v: replace(v, stamp_s=v.stamp_s + 1), "from the future"),
    "empty": (lambda v: replace(v, depth_m=v.depth_m * 0), "only 0.0% of the pixels of 'front'"),
    "NaN": (lambda v: replace(v, depth_m=v.depth_m * np.nan), "only 0.0% of the pixels"),
    "clipped": (lambda v: replace(v, depth_m=np.full_like(v.depth_m, 5)), r"100.0% are beyond"),
    "millimetres": (lambda v: replace(v, depth_m=v.depth_m * 1000), r"100.0% are beyond|% are beyond"),
    "another scale": (lambda v: replace(v, depth_m=v.depth_m * 0.9), "the table is missing in the depth of 'front'"),
    "a lens covered": (lambda v: replace(v, depth_m=np.full_like(v.depth_m, 0.05)), "sees nothing of the box's"),
    "another size": (lambda v: replace(v, rgb=v.rgb[:10], depth_m=v.depth_m[:10]), "has depth"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_picture_that_cannot_be_trusted_moves_nothing(name: str) -> None:
    alter, answer = VIEWS[name]
    verdict = ask(moved(z=0.05), lambda state: state, alter)
    assert verdict.reason is not None
    with pytest.raises(AssertionError, match=answer):
        raise AssertionError(verdict.reason)


@settings(max_examples=12, phases=[Phase.generate])
@given(st.floats(0.7, 1.3))
def test_a_wrong_scale_of_depth_is_noticed_where_it_moves_the_table_by_more_than_tolerated(scale: float) -> None:
    eye_above_table_m = 0.75  # of the lower camera; the other one is 1.25 m above
    shift_m = abs(scale - 1) * eye_above_table_m
    assume(abs(shift_m - CONFIG.guard.table_tolerance_m) > 1e-4)
    verdict = ask(moved(z=0.02), lambda state: state, lambda v: replace(v, depth_m=v.depth_m * np.float32(scale)))
    if shift_m > CONFIG.guard.table_tolerance_m:
        assert verdict.reason is not None
    if abs(scale - 1) * 1.25 < CONFIG.guard.table_tolerance_m - 1e-4:
        assert verdict.ok, verdict.reason


def test_a_camera_that_is_not_there_moves_nothing() -> None:
    robot = FakeRobot(CONFIG)
    seen = {"front": robot.observe(0.5)["front"]}
    reason = SafetyGuard(CONFIG).check(action(moved()), seen, robot.state(), robot.now_s()).reason
    assert reason is not None
    assert "no picture of overhead" in reason


def test_an_arm_that_stands_slightly_outside_may_come_back_and_not_go_deeper() -> None:
    robot = FakeRobot(CONFIG)
    floor = robot_config(
        f"guard.min_height_m={lowest_and_highest(robot.pose)[0][2] + 0.01}", "guard.table_height_m=0.75"
    )
    guard = SafetyGuard(floor)
    back, deeper = moved(z=0.05), moved(z=-0.005)
    assert guard.check(action(back), robot.observe(0.5), robot.state(), robot.now_s()).ok
    assert not guard.check(action(deeper), robot.observe(0.5), robot.state(), robot.now_s()).ok
    assert guard.check_command(robot.pose, robot.state()).ok
    assert not guard.check_command(deeper, robot.state()).ok
    far_below = robot_config(f"guard.min_height_m={lowest_and_highest(robot.pose)[0][2] + 0.03}")
    reason = SafetyGuard(far_below).check_state(robot.state(), robot.now_s()).reason
    assert reason is not None
    assert "guide the arm back by hand" in reason


LOW_WRISTS = (
    ([2.619, -0.69, 2.847, -2.361, 1.552, 0.724, 0.928], [2.648, -1.077, 2.847, -2.097, 1.546, 0.659, 0.769]),
    ([-0.22, 1.076, -0.27, -1.476, 2.847, 1.345, -1.89], [-0.285, 1.404, -0.216, -1.173, 2.847, 1.327, -1.935]),
)
"""Two steps whose gripper stays in the box while the wrist goes through the table."""


@pytest.mark.parametrize("executor", ["impedance", "trajectory", "moveit"])
@pytest.mark.parametrize(("start", "end"), LOW_WRISTS)
def test_no_wrist_goes_into_the_table_below_a_gripper_that_stays_above_it(
    executor: str, start: list[float], end: list[float]
) -> None:
    heights, config = list[float](), robot_config(f"executor.name={executor}")
    robot = FakeRobot(config)
    robot.joints = np.array(start)
    goal = kinematics.gripper_pose(robot.arm, np.array(end))
    assert lowest_and_highest(goal)[0][2] > config.guard.min_height_m
    robot.on_state = lambda seen: heights.append(lowest(seen.arm, seen.joints).height_m)
    outcome = Executor(robot, SafetyGuard(config), config).execute(action(goal))
    assert "link" in (outcome.refused or outcome.blocked or "")
    assert "below the least height, 0.753 m" in (outcome.refused or outcome.blocked or "")
    assert min(heights) > config.guard.min_height_m - 0.06, "stopped before a capsule's middle is at the table"


@given(st.tuples(*[st.floats(-2.8, 2.8)] * 7), st.integers(3, 6))
def test_the_arms_lowest_point_is_below_every_joint_from_the_elbow_on(joints: tuple[float, ...], joint: int) -> None:
    arm = CONFIG.arm.model()
    heights = (arm.world_from_base @ kinematics.link_poses(np.array(joints)))[:, 2, 3]
    assert lowest(arm, np.array(joints)).height_m <= heights[joint] - 0.05


def test_an_arm_in_its_ready_posture_is_high_above_the_table() -> None:
    """Worked by hand: the flange's ball is lowest, 0.0034 m below the hand's mount and 6 cm thick."""
    found = lowest(CONFIG.arm.model(), READY)
    flange_m = FakeRobot(CONFIG).pose[2, 3] + 0.1104
    assert found.joint == 7
    np.testing.assert_allclose(found.height_m, flange_m - 0.06, atol=1e-9)


def test_an_arm_whose_wrist_is_slightly_too_low_may_come_back_and_not_go_lower() -> None:
    robot = FakeRobot(CONFIG)
    robot.joints = np.array([-0.22, 1.076, -0.27, -1.476, 2.847, 1.345, -1.89])
    height_m = lowest(robot.arm, robot.joints).height_m
    fingers_m = lowest_and_highest(robot.pose)[0][2]
    assert height_m < fingers_m, "the wrist is what is lowest here"
    guard = SafetyGuard(robot_config(f"guard.min_height_m={min(height_m + 0.01, fingers_m - 0.001)}"))
    up, down = robot.pose, robot.pose
    up[2, 3] += 0.02
    down[2, 3] -= 0.02
    assert guard.check(action(up), robot.observe(0.5), robot.state(), robot.now_s()).ok
    reason = guard.check(action(down), robot.observe(0.5), robot.state(), robot.now_s()).reason
    assert reason is not None
    assert "of the arm would be" in reason
    too_low = SafetyGuard(robot_config(f"guard.min_height_m={height_m + 0.03}"))
    assert "of the arm is 30 mm below" in (too_low.check_state(robot.state(), robot.now_s()).reason or "")


@given(st.integers(0, 11), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_command_with_one_number_that_is_none_is_refused(index: int, number: float) -> None:
    pose = moved()
    pose.flat[index] = number
    guard, state = SafetyGuard(CONFIG), FakeRobot(CONFIG).state()
    assert not guard.check_command(pose, state).ok
    assert guard._outside_complaint([pose], moved()) is not None


def test_a_planned_motion_that_is_too_fast_is_stopped_on_its_way() -> None:
    """The planner brings the gripper there 11 cm farther in 4 s, which only the second limit forbids."""
    slow = robot_config("executor.name=moveit")
    allowed = ("guard.max_speed_m_s=0.005", "executor.speed_m_s=0.005", "executor.planner_speed_share=0.002")
    fast = robot_config("executor.name=moveit", *allowed)
    outcomes = [
        Executor(FakeRobot(config), SafetyGuard(config), config).execute(action(moved(z=-0.11)))
        for config in (slow, fast)
    ]
    assert outcomes[0].done, outcomes[0]
    assert "guard.max_speed_m_s" in (outcomes[1].blocked or "")
