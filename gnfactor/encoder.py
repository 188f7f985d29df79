"""Voxel grid -> deep volume: GNFactor's 3D U-Net or PerAct's pointwise stem."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gnfactor.errors import ConfigError
from perceiver.conv3d import Convolution, FiLM, activate
from perceiver.volume import Volume

UNET_LEAK = 0.01
"""Slope of the U-Net's leaky ReLU below zero; the rest of the network uses 0.02."""


@dataclass(frozen=True)
class EncoderConfig:
    """What turns a voxel grid into a deep volume; the defaults are GNFactor's."""

    kind: str = "unet"
    """unet: GNFactor's 3D U-Net, its last map kept apart (rank = widths[0]); pointwise: PerAct's 1x1x1 stem."""
    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of the U-Net at full resolution, half, quarter, ... (unet only)."""
    channels: int = 128
    """Channels of the volume."""
    norm: str = "batch"
    """batch, as published, or group: groups of eight channels, independent of the batch (unet only)."""
    condition: bool = False
    """Modulate features by the condition vector, from the first layer on."""

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise ConfigError(f"encoder.kind is '{self.kind}'; known: {', '.join(ENCODERS)}")
        if self.norm not in NORMS:
            raise ConfigError(f"encoder.norm is '{self.norm}'; known: {', '.join(NORMS)}")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ConfigError(f"encoder.widths is {list(self.widths)}; it needs two or more positive widths")
        if self.channels < 1:
            raise ConfigError(f"encoder.channels is {self.channels}; it must be at least 1")


def build_encoder(config: EncoderConfig, inputs: int, condition_width: int = 0) -> UNet | PointwiseStem:
    """The encoder of a grid with `inputs` channels; `condition_width` is the condition vector's, if there is one.

    Raises:
        ConfigError: the encoder is conditioned but there is no condition vector.
    """
    if config.condition and condition_width < 1:
        raise ConfigError("encoder.condition is true but the policy has no condition vector; switch one of them")
    return ENCODERS[config.kind](config, inputs, condition_width)


class PointwiseStem(nn.Module):
    """PerAct's encoder: every voxel by itself."""

    def __init__(self, config: EncoderConfig, inputs: int, condition_width: int = 0) -> None:
        super().__init__()
        self.rank = self.channels = config.channels
        self.convolution = Convolution(inputs, config.channels, kernel=1)
        self.film = FiLM(condition_width, config.channels) if config.condition else None

    def forward(
        self, grid: Float[Tensor, "batch inputs x y z"], condition: Float[Tensor, "batch width"] | None = None
    ) -> Volume:
        """The volume, of the grid's size."""
        grid = grid.contiguous(memory_format=torch.channels_last_3d)
        return Volume(activate(_modulate(self.film, self.convolution(grid), condition)))


class UNet(nn.Module):
    """GNFactor's encoder: strided convolutions down, transposed convolutions up, skips by addition.

    Works on any grid size: each transposed convolution restores the size of its skip.
    """

    def __init__(self, config: EncoderConfig, inputs: int, condition_width: int = 0) -> None:
        super().__init__()
        widths = config.widths
        film = condition_width if config.condition else 0
        self.rank, self.channels = widths[0], config.channels
        self.stem = Block(nn.Conv3d(inputs, widths[0], 3, padding=1, bias=False), config.norm, film)
        self.down, self.refine = nn.ModuleList(), nn.ModuleList()
        for level, (fine, coarse) in enumerate(pairwise(widths), start=1):
            bottleneck = level == len(widths) - 1
            down = nn.Conv3d(fine, coarse, 3, stride=2, padding=1, bias=False)
            refine = nn.Conv3d(coarse, coarse, 3, padding=1, bias=False)
            self.down.append(Block(down, config.norm))
            self.refine.append(Block(refine, config.norm, film if bottleneck else 0))
        self.up = nn.ModuleList()
        for level, (coarse, fine) in enumerate(pairwise(reversed(widths))):
            up = nn.ConvTranspose3d(coarse, fine, 3, stride=2, padding=1, bias=False)
            self.up.append(Block(up, config.norm, film if level else 0))
        self.map = nn.Linear(widths[0], config.channels)

    def forward(
        self, grid: Float[Tensor, "batch inputs x y z"], condition: Float[Tensor, "batch width"] | None = None
    ) -> Volume:
        """The volume, of the grid's size, with the last affine map kept apart."""
        x = self.stem(grid.contiguous(memory_format=torch.channels_last_3d), condition)
        skips: list[Tensor] = []
        for down, refine in zip(self.down, self.refine, strict=True):
            skips.append(x)
            x = refine(down(x, condition), condition)
        for up in self.up:
            skip = skips.pop()
            x = skip + up(x, condition, size=list(skip.shape[2:]))
        return Volume(x, self.map.weight, self.map.bias)


class Block(nn.Module):
    """A convolution without bias, normalisation, modulation where `film` gives its condition's width, leaky ReLU."""

    def __init__(self, convolution: nn.Conv3d | nn.ConvTranspose3d, norm: str, film: int = 0) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = NORMS[norm](convolution.out_channels)
        self.film = FiLM(film, convolution.out_channels) if film else None

    def forward(
        self,
        x: Float[Tensor, "batch inputs x y z"],
        condition: Float[Tensor, "batch width"] | None = None,
        size: list[int] | None = None,
    ) -> Float[Tensor, "batch outputs ox oy oz"]:
        """The block's output; `size` is the output's size where the convolution is transposed."""
        x = self.convolution(x) if size is None else self.convolution(x, output_size=size)
        return F.leaky_relu(_modulate(self.film, self.norm(x), condition), UNET_LEAK, inplace=True)


def _modulate(film: FiLM | None, x: Tensor, condition: Tensor | None) -> Tensor:
    if film is None:
        return x
    assert condition is not None, "a conditioned encoder needs a condition vector"
    return film(x, condition)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)


NORMS = {"batch": nn.BatchNorm3d, "group": _group_norm}
ENCODERS = {"unet": UNet, "pointwise": PointwiseStem}
