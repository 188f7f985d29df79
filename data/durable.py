"""Folders that are there whole or not at all, whatever kills the process or fills the disk.

A folder is built beside its destination, flushed to the disk, and renamed, which file systems do in one step. What
is being built is locked by its builder; the lock goes with the process, so that whoever comes later can tell
remnants of the dead from the work of the living.
"""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from gnfactor.files import flush


@contextmanager
def new_folder(destination: Path, workplace: Path) -> Generator[Path]:
    """A folder to fill; when the block ends well it is flushed to the disk and renamed to `destination`.

    Args:
        destination: must not exist, or be an empty folder; its parent must exist.
        workplace: where folders are built, on the same file system; made if absent.

    Raises:
        OSError: the disk is full, or `destination` is there already; nothing of the new folder is left then.
    """
    with _locked_name(workplace) as folder:
        try:
            folder.mkdir()
            yield folder
            _sync_tree(folder)
            folder.rename(destination)
            flush(destination.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_remnants(workplace: Path) -> int:
    """Delete what dead processes left unfinished in `workplace`; returns how many folders that were."""
    removed = 0
    for lock in sorted(workplace.glob("*.lock")):
        with lock.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its builder is alive
            folder = lock.with_suffix("")
            removed += folder.is_dir()
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
    return removed


@contextmanager
def _locked_name(workplace: Path) -> Generator[Path]:
    """A path in `workplace` that `remove_remnants` of any process leaves alone until the block ends."""
    workplace.mkdir(exist_ok=True)
    while True:
        lock = workplace / f"{uuid.uuid4().hex}.lock"
        with lock.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not lock.exists():
                continue  # taken for a remnant in the moment before it was locked
            try:
                yield lock.with_suffix("")
            finally:
                lock.unlink(missing_ok=True)
            return


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)
