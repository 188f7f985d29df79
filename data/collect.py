"""Let a world's expert demonstrate tasks and keep the demonstrations.

    python -m data.collect OUT --tasks open_drawer,push_buttons --episodes 100 --seed 0 --workers 2
    python -m data.collect OUT --benchmark tabletop10 --workers 2
    python -m data.collect OUT --tasks open_drawer --episodes 100 --seed 7 --report-only --report FILE
    python -m data.collect OUT --env rlbench --tasks open_drawer --episodes 20 --frames all

The first collects so many demonstrations of each task; scenes at which the expert fails are replaced by others. The
second collects the training and validation scenes of a benchmark, and no others. The third only measures the expert:
every scene is tried once, without cameras, and nothing is kept but the outcomes. The fourth does as the first, in
RLBench instead of the built-in world.

The scenes follow from (task, --seed, number of the episode) alone, so that the same command run again goes on where a
killed one stopped, and several machines can fill one store with different seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.demonstrators import WORLDS, Demonstrator, Filming, world
from data.episode import read_info
from data.expert_report import Journal, Outcome, TaskReport, print_reports, summarise_tasks, write_reports
from data.store import Store
from data.workers import spread
from gnfactor.command import Parser, run
from gnfactor.demonstration import ExpertFailure
from gnfactor.envs.base import TRAINING_SEEDS, SeededScene
from gnfactor.envs.benchmark import Role, known_benchmarks, read_manifest
from gnfactor.envs.tabletop.rig import RIG_FORM, parse_rig
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import WORLD_VERSION, Frames
from gnfactor.errors import ConfigError, DataError, SceneError
from gnfactor.scene import CAMERAS

JOURNAL_NAME = "expert.jsonl"
"""What --report-only leaves in the folder: the outcomes so far."""
_MAX_ATTEMPTS = 20
"""Scenes drawn for one episode before it is given up."""


@dataclass(frozen=True)
class CollectConfig:
    """What to collect."""

    out: Path
    tasks: tuple[str, ...]
    episodes: int
    """Per task; not read with a benchmark."""
    seed: int
    """See `episodes`."""
    filming: Filming = field(default_factory=Filming)
    workers: int = 1
    benchmark: str | None = None
    """Collect exactly the training and validation scenes of this benchmark, each tried once."""
    report_only: bool = False
    """Keep no demonstration, only the outcomes; each scene is tried once. Of a benchmark: its evaluation scenes."""
    env: str = "tabletop"
    """A name in `WORLDS`."""

    def __post_init__(self) -> None:
        world(self.env)
        if not all(self.tasks) or not self.tasks:
            raise ConfigError("--tasks: a name is empty; give names separated by commas")
        if len(set(self.tasks)) < len(self.tasks):
            raise ConfigError(f"--tasks: {', '.join(self.tasks)} names a task twice; name each once")
        for name in ("episodes", "workers"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"--{name}: {value} is not a number above 0; give one")

    @property
    def made_with(self) -> dict[str, str]:
        """What the demonstrations of one store have to have in common."""
        return {**self.filming.made_with, **world(self.env).made_with()}


@dataclass(frozen=True)
class Job:
    """One demonstration to collect."""

    config: CollectConfig
    scenes: tuple[SeededScene, ...]
    """Of one task; given to the expert one after the other until it succeeds."""


def attempt_scene(task: str, variations: int, seed: int, index: int, attempt: int) -> SeededScene:
    """The scene of one attempt at one episode: one of so many variations, and a seed, drawn uniformly by hashing."""
    digest = hashlib.sha256(f"collect/{task}/{seed}/{index}/{attempt}".encode()).digest()
    drawn = np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())
    variation = int(drawn.integers(variations))
    return SeededScene(task, variation, int(drawn.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop)))


def jobs_of(config: CollectConfig) -> list[Job]:
    """What there is to do, in the order in which it is done.

    Raises:
        GNFactorError: the benchmark's scenes cannot be made here, or there is no such task.
    """
    counts = world(config.env).variation_counts(config.tasks)
    if config.benchmark is not None:
        manifest = read_manifest(config.benchmark)
        manifest.refuse_another_world(WORLD_VERSION)
        roles: tuple[Role, ...] = ("evaluation",) if config.report_only else ("training", "validation")
        scenes = [scene for role in roles for scene in manifest.of(role, config.tasks)]
        return [Job(config, (scene,)) for scene in scenes]
    attempts = range(1 if config.report_only else _MAX_ATTEMPTS)
    return [
        Job(config, tuple(attempt_scene(task, counts[task], config.seed, index, attempt) for attempt in attempts))
        for index in range(config.episodes)
        for task in config.tasks
    ]


def collect_episode(job: Job, demonstrator: Demonstrator, store: Store | None) -> Outcome:
    """Try scene after scene until the expert succeeds, and keep that demonstration if there is a store."""
    began, failures, rejected = time.perf_counter(), list[str](), 0
    task = job.scenes[0].task
    for scene in job.scenes:
        if store is not None and scene.name in store:
            keyframes = len(read_info(store.folder / scene.name, scene.name).keyframes)
            return Outcome(task, True, True, keyframes, rejected, time.perf_counter() - began, tuple(failures))
        try:
            result = demonstrator.demonstrate(scene)
        except SceneError as error:  # no layout fits this seed
            failures.append(str(error))
            continue
        rejected += demonstrator.rejected_placements
        if not isinstance(result, ExpertFailure):
            if store is not None:
                store.write(result, scene.name, job.config.made_with)
            seconds = time.perf_counter() - began
            return Outcome(task, True, False, len(result.keyframes), rejected, seconds, tuple(failures))
        failures.append(result.reason)
    return Outcome(task, False, False, 0, rejected, time.perf_counter() - began, tuple(failures))


def collect(config: CollectConfig, jobs: Sequence[Job], console: Console) -> dict[str, TaskReport]:
    """Fill the store and say how it went, by task; an interruption leaves a store that can be continued.

    Raises:
        DataError: the store cannot be written or was made with other settings, or a worker process died.
    """
    store = Store.create(config.out)
    store.refuse_others_than(config.made_with)
    try:
        outcomes = [outcome for _, outcome in _shown(jobs, config, console)]
    finally:
        store.finish()
    return summarise_tasks(config.tasks, outcomes)


def measure(config: CollectConfig, jobs: Sequence[Job], console: Console) -> dict[str, TaskReport]:
    """Say how the expert does in scenes that are tried once each, and keep no demonstration.

    An interruption leaves the outcomes so far in a journal in `config.out`, from which the same call goes on.

    Raises:
        DataError: the folder is a store, or holds a journal of another world, or a worker process died.
    """
    if (config.out / "zarr.json").exists():
        raise DataError(f"{config.out} is a store, and --report-only keeps none; name another folder")
    journal = Journal(config.out / JOURNAL_NAME, WORLD_VERSION)
    waiting = [job for job in jobs if job.scenes[0].name not in journal.outcomes]
    for job, outcome in _shown(waiting, config, console):
        journal.add(job.scenes[0].name, outcome)
    return summarise_tasks(config.tasks, [journal.outcomes[job.scenes[0].name] for job in jobs])


def _shown(jobs: Sequence[Job], config: CollectConfig, console: Console) -> Iterator[tuple[Job, Outcome]]:
    """Jobs with their outcomes in the order in which these come in, with a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("scenes" if config.report_only else "demonstrations", total=len(jobs))
        for done in _outcomes(jobs, config):
            yield done
            progress.advance(bar)


def _outcomes(jobs: Sequence[Job], config: CollectConfig) -> Iterator[tuple[Job, Outcome]]:
    if config.workers == 1 and not world(config.env).alone:
        demonstrator, store = _make_demonstrator(config), _make_store(config)
        try:
            for job in jobs:
                yield job, collect_episode(job, demonstrator, store)
        finally:
            demonstrator.close()
        return
    yield from spread(_work, jobs, config.workers, partial(_start_worker, config), apart=True)


def _make_demonstrator(config: CollectConfig) -> Demonstrator:
    return world(config.env).make(config.filming)


def _make_store(config: CollectConfig) -> Store | None:
    return None if config.report_only else Store.create(config.out)


@dataclass(frozen=True)
class _Worker:
    """What a worker process keeps between jobs."""

    demonstrator: Demonstrator
    store: Store | None


_worker: list[_Worker] = []


def _start_worker(config: CollectConfig) -> None:
    _worker.append(_Worker(_make_demonstrator(config), _make_store(config)))
    Finalize(None, _worker[0].demonstrator.close, exitpriority=1)


def _work(job: Job) -> Outcome:
    return collect_episode(job, _worker[0].demonstrator, _worker[0].store)


def _parse(arguments: Sequence[str] | None) -> tuple[CollectConfig, Path | None]:
    parser = Parser(prog="python -m data.collect", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder of the store (of outcomes: --report-only); continued if there")
    parser.add_argument(
        "--tasks",
        help=f"separated by commas; in RLBench any; in the built-in world, all if it is not given: {', '.join(TASKS)}",
    )
    parser.add_argument("--episodes", type=int, help="demonstrations for each task")
    parser.add_argument("--seed", type=int, help="other seeds give other scenes; 0 if it is not given")
    parser.add_argument("--benchmark", help=f"collect the demonstrations of {', '.join(known_benchmarks())}, no others")
    parser.add_argument(
        "--report-only", action="store_true", help="measure the expert, each scene once; of a benchmark: evaluation"
    )
    parser.add_argument("--env", choices=tuple(WORLDS), default="tabletop", help="the world to collect in")
    parser.add_argument("--workers", type=int, default=1, help="processes that collect at the same time")
    parser.add_argument("--frames", choices=("keyframes", "all"), default="keyframes", help="all: also 20 Hz between")
    parser.add_argument("--cameras", default=",".join(CAMERAS), help="names, separated by commas")
    parser.add_argument("--image-size", type=int, default=128, help="width and height of the pictures")
    parser.add_argument(
        "--rig",
        help=f"further cameras with views to learn from the scene: none, {RIG_FORM}; if it is not given, none in the "
        "built-in world, and in RLBench the arc of the published views",
    )
    parser.add_argument(
        "--rig-every", type=int, default=10, help="with --frames all: frames from one look of the rig to the next"
    )
    parser.add_argument("--report", type=Path, help="write the printed table to this file, as JSON")
    given = parser.parse_args(arguments)
    benchmark = cast("str | None", given.benchmark)
    _refuse_mixtures(parser, given)
    tasks = tuple(TASKS) if benchmark is None else read_manifest(benchmark).tasks
    config = CollectConfig(
        out=cast("Path", given.out),
        tasks=tuple(name.strip() for name in str(given.tasks).split(",")) if given.tasks is not None else tasks,
        episodes=cast("int", 1 if given.episodes is None else given.episodes),
        seed=cast("int", given.seed or 0),
        filming=_filming(given),
        workers=cast("int", given.workers),
        benchmark=benchmark,
        report_only=cast("bool", given.report_only),
        env=cast("str", given.env),
    )
    return config, cast("Path | None", given.report)


def _filming(given: argparse.Namespace) -> Filming:
    """How it is filmed; without cameras where nothing is kept, since pictures take most of the time."""
    if given.report_only:
        return Filming(cameras=())
    return Filming(
        frames=cast("Frames", given.frames),
        cameras=tuple(str(given.cameras).split(",")),
        image_size=cast("int", given.image_size),
        rig=parse_rig(world(str(given.env)).usual_rig if given.rig is None else str(given.rig)),
        rig_every=cast("int", given.rig_every),
    )


def _refuse_mixtures(parser: Parser, given: argparse.Namespace) -> None:
    """Raise ConfigError for options that are missing or contradict each other."""
    if given.benchmark is None and given.episodes is None:
        raise ConfigError("--episodes is needed, or --benchmark; see `python -m data.collect --help`")
    if given.benchmark is not None and (given.episodes is not None or given.seed is not None):
        raise ConfigError(f"the scenes of '{given.benchmark}' are fixed; leave out --episodes and --seed")
    if given.env != "tabletop" and (given.benchmark is not None or given.report_only):
        raise ConfigError("--benchmark and --report-only are of the built-in world; leave out --env")
    if given.env != "tabletop" and given.tasks is None:
        raise ConfigError(f"--tasks: name tasks of {given.env}, separated by commas")
    pictures = ("frames", "cameras", "image_size", "rig", "rig_every")
    unused = [name for name in pictures if getattr(given, name) != parser.get_default(name)]
    if given.report_only and unused:
        raise ConfigError(f"--report-only looks through no cameras; leave out --{unused[0].replace('_', '-')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 1 some episodes are missing, 2 wrong use, 130 interrupted."""

    def command(console: Console) -> int:
        config, report_file = _parse(arguments)
        if report_file is not None and not report_file.absolute().parent.is_dir():
            raise ConfigError(f"--report: there is no folder {report_file.absolute().parent}; make it, or name another")
        world(config.env).check(config.filming)  # says at once which camera is wrong
        jobs = jobs_of(config)
        reports = (measure if config.report_only else collect)(config, jobs, console)
        print_reports(reports, "the expert, each scene once" if config.report_only else "demonstrations", console)
        if report_file is not None:
            write_reports(reports, report_file)
        wanted = Counter(job.scenes[0].task for job in jobs)
        missing = any(report.successes < wanted[task] for task, report in reports.items())
        return int(missing and not config.report_only)

    return run(command, "interrupted; what is in the folder is whole: run the same command again to go on")


if __name__ == "__main__":
    sys.exit(main())
