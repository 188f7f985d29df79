"""How fast the gripper truly is, as the simulation measures it, and when it came to a standstill."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rospy
from geometry_msgs.msg import TwistStamped

VELOCITY = "/simulation/gripper_velocity"
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


class Truth:
    """Keeps the gripper's speed from when it is made."""

    def __init__(self) -> None:
        self._stamps_s: list[float] = []
        self._speeds_m_s: list[float] = []
        rospy.Subscriber(VELOCITY, TwistStamped, self._keep, queue_size=100, tcp_nodelay=True)

    def speed_m_s(self) -> float:
        """Now."""
        return self._speeds_m_s[-1] if self._speeds_m_s else float("nan")

    def peak_m_s(self, since_s: float) -> float:
        """The highest since a time of the clock."""
        stamps = np.array(self._stamps_s)
        return float(np.array(self._speeds_m_s)[: len(stamps)][stamps >= since_s].max(initial=0.0))

    def standstill(self, moment_s: float, seconds: float) -> Standstill | None:
        """Of the arm after a moment, waited for that long."""
        end = time.monotonic() + seconds
        while (found := self._standstill(moment_s)) is None and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _standstill(self, moment_s: float) -> Standstill | None:
        count = len(self._speeds_m_s)
        return standstill(self._stamps_s[:count], self._speeds_m_s[:count], moment_s)

    def _keep(self, message: TwistStamped) -> None:
        velocity = message.twist.linear
        self._stamps_s.append(message.header.stamp.to_sec())
        self._speeds_m_s.append(float(np.linalg.norm((velocity.x, velocity.y, velocity.z))))
