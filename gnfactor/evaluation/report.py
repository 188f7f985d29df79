"""What an evaluation found: success rates with their uncertainty, and all that is needed to repeat it."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean
from typing import get_args

from gnfactor import __version__
from gnfactor.rollout import Unattended

SCHEMA = 1
"""Version of the report's JSON form; it changes whenever a key changes its meaning or goes."""

WILSON = "95% Wilson score interval"
MEAN_INTERVAL = "95% Wilson score interval of all episodes together, a little too wide where tasks differ"

_Z = 1.959963984540054  # standard normal quantile of 97.5%
_PACKAGES = ("torch", "numpy", "mujoco", "scipy")


@dataclass(frozen=True)
class Interval:
    """Where a rate may well lie, 0 to 1."""

    lower: float
    upper: float


@dataclass(frozen=True)
class TaskScore:
    """Successes at one task."""

    task: str
    successes: int
    episodes: int
    rate: float
    interval: Interval
    """By `WILSON`."""
    mean_steps: float
    """Actions per episode."""


@dataclass(frozen=True)
class Score:
    """Successes at all tasks."""

    tasks: tuple[TaskScore, ...]
    mean: float
    """Of the tasks' rates."""
    interval: Interval
    """By `MEAN_INTERVAL`."""
    endings: Mapping[str, int]
    """How many episodes ended in each of the ways in which they can."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode, as reports keep it."""

    task: str
    variation: int
    seed: int | None
    """None where the scene was stored."""
    instruction: str
    success: bool
    steps: int
    ending: str
    reason: str | None
    repeated: bool
    demonstration: str | None = None
    """The recording whose scene it was; None where it was drawn from the seed."""


@dataclass(frozen=True)
class NamedScenes:
    """A benchmark, and what its manifest said."""

    name: str
    digest: str


@dataclass(frozen=True)
class Protocol:
    """How the episodes were run."""

    env: str
    renderer: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    """Width and height, pixels."""
    episodes_per_task: int
    max_steps: int
    on_refusal: str
    seed: int
    scene_seeds: tuple[int, int] | None
    """Smallest and largest seed of the scenes; None where they were stored."""
    seeds_are_unseen: str
    """Why no scene can have been trained on, or what is known about that."""
    processes: int
    world_version: int | None = None
    """Of the environment; None where nobody counts."""
    benchmark: NamedScenes | None = None
    """The benchmark whose scenes these are, and no others; None where they were drawn from the seed."""
    demonstrations: str | None = None
    """Folder of the recordings in whose scenes the episodes were run; None where they were drawn from the seed."""


@dataclass(frozen=True)
class Subject:
    """What was evaluated."""

    checkpoint: str
    step: int
    """Optimiser steps of its training."""
    selected_by: str
    """Rule that chose it among the checkpoints of its run."""
    config_hash: str
    demonstrations: str | None = None
    """Which it learned from, compared with those of the benchmark; None where that is not known."""
    text_encoder: str | None = None
    """What made numbers of instructions: "clip", "hashing"; None where that is not known."""
    wordings: str | None = None
    """In training: the "first" wording of each instruction, or "any"; None where that is not known."""


@dataclass(frozen=True)
class Machine:
    """Where it ran."""

    system: str
    processor: str
    cores: int
    device: str
    """Of the policy."""
    python: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class Video:
    """A filmed episode."""

    task: str
    success: bool
    path: str
    """Relative to the report."""


@dataclass(frozen=True)
class Explained:
    """A picture of a policy's first decision in a scene, see `gnfactor.evaluation.explain`."""

    task: str
    instruction: str
    path: str
    """Relative to the report."""


@dataclass(frozen=True)
class Report:
    """One evaluation."""

    schema: int
    made_at: str
    """UTC, ISO 8601."""
    wall_s: float
    subject: Subject | None
    """None where the policy came from no checkpoint."""
    protocol: Protocol
    score: Score
    controls: Mapping[str, Score]
    """By name: the same scenes, with something withheld from the policy."""
    void_controls: tuple[str, ...]
    """Controls in which an episode crashed: a crash is a failure too, so that they do not show what they are for."""
    videos: tuple[Video, ...]
    machine: Machine
    episodes: tuple[EpisodeRecord, ...]
    control_episodes: Mapping[str, tuple[EpisodeRecord, ...]]
    explained: tuple[Explained, ...] = ()
    """The first decision in the first scene of each task."""
    perturbations: Mapping[str, Score] = field(default_factory=dict[str, Score])
    """By name: the same scenes, with something changed."""
    perturbation_episodes: Mapping[str, tuple[EpisodeRecord, ...]] = field(
        default_factory=dict[str, tuple[EpisodeRecord, ...]]
    )


def wilson(successes: int, episodes: int) -> Interval:
    """95% Wilson score interval of a success rate (Wilson 1927); sound for few episodes and for rates of 0 and 1."""
    if not 0 <= successes <= episodes or episodes < 1:
        raise ValueError(f"{successes} successes in {episodes} episodes make no rate")
    rate, z2 = successes / episodes, _Z**2
    centre = (rate + z2 / (2 * episodes)) / (1 + z2 / episodes)
    half = _Z / (1 + z2 / episodes) * math.sqrt(rate * (1 - rate) / episodes + z2 / (4 * episodes**2))
    return Interval(min(max(centre - half, 0.0), rate), max(min(centre + half, 1.0), rate))  # exact at 0 and 1


def score(episodes: Sequence[EpisodeRecord]) -> Score:
    """Rates by task, in the order in which the tasks appear, and their mean."""
    by_task: dict[str, list[EpisodeRecord]] = {}
    for episode in episodes:
        by_task.setdefault(episode.task, []).append(episode)
    tasks = tuple(_task_score(task, group) for task, group in by_task.items())
    successes = sum(task.successes for task in tasks)
    endings = Counter(episode.ending for episode in episodes)
    return Score(
        tasks=tasks,
        mean=fmean(task.rate for task in tasks),
        interval=wilson(successes, len(episodes)),
        endings={ending: endings[ending] for ending in get_args(Unattended)},
    )


def void_controls(controls: Mapping[str, Score]) -> tuple[str, ...]:
    """Names of the controls in which an episode crashed."""
    return tuple(name for name, found in controls.items() if found.endings["crashed"])


def this_machine(device: str) -> Machine:
    """The machine that this runs on."""
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        device=device,
        python=platform.python_version(),
        packages={"gnfactor": __version__, **{name: found for name in _PACKAGES if (found := _version(name))}},
    )


def _task_score(task: str, episodes: Sequence[EpisodeRecord]) -> TaskScore:
    successes = sum(episode.success for episode in episodes)
    return TaskScore(
        task=task,
        successes=successes,
        episodes=len(episodes),
        rate=successes / len(episodes),
        interval=wilson(successes, len(episodes)),
        mean_steps=fmean(episode.steps for episode in episodes),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 (not a file, a view of the kernel's)
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
