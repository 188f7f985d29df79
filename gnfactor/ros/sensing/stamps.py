"""Times of messages, and which of two topics' messages belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def seconds(time: Any) -> float:
    """Seconds of a time of ROS, as rospy (secs, nsecs) or as ROS 2 and rosbags (sec, nanosec) have it."""
    if hasattr(time, "secs"):
        return time.secs + 1e-9 * time.nsecs
    return time.sec + 1e-9 * time.nanosec


def stamp_s(header: Any) -> float:
    """When a message was measured."""
    return seconds(header.stamp)


def newest_pair(first_s: Sequence[float], second_s: Sequence[float], slop_s: float) -> tuple[int, int] | None:
    """Indices of the newest two stamps, one of each, that are at most `slop_s` apart; None where there are none.

    Of pairs whose older stamp is the same, the nearest wins.
    """
    pairs = [
        (min(first, second), -abs(first - second), i, j)
        for i, first in enumerate(first_s)
        for j, second in enumerate(second_s)
        if abs(first - second) <= slop_s
    ]
    return max(pairs)[2:] if pairs else None
