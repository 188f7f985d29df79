"""From a checkpoint on disk to a report on disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from gnfactor.agent import Agent, device_named
from gnfactor.checkpoint import FOLDER, TrainedOn, load_policy, select_checkpoint
from gnfactor.config import Config, config_hash
from gnfactor.envs.base import StoredScene
from gnfactor.envs.benchmark import Manifest, read_manifest
from gnfactor.errors import DataError, MissingExtraError
from gnfactor.evaluation.curves import plot_training
from gnfactor.evaluation.evaluate import evaluate
from gnfactor.evaluation.explain import explain
from gnfactor.evaluation.publish import CURVES_NAME, JSON_NAME, TEXT_NAME, VIEWS_NAME, print_report, write_report
from gnfactor.evaluation.report import Report, Subject
from gnfactor.evaluation.settings import SELECTIONS, EvaluateConfig, Eyes


def examine(
    path: Path,
    config: EvaluateConfig,
    folder: Path | None = None,
    console: Console | None = None,
    stored: Sequence[StoredScene] | None = None,
) -> Report:
    """Evaluate a checkpoint and leave report.json, report.md, the training's curves, decisions and videos.

    Args:
        path: checkpoint folder, or run folder, of which `config.select` chooses a checkpoint.
        config: which scenes, and how.
        folder: for the report; None: `evaluations/<checkpoint>-<environment>-seed<seed>` of the run, or
            `evaluations/<checkpoint>-<benchmark>`.
        console: for progress and the table.
        stored: the scenes of `config.demos`.

    Raises:
        GNFactorError: the checkpoint cannot be read, or not be evaluated in this way.
    """
    console = console or Console()
    chosen = select_checkpoint(path, config.select)
    loaded = load_policy(chosen)
    folder = folder or default_folder(chosen, config)
    agent = Agent(loaded.policy, device_named(config.device))
    manifest = None if config.benchmark is None else read_manifest(config.benchmark)
    subject = Subject(
        checkpoint=str(chosen),
        step=loaded.info.step,
        selected_by="named by its folder" if chosen == path else SELECTIONS[config.select],
        config_hash=config_hash(loaded.config),
        demonstrations=_demonstrations(loaded.info.trained_on, manifest),
        text_encoder=loaded.config.policy.language.encoder,
        wordings=loaded.config.data.instruction,
    )
    eyes = Eyes(agent.cameras, agent.image_size)
    draw = partial(explain, loaded.policy)
    report = evaluate(
        agent,
        eyes,
        config,
        subject,
        folder,
        str(agent.device),
        console,
        explain=draw,
        manifest=manifest,
        stored=stored,
    )
    curves = _curves(chosen, folder, console)
    write_report(report, folder, curves, _novel_views(chosen, folder))
    print_report(report, console)
    console.print(f"{folder / TEXT_NAME} and {JSON_NAME} written", highlight=False)
    return report


def with_trained_tasks(trained: Config, trained_on: TrainedOn | None) -> EvaluateConfig:
    """How a training's configuration wants to be evaluated, with the tasks that it learned if it names no others."""
    tasks = trained.data.tasks if trained_on is None else trained_on.tasks
    if trained.evaluate.tasks is not None or tasks is None:
        return trained.evaluate
    return replace(trained.evaluate, tasks=tasks)


def default_folder(checkpoint: Path, config: EvaluateConfig) -> Path:
    """Where a report goes if nothing else is said: into the checkpoint's run, or beside a checkpoint without one."""
    run = checkpoint.parent.parent if checkpoint.parent.name == FOLDER else checkpoint.parent
    drawn = f"{config.env}-seed{config.seed}" if config.demos is None else f"{config.env}-{Path(config.demos).name}"
    scenes = drawn if config.benchmark is None else config.benchmark
    return run / "evaluations" / f"{checkpoint.name}-{scenes}"


def _demonstrations(trained_on: TrainedOn | None, manifest: Manifest | None) -> str | None:
    """Which demonstrations a policy learned from, compared with those that a benchmark lists for that."""
    if trained_on is None or not trained_on.training or manifest is None:
        return None
    listed, learned = {scene.name for scene in manifest.of("training")}, set(trained_on.training)
    if learned == listed:
        return f"exactly the {len(listed)} training demonstrations of {manifest.name}"
    return (
        f"{len(learned)} demonstrations, {len(learned & listed)} of them among the {len(listed)} training "
        f"demonstrations of {manifest.name}"
    )


def _curves(checkpoint: Path, folder: Path, console: Console) -> str | None:
    """Draw the course of the training that made a checkpoint, where it is known and matplotlib is there."""
    metrics = checkpoint.parent.parent / "metrics.csv"
    if not metrics.is_file():
        return None
    try:
        plot_training(metrics, folder / CURVES_NAME)
    except (DataError, MissingExtraError) as error:
        console.print(f"no picture of the training: {error}", highlight=False)
        return None
    return CURVES_NAME


def _novel_views(checkpoint: Path, folder: Path) -> str | None:
    """Bring the picture that the training of a field left into the report's folder."""
    picture = checkpoint.parent.parent / VIEWS_NAME
    if not picture.is_file():
        return None
    if picture.resolve() != (folder / VIEWS_NAME).resolve():
        shutil.copyfile(picture, folder / VIEWS_NAME)
    return VIEWS_NAME
