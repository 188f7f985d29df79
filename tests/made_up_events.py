"""Events of random content, and what it means for two to be the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from gnfactor.actions import Action, ArmTarget
from gnfactor.ros.journal import (
    Asked,
    Began,
    Commanded,
    Decided,
    Ended,
    Event,
    Failed,
    Judged,
    Looked,
    Progressed,
    Seen,
    Stated,
)
from gnfactor.ros.link import (
    GripCommand,
    JointTrajectory,
    PlanRequest,
    PoseTarget,
    Progress,
    RobotMode,
    RobotState,
)
from gnfactor.scene import ArmState, Camera, Observation, View

SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7976931348623157e308, 0.1)


class Maker:
    """Makes events of random content, of which some numbers are the odd ones.

    In the test itself, since the type checker samples tuples with `random`, which no strategy may.
    """

    def __init__(self, seed: int, texts: list[str]) -> None:
        self.rng = np.random.default_rng(seed)
        self.texts = ["", 'the operator\'s "yes"', *texts]

    def array(self, *shape: int) -> np.ndarray:
        values = self.rng.normal(size=shape) * 10.0 ** self.rng.integers(-12, 12, shape)
        return np.where(self.rng.random(shape) < 0.2, self.rng.choice(SPECIAL, shape), values)

    def number(self) -> float:
        return float(self.array(1)[0])

    def whole(self) -> int:
        return int(self.rng.integers(0, 2**40))

    def truth(self) -> bool:
        return bool(self.rng.integers(2))

    def text(self) -> str:
        return self.texts[self.rng.integers(len(self.texts))]

    def perhaps(self) -> str | None:
        return self.text() if self.truth() else None

    def view(self) -> View:
        height, width = (int(size) for size in self.rng.integers(1, 9, 2))
        depth_m = self.array(height, width).astype(np.float32) if self.truth() else self.array(height, width)
        rgb = self.rng.integers(0, 256, (height, width, 3), np.uint8)
        return View(Camera(self.array(3, 3), self.array(4, 4), width, height), rgb, depth_m)

    def arm(self) -> ArmState:
        return ArmState(self.array(4, 4), self.truth(), self.array(2), self.array(7), self.array(7))

    def observation(self) -> Observation:
        cameras, arms = ["front", "a/b", "wrist"][: self.rng.integers(4)], ["right", "left"][: self.rng.integers(3)]
        views = {name: self.view() for name in cameras}
        return Observation(self.whole(), self.number(), views, {name: self.arm() for name in arms})

    def state(self) -> RobotState:
        mode = RobotMode(int(self.rng.integers(len(RobotMode))))
        errors = tuple(self.text() for _ in range(self.rng.integers(3)))
        return RobotState(self.number(), mode, errors, self.array(7), self.array(7), self.array(4, 4), self.array(2))

    def trajectory(self) -> JointTrajectory:
        points = int(self.rng.integers(1, 5))
        times_s, positions, velocities = self.array(points), self.array(points, 7), self.array(points, 7)
        return JointTrajectory(self.whole(), self.number(), times_s, positions, velocities)

    def plan(self) -> PlanRequest:
        return PlanRequest(self.whole(), self.number(), self.array(4, 4), self.truth(), self.number())

    def grip(self) -> GripCommand:
        numbers = [self.number() for _ in range(4)]
        return GripCommand(self.whole(), *numbers, self.truth(), self.number())


MAKERS: dict[str, Callable[[Maker], Event]] = {
    "began": lambda m: Began(m.text()),
    "seen": lambda m: Seen(m.observation()),
    "decided": lambda m: Decided(Action({m.text(): ArmTarget(m.array(4, 4), m.truth(), m.truth())})),
    "judged": lambda m: Judged(m.perhaps()),
    "asked": lambda m: Asked(m.text(), m.text()),
    "ended": lambda m: Ended(m.perhaps(), m.perhaps(), m.perhaps()),
    "looked": lambda m: Looked({m.text(): m.number(), "front": m.number()}),
    "stated": lambda m: Stated(m.state()),
    "held": lambda m: Commanded(None, "hold"),
    "streamed": lambda m: Commanded(PoseTarget(m.whole(), m.number(), m.array(4, 4)), "stream"),
    "trajectory": lambda m: Commanded(m.trajectory(), "start_trajectory"),
    "plan": lambda m: Commanded(m.plan(), "start_plan"),
    "grip": lambda m: Commanded(m.grip(), "start_grip"),
    "progressed": lambda m: Progressed(Progress(m.whole(), "failed" if m.truth() else "done", m.text())),
    "failed": lambda m: Failed(m.text()),
}


def same(a: Any, b: Any) -> bool:
    """Equal in type and to the last bit, but that one NaN is as good as another."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(*(numbered(one) for one in (a, b)))
    if is_dataclass(a):
        return all(same(getattr(a, item.name), getattr(b, item.name)) for item in fields(a))
    if isinstance(a, list):
        return len(a) == len(b) and all(same(*both) for both in zip(a, b, strict=True))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return numbered(np.array(a)) == numbered(np.array(b)) if isinstance(a, float) else a == b


def numbered(values: np.ndarray) -> np.ndarray:
    """Bits as whole numbers, all NaN alike."""
    if values.dtype.kind != "f":
        return values
    return np.where(np.isnan(values), np.nan, values).astype(values.dtype).view(f"u{values.dtype.itemsize}")
