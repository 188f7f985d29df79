"""The robot's clock, known from asking for it: as exact as half the time that the answer took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from gnfactor.errors import RobotError

DRIFT = 1e-4
"""By how much two clocks of computers go apart, at the most, when nobody sets them."""


@dataclass(frozen=True)
class Estimate:
    """How far the robot's clock is ahead of our steady one."""

    offset_s: float
    error_s: float
    """At the time at which it was made; it grows from then on."""
    made_s: float
    """On our steady clock."""

    def error_at(self, steady_s: float) -> float:
        """At a time of our steady clock."""
        return self.error_s + DRIFT * (steady_s - self.made_s)


class RobotClock:
    """Keeps the best estimate; a better or a contradicting one replaces it."""

    def __init__(self, max_error_s: float, steady: Callable[[], float] = time.monotonic) -> None:
        """Unknown at first; `steady` is a clock of ours that nobody sets."""
        self._max_error_s, self._steady = max_error_s, steady
        self._best: Estimate | None = None
        self._worst_s = inf

    def age_s(self) -> float:
        """Since the estimate was made."""
        return inf if self._best is None else self._steady() - self._best.made_s

    def now_s(self) -> float:
        """Seconds on the robot's clock.

        Raises:
            RobotError: it has not been known well enough yet.
        """
        if self._best is None and self._worst_s == inf:
            raise RobotError("the robot's clock is not known: nobody has told the time")
        if self._best is None:
            raise RobotError(
                f"the robot's clock is not known: the best answer leaves an error of {self._worst_s:.3f} s, at most "
                f"link.max_clock_error_s, {self._max_error_s} s, is allowed; is the network slow?"
            )
        return self._steady() + self._best.offset_s

    def learn(self, asked_s: float, robot_s: float, answered_s: float) -> None:
        """Take an answer, given some time between two moments of our steady clock (Cristian 1989)."""
        error_s = (answered_s - asked_s) / 2
        if error_s > self._max_error_s:
            self._worst_s = min(self._worst_s, error_s)
            return
        new = Estimate(robot_s - (asked_s + answered_s) / 2, error_s, answered_s)
        old = self._best
        if old is None:
            self._best = new
            return
        margin_s = old.error_at(answered_s)
        if new.error_s <= margin_s or abs(new.offset_s - old.offset_s) > new.error_s + margin_s:
            self._best = new
