"""Files that are there whole or as they were, whatever kills the process or fills the disk."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from tempfile import TemporaryFile


def write_file(path: Path, content: str | bytes) -> None:
    """Write or replace a file, of text or of bytes, in one step.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    flush(path.parent)


def try_writing_in(folder: Path) -> None:
    """Find out whether something can be written in a folder, or in one that is to be made; nothing is left there.

    Raises:
        OSError: it cannot.
    """
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    with TemporaryFile(dir=nearest):
        pass


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
