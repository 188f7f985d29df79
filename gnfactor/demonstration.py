"""A demonstration in memory: what a reader of files or an expert produces, and what the store keeps."""

from __future__ import annotations

from dataclasses import dataclass

from gnfactor.scene import Observation


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
