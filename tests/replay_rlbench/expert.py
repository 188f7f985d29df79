"""A policy that knows the recordings by heart: it goes to the next keyframe of the one whose picture it sees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnfactor.actions import Action, ArmTarget
from gnfactor.geometry import pose_from, rotation_from_quaternion
from gnfactor.scene import ARM, Observation
from tests.replay_rlbench.recorded import pictures, read_episodes


class Expert:
    """Looks at the front camera, and insists on being told what was said when the recording was made."""

    def __init__(self, root: Path, image_size: tuple[int, int] = (32, 32)) -> None:
        self._known: dict[bytes, tuple[str, ArmTarget]] = {}
        for episode in read_episodes(root):
            frames = (0, *episode.keyframes)
            for here, there in pairwise(frames):
                picture = pictures(episode, here, "front", image_size)[0].tobytes()
                self._known[picture] = (episode.descriptions[0], target(episode.frames[there]))

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        return [self._next(one, text) for one, text in zip(observations, instructions, strict=True)]

    def reset(self, index: int) -> None:
        pass

    def _next(self, observation: Observation, instruction: str) -> Action:
        said, there = self._known[observation.views["front"].rgb.tobytes()]
        assert instruction == said
        return Action({ARM: there})


def target(frame: dict[str, Any], *, ignore_collisions: bool = True) -> ArmTarget:
    """Where the gripper was in a recorded frame."""
    pose = torch.from_numpy(np.array(frame["gripper_pose"], np.float64))
    world_from_gripper = pose_from(rotation_from_quaternion(pose[3:]), pose[:3]).numpy()
    return ArmTarget(world_from_gripper, bool(frame["gripper_open"] > 0.5), ignore_collisions)
