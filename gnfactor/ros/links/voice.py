"""Our side of the watchdog: what we say to it, and what it says of itself. Knows no transport."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import count
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from gnfactor.errors import ConfigError, RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import PoseTarget
from gnfactor.ros.watchdog import Status, pack, read_key

SILENT_S = 1.0
"""A watchdog that has not spoken for so long is lost."""
_ANSWER_S = 0.5
"""How long it may take to do what it is told."""
_HOLD_S, _HOLD_AGAIN_S = 1.0, 0.1
"""How long a hold is said for, and how often: words are lost while two computers are still connecting."""
_LIFE_S = 1.0
"""How long a heartbeat or a hold is valid."""
_POLL_S = 0.002
_STATUS = {name: type(value) for name, value in asdict(Status()).items()}
"""Type of each field."""


class Voice:
    """One run's words to the watchdog, counted and signed."""

    def __init__(self, config: RobotConfig, say: Callable[[str], None], now_s: Callable[[], float]) -> None:
        """Says nothing yet.

        Args:
            config: of the robot.
            say: sends a text to `topics.command`; called in the thread that calls us.
            now_s: the robot's clock.

        Raises:
            ConfigError: the secret cannot be read.
        """
        self._config, self._say, self._now_s = config, say, now_s
        self._key = _key(config.watchdog.key_file)
        self._gripper_from_ee = np.linalg.inv(config.arm.ee_from_gripper.matrix)
        self._session, self._sequences = uuid4().hex[:12], count(1)
        self._last_word_s = -np.inf
        self._status: Mapping[str, Any] | None = None
        self._status_s = -np.inf

    def take(self, text: str) -> None:
        """Keep what came on `topics.watchdog`, unless it is no status of our watchdog's: then it has not spoken."""
        try:
            status = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(status, dict) and all(isinstance(status.get(name), kind) for name, kind in _STATUS.items()):
            self._status, self._status_s = status, time.monotonic()

    def target(self, target: PoseTarget) -> None:
        """Let the arm be pulled there."""
        self._word("target", target.expires_s, (target.base_from_gripper @ self._gripper_from_ee).tolist())

    def heartbeat(self) -> None:
        """Say that a motion may go on, unless something was said a moment ago."""
        if time.monotonic() - self._last_word_s >= 1 / self._config.watchdog.heartbeat_hz:
            self._word("heartbeat", self._now_s() + _LIFE_S)

    def quiet_s(self) -> float:
        """How long ago the last word was said."""
        return time.monotonic() - self._last_word_s

    def arm(self) -> None:
        """Have a motion watched that somebody else carries out, before it begins.

        Raises:
            RobotError: the watchdog does not watch it.
        """
        sequence = self._word("heartbeat", self._now_s() + _LIFE_S)
        if (misfit := self.misfit()) is not None:
            raise RobotError(misfit)
        if not self._answers(lambda status: status["armed"] and self._has_heard(status, sequence)):
            raise RobotError(f"the watchdog does not watch our motion {self._words()}")

    def hold(self) -> str | None:
        """Have the arm held; None once the watchdog has done so, or why it has not."""
        end_s = time.monotonic() + _HOLD_S
        first = sequence = self._word("hold", self._now_s() + _LIFE_S)
        while not self._answers(lambda status: self._has_held(status, first), _HOLD_AGAIN_S):
            if time.monotonic() > end_s:
                if self._status is not None and self._status["owes_hold"]:
                    return "the watchdog does not know the measured pose: goals are cancelled, the arm is not held yet"
                return f"the watchdog has not answered our hold, said {sequence - first + 1} times {self._words()}"
            sequence = self._word("hold", self._now_s() + _LIFE_S)
        return None

    def silence(self) -> str | None:
        """Why it cannot be relied upon, if so."""
        topic = self._config.topics.watchdog
        if self._status is None:
            return (
                f"no watchdog has spoken on {topic}: start gnfactor/ros/watchdog.py on the robot's computer; only a "
                "robot that cannot have one may go without (watchdog.required=false)"
            )
        silent_s = time.monotonic() - self._status_s
        return None if silent_s <= SILENT_S else f"the watchdog has been silent on {topic} for {silent_s:.1f} s"

    def misfit(self) -> str | None:
        """Why it does not watch what this configuration moves, if so: it was started with other flags."""
        if self._status is None:
            return None
        topics, actions, allowed_s = self._config.topics, self._config.actions, self._config.watchdog.timeout_s
        by_executor = {"impedance": None, "trajectory": actions.trajectory, "moveit": actions.move_group}
        action = by_executor[self._config.executor.name]
        expected = {} if topics.target is None else {"target": topics.target, "frame": self._config.arm.base_frame}
        wrong = [
            f"--{name} is {self._status[name]!r}, not {value!r}"
            for name, value in expected.items()
            if self._status[name] != value
        ]
        if self._status["timeout_s"] > allowed_s:
            wrong.append(f"--timeout is {self._status['timeout_s']} s, more than watchdog.timeout_s, {allowed_s} s")
        if action is not None and action not in self._status["cancel"]:
            wrong.append(f"--cancel is {self._status['cancel']}, without {action}")
        return f"the watchdog was started with other flags than fit: {'; '.join(wrong)}" if wrong else None

    def latch(self) -> str | None:
        """Why it lets no target of ours through, if so: it held the arm by itself, or another session held it."""
        if self._status is None or self._status["mover"] == self._session:
            return None
        mover = f"session {self._status['mover']} has held the arm; " if self._status["mover"] else ""
        return f"the watchdog: {mover}{self._status['why']}; hold before the next motion"

    def _word(
        self,
        verb: Literal["target", "heartbeat", "hold"],
        expires_s: float,
        base_from_ee: list[list[float]] | None = None,
    ) -> int:
        """Say something; its number."""
        sequence = next(self._sequences)
        self._say(pack(self._session, sequence, expires_s, verb, base_from_ee, self._key))
        self._last_word_s = time.monotonic()
        return sequence

    def _has_heard(self, status: Mapping[str, Any], sequence: int) -> bool:
        return status["session"] == self._session and status["sequence"] >= sequence

    def _has_held(self, status: Mapping[str, Any], sequence: int) -> bool:
        return self._has_heard(status, sequence) and not status["owes_hold"]

    def _answers(self, is_done: Callable[[Mapping[str, Any]], bool], within_s: float = _ANSWER_S) -> bool:
        end_s = time.monotonic() + within_s
        while self._status is None or not is_done(self._status):
            if time.monotonic() > end_s:
                return False
            time.sleep(_POLL_S)
        return True

    def _words(self) -> str:
        """The last that it said, for an error."""
        if self._status is None:
            return "(it has never spoken)"
        return f"(it has dropped {self._status['dropped']} words; the last it says is '{self._status['why']}')"


def _key(file: str | None) -> bytes | None:
    try:
        return None if file is None else read_key(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"watchdog.key_file: {error}") from error
