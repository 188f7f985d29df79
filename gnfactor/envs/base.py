"""The contract between a policy and any world: simulated, recorded or real.

An Env declares what it can do; the conformance suite in `gnfactor.envs.check` tests what is declared and what
all must do. The scripted expert, the trained agent and a replay all run through the same `rollout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

from gnfactor.actions import Action
from gnfactor.scene import Observation

TRAINING_SEEDS = range(10**9)
"""Scene seeds that collectors may use."""
EVALUATION_SEEDS = range(10**9, 2 * 10**9)
"""Scene seeds that evaluators may use: no evaluation scene is ever a training scene."""
PERTURBATION_TITLES: MappingProxyType[str, str] = MappingProxyType(
    {
        "distractors": "objects beside those of the task",
        "larger": "the moved object larger",
        "smaller": "the moved object smaller",
        "new_color": "an object in a colour that no training scene has",
        "new_position": "objects outside the region where training scenes have them",
        "table": "another table top",
        "background": "another floor and wall",
        "lighting": "other lights",
        "camera_pose": "cameras moved, their new poses known",
        "camera_pose_stale": "cameras moved, their old poses reported",
        "field_of_view": "other fields of view, known",
        "field_of_view_stale": "other fields of view, the old ones reported",
        "paraphrase": "the instruction in other words",
    }
)
"""What may be changed about a scene, one thing at a time, with what it means. A world need not know all of them."""


@dataclass(frozen=True)
class SeededScene:
    """A scene that a seeded environment makes again from this alone."""

    task: str
    variation: int
    seed: int
    perturbation: str | None = None
    """A name in `PERTURBATION_TITLES`: the scene of the same three numbers with this changed; None: as it is."""

    @property
    def name(self) -> str:
        """What a demonstration of it is called in stores, such as `open_drawer/variation0/seed17`."""
        return f"{self.task}/variation{self.variation}/seed{self.seed}"


@dataclass(frozen=True)
class RandomState:
    """State of NumPy's global generator (a Mersenne twister), in plain numbers."""

    words: tuple[int, ...] = field(repr=False)
    """624 numbers of 32 bits."""
    position: int
    has_gauss: int
    cached_gaussian: float


@dataclass(frozen=True)
class StoredScene:
    """The scene in which a demonstration was recorded, as far as the recording says how it was made."""

    task: str
    variation: int
    demonstration: str
    """What the recording is called, such as `open_drawer/all_variations/episodes/episode3`."""
    random_state: RandomState
    """Of the recorder, just before it made the scene."""
    placement_attempts: int | None
    """How often the recorder placed the task's objects until they could be reached; None where it did not note that."""


@dataclass(frozen=True)
class LiveScene:
    """Whatever stands before the robot now."""

    instruction: str


TaskScene = SeededScene | StoredScene
"""A scene of a task, which can be made again."""
Scene = TaskScene | LiveScene


@dataclass(frozen=True)
class Capabilities:
    """What an environment promises."""

    seeded: bool
    """The same SeededScene gives the same pictures and the same behaviour in any process of this machine."""
    restores_stored_scenes: bool
    knows_success: bool
    """`Step.success` is True or False, never None."""


@dataclass(frozen=True, eq=False)
class Start:
    """What an episode begins with."""

    observation: Observation
    instructions: tuple[str, ...]
    """Ways to say the goal of this scene; the first is the default."""


@dataclass(frozen=True, eq=False)
class Step:
    """What came of one action."""

    observation: Observation
    """After the action or its refusal; its `step` counts actions taken since the episode began (refused ones count)."""
    success: bool | None
    """None where the environment cannot know."""
    refused: str | None = None
    """Why the action was not carried out (unreachable, in collision, outside the workspace), or None."""
    blocked: str | None = None
    """Where the arm was stopped on its way although the action was carried out, or None; contact may be meant."""
    ended: Literal["done", "stopped"] | None = None
    """Somebody who is asked has ended the episode: the task is done, or it is to go no further."""


@runtime_checkable
class Env(Protocol):
    """A world that can be reset to a scene and acted in, one keyframe at a time."""

    @property
    def capabilities(self) -> Capabilities: ...

    def reset(self, scene: Scene) -> Start:
        """Make the scene. Raises SceneError if this environment cannot."""
        ...

    def step(self, action: Action) -> Step:
        """Carry out one action in bounded work. A target that cannot be reached is a normal result."""
        ...

    def hold(self) -> None:
        """Stay where you are; safe at any time, also after an exception."""
        ...

    def close(self) -> None:
        """Release everything; safe to call twice."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Anything that acts in many environments at once."""

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        """One action for each observation."""
        ...

    def reset(self, index: int) -> None:
        """Environment number `index` starts a new episode."""
        ...
