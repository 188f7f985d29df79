"""The command that converts RLBench's folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from made_up import assert_same
from PIL import Image
from recorder import write_pickle, write_recording

from data.convert import main
from data.demos import ReadOptions, read_recording
from data.pairs import used_frames
from data.recordings import find_recordings
from data.store import Store
from gnfactor.demonstration import Demonstration, some_frames


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three recordings of two tasks."""
    root = tmp_path / "raw"
    write_recording(root / "open_drawer/all_variations/episodes/episode0", variation=2, seed=0)
    write_recording(root / "open_drawer/all_variations/episodes/episode1", variation=0, seed=1)
    write_recording(root / "push_buttons/variation7/episodes/episode0", variation=None, seed=2)
    return root


ALL = ["open_drawer/variation0/episode1", "open_drawer/variation2/episode0", "push_buttons/variation7/episode0"]


def names(store: Path) -> list[str]:
    return [info.name for info in Store.open(store).episodes()]


def recorded(raw: Path, number: int, **options: object) -> Demonstration:
    return read_recording(find_recordings(raw).recordings[number], ReadOptions(**options))  # type: ignore[arg-type]


def test_what_is_recorded_is_what_the_store_gives_back(raw: Path, tmp_path: Path) -> None:
    assert main([str(raw), str(tmp_path / "store")]) == 0
    assert names(tmp_path / "store") == ALL
    store = Store.open(tmp_path / "store")
    for number, name in enumerate((ALL[1], ALL[0], ALL[2])):
        assert_same(store.read(name), recorded(raw, number))
    assert (tmp_path / "store" / "index.json").read_text().count('"name": "open_drawer') == 2


def test_options_choose_tasks_cameras_keyframes_and_masks(raw: Path, tmp_path: Path) -> None:
    options = ["--tasks", "push_buttons", "--cameras", "wrist", "--keyframes", "fixed_interval"]
    assert main([str(raw), str(tmp_path / "store"), *options, "--segmentation"]) == 0
    assert names(tmp_path / "store") == ALL[2:]
    expected = recorded(raw, 2, cameras=("wrist",), keyframes="fixed_interval", segmentation=True)
    assert expected.observations[0].views["wrist"].segmentation is not None
    assert Store.open(tmp_path / "store").episodes()[0].keyframes == (1, 2, 3, 4, 5, 6, 7, 8, 9)


def test_used_frames_alone_are_those_of_the_whole(raw: Path, tmp_path: Path) -> None:
    options = ["--frames", "used", "--start-every", "3"]
    assert main([str(raw), str(tmp_path / "store"), *options]) == 0
    store = Store.open(tmp_path / "store")
    for number, name in enumerate((ALL[1], ALL[0], ALL[2])):
        whole = recorded(raw, number)
        kept = used_frames(10, whole.keyframes, 3)
        assert kept == (0, 3, 4, 6, 9)
        assert_same(store.read(name), some_frames(whole, kept))
    assert {info.frame_numbers for info in store.episodes()} == {kept}


def test_pictures_that_are_not_used_are_not_opened(raw: Path, tmp_path: Path) -> None:
    folder = raw / "push_buttons/variation7/episodes/episode0"
    (folder / "front_rgb/1.png").write_bytes(b"not a picture")
    assert main([str(raw), str(tmp_path / "store"), "--frames", "used"]) == 0
    (folder / "front_rgb/2.png").unlink()
    assert main([str(raw), str(tmp_path / "other"), "--frames", "used"]) == 1


def test_several_workers_make_the_same_store(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "open_drawer/all_variations/episodes/episode1/front_rgb/3.png").write_bytes(b"")
    said: list[str] = []
    for workers in ("1", "2"):
        assert main([str(raw), str(tmp_path / workers), "--workers", workers]) == 1
        said.append(capsys.readouterr().err.partition("failed: ")[2].replace(str(tmp_path / workers), "OUT"))
    assert said[0] == said[1]
    assert "episode1/front_rgb/3.png" in said[0]
    for name in (file for folder in (tmp_path / "1", tmp_path / "2") for file in folder.rglob("*") if file.is_file()):
        file = name.relative_to(tmp_path).relative_to(name.relative_to(tmp_path).parts[0])
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_a_damaged_episode_is_named_and_the_others_convert(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = raw / "open_drawer/all_variations/episodes/episode0/front_rgb/3.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:50])
    assert main([str(raw), str(tmp_path / "store")]) == 1
    said = capsys.readouterr().err
    assert f"{picture} is not a whole PNG" in said
    assert "2 episodes converted, 0 were there before, 1 failed" in said
    assert names(tmp_path / "store") == [ALL[0], ALL[2]]
    picture.write_bytes(whole)
    assert main([str(raw), str(tmp_path / "store")]) == 0
    assert "1 episodes converted, 2 were there before, 0 failed" in capsys.readouterr().err
    assert names(tmp_path / "store") == ALL


def test_a_stray_folder_fails_alone(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = raw / "open_drawer/old/episodes/episode0"
    write_recording(stray, variation=0, seed=3)
    assert main([str(raw), str(tmp_path / "store")]) == 1
    assert names(tmp_path / "store") == ALL
    said = capsys.readouterr().err
    assert f"failed: {stray}: cannot tell its task and variation" in said
    assert "3 episodes converted, 0 were there before, 1 failed" in said


def test_labels_that_the_store_cannot_hold_fail_that_episode_only(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = raw / "open_drawer/all_variations/episodes/episode0/front_mask/4.png"
    Image.new("RGB", (12, 10), (0, 0, 1)).save(mask)
    assert main([str(raw), str(tmp_path / "store"), "--segmentation"]) == 1
    assert names(tmp_path / "store") == [ALL[0], ALL[2]]
    assert "frame 4: labels of camera 'front'" in capsys.readouterr().err


def test_episodes_in_the_store_are_not_read_again(raw: Path, tmp_path: Path) -> None:
    assert main([str(raw), str(tmp_path / "store")]) == 0
    (raw / "open_drawer/all_variations/episodes/episode0/low_dim_obs.pkl").write_bytes(b"")
    assert main([str(raw), str(tmp_path / "store")]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keyframes", "fixed_interval"], "keyframe rule: published there, now fixed_interval"),
        (["--cameras", "front"], "cameras asked for: all that were recorded there, now front"),
        (["--segmentation"], "masks: left out there, now kept"),
        (["--frames", "used"], "frames kept: all there, now used with start_every 10"),
    ],
)
def test_a_store_is_not_continued_with_other_settings(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main([str(raw), str(tmp_path / "store"), "--tasks", "push_buttons"]) == 0
    capsys.readouterr()
    assert main([str(raw), str(tmp_path / "store"), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert names(tmp_path / "store") == ALL[2:]


def test_two_recordings_of_one_name_are_not_mixed(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(raw / "open_drawer/variation2/episodes/episode0", variation=2, seed=9)
    assert main([str(raw), str(tmp_path / "store")]) == 1
    assert "it would be called 'open_drawer/variation2/episode0'" in capsys.readouterr().err
    assert_same(Store.open(tmp_path / "store").read(ALL[1]), recorded(raw, 0))


def test_a_hostile_pickle_fails_its_episode(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pickle(raw / "push_buttons/variation7/episodes/episode0/variation_descriptions.pkl", [Path("executed")])
    assert main([str(raw), str(tmp_path / "store")]) == 1
    assert "variation_descriptions.pkl: it asks for 'pathlib." in capsys.readouterr().err
    assert names(tmp_path / "store") == ALL[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out"], "nowhere is not a folder"),
        (["raw", "raw"], "is not a store and not empty"),
        (["raw", "out", "--tasks", "fly"], "no episode of ['fly']"),
        (["raw", "out", "--cameras", "frnt"], "RLBench has no camera ['frnt']"),
        (["raw", "out", "--keyframes", "guess"], "invalid choice: 'guess'"),
        (["raw", "out", "--views", "many"], "invalid choice: 'many'"),
        (["raw", "out", "--views-every", "0"], "every 0th frame cannot be kept; give a number of at least 1"),
        (["raw", "out", "--views-far", "0"], "depth cannot be packed between 0.01 m and 0.0 m; give near < far"),
        (["raw", "out", "--frames", "some"], "invalid choice: 'some'"),
        (["raw", "out", "--start-every", "0"], "every 0th frame cannot start a sample"),
        (["raw", "out", "--workers", "0"], "--workers is 0"),
        (["raw"], "the following arguments are required: out"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    raw: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(raw.parent)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_the_command_runs_as_a_module(raw: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data.convert", str(raw), str(tmp_path / "store"), "--tasks", "push_buttons"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 episodes converted" in done.stderr
    assert names(tmp_path / "store") == ALL[2:]
