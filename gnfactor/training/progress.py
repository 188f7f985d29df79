"""What a person at a terminal sees of a run: a bar with the time left, losses, errors on held-out episodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from typing_extensions import override

from gnfactor.training.learner import Learner, StepCallback
from gnfactor.training.metrics import ErrorSummary


class TrainingProgress(StepCallback):
    """A bar on a terminal; elsewhere some twenty lines per run, each with the time left."""

    def __init__(self, console: Console, steps: int) -> None:
        super().__init__()
        self.console = console
        self._steps = steps
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._started_s = 0.0
        self._first_step = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started_s = time.monotonic()
        self._first_step = trainer.global_step
        self._task = self._bar.add_task("training", total=self._steps, completed=trainer.global_step, losses="")
        self._bar.start()

    @override
    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        assert self._task is not None
        step = trainer.global_step
        if self._bar.disable:
            every = max(1, self._steps // 20)
            if step % every == 0 and step > self._first_step:
                self.console.print(self._line(step, learner.step_losses()), highlight=False, soft_wrap=True)
        elif step % 5 == 0:  # reading a loss waits for the device
            self._bar.update(self._task, completed=step, losses=_losses(learner.step_losses()))
        else:
            self._bar.update(self._task, completed=step)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._bar.stop()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bar.stop()

    def _line(self, step: int, terms: Mapping[str, Any]) -> str:
        elapsed_s = time.monotonic() - self._started_s
        left_s = elapsed_s / (step - self._first_step) * (self._steps - step)
        return f"step {step}/{self._steps}  {_losses(terms)}  {_clock(elapsed_s)} elapsed, {_clock(left_s)} left"


def print_errors(console: Console, step: int, errors: Mapping[tuple[str, int], ErrorSummary]) -> None:
    """Table of the errors on held-out demonstrations, a row for each keyframe of each task."""
    console.print(f"errors on held-out demonstrations after {step} steps", highlight=False)
    table = Table(box=SIMPLE)
    for heading in ("task", "key", "n", "mm", "deg", "grip", "coll"):
        table.add_column(heading, justify="left" if heading == "task" else "right", no_wrap=True)
    for (task, keyframe), summary in errors.items():
        table.add_row(
            task,
            str(keyframe),
            str(summary.count),
            f"{1000 * summary.translation_m:.1f}",
            f"{summary.rotation_deg:.1f}",
            f"{summary.gripper_accuracy:.0%}",
            f"{summary.collision_accuracy:.0%}",
        )
    console.print(table)


def _losses(terms: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {float(value):.3f}" for name, value in terms.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
