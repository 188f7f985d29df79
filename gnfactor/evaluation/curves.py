"""The course of a training as a picture: losses, and errors on held-out demonstrations."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from gnfactor.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[list[int], list[float]]
"""Steps and values."""

_MOST_LINES = 12
"""More cannot be told apart, and their names leave no room for them."""
_ERRORS = {"translation_m": ("translation error (mm)", 1000.0), "rotation_deg": ("rotation error (degrees)", 1.0)}


def read_curves(metrics_csv: Path) -> dict[str, Curve]:
    """Every column of a run's metrics.csv against its column "step"; empty cells are left out.

    Raises:
        DataError: the file is missing or has no steps.
    """
    try:
        with metrics_csv.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"cannot read {metrics_csv}: {error}; a training writes it into its run folder") from error
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and value and row.get("step"):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(int(row["step"]))
                values.append(float(value))
    if not curves:
        raise DataError(f"{metrics_csv} holds no numbers by step; a training writes them as it goes")
    return curves


def plot_training(metrics_csv: Path, picture: Path) -> None:
    """Draw a run's metrics.csv: loss terms on the left, errors on held-out demonstrations beside them.

    Raises:
        DataError: the file is missing or has no steps.
        MissingExtraError: matplotlib is not installed.
    """
    curves = read_curves(metrics_csv)
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (only who draws needs it)
    except ImportError as error:
        raise MissingExtraError("matplotlib", "pip install 'gnfactor[train]'") from error
    measured = [name for name in _ERRORS if f"validation/{name}" in curves]
    figure = Figure(figsize=(5.5 * (1 + len(measured)), 4), layout="constrained")
    losses, *errors = figure.subplots(1, 1 + len(measured), squeeze=False)[0]
    _draw_losses(losses, curves)
    for axes, name in zip(errors, measured, strict=True):
        _draw_errors(axes, name, curves)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _draw_losses(axes: Axes, curves: Mapping[str, Curve]) -> None:
    terms = sorted(name for name in curves if name.startswith("loss/"))
    for name in sorted(terms, key=lambda term: term != "loss/total"):
        steps, values = curves[name]
        total = name == "loss/total"
        axes.plot(steps, values, label=name.removeprefix("loss/"), linewidth=2 if total else 1, alpha=0.9)
    if all(value > 0 for name in terms for value in curves[name][1]):
        axes.set_yscale("log")
    _finish(axes, "training loss", "loss")


def _draw_errors(axes: Axes, name: str, curves: Mapping[str, Curve]) -> None:
    """The mean over all held-out keyframes, and each keyframe of each task; each task, if they are too many."""
    title, scale = _ERRORS[name]
    groups = {
        column.removeprefix("validation/").removesuffix(name).strip("/"): curve
        for column, curve in sorted(curves.items())
        if column.startswith("validation/") and column.endswith(name)
    }
    for group, (steps, values) in (groups if len(groups) <= _MOST_LINES else _by_task(groups)).items():
        axes.plot(
            steps,
            [value * scale for value in values],
            label=group or "mean",
            linewidth=1 if group else 2.5,
            color=None if group else "black",
            marker="o" if len(steps) < 3 else None,
        )
    axes.set_ylim(bottom=0)
    _finish(axes, "held-out demonstrations", title)


def _by_task(groups: Mapping[str, Curve]) -> dict[str, Curve]:
    """At every step, the mean of the keyframes of each task."""
    found: dict[str, dict[int, list[float]]] = {}
    for group, (steps, values) in groups.items():
        task = found.setdefault(group.partition("/")[0], {})
        for step, value in zip(steps, values, strict=True):
            task.setdefault(step, []).append(value)
    return {task: (list(at), [fmean(values) for values in at.values()]) for task, at in found.items()}


def _finish(axes: Axes, title: str, quantity: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel(quantity)
    axes.grid(visible=True, alpha=0.3)
    lines: Sequence[object] = axes.get_lines()
    if lines:
        axes.legend(fontsize="x-small", ncols=1 + len(lines) // 9)
