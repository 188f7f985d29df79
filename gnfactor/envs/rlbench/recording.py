"""RLBench's own motions as recordings, with views from a rig beside the frames that want them.

RLBench has a callback for every frame of a demonstration but the first. The pictures are therefore taken in the method
in which a task sees every observation before anybody else does, which RLBench means to be overridden: no step of the
simulation lies between the observation and its views, and they are kept under the observation itself, not under a
number that could be one off. A task's other method that is meant to be overridden says the instructions of the scene
which was really made; it is called for each new scene, and with it all views of an attempt before are forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from gnfactor.demonstration import ExpertFailure
from gnfactor.envs.base import SeededScene
from gnfactor.envs.rlbench import protocols
from gnfactor.envs.rlbench.convert import arm_from
from gnfactor.scene import ArmState, View

Wanted = Callable[[int, ArmState, ArmState | None], bool]
"""Whether a frame is to have views: of its number, the arm there, and the arm at the frame before (None at the
first)."""
LookAround = Callable[[], Mapping[str, View]]


@dataclass(frozen=True, eq=False)
class Recording:
    """A demonstration as RLBench gave it."""

    instructions: tuple[str, ...]
    """Ways to say the goal, from the reset that made the scene."""
    frames: tuple[protocols.Observation, ...]
    ignore_collisions: tuple[bool, ...]
    """Per frame: what RLBench noted about the motion then under way. False in upstream, which notes nothing."""
    views: Mapping[int, Mapping[str, View]]
    """By frame: those of the rig."""


@dataclass
class Film:
    """What is seen and heard while RLBench makes scenes and moves in them; always of the last scene alone."""

    look_around: LookAround | None = None
    """Gives the present views of a rig."""
    wanted: Wanted | None = None
    """At which frames they are taken, None: at all; after the last one they are in any case."""
    with_flags: bool = False
    """Whether this RLBench notes at each frame if collisions are ignored."""
    instructions: tuple[str, ...] = ()
    trouble: Exception | None = None
    """The first error of our own; RLBench takes any error during a demonstration for one of its own and goes on."""
    _seen: list[tuple[protocols.Observation, Mapping[str, View]]] = field(default_factory=list, repr=False)
    _count: int = 0
    _before: ArmState | None = None

    def begin(self, instructions: list[str]) -> list[str]:
        """A scene is made; what was filmed before is forgotten."""
        self.instructions = tuple(instructions)
        self._seen, self._count, self._before = [], 0, None
        return instructions

    def see(self, observation: protocols.Observation) -> protocols.Observation:
        """Something is observed: at first what `reset` returns, and then each frame."""
        if self.look_around is not None and self.trouble is None:
            try:
                self._take(observation, self.look_around)
            except Exception as error:
                self.trouble = error
        return observation

    def recording_of(self, frames: tuple[protocols.Observation, ...]) -> Recording:
        """What was filmed of these very observations; nothing may have moved since the last of them."""
        taken = {id(seen): views for seen, views in self._seen}
        views = {number: taken[id(frame)] for number, frame in enumerate(frames) if id(frame) in taken}
        if self.look_around is not None:
            views.setdefault(len(frames) - 1, self.look_around())
        flags = tuple(self.with_flags and ignores_collisions(seen) for seen in frames)
        return Recording(self.instructions, frames, flags, views)

    def _take(self, observation: protocols.Observation, look_around: LookAround) -> None:
        number = self._count - 1
        self._count += 1
        if number < 0:
            return
        arm = arm_from(observation)
        if self.wanted is None or self.wanted(number, arm, self._before):
            self._seen.append((observation, look_around()))
        self._before = arm


def ignores_collisions(seen: protocols.Observation) -> bool:
    """Whether the motion under way ignored collisions; not to be asked of upstream's observations."""
    noted = cast("protocols.FlaggedObservation", seen)
    return bool(noted.ignore_collisions > 0.5)  # dialects: peract_fork, gnfactor_fork


def filmed(task: type[protocols.Task], film: Film) -> type[protocols.Task]:
    """The same task, with everything that it says and sees shown to a film."""

    def init_episode(self: protocols.Task, index: int) -> list[str]:
        return film.begin(task.init_episode(self, index))

    def decorate_observation(self: protocols.Task, observation: protocols.Observation) -> protocols.Observation:
        return film.see(task.decorate_observation(self, observation))

    # Tasks find their scene's file by the name of their class, so that it has to stay.
    methods = {"init_episode": init_episode, "decorate_observation": decorate_observation}
    return cast("type[protocols.Task]", type(task.__name__, (task,), {**methods, "__module__": task.__module__}))


def record(environment: protocols.TaskEnvironment, film: Film, scene: SeededScene) -> Recording | ExpertFailure:
    """Make a scene and let RLBench do its task, once.

    Args:
        environment: of a task that was `filmed`.
        film: with which it was.
        scene: which one. RLBench draws it with the global generators, which are seeded here; how often it has to draw
            before the objects can be reached also depends on its planner, which nobody can seed.

    Raises:
        GNFactorError: the rig could not be used.
    """
    from rlbench.backend.exceptions import TaskEnvironmentError  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

    environment.set_variation(scene.variation)
    seed_generators(scene.seed)
    film.trouble = None
    try:
        (demo,) = environment.get_demos(1, live_demos=True, max_attempts=1)
    except (TaskEnvironmentError, RuntimeError) as error:
        if film.trouble is not None:
            raise film.trouble from error
        return ExpertFailure(f"RLBench: {error}")
    if film.trouble is not None:
        raise film.trouble
    frames = tuple(demo[number] for number in range(len(demo)))
    return film.recording_of(frames)


def seed_generators(seed: int) -> None:
    """Seed the generators from which RLBench draws, which are Python's and NumPy's global ones."""
    random.seed(seed)
    np.random.seed(seed)
