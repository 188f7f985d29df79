"""Pictures of the tasks: from the start to the success, and videos of what lies between."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data import gallery
from gnfactor.demonstration import Demonstration, ExpertFailure
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.video import spaced


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "_SIZE", (40, 30))
    monkeypatch.setattr(gallery, "_FILM_SIZE", (32, 24))


@pytest.mark.parametrize("count", [1, 3, 6, 14])
def test_a_row_begins_with_the_start_and_ends_with_the_success(count: int) -> None:
    pictures = tuple(np.full((4, 5, 3), 10 * index, np.uint8) for index in range(count))
    picture = gallery.sheet([gallery.Shown(("task", "words"), pictures, ())])
    row = [int(value) for value in picture[0, 2 :: 5 + 6, 0][:6]]
    shown = min(count, 6)
    assert row[0] == 0
    assert row[shown - 1] == 10 * (count - 1)
    assert row[:shown] == sorted(set(row[:shown]))
    assert row[shown:] == [255] * (6 - shown)


@pytest.mark.usefixtures("small")
def test_the_command_writes_a_sheet_and_a_video_of_each_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep"
    assert gallery.main([str(out), "--tasks", "turn_tap,push_buttons", "--seed", "3"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["push_buttons.webm", "sheet.png", "turn_tap.webm"]
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width == 6 * 40 + 5 * 6
        assert sheet.height > 2 * 30
    video = cv2.VideoCapture(str(out / "turn_tap.webm"))
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    still, moving = gallery._LAST_S * gallery._SHOWN_HZ, frames - gallery._LAST_S * gallery._SHOWN_HZ
    assert moving > still
    assert "2 videos written" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_a_scene_in_which_the_expert_fails_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(env: TabletopEnv, scene: SeededScene) -> Demonstration | ExpertFailure:
        return ExpertFailure("grasp: out of reach")

    monkeypatch.setattr(TabletopEnv, "record", fail)
    assert gallery.main([str(tmp_path), "--tasks", "turn_tap"]) == 2
    assert "(grasp: out of reach); choose another --seed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_there_is_not_is_refused_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery.main([str(tmp_path), "--tasks", "turn_tap,fold"]) == 2
    assert "has no task 'fold'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_white_stands_between_pictures_only() -> None:
    black = np.zeros((2, 3, 3), np.uint8)
    row = spaced([black, black, black], axis=1)
    assert row.shape == (2, 3 * 3 + 2 * 6, 3)
    assert (row[0, :, 0] == np.array([0] * 3 + [255] * 6 + [0] * 3 + [255] * 6 + [0] * 3)).all()
    assert spaced([black], axis=0).shape == black.shape
