"""The rig: where its cameras stand, what they look at, how it is written, and that its pictures agree in 3D."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.rig import RIG_FORM, WORKSPACE_CENTRE_M, RigConfig, parse_rig, rig_cameras, rig_text
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import ConfigError
from gnfactor.geometry import project, unproject
from gnfactor.scene import Camera, View

FEW = settings(max_examples=25, deadline=None)
CENTRE = np.array(WORKSPACE_CENTRE_M)


def front() -> Camera:
    return tabletop_cameras(np.eye(4), (128, 128), ("front",))["front"]


@st.composite
def rigs(draw: st.DrawFn) -> RigConfig:
    """Any rig above the table."""
    from_deg = draw(st.floats(-360, 360))
    low_deg = draw(st.floats(5, 80))
    return RigConfig(
        kind=draw(st.sampled_from(["arc", "dome"])),
        views=draw(st.integers(1, 5)),
        from_deg=from_deg,
        to_deg=from_deg + draw(st.floats(0, 360)) * (1 - 1e-12),
        low_deg=low_deg,
        high_deg=draw(st.floats(low_deg, 85)),
        radius_m=draw(st.floats(0.8, 3)),
        field_deg=draw(st.floats(20, 120)),
    )


def offsets(cameras: dict[str, Camera]) -> np.ndarray:
    """Positions of the cameras from the workspace's centre."""
    return np.stack([camera.world_from_camera[:3, 3] for camera in cameras.values()]) - CENTRE


def swings_deg(cameras: dict[str, Camera]) -> np.ndarray:
    """Headings of the cameras as seen from the workspace's centre."""
    x, y, _ = offsets(cameras).T
    return np.rad2deg(np.arctan2(y, x))


@FEW
@given(rigs(), st.sampled_from([(128, 128), (64, 48), (30, 90)]))
def test_every_camera_is_level_and_has_the_workspaces_centre_in_its_picture(
    config: RigConfig, image_size: tuple[int, int]
) -> None:
    cameras = rig_cameras(config, image_size)
    assert list(cameras) == [f"rig{index}" for index in range(config.views)]
    for camera in cameras.values():
        rotation = camera.world_from_camera[:3, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) > 0
        assert abs(rotation[2, 0]) < 1e-12, "rows are level"
        assert rotation[2, 1] < 0, "and not upside down"
        pixel, depth = project(
            torch.from_numpy(CENTRE)[None],
            torch.from_numpy(camera.intrinsics),
            torch.from_numpy(camera.world_from_camera),
        )
        assert depth.item() > 0.5
        u, v = pixel[0].tolist()
        assert abs(u - image_size[0] / 2) < 1e-6, "in the middle column"
        assert 0 <= v < image_size[1]
        if config.kind == "dome":
            assert abs(v - image_size[1] / 2) < 1e-6


@FEW
@given(rigs())
def test_an_arc_is_a_circle_at_the_front_cameras_height_and_pitch(config: RigConfig) -> None:
    cameras = rig_cameras(replace(config, kind="arc"), (64, 64))
    for camera, offset in zip(cameras.values(), offsets(cameras), strict=True):
        assert abs(np.hypot(offset[0], offset[1]) - 1.15) < 1e-9
        assert abs(camera.world_from_camera[2, 3] - front().world_from_camera[2, 3]) < 1e-12
        np.testing.assert_allclose(camera.world_from_camera[2, :3], front().world_from_camera[2, :3], atol=1e-12)


@FEW
@given(rigs())
def test_a_dome_lies_on_its_sphere_between_its_elevations_and_headings(config: RigConfig) -> None:
    cameras = rig_cameras(replace(config, kind="dome"), (64, 64))
    away = offsets(cameras)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), config.radius_m)
    elevations_deg = np.rad2deg(np.arcsin(away[:, 2] / config.radius_m))
    assert (elevations_deg > config.low_deg - 1e-6).all()
    assert (elevations_deg < config.high_deg + 1e-6).all()
    past_deg = (swings_deg(cameras) - config.from_deg + 1e-6) % 360
    assert (past_deg < config.to_deg - config.from_deg + 2e-6).all()


def test_the_default_is_the_published_arc() -> None:
    cameras = rig_cameras(RigConfig(), (128, 128))
    angles_deg = swings_deg(cameras)
    assert len(angles_deg) == 20
    np.testing.assert_allclose(angles_deg[[0, -1]], (-59.7, 54.9))
    np.testing.assert_allclose(np.diff(angles_deg), 114.6 / 19)
    published = swings_deg(rig_cameras(RigConfig(views=21), (128, 128)))
    np.testing.assert_allclose(np.diff(published), 5.73)
    for camera in cameras.values():
        np.testing.assert_allclose(camera.intrinsics[0, 0], 64 / np.tan(np.pi / 6))


def test_the_front_camera_is_on_the_arc() -> None:
    (camera,) = rig_cameras(RigConfig(views=1, from_deg=-30.0, to_deg=30.0, field_deg=40.0), (128, 128)).values()
    np.testing.assert_allclose(camera.world_from_camera, front().world_from_camera, atol=1e-12)
    np.testing.assert_allclose(camera.intrinsics, front().intrinsics)


def test_a_swing_worked_by_hand() -> None:
    """A quarter turn to the left of the front camera: above the line through the centre along +y, looking along -y."""
    (camera,) = rig_cameras(RigConfig(views=1, from_deg=90.0, to_deg=90.0), (128, 128)).values()
    np.testing.assert_allclose(camera.world_from_camera[:3, 3], (0.2, 1.15, 1.58), atol=1e-12)
    np.testing.assert_allclose(camera.world_from_camera[:3, 2], (0, -0.9063, -0.4226), atol=1e-4)


@pytest.mark.parametrize("kind", ["arc", "dome"])
def test_no_two_cameras_of_a_whole_turn_stand_in_one_place(kind: str) -> None:
    away = offsets(rig_cameras(RigConfig(kind, 40, -180.0, 180.0), (8, 8)))
    gaps = np.linalg.norm(away[:, None] - away[None], axis=-1) + np.eye(40) * 9
    assert gaps.min() > 0.1


@FEW
@given(rigs())
def test_a_written_rig_reads_back_the_same(config: RigConfig) -> None:
    again = parse_rig(rig_text(config))
    assert again is not None
    assert rig_text(again) == rig_text(config)
    for name, camera in rig_cameras(config, (16, 16)).items():
        np.testing.assert_allclose(
            rig_cameras(again, (16, 16))[name].world_from_camera, camera.world_from_camera, atol=1e-9
        )


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("none", "none"),
        ("arc", "arc:20:-59.7:54.9@60"),
        ("arc:25:-60:55", "arc:25:-60:55@60"),
        ("dome:40@45", "dome:40:-180:180:20:70:1.25@45"),
        ("dome:8:-90:90:30:60:2", "dome:8:-90:90:30:60:2@60"),
    ],
)
def test_what_a_short_word_leaves_out_is_the_default(text: str, whole: str) -> None:
    assert rig_text(parse_rig(text)) == whole


@pytest.mark.parametrize("text", ["", "ring", "None", "arc:", "arc:x", "arc:2.5", "arc:2:a:b", "arc:1:0:1:2", "arc:3@"])
def test_a_word_that_means_no_rig_is_refused_and_told_how(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rig(text)
    assert RIG_FORM in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("arc:0", "rig.views: 0"),
        ("arc:3:50:-50", "rig.from_deg, to_deg: 50 to -50"),
        ("arc:3:0:361", "at most one turn"),
        ("arc:3:nan:10", "rig.from_deg"),
        ("dome:3:0:90:60:30", "rig.low_deg, high_deg: 60 to 30"),
        ("dome:3:0:90:0:91", "rig.low_deg"),
        ("dome:3:0:90:20:70:0", "rig.radius_m: 0"),
        ("arc:3@180", "rig.field_deg: 180"),
    ],
)
def test_a_rig_that_cannot_stand_is_refused_by_the_numbers_name(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_rig(text)
    with pytest.raises(ConfigError, match="arc, dome"):
        RigConfig(kind="ring")


def test_what_two_cameras_see_lies_in_one_place() -> None:
    """What one camera sees lies at the depth that the other has around there, or is hidden from it."""
    demonstration = TabletopEnv((), (96, 96)).record(SeededScene("push_buttons", 0, 41), rig=RigConfig(views=4))
    assert isinstance(demonstration, Demonstration)
    for one, other in permutations(demonstration.target_views[0].values(), 2):
        agree, hidden = compared(one, other)
        assert (agree | hidden).mean() > 0.99
        assert agree.mean() > 0.8


def compared(one: View, other: View) -> tuple[np.ndarray, np.ndarray]:
    """Of each point on a thing in `one` that falls into the other's picture: does it agree, is it hidden from it?"""
    assert one.segmentation is not None
    points = unproject(
        torch.from_numpy(one.depth_m.astype(np.float64)),
        torch.from_numpy(one.camera.intrinsics),
        torch.from_numpy(one.camera.world_from_camera),
    ).numpy()[one.segmentation > 0]
    pixel, depth = (
        part.numpy()
        for part in project(
            torch.from_numpy(points),
            torch.from_numpy(other.camera.intrinsics),
            torch.from_numpy(other.camera.world_from_camera),
        )
    )
    surrounding = [np.floor(pixel).astype(int) + corner for corner in np.ndindex(2, 2)]
    size = (other.camera.width, other.camera.height)
    inside = np.all([((near >= 0) & (near < size)).all(1) for near in surrounding], axis=0)
    seen = np.stack([other.depth_m[near[inside, 1], near[inside, 0]] for near in surrounding])
    seen[seen == 0] = np.inf
    depth, tolerance = depth[inside], 0.005
    hidden = depth > seen.max(0) + tolerance
    return ~hidden & (depth > seen.min(0) - tolerance), hidden
