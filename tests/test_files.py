"""Files are whole or as they were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gnfactor.errors import DataError
from gnfactor.files import write_file
from gnfactor.video import write_png


def no_room(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("content", ["täxt", b"\x00\xff", ""])
def test_what_is_written_is_there(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    write_file(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_where_there_is_no_room_the_old_file_stays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, picture = tmp_path / "text", tmp_path / "picture.png"
    write_file(text, "before")
    write_png(picture, np.zeros((2, 2, 3), np.uint8))
    before = picture.read_bytes()
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left"):
        write_file(text, "after")
    with pytest.raises(DataError, match=r"cannot write the picture .*No space left"):
        write_png(picture, np.ones((2, 2, 3), np.uint8))
    assert (text.read_text(), picture.read_bytes()) == ("before", before)
    assert sorted(tmp_path.iterdir()) == [picture, text]
