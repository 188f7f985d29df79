"""Rays go through their pixels, and are cut where they enter and leave the workspace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.field.rays import Rays, clip_to_box, rays_through
from gnfactor.geometry import project, unproject
from tests.strategies import boxes, generators, poses

UNIT = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def intrinsics(generator: torch.Generator) -> Tensor:
    """A camera of 5 x 4 pixels, not square ones, its centre off the middle; in float64."""
    fx, fy, cx, cy = (torch.rand(4, generator=generator) + torch.tensor([3.0, 5.0, 2.0, 1.0])).double().tolist()
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def pixels(width: int, height: int) -> Tensor:
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((u, v), -1).reshape(-1, 2).double()


def ray(origin: list[float], towards: list[float]) -> Rays:
    direction = torch.nn.functional.normalize(torch.tensor([towards], dtype=torch.float32), dim=-1)
    return Rays(torch.tensor([origin], dtype=torch.float32), direction, torch.ones(1))


@given(poses(), generators())
def test_the_ray_of_the_principal_point_is_the_optical_axis(pose: Tensor, generator: torch.Generator) -> None:
    camera = intrinsics(generator)
    rays = rays_through(camera[None, :2, 2], camera, pose)
    torch.testing.assert_close(rays.direction[0], pose[:3, 2])
    torch.testing.assert_close(rays.origin[0], pose[:3, 3])
    assert rays.cosine.item() == pytest.approx(1)


@given(poses(), generators())
def test_the_point_at_a_pixels_depth_is_the_one_that_unproject_finds(pose: Tensor, generator: torch.Generator) -> None:
    camera = intrinsics(generator)
    depth_m = 0.1 + torch.rand((4, 5), generator=generator).double()
    rays = rays_through(pixels(5, 4), camera, pose)
    points = rays.at((depth_m.flatten() / rays.cosine)[:, None])[:, 0]
    torch.testing.assert_close(points, unproject(depth_m, camera, pose).view(-1, 3))


@given(poses(), generators())
def test_every_point_of_a_ray_is_seen_in_its_pixel_at_its_depth(pose: Tensor, generator: torch.Generator) -> None:
    camera = intrinsics(generator)
    rays = rays_through(pixels(5, 4), camera, pose)
    distance_m = 0.1 + 3 * torch.rand(20, generator=generator).double()
    pixel, depth_m = project(rays.at(distance_m[:, None])[:, 0], camera, pose)
    torch.testing.assert_close(pixel, pixels(5, 4))
    torch.testing.assert_close(depth_m, distance_m * rays.cosine)
    torch.testing.assert_close(rays.direction.norm(dim=-1), torch.ones(20, dtype=torch.float64))


def test_each_view_has_its_own_intrinsics_and_pose() -> None:
    generator = torch.Generator().manual_seed(0)
    cameras = torch.stack([intrinsics(generator) for _ in range(6)]).view(2, 3, 3, 3)
    turned = torch.linalg.qr(torch.randn((2, 3, 3, 3), generator=generator).double())[0]
    pose = torch.eye(4, dtype=torch.float64).expand(2, 3, 4, 4).clone()
    pose[..., :3, :3], pose[..., :3, 3] = turned, torch.randn((2, 3, 3), generator=generator)
    together = rays_through(pixels(5, 4).expand(2, 3, 20, 2), cameras, pose)
    for scene in range(2):
        for view in range(3):
            alone = rays_through(pixels(5, 4), cameras[scene, view], pose[scene, view])
            assert torch.equal(together.direction[scene, view], alone.direction)
            assert torch.equal(together.origin[scene, view], alone.origin)
            assert torch.equal(together.cosine[scene, view], alone.cosine)


@given(boxes(), generators(), st.sampled_from([0.0, 0.1]))
def test_clipping_agrees_with_a_walk_along_the_ray(box: Box, generator: torch.Generator, nearest_m: float) -> None:
    lower, upper = torch.tensor(box.lower), torch.tensor(box.upper)
    origin = (lower + upper) / 2 + torch.randn((12, 3), generator=generator)  # in the box, near it, behind it
    aim = lower + (upper - lower) * (1.6 * torch.rand((12, 3), generator=generator) - 0.3)
    rays = Rays(origin, torch.nn.functional.normalize(aim - origin, dim=-1), torch.ones(12))
    span = clip_to_box(rays, box, nearest_m)
    step = 0.0005
    walked = np.arange(nearest_m, 8, step)
    for number in range(12):
        place = origin[number].numpy() + walked[:, None] * rays.direction[number].numpy()
        inside = walked[((place >= box.lower) & (place <= box.upper)).all(-1)]
        near_m, far_m = span.near_m[number].item(), span.far_m[number].item()
        if len(inside) == 0:
            assert far_m - near_m < 2 * step
        else:
            assert near_m == pytest.approx(inside[0], abs=2 * step)
            assert far_m == pytest.approx(inside[-1], abs=2 * step)


def test_rays_along_a_face_are_cut_by_the_other_faces_or_miss() -> None:
    within = clip_to_box(ray([-1, 0.5, 0.5], [1, 0, 0]), UNIT)
    assert (within.near_m.item(), within.far_m.item()) == pytest.approx((1, 2))
    for beside in ([-1, 1.5, 0.5], [-1, 0.5, -0.5], [-1, -1e-3, 0.5]):
        assert not clip_to_box(ray(beside, [1, 0, 0]), UNIT).crosses.any()
    in_it = clip_to_box(ray([-1, 0, 0.5], [1, 0, 0]), UNIT)
    assert (in_it.near_m.item(), in_it.far_m.item()) == pytest.approx((1, 2))


def test_a_camera_in_the_box_sees_from_the_nearest_distance_to_the_face() -> None:
    span = clip_to_box(ray([0.25, 0.5, 0.5], [1, 0, 0]), UNIT, 0.1)
    assert (span.near_m.item(), span.far_m.item()) == pytest.approx((0.1, 0.75))
    grazing = clip_to_box(ray([0.95, 0.5, 0.5], [1, 0, 0]), UNIT, 0.1)
    assert not grazing.crosses.any()


def test_a_box_behind_the_camera_is_not_seen() -> None:
    assert not clip_to_box(ray([2, 0.5, 0.5], [1, 0, 0]), UNIT, 0.1).crosses.any()


@given(generators())
def test_a_ray_that_misses_has_a_span_of_no_length_that_is_not_far_away(generator: torch.Generator) -> None:
    direction = torch.nn.functional.normalize(torch.randn((40, 3), generator=generator), dim=-1)
    direction[::4] = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1e-8, 1]]).repeat(2, 1)
    rays = Rays(3 * torch.randn((40, 3), generator=generator), direction, torch.ones(40))
    span = clip_to_box(rays, UNIT, 0.1)
    missed = ~span.crosses
    assert torch.equal(span.near_m[missed], span.far_m[missed])
    farthest_m = (rays.origin.norm(dim=-1) + math.sqrt(3))[missed]
    assert (span.far_m[missed] <= farthest_m).all()
