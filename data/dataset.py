"""Demonstrations in memory as samples, and the order in which training draws them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch.utils.data import Dataset, Sampler

from data.episode import WORLD_VERSION_KEY, EpisodeInfo
from data.pairs import Pair, keyframe_pairs, start_frames, stored_pairs
from data.store import Store, natural
from data.targets import FeaturesOf, KeptPixels, announce_memory, draw_rays, read_targets, refuse_unfit_views
from gnfactor.actions import Box, contains
from gnfactor.batch import Sample
from gnfactor.checkpoint import TrainedOn
from gnfactor.config import DataConfig, ViewsConfig
from gnfactor.envs.base import EVALUATION_SEEDS
from gnfactor.envs.benchmark import read_manifest
from gnfactor.errors import ConfigError, DataError
from gnfactor.scene import ARM, Observation

_MISSPELT = 0.8
"""Likeness (difflib's ratio) from which an unknown name is taken for a known one misspelt."""


class Draw(NamedTuple):
    """One sample of a batch."""

    sample: int
    """Position in the data set."""
    wording: int
    """Chooses among the episode's ways to say the goal (modulo their number)."""
    rays: int = 0
    """Seed that chooses what the neural field is to render."""


@dataclass(frozen=True, eq=False)
class Moments:
    """The frames of an episode that are used, by their number in the whole episode."""

    info: EpisodeInfo
    observations: Mapping[int, Observation]
    ignore_collisions: Mapping[int, bool]
    targets: Mapping[int, Mapping[str, KeptPixels]] = field(default_factory=dict[int, Mapping[str, KeptPixels]])
    """What a neural field learns to render, by frame and view; empty where there is no field."""


class SampleSet(Dataset[Sample]):
    """Samples of some episodes, of which only the frames that are used are read, once."""

    def __init__(
        self,
        moments: Sequence[Moments],
        pairs: Sequence[Sequence[Pair]],
        *,
        any_wording: bool,
        views: ViewsConfig | None = None,
    ) -> None:
        """Samples of the pairs of each episode, in the order of `moments`.

        Args:
            moments: the episodes.
            pairs: of each of them.
            any_wording: lets draws choose the wording.
            views: how much of the episodes' targets a draw takes; None takes none.
        """
        self.moments = moments
        self.items = [(episode, pair) for episode, own in enumerate(pairs) for pair in own]
        self._any_wording = any_wording
        self._views = views

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Draw | int) -> Sample:
        """The sample drawn; a bare position, as in validation, gives the first wording and nothing to render."""
        index, wording, seed = draw if isinstance(draw, Draw) else (draw, 0, None)
        episode, pair = self.items[index]
        moments = self.moments[episode]
        texts = moments.info.instructions
        return Sample(
            observation=moments.observations[pair.frame],
            instruction=texts[wording % len(texts)] if self._any_wording else texts[0],
            target=moments.observations[pair.keyframe],
            ignore_collisions=moments.ignore_collisions[pair.keyframe],
            task=moments.info.task,
            rays=()
            if self._views is None or seed is None
            else draw_rays(moments.targets[pair.frame], self._views, seed),
        )

    def by_task(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Indices and weights of each task's samples."""
        groups: dict[str, list[int]] = {}
        for index, (episode, _) in enumerate(self.items):
            groups.setdefault(self.moments[episode].info.task, []).append(index)
        weights = np.array([pair.weight for _, pair in self.items])
        return {task: (np.array(groups[task]), weights[groups[task]]) for task in sorted(groups)}


class TaskUniformBatches(Sampler[list[Draw]]):
    """Batches in which every task is as likely as any other, or as its weight says, without end.

    Batch number n of all processes together is a function of (seed, n) alone, and each process takes its own part
    of it: two processes with batches of b see together what one with batches of 2b sees, and continuing needs only
    the number of the next batch. Each task gets its share of a batch, rounded up or down; within a task a sample is
    drawn by its weight.
    """

    def __init__(
        self,
        samples: SampleSet,
        batch_size: int,
        seed: int,
        *,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        task_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Batches from number `start` on for process `rank` of `world`; tasks without a weight weigh 1."""
        groups = samples.by_task()
        self._groups = [(indices, np.cumsum(weights)) for indices, weights in groups.values()]
        self._task_ends = np.cumsum([(task_weights or {}).get(task, 1.0) for task in groups])
        self._batch_size = batch_size
        self._seed = seed
        self._start = start
        self._rank = rank
        self._world = world

    def __iter__(self) -> Iterator[list[Draw]]:
        return (self.batch(number) for number in count(self._start))

    def batch(self, number: int) -> list[Draw]:
        """This process's part of a batch."""
        draws = np.random.default_rng((self._seed, number))
        total = self._batch_size * self._world
        # One comb of evenly spaced teeth over the tasks' weights (systematic sampling) gives each its share.
        comb = (np.arange(total) + draws.random()) * (self._task_ends[-1] / total)
        tasks = np.searchsorted(self._task_ends[:-1], draws.permutation(comb), side="right")
        places, wordings = draws.random(total), draws.integers(2**31, size=total)
        rays = draws.integers(2**63, size=total)
        mine = slice(self._rank * self._batch_size, (self._rank + 1) * self._batch_size)
        return [
            Draw(self._pick(int(task), float(place)), int(wording), int(seed))
            for task, place, wording, seed in zip(tasks[mine], places[mine], wordings[mine], rays[mine], strict=True)
        ]

    def _pick(self, task: int, place: float) -> int:
        indices, ends = self._groups[task]
        return int(indices[np.searchsorted(ends, place * ends[-1], side="right")])


@dataclass(frozen=True, eq=False)
class Split:
    """Samples to learn from, and those of episodes held out."""

    training: SampleSet
    validation: SampleSet

    def instructions(self) -> tuple[str, ...]:
        """Every wording of every episode, held out or not, in a fixed order."""
        moments = (*self.training.moments, *self.validation.moments)
        return tuple(sorted({text for one in moments for text in one.info.instructions}))

    def trained_on(self) -> TrainedOn:
        """What a checkpoint says about its demonstrations."""
        learned = [moments.info for moments in self.training.moments]
        return TrainedOn(
            tasks=tuple(sorted({info.task for info in learned})),
            renderer=learned[0].renderer,
            training=tuple(info.name for info in learned),
            held_out=tuple(moments.info.name for moments in self.validation.moments),
        )


def load_split(
    store: Store,
    config: DataConfig,
    cameras: Sequence[str],
    box: Box,
    *,
    field: bool = False,
    features: FeaturesOf | None = None,
    again: TrainedOn | None = None,
    progress: bool = True,
) -> Split:
    """Read the frames that a run uses into memory.

    Args:
        store: demonstrations.
        config: which of them, and which moments.
        cameras: those that the policy looks through; no others are read.
        box: what the policy's voxels cover; a keyframe outside could be neither labelled nor chosen.
        field: also keep pixels of other views (`config.views`) of the frames that training starts from, for a neural
            field to render.
        features: where those pixels' features come from; None leaves them out.
        again: take the very episodes of an earlier split instead of choosing.
        progress: show a bar, and say first if the field's pixels take much memory.

    Raises:
        ConfigError: a task is not in the store, or has no episode left to learn from; a weight names a task wrongly;
            a view to learn from is in no episode, or there are too few.
        DataError: the store is empty or damaged, was made by several renderers, lacks an episode of `again`, or has
            one to learn from whose seed is for evaluation or whose keyframe lies outside the box.
    """
    if again is None:
        training, validation = choose_split(store, config)
    else:
        training, validation = _named(store, again.training), _named(store, again.held_out)
    _refuse_evaluation_seeds(store, training)
    own = [stored_pairs(info, config.start_every, config.pairs, config.keyframe_weight) for info in training]
    held_out = [keyframe_pairs(info.keyframes) for info in validation]
    views = config.views if field else None
    if views is not None:
        starts = [start_frames(pairs) for pairs in own]
        refuse_unfit_views(store.path, training, starts, views)
        if progress:
            announce_memory(training, starts, views)
    learned = [(info, pairs, views) for info, pairs in zip(training, own, strict=True)]
    jobs = [*learned, *((info, pairs, None) for info, pairs in zip(validation, held_out, strict=True))]
    moments = [
        _read(store, info, pairs, cameras, box, targets, features)
        for info, pairs, targets in track(jobs, "reading demonstrations", disable=not progress)
    ]
    _refuse_keyframes_outside(store, moments[: len(training)], box)
    any_wording = config.instruction == "any"
    return Split(
        SampleSet(moments[: len(training)], own, any_wording=any_wording, views=views),
        SampleSet(moments[len(training) :], held_out, any_wording=False),
    )


def choose_episodes(store: Store, config: DataConfig) -> dict[str, list[EpisodeInfo]]:
    """Episodes of each task that the configuration names, in the order of their labels (seeds, recording numbers).

    Raises:
        ConfigError: a task is not in the store, or a weight's task is a misspelt one.
        DataError: the store is empty, or holds pictures of several renderers.
    """
    by_task: dict[str, list[EpisodeInfo]] = {}
    for info in store.episodes():
        by_task.setdefault(info.task, []).append(info)
    if not by_task:
        raise DataError(f"the store {store.path} holds no episodes; collect or convert some first")
    wanted = sorted(by_task) if config.tasks is None else list(dict.fromkeys(config.tasks))
    absent = [task for task in wanted if task not in by_task]
    if absent:
        raise ConfigError(f"data.tasks names {absent}, but the store {store.path} has only {sorted(by_task)}")
    for name in sorted({*config.task_weights} - {*by_task}):
        # Weights of tasks that are absent altogether are fine: a file's weights serve its merged-in variants too.
        close = difflib.get_close_matches(name, wanted, n=1, cutoff=_MISSPELT)
        if close:
            raise ConfigError(f"data.task_weights names '{name}', which is no task here; did you mean '{close[0]}'?")
    renderers = sorted({info.renderer for task in wanted for info in by_task[task]})
    if len(renderers) > 1:
        raise DataError(
            f"the episodes in {store.path} were rendered by {renderers}; pictures of different renderers look "
            "different, so put each renderer's into a store of its own, or name tasks of one in data.tasks"
        )
    return {task: sorted(by_task[task], key=_by_label) for task in wanted}


def choose_split(store: Store, config: DataConfig) -> tuple[list[EpisodeInfo], list[EpisodeInfo]]:
    """Episodes to learn from, and those that are held out.

    Raises:
        ConfigError: nothing would be left of a task, or there is no such task or benchmark.
        DataError: the store lacks episodes of the benchmark, or has them from another version of the world.
    """
    if config.benchmark is None:
        return split_episodes(choose_episodes(store, config), config.validation_episodes)
    manifest = read_manifest(config.benchmark)
    tasks = manifest.tasks if config.tasks is None else config.tasks
    listed = {role: [scene.name for scene in manifest.of(role, tasks)] for role in ("training", "validation")}
    there = {
        info.name: info
        for episodes in choose_episodes(store, replace(config, tasks=tasks)).values()
        for info in episodes
    }
    absent = [name for names in listed.values() for name in names if name not in there]
    if absent:
        raise DataError(
            f"the store {store.path} lacks {len(absent)} demonstrations of the benchmark '{manifest.name}', the first "
            f"is '{absent[0]}'; collect them with `python -m data.collect {store.path} --benchmark {manifest.name}`, "
            "or learn from whatever there is: data.benchmark=null"
        )
    training, validation = ([there[name] for name in listed[role]] for role in ("training", "validation"))
    for info in (*training, *validation):
        manifest.refuse_another_world(int(info.made_with.get(WORLD_VERSION_KEY, manifest.world_version)))
    return training, validation


def split_episodes(
    by_task: Mapping[str, Sequence[EpisodeInfo]], held_out: int
) -> tuple[list[EpisodeInfo], list[EpisodeInfo]]:
    """Episodes to learn from and the last `held_out` of each task.

    Raises:
        ConfigError: nothing would be left of a task.
    """
    for task, episodes in by_task.items():
        if len(episodes) <= held_out:
            raise ConfigError(
                f"data.validation_episodes is {held_out}, but the task '{task}' has only {len(episodes)} episodes; "
                "hold out fewer"
            )
    training = [info for episodes in by_task.values() for info in episodes[: len(episodes) - held_out]]
    validation = [info for episodes in by_task.values() for info in episodes[len(episodes) - held_out :]]
    return training, validation


def _named(store: Store, names: Sequence[str]) -> list[EpisodeInfo]:
    """Episodes by name, in the order of the names."""
    there = {info.name: info for info in store.episodes()}
    for name in names:
        if name not in there:
            raise DataError(f"the store {store.path} no longer has the episode '{name}'; restore it or collect again")
    return [there[name] for name in names]


def _refuse_evaluation_seeds(store: Store, training: Sequence[EpisodeInfo]) -> None:
    for info in training:
        if info.seed is not None and info.seed in EVALUATION_SEEDS:
            raise DataError(
                f"the episode '{info.name}' in {store.path} has the seed {info.seed}; seeds from "
                f"{EVALUATION_SEEDS.start} to {EVALUATION_SEEDS.stop - 1} are for evaluation scenes, which a policy "
                "must not have seen; delete it, and collect with smaller seeds"
            )


def _refuse_keyframes_outside(store: Store, training: Sequence[Moments], box: Box) -> None:
    """A position outside the box would be learned as the nearest voxel inside, which is wrong, and silently so."""
    outside = [
        (moments.info.name, frame, position)
        for moments in training
        for frame in moments.info.keyframes
        if not contains(box, torch.from_numpy(position := _gripper_position(moments.observations[frame])))
    ]
    if outside:
        name, frame, position = outside[0]
        raise DataError(
            f"{len(outside)} keyframes in {store.path} lie outside the voxels, the first at frame {frame} of '{name}': "
            f"{np.round(position, 3).tolist()} m is not between {list(box.lower)} and {list(box.upper)}; widen "
            "policy.grid.lower and policy.grid.upper, or leave the episodes out"
        )


def _gripper_position(observation: Observation) -> NDArray[np.float64]:
    return np.asarray(observation.arms[ARM].world_from_gripper[:3, 3], np.float64)


def _read(
    store: Store,
    info: EpisodeInfo,
    pairs: Sequence[Pair],
    cameras: Sequence[str],
    box: Box,
    views: ViewsConfig | None,
    features: FeaturesOf | None,
) -> Moments:
    frames = sorted({frame for pair in pairs for frame in (pair.frame, pair.keyframe)})
    part = store.read(info.name, frames, cameras)
    return Moments(
        info=info,
        observations={frame: _without_labels(seen) for frame, seen in zip(frames, part.observations, strict=True)},
        ignore_collisions=dict(zip(frames, part.ignore_collisions, strict=True)),
        targets={} if views is None else read_targets(store, info, start_frames(pairs), views, box, features),
    )


def _without_labels(observation: Observation) -> Observation:
    """The same moment without labels per pixel, which training never uses and which are as large as the depth."""
    views = {name: replace(view, segmentation=None) for name, view in observation.views.items()}
    return replace(observation, views=views)


def _by_label(info: EpisodeInfo) -> tuple[list[tuple[int, int, str]], list[tuple[int, int, str]]]:
    return natural(info.name.rpartition("/")[2]), natural(info.name)
