"""Success rates of a policy: the same unseen scenes for everyone, in processes of their own, with controls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

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
from gnfactor.envs.benchmark import Manifest, read_manifest
from gnfactor.envs.draw import draw_seed, draw_variation
from gnfactor.errors import ConfigError
from gnfactor.evaluation.pictures import Explain, Starts, draw_decisions, film_episodes
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
from gnfactor.evaluation.running import run
from gnfactor.evaluation.serving import Job, Venue
from gnfactor.evaluation.settings import EvaluateConfig, Eyes, refuse_impossible, under_conditions
from gnfactor.rollout import Episode


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
    refuse_impossible(config, eyes, world, counts)
    console = console or Console()
    venue = Venue(partial(world.make, eyes.cameras, eyes.image_size, world.renderer(config.renderer)), counts)
    if manifest is not None:
        _check_scenes(manifest, world, console)
    scenes = _scenes(config, counts, manifest, stored)
    rounds = _rounds(config, scenes, world.perturbations())
    jobs = [_job(config, scene, name) for name, of_round in rounds.items() for scene in of_round]
    starts = Starts(jobs)
    episodes = iter(run(jobs, venue, policy, config.processes, console, "evaluating", starts.keep))
    by_round = {name: tuple(_record(scene, next(episodes)) for scene in of_round) for name, of_round in rounds.items()}
    controls = {name: score(by_round[name]) for name in config.controls}
    videos: tuple[Video, ...] = ()
    if config.videos and folder is not None and world.film_camera is not None:
        videos = film_episodes(config, scenes, by_round[None], venue, policy, world.film_camera, folder, console)
    explained: tuple[Explained, ...] = ()
    if config.explain and explain is not None and folder is not None:
        explained = draw_decisions(starts, explain, folder, console)
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


def _rounds(
    config: EvaluateConfig, scenes: Sequence[TaskScene], suitable: Mapping[str, Sequence[str]]
) -> dict[str | None, Sequence[TaskScene]]:
    """The scenes as they are (None), under each control, and, where it suits the task, under each perturbation."""
    return {
        None: scenes,
        **dict.fromkeys(config.controls, scenes),
        **{name: [scene for scene in scenes if name in suitable.get(scene.task, ())] for name in config.perturb},
    }


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
