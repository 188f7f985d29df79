"""Training scenes moved about the workspace.

Moving the world is one rigid transform, multiplied from the LEFT to every pose in it. Clouds, grasps and cameras
then keep their places relative to each other, whatever way the gripper points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gnfactor.actions import Box, contains
from gnfactor.batch import Batch, Views
from gnfactor.errors import ConfigError
from gnfactor.geometry import compose, pose_from, rotation_from_euler


@dataclass(frozen=True)
class AugmentConfig:
    """How far training scenes are moved, and how much of them is hidden."""

    translation_m: tuple[float, float, float] = (0.125, 0.125, 0.125)
    """Largest shift along each axis, either way."""
    yaw_deg: float = 45.0
    """Largest turn about the vertical axis, either way."""
    yaw_step_deg: float = 5.0
    """Turns are multiples of this; 0 allows any turn."""
    enabled: bool = True
    tries: int = 10
    """Motions drawn for a scene until its target stays in the box; after that the scene stays where it is."""
    keep_points: float = 1.0
    """Share of pixels, drawn anew for each scene, whose depth reading is kept."""

    def __post_init__(self) -> None:
        if any(shift < 0 for shift in self.translation_m):
            raise ConfigError(f"augment translation_m is {list(self.translation_m)}; shifts must not be negative (m)")
        if not 0 <= self.yaw_deg <= 180:
            raise ConfigError(f"augment yaw_deg is {self.yaw_deg}; it must lie in 0 to 180 degrees")
        if self.yaw_step_deg < 0:
            raise ConfigError(f"augment yaw_step_deg is {self.yaw_step_deg}; take 0 (any turn) or a positive step")
        if self.tries < 1:
            raise ConfigError(f"augment tries is {self.tries}; it must be at least 1 (enabled=false switches it off)")
        if not 0 < self.keep_points <= 1:
            raise ConfigError(f"augment keep_points is {self.keep_points}; it must lie above 0 and at most at 1")


def augment(batch: Batch, box: Box, config: AugmentConfig, generator: torch.Generator) -> Batch:
    """The batch as the configuration wants it seen this time; the same generator state gives the same batch."""
    if not config.enabled:
        return batch
    moved = move_scene(batch, random_motion(batch, box, config, generator))
    if config.keep_points == 1:
        return moved
    views = hide_readings(moved.inputs.views, config.keep_points, generator)
    return replace(moved, inputs=replace(moved.inputs, views=views))


def move_scene(batch: Batch, world_from_world: Float[Tensor, "batch 4 4"]) -> Batch:
    """Everything in the batch that lives in the world frame, carried through one rigid transform per scene.

    These are the cameras (and with them the cloud), the gripper, the target, and the cameras of the views to render.
    """
    inputs, views, rays = batch.inputs, batch.inputs.views, batch.rays
    if rays is not None:
        rays = replace(rays, world_from_camera=compose(world_from_world[:, None], rays.world_from_camera))
    return replace(
        batch,
        inputs=replace(
            inputs,
            views=replace(views, world_from_camera=compose(world_from_world[:, None], views.world_from_camera)),
            world_from_gripper=compose(world_from_world, inputs.world_from_gripper),
        ),
        targets=replace(batch.targets, world_from_gripper=compose(world_from_world, batch.targets.world_from_gripper)),
        rays=rays,
    )


def random_motion(
    batch: Batch, box: Box, config: AugmentConfig, generator: torch.Generator
) -> Float[Tensor, "batch 4 4"]:
    """A turn about the vertical through the target, then a shift, for each scene.

    Drawn until the moved target lies in the box, at most `config.tries` times; then, and for scenes whose target
    is outside from the start and cannot be brought in, the identity. A target inside the box stays inside.
    """
    target = batch.targets.world_from_gripper
    drawn = (config.tries, len(target))
    yaw = _random_yaw(config, _uniform(drawn, target, generator))
    across, along, up = ((2 * _uniform(drawn, target, generator) - 1) * most for most in config.translation_m)
    rotation = rotation_from_euler(torch.stack((torch.zeros_like(yaw), torch.zeros_like(yaw), yaw), -1))
    pivot = target[:, :3, 3]
    turned_pivot = (rotation * pivot[:, None]).sum(-1)
    candidates = pose_from(rotation, torch.stack((across, along, up), -1) + pivot - turned_pivot)
    # Judged by the very numbers that `move_scene` will produce: no rounding can put a label outside.
    inside = contains(box, compose(candidates, target)[..., :3, 3])
    return _first(candidates, inside)


def hide_readings(views: Views, keep: float, generator: torch.Generator) -> Views:
    """The same views with a random share `keep` of the depth readings; the rest say "no reading"."""
    kept = _uniform(views.depth_m.shape, views.depth_m, generator) < keep
    return replace(views, depth_m=views.depth_m * kept)


def _random_yaw(config: AugmentConfig, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Angles (rad), uniform over the allowed turns, from numbers uniform over 0 to 1."""
    if config.yaw_step_deg == 0:
        return torch.deg2rad((2 * uniform - 1) * config.yaw_deg)
    steps = int(config.yaw_deg / config.yaw_step_deg + 1e-9)
    multiple = (uniform * (2 * steps + 1)).floor().clamp(max=2 * steps) - steps
    return torch.deg2rad(multiple * config.yaw_step_deg)


def _first(
    candidates: Float[Tensor, "tries batch 4 4"], accepted: Bool[Tensor, "tries batch"]
) -> Float[Tensor, "batch 4 4"]:
    """The first accepted candidate of each scene, or the identity."""
    chosen = accepted.int().argmax(0)[None, :, None, None].expand(1, -1, 4, 4)
    identity = torch.eye(4, dtype=candidates.dtype, device=candidates.device)
    return torch.where(accepted.any(0)[:, None, None], candidates.gather(0, chosen)[0], identity)


def _uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from 0 to 1 of `like`'s kind; those of a CPU generator are the same wherever the batch is."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device).to(like, non_blocking=True)
