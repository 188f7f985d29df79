"""How fast the gripper truly is, as the simulation measures it."""

from __future__ import annotations

import time

import numpy as np
import rospy
from geometry_msgs.msg import TwistStamped

from tests.ros.standstill import Standstill, last_motion, standstill

VELOCITY = "/simulation/gripper_velocity"


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

    def settled(self, moment_s: float) -> Standstill:
        """Of the arm after a moment, by all that has been seen since: from when on it has not moved."""
        count = len(self._speeds_m_s)
        return last_motion(self._stamps_s[:count], self._speeds_m_s[:count], moment_s)

    def _standstill(self, moment_s: float) -> Standstill | None:
        count = len(self._speeds_m_s)
        return standstill(self._stamps_s[:count], self._speeds_m_s[:count], moment_s)

    def _keep(self, message: TwistStamped) -> None:
        velocity = message.twist.linear
        self._stamps_s.append(message.header.stamp.to_sec())
        self._speeds_m_s.append(float(np.linalg.norm((velocity.x, velocity.y, velocity.z))))
