"""RLBench's recordings: what is read from them, and what is said about damaged ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recorder import FAR_M, NEAR_M, read_moments, rewrite_moments, write_pickle, write_recording

from data.demos import ReadOptions, read_recording
from data.pictures import read_depth_m
from data.recordings import Recording, find_recordings
from gnfactor.demonstration import Demonstration
from gnfactor.errors import ConfigError, DataError
from gnfactor.geometry import project, unproject


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / "open_drawer" / "all_variations" / "episodes" / "episode0"
    write_recording(folder)
    return folder


def read(folder: Path, **options: Any) -> Demonstration:
    return read_recording(Recording(folder, "open_drawer", None), ReadOptions(**options))


def test_everything_recorded_is_read(episode: Path) -> None:
    demonstration = read(episode)
    moments = read_moments(episode)
    assert (demonstration.task, demonstration.variation, demonstration.seed) == ("open_drawer", 2, None)
    assert demonstration.instructions == ("pull the thing", "open it")
    assert demonstration.renderer == "rlbench"
    assert demonstration.keyframes == (4, 9)
    assert [seen.step for seen in demonstration.observations] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]
    for frame, (seen, moment) in enumerate(zip(demonstration.observations, moments, strict=True)):
        arm = seen.arms["right"]
        assert seen.time_s == pytest.approx(0.05 * frame)
        assert arm.gripper_open == (moment.gripper_open == 1.0)
        np.testing.assert_array_equal(arm.joint_positions, moment.joint_positions)
        np.testing.assert_array_equal(arm.joint_velocities, moment.joint_velocities)
        np.testing.assert_array_equal(arm.finger_positions_m, moment.gripper_joint_positions)
        np.testing.assert_allclose(arm.world_from_gripper[:3, 3], moment.gripper_pose[:3])
        x, y, z, w = moment.gripper_pose[3:]
        np.testing.assert_allclose(
            arm.world_from_gripper[0, :3], [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]
        )
        for name in ("front", "wrist"):
            view = seen.views[name]
            np.testing.assert_array_equal(view.rgb, np.array(Image.open(episode / f"{name}_rgb" / f"{frame}.png")))
            red, green, blue = np.moveaxis(
                np.array(Image.open(episode / f"{name}_depth" / f"{frame}.png"), float), 2, 0
            )
            share = (red * 65536 + green * 256 + blue) / (2**24 - 1)
            np.testing.assert_allclose(view.depth_m, NEAR_M + share * (FAR_M - NEAR_M), atol=1e-6)
            assert view.segmentation is None


def test_the_collision_flag_is_that_of_the_motion_that_led_to_the_frame(episode: Path) -> None:
    moments = read_moments(episode)
    noted = [bool(moment.ignore_collisions) for moment in moments]
    demonstration = read(episode)
    assert list(demonstration.ignore_collisions) == [False, *noted[:-1]]
    assert demonstration.ignore_collisions[4], "the motion to the first keyframe ignored collisions,"
    assert not noted[4], "which the flag noted at the keyframe itself would hide"


def test_recordings_without_collision_flags_have_none(episode: Path) -> None:
    moments = read_moments(episode)
    for moment in moments:
        del moment.ignore_collisions
    rewrite_moments(episode, moments)
    assert not any(read(episode).ignore_collisions)


def test_cameras_become_opencv_and_see_the_same_pixels(episode: Path) -> None:
    moment, view = read_moments(episode)[3], read(episode).observations[3].views["wrist"]
    assert (view.camera.intrinsics[[0, 1], [0, 1]] > 0).all()
    assert np.linalg.det(view.camera.world_from_camera[:3, :3]) == pytest.approx(1)
    rows, columns = np.mgrid[: view.camera.height, : view.camera.width]
    pixels = np.stack((columns, rows, np.ones_like(rows)), -1) * view.depth_m[..., None].astype(np.float64)
    in_camera = pixels @ np.linalg.inv(moment.misc["wrist_camera_intrinsics"]).T
    pose = moment.misc["wrist_camera_extrinsics"]
    expected = in_camera @ pose[:3, :3].T + pose[:3, 3]
    intrinsics, ours = torch.from_numpy(view.camera.intrinsics), torch.from_numpy(view.camera.world_from_camera)
    points = unproject(torch.from_numpy(view.depth_m).double(), intrinsics, ours)
    np.testing.assert_allclose(points.numpy(), expected, atol=1e-6)
    back, _ = project(points.flatten(0, 1), intrinsics, ours)
    np.testing.assert_allclose(back.numpy(), np.stack((columns, rows), -1).reshape(-1, 2), atol=1e-5)


@given(st.floats(0, 1))
def test_depth_of_24_bits_is_read_to_a_micrometre(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    steps = int(share * (2**24 - 2))
    pixel = np.array([[[steps >> 16, steps >> 8 & 255, steps & 255]]], np.uint8)
    path = tmp_path_factory.getbasetemp() / "depth.png"
    Image.fromarray(pixel).save(path)
    assert abs(float(read_depth_m(path, 0.1, 4.1)[0, 0]) - (0.1 + 4 * steps / (2**24 - 1))) < 1e-6


def test_the_far_plane_is_no_reading(tmp_path: Path) -> None:
    Image.fromarray(np.full((1, 1, 3), 255, np.uint8)).save(tmp_path / "a.png")
    assert read_depth_m(tmp_path / "a.png", 0.1, 4.1)[0, 0] == 0


def test_masks_are_read_when_asked_for(episode: Path) -> None:
    low, middle, high = np.moveaxis(np.array(Image.open(episode / "front_mask" / "2.png"), int), 2, 0)
    view = read(episode, segmentation=True).observations[2].views["front"]
    np.testing.assert_array_equal(view.segmentation, low + 256 * middle + 65536 * high)
    shutil.rmtree(episode / "front_mask")
    shutil.rmtree(episode / "wrist_mask")
    (episode / "wrist_mask").mkdir()
    views = read(episode, segmentation=True).observations[2].views
    assert views["front"].segmentation is None
    assert views["wrist"].segmentation is None


def test_only_the_cameras_asked_for_are_read(episode: Path) -> None:
    shutil.rmtree(episode / "front_rgb")
    assert list(read(episode, cameras=("wrist",)).observations[0].views) == ["wrist"]
    with pytest.raises(DataError, match="front_rgb"):
        read(episode)
    with pytest.raises(DataError, match="overhead_rgb"):
        read(episode, cameras=("overhead",))


def test_an_unknown_keyframe_rule_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="published"):
        ReadOptions(keyframes="guess")


def change(attribute: str, value: object) -> Callable[[Path], None]:
    """Damage that gives one attribute of the sixth observation another value."""

    def damage(episode: Path) -> None:
        moments = read_moments(episode)
        vars(moments[5])[attribute] = value
        rewrite_moments(episode, moments)

    return damage


def change_misc(key: str, value: object) -> Callable[[Path], None]:
    def damage(episode: Path) -> None:
        moments = read_moments(episode)
        moments[5].misc[key] = value
        rewrite_moments(episode, moments)

    return damage


def truncate(name: str) -> Callable[[Path], None]:
    return lambda episode: (episode / name).write_bytes((episode / name).read_bytes()[:-60]) and None


def resize(name: str, mode: str = "RGB", size: tuple[int, int] = (6, 6)) -> Callable[[Path], None]:
    return lambda episode: Image.new(mode, size).save(episode / name)


NOT_A_POSE = np.full(7, np.nan)
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated colour": (truncate("front_rgb/3.png"), r"front_rgb/3\.png is not a whole PNG"),
    "truncated depth": (truncate("wrist_depth/9.png"), r"wrist_depth/9\.png is not a whole PNG"),
    "empty picture": (lambda e: (e / "front_rgb/0.png").write_bytes(b"") and None, r"front_rgb/0\.png is not a whole"),
    "missing frame": (lambda e: (e / "front_rgb/4.png").unlink(), r"front_rgb/4\.png is missing: 10 frames"),
    "missing last frame": (lambda e: (e / "wrist_depth/9.png").unlink(), r"wrist_depth/9\.png is missing"),
    "one too many": (lambda e: shutil.copy(e / "front_rgb/0.png", e / "front_rgb/10.png") and None, "one too many"),
    "missing folder": (lambda e: shutil.rmtree(e / "front_depth"), "front_depth is missing"),
    "other size": (resize("front_rgb/7.png"), r"front_rgb/7\.png is 6x6, the pictures before it are 12x10"),
    "depth of another size": (resize("front_depth/0.png"), r"front_depth/0\.png is 6x6"),
    "grey picture": (resize("front_rgb/7.png", "L", (12, 10)), r"front_rgb/7\.png has the colour mode L"),
    "truncated pickle": (truncate("low_dim_obs.pkl"), r"low_dim_obs\.pkl is not a whole pickle"),
    "no pickle": (lambda e: (e / "low_dim_obs.pkl").unlink(), r"low_dim_obs\.pkl"),
    "no observations": (lambda e: rewrite_moments(e, []), "holds no recorded observations"),
    "one observation": (lambda e: rewrite_moments(e, read_moments(e)[:1]), "there is no keyframe"),
    "fewer observations": (lambda e: rewrite_moments(e, read_moments(e)[:9]), r"front_rgb/9\.png is one too many"),
    "another pickle": (lambda e: write_pickle(e / "low_dim_obs.pkl", [1, 2]), "holds no recorded observations"),
    "a list of numbers": (lambda e: rewrite_moments(e, [1, 2]), "frame 0: this is not an observation"),
    "NaN pose": (change("gripper_pose", NOT_A_POSE), r"low_dim_obs\.pkl, frame 5: 'gripper_pose'"),
    "short pose": (change("gripper_pose", np.zeros(6)), r"frame 5: 'gripper_pose' should be .*shape \(7,\)"),
    "zero quaternion": (change("gripper_pose", np.zeros(7)), "not of length 1"),
    "no velocities": (change("joint_velocities", None), "'joint_velocities' .* absent"),
    "text for a number": (change("gripper_open", "wide"), "'gripper_open' is not made of numbers"),
    "no cameras": (change("misc", None), "frame 5: this is not an observation of RLBench with its cameras"),
    "no intrinsics": (change_misc("front_camera_intrinsics", None), "'front_camera_intrinsics' .* absent"),
    "infinite camera pose": (
        change_misc("wrist_camera_extrinsics", np.full((4, 4), np.inf)),
        "wrist_camera_extrinsics",
    ),
    "a sheared camera": (change_misc("front_camera_extrinsics", np.tri(4)), "is not a rotation"),
    "near behind far": (change_misc("front_camera_near", 5.0), "sees from 5.0 m to 4.5 m"),
    "other intrinsics": (change_misc("front_camera_intrinsics", np.diag([-20.0, -20, 1])), "does not fit pictures"),
    "no variation": (lambda e: (e / "variation_number.pkl").unlink(), r"variation_number\.pkl"),
    "variation in words": (lambda e: write_pickle(e / "variation_number.pkl", "two"), "the number of a variation"),
    "no texts": (lambda e: write_pickle(e / "variation_descriptions.pkl", []), "a list of instructions"),
    "no file of texts": (lambda e: (e / "variation_descriptions.pkl").unlink(), r"variation_descriptions\.pkl"),
    "no pictures": (lambda e: [shutil.rmtree(f) for f in e.iterdir() if f.is_dir()] and None, "no pictures of any"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_with_its_file(episode: Path, what: str) -> None:
    damage, message = DAMAGE[what]
    damage(episode)
    with pytest.raises(DataError, match=message) as raised:
        read(episode)
    assert str(episode) in str(raised.value)


def test_recordings_are_found_from_every_level_in_natural_order(tmp_path: Path) -> None:
    places = (
        "a/all_variations/episodes/episode10",
        "a/all_variations/episodes/episode9",
        "b/variation3/episodes/episode0",
    )
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "a" / "notes").mkdir()

    def found(root: str, tasks: tuple[str, ...] | None = None) -> list[tuple[str, str, int | None]]:
        return [(r.task, r.folder.name, r.variation) for r in find_recordings(tmp_path / root, tasks).recordings]

    of_a = [("a", "episode9", None), ("a", "episode10", None)]
    assert found(".") == [*of_a, ("b", "episode0", 3)]
    assert found("a") == found("a/all_variations") == found("a/all_variations/episodes") == found(".", ("a",)) == of_a
    assert found("b/variation3/episodes/episode0") == [("b", "episode0", 3)]
    for root, tasks, message in (
        ("nowhere", None, "not a folder"),
        ("a/notes", None, "no recorded episode"),
        (".", ("c",), r"no episode of \['c'\]; it has \['a', 'b'\]"),
    ):
        with pytest.raises(DataError, match=message):
            found(root, tasks)


def test_a_folder_in_a_wrong_place_is_told_beside_the_episodes(tmp_path: Path) -> None:
    (tmp_path / "a/old/episodes/episode0").mkdir(parents=True)
    with pytest.raises(DataError, match="cannot tell its task and variation"):
        find_recordings(tmp_path)
    (tmp_path / "a/variation0/episodes/episode0").mkdir(parents=True)
    found = find_recordings(tmp_path)
    assert [recording.folder.parts[-3] for recording in found.recordings] == ["variation0"]
    (stray,) = found.strays
    assert stray.startswith(f"{tmp_path / 'a/old/episodes/episode0'}: cannot tell")


def test_upstream_keeps_variation_and_texts_in_the_folders_above(tmp_path: Path) -> None:
    folder = tmp_path / "open_drawer" / "variation1" / "episodes" / "episode0"
    write_recording(folder, variation=None)
    (folder / "variation_descriptions.pkl").rename(
        tmp_path / "open_drawer" / "variation1" / "variation_descriptions.pkl"
    )
    (recording,) = find_recordings(tmp_path).recordings
    demonstration = read_recording(recording, ReadOptions())
    assert demonstration.variation == 1
    assert demonstration.instructions == ("pull the thing", "open it")
    write_pickle(folder / "variation_number.pkl", 2)
    with pytest.raises(DataError, match="says variation 2"):
        read_recording(recording, ReadOptions())


def test_real_clouds_of_all_cameras_meet_on_the_table(real_episodes: Path) -> None:
    demonstration = read_recording(find_recordings(real_episodes).recordings[0], ReadOptions())
    for view in demonstration.observations[0].views.values():
        depth_m, camera = torch.from_numpy(view.depth_m).double(), view.camera
        points = unproject(depth_m, torch.from_numpy(camera.intrinsics), torch.from_numpy(camera.world_from_camera))
        on_table = points[..., 2].flatten()
        on_table = on_table[(on_table - 0.75).abs() < 0.01]
        assert len(on_table) > 3000
        assert abs(float(on_table.median()) - 0.75) < 2e-4
