"""A trained policy as something that acts: observations and instructions in, keyframes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from gnfactor.actions import Action
from gnfactor.batch import stack_observations, to_device
from gnfactor.errors import ConfigError
from gnfactor.model import Policy
from gnfactor.scene import Observation

DeviceName = Literal["auto", "cpu", "cuda"]


class Agent:
    """Acts by the policy's best guess: no sampling, no memory, no gradients, statistics of training.

    On a CPU every observation takes a forward pass of its own. It costs about the same there, and the sums inside a
    pass then never depend on which questions happen to come together, so that results repeat bit for bit with any
    number of environments. Elsewhere a pass takes all observations at once, and the last bits may depend on how many
    there are.
    """

    def __init__(self, policy: Policy, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.policy = policy.to(self.device).eval()
        self.cameras = policy.config.cameras
        self.image_size = policy.config.image_size

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        """One action for each observation.

        Raises:
            ObservationError: a camera that the policy was trained with is absent or of another size, or a number is
                not finite.
        """
        together = 1 if self.device.type == "cpu" else max(len(observations), 1)
        actions: list[Action] = []
        for start in range(0, len(observations), together):
            part = slice(start, start + together)
            inputs = stack_observations(observations[part], instructions[part], self.cameras, self.image_size)
            with torch.no_grad():
                actions += self.policy.act(to_device(inputs, self.device))
        return actions

    def reset(self, index: int) -> None:
        """Nothing to forget: all that an action depends on is in its observation."""


def device_named(name: DeviceName) -> str:
    """Where a policy is to act; "auto": on a GPU where there is one.

    Raises:
        ConfigError: there is no GPU, and it is asked for.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("the device is to be 'cuda', but torch finds no CUDA here; take cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
