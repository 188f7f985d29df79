"""What the policy knows of the robot itself: a few numbers, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.batch import Inputs
from gnfactor.errors import ConfigError

PUBLISHED_STATE = ("gripper", "time")
"""The four numbers that PerAct and GNFactor give to the policy."""


@dataclass(frozen=True)
class Sense:
    """One kind of knowledge about the robot."""

    width: int
    values: Callable[[Inputs, int, Box], Tensor]
    """Of the inputs, the episode length and the grid's box; (batch, width)."""


def state_width(names: Sequence[str]) -> int:
    """How many numbers these senses give.

    Raises:
        ConfigError: a name is unknown.
    """
    unknown = [name for name in names if name not in PROPRIOCEPTION]
    if unknown:
        raise ConfigError(f"proprioception {list(names)}: unknown {unknown}; known are {sorted(PROPRIOCEPTION)}")
    return sum(PROPRIOCEPTION[name].width for name in names)


def robot_state(inputs: Inputs, names: Sequence[str], episode_length: int, box: Box) -> Float[Tensor, "batch state"]:
    """The named senses side by side, in the order of the names."""
    empty = inputs.gripper[:, :0]
    return torch.cat([empty, *(PROPRIOCEPTION[name].values(inputs, episode_length, box) for name in names)], -1)


def _gripper(inputs: Inputs, episode_length: int, box: Box) -> Tensor:  # noqa: ARG001
    """Open (1) or closed (0), then the two finger positions (m)."""
    return inputs.gripper


def _time(inputs: Inputs, episode_length: int, box: Box) -> Tensor:  # noqa: ARG001
    """From 1 at the start to -1 at the last step of an episode; -1 afterwards."""
    last = max(episode_length - 1, 1)
    return (1 - 2 * inputs.step.clamp(max=last).to(inputs.gripper.dtype) / last)[:, None]


def _position(inputs: Inputs, episode_length: int, box: Box) -> Tensor:  # noqa: ARG001
    """Position of the gripper in the box, -1 to 1; beyond that where the gripper is outside."""
    position = inputs.world_from_gripper[:, :3, 3]
    lower, upper = box.bounds(position)
    return (2 * position - lower - upper) / (upper - lower)


def _axes(inputs: Inputs, episode_length: int, box: Box) -> Tensor:  # noqa: ARG001
    """The gripper's x axis, then its z axis (where it points), in the world."""
    return torch.cat((inputs.world_from_gripper[:, :3, 0], inputs.world_from_gripper[:, :3, 2]), -1)


PROPRIOCEPTION = {
    "gripper": Sense(3, _gripper),
    "time": Sense(1, _time),
    "position": Sense(3, _position),
    "axes": Sense(6, _axes),
}
