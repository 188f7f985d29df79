"""One line of the doctor's page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]
"""ok: works; note: does not, or only in part, and nothing that was asked for needs it; problem: something does."""


@dataclass(frozen=True)
class Finding:
    """Something that was looked at."""

    subject: str
    level: Level
    found: str
    remedy: str = ""
    """How to mend it; empty where nothing is to be mended."""


def lacking(subject: str, needed: str, found: str, remedy: str) -> Finding:
    """A finding of something that does not work.

    Args:
        subject: what.
        needed: what needs it; empty if nothing that was asked for does.
        found: in which state it is.
        remedy: how to mend it.
    """
    if needed:
        return Finding(subject, "problem", f"{found}; {needed} needs it", remedy)
    return Finding(subject, "note", found, remedy)
