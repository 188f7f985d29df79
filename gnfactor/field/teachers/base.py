"""What a teacher is: pictures in, a map of features out, the same for the same picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gnfactor.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Numbers that a teacher may reckon in."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures to be understood, and what a simulator knows about them. All of it decides what a teacher answers."""

    rgb: UInt8[Tensor, "batch 3 height width"]
    labels: Int[Tensor, "batch height width"] | None = None
    """What is seen at each pixel, 0 for the background; None where nobody knows."""
    label_names: Mapping[int, str] = field(default_factory=dict[int, str])
    """What the labels are called, where that is known; the pictures of one batch share the names."""


@runtime_checkable
class Teacher(Protocol):
    """A frozen model whose features a neural field learns to render."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str:
        """Short hash of all that decides the features besides the picture: weights and options."""
        ...

    @property
    def channels(self) -> int: ...

    @property
    def stride(self) -> float:
        """Pixels per cell of the map, counted in the picture as the model sees it, resized to the model's size."""
        ...

    def __call__(self, pictures: Pictures) -> Float[Tensor, "batch channels rows columns"]:
        """Features in float32, each picture's own, on the teacher's device.

        The map covers the picture: the centre of cell (row, column) lies at pixel
        u = (column + 0.5) * width / columns - 0.5, v = (row + 0.5) * height / rows - 0.5.
        """
        ...


def resize(rgb: UInt8[Tensor, "batch 3 height width"], side: int, cell: int) -> Float[Tensor, "batch 3 rows columns"]:
    """Pictures from 0 to 1 whose shorter side is `side`; the longer one keeps the proportion, in whole cells.

    Bilinear, and smoothed first where a picture shrinks (`antialias`).

    Raises:
        ConfigError: `side` is not a multiple of `cell`.
    """
    if side < 1 or side % cell:
        raise ConfigError(
            f"teacher image_size {side} does not fit this model, which sees the picture in cells of {cell} pixels; "
            f"take a multiple, such as {max(1, round(side / cell)) * cell}"
        )
    height, width = rgb.shape[-2:]
    rows, columns = (max(1, round(length / min(height, width) * side / cell)) * cell for length in (height, width))
    return F.interpolate(rgb.float() / 255, (rows, columns), mode="bilinear", align_corners=False, antialias=True)


def normalize(
    picture: Float[Tensor, "batch 3 height width"], mean: tuple[float, float, float], deviation: tuple[float, ...]
) -> Float[Tensor, "batch 3 height width"]:
    """Colours with the mean taken off, divided by the deviation, channel by channel."""
    colour = picture.new_tensor((mean, deviation))[:, None, :, None, None]
    return (picture - colour[0]) / colour[1]
