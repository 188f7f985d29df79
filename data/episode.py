"""What is written about an episode beside its pictures, and what makes a demonstration fit to be stored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError
from gnfactor.scene import Observation, View

SCHEMA = 1
"""Version of the store's layout (see `data.arrays`); readers refuse any other."""

WORLD_VERSION_KEY = "version of the tabletop world"
"""Of `EpisodeInfo.made_with`, where the built-in world made the episode."""

FRAMES_KEPT_KEY, ALL_FRAMES = "frames kept", "all"
"""Of `EpisodeInfo.made_with`, where the episode was a recording, and its value where no frame was left out."""

_KINDS = {"episode": "an episode", "store": "a store"}
_FILE, _DIGEST = re.compile(r"[\w\-]+(/[\w\-]+)*(/zarr\.json)?"), re.compile("[0-9a-f]{32}")
"""A digest becomes the name of a file in the cache of stores behind a URL."""
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
    target_views: tuple[CameraInfo, ...] = ()
    """Views that are there to be learned from, see `Demonstration.target_views`."""
    target_frames: tuple[int, ...] = ()
    """Frame numbers of the whole episode that have them."""
    labels: Mapping[int, str] = field(default_factory=dict[int, str], hash=False)
    """See `Demonstration.labels`."""
    made_with: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Settings of the program that made it, by name, as far as they were noted."""
    frame_numbers: tuple[int, ...] = ()
    """See `Demonstration.frame_numbers`."""
    files: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Digest of each file of its arrays, by path in its folder (`data.file_cache.digest_of`); empty where it was
    stored before there were any."""

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
        views=_camera_infos(first.views),
        target_views=_camera_infos(next(iter(demonstration.target_views.values()), {})),
        target_frames=tuple(sorted(demonstration.target_views)),
        labels=dict(demonstration.labels),
        frame_numbers=demonstration.frame_numbers,
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
        "target_views": [asdict(view) for view in info.target_views],
        "target_frames": list(info.target_frames),
        "labels": {str(label): name for label, name in info.labels.items()},
        "made_with": dict(info.made_with),
        "frame_numbers": list(info.frame_numbers),
        "files": dict(info.files),
    }


def read_info(folder: Path, name: str) -> EpisodeInfo:
    """The attributes of a stored episode.

    Raises:
        DataError: there is no episode in `folder`, it is damaged, or of another schema version.
    """
    path = folder / "zarr.json"
    try:
        attributes = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8"))["attributes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_description(path, error) from error
    return info_from(attributes, name, path)


def info_from(attributes: Mapping[str, Any], name: str, where: Path | str) -> EpisodeInfo:
    """What the attributes of an episode say; `where` is what they were read from.

    Raises:
        DataError: they are damaged, or of another schema version.
    """
    try:
        check_schema(attributes, "episode", where)
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
            # Stores made before there were any lack the following.
            target_views=tuple(CameraInfo(**camera) for camera in attributes.get("target_views", ())),
            target_frames=tuple(attributes.get("target_frames", ())),
            labels={int(label): name for label, name in attributes.get("labels", {}).items()},
            made_with=dict(attributes.get("made_with", {})),
            frame_numbers=tuple(attributes.get("frame_numbers", ())),
            files=dict(attributes.get("files", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_description(where, error) from error


def _no_description(where: Path | str, error: Exception) -> DataError:
    return DataError(
        f"{where} does not describe an episode ({type(error).__name__}: {error}); it is damaged: delete the episode "
        "there and write it again"
    )


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise ValueError if what the attributes say cannot be true of any episode."""
    frames, keyframes, texts = attributes["frames"], list(attributes["keyframes"]), list(attributes["instructions"])
    if type(frames) is not int or frames < 1:
        raise ValueError(f"frames is {frames!r}; a whole number of at least 1 is expected")
    for key, numbers in (("keyframes", keyframes), ("target_frames", list(attributes.get("target_frames", ())))):
        if any(type(frame) is not int or not 0 <= frame < frames for frame in numbers) or sorted(numbers) != numbers:
            raise ValueError(f"{key} is {numbers}; increasing frame numbers below {frames} are expected")
    taken = list(attributes.get("frame_numbers", ()))
    if taken and (any(type(number) is not int for number in taken) or not _numbers_fit(taken, frames)):
        raise ValueError(f"frame_numbers is {taken}; {frames} increasing numbers of frames are expected, or none")
    files = cast("Mapping[Any, Any]", attributes.get("files", {}))
    if not all(_FILE.fullmatch(str(name)) and _DIGEST.fullmatch(str(digest)) for name, digest in files.items()):
        raise ValueError("files has to name files in the episode, each with the 32 hexadecimal digits of its digest")
    if not texts or not all(isinstance(text, str) for text in (*texts, attributes["task"])):
        raise ValueError("task must be a text and instructions at least one text")
    if type(attributes["variation"]) is not int:
        raise ValueError(f"variation is {attributes['variation']!r}; a whole number is expected")


def check_schema(attributes: Mapping[str, Any], kind: str, folder: object) -> None:
    """Refuse what was not written by a program of this schema version (DataError)."""
    if attributes.get("kind") != kind:
        raise DataError(f"{folder} is a zarr group, but not {_KINDS[kind]} of this program; point to a folder it wrote")
    if attributes.get("schema") != SCHEMA:
        raise DataError(
            f"{folder} has schema version {attributes.get('schema')!r}, this program reads version {SCHEMA}; convert "
            f"or collect the demonstrations again, or use the program that wrote it"
        )


def _camera_infos(views: Mapping[str, View]) -> tuple[CameraInfo, ...]:
    return tuple(
        CameraInfo(name, view.camera.width, view.camera.height, view.segmentation is not None)
        for name, view in views.items()
    )


def _problem(demonstration: Demonstration, first: Observation) -> str | None:
    """Why a demonstration is not whole, or None."""
    count = len(demonstration.observations)
    keyframes = demonstration.keyframes
    if len(demonstration.ignore_collisions) != count:
        return f"it has {count} frames, but {len(demonstration.ignore_collisions)} flags for ignored collisions"
    if not keyframes or keyframes[0] < 1 or keyframes[-1] != count - 1 or any(b <= a for a, b in pairwise(keyframes)):
        return f"keyframes have to increase from at least 1 to the last frame, {count - 1}; they are {list(keyframes)}"
    if demonstration.frame_numbers and not _numbers_fit(demonstration.frame_numbers, count):
        return f"its {count} frames have the numbers {list(demonstration.frame_numbers)}; increasing ones are expected"
    if not any(text.strip() for text in demonstration.instructions):
        return "it has no instruction"
    if not first.views or not first.arms:
        return "it shows no camera or no arm"
    for frame, seen in enumerate(demonstration.observations):
        problem = _problem_of_frame(seen, first)
        if problem is not None:
            return f"frame {frame}: {problem}"
    return _problem_of_target_views(demonstration, first)


def _problem_of_target_views(demonstration: Demonstration, first: Observation) -> str | None:
    """What is wrong with the views to learn from, or None."""
    expected = next(iter(demonstration.target_views.values()), {})
    taken = [name for name in expected if name in first.views]
    if taken:
        return f"{taken} are names of cameras and of views to learn from; name them apart"
    for frame, views in demonstration.target_views.items():
        if not 0 <= frame < len(demonstration.observations):
            return f"it has views to learn from at frame {frame}, but {len(demonstration.observations)} frames"
        if not views or views.keys() != expected.keys():
            return f"frame {frame}: views to learn from are {[*views]}, those of another frame {[*expected]}"
        problem = _problem_of_views(views, expected)
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
    return _problem_of_views(seen.views, first.views)


def _problem_of_views(views: Mapping[str, View], expected: Mapping[str, View]) -> str | None:
    """What is wrong with views, in themselves or compared with those of the same cameras at another frame, or None."""
    for name, view in views.items():
        camera, size = view.camera, (view.camera.height, view.camera.width)
        if size != (expected[name].camera.height, expected[name].camera.width):
            return f"camera '{name}' changes its size to {camera.width}x{camera.height}"
        if view.rgb.shape != (*size, 3) or view.rgb.dtype != np.uint8 or view.depth_m.shape != size:
            return f"pictures of camera '{name}' are not {camera.width}x{camera.height} (colour in 8 bits)"
        if not (np.isfinite(camera.intrinsics).all() and np.isfinite(camera.world_from_camera).all()):
            return f"camera '{name}' has a pose or intrinsics that are not finite"
        if (view.segmentation is None) != (expected[name].segmentation is None):
            return f"camera '{name}' has labels in some frames only"
        if view.segmentation is not None and not _labels_fit(view.segmentation, size):
            return f"labels of camera '{name}' are not {camera.width}x{camera.height} numbers in 0..{_LARGEST_LABEL}"
    return None


def _numbers_fit(numbers: Sequence[int], frames: int) -> bool:
    return len(numbers) == frames and numbers[0] >= 0 and all(b > a for a, b in pairwise(numbers))


def _labels_fit(labels: np.ndarray[Any, Any], size: tuple[int, int]) -> bool:
    return labels.shape == size and labels.min() >= 0 and labels.max() <= _LARGEST_LABEL
