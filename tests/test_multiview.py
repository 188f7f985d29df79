"""Views all around beside RLBench's recordings: what is kept of them, at which frames, and what is said of the rest."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filmed import rlbench_camera, write_filmed, write_views
from hypothesis import given
from hypothesis import strategies as st
from made_up import assert_same
from PIL import Image
from strategies import poses

from data.convert import main
from data.demos import ReadOptions, read_recording
from data.multiview import Multiview, MultiviewOptions, likeliest_cut, read_multiview
from data.pairs import used_frames
from data.recordings import Recording, find_recordings
from data.store import Store
from gnfactor.demonstration import Demonstration, some_frames
from gnfactor.envs.base import SeededScene
from gnfactor.envs.rlbench.convert import opencv_camera
from gnfactor.envs.tabletop.rig import RigConfig
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import ConfigError
from gnfactor.geometry import project
from gnfactor.scene import Camera, View

TASK, SIZE, VIEWS = "open_drawer", 48, 5
OPTIONS = MultiviewOptions(every=4)


@pytest.fixture(scope="module")
def filmed() -> tuple[Demonstration, Demonstration]:
    """Two episodes of one variation with views all around of every frame."""
    env = TabletopEnv(("front",), (SIZE, SIZE))
    made = [
        env.record(SeededScene(TASK, 0, seed), "all", frequency_hz=10.0, rig=RigConfig(views=VIEWS), rig_every=1)
        for seed in (3, 4)
    ]
    env.close()
    first, second = made
    assert isinstance(first, Demonstration)
    assert isinstance(second, Demonstration)
    return first, second


@pytest.fixture(scope="module")
def recorded(filmed: tuple[Demonstration, Demonstration], tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """The first of them, through RLBench's files."""
    folder = tmp_path_factory.mktemp("recorded") / "episode0"
    write_filmed(folder, filmed[0])
    return read_recording(Recording(folder, TASK, None), ReadOptions())


@pytest.fixture(scope="module")
def published(filmed: tuple[Demonstration, Demonstration], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder t shows frame t + 1; there is none for frame 0."""
    folder = tmp_path_factory.mktemp("published")
    lay(folder, {frame - 1: views for frame, views in filmed[0].target_views.items() if frame > 0})
    return folder


def lay(episode: Path, folders: Mapping[int, Mapping[str, View]]) -> None:
    for number, views in folders.items():
        write_views(episode, number, views)


def views_of(demonstration: Demonstration) -> list[Mapping[str, View]]:
    return [demonstration.target_views[frame] for frame in range(len(demonstration.observations))]


def read(episode: Path, recorded: Demonstration, options: MultiviewOptions = OPTIONS) -> Multiview:
    found = read_multiview(episode, recorded, options)
    assert found is not None
    return found


def assert_true(found: Multiview, filmed: Demonstration) -> None:
    """Every picture is that of its frame."""
    for frame, views in found.views.items():
        assert list(views) == [f"rig{index}" for index in range(VIEWS)]
        for name, view in views.items():
            true = filmed.target_views[frame][name]
            np.testing.assert_array_equal(view.rgb, true.rgb)
            np.testing.assert_allclose(view.depth_m, true.depth_m, atol=2e-6)
            np.testing.assert_allclose(view.camera.intrinsics, true.camera.intrinsics, atol=1e-6)
            np.testing.assert_allclose(view.camera.world_from_camera, true.camera.world_from_camera, atol=1e-6)


def wanted(recorded: Demonstration) -> set[int]:
    return {*range(0, len(recorded.observations), OPTIONS.every), *recorded.keyframes}


def test_in_the_published_layout_folder_t_shows_frame_t_plus_1(
    filmed: tuple[Demonstration, Demonstration], recorded: Demonstration, published: Path
) -> None:
    found = read(published, recorded)
    assert found.offset == 1
    assert found.views.keys() == wanted(recorded) - {0}
    assert_true(found, filmed[0])
    assert [(frame, left.fault) for frame, left in found.left_out.items()] == [(0, "not recorded")]
    assert found.as_expected
    count = len(wanted(recorded))
    assert str(found).startswith(
        f"views at {count - 1} of {count} frames, folder t shows frame t + 1; left out: frame 0"
    )


def test_a_generator_that_is_not_late_is_found_out(
    filmed: tuple[Demonstration, Demonstration], recorded: Demonstration, tmp_path: Path
) -> None:
    lay(tmp_path, dict(enumerate(views_of(filmed[0])[:-1])))
    found = read(tmp_path, recorded)
    last = len(recorded.observations) - 1
    assert found.offset == 0
    assert found.views.keys() == wanted(recorded) - {last}
    assert found.left_out[last].fault == "not recorded"
    assert not found.as_expected
    assert_true(found, filmed[0])


@pytest.mark.parametrize("lost", [3, 30])
def test_behind_a_failed_attempt_the_right_pictures_are_found(
    filmed: tuple[Demonstration, Demonstration], recorded: Demonstration, tmp_path: Path, lost: int
) -> None:
    """The generator keeps what it filmed of the attempt that failed, and writes as many folders as there are frames."""
    count = len(recorded.observations)
    reel = [*views_of(filmed[1])[1 : lost + 1], *views_of(filmed[0])[1:]]
    lay(tmp_path, dict(enumerate(reel[:count])))
    found = read(tmp_path, recorded)
    assert found.offset == 1 - lost
    there = {frame for frame in wanted(recorded) if 0 < frame <= count - lost}
    assert found.views.keys() == there
    assert_true(found, filmed[0])
    assert {left.fault for frame, left in found.left_out.items() if frame > count - lost} == {"not recorded"}
    assert found.left_out[0].fault == "contradicting", "the folder before is the failed attempt's last one"


def test_another_episodes_first_pictures_are_left_out(
    filmed: tuple[Demonstration, Demonstration], recorded: Demonstration, published: Path, tmp_path: Path
) -> None:
    episode = Path(shutil.copytree(published, tmp_path / "episode"))
    lay(episode, dict(enumerate(views_of(filmed[1])[1:14])))
    found = read(episode, recorded)
    assert found.offset == 1
    assert found.views.keys() == {frame for frame in wanted(recorded) if frame > 13}
    assert {frame for frame, left in found.left_out.items() if left.fault == "contradicting"} == {
        frame for frame in wanted(recorded) if 0 < frame <= 13
    }
    assert_true(found, filmed[0])


def test_another_episodes_pictures_are_all_left_out(
    filmed: tuple[Demonstration, Demonstration], recorded: Demonstration, tmp_path: Path
) -> None:
    count = len(recorded.observations)
    lay(tmp_path, dict(enumerate(views_of(filmed[1])[1:count])))
    found = read(tmp_path, recorded)
    assert not found.views
    faults = [left.fault for frame, left in found.left_out.items() if frame > 0]
    assert faults.count("contradicting") == len(faults) - faults.count("not recorded") > len(faults) // 2
    assert "contradict the recorded depth" in str(found)


def test_depth_packed_otherwise_contradicts_everywhere(recorded: Demonstration, published: Path) -> None:
    found = read(published, recorded, replace(OPTIONS, far_m=5.0))
    assert not found.views
    assert read(published, recorded, replace(OPTIONS, near_m=0.011)).views, "a millimetre is not noticed"


def test_without_folders_there_is_nothing_to_say(recorded: Demonstration, tmp_path: Path) -> None:
    assert read_multiview(tmp_path, recorded, OPTIONS) is None
    (tmp_path / "nerf_data").mkdir()
    assert read_multiview(tmp_path, recorded, OPTIONS) is None


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def spoil(word: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text().replace(path.read_text().split()[5], word, 1)) and None


def smaller(path: Path) -> None:
    Image.new("RGB", (SIZE // 2, SIZE // 2)).save(path)


def one_more(path: Path) -> None:
    shutil.copy(path, path.with_stem("5"))


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated colour": ("images/1.png", truncate, r"images/1\.png is not a whole PNG"),
    "truncated depth": ("depths/3.png", truncate, r"depths/3\.png is not a whole PNG"),
    "truncated depth that is compared": ("depths/2.png", truncate, r"depths/2\.png is not a whole PNG"),
    "no colour": ("images/4.png", Path.unlink, r"images/4\.png is missing; most folders beside it have 5 views"),
    "no pose": ("poses/0.txt", Path.unlink, r"poses/0\.txt is missing"),
    "a view too many": ("images/0.png", one_more, r"images/5\.png is one too many"),
    "no depths at all": ("depths", shutil.rmtree, r"depths/.\.png is not a whole PNG"),
    "NaN in a pose": ("poses/0.txt", spoil("nan"), r"poses/0\.txt holds a number that is not finite"),
    "a word in a pose": ("poses/0.txt", spoil("left"), r"poses/0\.txt is not a file of numbers"),
    "a sheared pose": ("poses/0.txt", spoil("3.0"), r"poses/0\.txt: the camera has a pose that is not a rotation"),
    "a short pose": (
        "poses/0.txt",
        lambda path: path.write_text("1 2\n") and None,
        r"poses/0\.txt should hold 4 rows of 4 numbers and 3 rows of 3, not \[2\]",
    ),
    "a smaller colour": ("images/0.png", smaller, r"images/0\.png or its depth is 24x24, those before are 48x48"),
    "a smaller depth": ("depths/0.png", smaller, r"poses/0\.txt: .*does not fit pictures of 24x24"),
}


def test_damage_is_named_and_costs_one_frame(recorded: Demonstration, published: Path, tmp_path: Path) -> None:
    episode = Path(shutil.copytree(published, tmp_path / "episode"))
    folders = dict(zip(DAMAGE, range(3, 3 + 2 * len(DAMAGE), 2), strict=True))
    for what, (file, damage, _) in DAMAGE.items():
        damage(episode / "nerf_data" / str(folders[what]) / file)
    found = read(episode, recorded, replace(OPTIONS, every=1))
    for what, (_, _, message) in DAMAGE.items():
        left = found.left_out[folders[what] + 1]
        assert left.fault == "damaged"
        assert re.search(f"nerf_data/{folders[what]}/{message}", left.reason), what
        assert left.reason in str(found)
    damaged = {number + 1 for number in folders.values()}
    assert found.views.keys() == set(range(1, len(recorded.observations))) - damaged


def test_frames_that_training_starts_from_are_wanted() -> None:
    assert MultiviewOptions().frames(35, (7, 20, 34)) == [0, 7, 10, 20, 30, 34]
    assert MultiviewOptions(every=1).frames(4, (2, 3)) == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"every": 0}, {"near_m": 2.0, "far_m": 1.0}, {"mismatch": 0.0}])
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give"):
        MultiviewOptions(**wrong)


@given(poses(), st.tuples(st.sampled_from([-1.0, 1.0]), st.sampled_from([-1.0, 1.0])))
def test_turning_axes_keeps_pixels(pose: torch.Tensor, signs: tuple[float, float]) -> None:
    turned = np.diag([*signs, 1.0])
    assumed = Camera(np.array([[40.0, 0, 24], [0, 50.0, 16], [0, 0, 1]]), pose.numpy(), 48, 32)
    rotation = np.eye(4)
    rotation[:3, :3] = turned
    theirs, intrinsics = assumed.world_from_camera @ rotation, assumed.intrinsics @ turned
    if signs[0] * signs[1] < 0:  # a mirror image turns no camera into another
        theirs, intrinsics = rlbench_camera(assumed)
    camera = opencv_camera(intrinsics, theirs, 48, 32, "it")
    point = np.array([0.2, -0.1, 1.5])
    world = theirs[:3, :3] @ point + theirs[:3, 3]
    expected = intrinsics @ point / point[2]
    ours = (torch.from_numpy(world)[None], *map(torch.from_numpy, (camera.intrinsics, camera.world_from_camera)))
    pixel, depth_m = project(*ours)
    np.testing.assert_allclose(pixel[0].numpy(), expected[:2], atol=1e-6)
    assert float(depth_m[0]) == pytest.approx(1.5)


@given(st.lists(st.booleans(), max_size=12))
def test_the_likeliest_cut_has_the_fewest_exceptions(contradicting: list[bool]) -> None:
    def exceptions(cut: int) -> int:
        return contradicting[:cut].count(False) + contradicting[cut:].count(True)

    counts = [exceptions(cut) for cut in range(len(contradicting) + 1)]
    assert likeliest_cut(contradicting) == counts.index(min(counts))


@pytest.fixture
def raw(filmed: tuple[Demonstration, Demonstration], published: Path, tmp_path: Path) -> Path:
    """Three episodes: as published, with a truncated picture, without views all around."""
    episodes = tmp_path / "raw" / TASK / "all_variations" / "episodes"
    for number in range(3):
        write_filmed(episodes / f"episode{number}", filmed[0])
    for number in range(2):
        shutil.copytree(published / "nerf_data", episodes / f"episode{number}" / "nerf_data")
    truncate(episodes / "episode1/nerf_data/9/images/0.png")
    return tmp_path / "raw"


def test_converting_keeps_them_in_the_store_and_says_what_is_left_out(
    raw: Path, recorded: Demonstration, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(raw), str(tmp_path / "store")]) == 0
    said = capsys.readouterr().err
    found = read(published, recorded, MultiviewOptions())
    frames = len(found.views)
    assert f"views to learn from: 2 of 2 episodes with such folders have them, at {2 * frames - 1} of" in said
    assert "left out: 2 not recorded, 0 contradicting, 1 damaged" in said
    assert "which is an assumption" in said
    assert f"{TASK}/variation0/episode1: views at {frames - 1} of {frames + 1} frames" in said
    assert "images/0.png is not a whole PNG" in said
    assert "episode0: views" not in said
    store = Store.open(tmp_path / "store")
    assert [len(info.target_frames) for info in store.episodes()] == [frames, frames - 1, 0]
    with_views = replace(recorded, target_views=found.views)
    assert_same(store.read(f"{TASK}/variation0/episode0", target_views=None), with_views)


def test_used_frames_keep_their_views(raw: Path, recorded: Demonstration, published: Path, tmp_path: Path) -> None:
    only = ["--tasks", TASK, "--frames", "used", "--start-every", "20"]
    assert main([str(raw), str(tmp_path / "store"), *only]) == 0
    whole = replace(recorded, target_views=read(published, recorded, MultiviewOptions()).views)
    part = some_frames(whole, used_frames(len(whole.observations), whole.keyframes, 20))
    assert 0 < len(part.target_views) < len(whole.target_views)
    assert_same(Store.open(tmp_path / "store").read(f"{TASK}/variation0/episode0", target_views=None), part)


def test_converting_without_them_leaves_them_out(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(raw), str(tmp_path / "store"), "--views", "none"]) == 0
    assert not any(info.target_frames for info in Store.open(tmp_path / "store").episodes())
    assert "views" not in capsys.readouterr().err
    assert main([str(raw), str(tmp_path / "store"), "--views-every", "5"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "views to learn from: none there, now published, every 5 frames" in line


def test_real_episodes_convert_as_before(
    real_episodes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episode = find_recordings(real_episodes).recordings[0].folder
    episodes = tmp_path / "raw" / episode.parents[2].name / episode.parents[1].name / "episodes"
    episodes.mkdir(parents=True)
    (episodes / episode.name).symlink_to(episode)
    assert main([str(tmp_path / "raw"), str(tmp_path / "store"), "--cameras", "front"]) == 0
    assert "views" not in capsys.readouterr().err
    (recording,) = find_recordings(tmp_path / "raw").recordings
    (info,) = Store.open(tmp_path / "store").episodes()
    converted = Store.open(tmp_path / "store").read(info.name, target_views=None)
    assert not converted.target_views
    as_read = read_recording(recording, ReadOptions(cameras=("front",)))
    assert_same(converted, as_read)
