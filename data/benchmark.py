"""Make the manifest of a benchmark, or find out whether this machine makes the same scenes.

    python -m data.benchmark make configs/tasks/tabletop10.yaml --workers 2
    python -m data.benchmark verify tabletop10 --workers 2

The benchmark is called after the file, whose `data.tasks` and `evaluate` say what it is. Scenes to train and to
validate on are such that the expert succeeds in them (where it fails, another seed of the same variation is taken);
those to evaluate in are taken as they are drawn.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gnfactor.build import environment
from gnfactor.command import Parser, run
from gnfactor.config import Config, load
from gnfactor.demonstration import ExpertFailure
from gnfactor.envs.base import TRAINING_SEEDS, SeededScene
from gnfactor.envs.benchmark import (
    ROLES,
    Conditions,
    ListedScene,
    Manifest,
    Role,
    manifest_path,
    manifest_to_text,
    read_manifest,
)
from gnfactor.envs.draw import draw_seed, draw_variation
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import WORLD_VERSION, TabletopEnv
from gnfactor.errors import ConfigError, DataError, SceneError
from gnfactor.evaluation.evaluate import evaluation_scenes
from gnfactor.files import write_file

SETTLED_WITHIN = 10
"""Units of 0.1 mm that things may come to rest apart on two machines."""
_WORLD = "tabletop"
_NAMED = 5
"""Scenes that differ are listed up to this many."""
_MAX_ATTEMPTS = 20
"""Seeds tried for one scene before it is given up."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class BenchmarkPlan:
    """What a manifest is made from."""

    name: str
    conditions: Conditions
    tasks: tuple[str, ...]
    demonstrations: dict[Role, int]
    """Per task, to train and to validate on."""

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown:
            raise ConfigError(
                f"data.tasks names {unknown}, which the tabletop world has not; known: {', '.join(TASKS)}"
            )
        for role, count in self.demonstrations.items():
            if count < 1:
                raise ConfigError(f"--{role}: {count} is not a number above 0; give one")


@dataclass(frozen=True)
class Wanted:
    """One scene to find: the first whose demonstration succeeds, or a certain one."""

    candidates: tuple[SeededScene, ...]
    demonstrated: bool


@dataclass(frozen=True)
class Check:
    """A scene as it is made here, beside what the manifest says."""

    same_digest: bool
    moved: int
    """Largest distance along an axis between the places where a thing came to rest, units of 0.1 mm; -1 where there are
    not as many things."""


def plan_of(name: str, config: Config, training: int, validation: int) -> BenchmarkPlan:
    """The plan that a configuration describes.

    Raises:
        ConfigError: it leaves open what a benchmark has to fix.
    """
    evaluate = config.evaluate
    if config.data.tasks is None or evaluate.cameras is None or evaluate.image_size is None:
        raise ConfigError(f"the benchmark {name} needs data.tasks, evaluate.cameras and evaluate.image_size; set all")
    if evaluate.env != _WORLD:
        raise ConfigError(f"evaluate.env is '{evaluate.env}'; only scenes of '{_WORLD}' can be listed: set that")
    renderer = environment(evaluate.env).renderer(evaluate.renderer)
    TabletopEnv(evaluate.cameras, evaluate.image_size, renderer).close()  # says what is wrong with them
    conditions = Conditions(
        env=evaluate.env,
        renderer=renderer,
        cameras=evaluate.cameras,
        image_size=evaluate.image_size,
        episodes=evaluate.episodes,
        max_steps=evaluate.max_steps,
        on_refusal=evaluate.on_refusal,
        seed=evaluate.seed,
    )
    return BenchmarkPlan(name, conditions, config.data.tasks, {"training": training, "validation": validation})


def wanted_scenes(plan: BenchmarkPlan, config: Config) -> dict[Role, list[Wanted]]:
    """What to look for, by role."""
    counts = {task: TASKS[task].variation_count for task in plan.tasks}
    seed = plan.conditions.seed
    wanted: dict[Role, list[Wanted]] = {
        role: [
            Wanted(tuple(demonstration_scene(task, seed, role, index, k) for k in range(_MAX_ATTEMPTS)), True)
            for task in plan.tasks
            for index in range(count)
        ]
        for role, count in plan.demonstrations.items()
    }
    drawn = evaluation_scenes(replace(config.evaluate, tasks=plan.tasks), counts)
    return {**wanted, "evaluation": [Wanted((scene,), False) for scene in drawn]}


def demonstration_scene(task: str, seed: int, role: Role, index: int, attempt: int) -> SeededScene:
    """One candidate for scene number `index`; all of them have the same variation."""
    variation = draw_variation(task, TASKS[task].variation_count, index, seed, role)
    return SeededScene(task, variation, draw_seed(TRAINING_SEEDS, task, seed, role, "scene", index, attempt))


def find(wanted: Wanted) -> ListedScene:
    """The scene wanted, made once.

    Raises:
        SceneError: the expert fails in all candidates.
    """
    env = _env()
    for scene in wanted.candidates:
        try:
            if wanted.demonstrated and isinstance(env.record(scene), ExpertFailure):
                continue
            return describe(scene, env)
        except SceneError:
            if not wanted.demonstrated:
                raise
    raise SceneError(
        f"the expert fails in {len(wanted.candidates)} scenes such as {wanted.candidates[0].name}; mend it"
    )


def describe(scene: SeededScene, env: TabletopEnv) -> ListedScene:
    """A scene with its digest and where its things come to rest."""
    digest = env.digest(scene)
    env.reset(scene)
    return ListedScene(scene, digest, env.positions)


def check(listed: ListedScene) -> Check:
    """Make a listed scene again and compare."""
    here = describe(listed.scene, _env())
    apart = [abs(one - other) for one, other in zip(here.settled, listed.settled, strict=False)]
    alike = len(here.settled) == len(listed.settled)
    return Check(here.digest == listed.digest, max(apart, default=0) if alike else -1)


def make_manifest(plan: BenchmarkPlan, config: Config, workers: int, console: Console) -> Manifest:
    """Find every scene of a benchmark."""
    wanted = wanted_scenes(plan, config)
    found = iter(_each(find, [one for role in ROLES for one in wanted[role]], workers, console))
    scenes: dict[Role, tuple[ListedScene, ...]] = {role: tuple(next(found) for _ in wanted[role]) for role in ROLES}
    return Manifest(plan.name, WORLD_VERSION, plan.conditions, scenes)


def verify_manifest(manifest: Manifest, workers: int, console: Console) -> dict[Role, list[Check]]:
    """Make every scene of a benchmark again, by role."""
    scenes = [one for role in ROLES for one in manifest.scenes[role]]
    found = iter(_each(check, scenes, workers, console))
    return {role: [next(found) for _ in manifest.scenes[role]] for role in ROLES}


def is_same(one: Check) -> bool:
    """Whether a scene is the one listed, at rest within 1 mm."""
    return one.same_digest and 0 <= one.moved <= SETTLED_WITHIN


@cache
def _env() -> TabletopEnv:
    """This process's world."""
    return TabletopEnv(cameras=())


def _each(work: Callable[[In], Out], items: Sequence[In], workers: int, console: Console) -> list[Out]:
    """What `work` makes of each item, in order, with a bar."""
    columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        if workers == 1:
            return list(progress.track(map(work, items), total=len(items)))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            return list(progress.track(pool.map(work, items), total=len(items)))


def _make(file: Path, training: int, validation: int, workers: int, console: Console) -> int:
    config = load([str(file)])
    plan = plan_of(file.stem, config, training, validation)
    manifest = make_manifest(plan, config, workers, console)
    path = manifest_path(manifest.name)
    try:
        path.parent.mkdir(exist_ok=True)
        write_file(path, manifest_to_text(manifest))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}; work in a checkout that can be written to") from error
    console.print(f"{path} written, digest {manifest.digest}", highlight=False, soft_wrap=True)
    return 0


def _verify(name: str, workers: int, console: Console) -> int:
    manifest = read_manifest(name)
    manifest.refuse_another_world(WORLD_VERSION)
    checks = verify_manifest(manifest, workers, console)
    table = Table(title=f"{name}, manifest {manifest.digest}", box=box.SIMPLE)
    for heading in ("scenes for", "listed", "the same", "moved by at most"):
        table.add_column(heading, justify="left" if heading == "scenes for" else "right")
    for role, found in checks.items():
        same = sum(map(is_same, found))
        table.add_row(role, str(len(found)), str(same), f"{max(one.moved for one in found) / 10:.1f} mm")
    console.print(table)
    pairs = [pair for role, found in checks.items() for pair in zip(manifest.scenes[role], found, strict=True)]
    others = [(listed, one) for listed, one in pairs if not is_same(one)]
    for listed, one in others[:_NAMED]:
        how = f"moved by {one.moved / 10:.1f} mm" if one.same_digest else "made of other things or elsewhere"
        console.print(f"{listed.scene.name}: {how}", style="red", highlight=False, soft_wrap=True)
    if len(others) > _NAMED:
        console.print(f"and {len(others) - _NAMED} others", style="red", highlight=False)
    return int(bool(others))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 1 scenes are not the same, 2 wrong use, 130 interrupted."""

    def command(console: Console) -> int:
        parser = Parser(prog="python -m data.benchmark", description=__doc__.splitlines()[0] if __doc__ else None)
        actions = parser.add_subparsers(dest="action", required=True)
        make = actions.add_parser("make", help="write a manifest")
        make.add_argument("file", type=Path, help="configuration; its name is the benchmark's")
        make.add_argument("--training", type=int, default=20, help="demonstrations to train on, per task")
        make.add_argument("--validation", type=int, default=5, help="demonstrations to validate on, per task")
        verify = actions.add_parser("verify", help="make every scene again and compare")
        verify.add_argument("name", help="of the benchmark")
        for action in (make, verify):
            action.add_argument("--workers", type=int, default=1, help="processes at work at the same time")
        given = parser.parse_args(arguments)
        workers = cast("int", given.workers)
        if workers < 1:
            raise ConfigError(f"--workers: {workers} is not a number above 0; give one")
        if given.action == "verify":
            return _verify(str(given.name), workers, console)
        counts = cast("int", given.training), cast("int", given.validation)
        return _make(cast("Path", given.file), *counts, workers, console)

    return run(command, "interrupted; nothing was written")


if __name__ == "__main__":
    sys.exit(main())
