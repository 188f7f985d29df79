"""The doctor's page: python -m gnfactor.doctor [CONFIG.yaml... key=value...] [--json]."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

from gnfactor.doctor import machine, packages, robots, simulators, weights
from gnfactor.doctor.finding import Finding
from gnfactor.doctor.imports import Attempt, package_folder
from gnfactor.doctor.needs import Answer, Needs, from_json
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
COLORS = {"ok": "\x1b[32m{}\x1b[0m", "note": "\x1b[33m{}\x1b[0m", "problem": "\x1b[1;31m{}\x1b[0m"}
"""Around a level on a terminal; nothing here needs a package that may be what is missing."""
_WIDTH = 120
"""Columns where there is no terminal."""


RISKY: dict[str, Callable[[Path], bool]] = {
    "pyrep": simulators.is_pyrep,
    "rlbench": simulators.is_rlbench,
    **dict.fromkeys(robots.PACKAGES, Path.is_dir),
}
"""Packages whose import may end the process, and whether a folder of that name is really theirs."""


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
        at_terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if at_terminal else _WIDTH
        print(page(findings, config, width, colored=at_terminal))
    return 1 if problems else 0


def examine(config: Sequence[str]) -> list[Finding]:
    """All findings, in the order of the page; what takes long or may crash runs in processes beside this one.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    environ, home, here, root = os.environ, Path.home(), Path.cwd(), Path("/")
    with ExitStack() as running:

        def begin(*arguments: str) -> Attempt:
            return running.enter_context(closing(Attempt(*arguments)))

        heavy = begin("-m", "gnfactor.doctor.weigh", *config)
        imports = {name: begin("-c", f"import {name}") for name, is_genuine in RISKY.items() if _has(name, is_genuine)}
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
            simulators.pyrep(needed, imports.get("pyrep")),
            simulators.rlbench(needed, imports.get("rlbench")),
            simulators.display(needed, environ, root),
            robots.ros(environ, root, imports),
            weights.cache(environ, home),
            *([] if needs is None else _of_the_run(needs, environ, home, here)),
        ]


def _of_the_run(needs: Needs, environ: Mapping[str, str], home: Path, here: Path) -> list[Finding]:
    return [
        weights.text_encoder(needs, environ, home),
        weights.teacher(needs, environ, home),
        weights.store(needs, here),
    ]


def _has(name: str, is_genuine: Callable[[Path], bool]) -> bool:
    folder = package_folder(name)
    return folder is not None and is_genuine(folder)


def _answer(heavy: Attempt) -> Answer:
    result = heavy.result()
    if result.complaint:
        return Answer(None, result.complaint, None, "")
    answer = from_json(result.printed)
    if answer.mistake:
        raise ConfigError(answer.mistake)
    return answer


def page(findings: Sequence[Finding], config: Sequence[str], width: int, *, colored: bool) -> str:
    """The findings as text of so many columns, the verdict at the end."""
    widest = max(len(finding.subject) for finding in findings)
    indent = " " * (len("problem") + widest + 4)
    lines: list[str] = []
    for finding in findings:
        color = COLORS[finding.level] if colored else "{}"
        level = color.format(f"{finding.level:{len('problem')}}")
        text = _wrapped(finding.found, width, indent)
        lines.append(f"{level}  {finding.subject:{widest}}  {text.lstrip()}")
        if finding.remedy:
            lines.append(_wrapped(f"-> {finding.remedy}", width, indent))
    problems = [finding.subject for finding in findings if finding.level == "problem"]
    asked = f"what {' '.join(config)} needs" if config else "what every use needs"
    verdict = f"not all of it works: {', '.join(problems)}" if problems else "works, as far as this could see"
    more = "" if config else "; name a configuration to see what it needs"
    return "\n".join((*lines, f"{asked}: {verdict}{more}"))


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
