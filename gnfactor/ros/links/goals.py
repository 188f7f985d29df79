"""What actions are asked for, as plain values: for messages of rospy as well as for JSON.

A goal is a nested mapping of field names; fields that are not named keep their zeros. The fields are the same in both
generations of ROS, but for those of times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest
from gnfactor.ros.links.moveit_messages import ERROR_CODES
from gnfactor.ros.watchdog import quaternion_xyzw

Goal = Mapping[str, Any]
_SHARE_OF_TOLERANCE = 0.1
"""Planned this much more exactly than the arm has to arrive."""
_SPHERE, _REMOVE = 2, 1
"""Of shape_msgs/SolidPrimitive and of moveit_msgs/CollisionObject."""
_PLANNING_ATTEMPTS = 3
_PLAN_HINTS: Mapping[str, str] = {
    "INVALID_LINK_NAME": "; arm.ee_frame has to be a link of MoveIt's model",
    "INVALID_GROUP_NAME": "; actions.planning_group has to be a group of MoveIt's model",
    "GOAL_IN_COLLISION": "; what may be touched stands in actions.contact_objects",
    "START_STATE_IN_COLLISION": "; what may be touched stands in actions.contact_objects",
}
"""What to do about MoveIt's answers."""


def trajectory_goal(config: RobotConfig, trajectory: JointTrajectory) -> Goal:
    """Of control_msgs/FollowJointTrajectory; it starts at once."""
    points = [
        {
            "positions": positions.tolist(),
            "velocities": velocities.tolist(),
            "time_from_start": duration(config.ros, float(time_s)),
        }
        for time_s, positions, velocities in zip(
            trajectory.times_s, trajectory.positions, trajectory.velocities, strict=True
        )
    ]
    return {"trajectory": {"joint_names": list(config.arm.joint_names), "points": points}}


def grip_goal(command: GripCommand) -> Goal:
    """Of Franka's Grasp or Move, as the command says."""
    goal = {"width": command.width_m, "speed": command.speed_m_s}
    if not command.grasp:
        return goal
    epsilon = {"inner": command.tolerance_m, "outer": command.tolerance_m}
    return {**goal, "force": command.force_n, "epsilon": epsilon}


def plan_goal(config: RobotConfig, request: PlanRequest) -> Goal:
    """Of moveit_msgs/MoveGroup: plan to a pose, and move.

    MoveIt plans around what its planning scene holds. Where the policy accepts contact, the objects that
    `actions.contact_objects` names are taken out of the scene for this one plan, and nothing else: the arm still plans
    around the table, itself and an octomap. Contact with anything that is not named therefore ends in a plan that
    fails, and an octomap that fills the workspace forbids all contact; keep the workspace out of it. The limits on
    velocity and acceleration are shares of those of MoveIt's own model.
    """
    frame = {"frame_id": config.arm.base_frame}
    base_from_ee = request.base_from_gripper @ np.linalg.inv(config.arm.ee_from_gripper.matrix)
    scene: dict[str, Any] = {"is_diff": True, "robot_state": {"is_diff": True}}
    if not request.avoid_collisions:
        touched = [{"id": name, "operation": _REMOVE, "header": frame} for name in config.actions.contact_objects]
        scene["world"] = {"collision_objects": touched}
    return {
        "request": {
            "start_state": {"is_diff": True},
            "group_name": config.actions.planning_group,
            "num_planning_attempts": _PLANNING_ATTEMPTS,
            "allowed_planning_time": config.executor.planning_time_s,
            "max_velocity_scaling_factor": request.speed_share,
            "max_acceleration_scaling_factor": request.speed_share,
            "goal_constraints": [_pose_constraints(config, base_from_ee)],
        },
        "planning_options": {"planning_scene_diff": scene},
    }


def duration(ros: Literal[1, 2], time_s: float) -> Goal:
    """A time span as one generation of ROS writes it."""
    nanoseconds = round(time_s * 1e9)
    names = {1: ("secs", "nsecs"), 2: ("sec", "nanosec")}[ros]
    return dict(zip(names, divmod(nanoseconds, 10**9), strict=True))


def _pose_constraints(config: RobotConfig, base_from_ee: Float[np.ndarray, "4 4"]) -> Goal:
    """The end effector in a small ball and near an orientation."""
    frame, pace = {"frame_id": config.arm.base_frame}, config.executor
    position = dict(zip("xyz", base_from_ee[:3, 3].tolist(), strict=True))
    orientation = dict(zip("xyzw", quaternion_xyzw(base_from_ee.tolist()), strict=True))
    ball = {"type": _SPHERE, "dimensions": [_SHARE_OF_TOLERANCE * pace.arrived_m]}
    turn_rad = _SHARE_OF_TOLERANCE * pace.arrived_rad
    link = {"header": frame, "link_name": config.arm.ee_frame, "weight": 1.0}
    tolerances = {f"absolute_{axis}_axis_tolerance": turn_rad for axis in "xyz"}
    region = {"primitives": [ball], "primitive_poses": [{"position": position, "orientation": {"w": 1.0}}]}
    return {
        "position_constraints": [{**link, "constraint_region": region}],
        "orientation_constraints": [{**link, "orientation": orientation, **tolerances}],
    }


def trajectory_complaint(result: Goal) -> str | None:
    """Why a FollowJointTrajectory's result is no success."""
    code = result["error_code"]
    return None if code == 0 else f"{result['error_string'] or 'without a reason'} (error code {code})"


def grip_complaint(result: Goal) -> str | None:
    """Why the result of one of the gripper's actions is no success."""
    return None if result["success"] else str(result["error"] or "without a reason")


def plan_complaint(result: Goal) -> str | None:
    """Why MoveIt's result is no success."""
    code = result["error_code"]["val"]
    if code == ERROR_CODES["SUCCESS"]:
        return None
    names = {value: name for name, value in ERROR_CODES.items()}
    return f"MoveIt answers {names.get(code, 'an error')} ({code})" + _PLAN_HINTS.get(names.get(code, ""), "")
