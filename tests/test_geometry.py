"""Laws of rotations, rigid transforms and cameras."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.geometry import (
    compose,
    euler_from_rotation,
    inverse_pose,
    pose_from,
    project,
    quaternion_from_rotation,
    rotation_angle_deg,
    rotation_from_euler,
    rotation_from_quaternion,
    transform_points,
    unproject,
)
from tests.strategies import generators, points, poses, quaternions, rotations

EXACT = {"rtol": 0.0, "atol": 1e-9}


def turn(axis: int, angle: float) -> Tensor:
    """Rotation about one coordinate axis, written down from the textbook."""
    cos, sin = math.cos(angle), math.sin(angle)
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


@given(quaternions())
def test_rotation_of_a_quaternion_is_orthonormal_and_right_handed(quaternion: Tensor) -> None:
    rotation = rotation_from_quaternion(quaternion)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64), **EXACT)
    assert torch.linalg.det(rotation).item() == pytest.approx(1)


@given(quaternions())
def test_quaternion_survives_the_way_through_a_matrix_up_to_sign(quaternion: Tensor) -> None:
    back = quaternion_from_rotation(rotation_from_quaternion(quaternion))
    unit = quaternion / quaternion.norm()
    assert back[3] >= 0
    assert min((back - unit).norm(), (back + unit).norm()) < 1e-9


@given(rotations())
def test_rotation_survives_the_way_through_a_quaternion_in_single_precision(rotation: Tensor) -> None:
    single = rotation.float()
    torch.testing.assert_close(rotation_from_quaternion(quaternion_from_rotation(single)), single, rtol=0, atol=2e-6)


def test_quaternion_is_xyzw_and_turns_counter_clockwise() -> None:
    half = math.sqrt(0.5)
    about_z = rotation_from_quaternion(torch.tensor([0.0, 0.0, half, half]))
    torch.testing.assert_close(about_z @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))


@given(st.lists(st.floats(-math.pi, math.pi), min_size=3, max_size=3))
def test_euler_angles_turn_about_the_fixed_x_then_y_then_z_axis(angles: list[float]) -> None:
    oracle = turn(2, angles[2]) @ turn(1, angles[1]) @ turn(0, angles[0])
    torch.testing.assert_close(rotation_from_euler(torch.tensor(angles, dtype=torch.float64)), oracle, **EXACT)


@given(rotations())
def test_rotation_survives_the_way_through_euler_angles(rotation: Tensor) -> None:
    angles = euler_from_rotation(rotation)
    assert angles[1].abs() <= math.pi / 2 + 1e-12
    torch.testing.assert_close(rotation_from_euler(angles), rotation, rtol=0, atol=2e-6)


@given(st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi), st.sampled_from([-math.pi / 2, math.pi / 2]))
def test_rotation_survives_euler_angles_in_gimbal_lock(x: float, z: float, middle: float) -> None:
    rotation = rotation_from_euler(torch.tensor([x, middle, z], dtype=torch.float64))
    angles = euler_from_rotation(rotation)
    assert angles[2] == 0
    torch.testing.assert_close(rotation_from_euler(angles), rotation, **EXACT)


@given(poses(), poses())
def test_compose_is_the_matrix_product(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(compose(first, second), first @ second, **EXACT)


def test_compose_broadcasts_one_transform_over_many() -> None:
    generator = torch.Generator().manual_seed(0)
    many = torch.rand(2, 5, 4, 4, generator=generator, dtype=torch.float64)
    many[..., 3, :] = torch.tensor([0.0, 0, 0, 1])
    torch.testing.assert_close(compose(many[:, :1], many), many[:, :1] @ many, **EXACT)


@given(poses())
def test_inverse_pose_undoes_the_pose_on_both_sides(pose: Tensor) -> None:
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(compose(inverse_pose(pose), pose), identity, **EXACT)
    torch.testing.assert_close(compose(pose, inverse_pose(pose)), identity, **EXACT)


@given(poses(), points())
def test_transforming_a_point_is_the_homogeneous_product(pose: Tensor, point: Tensor) -> None:
    oracle = (pose @ torch.cat((point, point.new_ones(1))))[:3]
    torch.testing.assert_close(transform_points(pose, point[None])[0], oracle, **EXACT)


@given(rotations(), st.floats(0, 179), st.integers(0, 2))
def test_rotation_angle_is_the_angle_turned(rotation: Tensor, angle_deg: float, axis: int) -> None:
    turned = rotation @ turn(axis, math.radians(angle_deg))
    assert rotation_angle_deg(rotation, turned).item() == pytest.approx(angle_deg, abs=1e-5)
    assert rotation_angle_deg(turned, rotation).item() == pytest.approx(angle_deg, abs=1e-5)


def test_rotation_angle_is_accurate_for_small_angles_in_single_precision() -> None:
    turned = turn(0, math.radians(0.01)).float()
    assert rotation_angle_deg(torch.eye(3), turned).item() == pytest.approx(0.01, rel=1e-3)


def test_unproject_agrees_with_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    depth = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([[5.0, 0, 2], [0, 6, 1], [0, 0, 1]], dtype=torch.float64).expand(2, 3, 3)
    rotation = rotation_from_quaternion(torch.randn(2, 4, generator=generator, dtype=torch.float64))
    pose = pose_from(rotation, torch.randn(2, 3, generator=generator, dtype=torch.float64))
    found = unproject(depth, intrinsics, pose)
    assert found.shape == (2, 3, 4, 3)
    for picture in range(2):
        for v in range(3):
            for u in range(4):
                ray = torch.linalg.inv(intrinsics[picture]) @ torch.tensor([u, v, 1.0], dtype=torch.float64)
                in_camera = torch.cat((ray * depth[picture, v, u], torch.ones(1, dtype=torch.float64)))
                torch.testing.assert_close(found[picture, v, u], (pose[picture] @ in_camera)[:3], **EXACT)


def test_the_principal_point_lies_straight_ahead_and_u_grows_to_the_right() -> None:
    intrinsics = torch.tensor([[100.0, 0, 1], [0, 100, 1], [0, 0, 1]])
    found = unproject(torch.full((3, 3), 2.0), intrinsics, torch.eye(4))
    torch.testing.assert_close(found[1, 1], torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(found[1, 2], torch.tensor([0.02, 0.0, 2.0]))
    torch.testing.assert_close(found[2, 1], torch.tensor([0.0, 0.02, 2.0]))


@given(poses(), generators())
def test_project_inverts_unproject(pose: Tensor, generator: torch.Generator) -> None:
    depth = 0.1 + torch.rand(3, 4, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([[5.0, 0, 2], [0, 6, 1], [0, 0, 1]], dtype=torch.float64)
    pixels, found_depth = project(unproject(depth, intrinsics, pose).flatten(0, 1), intrinsics, pose)
    v, u = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack((u, v), -1).flatten(0, 1).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found_depth, depth.flatten(), **EXACT)


def test_autocast_does_not_round_coordinates() -> None:
    generator = torch.Generator().manual_seed(2)
    pose = pose_from(rotation_from_quaternion(torch.randn(4, generator=generator)), torch.tensor([1.0, 0.5, 1.6]))
    cloud = torch.randn(50, 3, generator=generator)
    intrinsics = torch.tensor([[175.8, 0, 64], [0, 175.8, 64], [0, 0, 1.0]])
    depth = torch.rand(5, 6, generator=generator)

    def everything() -> list[Tensor]:
        return [
            transform_points(pose, cloud),
            inverse_pose(pose),
            compose(pose, pose),
            unproject(depth, intrinsics, pose),
            *project(cloud, intrinsics, pose),
        ]

    exact = everything()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = everything()
    for first, second in zip(exact, rounded, strict=True):
        assert torch.equal(first, second)
