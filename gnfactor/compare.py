"""Two evaluations side by side: python -m gnfactor.compare A.json B.json [out=FILE]."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gnfactor.command import run_by_usage
from gnfactor.errors import ConfigError, DataError
from gnfactor.evaluation.comparison import MCNEMAR, NEWCOMBE, Comparison, Outcomes, Verdict, compare, read_outcomes

USAGE = """\
usage: python -m gnfactor.compare A.json B.json [out=FILE]

Compares two evaluations of the same scenes, scene by scene. A and B are reports by eval.py: report.json, or the folder
that holds it. Evaluations by different protocols (scenes, cameras, actions allowed, ...) are refused.

  out=FILE    also write the comparison as JSON
"""
_HEADINGS = ("task", "scenes", "A", "B", "B - A", "95% interval", "only A", "only B", "p")
_WIDTH = 120
"""Columns where there is no terminal, so that no row is broken."""


def main(args: Sequence[str]) -> int:
    """Run the command line; returns the exit status: 0, or 2 for a mistake that the message explains."""

    def command(console: Console) -> int:  # noqa: ARG001 (there is nothing to say but the result)
        paths = [Path(arg) for arg in args if not arg.startswith("out=")]
        outputs = [Path(arg.removeprefix("out=")) for arg in args if arg.startswith("out=")]
        if len(paths) != 2 or len(outputs) > 1:
            raise ConfigError(f"two reports are expected, found {[str(path) for path in paths]}; see --help")
        found = compare(*(read_outcomes(path) for path in paths))
        print_comparison(found, Console(width=None if sys.stdout.isatty() else _WIDTH))
        for output in outputs:
            _write(found, output)
        return 0

    return run_by_usage(USAGE, args, command, "interrupted; nothing was written")


def print_comparison(found: Comparison, console: Console) -> None:
    """Show the table on a terminal."""
    for name, outcomes in (("A", found.a), ("B", found.b)):
        console.print(f"{name}: {outcomes.title}, {outcomes.path}", highlight=False, markup=False, soft_wrap=True)
    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for index, verdict in enumerate(found.tasks):
        table.add_row(*_row(verdict), end_section=index == len(found.tasks) - 1)
    table.add_row(*_row(found.overall), style="bold")
    console.print(table)
    console.print(f"p: {MCNEMAR}; of single tasks not corrected for their number", style="dim", highlight=False)
    console.print(f"interval: {NEWCOMBE}", style="dim", highlight=False)
    if found.a.crashes or found.b.crashes:
        crashes = f"crashed episodes count as failures: {found.a.crashes} in A, {found.b.crashes} in B"
        console.print(crashes, style="yellow", highlight=False)


def _row(verdict: Verdict) -> tuple[str, ...]:
    counts, interval = verdict.counts, verdict.interval
    return (
        verdict.name,
        str(counts.scenes),
        f"{verdict.rate_a:.1%}",
        f"{verdict.rate_b:.1%}",
        f"{verdict.difference:+.1%}",
        f"{interval.lower:+.1%} to {interval.upper:+.1%}",
        str(counts.only_a),
        str(counts.only_b),
        f"{verdict.p_value:.2g}",
    )


def _write(found: Comparison, path: Path) -> None:
    tree = {
        "a": _source(found.a),
        "b": _source(found.b),
        "protocol": dict(found.a.protocol),
        "overall": asdict(found.overall),
        "tasks": [asdict(verdict) for verdict in found.tasks],
        "test": MCNEMAR,
        "interval": NEWCOMBE,
    }
    try:
        path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}; name a file in a folder that is there") from error


def _source(outcomes: Outcomes) -> dict[str, Any]:
    return {"report": outcomes.path, "subject": outcomes.title, "crashes": outcomes.crashes}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
