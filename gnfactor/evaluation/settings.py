"""What an evaluation is asked for, and what of that is impossible: said before any episode begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from typing import Literal

from gnfactor.build import Environment
from gnfactor.envs.base import PERTURBATION_TITLES
from gnfactor.envs.benchmark import Conditions, Manifest
from gnfactor.errors import ConfigError, MissingExtraError, ObservationError
from gnfactor.evaluation.controls import CONTROLS
from gnfactor.rollout import OnRefusal

SELECTIONS = {"last": "the last by step", "validation": "the least mean translation error on held-out episodes"}
"""By name: how a checkpoint is chosen among those of a run."""

FIXED_BY_BENCHMARKS = ("tasks", *(field.name for field in fields(Conditions)))
"""Keys of `EvaluateConfig` that a benchmark sets."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Which scenes a checkpoint is tried in, and how."""

    benchmark: str | None = None
    """Name of a benchmark: evaluate in exactly its scenes, under its protocol. Null: in scenes drawn from the seed."""
    env: str = "tabletop"
    demos: str | None = None
    """Folder of RLBench's recordings: evaluate in the scenes in which the first `episodes` of each task were recorded.
    Null: in scenes drawn from the seed."""
    tasks: tuple[str, ...] | None = None
    """Null: the tasks that it was trained on."""
    episodes: int = 25
    """Per task."""
    max_steps: int = 25
    """Actions after which an episode has failed."""
    seed: int = 0
    """Another seed, other scenes; every one of them gives scenes that are never trained on."""
    processes: int = 2
    """Environments at work beside the one process that holds the policy; results do not depend on it."""
    select: Literal["last", "validation"] = "last"
    """Checkpoint of a run: "last" by step, or the one with the least translation error on held-out episodes
    ("validation")."""
    on_refusal: OnRefusal = "end"
    """What an action that cannot be carried out means: "end" of the episode, a failure (the published protocol), or
    "continue"."""
    controls: tuple[str, ...] = ()
    """Run the same scenes again with something withheld: "empty_scene", "other_instruction"."""
    perturb: tuple[str, ...] = ()
    """Run the same scenes again with something changed, such as "distractors", "lighting" or "new_position"."""
    videos: bool = False
    """Film one success and one failure of each task."""
    explain: bool = True
    """Draw what the policy makes of the first scene of each task: the voxels' values and Grad-CAM."""
    renderer: str | None = None
    """Who makes the pictures; the one that made the training data. Null: the environment's usual one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of the policy: "auto" takes CUDA where there is some, "cpu", "cuda"."""
    cameras: tuple[str, ...] | None = None
    """Null: the cameras that it was trained with; others are refused."""
    image_size: tuple[int, int] | None = None
    """Null: width and height that it was trained with; others are refused."""

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("max_steps", 1), ("processes", 1), ("seed", 0)):
            value: int = getattr(self, name)
            if value < least:
                raise ConfigError(f"evaluate.{name} is {value}; at least {least} is expected")
        for control in self.controls:
            _known("controls", control, CONTROLS)
        for perturbation in self.perturb:
            _known("perturb", perturbation, PERTURBATION_TITLES)
        for name, given in (("controls", self.controls), ("perturb", self.perturb)):
            if len(set(given)) < len(given):
                raise ConfigError(f"evaluate.{name} is {list(given)}; name each once")
        for name, chosen in (("benchmark", self.benchmark), ("controls", self.controls), ("perturb", self.perturb)):
            if self.demos is not None and chosen:
                raise ConfigError(
                    f"evaluate.demos and evaluate.{name} do not go together, since a benchmark brings its own scenes, "
                    "and controls and perturbations need scenes drawn from a seed; leave one of them out"
                )
        if self.tasks is not None and (not self.tasks or len(set(self.tasks)) != len(self.tasks)):
            raise ConfigError(f"evaluate.tasks is {list(self.tasks)}; name at least one task, each once")


@dataclass(frozen=True)
class Eyes:
    """What a policy was trained to look through."""

    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    """Width and height, pixels."""


def under_conditions(config: EvaluateConfig, manifest: Manifest) -> EvaluateConfig:
    """The configuration with everything that a benchmark fixes as the benchmark has it, see `FIXED_BY_BENCHMARKS`."""
    fixed = {key: value for key, value in asdict(manifest.conditions).items() if key in FIXED_BY_BENCHMARKS}
    return replace(config, tasks=manifest.tasks, **fixed)


def _known(key: str, value: str, known: Sequence[str] | Mapping[str, object]) -> None:
    if value not in known:
        raise ConfigError(f"evaluate.{key} names '{value}'; known are: {', '.join(known)}")


def _refuse_other_eyes(config: EvaluateConfig, eyes: Eyes) -> None:
    source = "evaluate" if config.benchmark is None else config.benchmark
    remedy = "leave the key out" if config.benchmark is None else "evaluate without the benchmark"
    if config.cameras is not None and set(config.cameras) != set(eyes.cameras):
        raise ObservationError(
            f"{source}.cameras is {list(config.cameras)}, but the policy was trained with {list(eyes.cameras)} and "
            f"cannot look through others; {remedy}, or train with those cameras"
        )
    if config.image_size is not None and tuple(config.image_size) != tuple(eyes.image_size):
        raise ObservationError(
            f"{source}.image_size is {list(config.image_size)}, but the policy was trained on pictures of "
            f"{list(eyes.image_size)} (width, height); {remedy}, or train on that size"
        )


def refuse_impossible(
    config: EvaluateConfig, eyes: Eyes, world: Environment, variation_counts: Mapping[str, int]
) -> None:
    """Refuse what cannot be done in an environment by a policy with these eyes.

    Raises:
        ConfigError: an environment, task, control, perturbation or renderer that there is not.
        ObservationError: cameras or image sizes other than the policy's.
        MissingExtraError: the video writer is not installed.
    """
    counts = variation_counts
    _refuse_other_eyes(config, eyes)
    if config.tasks is None:
        raise ConfigError(
            f"evaluate.tasks is not set, and what the policy was trained on is not known; name some of: "
            f"{', '.join(counts)}"
        )
    for task in config.tasks:
        _known("tasks", task, counts)
        if "other_instruction" in config.controls and counts[task] < 2:
            raise ConfigError(f"'{task}' has one variation: leave out the control 'other_instruction'")
    _refuse_unsuitable(config, config.tasks, world.perturbations() if config.perturb else {})
    _known("renderer", world.renderer(config.renderer), world.renderers)
    _refuse_unable(config, world)
    if config.videos and find_spec("cv2") is None:
        raise MissingExtraError("opencv-python-headless", "pip install 'gnfactor[train]'")


def _refuse_unable(config: EvaluateConfig, world: Environment) -> None:
    """Refuse what this environment cannot do at all."""
    wanted = {
        "demos": (config.demos is not None, world.capabilities.restores_stored_scenes, "restore stored scenes"),
        "videos": (config.videos, world.film_camera is not None, "be filmed"),
        "controls": ("empty_scene" in config.controls, world.pictures_empty_scenes, "picture an empty scene"),
    }
    for key, (asked, able, what) in wanted.items():
        if asked and not able:
            raise ConfigError(f"evaluate.{key}: the environment '{config.env}' cannot {what}; leave it out")


def _refuse_unsuitable(config: EvaluateConfig, tasks: Sequence[str], suitable: Mapping[str, Sequence[str]]) -> None:
    """Refuse perturbations that suit none of the tasks; where one suits some of them, it is measured there."""
    known = sorted({name for task in tasks for name in suitable.get(task, ())})
    for name in config.perturb:
        if name not in known:
            raise ConfigError(
                f"evaluate.perturb names '{name}', which suits none of {', '.join(tasks)}; "
                + (f"these suit some: {', '.join(known)}" if known else f"nothing does in '{config.env}'")
                + ". Leave it out, or evaluate other tasks"
            )
