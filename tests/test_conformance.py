"""Every environment keeps the promises of gnfactor.envs.base, and the suite notices one that does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import pytest

from gnfactor.actions import Action
from gnfactor.envs.base import Capabilities, Env, Scene, SeededScene, Start, Step
from gnfactor.envs.check import CHECKS, Check, check_env
from gnfactor.envs.promises import BrokenPromiseError
from gnfactor.errors import SceneError
from gnfactor.scene import ARM, Observation, View
from tests.fake_env import FakeEnv, with_views

T = TypeVar("T")
SHIFT_M = 0.05
DISCS = SeededScene("touch", 1, 10**9)


def tabletop(task: str) -> tuple[Callable[[], Env], SeededScene]:
    pytest.importorskip("mujoco", exc_type=ImportError)
    world = pytest.importorskip("gnfactor.envs.tabletop.world")
    return partial(world.TabletopEnv, cameras=("front", "left_shoulder", "wrist")), SeededScene(task, 0, 10**9)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_world_of_discs_conforms(check: Check) -> None:
    check.run(partial(FakeEnv, image_size=(64, 48)), DISCS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_tabletop_conforms(check: Check) -> None:
    make_env, scene = tabletop("push_buttons")
    check.run(make_env, scene)


def observing(change: Callable[[Observation], Observation]) -> type[FakeEnv]:
    """The world of discs, seen through a mistake."""

    class Mistaken(FakeEnv):
        def reset(self, scene: Scene) -> Start:
            start = super().reset(scene)
            return replace(start, observation=change(start.observation))

        def step(self, action: Action) -> Step:
            step = super().step(action)
            return replace(step, observation=change(step.observation))

    return Mistaken


def viewing(change: Callable[[View], View]) -> type[FakeEnv]:
    return observing(lambda observation: with_views(observation, change))


def altered(value: T, **changes: object) -> T:
    """A copy with other fields, past the checks that a dataclass makes of its shapes in tests."""
    result = copy(value)
    for name, change in changes.items():
        object.__setattr__(result, name, change)
    return result


def with_pose(view: View, world_from_camera: np.ndarray) -> View:
    return replace(view, camera=replace(view.camera, world_from_camera=world_from_camera))


def along_the_ray(view: View) -> View:
    v, u = np.mgrid[: view.camera.height, : view.camera.width]
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(view.camera.intrinsics).T
    return replace(view, depth_m=view.depth_m * np.linalg.norm(rays, axis=-1))


def with_arm(observation: Observation, **change: object) -> Observation:
    return replace(observation, arms={ARM: altered(observation.arms[ARM], **change)})


def moved_gripper(observation: Observation) -> Observation:
    pose = observation.arms[ARM].world_from_gripper.copy()
    pose[:3, 3] -= (0.0, 0.0, SHIFT_M) if observation.step else 0.0
    return with_arm(observation, world_from_gripper=pose)


class Silent(FakeEnv):
    def reset(self, scene: Scene) -> Start:
        return replace(super().reset(scene), instructions=())


class Gullible(FakeEnv):
    def step(self, action: Action) -> Step:
        return replace(super().step(action), refused=None)


class Reluctant(FakeEnv):
    def step(self, action: Action) -> Step:
        step = super().step(action)
        return replace(step, refused=step.refused and " ")


class Forgetful(FakeEnv):
    def step(self, action: Action) -> Step:
        step = super().step(action)
        self._step -= step.refused is not None
        return replace(step, observation=self._observe())


class Drawn(FakeEnv):
    """Lets the arm drift when it refuses."""

    def step(self, action: Action) -> Step:
        step = super().step(action)
        if step.refused is None:
            return step
        self._pose[2, 3] -= 0.02
        return replace(step, observation=self._observe())


class Ignorant(FakeEnv):
    def step(self, action: Action) -> Step:
        return replace(super().step(action), success=None)


class Anything(FakeEnv):
    def reset(self, scene: Scene) -> Start:
        try:
            return super().reset(scene)
        except SceneError:
            return super().reset(DISCS)


class Restless(FakeEnv):
    """Never makes the same scene twice."""

    _made = 0

    def reset(self, scene: Scene) -> Start:
        assert isinstance(scene, SeededScene)
        self._made += 1
        return super().reset(replace(scene, seed=scene.seed + self._made))


class Local(FakeEnv):
    """Makes scenes that depend on the process."""

    def reset(self, scene: Scene) -> Start:
        assert isinstance(scene, SeededScene)
        return super().reset(replace(scene, seed=os.getpid()))


class Stubborn(FakeEnv):
    def step(self, action: Action) -> Step:
        step = super().step(action)
        self._open = True
        return replace(step, observation=self._observe())


class Careless(FakeEnv):
    """Cannot hold once something has gone wrong."""

    _broken = False

    def step(self, action: Action) -> Step:
        try:
            return super().step(action)
        except Exception:
            self._broken = True
            raise

    def hold(self) -> None:
        if self._broken:
            raise RuntimeError("nothing to hold")


class Once(FakeEnv):
    _closed = False

    def close(self) -> None:
        if self._closed:
            raise RuntimeError("already closed")
        self._closed = True


class Aliased(FakeEnv):
    """Hands out the same picture buffer every time."""

    _picture: np.ndarray | None = None

    def _observe(self) -> Observation:
        observation = super()._observe()
        view = observation.views["wrist"]
        if self._picture is None:
            self._picture = view.rgb
        self._picture[:] = view.rgb
        return replace(observation, views={**observation.views, "wrist": replace(view, rgb=self._picture)})


BROKEN: dict[str, list[type[FakeEnv]]] = {
    "an episode starts complete": [
        Silent,
        observing(lambda o: replace(o, step=o.step + 1)),
        observing(lambda o: replace(o, arms={})),
        observing(lambda o: with_arm(o, finger_positions_m=np.array([40.0, 40.0]))),
        observing(lambda o: with_arm(o, joint_positions=np.full(7, 90.0))),
    ],
    "poses are rigid and in metres": [
        viewing(lambda v: with_pose(v, v.camera.world_from_camera * 1000)),
        viewing(lambda v: with_pose(v, v.camera.world_from_camera @ np.diag([-1.0, 1, 1, 1]))),
        viewing(lambda v: with_pose(v, v.camera.world_from_camera.T)),
    ],
    "pictures fit their cameras": [
        viewing(lambda v: altered(v, rgb=v.rgb.swapaxes(0, 1))),
        viewing(lambda v: altered(v, rgb=(v.rgb / 255).astype(np.float32))),
        viewing(lambda v: altered(v, camera=altered(v.camera, intrinsics=-v.camera.intrinsics))),
    ],
    "depth is metric and around the workspace": [
        viewing(lambda v: altered(v, depth_m=v.depth_m * 1000)),
        viewing(lambda v: altered(v, depth_m=-v.depth_m)),
        viewing(lambda v: altered(v, depth_m=v.depth_m * 0)),
        viewing(lambda v: with_pose(v, v.camera.world_from_camera @ np.diag([1.0, -1, -1, 1]))),
    ],
    "cameras agree on where things are": [
        viewing(along_the_ray),
        viewing(lambda v: with_pose(v, v.camera.world_from_camera @ np.diag([-1.0, -1, 1, 1]))),
    ],
    "step and time advance": [
        observing(lambda o: replace(o, step=0)),
        observing(lambda o: replace(o, time_s=-o.time_s)),
        observing(lambda o: replace(o, views=dict(list(o.views.items())[o.step :]))),
    ],
    "success is known": [Ignorant],
    "targets are reached in the frame of the observations": [observing(moved_gripper)],
    "the gripper obeys": [Stubborn],
    "absurd targets are refused with a reason": [Gullible, Reluctant, Forgetful, Drawn],
    "observations keep their moment": [Aliased],
    "unknown scenes are refused": [Anything],
    "it holds at any time": [Careless],
    "it closes twice": [Once],
    "scenes repeat": [Restless],
    "scenes repeat in another process": [Local],
}


@pytest.mark.parametrize(
    ("name", "broken"), [(name, broken) for name, worlds in BROKEN.items() for broken in worlds], ids=str
)
def test_the_suite_notices_a_broken_promise(name: str, broken: type[FakeEnv]) -> None:
    (check,) = (check for check in CHECKS if check.name == name)
    with pytest.raises((BrokenPromiseError, RuntimeError)):
        check.run(partial(broken, image_size=(64, 48)), DISCS)


def test_every_check_has_a_world_that_breaks_it() -> None:
    assert set(BROKEN) == {check.name for check in CHECKS}


def test_what_is_not_promised_is_not_tested_and_a_crash_is_a_verdict() -> None:
    class Modest(FakeEnv):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(seeded=False, restores_stored_scenes=False, knows_success=False)

        def step(self, action: Action) -> Step:
            raise OSError("no power")

    verdicts = {verdict.name: verdict for verdict in check_env(Modest, DISCS)}
    assert verdicts["scenes repeat"].passed is None
    assert verdicts["an episode starts complete"].passed is True
    assert verdicts["step and time advance"].passed is False
    assert "no power" in str(verdicts["step and time advance"])
