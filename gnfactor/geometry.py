"""Rotations, rigid transforms and pinhole cameras.

Everything here is a pure function of tensors and works on CPU and CUDA, in the precision it is given.
Poses are 4x4 matrices named `target_from_source`: `world_from_camera @ point_in_camera = point_in_world`.
Cameras follow OpenCV: x right, y down, z forward. Pixel centres lie at integer coordinates.
Quaternions are xyzw and returned with w >= 0.

No matrix product is used: under autocast or with TF32 it would round coordinates to about a centimetre.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rotation_from_quaternion(quaternion_xyzw: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a quaternion of any non-zero length."""
    x, y, z, w = F.normalize(quaternion_xyzw, dim=-1).unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)), -1),
        torch.stack((2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)), -1),
        torch.stack((2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)), -1),
    )
    return torch.stack(rows, -2)


def quaternion_from_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion xyzw with w >= 0 of a rotation matrix.

    Of the four textbook formulas the one with the largest denominator is taken (Shepperd 1978), so that no
    rotation is ill-conditioned.
    """
    m = rotation
    trace_terms = torch.stack(
        (
            1 + m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] + m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] - m[..., 1, 1] + m[..., 2, 2],
            1 + m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2],
        ),
        -1,
    )
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    four_q_qt = torch.stack(  # 4 q q^T, row by row
        (
            torch.stack((trace_terms[..., 0], xy, xz, xw), -1),
            torch.stack((xy, trace_terms[..., 1], yz, yw), -1),
            torch.stack((xz, yz, trace_terms[..., 2], zw), -1),
            torch.stack((xw, yw, zw, trace_terms[..., 3]), -1),
        ),
        -2,
    )
    best = trace_terms.argmax(-1)[..., None, None].expand(*trace_terms.shape[:-1], 1, 4)
    quaternion = F.normalize(four_q_qt.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def rotation_from_euler(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation about the fixed x, then y, then z axis by `angles` (rad): R = Rz Ry Rx."""
    cos, sin = angles.cos(), angles.sin()
    (cx, cy, cz), (sx, sy, sz) = cos.unbind(-1), sin.unbind(-1)
    rows = (
        torch.stack((cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx), -1),
        torch.stack((sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx), -1),
        torch.stack((-sy, cy * sx, cy * cx), -1),
    )
    return torch.stack(rows, -2)


def euler_from_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Angles (rad) about the fixed x, y, z axes; the middle one in [-pi/2, pi/2], the others in [-pi, pi].

    At the middle angle of +-90 degrees only a combination of the other two is defined; z is then set to 0.
    """
    m = rotation
    cos_middle = torch.hypot(m[..., 0, 0], m[..., 1, 0])
    middle = torch.atan2(-m[..., 2, 0], cos_middle)
    regular = cos_middle > 1e-6
    x = torch.where(regular, torch.atan2(m[..., 2, 1], m[..., 2, 2]), torch.atan2(-m[..., 1, 2], m[..., 1, 1]))
    z = torch.where(regular, torch.atan2(m[..., 1, 0], m[..., 0, 0]), torch.zeros_like(x))
    return torch.stack((x, middle, z), -1)


def rotation_from_columns(columns: Float[Tensor, "*batch 3 2"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation whose first two columns are nearest in turn to two given vectors (Zhou et al., CVPR 2019, eq. 15)."""
    x = F.normalize(columns[..., 0], dim=-1)
    y = F.normalize(columns[..., 1] - (x * columns[..., 1]).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1)


def pose_from(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """4x4 rigid transform of a rotation and a translation (m)."""
    return _with_bottom_row(torch.cat((rotation, translation[..., None]), -1))


def _with_bottom_row(top: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 4 4"]:
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 0, 3] = 1
    return torch.cat((top, bottom), -2)


def inverse_pose(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of a rigid transform: `inverse_pose(world_from_camera)` is `camera_from_world`."""
    rotation = pose[..., :3, :3].mT
    return pose_from(rotation, -(rotation * pose[..., None, :3, 3]).sum(-1))


def compose(
    target_from_middle: Float[Tensor, "*#batch 4 4"], middle_from_source: Float[Tensor, "*#batch 4 4"]
) -> Float[Tensor, "... 4 4"]:
    """`target_from_source`: the second transform, then the first; batch dimensions broadcast."""
    product = target_from_middle[..., :3, :, None] * middle_from_source[..., None, :, :]
    return _with_bottom_row(product.sum(-2))


def transform_points(
    pose: Float[Tensor, "*batch 4 4"], points: Float[Tensor, "*batch points 3"]
) -> Float[Tensor, "*batch points 3"]:
    """Points (m) carried through a rigid transform, one pose for each set of points."""
    return _rotate(pose[..., :3, :3], points) + pose[..., None, :3, 3]


def rotation_angle_deg(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Angle in degrees of the rotation between two orientations, accurate for small angles too.

    From the chord: ||A - B||_F = 2 sqrt(2) sin(angle / 2).
    """
    chord = torch.linalg.matrix_norm(first - second) / 8**0.5
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1)))


def unproject(
    depth_m: Float[Tensor, "*batch height width"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    world_from_camera: Float[Tensor, "*batch 4 4"],
) -> Float[Tensor, "*batch height width 3"]:
    """World point (m) seen by every pixel, from metric depth along the optical axis.

    Pixels without a reading (0 or non-finite) give points without meaning: mask them by the depth.
    """
    height, width = depth_m.shape[-2:]
    u = torch.arange(width, device=depth_m.device, dtype=depth_m.dtype)
    v = torch.arange(height, device=depth_m.device, dtype=depth_m.dtype)[:, None]
    focal_x, focal_y = intrinsics[..., 0, 0, None, None], intrinsics[..., 1, 1, None, None]
    centre_x, centre_y = intrinsics[..., 0, 2, None, None], intrinsics[..., 1, 2, None, None]
    right, down = (u - centre_x) / focal_x, (v - centre_y) / focal_y
    planes: list[Tensor] = []  # one per world axis, whole pictures at a time: many times faster than threes of numbers
    for axis in world_from_camera[..., :3, :, None, None].unbind(-4):
        along_right, along_down, along_forward, origin = axis.unbind(-3)
        ray = along_right * right + (along_down * down + along_forward)
        planes.append(ray * depth_m + origin)
    return torch.stack(planes, -3).movedim(-3, -1)


def project(
    points: Float[Tensor, "*batch points 3"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    world_from_camera: Float[Tensor, "*batch 4 4"],
) -> tuple[Float[Tensor, "*batch points 2"], Float[Tensor, "*batch points"]]:
    """Pixel (u, v) and depth (m) of world points; pixels of points with depth <= 0 mean nothing."""
    in_camera = transform_points(inverse_pose(world_from_camera), points)
    depth_m = in_camera[..., 2]
    homogeneous = _rotate(intrinsics, in_camera)
    return homogeneous[..., :2] / depth_m[..., None], depth_m


def _rotate(
    matrix: Float[Tensor, "*batch 3 3"], points: Float[Tensor, "*batch points 3"]
) -> Float[Tensor, "*batch points 3"]:
    """The matrix applied to every point."""
    x, y, z = points.split(1, -1)
    first, second, third = matrix[..., None, :, :].unbind(-1)
    return x * first + y * second + z * third
