"""A deep volume, kept in the few channels that it really has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume of `channels` features per voxel, stored as `rank` features and one affine map for all voxels.

    GNFactor's U-Net ends in a pointwise affine map without activation, so its 128 channels carry 8 degrees of
    freedom per voxel. Whatever is linear (convolutions, trilinear sampling) can work on those 8 and fold the map
    into its own weights. No map (`weight` and `bias` None) means that rank and channels are the same.
    """

    features: Float[Tensor, "batch rank x y z"]
    weight: Float[Tensor, "channels rank"] | None = None
    bias: Float[Tensor, " channels"] | None = None

    @property
    def channels(self) -> int:
        """Features per voxel after the map."""
        return self.features.shape[1] if self.weight is None else self.weight.shape[0]

    def expand(self) -> Float[Tensor, "batch channels x y z"]:
        """All channels at every voxel: as much memory as the map saves."""
        return self.expand_channels(0, self.channels)

    def expand_channels(self, start: int, stop: int) -> Float[Tensor, "batch some x y z"]:
        """Channels `start` to `stop` (exclusive) at every voxel."""
        if self.weight is None or self.bias is None:
            return self.features[:, start:stop]
        weight, bias = self.weight[start:stop], self.bias[start:stop]
        return F.conv3d(self.features, weight[:, :, None, None, None], bias)

    def map(self, features: Float[Tensor, "*points rank"]) -> Float[Tensor, "*points channels"]:
        """The affine map applied to stored features taken from anywhere in the volume."""
        return features if self.weight is None else F.linear(features, self.weight, self.bias)

    def fold(
        self, kernel: Float[Tensor, "out channels kx ky kz"]
    ) -> tuple[Float[Tensor, "out rank kx ky kz"], Float[Tensor, " out"]]:
        """Kernel and bias that give on `features` what `kernel` gives on the expanded volume.

        Exact at replicate-padded borders too: there the map's bias is the same constant that it is inside.
        """
        if self.weight is None or self.bias is None:
            return kernel, kernel.new_zeros(kernel.shape[0])
        with torch.autocast(kernel.device.type, enabled=False):  # the convolution rounds once, not twice
            folded = torch.einsum("ocxyz,cr->orxyz", kernel, self.weight)
            return folded, kernel.sum((2, 3, 4)) @ self.bias


def sample(
    volume: Volume, position: Float[Tensor, "batch points 3"], method: str | None = None
) -> Float[Tensor, "batch points channels"]:
    """The volume at any points: trilinear between the centres of the cells, constant within half a cell of the faces.

    Interpolation is linear, so that the stored features are looked up and the map is applied to what comes out.

    Args:
        volume: features of cells that divide a box evenly.
        position: place in the box, 0 to 1 along its x, y, z; points outside take the value of the nearest place in it.
        method: one of `SAMPLERS`; None takes the fastest by the volume's device and size.
    """
    if method is None:
        many = volume.features.shape[1] > _FEW_FEATURES
        method = "fast" if many and position.device.type == "cpu" else "reference"
    with torch.autocast(position.device.type, enabled=False):
        found = SAMPLERS[method](volume.features.float(), position.float())
    return volume.map(found)


def _sample_reference(
    features: Float[Tensor, "batch rank x y z"], position: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch points rank"]:
    grid = (2 * position - 1).flip(-1)[:, :, None, None]  # torch names the last axis of a volume first
    found = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[..., 0, 0].mT


def _sample_fast(
    features: Float[Tensor, "batch rank x y z"], position: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch points rank"]:
    """Each point as a weighted sum of eight rows of a table, gathered row by row.

    No gradient flows to the positions.
    """
    batch, rank, *size = features.shape
    cells = position.new_tensor(size)
    place = torch.minimum((position.detach() * cells - 0.5).clamp(min=0), cells - 1)
    low = torch.minimum(place.floor(), (cells - 2).clamp(min=0))
    share = torch.stack((1 - (place - low), place - low))  # of the lower and the upper cell along each axis
    step = [size[1] * size[2], size[2], 1]
    first = torch.arange(batch, device=position.device)[:, None] * prod(size)
    rows, weights = list[Tensor](), list[Tensor]()
    for corner in product((0, 1), repeat=3):
        cell = [(low[..., axis].long() + corner[axis]).clamp(max=size[axis] - 1) for axis in range(3)]
        rows.append(first + sum(index * stride for index, stride in zip(cell, step, strict=True)))
        weights.append(share[corner[0], ..., 0] * share[corner[1], ..., 1] * share[corner[2], ..., 2])
    table = features.movedim(1, -1).reshape(-1, rank)
    found = F.embedding_bag(
        torch.stack(rows, -1).view(-1, 8),
        table,
        per_sample_weights=torch.stack(weights, -1).view(-1, 8),
        mode="sum",
    )
    return found.view(batch, -1, rank)


_FEW_FEATURES = 8
"""Up to so many features torch's own sampling, which works on the scenes of a batch at once, is as fast on a CPU where
there are two or more; from twice as many on ours is at least twice as fast, and the ratio grows (`samplers` in the
results of `python -m tests.benchmarks.field`, one scene)."""
SAMPLERS = {"reference": _sample_reference, "fast": _sample_fast}
