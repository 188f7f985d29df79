"""Poses between matrices and ROS's messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import rospy
import torch
from geometry_msgs.msg import TransformStamped

from gnfactor.geometry import quaternion_from_rotation, rotation_from_quaternion


def matrix_of(pose: Any) -> np.ndarray:
    """4x4 matrix of a geometry_msgs/Pose."""
    turn, at = pose.orientation, pose.position
    matrix = np.eye(4)
    quaternion = torch.tensor([turn.x, turn.y, turn.z, turn.w], dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = rotation_from_quaternion(quaternion).numpy(), (at.x, at.y, at.z)
    return matrix


def transform_message(parent: str, child: str, pose: np.ndarray, stamp: rospy.Time) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, stamp
    at, turn = message.transform.translation, message.transform.rotation
    at.x, at.y, at.z = pose[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = quaternion_from_rotation(torch.from_numpy(pose[:3, :3].copy())).tolist()
    return message
