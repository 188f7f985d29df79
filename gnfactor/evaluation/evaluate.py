"""Success rates of a policy: the same unseen scenes for everyone, in processes of their own, with controls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gnfactor.build import Environment, environment
from gnfactor.envs.base import (
    EVALUATION_SEEDS,
    PERTURBATION_TITLES,
    TRAINING_SEEDS,
    Policy,
    SeededScene,
    StoredScene,
    TaskScene,
)
from gnfactor.envs.benchmark import Conditions, Manifest, read_manifest
from gnfactor.envs.draw import draw_seed, draw_variation
from gnfactor.errors import ConfigError, GNFactorError, MissingExtraError, ObservationError
from gnfactor.evaluation.controls import CONTROLS
from gnfactor.evaluation.film import Film
from gnfactor.evaluation.report import (
    SCHEMA,
    EpisodeRecord,
    Explained,
    NamedScenes,
    Protocol,
    Report,
    Subject,
    Video,
    score,
    this_machine,
    void_controls,
)
from gnfactor.evaluation.serving import Job, Venue, serve
from gnfactor.rollout import Episode, OnRefusal, describe
from gnfactor.scene import Observation

Explain = Callable[[Observation, str, Path], object]
"""Draws, as a PNG, what a policy makes of an observation and an instruction."""

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


def evaluate(
    policy: Policy,
    eyes: Eyes,
    config: EvaluateConfig,
    subject: Subject | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    console: Console | None = None,
    world: Environment | None = None,
    explain: Explain | None = None,
    manifest: Manifest | None = None,
    stored: Sequence[StoredScene] | None = None,
) -> Report:
    """Run the episodes that `config` asks for and say what came of them.

    Args:
        policy: acts, in this process.
        eyes: the cameras that it needs.
        config: with its tasks named.
        subject: the checkpoint that the policy came from, for the report.
        folder: where videos and pictures of decisions go, if they are asked for.
        device: of the policy, for the report.
        console: where progress is shown.
        world: the environment, if it is none of those known by name.
        explain: draws the policy's decisions, if it is one that can be looked into.
        manifest: the benchmark, if it is none of those known by name.
        stored: the scenes of `config.demos`, which others than this library can read.

    Raises:
        ConfigError: an environment, benchmark, task, control, perturbation or renderer that there is not.
        SceneError: the benchmark's scenes are others here than where it was made.
        ObservationError: cameras or image sizes other than the policy's are asked for.
        MissingExtraError: the environment or the video writer is not installed.
    """
    started_s = time.monotonic()
    if config.benchmark is not None:
        manifest = manifest or read_manifest(config.benchmark)
        config = under_conditions(config, manifest)
    world = world or environment(config.env)
    counts = world.variation_counts()
    _refuse_other_eyes(config, eyes)
    _refuse_impossible(config, world, counts)
    console = console or Console()
    venue = Venue(partial(world.make, eyes.cameras, eyes.image_size, world.renderer(config.renderer)), counts)
    if manifest is not None:
        _check_scenes(manifest, world, console)
    scenes = _scenes(config, counts, manifest, stored)
    suitable = world.perturbations()
    rounds: dict[str | None, Sequence[TaskScene]] = {
        None: scenes,
        **dict.fromkeys(config.controls, scenes),
        **{name: [scene for scene in scenes if name in suitable.get(scene.task, ())] for name in config.perturb},
    }
    jobs = [_job(config, scene, name) for name, of_round in rounds.items() for scene in of_round]
    starts = _Starts(jobs)
    episodes = iter(_run(jobs, venue, policy, config.processes, console, "evaluating", starts.keep))
    by_round = {name: tuple(_record(scene, next(episodes)) for scene in of_round) for name, of_round in rounds.items()}
    controls = {name: score(by_round[name]) for name in config.controls}
    videos: tuple[Video, ...] = ()
    if config.videos and folder is not None and world.film_camera is not None:
        videos = _film(config, scenes, by_round[None], venue, policy, world.film_camera, folder, console)
    explained: tuple[Explained, ...] = ()
    if config.explain and explain is not None and folder is not None:
        explained = _explain(starts, explain, folder, console)
    return Report(
        schema=SCHEMA,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_s=time.monotonic() - started_s,
        subject=subject,
        protocol=_protocol(config, eyes, scenes, world, manifest),
        score=score(by_round[None]),
        controls=controls,
        void_controls=void_controls(controls),
        videos=videos,
        machine=this_machine(device),
        episodes=by_round[None],
        control_episodes={name: by_round[name] for name in config.controls},
        perturbations={name: score(by_round[name]) for name in config.perturb},
        perturbation_episodes={name: by_round[name] for name in config.perturb},
        explained=explained,
    )


def under_conditions(config: EvaluateConfig, manifest: Manifest) -> EvaluateConfig:
    """The configuration with everything that a benchmark fixes as the benchmark has it, see `FIXED_BY_BENCHMARKS`."""
    fixed = {key: value for key, value in asdict(manifest.conditions).items() if key in FIXED_BY_BENCHMARKS}
    return replace(config, tasks=manifest.tasks, **fixed)


def evaluation_scenes(config: EvaluateConfig, variation_counts: Mapping[str, int]) -> list[SeededScene]:
    """Scenes to evaluate in: for each task the first `episodes` of an endless list that task and seed determine.

    The variations come in shuffled rounds through all of them, so that every few episodes cover them evenly.
    """
    scenes: list[SeededScene] = []
    for task in config.tasks or ():
        count = variation_counts[task]
        for index in range(config.episodes):
            variation = draw_variation(task, count, index, config.seed)
            seed = draw_seed(EVALUATION_SEEDS, task, config.seed, "scene", index)
            scenes.append(SeededScene(task, variation, seed))
    return scenes


def _scenes(
    config: EvaluateConfig,
    variation_counts: Mapping[str, int],
    manifest: Manifest | None,
    stored: Sequence[StoredScene] | None,
) -> Sequence[TaskScene]:
    """The scenes as they are: of the benchmark, of stored demonstrations, or drawn from the seed."""
    if (config.demos is None) != (stored is None):
        raise ConfigError(f"evaluate.demos is {config.demos}; eval.py reads such scenes, and only it can evaluate them")
    if stored is not None:
        return stored
    return evaluation_scenes(config, variation_counts) if manifest is None else manifest.of("evaluation")


def _check_scenes(manifest: Manifest, world: Environment, console: Console) -> None:
    """Refuse a benchmark whose evaluation scenes this world makes otherwise."""
    if world.version is None or world.digests is None:
        raise ConfigError(
            f"the environment '{manifest.conditions.env}' cannot tell whether its scenes are those of the benchmark "
            f"'{manifest.name}'; evaluate without a benchmark"
        )
    manifest.refuse_another_world(world.version())
    scenes = manifest.of("evaluation")
    console.print(f"comparing {len(scenes)} scenes with the manifest of {manifest.name}", highlight=False)
    manifest.refuse_other_scenes("evaluation", world.digests(scenes))


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


def _refuse_impossible(config: EvaluateConfig, world: Environment, counts: Mapping[str, int]) -> None:
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


def _job(config: EvaluateConfig, scene: TaskScene, name: str | None) -> Job:
    """An episode in a scene as it is (None), or under a control or a perturbation."""
    if name in PERTURBATION_TITLES and isinstance(scene, SeededScene):
        return Job(replace(scene, perturbation=name), config.max_steps, config.on_refusal)
    return Job(scene, config.max_steps, config.on_refusal, name)


def _record(scene: TaskScene, episode: Episode) -> EpisodeRecord:
    return EpisodeRecord(
        task=scene.task,
        variation=scene.variation,
        seed=scene.seed if isinstance(scene, SeededScene) else None,
        instruction=episode.instruction,
        success=episode.success is True,
        steps=episode.steps,
        ending=episode.ending,
        reason=episode.reason,
        repeated=episode.repeated,
        demonstration=scene.demonstration if isinstance(scene, StoredScene) else None,
    )


def _protocol(
    config: EvaluateConfig, eyes: Eyes, scenes: Sequence[TaskScene], world: Environment, manifest: Manifest | None
) -> Protocol:
    seeds = [scene.seed for scene in scenes if isinstance(scene, SeededScene)]
    return Protocol(
        env=config.env,
        renderer=world.renderer(config.renderer),
        cameras=eyes.cameras,
        image_size=eyes.image_size,
        episodes_per_task=config.episodes,
        max_steps=config.max_steps,
        on_refusal=config.on_refusal,
        seed=config.seed,
        scene_seeds=(min(seeds), max(seeds)) if seeds else None,
        seeds_are_unseen=_why_unseen(config, world),
        processes=config.processes,
        world_version=None if world.version is None else world.version(),
        benchmark=None if manifest is None else NamedScenes(manifest.name, manifest.digest),
        demonstrations=config.demos,
    )


def _why_unseen(config: EvaluateConfig, world: Environment) -> str:
    """What is known about whether the policy was trained in the evaluation's scenes."""
    if config.demos is not None:
        return (
            f"the scenes are those of recordings in {config.demos}; that the policy was not trained on these "
            "recordings is for you to know, it cannot be seen here"
        )
    apart = (
        f"scenes are evaluated with seeds from {EVALUATION_SEEDS.start} to {EVALUATION_SEEDS.stop - 1}, and "
        f"demonstrations collected with seeds from {TRAINING_SEEDS.start} to {TRAINING_SEEDS.stop - 1}: they "
        "never overlap"
    )
    if world.capabilities.seeded:
        return apart
    return apart + (
        "; a seed does not determine a scene of this environment altogether, and recordings made by other programs "
        "have no such seed"
    )


def _film(
    config: EvaluateConfig,
    scenes: Sequence[TaskScene],
    records: Sequence[EpisodeRecord],
    venue: Venue,
    policy: Policy,
    camera: str,
    folder: Path,
    console: Console,
) -> tuple[Video, ...]:
    """Run the first success and the first failure of each task again and film them.

    A video is called after what was filmed, which may differ from what was counted where the policy runs on a GPU.
    """
    chosen: dict[tuple[str, bool], TaskScene] = {}
    for scene, record in zip(scenes, records, strict=True):
        if record.ending != "crashed":
            chosen.setdefault((record.task, record.success), scene)
    jobs: list[tuple[Job, Film]] = []
    for scene in chosen.values():
        name = f"{scene.task}_seed{scene.seed}" if isinstance(scene, SeededScene) else scene.demonstration
        path = folder / "videos" / f"{name.replace('/', '_')}.webm"
        if path.is_file():  # of an evaluation that was killed
            path.unlink()
        how = Film(path, camera)
        jobs.append((replace(_job(config, scene, None), film=how), how))
    episodes = _run([job for job, _ in jobs], venue, policy, config.processes, console, "filming")
    videos: dict[str, Video] = {}
    for (task, expected), (_, how), episode in zip(chosen, jobs, episodes, strict=True):
        success = episode.success is True
        video = Video(task, success, f"videos/{task}_{'success' if success else 'failure'}.webm")
        if not how.path.is_file():
            why = episode.reason or "nothing moved, so that there was nothing to see"
            console.print(f"no video {how.path.stem}: {why}", markup=False, soft_wrap=True)
        elif video.path in videos:
            how.path.unlink()
            word = "success" if expected else "failure"
            console.print(f"no video of a {word} of {task}: filmed, it was none", markup=False, soft_wrap=True)
        else:
            how.path.replace(folder / video.path)
            videos[video.path] = video
    return tuple(videos.values())


class _Starts:
    """What the policy sees and is told first in the first scene of each task; kept as the episodes run."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._first: dict[str, Job] = {}
        for job in jobs:
            if isinstance(job.scene, (SeededScene, StoredScene)):
                self._first.setdefault(job.scene.task, job)
        self._kept: dict[str, tuple[Observation, str]] = {}

    def keep(self, job: Job, observation: Observation, instruction: str) -> None:
        """Remember a question if it is the first of a task."""
        for task, first in self._first.items():
            if job is first:
                self._kept.setdefault(task, (observation, instruction))

    def by_task(self) -> dict[str, tuple[Observation, str] | None]:
        """Observation and instruction; None where the scene was never seen."""
        return {task: self._kept.get(task) for task in self._first}


def _explain(starts: _Starts, explain: Explain, folder: Path, console: Console) -> tuple[Explained, ...]:
    """Draw the decisions, as far as they can be drawn: no evaluation is lost for want of a picture."""
    drawn: list[Explained] = []
    for task, start in starts.by_task().items():
        path = f"explain/{task}.png"
        try:
            if start is None:
                raise ObservationError("its first scene was never seen")
            explain(*start, folder / path)
        except (GNFactorError, RuntimeError, MemoryError) as error:  # torch has RuntimeErrors for want of memory
            why = f"no picture of a decision in {task}: {describe(error)}"
            console.print(why, markup=False, highlight=False, soft_wrap=True)
        else:
            drawn.append(Explained(task, start[1], path))
    return tuple(drawn)


def _run(
    jobs: Sequence[Job],
    venue: Venue,
    policy: Policy,
    processes: int,
    console: Console,
    title: str,
    on_question: Callable[[Job, Observation, str], None] = lambda job, observation, instruction: None,  # noqa: ARG005
) -> list[Episode]:
    """The jobs' episodes, with a bar on a terminal and some ten lines elsewhere."""
    started_s, done, successes = time.monotonic(), 0, 0
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} succeeded"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    def count(job: Job, episode: Episode) -> None:
        nonlocal done, successes
        done += 1
        successes += episode.success is True and job.counts
        bar.update(line, completed=done, successes=successes)
        if bar.disable and (done == len(jobs) or done % -(-len(jobs) // 10) == 0):
            left_s = (time.monotonic() - started_s) / done * (len(jobs) - done)
            console.print(f"{title}: {done}/{len(jobs)} episodes, {left_s:.0f} s left", highlight=False)

    with bar:
        line = bar.add_task(title, total=len(jobs), successes=0)
        return serve(jobs, venue, policy, processes, count, on_question=on_question)
