"""The field's network: a point, a direction and the volume there -> density, colour and feature.

GNFactor's is pixelNeRF's ResNet (Yu et al., CVPR 2021): features of the place enter by addition before each of the
first blocks. It does not see the instruction, as published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnfactor.errors import ConfigError
from gnfactor.field.render import FieldValues


@dataclass(frozen=True)
class FieldNetworkConfig:
    """Sizes of the field's network; the defaults are the published ones (3,111,428 parameters at 128 channels)."""

    width: int = 512
    blocks: int = 5
    place_blocks: int = 3
    """Before how many of the blocks the volume's features are added."""
    frequencies: int = 6
    """Octaves of the positional encoding."""
    lowest_frequency: float = 1.5
    """Radians per length of the box."""
    features: int = 512
    """Channels of the rendered feature; must be what the teacher's are after projection."""
    directions: bool = True
    """Let the ray's direction in, for surfaces whose colour depends on it."""
    density: str = "relu"
    """Activation of the density: relu as published; softplus; exp (Instant-NGP, SIGGRAPH 2022), which reaches the
    densities of opaque surfaces in few steps."""

    def __post_init__(self) -> None:
        if self.density not in DENSITIES:
            raise ConfigError(f"policy.field.network.density is '{self.density}'; known: {', '.join(DENSITIES)}")
        for name, least in (("width", 1), ("blocks", 1), ("place_blocks", 1), ("frequencies", 0), ("features", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"policy.field.network.{name} is {getattr(self, name)}; at least {least} is expected")
        if not 0 < self.lowest_frequency < float("inf"):
            raise ConfigError(
                f"policy.field.network.lowest_frequency is {self.lowest_frequency}; a finite number above 0 is expected"
            )
        if self.place_blocks > self.blocks:
            raise ConfigError(
                f"policy.field.network.place_blocks is {self.place_blocks}, more than blocks, {self.blocks}"
            )


class FieldNetwork(nn.Module):
    """Pre-activation residual blocks of two layers, fed with the volume's features at several depths."""

    def __init__(self, config: FieldNetworkConfig, channels: int) -> None:
        """`channels` of the volume."""
        super().__init__()
        self.config = config
        inputs = 3 + 6 * config.frequencies + (3 if config.directions else 0)
        self.inward = _kaiming(nn.Linear(inputs, config.width))
        self.place = nn.ModuleList(_kaiming(nn.Linear(channels, config.width)) for _ in range(config.place_blocks))
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.blocks))
        self.outward = _kaiming(nn.Linear(config.width, 4 + config.features))

    def forward(
        self,
        position: Float[Tensor, "*points 3"],
        direction: Float[Tensor, "*points 3"],
        place: Float[Tensor, "*points channels"],
    ) -> Float[Tensor, "*points outputs"]:
        """Colour (3), density (1) and feature before activation.

        Args:
            position: 0 to 1 along each axis of the box.
            direction: unit vectors.
            place: the volume's features there.
        """
        encoded = encode_position(position, self.config.frequencies, self.config.lowest_frequency)
        x = self.inward(torch.cat((encoded, direction), -1) if self.config.directions else encoded)
        for number, block in enumerate(self.blocks):
            if number < len(self.place):
                x = x + self.place[number](place)
            x = block(x)
        return self.outward(torch.relu(x))

    def values(self, raw: Float[Tensor, "*points outputs"]) -> FieldValues:
        """Activated outputs, in float32."""
        raw = raw.float()
        return FieldValues(
            colour=torch.sigmoid(raw[..., :3]),
            density=DENSITIES[self.config.density](raw[..., 3]),
            feature=raw[..., 4:],
        )


class ResidualBlock(nn.Module):
    """x + W2 relu(W1 relu(x)); W2 begins as zero, so that a new block changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _kaiming(nn.Linear(width, width))
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Float[Tensor, "*points width"]) -> Float[Tensor, "*points width"]:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


def encode_position(
    position: Float[Tensor, "*points 3"], frequencies: int, lowest: float
) -> Float[Tensor, "*points encoded"]:
    """x, then for each frequency f = lowest * 2^k: sin(f x), cos(f x), three numbers each (NeRF, eq. 4, without pi)."""
    parts = [position]
    for octave in range(frequencies):
        angle = position * (lowest * 2.0**octave)
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, -1)


def _kaiming(layer: nn.Linear) -> nn.Linear:
    nn.init.kaiming_normal_(layer.weight, a=0, mode="fan_in")
    nn.init.zeros_(layer.bias)
    return layer


def _exponential(raw: Tensor) -> Tensor:
    return torch.exp(raw.clamp(max=_LARGEST_EXPONENT))


_LARGEST_EXPONENT = 12.0
"""exp(12) per metre stops a ray within hundredths of a millimetre."""
DENSITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "softplus": nn.functional.softplus,
    "exp": _exponential,
}
