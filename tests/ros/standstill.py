"""When an arm came to rest, from samples of its speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STILL_M_S, STILL_FOR_S = 0.001, 0.5
"""An arm is still from when on it stays slower than this for that long."""


@dataclass(frozen=True)
class Standstill:
    """How an arm stopped."""

    after_s: float
    """From the moment asked about to the first at which it was still."""
    way_m: float
    """That the gripper went until then."""


def standstill(stamps_s: Sequence[float], speeds_m_s: Sequence[float], moment_s: float) -> Standstill | None:
    """When an arm came to rest after a moment; None where these samples do not show it at rest for long enough."""
    stamps, speeds = np.array(stamps_s), np.array(speeds_m_s)
    after = stamps >= moment_s
    stamps, speeds = stamps[after], speeds[after]
    moving = np.flatnonzero(speeds >= STILL_M_S)
    rests = np.flatnonzero(speeds < STILL_M_S)
    for first in rests:
        later = moving[moving > first]
        until_s = stamps[later[0]] if len(later) else stamps[-1]
        if until_s - stamps[first] >= STILL_FOR_S:
            way_m = float((speeds[:first] * np.diff(stamps[: first + 1])).sum())
            return Standstill(float(stamps[first] - moment_s), way_m)
    return None


def last_motion(stamps_s: Sequence[float], speeds_m_s: Sequence[float], moment_s: float) -> Standstill:
    """When an arm was still for good after a moment, as far as these samples go."""
    stamps, speeds = np.array(stamps_s), np.array(speeds_m_s)
    after = stamps >= moment_s
    stamps, speeds = stamps[after], speeds[after]
    moving = np.flatnonzero(speeds >= STILL_M_S)
    end = int(moving[-1]) + 1 if len(moving) else 0
    if end >= len(stamps):
        raise AssertionError(f"the arm still moves, at {speeds[-1] * 1000 if len(speeds) else 0:.1f} mm/s")
    way_m = float((speeds[:end] * np.diff(stamps[: end + 1])).sum())
    return Standstill(float(stamps[end] - moment_s), way_m)
