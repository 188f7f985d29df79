"""The command that says and shows what is in a store."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up import made_up

from data.inspect import contact_sheet, film, frames_per_second, main
from data.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = Store.create(tmp_path / "store")
    rig = {f"rig{index}": (8, 6) for index in range(7)}
    made.write(made_up(labels=True, targets=rig, target_frames=(0, 2, 4)), "open_drawer/variation1/seed17")
    other = replace(made_up(12, {"front": (8, 6), "wrist": (9, 7)}, (11,)), task="push_buttons", seed=None)
    made.write(other, "push_buttons/variation1/episode0")
    made.finish()
    return tmp_path / "store"


def test_json_says_all_about_each_episode(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(store), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == 1
    assert said["episodes"] == [
        {
            "task": "open_drawer",
            "episode": "open_drawer/variation1/seed17",
            "variation": 1,
            "seed": 17,
            "frames": 5,
            "frame_numbers": [],
            "keyframes": [2, 4],
            "instructions": ["öffne die mittlere Schublade", "pull"],
            "cameras": ["front", "wrist"],
            "image_sizes": {"front": [8, 6], "wrist": [8, 6]},
            "segmentation": ["front", "wrist"],
            "renderer": "mujoco-ray",
            "target_views": {f"rig{index}": [8, 6] for index in range(7)},
            "target_frames": [0, 2, 4],
            "labels": {"3": "button", "12": "plate/0"},
        },
        {
            "task": "push_buttons",
            "episode": "push_buttons/variation1/episode0",
            "variation": 1,
            "seed": None,
            "frames": 12,
            "frame_numbers": [],
            "keyframes": [11],
            "instructions": ["öffne die mittlere Schublade", "pull"],
            "cameras": ["front", "wrist"],
            "image_sizes": {"front": [8, 6], "wrist": [9, 7]},
            "segmentation": [],
            "renderer": "mujoco-ray",
            "target_views": {},
            "target_frames": [],
            "labels": {},
        },
    ]


def test_text_says_the_same_to_people(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(store)]) == 0
    said = capsys.readouterr().out
    for words in (
        "schema version 1, 2 tasks, 2 episodes",
        "push_buttons: 1 episode, 12 frames",
        "open_drawer/variation1/seed17",
        "variation 1, seed 17; 5 frames; keyframes 2 4",
        "cameras front wrist, 8x6 9x7 pixels, pictures by mujoco-ray",
        "öffne die mittlere Schublade | pull",
    ):
        assert words in said
    assert said.count("to learn from") == 1
    assert "7 views to learn from (rig0 to rig6), 8x6 pixels, at frames 0 2 4" in said


def test_videos_show_each_episode_and_rest_at_keyframes(store: Path, tmp_path: Path) -> None:
    assert main([str(store), "--video", str(tmp_path / "films")]) == 0
    shown = sorted(path.relative_to(tmp_path / "films").as_posix() for path in (tmp_path / "films").rglob("*.webm"))
    assert shown == ["open_drawer/variation1/seed17.webm", "push_buttons/variation1/episode0.webm"]
    capture = cv2.VideoCapture(str(tmp_path / "films" / shown[0]))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == 3 + 2 * 14
    sheets = [path.relative_to(tmp_path / "films").as_posix() for path in (tmp_path / "films").rglob("*.png")]
    assert sheets == ["open_drawer/variation1/seed17.rig.png"]


def test_a_contact_sheet_shows_every_view_in_its_place() -> None:
    sizes = {f"rig{index}": (64, 48) if index else (40, 30) for index in range(7)}
    views = made_up(targets=sizes, target_frames=(0,)).target_views[0]
    sheet = contact_sheet(views)
    height, width = sheet.shape[0] // 2, sheet.shape[1] // 5
    assert width == 64
    assert height > 48
    for index, view in enumerate(views.values()):
        top, left = index // 5 * height, index % 5 * width
        shown = sheet[top : top + view.rgb.shape[0], left : left + view.rgb.shape[1]]
        np.testing.assert_array_equal(shown, view.rgb)
    assert contact_sheet({"rig0": views["rig1"]}).shape[1] == 64


def test_a_film_marks_keyframes_and_shows_the_cameras_side_by_side() -> None:
    demonstration = made_up(keyframes=(2, 4))
    pictures = list(film(demonstration))
    first, rest = pictures[0], pictures[2]
    assert len({picture.shape for picture in pictures}) == 1
    assert first.shape[1] >= 640
    enlarged = np.kron(demonstration.observations[0].views["front"].rgb, np.ones((40, 40, 1), np.uint8))
    np.testing.assert_array_equal(first[: 6 * 40, : 8 * 40], enlarged)
    assert (rest[0] == (255, 190, 0)).all()
    assert not (first[0] == (255, 190, 0)).all()


def test_films_of_few_far_frames_are_slow_and_others_as_recorded() -> None:
    whole = made_up(20, keyframes=(19,))
    assert frames_per_second(whole) == pytest.approx(20)
    far = replace(whole, observations=tuple(replace(seen, time_s=3.0 * i) for i, seen in enumerate(whole.observations)))
    assert frames_per_second(far) == 2
    assert frames_per_second(replace(whole, observations=whole.observations[:1])) == 2


@pytest.mark.parametrize("arguments", [["nowhere"], [], ["store", "--picture"]])
def test_wrong_use_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_module_does_not_hide_the_standard_library_of_its_name(store: Path) -> None:
    command = [sys.executable, "-m", "data.inspect", str(store), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert len(json.loads(done.stdout)["episodes"]) == 2
    assert done.stderr == ""
