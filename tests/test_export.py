"""RLBench's folders made of a store: read back by our own converter, and anew by the published decoding rules."""

from __future__ import annotations

import json
import pickle
import pickletools
import shutil
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import made_up
from PIL import Image
from recorder import rlbench_importable
from strategies import poses
from synthetic import make_demonstration, make_store

import data.export
from data.arrays import depth_from_units, units_from_depth
from data.convert import main as convert
from data.export import frames_for_readers, main
from data.keyframes import STILL_RAD_S, published_keyframes
from data.pickles import RecordedDemo, load_pickle
from data.pictures import read_depth_m
from data.rlbench_episode import FAR_M, NEAR_M, pack_depth, rlbench_camera, write_recording
from data.store import Store, episode_name
from gnfactor.demonstration import Demonstration, some_frames
from gnfactor.envs.base import SeededScene
from gnfactor.envs.rlbench.convert import opencv_camera
from gnfactor.envs.tabletop.rig import RigConfig
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import DataError
from gnfactor.geometry import unproject
from gnfactor.scene import Camera, View

TASK, VARIATION, SIZE, VIEWS = "open_drawer", 2, 40, 3
EPISODES = Path(TASK) / "all_variations" / "episodes"
NAME = episode_name(TASK, VARIATION, "seed3")
CAMERAS = ("front", "wrist")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One episode of the built-in world, all its frames at 10 Hz, with views all around of every second one."""
    env = TabletopEnv(CAMERAS, (SIZE, SIZE))
    made = env.record(
        SeededScene(TASK, VARIATION, 3), "all", frequency_hz=10.0, rig=RigConfig(views=VIEWS), rig_every=2
    )
    env.close()
    assert isinstance(made, Demonstration)
    store = Store.create(tmp_path_factory.mktemp("made") / "store")
    store.write(made, NAME, {"renderer": "mujoco-ray"})
    store.finish()
    return store


@pytest.fixture(scope="module")
def exported(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of its export."""
    out = tmp_path_factory.mktemp("exported")
    assert main([str(store.path), str(out), "--format", "rlbench", "--views"]) == 0
    return out


@pytest.fixture(scope="module")
def written(store: Store, exported: Path) -> Demonstration:
    """What of the store should stand in the export."""
    return store.read(NAME, origin(exported / EPISODES / "episode0")["frames"], target_views=None)


def origin(episode: Path) -> dict[str, Any]:
    return json.loads((episode / "origin.json").read_text())


def assert_same_cameras(first: Camera, second: Camera) -> None:
    assert (first.width, first.height) == (second.width, second.height)
    np.testing.assert_allclose(first.intrinsics, second.intrinsics, rtol=0, atol=1e-12)
    np.testing.assert_allclose(first.world_from_camera, second.world_from_camera, rtol=0, atol=1e-12)


def assert_same_episode(back: Demonstration, true: Demonstration) -> None:
    """Pictures and depths exactly, poses to the rounding of float64; what the format has no place for is left out."""
    for name in ("task", "variation", "instructions", "keyframes", "ignore_collisions"):
        assert getattr(back, name) == getattr(true, name), name
    assert len(back.observations) == len(true.observations)
    for ours, theirs in zip(back.observations, true.observations, strict=True):
        assert (ours.step, {*ours.views}) == (theirs.step, {*theirs.views})
        arm, true_arm = ours.arms["right"], theirs.arms["right"]
        assert arm.gripper_open == true_arm.gripper_open
        for name in ("finger_positions_m", "joint_positions", "joint_velocities"):
            np.testing.assert_array_equal(getattr(arm, name), getattr(true_arm, name))
        np.testing.assert_allclose(arm.world_from_gripper, true_arm.world_from_gripper, rtol=0, atol=1e-12)
        for name, view in ours.views.items():
            assert_same_view(view, theirs.views[name])
            np.testing.assert_array_equal(view.segmentation, theirs.views[name].segmentation)


def assert_same_view(view: View, true: View) -> None:
    np.testing.assert_array_equal(view.rgb, true.rgb)
    np.testing.assert_array_equal(view.depth_m, true.depth_m)
    assert_same_cameras(view.camera, true.camera)


def test_our_converter_reads_back_the_same_store(exported: Path, written: Demonstration, tmp_path: Path) -> None:
    arguments = [str(exported), str(tmp_path / "back"), "--segmentation", "--views-every", "2"]
    assert convert(arguments) == 0
    back = Store.open(tmp_path / "back").read(f"{TASK}/variation{VARIATION}/episode0", target_views=None)
    assert_same_episode(back, written)
    assert any(view.segmentation is not None for view in back.observations[0].views.values())
    there = {*range(0, len(written.observations), 2), *written.keyframes}
    assert back.target_views.keys() == there & written.target_views.keys()
    assert len(back.target_views) >= len(written.keyframes)
    for frame, views in back.target_views.items():
        assert [*views] == [f"rig{number}" for number in range(VIEWS)]
        for name, view in views.items():
            assert_same_view(view, written.target_views[frame][name])


def test_the_published_decoding_rules_give_what_the_store_holds(exported: Path, written: Demonstration) -> None:
    """Read by the rules alone, by nothing of ours."""
    episode = exported / EPISODES / "episode0"
    demo = load_with_rlbench(episode / "low_dim_obs.pkl")
    moments = demo._observations
    assert load_with_rlbench(episode / "variation_number.pkl") == VARIATION
    assert tuple(load_with_rlbench(episode / "variation_descriptions.pkl")) == written.instructions
    assert len(moments) == len(written.observations)
    flags = [float(moment.ignore_collisions) == 1.0 for moment in moments]
    assert flags[:-1] == list(written.ignore_collisions[1:])
    for frame, (moment, seen) in enumerate(zip(moments, written.observations, strict=True)):
        arm = seen.arms["right"]
        x, y, z, qx, qy, qz, qw = moment.gripper_pose
        assert_turns(np.array([qx, qy, qz]), qw, arm.world_from_gripper[:3, :3])
        np.testing.assert_array_equal([x, y, z], arm.world_from_gripper[:3, 3])
        np.testing.assert_array_equal(moment.gripper_matrix, arm.world_from_gripper)
        np.testing.assert_array_equal(moment.joint_velocities, arm.joint_velocities)
        assert moment.gripper_open == (1.0 if arm.gripper_open else 0.0)
        assert moment.front_rgb is None
        for name, view in seen.views.items():
            near, far = moment.misc[f"{name}_camera_near"], moment.misc[f"{name}_camera_far"]
            pixels = np.array(Image.open(episode / f"{name}_depth" / f"{frame}.png")).astype(float)
            share = (65536 * pixels[..., 0] + 256 * pixels[..., 1] + pixels[..., 2]) / (2**24 - 1)
            metres = near + share * (far - near)
            seen_there = view.depth_m > 0
            np.testing.assert_allclose(metres[seen_there], view.depth_m[seen_there], atol=1e-6)
            np.testing.assert_array_equal(metres[~seen_there], far)
            assert_same_points(
                metres, moment.misc[f"{name}_camera_intrinsics"], moment.misc[f"{name}_camera_extrinsics"], view
            )
            np.testing.assert_array_equal(np.array(Image.open(episode / f"{name}_rgb" / f"{frame}.png")), view.rgb)
            handle = np.array(Image.open(episode / f"{name}_mask" / f"{frame}.png")).astype(int) @ (1, 256, 65536)
            np.testing.assert_array_equal(handle, view.segmentation)


def test_the_views_around_a_frame_lie_in_its_folder(exported: Path, written: Demonstration) -> None:
    root = exported / EPISODES / "episode0" / "nerf_data"
    assert {int(folder.name) for folder in root.iterdir()} == {*written.target_views}
    for frame, views in written.target_views.items():
        folder = root / str(frame)
        assert (folder / "description.txt").read_text().splitlines() == list(written.instructions)
        for number, view in enumerate(views.values()):
            np.testing.assert_array_equal(np.array(Image.open(folder / "images" / f"{number}.png")), view.rgb)
            lines = (folder / "poses" / f"{number}.txt").read_text().splitlines()
            assert lines[4] == ""
            extrinsics, intrinsics = (
                np.array([line.split() for line in part], float) for part in (lines[:4], lines[5:])
            )
            pixels = np.array(Image.open(folder / "depths" / f"{number}.png")).astype(float)
            metres = 0.01 + pixels @ (65536, 256, 1) / (2**24 - 1) * (10 - 0.01)
            assert_same_points(metres, intrinsics, extrinsics, view)


def load_with_rlbench(path: Path) -> Any:
    """Read as those do who have RLBench installed."""
    with rlbench_importable(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "numpy.core", DeprecationWarning)
        return pickle.loads(path.read_bytes())


def assert_turns(axis: np.ndarray, w: float, rotation: np.ndarray) -> None:
    """A quaternion turns the unit vectors as a matrix does: v + 2 w (a x v) + 2 a x (a x v)."""
    for column, unit in enumerate(np.eye(3)):
        across = np.cross(axis, unit)
        np.testing.assert_allclose(unit + 2 * w * across + 2 * np.cross(axis, across), rotation[:, column], atol=1e-12)


def assert_same_points(metres: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray, view: View) -> None:
    """The cloud by PyRep's formula, pixels times depth through the inverse of K [R^T | -R^T C], is the store's."""
    assert (np.diag(intrinsics)[:2] < 0).all()
    rotation, centre = extrinsics[:3, :3], extrinsics[:3, 3]
    projection = np.eye(4)
    projection[:3] = intrinsics @ np.column_stack((rotation.T, -rotation.T @ centre))
    height, width = metres.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    cloud = np.stack((u * metres, v * metres, metres, np.ones_like(metres)), -1) @ np.linalg.inv(projection).T
    ours = unproject(
        torch.from_numpy(view.depth_m).double(),
        torch.from_numpy(view.camera.intrinsics),
        torch.from_numpy(view.camera.world_from_camera),
    ).numpy()
    there = view.depth_m > 0
    np.testing.assert_allclose(cloud[there][:, :3], ours[there], atol=2e-6)


def test_pickles_name_nothing_but_rlbench_and_numpy_1(exported: Path) -> None:
    content = (exported / EPISODES / "episode0" / "low_dim_obs.pkl").read_bytes()
    operations = [(code.name, value) for code, value, _ in pickletools.genops(content)]
    assert operations[0] == ("PROTO", 4)
    assert not [value for name, value in operations if name in ("GLOBAL", "INST", "EXT1")]
    assert sum(name == "STACK_GLOBAL" for name, _ in operations) == 5
    texts = [str(value) for name, value in operations if name == "SHORT_BINUNICODE"]
    names = {
        *(("rlbench.demo", "Demo"), ("rlbench.backend.observation", "Observation")),
        *(("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray")),
    }
    assert names <= {*pairwise(texts)}
    assert "dtype" in texts
    assert not [text for text in texts if "_core" in text or text.startswith("data.")]
    assert not [name for name in sys.modules if name.startswith("rlbench")]


def test_attributes_are_those_of_real_recordings(exported: Path, real_episodes: Path) -> None:
    ours, real = (load_pickle(root / EPISODES / "episode0" / "low_dim_obs.pkl") for root in (exported, real_episodes))
    assert isinstance(ours, RecordedDemo)
    assert isinstance(real, RecordedDemo)
    assert [*ours.fields] == [*real.fields]
    first, true = ours.fields["_observations"][0].fields, real.fields["_observations"][0].fields
    assert [*first] == [*true]
    assert {*first["misc"]} == {key for key in true["misc"] if key.startswith(CAMERAS)}
    for one, other in ((first, true), (first["misc"], true["misc"])):
        for name, value in one.items():
            if value is not None and name != "misc":
                assert type(value) is type(other[name]), name
                assert np.asarray(value).shape == np.asarray(other[name]).shape
                assert np.asarray(value).dtype == np.asarray(other[name]).dtype


def test_real_recordings_come_back_as_they_were(
    real_episodes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episodes = tmp_path / "raw" / EPISODES
    episodes.mkdir(parents=True)
    (episodes / "episode0").symlink_to(real_episodes / EPISODES / "episode2")
    assert convert([str(tmp_path / "raw"), str(tmp_path / "store"), "--cameras", "front"]) == 0
    assert main([str(tmp_path / "store"), str(tmp_path / "again")]) == 0
    assert "in 1 of 1 episodes (0 missed, 0 more than the store's 3); 0 of 105 frames" in capsys.readouterr().err
    assert convert([str(tmp_path / "again"), str(tmp_path / "back"), "--cameras", "front"]) == 0
    (info,) = Store.open(tmp_path / "store").episodes()
    assert_same_episode(Store.open(tmp_path / "back").read(info.name), Store.open(tmp_path / "store").read(info.name))


def test_readers_find_the_stores_keyframes(store: Store, exported: Path, written: Demonstration) -> None:
    info = store.episodes()[0]
    kept = origin(exported / EPISODES / "episode0")["frames"]
    assert [kept[frame] for frame in rule(written)] == list(info.keyframes)
    everything = store.read(NAME, cameras=())
    assert len(rule(everything)) > len(info.keyframes), "without leaving out frames they would not"
    assert 0 < info.frames - len(kept) < info.frames // 2


def rule(demonstration: Demonstration, rows: tuple[int, ...] | None = None) -> tuple[int, ...]:
    states = [seen.arms["right"] for seen in demonstration.observations]
    chosen = list(range(len(states)) if rows is None else rows)
    is_open = np.array([state.gripper_open for state in states])
    return published_keyframes(is_open[chosen], np.stack([state.joint_velocities for state in states])[chosen])


@given(st.data())
def test_only_standing_frames_that_mislead_are_left_out(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 30))
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    is_open, standing, is_key = data.draw(flags), data.draw(flags), data.draw(flags)
    keyframes = tuple(sorted({*(frame for frame in range(1, count) if is_key[frame]), count - 1}))
    blank = make_demonstration(frames=count, keyframes=(1, count - 1))
    demonstration = replace(
        blank,
        keyframes=keyframes,
        observations=tuple(
            replace(
                seen,
                arms={
                    "right": replace(
                        seen.arms["right"],
                        gripper_open=is_open[frame],
                        joint_velocities=np.full(7, (0.5 if standing[frame] else 1.5) * STILL_RAD_S),
                    )
                },
            )
            for frame, seen in enumerate(blank.observations)
        ),
    )
    kept = frames_for_readers(demonstration)
    left_out = set(range(count)) - set(kept)
    assert list(kept) == sorted(kept)
    assert not left_out & {0, *keyframes}
    assert all(standing[frame] for frame in left_out)
    mistaken = {kept[row] for row in rule(demonstration, kept)} - set(keyframes)
    assert not any(standing[frame] for frame in mistaken)
    if set(rule(demonstration)) <= set(keyframes):
        assert not left_out


def test_all_frames_are_kept_when_asked_for(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(store.path), str(tmp_path / "out"), "--standing", "keep", "--cameras", "front"]) == 0
    (info,) = store.episodes()
    episode = tmp_path / "out" / EPISODES / "episode0"
    assert len([*(episode / "front_depth").iterdir()]) == info.frames
    assert not (episode / "wrist_rgb").exists()
    assert not (episode / "nerf_data").exists()
    said = capsys.readouterr().err
    assert "in 0 of 1 episodes (" in said
    assert f"0 of {info.frames} frames were left out" in said


@given(st.integers(0, 65535))
def test_depths_of_a_store_survive_the_packing(tmp_path_factory: pytest.TempPathFactory, units: int) -> None:
    stored = np.array([[units]], np.uint16)
    path = tmp_path_factory.getbasetemp() / "exported_depth.png"
    Image.fromarray(np.ascontiguousarray(pack_depth(depth_from_units(stored), NEAR_M, FAR_M))).save(path)
    assert units_from_depth(read_depth_m(path, NEAR_M, FAR_M)) == stored


def test_packing_by_hand() -> None:
    packed = pack_depth(np.array([[0.0, 0.01, 5.005, 20.0]]), 0.01, 10.0)
    assert packed.tolist() == [[[255, 255, 255], [0, 0, 0], [128, 0, 0], [255, 255, 254]]]


@given(poses())
def test_turning_a_camera_to_rlbench_and_back_changes_nothing(pose: torch.Tensor) -> None:
    camera = Camera(np.array([[40.0, 0, 24], [0, 50.0, 16], [0, 0, 1]]), pose.numpy(), 48, 32)
    extrinsics, intrinsics = rlbench_camera(camera, "it")
    assert np.diag(intrinsics)[:2].tolist() == [-40, -50]
    assert_same_cameras(opencv_camera(intrinsics, extrinsics, 48, 32, "it"), camera)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of six tiny episodes, another one that has names in common with it, and what else users
    have."""
    folder = tmp_path_factory.mktemp("shelf")
    store = make_store(folder / "store")
    make_store(folder / "other", episodes=1, tasks=("push",), frames=30, keyframes=(12, 29))
    assert main([str(store), str(folder / "done"), "--tasks", "push"]) == 0
    (folder / "file").touch()
    (folder / "recorded/push/all_variations/episodes/episode4").mkdir(parents=True)
    return folder


@pytest.fixture
def small(shelf: Path, tmp_path: Path) -> Path:
    """A copy of the store of six tiny episodes."""
    return Path(shutil.copytree(shelf / "store", tmp_path / "store"))


def episodes(out: Path) -> dict[str, str]:
    """Names in the store by folder in the export."""
    return {path.parent.relative_to(out).as_posix(): origin(path.parent)["name"] for path in out.rglob("origin.json")}


def in_order(store: Path) -> dict[str, str]:
    """What `episodes` gives when all of a store was exported at once."""
    names: dict[str, list[str]] = {}
    for info in Store.open(store).episodes():
        names.setdefault(info.task, []).append(info.name)
    return {
        f"{task}/all_variations/episodes/episode{number}": name
        for task, own in names.items()
        for number, name in enumerate(own)
    }


def test_an_interrupted_export_goes_on(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, begun = tmp_path / "out", list[Path]()

    def write(folder: Path, demonstration: Demonstration) -> None:
        begun.append(folder)
        write_recording(folder, demonstration)
        if len(begun) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(data.export, "write_recording", write)
    assert main([str(small), str(out)]) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert len(episodes(out)) == 2
    assert len([*out.rglob("low_dim_obs.pkl")]) == 2, "no half episode"
    assert main([str(small), str(out)]) == 0
    assert "4 episodes exported, 2 were there before, 0 failed" in capsys.readouterr().err
    assert episodes(out) == in_order(small)
    assert {path.name for path in out.iterdir()} == {"push", "lift"}


def test_what_a_killed_export_left_is_removed(small: Path, tmp_path: Path) -> None:
    remnant = tmp_path / "out" / ".writing" / "0123"
    (remnant / "front_rgb").mkdir(parents=True)
    remnant.with_name("0123.lock").touch()
    assert main([str(small), str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / ".writing").exists()


def test_what_a_store_gains_is_added_behind(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(small), str(out), "--tasks", "push"]) == 0
    before = episodes(out)
    store = Store.create(small)
    for seed in (0, 7):
        store.write(replace(make_demonstration("push", seed), variation=0), f"push/variation0/another{seed}")
    assert main([str(small), str(out), "--tasks", "push"]) == 0
    added = {
        f"push/all_variations/episodes/episode{number}": f"push/variation0/another{seed}"
        for number, seed in ((3, 0), (4, 7))
    }
    assert episodes(out) == before | added


def test_a_damaged_episode_is_named_and_the_others_are_exported(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(small / "push/variation1/seed1/views/16x16/rgb/c")
    assert main([str(small), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "failed: " in said
    assert "push/variation1/seed1" in said
    assert "5 episodes exported, 0 were there before, 1 failed" in said
    assert sorted(episodes(tmp_path / "out").values()) == sorted(
        {*in_order(small).values()} - {"push/variation1/seed1"}
    )
    assert not [*(tmp_path / "out").rglob("episode2")][1:], "no number is left out"


def test_poses_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="frame 0: the gripper has a pose that is not a rotation"):
        write_recording(tmp_path, made_up())


def test_a_full_disk_ends_it_in_one_line(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(folder: Path, demonstration: Demonstration) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.export, "write_recording", write)
    assert main([str(small), str(tmp_path / "out")]) == 2
    assert "No space left on device; make room" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not episodes(tmp_path / "out")


def test_episodes_of_keyframes_alone_are_refused_unless_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sparse = make_store(tmp_path / "sparse", episodes=1, frames=3, keyframes=(1, 2))
    assert main([str(sparse), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "has keyframes only" in line
    assert "collect with --frames all, or give --allow-sparse" in line
    assert not (tmp_path / "out").exists()
    assert main([str(sparse), str(tmp_path / "out"), "--allow-sparse"]) == 0
    assert len(episodes(tmp_path / "out")) == 2


def test_episodes_of_used_frames_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = some_frames(make_demonstration("push", 0), (0, 10, 12, 20, 24))
    Store.create(tmp_path / "store").write(part, "push/variation0/seed0")
    assert main([str(tmp_path / "store"), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "has 5 of the 25 frames of its recording" in line
    assert "convert it with --frames all" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out"], "nowhere is not a store"),
        (["store", "store/out"], "is a store or in one"),
        (["store", "other"], "is a store or in one"),
        (["store", "file"], "name another folder"),
        (["store", "out", "--tasks", "fly"], "has no episode of ['fly']; it has ['lift', 'push']"),
        (["store", "out", "--cameras", "frnt"], "RLBench has no camera ['frnt']"),
        (["store", "out", "--cameras", "front,wrist"], "has the cameras ['front'], not ['wrist']"),
        (["store", "out", "--views"], "has no views to learn from; collect with --rig"),
        (["store", "out", "--format", "lerobot"], "invalid choice: 'lerobot'"),
        (["store", "done", "--standing", "keep"], "other settings (standing: drop there, now keep)"),
        (["other", "done"], "was exported from another episode that is called 'push/variation0/seed0', too"),
        (["store", "recorded"], "was not exported from a store: origin.json in it is absent"),
        (["store"], "the following arguments are required: out"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    shelf: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(shelf)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_cameras_that_rlbench_has_not_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = make_demonstration()
    renamed = tuple(replace(seen, views={"spectator": seen.views["front"]}) for seen in plain.observations)
    Store.create(tmp_path / "store").write(replace(plain, observations=renamed), "push/variation0/seed0")
    assert main([str(tmp_path / "store"), str(tmp_path / "out")]) == 2
    assert "has cameras ['spectator'] that RLBench has not" in capsys.readouterr().err
