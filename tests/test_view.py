"""Looking at a field: the way around a scene, its pictures, and the command that draws them."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from synthetic import make_store
from test_novel_views import tiny, tiny_policy

from data.store import Store
from data.view import draw_scene_strip, main
from gnfactor.checkpoint import CheckpointInfo, TrainedOn, checkpoint_path, write_checkpoint
from gnfactor.evaluation.novel_views import KnownFeatures
from gnfactor.evaluation.orbit import heading, middle_camera, nearest, orbit, swung
from gnfactor.evaluation.view_drawing import DepthRange, contact_sheet, fit_feature_colours
from gnfactor.scene import Camera

# The way around


def front() -> Camera:
    pose = np.array([[0, 0, -1, 1.35], [1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
    return Camera(np.eye(3), pose, 4, 4)


def arc(angles: Sequence[float]) -> list[Camera]:
    return [swung(front(), angle) for angle in angles]


@given(st.floats(-3, 3))
def test_a_swing_turns_the_heading_and_keeps_height_distance_and_pitch(angle: float) -> None:
    camera = swung(front(), angle)
    assert (heading(camera) - angle + pi) % (2 * pi) - pi == pytest.approx(0, abs=1e-9)
    position, before = camera.world_from_camera[:3, 3], front().world_from_camera[:3, 3]
    centre = np.array([0.2, 0.0])
    assert position[2] == before[2]
    assert np.linalg.norm(position[:2] - centre) == pytest.approx(np.linalg.norm(before[:2] - centre))
    np.testing.assert_allclose(camera.world_from_camera[2], front().world_from_camera[2], atol=1e-12)
    rotation = camera.world_from_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_the_way_runs_back_and_forth_between_the_outermost_views() -> None:
    cameras = orbit(arc(np.linspace(-1.0, 0.9, 7).tolist()), 40)
    headings = np.array([heading(camera) for camera in cameras])
    assert len(cameras) == 40
    assert (headings.min(), headings.max()) == pytest.approx((-1.0, 0.9))
    assert headings[0] == pytest.approx(-1.0)
    np.testing.assert_allclose(headings[1:], headings[:0:-1], atol=1e-9)  # the same way back, and so a loop
    steps = np.abs(np.diff(headings))
    assert steps.max() == pytest.approx(0.95 * pi / 20, rel=0.01)


@pytest.mark.parametrize("angles", [[-1.0, -0.2, 0.9], [pi - 0.3, pi, -pi + 0.4]])
def test_the_way_passes_through_every_view_of_an_arc(angles: list[float]) -> None:
    cameras = arc(angles)
    way = orbit(cameras, 4000)
    for camera in cameras:
        found = way[nearest(camera, way)]
        np.testing.assert_allclose(found.world_from_camera, camera.world_from_camera, atol=2e-3)


def test_the_middle_camera_is_the_middle_one_also_across_the_half_turn() -> None:
    cameras = arc([pi - 0.5, pi, -pi + 0.6])
    assert middle_camera(cameras) is cameras[1]


def test_a_lone_view_is_swung_to_both_sides() -> None:
    headings = [heading(camera) for camera in orbit([front()], 2)]
    assert headings == pytest.approx([-0.5, 0.5])


# Pictures


def test_near_is_bright_far_is_dark_and_no_reading_black() -> None:
    colours = DepthRange(1.0, 2.0)(np.array([1.0, 1.5, 2.0, 5.0, 0.0])).astype(int)
    brightness = colours.sum(-1)
    assert brightness[0] > brightness[1] > brightness[2] > 0
    assert colours[3].tolist() == colours[2].tolist()
    assert colours[4].tolist() == [0, 0, 0]


@given(st.integers(0, 2**31), st.integers(3, 6))
def test_feature_colours_do_not_depend_on_the_order_and_fill_the_range(seed: int, channels: int) -> None:
    features = np.random.default_rng(seed).normal(size=(100, channels)) * np.arange(channels, 0, -1) ** 2
    colours = fit_feature_colours(features)
    shown = colours(features)
    assert shown.min() == 0
    assert shown.max() == 255
    again = fit_feature_colours(features[::-1])
    np.testing.assert_allclose(again(features).astype(int), shown.astype(int), atol=1)


@pytest.mark.parametrize("channels", [1, 2])
def test_features_of_few_channels_have_colours(channels: int) -> None:
    features = np.random.default_rng(0).normal(size=(50, channels))
    shown = fit_feature_colours(features)(features.reshape(5, 10, channels))
    assert shown.shape == (5, 10, 3)
    assert (shown[..., channels:] == 0).all()
    assert shown[..., 0].max() == 255


def test_a_contact_sheet_holds_every_picture_in_its_place() -> None:
    colours = np.random.default_rng(0).integers(60, 255, (2, 3, 3), np.uint8)
    rows = {
        name: [np.full((8, 16, 3), colours[row, column], np.uint8) for column in range(3)]
        for row, name in enumerate(("true", "rendered"))
    }
    sheet = contact_sheet(rows, ["a", "b", "c"])
    assert sheet.shape == (2 * 160 + 18, 3 * 320 + 18, 3)
    for row in range(2):
        for column in range(3):
            assert sheet[18 + 160 * row + 80, 18 + 320 * column + 160].tolist() == colours[row, column].tolist()


# The command


@pytest.fixture(scope="module")
def field_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run folder with an untrained field that learned features, and its store."""
    folder = tmp_path_factory.mktemp("view")
    store = make_store(folder / "store", episodes=2, tasks=("push",), rig=3)
    features = ("policy.field.network.features=16", "policy.field.loss.feature=1", "data.views.channels=16")
    config = tiny(folder, *features, "data.views.teacher.name=segmentation", "data.views.projection=none")
    write_run(folder / "run", config, Store.open(store))
    return folder / "run", store


def write_run(run: Path, config: object, store: Store) -> None:
    policy = tiny_policy(config)  # type: ignore[arg-type]
    first, second = (info.name for info in store.episodes()[:2])
    trained_on = TrainedOn(("push",), "synthetic", (first,), (second,))
    info = CheckpointInfo(1, tuple(policy.instructions.texts), averaged=False, validation=None, trained_on=trained_on)
    write_checkpoint(checkpoint_path(run, 1), config, info, policy.state_dict(), {})  # type: ignore[arg-type]


def test_the_command_draws_a_sheet_and_a_film_of_an_unseen_episode(
    field_run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, store = field_run
    assert main([str(run), str(store), "--views", "3"]) == 0
    out = run / "views" / "push_variation1_seed1_frame0"
    said = capsys.readouterr().out
    for word in ("PSNR", "SSIM", "depth error", "feature cosine", "push/variation1/seed1, frame 0"):
        assert word in said
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (160 + 18, 6 * 160 + 18)  # one held-out view; colour, depth, features, true and rendered
    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoCapture(str(out / "orbit.webm"))
    frames = 0
    while film.read()[0]:
        frames += 1
    assert frames == 3
    assert film.get(cv2.CAP_PROP_FRAME_WIDTH) == 4 * 240
    film.release()


def test_an_episode_a_frame_and_a_folder_can_be_named(
    field_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, store = field_run
    given = ["--episode", "push/variation0/seed0", "--frame", "12", "--out", str(tmp_path / "out"), "--views", "1"]
    assert main([str(run), str(store), *given]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["orbit.webm", "sheet.png"]
    assert "push/variation0/seed0, frame 12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--episode", "push/variation1/seed2"], ["no episode", "did you mean push/variation1/seed1"]),
        (["--frame", "99"], ["--frame is 99", "0 to 24"]),
        (["--frame", "1"], ["frame 1", "no views to compare", "[0, 10, 12, 20, 24]"]),
        (["--views", "0"], ["--views is 0"]),
    ],
)
def test_wrong_use_is_one_clear_line(
    field_run: tuple[Path, Path], arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, store = field_run
    assert main([str(run), str(store), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_a_checkpoint_without_a_field_and_a_store_without_the_views_are_refused(
    field_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, store = field_run
    plain = make_store(tmp_path / "plain", episodes=2, tasks=("push",))
    assert main([str(run), str(plain)]) == 2
    assert "none of the views ['rig1']" in capsys.readouterr().err

    head = "{network: {width: 8, patch: 2, hidden: [8], rotation_bins: 8}}"
    config = tiny(tmp_path, f"policy.head={head}", "policy.field=null")
    write_run(tmp_path / "run", config, Store.open(store))
    assert main([str(tmp_path / "run"), str(store)]) == 2
    assert "no neural field" in capsys.readouterr().err


def test_a_strip_of_one_scene_is_a_picture(field_run: tuple[Path, Path], tmp_path: Path) -> None:
    _, path = field_run
    store = Store.open(path)
    policy = tiny_policy(tiny(tmp_path))
    info = store.episodes()[0]
    draw_scene_strip(
        policy, tiny(tmp_path, "data.views.held_out=[rig0,rig2]").data, store, info, tmp_path / "new" / "strip.png"
    )
    with Image.open(tmp_path / "new" / "strip.png") as strip:
        assert strip.size == (2 * 160 + 18, 3 * 160 + 18)


def test_features_of_a_view_that_is_known_in_part_are_shown_whole() -> None:
    known = np.zeros((4, 4), np.bool_)
    known[::2, ::2] = True
    features = KnownFeatures(known, np.random.default_rng(0).normal(size=(4, 5)))
    shown = fit_feature_colours(features.feature)(features.filled())
    assert shown.shape == (4, 4, 3)
