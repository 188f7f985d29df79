"""What actions are asked for, and how their answers read. No ROS here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest
from gnfactor.ros.links.goals import (
    duration,
    grip_complaint,
    grip_goal,
    plan_complaint,
    plan_goal,
    trajectory_complaint,
    trajectory_goal,
)
from gnfactor.ros.links.moveit_messages import ERROR_CODES
from tests.fake_robot import robot_config

CONFIG = robot_config()
NUMBERS = st.floats(-3, 3)


@given(time_s=st.floats(0, 1e4))
def test_time_spans_are_whole_seconds_and_the_rest(time_s: float) -> None:
    for ros, (whole, rest) in ((1, ("secs", "nsecs")), (2, ("sec", "nanosec"))):
        span = duration(ros, time_s)
        assert 0 <= span[rest] < 10**9
        assert span[whole] + 1e-9 * span[rest] == pytest.approx(time_s, abs=1e-9)


@given(
    times_s=st.lists(st.floats(0.01, 10), min_size=1, max_size=5).map(np.cumsum),
    number=NUMBERS,
    ros=st.sampled_from((1, 2)),
)
def test_a_trajectory_has_every_joint_at_every_time(times_s: np.ndarray, number: float, ros: int) -> None:
    positions = number + np.arange(7 * len(times_s), dtype=float).reshape(-1, 7)
    config = replace(CONFIG, ros=ros)
    trajectory = trajectory_goal(config, JointTrajectory(1, 1e9, times_s, positions, -positions))["trajectory"]
    assert trajectory["joint_names"] == list(CONFIG.arm.joint_names)
    assert [point["positions"] for point in trajectory["points"]] == positions.tolist()
    assert [point["velocities"] for point in trajectory["points"]] == (-positions).tolist()
    assert [point["time_from_start"] for point in trajectory["points"]] == [duration(ros, t) for t in times_s]


@given(position=st.tuples(NUMBERS, NUMBERS, NUMBERS), vector=st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_moveit_is_asked_for_the_pose_of_the_robots_own_frame(
    position: tuple[float, float, float], vector: tuple[float, float, float]
) -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(vector).as_matrix(), position
    request = PlanRequest(1, 1e9, pose, avoid_collisions=True, speed_share=0.2)
    asked = plan_goal(CONFIG, request)["request"]
    (constraints,) = asked["goal_constraints"]
    (place,), (turn,) = constraints["position_constraints"], constraints["orientation_constraints"]
    ee = np.eye(4)
    ee[:3, 3] = list(place["constraint_region"]["primitive_poses"][0]["position"].values())
    ee[:3, :3] = Rotation.from_quat(list(turn["orientation"].values())).as_matrix()
    assert np.allclose(ee @ CONFIG.arm.ee_from_gripper.matrix, pose, atol=1e-6)
    assert {place["link_name"], turn["link_name"]} == {CONFIG.arm.ee_frame}
    assert {place["header"]["frame_id"], turn["header"]["frame_id"]} == {CONFIG.arm.base_frame}
    assert place["constraint_region"]["primitives"][0]["dimensions"][0] < CONFIG.executor.arrived_m
    assert turn["absolute_x_axis_tolerance"] < CONFIG.executor.arrived_rad
    assert asked["max_velocity_scaling_factor"] == asked["max_acceleration_scaling_factor"] == 0.2


@pytest.mark.parametrize("avoid", [True, False])
def test_only_named_objects_leave_the_scene_and_only_for_contact(avoid: bool) -> None:
    config = replace(CONFIG, actions=replace(CONFIG.actions, contact_objects=("drawer", "handle")))
    request = PlanRequest(1, 1e9, np.eye(4), avoid_collisions=avoid, speed_share=0.2)
    scene = plan_goal(config, request)["planning_options"]["planning_scene_diff"]
    removed = scene.get("world", {}).get("collision_objects", [])
    assert [(thing["id"], thing["operation"]) for thing in removed] == ([] if avoid else [("drawer", 1), ("handle", 1)])
    assert scene["is_diff"]
    assert scene["robot_state"]["is_diff"]


def test_fingers_are_moved_or_grasp_with_a_wide_tolerance() -> None:
    move = GripCommand(1, 1e9, 0.08, 0.05, 20.0, grasp=False, tolerance_m=0.08)
    assert grip_goal(move) == {"width": 0.08, "speed": 0.05}
    grasp = replace(move, width_m=0.0, grasp=True)
    assert grip_goal(grasp) == {"width": 0.0, "speed": 0.05, "force": 20.0, "epsilon": {"inner": 0.08, "outer": 0.08}}


@given(code=st.integers(-40, 10) | st.just(99999))
def test_only_moveits_success_is_one(code: int) -> None:
    complaint = plan_complaint({"error_code": {"val": code}})
    assert (complaint is None) == (code == 1)
    known = [name for name, value in ERROR_CODES.items() if value == code]
    assert all(name in str(complaint) for name in known if name != "SUCCESS")


def test_a_failed_plan_says_what_to_do() -> None:
    code = ERROR_CODES["INVALID_LINK_NAME"]
    assert plan_complaint({"error_code": {"val": code}}) == (
        "MoveIt answers INVALID_LINK_NAME (-18); arm.ee_frame has to be a link of MoveIt's model"
    )


def test_answers_of_controllers_and_fingers_keep_their_reasons() -> None:
    assert trajectory_complaint({"error_code": 0, "error_string": ""}) is None
    assert trajectory_complaint({"error_code": -4, "error_string": "too far"}) == "too far (error code -4)"
    assert grip_complaint({"success": True, "error": ""}) is None
    assert grip_complaint({"success": False, "error": "slipped"}) == "slipped"
    assert grip_complaint({"success": False, "error": ""}) == "without a reason"
