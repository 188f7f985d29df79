"""The versions in pyproject.toml, one per line: `python tools/pins.py GROUP [PACKAGE...]`. Needs Python 3.11 or later.

`pinned` are those that are tested together; pip takes them as constraints (`pip install -c`). Named packages only, in
any spelling, where some are named.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(args: Sequence[str]) -> int:
    """Print a group of pins, or say what there is."""
    if not args or args[0] not in groups():
        print(f"usage: python tools/pins.py GROUP [PACKAGE...]; groups: {', '.join(groups())}", file=sys.stderr)
        return 2
    group, *wanted = args
    found = {_plain(pin.partition("==")[0]): pin for pin in pins(group)}
    missing = [name for name in wanted if _plain(name) not in found]
    if missing:
        print(f"the group {group} has no pin of: {', '.join(missing)}", file=sys.stderr)
        return 2
    print("\n".join([found[_plain(name)] for name in wanted] or list(found.values())))
    return 0


def groups() -> dict[str, list[str]]:
    """Every group of pins by its name."""
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["dependency-groups"]


def pins(group: str) -> list[str]:
    """Requirements `name==version` of one group."""
    return groups()[group]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
