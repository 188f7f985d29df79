"""How the expert did: one outcome for each job, counts and rates by task, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.table import Table

from data.episode import WORLD_VERSION_KEY
from gnfactor.errors import DataError
from gnfactor.evaluation.report import WILSON, Interval, wilson
from gnfactor.files import write_file


@dataclass(frozen=True)
class Outcome:
    """What came of one job: scenes given to the expert one after the other until it succeeded in one."""

    task: str
    collected: bool
    reused: bool
    """The demonstration was in the store already."""
    keyframes: int
    rejected_placements: int
    seconds: float
    failures: tuple[str, ...]
    """One reason for every scene that could not be made or at which the expert failed."""


@dataclass(frozen=True)
class TaskReport:
    """Counts over one task. Every attempt is one scene, tried once; a scene drawn in place of it is another attempt."""

    attempts: int = 0
    successes: int = 0
    rate: float = 0.0
    """Of attempts that succeeded."""
    interval: Interval = field(default_factory=lambda: Interval(0.0, 1.0))
    """By `WILSON`."""
    reused: int = 0
    """Successes that an earlier run had left in the store."""
    rejected_placements: int = 0
    """Layouts put aside before the expert tried; not counted for reused successes."""
    mean_keyframes: float = 0.0
    """Of the successes."""
    seconds_per_demonstration: float = 0.0
    """Of one worker, over the demonstrations made by this run, failed attempts included."""
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """How often each reason of a failure was given, the commonest first."""


def summarise(outcomes: Sequence[Outcome]) -> TaskReport:
    """Counts over the outcomes of one task."""
    collected = [outcome for outcome in outcomes if outcome.collected]
    made = [outcome for outcome in outcomes if not outcome.reused]
    failures = Counter(reason for outcome in outcomes for reason in outcome.failures)
    attempts = len(collected) + failures.total()
    demonstrations = sum(outcome.collected for outcome in made)
    return TaskReport(
        attempts=attempts,
        successes=len(collected),
        rate=len(collected) / max(attempts, 1),
        interval=wilson(len(collected), attempts) if attempts else Interval(0.0, 1.0),
        reused=len(collected) - demonstrations,
        rejected_placements=sum(outcome.rejected_placements for outcome in outcomes),
        mean_keyframes=sum(outcome.keyframes for outcome in collected) / max(len(collected), 1),
        seconds_per_demonstration=sum(outcome.seconds for outcome in made) / max(demonstrations, 1),
        failures=dict(failures.most_common()),
    )


def summarise_tasks(tasks: Iterable[str], outcomes: Sequence[Outcome]) -> dict[str, TaskReport]:
    """Counts by task, in the order of `tasks`."""
    return {task: summarise([outcome for outcome in outcomes if outcome.task == task]) for task in tasks}


def print_reports(reports: Mapping[str, TaskReport], title: str, console: Console) -> None:
    """Show the table, and below it the reasons of failures with their counts."""
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    table.add_column("task", no_wrap=True)
    with_reused = any(report.reused for report in reports.values())
    for heading in ("done", "rate (95%)", *(("reused",) if with_reused else ()), "redrawn", "keyframes", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, report in reports.items():
        table.add_row(
            task,
            f"{report.successes}/{report.attempts}",
            f"{report.rate:.1%} ({100 * report.interval.lower:.0f}-{100 * report.interval.upper:.0f})",
            *((str(report.reused),) if with_reused else ()),
            str(report.rejected_placements),
            f"{report.mean_keyframes:.1f}",
            f"{report.seconds_per_demonstration:.2f}",
        )
    console.print(table)
    for task, report in reports.items():
        for reason, count in report.failures.items():
            console.print(f"{task}: {count} x {reason}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"rate: by scenes given to the expert, each once ({WILSON}); redrawn: placements put aside before it tried; "
        "s: seconds each",
        style="dim",
        highlight=False,
    )


def write_reports(reports: Mapping[str, TaskReport], path: Path) -> None:
    """Write the table as JSON: counts by task.

    Raises:
        DataError: the file cannot be written.
    """
    text = json.dumps({task: asdict(report) for task, report in reports.items()}, indent=1, ensure_ascii=False)
    try:
        write_file(path, text + "\n")
    except OSError as error:
        raise DataError(f"cannot write the report {path}: {error}; name a file in a folder that is there") from error


class Journal:
    """A measurement's outcomes, one line of JSON for each scene, so that an interrupted one can go on.

    Args:
        path: the file; made if it is not there. A line that a killed process left unfinished is dropped.
        version: of the world; outcomes of another one are refused.

    Raises:
        DataError: the file is no journal, is of another version, or cannot be written.
    """

    def __init__(self, path: Path, version: int) -> None:
        self._path, self._head = path, {"kind": "outcomes of the expert", WORLD_VERSION_KEY: version}
        self.outcomes: dict[str, Outcome] = {}
        """By name of the scene."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
            whole = [line for line in lines if line.endswith("\n")]
            if whole:
                self._read(whole)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, "".join(whole) or json.dumps(self._head) + "\n")
        except OSError as error:
            raise DataError(f"cannot keep {path}: {error}; name a folder that can be written to") from error

    def add(self, scene: str, outcome: Outcome) -> None:
        """Keep one more outcome.

        Raises:
            DataError: it cannot be written; those before it are kept.
        """
        self.outcomes[scene] = outcome
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"scene": scene, **asdict(outcome)}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DataError(f"cannot keep {self._path}: {error}; make room and run the same command again") from error

    def _read(self, lines: Sequence[str]) -> None:
        try:
            head, *rows = [dict(json.loads(line)) for line in lines]
            if head != self._head:
                raise DataError(f"{self._path} begins with {head}, {self._head} is expected; name a new folder")
            for row in rows:
                scene, failures = str(row.pop("scene")), tuple(row.pop("failures"))
                self.outcomes[scene] = Outcome(**cast("dict[str, Any]", row), failures=failures)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self._path} is damaged ({error}); delete it and measure again") from error
