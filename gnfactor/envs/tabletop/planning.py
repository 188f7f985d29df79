"""Joint paths without collision: straight in joint space where that is free, else RRT-Connect, then shortcuts.

Work is bounded by counts of collision checks, never by the clock, and chance comes from a seed, so that the same
question always gets the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from gnfactor.envs.tabletop.robot import JOINT_LOWER, JOINT_UPPER

Path = Float[np.ndarray, "points 7"]
IsFree = Callable[[np.ndarray], bool]
"""Whether a posture (7,) is without collision."""

_REACH_M = np.array([0.8, 0.8, 0.5, 0.5, 0.25, 0.25, 0.1])
"""How far the hand moves, roughly, per radian of each joint."""
_CHECK_STEP_M = 0.015
"""Postures along a path are checked about this far apart, measured at the hand."""
_EXTENSION_M = 0.15
_SHORTCUTS = 40


@dataclass(frozen=True)
class PlanningBudget:
    """Bounds of the work of one search."""

    collision_checks: int = 12_000
    iterations: int = 600


def plan(
    start: Float[np.ndarray, "7"], goals: Sequence[np.ndarray], is_free: IsFree, budget: PlanningBudget, seed: int = 0
) -> Path | None:
    """A path from `start` to any of the goals (each (7,) and free), or None where none was found in the budget.

    Straight to the first goal that is straight reachable; otherwise by RRT-Connect (Kuffner and LaValle 2000) with one
    tree from the start and one from all goals, shortened afterwards.
    """
    for goal in goals:
        if edge_is_free(start, goal, is_free):
            return np.stack((start, goal))
    chance = np.random.default_rng(seed)
    counted = _Counted(is_free, budget.collision_checks)
    found = _connect(start, goals, counted, budget.iterations, chance)
    return None if found is None else shorten(found, is_free, chance)


def edge_is_free(first: Float[np.ndarray, "7"], second: Float[np.ndarray, "7"], is_free: IsFree) -> bool:
    """Whether the straight joint motion is free; its middle is asked first, where collisions are likelier."""
    steps = max(int(np.ceil(_hand_distance(first, second) / _CHECK_STEP_M)), 1)
    shares = np.arange(1, steps + 1) / steps
    order = np.argsort(np.abs(shares - 0.5), kind="stable")
    return all(is_free(first + share * (second - first)) for share in shares[order])


def path_is_free(path: Path, is_free: IsFree) -> bool:
    """Whether every edge of a path is free."""
    return all(edge_is_free(first, second, is_free) for first, second in pairwise(path))


def shorten(path: Path, is_free: IsFree, chance: np.random.Generator) -> Float[np.ndarray, "fewer 7"]:
    """Replace detours by straight edges between points drawn along the path."""
    points = list(path)
    for _ in range(_SHORTCUTS):
        if len(points) < 3:
            break
        first, last = np.sort(chance.choice(len(points), 2, replace=False)).tolist()
        if last - first > 1 and edge_is_free(points[first], points[last], is_free):
            points[first + 1 : last] = []
    return np.stack(points)


class _Counted:
    """`is_free` until the budget is used up; then nothing is free."""

    def __init__(self, is_free: IsFree, checks: int) -> None:
        self._is_free = is_free
        self.left = checks

    def __call__(self, joints: np.ndarray) -> bool:
        self.left -= 1
        return self.left >= 0 and self._is_free(joints)


class _Tree:
    """Postures, each joined to its parent by a free edge."""

    def __init__(self, roots: Sequence[np.ndarray]) -> None:
        self.points = list(roots)
        self.parents = [-1] * len(self.points)

    def nearest(self, joints: np.ndarray) -> int:
        return int(np.abs((np.stack(self.points) - joints) * _REACH_M).max(1).argmin())

    def extend(self, index: int, target: np.ndarray, is_free: IsFree) -> int | None:
        """One step from a point of the tree towards the target; the new point's index, or None if blocked."""
        origin = self.points[index]
        distance = _hand_distance(origin, target)
        step = target if distance <= _EXTENSION_M else origin + _EXTENSION_M / distance * (target - origin)
        if not edge_is_free(origin, step, is_free):
            return None
        self.points.append(step)
        self.parents.append(index)
        return len(self.points) - 1

    def branch(self, index: int) -> list[np.ndarray]:
        """Points from a root to one of the tree's points."""
        found: list[np.ndarray] = []
        while index >= 0:
            found.append(self.points[index])
            index = self.parents[index]
        return found[::-1]


def _connect(
    start: np.ndarray, goals: Sequence[np.ndarray], is_free: _Counted, iterations: int, chance: np.random.Generator
) -> Path | None:
    from_start, from_goals = _Tree([start]), _Tree(goals)
    growing, other = from_start, from_goals
    for _ in range(iterations):
        if is_free.left <= 0:
            return None
        sample = chance.uniform(JOINT_LOWER, JOINT_UPPER)
        reached = growing.extend(growing.nearest(sample), sample, is_free)
        if reached is not None:
            target = growing.points[reached]
            meeting: int | None = other.nearest(target)
            while meeting is not None and _hand_distance(other.points[meeting], target) > 0:
                meeting = other.extend(meeting, target, is_free)
            if meeting is not None:
                ends = (reached, meeting) if growing is from_start else (meeting, reached)
                # Both branches end in the same posture.
                return np.stack((*from_start.branch(ends[0]), *from_goals.branch(ends[1])[-2::-1]))
        growing, other = other, growing
    return None


def _hand_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Rough bound (m) of how far the hand moves between two postures, by the joint that moves it most."""
    return float(np.abs((first - second) * _REACH_M).max())
