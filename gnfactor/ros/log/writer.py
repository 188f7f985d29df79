"""The log of a run on a robot: every event, written to an MCAP file beside the run without holding it up.

Whoever notes an event only puts it into a queue; a thread encodes and writes. What was noted is on the disk a second
later at most, so that a killed process leaves all but its last second. A log that cannot be written ends the run: the
next event that is noted raises.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gnfactor.errors import DataError, MissingExtraError, RobotError
from gnfactor.ros.journal import Event, Looked, Seen, Stated
from gnfactor.ros.link import RobotState
from gnfactor.ros.log.format import WORLD, Encoder, Message
from gnfactor.ros.log.header import FORMAT, RunHeader, header_to_texts
from gnfactor.ros.log.schemas import schema_of

if TYPE_CHECKING:
    from mcap.writer import Writer

STATES_HZ = 30.0
"""States are kept at about this rate, however often the robot is asked; those that say something new always."""
_FLUSH_S = 0.5
_MOST_WAITING_BYTES = 512 * 2**20
_EVENT_BYTES = 2048
"""What an event without pictures takes in memory, about."""
_CLOSING_S = 30.0


class RunLog:
    """A journal in a file.

    Args:
        path: the file to make; folders on the way are made.
        header: under what the run takes place; its `config.log.images` says whether pictures are kept.
        clock: by which events are stamped (s): the robot's, so that stamps can be compared with those of its states.
            Where it raises RobotError, time is taken to have passed as here.

    Raises:
        DataError: the file cannot be made, or is there already.
        MissingExtraError: the package mcap is not installed.
    """

    def __init__(self, path: Path, header: RunHeader, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = _Stamps(clock)
        self._states = _Sampler()
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Event, int] | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._complaint: str | None = None
        self._closed = False
        self._file = _File(path, header, self._clock.next_ns())
        self._thread = threading.Thread(target=self._write, name="run log", daemon=True)
        self._thread.start()

    def note(self, event: Event) -> None:
        """Keep one event; takes microseconds.

        Raises:
            DataError: the file cannot be written, or is written so slowly that memory runs out.
        """
        with self._lock:
            if self._complaint is not None:
                raise DataError(self._complaint)
            if self._closed:
                raise DataError(f"the log {self.path} is closed; nothing can be noted in it any more")
            time_ns = self._clock.next_ns()
            if not self._states.keep(event, time_ns):
                return
            self._waiting_bytes += _bytes_of(event)
            if self._waiting_bytes > _MOST_WAITING_BYTES:
                self._complaint = (
                    f"the log {self.path} is written too slowly: {self._waiting_bytes / 2**20:.0f} MiB wait; take a "
                    "faster disk, fewer cameras or log.images=false"
                )
                raise DataError(self._complaint)
            self._waiting.put((event, time_ns))

    def close(self) -> None:
        """Write what waits, and the index; safe to call twice.

        Raises:
            DataError: the log is not whole.
        """
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._waiting.put(None)
        self._thread.join(_CLOSING_S)
        if self._thread.is_alive():
            raise DataError(f"the log {self.path} is not written after {_CLOSING_S:.0f} s; is the disk still there?")
        if self._complaint is not None:
            raise DataError(self._complaint)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close it; an error that is on its way already is not hidden by one of the log."""
        with contextlib.suppress(DataError) if error is not None else contextlib.nullcontext():
            self.close()

    def _write(self) -> None:
        try:
            self._write_all()
        except Exception as error:  # whatever it was, the run has to hear of it
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            with self._lock:
                self._complaint = (
                    f"the log {self.path} cannot be written: {reason}; nothing moves without a log: see to the disk "
                    "and start again"
                )
            self._file.abandon()

    def _write_all(self) -> None:
        flushed_s = time.monotonic()
        while True:
            try:
                item = self._waiting.get(timeout=_FLUSH_S)
            except queue.Empty:
                item = ()
            if item is None:
                self._file.finish()
                return
            if item:
                self._file.write(*item)
                with self._lock:
                    self._waiting_bytes -= _bytes_of(item[0])
            if time.monotonic() - flushed_s >= _FLUSH_S:
                self._file.flush()
                flushed_s = time.monotonic()


class _File:
    """An MCAP file that is being written."""

    def __init__(self, path: Path, header: RunHeader, time_ns: int) -> None:
        self._encoder = Encoder(header.config.arm.base_frame, header.config.log.images)
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._count = 0
        make_writer = _writer_type()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("xb")
        except OSError as error:
            raise DataError(f"the log {path} cannot be made: {error.strerror}; name another folder") from error
        try:
            self._writer = make_writer(self._file, enable_data_crcs=True)
            self._writer.start(library=f"gnfactor {header.versions.get('gnfactor', '')}")
            self._writer.add_metadata(FORMAT, header_to_texts(header))
            arm = header.config.arm
            base = self._encoder.placed(arm.base_frame, WORLD, arm.world_from_base.matrix, time_ns)
            self._add(base, time_ns)
            self.flush()
        except OSError as error:
            self.abandon()
            raise DataError(f"the log {path} cannot be written: {error.strerror}; see to the disk") from error

    def write(self, event: Event, time_ns: int) -> None:
        self._add(self._encoder.encode(event, time_ns), time_ns)

    def flush(self) -> None:
        """Have all that was written on the disk."""
        self._writer.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        self._writer.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file that takes no more."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _add(self, messages: list[Message], time_ns: int) -> None:
        for message in messages:
            self._count += 1
            self._writer.add_message(self._channel(message), time_ns, message.payload, time_ns, self._count)

    def _channel(self, message: Message) -> int:
        topic, name = message.topic, message.schema
        if name not in self._schemas:
            self._schemas[name] = self._writer.register_schema(name, "jsonschema", schema_of(name))
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(topic, "json", self._schemas[name])
        return self._channels[topic]


class _Stamps:
    """Times that never go back, also where the clock does or cannot be asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_ns, self._here_ns = 0, time.monotonic_ns()

    def next_ns(self) -> int:
        here_ns = time.monotonic_ns()
        try:
            now_ns = round(self._clock() * 1e9)
        except RobotError:
            now_ns = self._last_ns + here_ns - self._here_ns
        self._last_ns, self._here_ns = max(now_ns, self._last_ns), here_ns
        return self._last_ns


class _Sampler:
    """Which states are worth keeping: some each second, the first after a look, and all that say something new."""

    def __init__(self) -> None:
        self._last: RobotState | None = None
        self._kept_ns = 0

    def keep(self, event: Event, time_ns: int) -> bool:
        if isinstance(event, Looked):
            self._last = None
        if not isinstance(event, Stated):
            return True
        state, last = event.state, self._last
        often_enough = time_ns - self._kept_ns < 0.9e9 / STATES_HZ
        if often_enough and last is not None and (state.mode, state.errors) == (last.mode, last.errors):
            return False
        self._last, self._kept_ns = state, time_ns
        return True


def _bytes_of(event: Event) -> int:
    if not isinstance(event, Seen):
        return _EVENT_BYTES
    views = event.observation.views.values()
    return _EVENT_BYTES + sum(view.rgb.nbytes + view.depth_m.nbytes for view in views)


def _writer_type() -> type[Writer]:
    try:
        from mcap.writer import Writer  # noqa: PLC0415 (optional: only a robot's computer needs it)
    except ImportError as error:
        raise MissingExtraError("mcap", "pip install 'gnfactor[robot]'") from error
    return Writer
