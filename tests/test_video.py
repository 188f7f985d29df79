"""Videos and captions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from gnfactor import video
from gnfactor.errors import DataError
from gnfactor.video import caption, outlined, side_by_side, wrap, write_video


def plain(colour: tuple[int, int, int], height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def frames_in(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while True:
        more, frame = capture.read()
        if not more:
            return frames
        frames.append(frame[..., ::-1])


def test_a_written_video_plays_with_the_same_frames_and_colours(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    write_video(tmp_path / "deep" / "a.webm", (plain(colour) for colour in colours), fps=5)
    played = frames_in(tmp_path / "deep" / "a.webm")
    assert len(played) == 3
    for colour, frame in zip(colours, played, strict=True):
        assert np.abs(frame.reshape(-1, 3).mean(0) - colour).max() < 12
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.webm"]


def test_odd_sizes_are_padded_to_even_ones(tmp_path: Path) -> None:
    write_video(tmp_path / "a.webm", [plain((9, 9, 9), 33, 51)] * 2, fps=5)
    assert frames_in(tmp_path / "a.webm")[0].shape == (34, 52, 3)


def test_a_failure_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one size"):
        write_video(tmp_path / "a.webm", [plain((0, 0, 0)), plain((0, 0, 0), 32)], fps=5)
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "a.webm", [], fps=5)
    with pytest.raises(ValueError, match="webm"):
        write_video(tmp_path / "a.avi", [plain((0, 0, 0))], fps=5)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_lost_frames_does_not_replace_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk, of which the encoder says nothing."""
    path = tmp_path / "film.webm"
    frames = [np.full((16, 16, 3), 40 * index, np.uint8) for index in range(5)]
    write_video(path, frames, 5)
    before = path.read_bytes()
    monkeypatch.setattr(video, "_frames_in", lambda _: 3)
    with pytest.raises(DataError, match="of 5 frames 3 were kept; is the disk full"):
        write_video(path, frames, 5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"file/a\.webm"):
        write_video(tmp_path / "file" / "a.webm", [plain((0, 0, 0))], fps=5)


def test_writing_a_video_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.webm", [plain((0, 0, 0))], fps=5)
    assert capfd.readouterr() == ("", "")


def test_a_caption_stands_below_an_unchanged_picture() -> None:
    picture = plain((10, 120, 10), 40, 200)
    shown = caption(picture, ["open the top drawer", "frame 3"])
    assert shown.shape[1] == 200
    np.testing.assert_array_equal(shown[:40], picture)
    assert shown[40:].max() > 200


def test_a_fixed_number_of_rows_gives_one_size_to_any_text() -> None:
    picture = plain((0, 0, 0), 40, 200)
    sizes = {caption(picture, lines, rows=3).shape for lines in ([], ["a"], ["word " * 60], ["a", "b", "c", "d"])}
    assert len(sizes) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet="abcdefghij", min_size=1, max_size=12), max_size=12), st.integers(60, 300))
def test_wrapping_loses_no_word_and_keeps_to_the_width(words: list[str], width: int) -> None:
    font = ImageFont.load_default(14)
    rows = wrap(" ".join(words), width, font)
    assert " ".join(rows).split() == words
    assert all(font.getlength(row) <= width or " " not in row for row in rows)


def test_pictures_of_different_sizes_stand_side_by_side() -> None:
    row = side_by_side([plain((255, 0, 0), 10, 20), plain((0, 255, 0), 40, 40)], height=20)
    assert row.shape == (20, 40 + 20, 3)
    assert (row[:, :40] == (255, 0, 0)).all()
    assert (row[:, 40:] == (0, 255, 0)).all()


def test_an_outline_is_painted_on_a_copy() -> None:
    picture = plain((0, 0, 0))
    marked = outlined(picture, (255, 200, 0), thickness=3)
    assert picture.max() == 0
    assert (marked[:3] == (255, 200, 0)).all()
    assert marked[3:-3, 3:-3].max() == 0
