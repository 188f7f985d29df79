"""Rays of pixels, and the part of each that lies in the workspace."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gnfactor.actions import Box


@dataclass(frozen=True, eq=False)
class Rays:
    """Half-lines in the world, one for each pixel."""

    origin: Float[Tensor, "*rays 3"]
    """The camera's centre (m)."""
    direction: Float[Tensor, "*rays 3"]
    """Of length 1, so that distances along a ray are metres."""
    cosine: Float[Tensor, "*rays"]
    """Between the ray and the optical axis: depth along the axis is this times the distance along the ray."""

    def at(self, distance_m: Float[Tensor, "*rays samples"]) -> Float[Tensor, "*rays samples 3"]:
        """World points at these distances from the origin."""
        return self.origin[..., None, :] + distance_m[..., None] * self.direction[..., None, :]


@dataclass(frozen=True, eq=False)
class Span:
    """The part of each ray that is rendered."""

    near_m: Float[Tensor, "*rays"]
    far_m: Float[Tensor, "*rays"]

    @property
    def crosses(self) -> Bool[Tensor, "*rays"]:
        """Whether there is any such part."""
        return self.far_m > self.near_m


def rays_through(
    pixel: Float[Tensor, "*views rays 2"],
    intrinsics: Float[Tensor, "*views 3 3"],
    world_from_camera: Float[Tensor, "*views 4 4"],
) -> Rays:
    """Rays through pixels (u, v), whose centres lie at integers, of cameras in OpenCV's convention."""
    focal = torch.stack((intrinsics[..., 0, 0], intrinsics[..., 1, 1]), -1)[..., None, :]
    centre = intrinsics[..., None, :2, 2]
    right, down = ((pixel - centre) / focal).split(1, -1)
    along_right, along_down, along_forward = world_from_camera[..., None, :3, :3].unbind(-1)
    towards = right * along_right + down * along_down + along_forward
    length = towards.square().sum(-1, keepdim=True).sqrt()
    return Rays(
        origin=world_from_camera[..., None, :3, 3].expand_as(towards),
        direction=towards / length,
        cosine=1 / length[..., 0],
    )


def clip_to_box(rays: Rays, box: Box, nearest_m: float = 0.0) -> Span:
    """The part of each ray inside a box, no nearer than `nearest_m`.

    Where there is none, near and far are equal, and no farther than the box's farthest corner.
    """
    lower, upper = box.bounds(rays.origin)
    parallel = rays.direction.abs() < _PARALLEL
    step = 1 / torch.where(parallel, torch.full_like(rays.direction, _PARALLEL), rays.direction)
    to_lower, to_upper = (lower - rays.origin) * step, (upper - rays.origin) * step
    near_m = torch.minimum(to_lower, to_upper).amax(-1).clamp(min=nearest_m)
    far_m = torch.maximum(to_lower, to_upper).amin(-1)
    farthest_m = torch.maximum((lower - rays.origin).abs(), (upper - rays.origin).abs()).square().sum(-1).sqrt()
    reach_m = farthest_m.clamp(min=nearest_m)
    return Span(torch.minimum(near_m, reach_m), torch.minimum(torch.maximum(near_m, far_m), reach_m))


_PARALLEL = 1e-9
"""Directions whose part along an axis is smaller are taken to run along the box's faces."""
