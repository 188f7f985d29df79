"""Hypothesis strategies for what lives on the ground: rotations, poses, boxes, views and small batches.

Big tensors come from a seeded generator: their content matters less than the law under test, and shrinking a picture
number by number helps nobody. A test draws the generator and makes its batch itself, because the type checker samples
tuples with `random`, which Hypothesis does not allow inside strategies.
"""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.batch import Batch, Inputs, RayTargets, Targets, Views
from gnfactor.geometry import pose_from, rotation_from_quaternion

IMAGE_HEIGHT, IMAGE_WIDTH = 6, 8

seeds = st.integers(0, 2**31 - 1)
sizes = st.integers(1, 3)


def generators() -> st.SearchStrategy[torch.Generator]:
    """Seeded generators on the CPU."""
    return seeds.map(lambda seed: torch.Generator().manual_seed(seed))


@st.composite
def quaternions(draw: st.DrawFn) -> Tensor:
    """Quaternions xyzw of length 0.1 to 2 in float64, among them the axes and half-turns."""
    component = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1, allow_subnormal=False))
    return torch.tensor(
        draw(st.lists(component, min_size=4, max_size=4).filter(lambda parts: math.hypot(*parts) > 0.1)),
        dtype=torch.float64,
    )


@st.composite
def rotations(draw: st.DrawFn) -> Tensor:
    """Rotation matrices in float64."""
    return rotation_from_quaternion(draw(quaternions()))


@st.composite
def points(draw: st.DrawFn, reach: float = 3.0) -> Tensor:
    """One point within `reach` metres of the origin along each axis, in float64."""
    coordinate = st.floats(-reach, reach, allow_subnormal=False)
    return torch.tensor(draw(st.tuples(coordinate, coordinate, coordinate)), dtype=torch.float64)


@st.composite
def poses(draw: st.DrawFn) -> Tensor:
    """Rigid transforms in float64."""
    return pose_from(draw(rotations()), draw(points()))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes of 0.1 to 2 metres along each axis."""
    lower = draw(points(1.0)).tolist()
    upper = [low + draw(st.floats(0.1, 2)) for low in lower]
    return Box((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


def random_poses(shape: tuple[int, ...], box: Box, generator: torch.Generator) -> Tensor:
    """Poses of any orientation with their origins in the box, in float32."""
    rotation = rotation_from_quaternion(torch.randn((*shape, 4), generator=generator))
    lower, upper = torch.tensor(box.lower), torch.tensor(box.upper)
    inside = lower + (upper - lower) * (0.001 + 0.998 * torch.rand((*shape, 3), generator=generator))
    return pose_from(rotation, inside)


def random_views(batch: int, cameras: int, box: Box, generator: torch.Generator) -> Views:
    """Small pictures from cameras anywhere in the box, a fifth of the pixels without a reading."""
    shape = (batch, cameras, IMAGE_HEIGHT, IMAGE_WIDTH)
    intrinsics = torch.tensor([[9.0, 0, IMAGE_WIDTH / 2], [0, 8.0, IMAGE_HEIGHT / 2], [0, 0, 1]])
    reading = torch.rand(shape, generator=generator) > 0.2
    return Views(
        rgb=torch.randint(0, 256, (batch, cameras, 3, IMAGE_HEIGHT, IMAGE_WIDTH), generator=generator).byte(),
        depth_m=torch.rand(shape, generator=generator) * reading,
        intrinsics=intrinsics.expand(batch, cameras, 3, 3).clone(),
        world_from_camera=random_poses((batch, cameras), box, generator),
    )


def random_batch(size: int, box: Box, generator: torch.Generator, cameras: int = 2) -> Batch:
    """A batch of scenes whose cameras, grippers and targets lie in the box."""
    fingers = 0.04 * torch.rand((size, 2), generator=generator)
    gripper_open = torch.rand(size, generator=generator) > 0.5
    return Batch(
        inputs=Inputs(
            views=random_views(size, cameras, box, generator),
            world_from_gripper=random_poses((size,), box, generator),
            gripper=torch.cat((gripper_open[:, None].float(), fingers), -1),
            step=torch.randint(0, 8, (size,), generator=generator),
            instructions=tuple(f"push button {index}" for index in range(size)),
        ),
        targets=Targets(
            world_from_gripper=random_poses((size,), box, generator),
            gripper_open=torch.rand(size, generator=generator) > 0.5,
            ignore_collisions=torch.rand(size, generator=generator) > 0.5,
        ),
        tasks=("push_buttons",) * size,
    )


def looking_at(eye: Tensor, target: Tensor) -> Tensor:
    """`world_from_camera` of cameras (..., 3) that look at a point, level with the horizon."""
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=eye.dtype).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    return pose_from(torch.stack((right, torch.linalg.cross(forward, right), forward), -1), eye)


def random_rays(
    batch: int, views: int, rays: int, box: Box, generator: torch.Generator, features: int | None = None
) -> RayTargets:
    """Pixels of cameras all about the box that look at its middle; every ray crosses it and ends in it."""
    lower, upper = torch.tensor(box.lower), torch.tensor(box.upper)
    middle, reach = (lower + upper) / 2, (upper - lower).min().item()
    around = 2 * math.pi * torch.rand((batch, views), generator=generator)
    eye = middle + 2 * reach * torch.stack((around.cos(), around.sin(), torch.full_like(around, 0.5)), -1)
    shape = (batch, views, rays)
    return RayTargets(
        pixel=torch.randint(0, 16, (*shape, 2), generator=generator).float(),
        intrinsics=torch.tensor([[64.0, 0, 7.5], [0, 64.0, 7.5], [0, 0, 1]]).expand(batch, views, 3, 3).clone(),
        world_from_camera=looking_at(eye, middle.expand_as(eye)),
        rgb=torch.randint(0, 256, (*shape, 3), generator=generator).byte(),
        depth_m=math.sqrt(5) * reach + 0.4 * reach * (torch.rand(shape, generator=generator) - 0.5),
        feature=None if features is None else torch.randn((*shape, features), generator=generator),
    )
