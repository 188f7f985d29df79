"""The cache of files by their digest: never wrong, never much larger than its limit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.file_cache import FileCache, digest_of
from gnfactor.errors import DataError

CONTENTS = [bytes([number]) * (7 * number) for number in range(30)]


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(CONTENTS), max_size=40), st.integers(0, 500))
def test_what_comes_back_is_right_and_no_more_is_kept_than_allowed(
    tmp_path: Path, contents: list[bytes], limit: int
) -> None:
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    cache = FileCache(tmp_path / "cache", limit)
    for content in contents:
        cache.put(digest_of(content), content)
        assert cache.get(digest_of(content)) == (content if len(content) <= limit else None)
        assert sum(path.stat().st_size for path in kept(cache.folder)) <= limit
    assert all(cache.get(digest_of(content)) in (None, content) for content in CONTENTS)


def test_what_was_not_read_for_longest_makes_room(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1000)
    contents = [bytes([number]) * 250 for number in range(4)]
    for age, content in enumerate(contents):
        cache.put(digest_of(content), content)
        path = tmp_path / digest_of(content)[:2] / digest_of(content)
        os.utime(path, (time.time() - 100 + age,) * 2)
    assert cache.get(digest_of(contents[0])) == contents[0]
    cache.put(digest_of(b"new" * 80), b"new" * 80)
    there = [cache.get(digest_of(content)) is not None for content in contents]
    assert there == [True, False, False, True], "to nine tenths of the limit, the one that was read just now stays"


@pytest.mark.parametrize("damage", [b"", b"half", b"something else altogether"])
def test_a_damaged_file_is_dropped(tmp_path: Path, damage: bytes) -> None:
    cache = FileCache(tmp_path, 1000)
    cache.put(digest_of(b"halfway"), b"halfway")
    (path,) = kept(tmp_path)
    path.write_bytes(damage)
    assert cache.get(digest_of(b"halfway")) is None
    assert kept(tmp_path) == []


def test_several_processes_share_a_folder_and_may_be_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from data.file_cache import FileCache, digest_of\n"
        "cache, number = FileCache(Path(sys.argv[1]), 2_000_000), 0\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    content = str(number % 60).encode() * 50_000\n"
        "    found = cache.get(digest_of(content))\n"
        "    assert found in (None, content)\n"
        "    if found is None: cache.put(digest_of(content), content)\n"
        "    number += 1\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    time.sleep(1.0)
    for writer in writers:
        assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    whole = [path for path in kept(tmp_path) if not path.name.startswith(".")]
    assert whole
    assert all(digest_of(path.read_bytes()) == path.name for path in whole)
    assert sum(path.stat().st_size for path in kept(tmp_path)) <= 2_000_000 * (1 + 3 / 16)


def test_what_a_killed_process_left_unfinished_is_removed_after_an_hour(tmp_path: Path) -> None:
    folder = tmp_path / digest_of(b"x")[:2]
    folder.mkdir()
    old, new = folder / ".old.1", folder / ".new.1"
    for path, age_s in ((old, 4000), (new, 10)):
        path.write_bytes(b"partial")
        os.utime(path, (time.time() - age_s,) * 2)
    FileCache(tmp_path, 1000).put(digest_of(b"x"), b"x")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to the cache .*file/cache.*data\.cache\.folder"):
        FileCache(tmp_path / "file" / "cache", 10).put(digest_of(b"x"), b"x")
