"""Moving a scene moves everything in it, keeps labels inside, and repeats from a seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.actions import Box, contains, voxel_from_position
from gnfactor.augment import AugmentConfig, augment, hide_readings, move_scene, random_motion
from gnfactor.batch import Batch
from gnfactor.errors import ConfigError
from gnfactor.field.rays import rays_through
from gnfactor.geometry import inverse_pose, pose_from, rotation_from_euler, transform_points
from gnfactor.voxels import GridConfig, cloud_from_views, grid_from_views
from tests.strategies import generators, random_batch, random_rays, seeds, sizes

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
WILD = AugmentConfig(translation_m=(0.4, 0.3, 0.2), yaw_deg=180.0, yaw_step_deg=0.0)


def yaw_about(pivot: tuple[float, float, float], angle: float, shift: tuple[float, float, float]) -> Tensor:
    """Turn about the vertical through a point, then a shift."""
    rotation = rotation_from_euler(torch.tensor([0.0, 0.0, angle]))
    centre = torch.tensor(pivot)
    return pose_from(rotation, centre - rotation @ centre + torch.tensor(shift))


def with_target(batch: Batch, positions: Tensor) -> Batch:
    target = batch.targets.world_from_gripper.clone()
    target[:, :3, 3] = positions
    return replace(batch, targets=replace(batch.targets, world_from_gripper=target))


@given(generators(), sizes)
def test_the_identity_does_nothing(generator: torch.Generator, size: int) -> None:
    batch = random_batch(size, BOX, generator)
    moved = move_scene(batch, torch.eye(4).expand(len(batch.tasks), 4, 4))
    assert torch.equal(moved.inputs.views.world_from_camera, batch.inputs.views.world_from_camera)
    assert torch.equal(moved.inputs.world_from_gripper, batch.inputs.world_from_gripper)
    assert torch.equal(moved.targets.world_from_gripper, batch.targets.world_from_gripper)


@given(generators(), sizes)
def test_what_the_gripper_sees_stays_the_same_whatever_way_it_points(generator: torch.Generator, size: int) -> None:
    batch = random_batch(size, BOX, generator)
    moved = move_scene(batch, random_motion(batch, BOX, WILD, generator))
    for before, after in (
        (batch.targets.world_from_gripper, moved.targets.world_from_gripper),
        (batch.inputs.world_from_gripper, moved.inputs.world_from_gripper),
    ):
        cloud_before = transform_points(inverse_pose(before), cloud_from_views(batch.inputs.views).position)
        cloud_after = transform_points(inverse_pose(after), cloud_from_views(moved.inputs.views).position)
        torch.testing.assert_close(cloud_after, cloud_before, rtol=0, atol=1e-5)


@given(generators(), sizes, sizes)
def test_rays_move_with_the_scene_and_still_end_on_the_same_surfaces(
    generator: torch.Generator, size: int, views: int
) -> None:
    batch = replace(random_batch(size, BOX, generator), rays=random_rays(size, views, 4, BOX, generator, 3))
    motion = random_motion(batch, BOX, WILD, generator)
    ends: list[Tensor] = []
    for one in (batch, move_scene(batch, motion)):
        assert one.rays is not None
        rays = rays_through(one.rays.pixel, one.rays.intrinsics, one.rays.world_from_camera)
        surface_m = one.rays.depth_m / rays.cosine
        ends.append(rays.at(surface_m[..., None]).flatten(1, -2))
        for name in ("pixel", "intrinsics", "rgb", "depth_m", "feature"):
            assert getattr(one.rays, name) is getattr(batch.rays, name), name
    torch.testing.assert_close(ends[1], transform_points(motion, ends[0]), rtol=0, atol=1e-5)


def test_a_horizontal_grasp_turns_with_the_world_and_stays_horizontal() -> None:
    batch = random_batch(1, BOX, torch.Generator().manual_seed(0))
    forward = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # the gripper's z along the world's x
    grasp = pose_from(forward[None], torch.tensor([[0.2, 0.0, 1.0]]))
    batch = replace(batch, targets=replace(batch.targets, world_from_gripper=grasp))
    moved = move_scene(batch, yaw_about((0.2, 0.0, 1.0), math.pi / 2, (0.0, 0.1, 0.0))[None])
    pose = moved.targets.world_from_gripper[0]
    torch.testing.assert_close(pose[:3, 2], torch.tensor([0.0, 1.0, 0.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(pose[:3, 3], torch.tensor([0.2, 0.1, 1.0]))


@given(generators(), sizes, st.floats(0, 2), st.integers(1, 4))
def test_a_label_inside_the_box_is_never_moved_out(
    generator: torch.Generator, size: int, reach: float, tries: int
) -> None:
    batch = random_batch(size, BOX, generator)
    lower, upper = BOX.bounds(batch.targets.world_from_gripper)
    just_inside = torch.nextafter(upper, lower)
    corners = torch.stack([lower, just_inside, (lower + upper) / 2])[: len(batch.tasks)]
    batch = with_target(batch, corners)
    config = replace(WILD, translation_m=(reach, reach, reach), tries=tries)
    moved = move_scene(batch, random_motion(batch, BOX, config, generator))
    position = moved.targets.world_from_gripper[:, :3, 3]
    assert contains(BOX, position).all()
    exact = (position - lower) * (100 / (upper - lower))
    assert torch.equal(voxel_from_position(position, BOX, 100), exact.floor().long().clamp(max=99))


@given(generators())
def test_a_scene_whose_motion_never_fits_stays_where_it_is(generator: torch.Generator) -> None:
    batch = random_batch(3, BOX, generator)
    outside = with_target(batch, torch.tensor([5.0, 5.0, 5.0]).expand(3, 3))
    motion = random_motion(outside, BOX, WILD, generator)
    assert torch.equal(motion, torch.eye(4).expand(3, 4, 4))


@given(seeds)
def test_the_same_seed_gives_the_same_batch_and_another_seed_another(seed: int) -> None:
    batch = random_batch(2, BOX, torch.Generator().manual_seed(1))
    config = AugmentConfig(keep_points=0.5)

    def with_seed(number: int) -> Batch:
        return augment(batch, BOX, config, torch.Generator().manual_seed(number))

    first, again, other = with_seed(seed), with_seed(seed), with_seed(seed + 1)
    assert torch.equal(first.targets.world_from_gripper, again.targets.world_from_gripper)
    assert torch.equal(first.inputs.views.depth_m, again.inputs.views.depth_m)
    assert not torch.equal(first.targets.world_from_gripper, other.targets.world_from_gripper)


@given(generators())
def test_turns_are_about_the_vertical_in_steps_and_shifts_within_their_limits(generator: torch.Generator) -> None:
    batch = random_batch(64, BOX, generator)
    config = AugmentConfig(translation_m=(0.1, 0.05, 0.0), yaw_deg=47.0, yaw_step_deg=5.0)
    motion = random_motion(batch, BOX, config, generator)
    yaw_deg = torch.rad2deg(torch.atan2(motion[:, 1, 0], motion[:, 0, 0]))
    torch.testing.assert_close(yaw_deg / 5, (yaw_deg / 5).round(), rtol=0, atol=1e-4)
    assert yaw_deg.abs().max() <= 45 + 1e-4
    up = torch.tensor([0.0, 0.0, 1.0]).expand(64, 3)
    torch.testing.assert_close(motion[:, :3, 2], up)
    moved = move_scene(batch, motion)
    shift = (moved.targets.world_from_gripper - batch.targets.world_from_gripper)[:, :3, 3].abs()
    assert (shift <= torch.tensor([0.1, 0.05, 0.0]) + 1e-6).all()


def test_every_allowed_turn_is_equally_likely() -> None:
    generator = torch.Generator().manual_seed(2)
    batch = with_target(random_batch(9500, BOX, generator, cameras=1), torch.tensor([0.2, 0.0, 1.1]).expand(9500, 3))
    motion = random_motion(batch, BOX, AugmentConfig(), generator)
    yaw_deg = torch.rad2deg(torch.atan2(motion[:, 1, 0], motion[:, 0, 0])).round().long()
    values, counts = yaw_deg.unique(return_counts=True)
    assert values.tolist() == list(range(-45, 50, 5))
    assert (counts - 500).abs().max() < 120  # more than five standard deviations


def test_a_shift_by_whole_voxels_shifts_the_grid_and_the_label() -> None:
    config = GridConfig(lower=(0.0, 0.0, 0.0), upper=(1.0, 1.0, 1.0), size=8, channels=("rgb", "offset", "occupancy"))
    batch = random_batch(2, Box((0.3, 0.3, 0.3), (0.6, 0.6, 0.6)), torch.Generator().manual_seed(3))
    views = replace(batch.inputs.views, depth_m=0.1 * batch.inputs.views.depth_m)
    batch = replace(batch, inputs=replace(batch.inputs, views=views))
    moved = move_scene(batch, yaw_about((0.0, 0.0, 0.0), 0.0, (0.125, -0.25, 0.0)).expand(2, 4, 4))
    before, after = (grid_from_views(one.inputs.views, config) for one in (batch, moved))
    torch.testing.assert_close(after, before.roll((1, -2), (2, 3)), rtol=0, atol=2e-5)
    voxels = [voxel_from_position(one.targets.world_from_gripper[:, :3, 3], config.box, 8) for one in (batch, moved)]
    assert torch.equal(voxels[1] - voxels[0], torch.tensor([[1, -2, 0], [1, -2, 0]]))


def test_a_quarter_turn_about_the_middle_turns_the_grid_and_the_label() -> None:
    config = GridConfig(lower=(0.0, 0.0, 0.0), upper=(1.0, 1.0, 1.0), size=8, channels=("rgb", "occupancy"))
    batch = random_batch(1, config.box, torch.Generator().manual_seed(4))
    moved = move_scene(batch, yaw_about((0.5, 0.5, 0.5), math.pi / 2, (0.0, 0.0, 0.0))[None])
    before, after = (grid_from_views(one.inputs.views, config) for one in (batch, moved))
    torch.testing.assert_close(after, before.rot90(1, (2, 3)), rtol=0, atol=1e-5)
    marker = torch.zeros(1, 8, 8, 8)
    x, y, z = voxel_from_position(batch.targets.world_from_gripper[0, :3, 3], config.box, 8).tolist()
    marker[0, x, y, z] = 1
    turned = voxel_from_position(moved.targets.world_from_gripper[0, :3, 3], config.box, 8).tolist()
    assert marker.rot90(1, (1, 2))[0].nonzero().tolist() == [turned]


def test_switched_off_it_gives_the_batch_back_untouched() -> None:
    batch = random_batch(2, BOX, torch.Generator().manual_seed(5))
    assert augment(batch, BOX, AugmentConfig(enabled=False, keep_points=0.5), torch.Generator()) is batch


def test_hiding_keeps_the_share_asked_for_and_changes_no_reading() -> None:
    views = random_batch(200, BOX, torch.Generator().manual_seed(6)).inputs.views
    hidden = hide_readings(views, 0.3, torch.Generator().manual_seed(7)).depth_m
    kept = hidden > 0
    assert torch.equal(hidden[kept], views.depth_m[kept])
    assert (kept.sum() / (views.depth_m > 0).sum()).item() == pytest.approx(0.3, abs=0.02)


def test_autocast_does_not_round_the_motion() -> None:
    batch = random_batch(3, BOX, torch.Generator().manual_seed(8))
    exact = augment(batch, BOX, WILD, torch.Generator().manual_seed(9))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = augment(batch, BOX, WILD, torch.Generator().manual_seed(9))
    assert torch.equal(exact.targets.world_from_gripper, rounded.targets.world_from_gripper)
    assert torch.equal(exact.inputs.views.world_from_camera, rounded.inputs.views.world_from_camera)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"translation_m": (-0.1, 0.0, 0.0)}, "translation_m"),
        ({"yaw_deg": 200.0}, "yaw_deg"),
        ({"yaw_step_deg": -5.0}, "yaw_step_deg"),
        ({"tries": 0}, "tries"),
        ({"keep_points": 0.0}, "keep_points"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        replace(AugmentConfig(), **changes)
