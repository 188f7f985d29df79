"""Packages that are found without importing them, and imports tried in a process that may crash."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PATIENCE_S = 120.0
"""After so long a program counts as hanging; importing torch can take half a minute where others work, too."""


@dataclass(frozen=True)
class Result:
    """What came of a program."""

    printed: str
    complaint: str
    """Empty if it ended well; else why it did not, in one line."""


class Attempt:
    """A Python program that runs beside this one."""

    def __init__(self, *arguments: str) -> None:
        """`arguments` of Python, such as "-c" and a program."""
        self._process = subprocess.Popen(  # noqa: S603 (our own Python)
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> Result:
        """What came of it, once it has ended."""
        try:
            printed, errors = self._process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return Result("", f"did not end within {PATIENCE_S:.0f} s")
        status = self._process.returncode
        if status == 0:
            return Result(printed, "")
        said = [line for line in errors.splitlines() if line.strip()]
        ended = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        return Result("", said[-1].strip()[:200] if said and status > 0 else ended)

    def close(self) -> None:
        """End it if it still runs; its result is of no interest."""
        self._process.kill()
        with self._process:  # waits, and closes its pipes
            pass


def package_folder(name: str) -> Path | None:
    """Folder of an installed package, or of a module's file; None if there is none. Imports nothing."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or [])
    return Path(places[0]) if places else Path(spec.origin or "").parent
