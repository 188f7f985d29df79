"""What a policy decides, and the published discretisation of it.

Facts: GNFactor (CoRL 2023) section 3 and PerAct (CoRL 2022) section 3.2; positions become voxel indices,
orientations three Euler bins of 5 degrees about the fixed x, y, z axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnfactor.geometry import euler_from_rotation, rotation_from_euler


@dataclass(frozen=True, eq=False)
class ArmTarget:
    """The next keyframe of one arm: go there, then open or close the gripper."""

    world_from_gripper: Float[np.ndarray, "4 4"]
    gripper_open: bool
    ignore_collisions: bool
    """True: move in a straight line and accept contact. False: plan around obstacles."""


@dataclass(frozen=True, eq=False)
class Action:
    """One decision for all arms."""

    arms: Mapping[str, ArmTarget]


@dataclass(frozen=True)
class Box:
    """The axis-aligned part of the world that is divided into voxels (m)."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    def bounds(self, like: Tensor) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
        """Lower and upper corner as tensors of `like`'s dtype and device."""
        lower, upper = ([like.new_full((), edge) for edge in corner] for corner in (self.lower, self.upper))
        return torch.stack(lower), torch.stack(upper)  # filled there: a list copied to a GPU would wait for it


def contains(box: Box, points: Float[Tensor, "*batch 3"]) -> Tensor:
    """Whether each point lies in the half-open box, as a bool tensor of shape `batch`."""
    lower, upper = box.bounds(points)
    return ((points >= lower) & (points < upper)).all(-1)


def voxel_from_position(position: Float[Tensor, "*batch 3"], box: Box, size: int) -> Int[Tensor, "*batch 3"]:
    """Index (x, y, z) of the voxel that holds a position (m); positions outside go to the nearest voxel."""
    lower, upper = box.bounds(position)
    index = ((position - lower) * (size / (upper - lower))).floor().long()
    return index.clamp(0, size - 1)


def position_from_voxel(index: Int[Tensor, "*batch 3"], box: Box, size: int) -> Float[Tensor, "*batch 3"]:
    """Centre (m) of a voxel."""
    lower, upper = box.bounds(torch.empty(0, device=index.device))
    return lower + (index + 0.5) * ((upper - lower) / size)


def bins_from_rotation(rotation: Float[Tensor, "*batch 3 3"], bin_count: int) -> Int[Tensor, "*batch 3"]:
    """Bin of each Euler angle about the fixed x, y, z axes; bin 0 is centred on -180 degrees.

    The nearest bin, halves to even, as published; 72 bins of 5 degrees there.
    """
    turns = torch.rad2deg(euler_from_rotation(rotation)) + 180
    return (turns / (360 / bin_count)).round().long() % bin_count


def rotation_from_bins(bins: Int[Tensor, "*batch 3"], bin_count: int) -> Float[Tensor, "*batch 3 3"]:
    """Rotation at the centres of three Euler bins."""
    angles_deg = bins * (360 / bin_count) - 180
    return rotation_from_euler(torch.deg2rad(angles_deg))
