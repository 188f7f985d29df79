"""A demonstration in memory: what a reader of files or an expert produces, and what the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
