"""What a scene consists of, in whole numbers: so that two machines can tell whether they have made the same one.

Lengths are in 0.1 mm and everything else is rounded as finely, so that the last bits of a computation, in which
machines may differ, do not count. Described is what the task added, before any physics: bodies, joints, and the shapes,
sizes, colours and poses of geoms, each in its parent's frame.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from gnfactor.envs.tabletop.scene import room_bodies

UNIT = 1e-4
"""0.1 mm; also the step of rotation matrices' entries, of angles (rad) and of colours (0 to 1)."""
_DIGITS = 12
"""Hexadecimal digits of a digest: 48 bits."""


def scene_digest(model: mujoco.MjModel) -> str:
    """Digest of a compiled scene's description; nothing may have changed the model since."""
    text = json.dumps(list(_bodies(model)), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def movable_positions(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[int, ...]:
    """Where the bodies that the task added and that can move are: x, y, z of each in the world, units of 0.1 mm."""
    room = room_bodies(model)
    moving = [body for body in range(model.nbody) if model.body_rootid[body] not in room and model.body_weldid[body]]
    return tuple(_rounded(data.xpos[moving]))


def _bodies(model: mujoco.MjModel) -> Iterator[list[object]]:
    """The bodies that the task added, and the world, to which it may have added geoms."""
    room = room_bodies(model)
    for body in range(model.nbody):
        if body == 0 or model.body_rootid[body] not in room:
            first_joint, first_geom = int(model.body_jntadr[body]), int(model.body_geomadr[body])
            yield [
                model.body(body).name,
                model.body(int(model.body_parentid[body])).name,
                _rounded(model.body_pos[body]),
                _rotation(model.body_quat[body]),
                [_joint(model, first_joint + index) for index in range(int(model.body_jntnum[body]))],
                [_geom(model, first_geom + index) for index in range(int(model.body_geomnum[body]))],
            ]


def _joint(model: mujoco.MjModel, joint: int) -> list[object]:
    numbers = (model.jnt_pos[joint], model.jnt_axis[joint], model.jnt_range[joint])
    start = model.qpos0[int(model.jnt_qposadr[joint])]
    return [int(model.jnt_type[joint]), *(_rounded(values) for values in numbers), _rounded([start])]


def _geom(model: mujoco.MjModel, geom: int) -> list[object]:
    numbers = (model.geom_size[geom], model.geom_rgba[geom], model.geom_pos[geom])
    return [
        int(model.geom_type[geom]),
        bool(model.geom_contype[geom] or model.geom_conaffinity[geom]),
        *(_rounded(values) for values in numbers),
        _rotation(model.geom_quat[geom]),
    ]


def _rotation(quaternion_wxyz: ArrayLike) -> list[int]:
    """Entries of the rotation matrix: a quaternion and its negative mean the same."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion_wxyz, np.float64))
    return _rounded(matrix)


def _rounded(values: ArrayLike) -> list[int]:
    return [int(number) for number in np.rint(np.ravel(np.asarray(values, np.float64)) / UNIT)]
