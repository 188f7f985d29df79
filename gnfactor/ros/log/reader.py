"""Reading the log of a run again, also of one whose process was killed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gnfactor.errors import DataError, MissingExtraError
from gnfactor.ros.journal import Event
from gnfactor.ros.log.decoder import Decoder
from gnfactor.ros.log.header import FORMAT, RunHeader, header_from_texts

if TYPE_CHECKING:
    from mcap.records import Chunk, McapRecord, Message

_MAGIC = bytes((137, 77, 67, 65, 80, 48, 13, 10))
_LARGEST_CHUNK = 2**29
"""Bytes, unpacked; ours hold a picture more than a MiB."""


@dataclass(frozen=True, eq=False)
class Noted:
    """One event, and when it was noted."""

    time_s: float
    """On the robot's clock."""
    event: Event


class Recording:
    """The log in one file. Events are read as they are asked for: pictures of a whole run may not fit into memory.

    Raises:
        DataError: the file cannot be read, or is no log of ours.
        MissingExtraError: the package mcap is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                start = file.read(len(_MAGIC))
                self.whole = start == _MAGIC and _ends_with_magic(file)
                """Whether it was closed properly; otherwise its end is missing."""
        except OSError as error:
            raise DataError(f"the log {path} cannot be read: {error.strerror}") from error
        if start != _MAGIC:
            raise DataError(f"{path} is not an MCAP file; name a log that gnfactor.ros wrote")
        self.header: RunHeader = header_from_texts(self._header_texts(), path)

    def events(self) -> Iterator[Noted]:
        """All events in the order in which they were noted, as far as they reached the disk.

        Raises:
            DataError: the file is damaged, and not only cut short.
        """
        from mcap.records import Channel, Message  # noqa: PLC0415 (optional)

        topics, decoder = dict[int, str](), Decoder()
        for record in self._records():
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, Message):
                event = self._decoded(decoder, topics.get(record.channel_id, ""), record)
                if event is not None:
                    yield Noted(record.log_time / 1e9, event)

    def _decoded(self, decoder: Decoder, topic: str, message: Message) -> Event | None:
        try:
            return decoder.decode(topic, message.data)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(
                f"message {message.sequence} of {self.path}, on {topic}, is not as this program writes it: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _header_texts(self) -> dict[str, str]:
        from mcap.records import Message, Metadata  # noqa: PLC0415 (optional)

        for record in self._records():
            if isinstance(record, Metadata) and record.name == FORMAT:
                return record.metadata
            if isinstance(record, Message):
                break
        return {}

    def _records(self) -> Iterator[McapRecord]:
        try:
            from mcap.exceptions import RecordLengthLimitExceeded  # noqa: PLC0415 (optional: for robots only)
            from mcap.records import Chunk  # noqa: PLC0415
            from mcap.stream_reader import StreamReader, breakup_chunk  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("mcap", "pip install 'gnfactor[robot]'") from error
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            records = StreamReader(file, emit_chunks=True, validate_crcs=True, record_size_limit=size).records
            while True:
                try:
                    record = next(records, None)
                    inner = [record] if not isinstance(record, Chunk) else breakup_chunk(_checked(record), True)
                except Exception as error:  # the reader raises whatever a wrong byte brings about
                    if not self.whole and (file.tell() == size or isinstance(error, RecordLengthLimitExceeded)):
                        return  # the last record is not all there
                    raise DataError(
                        f"{self.path} is damaged before byte {file.tell()} of {size}: {error}; what stands before "
                        "that can be read, the rest cannot"
                    ) from error
                if record is None:
                    return
                yield from (one for one in inner if one is not None)


def _checked(chunk: Chunk) -> Chunk:
    """A chunk that unpacks to what a log can hold; raises ValueError for others."""
    import zstandard  # noqa: PLC0415 (mcap brings it)

    if chunk.compression not in ("", "zstd") or chunk.uncompressed_size > _LARGEST_CHUNK:
        raise ValueError(f"a chunk of {chunk.uncompressed_size} bytes, packed by '{chunk.compression}'")
    if chunk.compression and zstandard.frame_content_size(chunk.data) != chunk.uncompressed_size:
        raise ValueError("a chunk unpacks to another size than it says")
    return chunk


def _ends_with_magic(file: IO[bytes]) -> bool:
    end = file.seek(0, SEEK_END)
    file.seek(max(end - len(_MAGIC), len(_MAGIC)))
    return file.read() == _MAGIC
