"""Let the built-in world's expert demonstrate tasks and keep the demonstrations.

    python -m data.collect OUT --tasks open_drawer,push_buttons --episodes 100 --seed 0 --workers 2

The scenes follow from (task, --seed, number of the episode) alone, so that the same command run again goes on where a
killed one stopped, and several machines can fill one store with different seeds.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import cast

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from data.command import Parser, run
from data.episode import read_info
from data.store import Store, episode_name
from gnfactor.envs.base import TRAINING_SEEDS, SeededScene
from gnfactor.envs.tabletop.expert import ExpertFailure
from gnfactor.envs.tabletop.rig import RIG_FORM, RigConfig, parse_rig, rig_text
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import WORLD_VERSION, Frames, TabletopEnv
from gnfactor.errors import ConfigError, DataError, SceneError
from gnfactor.scene import CAMERAS

_MAX_ATTEMPTS = 20
"""Scenes drawn for one episode before it is given up."""


@dataclass(frozen=True)
class CollectConfig:
    """What to collect."""

    out: Path
    tasks: tuple[str, ...]
    episodes: int
    """Per task."""
    seed: int
    frames: Frames = "keyframes"
    cameras: tuple[str, ...] = CAMERAS
    image_size: int = 128
    """Width and height, pixels."""
    rig: RigConfig | None = None
    """Further cameras, whose views are there to be learned from; their pictures have the same size."""
    rig_every: int = 10
    """With frames="all": the rig looks at every so many frames, besides the start and the keyframes."""
    workers: int = 1

    def __post_init__(self) -> None:
        unknown = [name for name in self.tasks if name not in TASKS]
        if unknown or not self.tasks:
            raise ConfigError(f"--tasks: there is no task {unknown}; known are {', '.join(TASKS)}")
        if len(set(self.tasks)) < len(self.tasks):
            raise ConfigError(f"--tasks: {', '.join(self.tasks)} names a task twice; name each once")
        for name in ("episodes", "image_size", "rig_every", "workers"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"--{name.replace('_', '-')}: {value} is not a number above 0; give one")

    @property
    def made_with(self) -> dict[str, str]:
        """What the demonstrations of one store have to have in common."""
        return {
            "cameras": ",".join(self.cameras),
            "pictures": f"{self.image_size}x{self.image_size}",
            "renderer": "mujoco-ray",
            "frames": self.frames,
            "rig": self._rig_text,
            "version of the tabletop world": str(WORLD_VERSION),
        }

    @property
    def _rig_text(self) -> str:
        thinned = self.rig is not None and self.frames == "all"
        return rig_text(self.rig) + (f" every {self.rig_every} frames" if thinned else "")


@dataclass(frozen=True)
class Job:
    """One episode to collect."""

    config: CollectConfig
    task: str
    index: int


@dataclass(frozen=True)
class Outcome:
    """What came of one job."""

    task: str
    collected: bool
    reused: bool
    """The demonstration was in the store already."""
    keyframes: int
    rejected_placements: int
    seconds: float
    failures: tuple[str, ...]
    """One reason for every scene that could not be made or at which the expert failed."""


@dataclass
class TaskReport:
    """Counts over one task. Every attempt is one scene, tried once."""

    attempts: int = 0
    successes: int = 0
    reused: int = 0
    """Successes that an earlier run had left in the store."""
    rejected_placements: int = 0
    """Layouts put aside before the expert tried; not counted for reused successes."""
    mean_keyframes: float = 0.0
    seconds_per_demonstration: float = 0.0
    """Of one worker, over the demonstrations made by this run, failed attempts included."""
    failures: dict[str, int] = field(default_factory=dict[str, int])


def attempt_scene(task: str, seed: int, index: int, attempt: int) -> SeededScene:
    """The scene of one attempt at one episode: variation and seed are drawn uniformly, by hashing."""
    digest = hashlib.sha256(f"collect/{task}/{seed}/{index}/{attempt}".encode()).digest()
    drawn = np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())
    variation = int(drawn.integers(TASKS[task].variation_count))
    return SeededScene(task, variation, int(drawn.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop)))


def collect_episode(job: Job, env: TabletopEnv, store: Store) -> Outcome:
    """Try scene after scene until the expert succeeds, and keep that demonstration."""
    began, failures, rejected = time.perf_counter(), list[str](), 0
    for attempt in range(_MAX_ATTEMPTS):
        scene = attempt_scene(job.task, job.config.seed, job.index, attempt)
        name = episode_name(scene.task, scene.variation, f"seed{scene.seed}")
        if name in store:
            keyframes = len(read_info(store.path / name, name).keyframes)
            return Outcome(job.task, True, True, keyframes, rejected, time.perf_counter() - began, tuple(failures))
        try:
            result = env.record(scene, job.config.frames, rig=job.config.rig, rig_every=job.config.rig_every)
        except SceneError as error:  # no layout fits this seed
            failures.append(str(error))
            continue
        rejected += env.rejected_placements
        if not isinstance(result, ExpertFailure):
            store.write(result, name, job.config.made_with)
            seconds = time.perf_counter() - began
            return Outcome(job.task, True, False, len(result.keyframes), rejected, seconds, tuple(failures))
        failures.append(result.reason)
    return Outcome(job.task, False, False, 0, rejected, time.perf_counter() - began, tuple(failures))


def collect(config: CollectConfig, console: Console) -> dict[str, TaskReport]:
    """Fill the store and say how it went, by task; an interruption leaves a store that can be continued.

    Raises:
        DataError: the store cannot be written or was made with other settings, or a worker process died.
    """
    store = Store.create(config.out)
    store.refuse_others_than(config.made_with)
    jobs = [Job(config, task, index) for index in range(config.episodes) for task in config.tasks]
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("demonstrations", total=len(jobs))
            for outcome in _outcomes(jobs, config, store):
                outcomes.append(outcome)
                progress.advance(bar)
    finally:
        store.finish()
    return {task: summarise([outcome for outcome in outcomes if outcome.task == task]) for task in config.tasks}


def summarise(outcomes: Sequence[Outcome]) -> TaskReport:
    """Counts over the outcomes of one task."""
    collected = [outcome for outcome in outcomes if outcome.collected]
    made = [outcome for outcome in collected if not outcome.reused]
    failures = Counter(reason for outcome in outcomes for reason in outcome.failures)
    return TaskReport(
        attempts=len(collected) + failures.total(),
        successes=len(collected),
        reused=len(collected) - len(made),
        rejected_placements=sum(outcome.rejected_placements for outcome in outcomes),
        mean_keyframes=sum(outcome.keyframes for outcome in collected) / max(len(collected), 1),
        seconds_per_demonstration=sum(outcome.seconds for outcome in made) / max(len(made), 1),
        failures=dict(failures.most_common()),
    )


def _outcomes(jobs: Sequence[Job], config: CollectConfig, store: Store) -> Iterator[Outcome]:
    """Outcomes in the order in which they come in."""
    if config.workers == 1:
        env = _make_env(config)
        try:
            for job in jobs:
                yield collect_episode(job, env, store)
        finally:
            env.close()
        return
    # One thread for each worker: the small matrices here gain nothing from more, and workers would fight for cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(config.workers, context, initializer=_start_worker, initargs=(config,))
    try:
        waiting: list[Future[Outcome]] = [pool.submit(_work, job) for job in jobs]
        for done in as_completed(waiting):
            yield done.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process died ({error}); run the same command again to go on, with fewer --workers if memory "
            "was short"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _make_env(config: CollectConfig) -> TabletopEnv:
    return TabletopEnv(config.cameras, (config.image_size, config.image_size))


@dataclass(frozen=True)
class _Worker:
    """What a worker process keeps between jobs."""

    env: TabletopEnv
    store: Store


_worker: list[_Worker] = []


def _start_worker(config: CollectConfig) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool after the episodes in work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.append(_Worker(_make_env(config), Store.create(config.out)))


def _end_with_parent() -> None:
    """Without this a worker whose parent was killed would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(job: Job) -> Outcome:
    return collect_episode(job, _worker[0].env, _worker[0].store)


def _parse(arguments: Sequence[str] | None) -> tuple[CollectConfig, Path | None]:
    parser = Parser(prog="python -m data.collect", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder of the store; continued if it is there")
    parser.add_argument("--tasks", required=True, help=f"some of {','.join(TASKS)}, separated by commas")
    parser.add_argument("--episodes", type=int, required=True, help="demonstrations for each task")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other scenes")
    parser.add_argument("--workers", type=int, default=1, help="processes that collect at the same time")
    parser.add_argument("--frames", choices=("keyframes", "all"), default="keyframes", help="all: also 20 Hz between")
    parser.add_argument("--cameras", default=",".join(CAMERAS), help="names, separated by commas")
    parser.add_argument("--image-size", type=int, default=128, help="width and height of the pictures")
    parser.add_argument(
        "--rig", default="none", help=f"further cameras with views to learn from the scene: none, {RIG_FORM}"
    )
    parser.add_argument(
        "--rig-every", type=int, default=10, help="with --frames all: frames from one look of the rig to the next"
    )
    parser.add_argument("--report", type=Path, help="write the printed table to this file, as JSON")
    given = parser.parse_args(arguments)
    config = CollectConfig(
        out=cast("Path", given.out),
        tasks=tuple(str(given.tasks).split(",")),
        episodes=cast("int", given.episodes),
        seed=cast("int", given.seed),
        frames=cast("Frames", given.frames),
        cameras=tuple(str(given.cameras).split(",")),
        image_size=cast("int", given.image_size),
        rig=parse_rig(str(given.rig)),
        rig_every=cast("int", given.rig_every),
        workers=cast("int", given.workers),
    )
    return config, cast("Path | None", given.report)


def _print_table(reports: dict[str, TaskReport], console: Console) -> None:
    table = Table(title="demonstrations", box=box.SIMPLE)
    table.add_column("task", no_wrap=True)
    for heading in ("successes", "reused", "rejected", "keyframes", "s each"):
        table.add_column(heading, justify="right")
    for task, report in reports.items():
        table.add_row(
            task,
            f"{report.successes}/{report.attempts}",
            str(report.reused),
            str(report.rejected_placements),
            f"{report.mean_keyframes:.1f}",
            f"{report.seconds_per_demonstration:.2f}",
        )
    console.print(table)
    for task, report in reports.items():
        for reason, count in report.failures.items():
            console.print(f"{task}: {count} x {reason}", markup=False, highlight=False)


def _write_report(reports: dict[str, TaskReport], path: Path) -> None:
    try:
        path.write_text(json.dumps({task: asdict(report) for task, report in reports.items()}, indent=1) + "\n")
    except OSError as error:
        raise DataError(f"cannot write the report {path}: {error}; name a file in a folder that is there") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 1 some episodes are missing, 2 wrong use, 130 interrupted."""

    def command(console: Console) -> int:
        config, report_file = _parse(arguments)
        _make_env(config).close()  # says at once which camera is wrong
        reports = collect(config, console)
        _print_table(reports, console)
        if report_file is not None:
            _write_report(reports, report_file)
        return int(any(report.successes < config.episodes for report in reports.values()))

    return run(command, "interrupted; what is in the store is whole: run the same command again to go on")


if __name__ == "__main__":
    sys.exit(main())
