"""The log of a run after the worst: a killed process, a full disk, a file that somebody else made."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import Writer

from gnfactor.errors import DataError
from gnfactor.ros.journal import Event, Failed
from gnfactor.ros.log.header import header_to_texts
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.log.writer import RunLog
from tests.made_up_events import MAKERS, Maker, same
from tests.recorded_run import header, written

REPOSITORY = Path(__file__).resolve().parent.parent

WRITES_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from gnfactor.ros.journal import Event, Failed
from gnfactor.ros.log.writer import RunLog
from tests.test_ros_log import header
log = RunLog(Path(sys.argv[1]), header())
number = 0
while True:
    log.note(Failed(f"{number} {time.time()}"))
    print(number, flush=True)
    number += 1
    time.sleep(0.005)
"""


def test_a_killed_process_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_UNTIL_KILLED, str(path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.6)
        process.send_signal(signal.SIGKILL)
        killed_s = time.time()
    recording = Recording(path)
    said = [one.event.complaint.split() for one in recording.events() if isinstance(one.event, Failed)]
    assert not recording.whole
    assert [int(number) for number, _ in said] == list(range(len(said)))
    assert killed_s - float(said[-1][1]) < 1.0


def limited_file_size(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB, which the system says as it says that a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    limited_file_size(20_000)
    yield
    limited_file_size(before)


def note_slowly(log: RunLog, events: Iterable[Event]) -> None:
    for event in events:
        log.note(event)
        time.sleep(0.002)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_ends_the_run_with_one_clear_error_and_leaves_what_was_written(tmp_path: Path) -> None:
    path, rng = tmp_path / "run.mcap", np.random.default_rng(0)
    log = RunLog(path, header())
    noted = (Failed(f"{number} {rng.bytes(200).hex()}") for number in range(2000))
    with pytest.raises(DataError, match=r"cannot be written: File too large; nothing moves without a log"):
        note_slowly(log, noted)
    with pytest.raises(DataError, match="cannot be written"):
        log.close()
    limited_file_size(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    numbers = [int(one.event.complaint.split()[0]) for one in Recording(path).events() if isinstance(one.event, Failed)]
    assert numbers == list(range(len(numbers)))


@dataclass(frozen=True)
class Sample:
    """A whole log."""

    content: bytes
    events: list[Event]
    head: int
    """So many bytes at its beginning say under what the run took place."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    path, maker = tmp_path_factory.mktemp("sample") / "run.mcap", Maker(7, [])
    with RunLog(path.with_name("head.mcap"), header()) as log:
        head = log.path.stat().st_size
    with np.errstate(over="ignore", invalid="ignore"):
        events = written(path, [make(maker) for make in MAKERS.values()])
    return Sample(path.read_bytes(), events, head)


def read_or_refused(path: Path, content: bytes) -> list[Event] | None:
    path.write_bytes(content)
    try:
        return [one.event for one in Recording(path).events()]
    except DataError as error:
        said = str(error)
    assert "\n" not in said
    return None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_log_that_is_cut_anywhere_is_read_up_to_there(tmp_path: Path, sample: Sample, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(sample.content) - 1))
    read = read_or_refused(tmp_path / "cut.mcap", sample.content[:size])
    assert read is not None or size < sample.head
    assert read is None or same(read, sample.events[: len(read)])


def test_a_word_that_was_changed_in_the_head_is_noticed(tmp_path: Path, sample: Sample) -> None:
    assert sample.content.count(b"press the button") == 1
    forged = sample.content.replace(b"press the button", b"press the bottom")
    assert read_or_refused(tmp_path / "forged.mcap", forged) is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_log_with_a_wrong_byte_anywhere_is_refused_or_read_as_it_was(
    tmp_path: Path, sample: Sample, data: st.DataObject
) -> None:
    damaged = bytearray(sample.content)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    read = read_or_refused(tmp_path / "wrong.mcap", bytes(damaged))
    assert read is None or same(read, sample.events)


def foreign(path: Path, topic: str = "/state", payload: bytes = b"{}", head: bool = True, size: int = 0) -> Path:
    """An MCAP file by somebody else, with one message."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        if head:
            writer.add_metadata("gnfactor-run", header_to_texts(header()))
        channel = writer.register_channel(topic, "json", 0)
        writer.add_message(channel, 0, payload or bytes(size), 0)
        writer.finish()
    return path


WRONG = {
    "no state": ("/state", b"{}"),
    "not JSON": ("/verdict", b"\xff"),
    "a list": ("/verdict", b"[]"),
    "a number that is none": ("/look", b'{"cameras": [{"name": "a", "stamp_s": "later"}]}'),
    "true for a number": ("/look", b'{"cameras": [{"name": "a", "stamp_s": true}]}'),
    "another kind": ("/command", b'{"verb": "stream", "kind": "RobotState"}'),
    "too few joints": (
        "/command",
        b'{"verb": "v", "kind": "JointTrajectory", "sequence": 1, "expires_s": 0, "times_s": [], "positions": [1]}',
    ),
    "no such status": ("/progress", b'{"sequence": 1, "status": "flying", "message": ""}'),
    "no picture": (
        "/observation",
        b'{"step": 1, "time_s": 0, "pictures": true, "arms": [], "cameras": [{"name": "a", "width": 2, "height": 2}]}',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_message_that_we_did_not_write_is_refused_by_name(tmp_path: Path, name: str) -> None:
    topic, payload = WRONG[name]
    recording = Recording(foreign(tmp_path / "foreign.mcap", topic, payload))
    with pytest.raises(DataError, match=f"on {topic}, is not as this program writes it"):
        list(recording.events())


def test_files_that_are_no_logs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("once upon a time")
    for path, answer in (
        (tmp_path / "absent.mcap", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "text.mcap", "is not an MCAP file"),
        (foreign(tmp_path / "foreign.mcap", head=False), "is no log of a run on a robot"),
    ):
        with pytest.raises(DataError, match=answer):
            Recording(path)
