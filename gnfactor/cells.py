"""Words meet colours at the earliest place: every occupied voxel by itself, before any convolution.

Published encoders begin with a convolution of few channels, and "the maroon one" has to pass them. Here each
occupied voxel first goes through a small network of its own that the instruction modulates. It costs little, since
most voxels are empty, and it starts as the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gnfactor.errors import ConfigError


@dataclass(frozen=True)
class CellConfig:
    """Size of the network that each occupied voxel passes."""

    hidden: int = 32

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ConfigError(f"policy.cells.hidden is {self.hidden}; it must be at least 1")


class CellNetwork(nn.Module):
    """x + W2 relu((1 + gamma) W1 x + beta), with gamma and beta from the condition vector (FiLM, Perez et al. 2018).

    The condition acts from the first step on and W2 starts at zero, so that the very first gradients already tell
    which colour goes with which word.
    """

    def __init__(self, config: CellConfig, channels: int, condition_width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(channels, config.hidden)
        self.modulate = nn.Linear(condition_width, 2 * config.hidden)
        self.narrow = nn.Linear(config.hidden, channels)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(
        self,
        grid: Float[Tensor, "batch channels x y z"],
        occupied: Bool[Tensor, "batch x y z"],
        condition: Float[Tensor, "batch width"],
    ) -> Float[Tensor, "batch channels x y z"]:
        """The grid with its occupied voxels changed."""
        scene, x, y, z = occupied.nonzero(as_tuple=True)
        cells = grid.movedim(1, -1)[scene, x, y, z]
        gamma, beta = self.modulate(condition)[scene].chunk(2, dim=1)
        change = self.narrow(F.relu(torch.addcmul(beta, 1 + gamma, self.widen(cells))))
        changed = torch.zeros_like(grid.movedim(1, -1)).index_put((scene, x, y, z), change.to(grid.dtype))
        return grid + changed.movedim(-1, 1)
