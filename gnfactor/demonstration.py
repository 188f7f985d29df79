"""A demonstration in memory: what a reader of files or an expert produces, and what the store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gnfactor.scene import Observation, View


@dataclass(frozen=True)
class ExpertFailure:
    """Why an episode of an expert is not a demonstration."""

    reason: str


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One successful episode.

    `Observation.step` of frame f counts the keyframes reached before f or at f, so that it is what an agent's
    environment would report there.
    """

    task: str
    variation: int
    seed: int | None
    """Seed that re-creates the scene in a seeded environment; None for recordings."""
    instructions: tuple[str, ...]
    """Ways to say the goal; the first is the default."""
    renderer: str
    """Who made the pictures: "mujoco-ray", "mujoco-gl", "rlbench". Policies should not mix them unawares."""
    observations: tuple[Observation, ...]
    ignore_collisions: tuple[bool, ...]
    """Per frame: did the motion that led to this frame (from the one before) ignore collisions?"""
    keyframes: tuple[int, ...]
    """Increasing frame indices >= 1 at which an action was complete; the last frame is the last keyframe."""
    target_views: Mapping[int, Mapping[str, View]] = field(default_factory=dict[int, Mapping[str, View]])
    """By frame: views that are there to be learned from, not to act on, such as a rig around the workspace. Some frames
    have them, others not; those that do have the same names, different from every camera's in `observations`."""
    labels: Mapping[int, str] = field(default_factory=dict[int, str])
    """What the labels in `View.segmentation` are called, where that is known; label 0 is the background."""
    frame_numbers: tuple[int, ...] = ()
    """Where these are only some frames of a recording: the number of each in it. Empty: these are all."""


def some_frames(demonstration: Demonstration, frames: Sequence[int]) -> Demonstration:
    """A part of a demonstration: the frames at these increasing positions.

    `keyframes` and `target_views` are those among them, by their position in the part; the flags of
    `ignore_collisions` stay those of the motions from the frames before in the whole.
    """
    if len(frames) == len(demonstration.observations):
        return demonstration
    position = {frame: row for row, frame in enumerate(frames)}
    numbers = demonstration.frame_numbers or range(len(demonstration.observations))
    return replace(
        demonstration,
        observations=tuple(demonstration.observations[frame] for frame in frames),
        ignore_collisions=tuple(demonstration.ignore_collisions[frame] for frame in frames),
        keyframes=tuple(position[frame] for frame in demonstration.keyframes if frame in position),
        target_views={
            position[frame]: views for frame, views in demonstration.target_views.items() if frame in position
        },
        frame_numbers=tuple(numbers[frame] for frame in frames),
    )
