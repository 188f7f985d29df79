"""How far a policy's actions are from a demonstrator's, keyframe by keyframe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gnfactor.actions import Action
from gnfactor.batch import Batch
from gnfactor.geometry import rotation_angle_deg
from gnfactor.scene import ARM


@dataclass(frozen=True)
class KeyframeError:
    """One predicted keyframe beside the demonstrated one."""

    task: str
    keyframe: int
    """Keyframes that came before it."""
    translation_m: float
    rotation_deg: float
    gripper_right: bool
    collision_right: bool


@dataclass(frozen=True)
class ErrorSummary:
    """Means over some keyframes."""

    count: int
    translation_m: float
    rotation_deg: float
    gripper_accuracy: float
    collision_accuracy: float


def keyframe_errors(actions: Sequence[Action], batch: Batch) -> list[KeyframeError]:
    """Errors of one action per scene of the batch."""
    chosen = [action.arms[ARM] for action in actions]
    predicted = torch.from_numpy(np.stack([arm.world_from_gripper for arm in chosen])).double()
    demonstrated = batch.targets.world_from_gripper.double().cpu()
    translation_m = (predicted[:, :3, 3] - demonstrated[:, :3, 3]).norm(dim=-1)
    rotation_deg = rotation_angle_deg(predicted[:, :3, :3], demonstrated[:, :3, :3])
    opened, ignored = batch.targets.gripper_open.tolist(), batch.targets.ignore_collisions.tolist()
    steps = batch.inputs.step.tolist()
    return [
        KeyframeError(
            task=task,
            keyframe=steps[index],
            translation_m=float(translation_m[index]),
            rotation_deg=float(rotation_deg[index]),
            gripper_right=arm.gripper_open == opened[index],
            collision_right=arm.ignore_collisions == ignored[index],
        )
        for index, (task, arm) in enumerate(zip(batch.tasks, chosen, strict=True))
    ]


def summarise(errors: Sequence[KeyframeError]) -> ErrorSummary:
    """Means over one or more keyframes."""
    return ErrorSummary(
        count=len(errors),
        translation_m=_mean(error.translation_m for error in errors),
        rotation_deg=_mean(error.rotation_deg for error in errors),
        gripper_accuracy=_mean(error.gripper_right for error in errors),
        collision_accuracy=_mean(error.collision_right for error in errors),
    )


def by_keyframe(errors: Sequence[KeyframeError]) -> Mapping[tuple[str, int], ErrorSummary]:
    """Means for every (task, keyframe), in that order."""
    groups: dict[tuple[str, int], list[KeyframeError]] = {}
    for error in errors:
        groups.setdefault((error.task, error.keyframe), []).append(error)
    return {key: summarise(groups[key]) for key in sorted(groups)}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
