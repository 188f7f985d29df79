"""From pictures with depth to a grid of voxels.

Every pixel with a reading becomes a point in the world; each voxel holds the mean of what its points carry.
A grid's channels are chosen by name; a new channel is a function in one of the two tables below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from gnfactor.actions import Box, contains, voxel_from_position
from gnfactor.batch import Views
from gnfactor.errors import ConfigError
from gnfactor.geometry import unproject
from gnfactor.scene import WORKSPACE_LOWER_M, WORKSPACE_UPPER_M


@dataclass(frozen=True, eq=False)
class Cloud:
    """One point for every pixel of every camera, with the pictures it comes from."""

    views: Views
    position: Float[Tensor, "batch points 3"]
    """World, metres; pixels run camera by camera, row by row."""
    valid: Bool[Tensor, "batch points"]
    """The pixel has a depth reading."""


@dataclass(frozen=True, eq=False)
class Cells:
    """What the points of each voxel have in common."""

    mean: Float[Tensor, "batch channels x y z"]
    """Mean feature of the points inside; 0 where there are none."""
    count: Float[Tensor, "batch 1 x y z"]
    """Number of points inside."""


@dataclass(frozen=True)
class PointChannel:
    """Numbers that every point carries into its voxel, where they are averaged."""

    width: int
    values: Callable[[Cloud, GridConfig], Tensor]
    """(batch, points, width)."""


@dataclass(frozen=True)
class CellChannel:
    """Numbers that a voxel has by itself."""

    width: int
    values: Callable[[Cells, GridConfig], Tensor]
    """(batch, width, x, y, z); the batch may be 1 where all grids are alike."""


@dataclass(frozen=True)
class GridConfig:
    """Where the voxels are and what each of them holds."""

    lower: tuple[float, float, float] = WORKSPACE_LOWER_M
    """Corner of the box in the world (m)."""
    upper: tuple[float, float, float] = WORKSPACE_UPPER_M
    size: int = 100
    """Voxels along each axis."""
    channels: tuple[str, ...] = ("rgb", "xyz", "index", "occupancy")
    """Names and order of the channels. GNFactor: rgb xyz index occupancy; PerAct: xyz rgb index occupancy."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"grid size is {self.size}; it must be at least 1 voxel")
        if any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ConfigError(f"grid lower {self.lower} must be below upper {self.upper} on every axis (m)")
        unknown = [name for name in self.channels if name not in CHANNELS]
        if unknown or not self.channels:
            raise ConfigError(f"grid channels {list(self.channels)}: unknown {unknown}; known are {sorted(CHANNELS)}")

    @property
    def box(self) -> Box:
        """The part of the world that is divided into voxels."""
        return Box(self.lower, self.upper)

    @property
    def width(self) -> int:
        """Channels of the grid."""
        return sum(CHANNELS[name].width for name in self.channels)

    def channel(self, name: str) -> slice:
        """Where the named channel stands in the grid."""
        before = self.channels[: self.channels.index(name)]
        start = sum(CHANNELS[other].width for other in before)
        return slice(start, start + CHANNELS[name].width)


def grid_from_views(views: Views, config: GridConfig) -> Float[Tensor, "batch channels x y z"]:
    """Voxel grid of all cameras together, in float32 also under autocast."""
    with torch.autocast(views.depth_m.device.type, enabled=False):
        cloud = cloud_from_views(views)
        carried = {name: POINT_CHANNELS[name] for name in config.channels if name in POINT_CHANNELS}
        empty = cloud.position[..., :0]
        features = torch.cat([empty.mT, *(channel.values(cloud, config).mT for channel in carried.values())], 1).mT
        cells = voxelize(cloud.position, features, cloud.valid, config.box, config.size)
        widths = [channel.width for channel in carried.values()]
        parts = dict(zip(carried, cells.mean.split(widths, 1), strict=True)) if carried else {}
        for name in config.channels:
            if name in CELL_CHANNELS:
                parts[name] = CELL_CHANNELS[name].values(cells, config).expand(len(cells.count), -1, -1, -1, -1)
        return torch.cat([parts[name] for name in config.channels], 1)


def cloud_from_views(views: Views) -> Cloud:
    """World point of every pixel; those without a depth reading are not valid."""
    depth_m = views.depth_m.float()
    position = unproject(depth_m, views.intrinsics.float(), views.world_from_camera.float())
    valid = (depth_m > 0) & depth_m.isfinite()
    return Cloud(views=views, position=_planar(position), valid=valid.flatten(1))


def voxelize(
    points: Float[Tensor, "batch points 3"],
    features: Float[Tensor, "batch points channels"],
    valid: Bool[Tensor, "batch points"],
    box: Box,
    size: int,
) -> Cells:
    """Mean of the features, of any width, of the valid points in each voxel.

    The box is half-open: a point on a lower face belongs to the first voxel, a point on an upper face to none.
    Points outside vanish. Gradients flow to the features, not to the points. All work stays on the device and no
    shape depends on the data, so that nothing waits for the host.

    On a CPU a one-dimensional `index_add_` is one sequential loop, so that sums do not depend on the number of
    threads. On CUDA it uses atomic additions in no fixed order: repetitions may differ in the last bit unless
    `torch.use_deterministic_algorithms(True)` is set.
    """
    batch = len(points)
    inside = valid & contains(box, points)
    x, y, z = voxel_from_position(points, box, size).unbind(-1)
    first = torch.arange(batch, device=points.device)[:, None] * size**3
    # Points that count for nothing go to one more cell at the end, so that their number need not be known.
    cell = torch.where(inside, first + (x * size + y) * size + z, batch * size**3).flatten()

    def summed(values: Tensor) -> Tensor:
        sums = torch.zeros(batch * size**3 + 1, device=points.device).index_add(0, cell, values.flatten().float())
        return sums[:-1].view(batch, size, size, size)

    count = summed(torch.ones_like(points[..., 0]))
    divisor = count.clamp(min=1)
    means = [summed(values) / divisor for values in features.unbind(-1)]
    return Cells(
        mean=torch.stack(means, 1) if means else count.new_zeros(batch, 0, size, size, size), count=count[:, None]
    )


def _planar(pixels: Shaped[Tensor, "batch cameras height width values"]) -> Shaped[Tensor, "batch points values"]:
    """Pixels in one row, stored plane by plane: arithmetic on threes of numbers is several times faster so."""
    return pixels.movedim(-1, 1).flatten(2).mT


def _rgb(cloud: Cloud, config: GridConfig) -> Tensor:  # noqa: ARG001
    """Colour, -1 to 1."""
    return _planar(cloud.views.rgb.movedim(2, -1)).float() / 255 * 2 - 1


def _xyz(cloud: Cloud, config: GridConfig) -> Tensor:  # noqa: ARG001
    """Position in the world (m)."""
    return cloud.position


def _offset(cloud: Cloud, config: GridConfig) -> Tensor:
    """Position inside the voxel, in voxels from its centre: -0.5 to 0.5."""
    lower, upper = config.box.bounds(cloud.position)
    in_voxels = (cloud.position - lower) * (config.size / (upper - lower))
    return in_voxels - voxel_from_position(cloud.position, config.box, config.size) - 0.5


def _axes(cells: Cells, config: GridConfig) -> Tensor:
    """Index of every voxel, (1, 3, x, y, z)."""
    along = torch.arange(config.size, device=cells.count.device, dtype=torch.float32)
    return torch.stack(torch.meshgrid(along, along, along, indexing="ij"))[None]


def _index(cells: Cells, config: GridConfig) -> Tensor:
    """Index of the voxel over the size of the grid: 0 up to, but not, 1; as published."""
    return _axes(cells, config) / config.size


def _coordinate(cells: Cells, config: GridConfig) -> Tensor:
    """Centre of the voxel in the box, -1 to 1."""
    return (2 * _axes(cells, config) + 1) / config.size - 1


def _occupancy(cells: Cells, config: GridConfig) -> Tensor:  # noqa: ARG001
    """1 where there is any point, else 0."""
    return (cells.count > 0).float()


POINT_CHANNELS = {
    "rgb": PointChannel(3, _rgb),
    "xyz": PointChannel(3, _xyz),
    "offset": PointChannel(3, _offset),
}
CELL_CHANNELS = {
    "index": CellChannel(3, _index),
    "coordinate": CellChannel(3, _coordinate),
    "occupancy": CellChannel(1, _occupancy),
}
CHANNELS: dict[str, PointChannel | CellChannel] = {**POINT_CHANNELS, **CELL_CHANNELS}
