"""The doctor's page: python -m gnfactor.doctor [CONFIG.yaml... key=value...] [--json]."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gnfactor.doctor import machine, packages, robots, simulators, weights
from gnfactor.doctor.finding import Finding
from gnfactor.doctor.imports import Attempt, package_folder
from gnfactor.doctor.needs import Answer, from_json
from gnfactor.errors import ConfigError, GNFactorError

USAGE = """\
usage: python -m gnfactor.doctor [CONFIG.yaml... key=value...] [--json]

Says what works on this machine and how to mend what does not. With a configuration, as train.py takes it, it is held
against what training by it and evaluating as it says need; without one, against what every use needs.

  python -m gnfactor.doctor
  python -m gnfactor.doctor configs/gnfactor.yaml data.store=data/stores/rlbench
  python -m gnfactor.doctor configs/peract.yaml evaluate.env=rlbench

  --json    the findings as JSON

ok: works; note: does not work or is not there, and nothing asked for needs it; problem: something asked for needs it.
Exit status: 0 without a problem, 1 with one, 2 for a mistake on the command line or in the configuration.
"""
COLORS = {"ok": "green", "note": "yellow", "problem": "bold red"}
_WIDTH = 120
"""Columns where there is no terminal."""


def main(args: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    if "--help" in args or "-h" in args:
        print(USAGE, end="")
        return 0
    config = [arg for arg in args if arg != "--json"]
    try:
        strange = [arg for arg in config if arg.startswith("-")]
        if strange:
            raise ConfigError(f"there is no option {strange[0]}; see python -m gnfactor.doctor --help")
        findings = examine(config)
    except GNFactorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    problems = sum(finding.level == "problem" for finding in findings)
    if "--json" in args:
        tree = {"config": config, "problems": problems, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(tree, indent=2, ensure_ascii=False))
    else:
        show(findings, config, Console(width=None if sys.stdout.isatty() else _WIDTH))
    return 1 if problems else 0


def examine(config: Sequence[str]) -> list[Finding]:
    """All findings, in the order of the page; what takes long or may crash runs in processes beside this one.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    environ, home, here, root = os.environ, Path.home(), Path.cwd(), Path("/")
    heavy = Attempt("-m", "gnfactor.doctor.weigh", *config)
    pyrep = _import("pyrep", simulators.is_pyrep)
    rlbench = _import("rlbench", simulators.is_rlbench)
    ros = robots.attempts()
    declared = packages.declared()
    answer = _answer(heavy)
    needs = answer.needs
    needed = simulators.needed_by(needs)
    return [
        machine.python(declared),
        machine.torch(answer.torch, answer.complaint, declared),
        machine.graphics(answer.torch, needs, root),
        machine.memory(answer.torch, needs, root),
        machine.disk(needs, here),
        packages.core(declared),
        *packages.extras(declared, {} if needs is None else needs.extras),
        simulators.renderer(needs),
        simulators.coppeliasim(needed, environ, root),
        simulators.pyrep(needed, pyrep),
        simulators.rlbench(needed, rlbench),
        simulators.display(needed, environ, root),
        robots.ros(environ, root, ros),
        weights.cache(environ, home),
        *([] if needs is None else [weights.text_encoder(needs, environ, home), weights.teacher(needs, environ, home)]),
        *([] if needs is None else [weights.store(needs, here)]),
    ]


def _import(name: str, is_genuine: Callable[[Path], bool]) -> Attempt | None:
    """Begin to import a package of the simulator, if it is what it should be."""
    folder = package_folder(name)
    return Attempt("-c", f"import {name}") if folder is not None and is_genuine(folder) else None


def _answer(heavy: Attempt) -> Answer:
    result = heavy.result()
    if result.complaint:
        return Answer(None, result.complaint, None, "")
    answer = from_json(result.printed)
    if answer.mistake:
        raise ConfigError(answer.mistake)
    return answer


def show(findings: Sequence[Finding], config: Sequence[str], console: Console) -> None:
    """Print the page."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
        level = Text(finding.level, style=COLORS[finding.level])
        table.add_row(level, Text(finding.subject), Text(finding.found + remedy))
    console.print(table)
    problems = [finding.subject for finding in findings if finding.level == "problem"]
    asked = f"what {' '.join(config)} needs" if config else "what every use needs"
    if problems:
        verdict = f"{asked}: not all of it works: {', '.join(problems)}"
    else:
        verdict = f"{asked}: works, as far as this could see" + ("" if config else "; name a configuration to see more")
    console.print(verdict, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
