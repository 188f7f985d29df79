"""Where RLBench's recordings lie: which folder is an episode, of which task and variation, and what was said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data.pickles import load_pickle
from data.store import natural
from gnfactor.errors import DataError

LAYOUT = "TASK/all_variations/episodes/episode0 or TASK/variation0/episodes/episode0"

_EPISODE = re.compile(r"episode\d+")
_VARIATION = re.compile(r"variation(\d+)")
_DEPTH = 4
"""From a folder of tasks down to an episode: task, variation, `episodes`, episode."""


@dataclass(frozen=True)
class Recording:
    """A folder that should hold one recorded episode."""

    folder: Path
    task: str
    variation: int | None
    """From the folder's name; None below `all_variations`, where the episode itself says it."""


@dataclass(frozen=True)
class Found:
    """What lies below a folder."""

    recordings: tuple[Recording, ...]
    """Episodes in natural order, whether they are whole or not."""
    strays: tuple[str, ...]
    """What is wrong with each folder that is called as an episode is, but lies where none should, or is closed."""


def find_recordings(root: Path, tasks: Sequence[str] | None = None) -> Found:
    """Recorded episodes below a folder.

    Args:
        root: a folder of tasks, of one task, of one variation, or an `episodes` folder.
        tasks: names of those wanted; None takes all.

    Raises:
        DataError: there is no such folder, no episode in it, or none of a task asked for.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that holds {LAYOUT}")
    folders, strays = _episode_folders(root.resolve())
    placed = [(folder, _recording(folder)) for folder in folders]
    found = [recording for _, recording in placed if recording is not None]
    strays += [
        f"{folder}: cannot tell its task and variation; expected is {LAYOUT}"
        for folder, recording in placed
        if recording is None
    ]
    if not found:
        why = f" ({strays[0]})" if strays else f"; expected is {LAYOUT}"
        raise DataError(f"there is no recorded episode in {root}{why}")
    there = sorted({recording.task for recording in found})
    absent = [task for task in tasks or () if task not in there]
    if absent:
        raise DataError(f"{root} has no episode of {absent}; it has {there}")
    wanted = tuple(recording for recording in found if tasks is None or recording.task in tasks)
    return Found(wanted, tuple(strays))


def variation_of(recording: Recording) -> int:
    """The variation of an episode, from its own file or, where there is none, from the folder's name.

    Raises:
        DataError: the file is damaged or absent, or contradicts the folder.
    """
    path = recording.folder / "variation_number.pkl"
    if recording.variation is not None and not path.is_file():
        return recording.variation
    number = load_pickle(path)
    if not isinstance(number, int) or number < 0:
        raise DataError(f"{path} should hold the number of a variation, and holds {number!r}")
    if recording.variation not in (None, number):
        raise DataError(f"{path} says variation {number}, but lies in the folder of variation {recording.variation}")
    return number


def instructions_of(recording: Recording) -> tuple[str, ...]:
    """Ways to say the goal, from the episode's folder or, as upstream keeps them, from its variation's.

    Raises:
        DataError: the file is damaged or absent.
    """
    name = "variation_descriptions.pkl"
    above = recording.folder.parent.parent / name
    path = recording.folder / name
    path = above if above.is_file() and not path.is_file() else path
    texts = load_pickle(path)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in cast("list[Any]", texts)):
        raise DataError(f"{path} should hold a list of instructions, and holds {texts!r}")
    return tuple(cast("list[str]", texts))


def _episode_folders(root: Path) -> tuple[list[Path], list[str]]:
    """Folders called as episodes are, and why others could not be looked into."""
    level, found, closed = [root], [root] if _is_episode(root) else [], list[str]()
    for _ in range(_DEPTH):
        below: list[Path] = []
        for folder in level:
            if not _is_episode(folder):
                try:
                    below += [entry for entry in folder.iterdir() if entry.is_dir()]
                except OSError as error:
                    closed.append(f"{folder}: cannot be looked into ({error})")
        level = below
        found += [entry for entry in level if _is_episode(entry)]
    return sorted(found, key=lambda folder: natural(folder.as_posix())), closed


def _is_episode(folder: Path) -> bool:
    return folder.parent.name == "episodes" and _EPISODE.fullmatch(folder.name) is not None


def _recording(folder: Path) -> Recording | None:
    """The episode in a folder; None where its place does not tell what it is."""
    above = folder.parent.parent
    variation = _VARIATION.fullmatch(above.name)
    if variation is None and above.name != "all_variations":
        return None
    return Recording(folder, above.parent.name, None if variation is None else int(variation.group(1)))
