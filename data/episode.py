"""What is written about an episode beside its pictures, and what makes a demonstration fit to be stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError
from gnfactor.scene import Observation

SCHEMA = 1
"""Version of the store's layout (see `data.arrays`); readers refuse any other."""

_KINDS = {"episode": "an episode", "store": "a store"}
_LARGEST_LABEL = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class CameraInfo:
    """What the attributes say about a camera."""

    name: str
    width: int
    height: int
    segmentation: bool
    """Whether labels per pixel are stored."""


@dataclass(frozen=True)
class EpisodeInfo:
    """All that the attributes say: what one wants to know before reading an episode's arrays."""

    name: str
    """Path inside the store, such as `open_drawer/variation0/seed17`."""
    task: str
    variation: int
    seed: int | None
    renderer: str
    instructions: tuple[str, ...]
    frames: int
    keyframes: tuple[int, ...]
    """Frame numbers of the whole episode."""
    arms: tuple[str, ...]
    views: tuple[CameraInfo, ...]
    made_with: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Settings of the program that made it, by name, as far as they were noted."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in stored order."""
        return tuple(view.name for view in self.views)


def describe(demonstration: Demonstration, name: str = "") -> EpisodeInfo:
    """The facts of a demonstration in memory.

    Raises:
        DataError: it is not whole, for example because a frame lacks a camera; says what is wrong.
    """
    first = demonstration.observations[0] if demonstration.observations else None
    problem = "it has no frames" if first is None else _problem(demonstration, first)
    if first is None or problem is not None:
        raise DataError(f"the demonstration of '{demonstration.task}' cannot be stored: {problem}")
    return EpisodeInfo(
        name=name,
        task=demonstration.task,
        variation=demonstration.variation,
        seed=demonstration.seed,
        renderer=demonstration.renderer,
        instructions=demonstration.instructions,
        frames=len(demonstration.observations),
        keyframes=demonstration.keyframes,
        arms=tuple(first.arms),
        views=tuple(
            CameraInfo(camera, view.camera.width, view.camera.height, view.segmentation is not None)
            for camera, view in first.views.items()
        ),
    )


def attributes_of(info: EpisodeInfo) -> dict[str, Any]:
    """The attributes as they stand in an episode's zarr.json; `read_info` reads them back."""
    return {
        "kind": "episode",
        "schema": SCHEMA,
        "task": info.task,
        "variation": info.variation,
        "seed": info.seed,
        "renderer": info.renderer,
        "instructions": list(info.instructions),
        "frames": info.frames,
        "keyframes": list(info.keyframes),
        "arms": list(info.arms),
        "cameras": [asdict(view) for view in info.views],
        "made_with": dict(info.made_with),
    }


def read_info(folder: Path, name: str) -> EpisodeInfo:
    """The attributes of a stored episode.

    Raises:
        DataError: there is no episode in `folder`, it is damaged, or of another schema version.
    """
    path = folder / "zarr.json"
    try:
        attributes = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8"))["attributes"])
        check_schema(attributes, "episode", folder)
        _check_attributes(attributes)
        return EpisodeInfo(
            name=name,
            task=attributes["task"],
            variation=attributes["variation"],
            seed=attributes["seed"],
            renderer=attributes["renderer"],
            instructions=tuple(attributes["instructions"]),
            frames=attributes["frames"],
            keyframes=tuple(attributes["keyframes"]),
            arms=tuple(attributes["arms"]),
            views=tuple(CameraInfo(**camera) for camera in attributes["cameras"]),
            made_with=dict(attributes.get("made_with", {})),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not describe an episode ({type(error).__name__}: {error}); it is damaged: delete the folder "
            f"{folder} and write the episode again"
        ) from error


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise ValueError if what the attributes say cannot be true of any episode."""
    frames, keyframes, texts = attributes["frames"], list(attributes["keyframes"]), list(attributes["instructions"])
    if type(frames) is not int or frames < 1:
        raise ValueError(f"frames is {frames!r}; a whole number of at least 1 is expected")
    if any(type(frame) is not int or not 0 <= frame < frames for frame in keyframes) or sorted(keyframes) != keyframes:
        raise ValueError(f"keyframes is {keyframes}; increasing frame numbers below {frames} are expected")
    if not texts or not all(isinstance(text, str) for text in (*texts, attributes["task"])):
        raise ValueError("task must be a text and instructions at least one text")
    if type(attributes["variation"]) is not int:
        raise ValueError(f"variation is {attributes['variation']!r}; a whole number is expected")


def check_schema(attributes: Mapping[str, Any], kind: str, folder: Path) -> None:
    """Refuse what was not written by a program of this schema version (DataError)."""
    if attributes.get("kind") != kind:
        raise DataError(f"{folder} is a zarr group, but not {_KINDS[kind]} of this program; point to a folder it wrote")
    if attributes.get("schema") != SCHEMA:
        raise DataError(
            f"{folder} has schema version {attributes.get('schema')!r}, this program reads version {SCHEMA}; convert "
            f"or collect the demonstrations again, or use the program that wrote it"
        )


def _problem(demonstration: Demonstration, first: Observation) -> str | None:
    """Why a demonstration is not whole, or None."""
    count = len(demonstration.observations)
    keyframes = demonstration.keyframes
    if len(demonstration.ignore_collisions) != count:
        return f"it has {count} frames, but {len(demonstration.ignore_collisions)} flags for ignored collisions"
    if not keyframes or keyframes[0] < 1 or keyframes[-1] != count - 1 or any(b <= a for a, b in pairwise(keyframes)):
        return f"keyframes have to increase from at least 1 to the last frame, {count - 1}; they are {list(keyframes)}"
    if not any(text.strip() for text in demonstration.instructions):
        return "it has no instruction"
    if not first.views or not first.arms:
        return "it shows no camera or no arm"
    for frame, seen in enumerate(demonstration.observations):
        problem = _problem_of_frame(seen, first)
        if problem is not None:
            return f"frame {frame}: {problem}"
    return None


def _problem_of_frame(seen: Observation, first: Observation) -> str | None:
    """What an observation lacks in comparison with the episode's first one, or None."""
    if seen.views.keys() != first.views.keys() or seen.arms.keys() != first.arms.keys():
        return f"has {[*seen.views, *seen.arms]}, the first frame {[*first.views, *first.arms]}"
    for arm, state in seen.arms.items():
        numbers = (state.world_from_gripper, state.finger_positions_m, state.joint_positions, state.joint_velocities)
        if not all(np.isfinite(value).all() for value in numbers):
            return f"the state of arm '{arm}' holds a number that is not finite"
    for name, view in seen.views.items():
        camera, size = view.camera, (view.camera.height, view.camera.width)
        if size != (first.views[name].camera.height, first.views[name].camera.width):
            return f"camera '{name}' changes its size to {camera.width}x{camera.height}"
        if view.rgb.shape != (*size, 3) or view.rgb.dtype != np.uint8 or view.depth_m.shape != size:
            return f"pictures of camera '{name}' are not {camera.width}x{camera.height} (colour in 8 bits)"
        if not (np.isfinite(camera.intrinsics).all() and np.isfinite(camera.world_from_camera).all()):
            return f"camera '{name}' has a pose or intrinsics that are not finite"
        if (view.segmentation is None) != (first.views[name].segmentation is None):
            return f"camera '{name}' has labels in some frames only"
        if view.segmentation is not None and not _labels_fit(view.segmentation, size):
            return f"labels of camera '{name}' are not {camera.width}x{camera.height} numbers in 0..{_LARGEST_LABEL}"
    return None


def _labels_fit(labels: np.ndarray[Any, Any], size: tuple[int, int]) -> bool:
    return labels.shape == size and labels.min() >= 0 and labels.max() <= _LARGEST_LABEL
