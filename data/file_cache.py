"""Files by the digest of their content, on the local disk, up to so many bytes.

    <folder>/<first two letters>/<digest>

Any number of processes may share a folder. A file appears in one step, so that a killed process leaves no half of one
under its name; what is read is checked against its name, so that a damaged file is dropped instead of believed. The
files that were not read for longest make room for others.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gnfactor.errors import DataError

_FILLED = 0.9
"""Share of the limit that is left when room is made."""
_LOOKS = 16
"""The folder is looked through again when this process has added a 16th of the limit: others add to it, too."""
_PARTIAL_S = 3600.0
"""A partial file that nobody has touched for so long was left by a killed process."""


def digest_of(content: bytes) -> str:
    """The name of a content: 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@dataclass(frozen=True)
class _Entry:
    path: Path
    size: int
    used_s: float


class FileCache:
    """Contents by their digest, in a folder."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """A cache of at most about `limit_bytes`; with n processes at once it may pass that by n / 16.

        The folder is made when the first file is put there.
        """
        self.folder = folder
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._expected: int | None = None
        """Bytes in the folder as far as this process knows; None before its first look."""
        self._added = 0
        """Bytes that this process has put there since it last looked."""

    def get(self, digest: str) -> bytes | None:
        """The content of this digest, or None where it is not there or damaged."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if digest_of(content) != digest:
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # another process has just made room
            os.utime(path)
        return content

    def put(self, digest: str, content: bytes) -> None:
        """Keep a content, unless it alone is larger than the limit.

        Raises:
            DataError: the folder cannot be written to.
        """
        if len(content) > self._limit:
            return
        path = self._path(digest)
        partial = path.with_name(f".{digest}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._make_room(len(content))
            try:
                partial.write_bytes(content)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot write to the cache {self.folder}: {error}; make room, name another folder "
                "(data.cache.folder), or do without it (data.cache.gigabytes=0)"
            ) from error

    def _make_room(self, size: int) -> None:
        """Drop the files that were not used for longest, if another one of this size could pass the limit."""
        self._added += size
        if self._expected is None or self._expected + size > self._limit or self._added > self._limit // _LOOKS:
            entries = sorted(self._entries(), key=lambda entry: entry.used_s)
            total = sum(entry.size for entry in entries)
            if total + size > self._limit:
                total = self._drop(entries, total, max(0, int(_FILLED * self._limit) - size))
            self._expected, self._added = total, size
        self._expected += size

    def _drop(self, entries: list[_Entry], total: int, wanted: int) -> int:
        """Delete entries in their order until at most `wanted` bytes are left; returns how many bytes are left."""
        for entry in entries:
            if total <= wanted:
                break
            entry.path.unlink(missing_ok=True)
            total -= entry.size
        return total

    def _entries(self) -> Iterator[_Entry]:
        """What is in the folder; what killed processes left unfinished long ago is deleted."""
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process has just made room
                continue
            if path.name.startswith(".") and time.time() - status.st_mtime > _PARTIAL_S:
                path.unlink(missing_ok=True)
            else:
                yield _Entry(path, status.st_size, status.st_mtime)

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest
