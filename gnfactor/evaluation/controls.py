"""Worlds that withhold something, to see whether a policy needed it.

A policy that looks and listens fails in them; one that succeeds all the same has learned where things usually are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from gnfactor.actions import Action
from gnfactor.envs.base import Capabilities, Env, Scene, SeededScene, Start, Step
from gnfactor.errors import ConfigError, SceneError
from gnfactor.scene import Observation, View


@runtime_checkable
class PicturesEmptyScenes(Env, Protocol):
    """An environment that can show what its cameras would see without the task's objects."""

    def empty_views(self, observation: Observation) -> Mapping[str, View]:
        """The observation's views, the robot in its actual pose, the objects gone."""
        ...


class EmptyScene:
    """The world itself, but pictured without the task's objects."""

    def __init__(self, env: PicturesEmptyScenes) -> None:
        self._env = env

    @property
    def capabilities(self) -> Capabilities:
        return self._env.capabilities

    def reset(self, scene: Scene) -> Start:
        start = self._env.reset(scene)
        return replace(start, observation=self._emptied(start.observation))

    def step(self, action: Action) -> Step:
        step = self._env.step(action)
        return replace(step, observation=self._emptied(step.observation))

    def hold(self) -> None:
        self._env.hold()

    def close(self) -> None:
        self._env.close()

    def _emptied(self, observation: Observation) -> Observation:
        return replace(observation, views=self._env.empty_views(observation))


class OtherInstruction:
    """The world itself, but with the instruction of another variation of the task."""

    def __init__(self, env: Env, variation_counts: Mapping[str, int]) -> None:
        self._env = env
        self._variation_counts = variation_counts

    @property
    def capabilities(self) -> Capabilities:
        return self._env.capabilities

    def reset(self, scene: Scene) -> Start:
        if not isinstance(scene, SeededScene):
            raise SceneError("the control 'other_instruction' needs seeded scenes; this one is not")
        for variation in self._others(scene):
            text = self._env.reset(replace(scene, variation=variation)).instructions[0]
            start = self._env.reset(scene)
            if text not in start.instructions:
                return replace(start, instructions=(text,))
        raise SceneError(f"'{scene.task}' has only one instruction; the control 'other_instruction' needs two")

    def step(self, action: Action) -> Step:
        return self._env.step(action)

    def hold(self) -> None:
        self._env.hold()

    def close(self) -> None:
        self._env.close()

    def _others(self, scene: SeededScene) -> Iterator[int]:
        """All other variations of the task, from one on that the scene's seed chooses."""
        others = self._variation_counts[scene.task] - 1
        for further in range(others):
            yield (scene.variation + 1 + (scene.seed + further) % others) % (others + 1)


def _empty_scene(env: Env, variation_counts: Mapping[str, int]) -> Env:  # noqa: ARG001 (one signature for all)
    if not isinstance(env, PicturesEmptyScenes):
        raise ConfigError("this environment cannot picture an empty scene; leave out the control 'empty_scene'")
    return EmptyScene(env)


CONTROLS: dict[str, Callable[[Env, Mapping[str, int]], Env]] = {
    "empty_scene": _empty_scene,
    "other_instruction": OtherInstruction,
}
"""By name: a world with something withheld, made of a world and its tasks' numbers of variations."""

CONTROL_TITLES = {
    "empty_scene": "the picture replaced by an empty scene's",
    "other_instruction": "the instruction replaced by another variation's",
}
