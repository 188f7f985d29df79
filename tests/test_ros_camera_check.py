"""The gripper, a marker and the table are found where they are, and what is off is seen to be off by as much."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.envs.tabletop.robot import FINGER_BODIES, HAND_BODY
from gnfactor.errors import ConfigError
from gnfactor.kinematics import rotation_of
from gnfactor.ros.calibration.camera_check import CameraReport, check_camera
from gnfactor.ros.calibration.hand_model import hand_boxes, pixels_of, see_hand
from gnfactor.ros.calibration.hand_search import Sighting, find_hand
from gnfactor.ros.calibration.looking import Look
from gnfactor.ros.calibration.marker import marker_error_px
from gnfactor.ros.calibration.table_plane import find_table
from gnfactor.ros.config import GuardConfig, MarkerConfig, PoseConfig
from gnfactor.ros.link import RobotView
from gnfactor.scene import TABLE_HEIGHT_M
from tests.fake_env import make_camera, render
from tests.hand_world import displaced, hand_config, right_looks, studio, with_views

FAR_M = 3.0
DIRECTIONS = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


def moved(offset_m: np.ndarray, turn_deg: float = 0.0, about: np.ndarray | None = None) -> np.ndarray:
    """A wrong pose of the camera; it is turned about the place where it stands."""
    pose = np.eye(4)
    pose[:3, 3] = offset_m
    if about is not None:
        axis = np.array([0.3, 1.0, 0.2])
        pose[:3, :3] = rotation_of(axis / np.linalg.norm(axis) * np.deg2rad(turn_deg))
        pose[:3, 3] += about - pose[:3, :3] @ about
    return pose


def find(look: Look, view: RobotView) -> Sighting | None:
    return find_hand(view, look.world_from_gripper, look.state.finger_positions_m, FAR_M)


@given(left_m=st.floats(0, 0.04), right_m=st.floats(0, 0.04))
def test_the_hand_is_that_of_the_built_in_world(left_m: float, right_m: float) -> None:
    scene = studio()
    scene.data.qpos[scene.arm.finger_qpos] = (left_m, right_m)
    mujoco.mj_kinematics(scene.model, scene.data)
    tip = scene.arm.tip_pose(scene.data)
    bodies = [scene.model.body(name).id for name in (HAND_BODY, *FINGER_BODIES)]
    expected = []
    for geom in np.flatnonzero(np.isin(scene.model.geom_bodyid, bodies)):
        centre = tip[:3, :3].T @ (scene.data.geom_xpos[geom] - tip[:3, 3])
        expected.append([centre - scene.model.geom_size[geom], centre + scene.model.geom_size[geom]])
    assert np.allclose(hand_boxes(np.array([left_m, right_m])), expected, atol=1e-9)


@pytest.mark.parametrize(("name", "unhidden"), [("front", 0.9), ("left_shoulder", 0.25)])
def test_the_predicted_surface_is_what_the_renderer_draws(name: str, unhidden: float) -> None:
    """Where the arm hides the hand from the camera, the picture is nearer than predicted; nowhere is it farther."""
    look = right_looks(3)[2]
    view = look.views[name]
    hand = see_hand(view.camera, look.world_from_gripper, look.state.finger_positions_m, 3000)
    assert hand is not None
    u, v = np.rint(pixels_of(view.camera, hand.surface)).astype(int).T
    gap_m = view.depth_m[v, u] - hand.surface[:, 2]
    assert np.abs(np.median(gap_m[np.abs(gap_m) < 0.02])) < 5e-4
    assert (np.abs(gap_m) < 0.01).mean() > unhidden
    assert (gap_m > 0.02).mean() < 0.1  # pixels on the outline


def test_a_hand_out_of_the_picture_is_not_looked_for() -> None:
    look = right_looks(1)[0]
    camera = look.views["front"].camera
    aside, behind = look.world_from_gripper.copy(), look.world_from_gripper.copy()
    aside[1, 3] += 3.0
    behind[0, 3] += 3.0
    fingers = np.full(2, 0.04)
    assert see_hand(camera, aside, fingers, 500) is None
    assert see_hand(camera, behind, fingers, 500) is None


@given(direction=DIRECTIONS, distance_m=st.floats(0, 0.05), pose=st.integers(0, 2))
@settings(max_examples=5)
def test_a_camera_that_is_not_where_it_is_believed_to_be_is_seen_to_be_off_by_as_much(
    direction: tuple[float, float, float], distance_m: float, pose: int
) -> None:
    look = right_looks(3)[pose]
    offset_m = np.array(direction) / np.linalg.norm(direction) * distance_m
    view = displaced(look.views["front"], moved(offset_m))
    sighting = find(look, view)
    assert sighting is not None
    seen_m = view.camera.world_from_camera[:3, :3] @ sighting.shift_m
    assert np.linalg.norm(seen_m - offset_m) < 0.003


@given(scale=st.floats(0.97, 1.03))
@settings(max_examples=3)
def test_a_wrong_scale_of_the_depth_is_found(scale: float) -> None:
    look = right_looks(2)[1]
    view = look.views["front"]
    sighting = find(look, replace(view, depth_m=(view.depth_m * scale).astype(np.float32)))
    assert sighting is not None
    assert abs(sighting.depth_ratio - scale) < 0.002


def test_noise_holes_and_something_in_front_do_not_matter() -> None:
    look, chance = right_looks(2)[1], np.random.default_rng(0)
    view = look.views["front"]
    depth_m = view.depth_m + chance.normal(0, 0.003, view.depth_m.shape).astype(np.float32) * view.depth_m**2
    depth_m[chance.random(depth_m.shape) < 0.2] = 0
    (u, v), _ = find_pixels(look, view)
    depth_m[: int(v), : int(u)] = 0.5
    sighting = find(look, replace(view, depth_m=depth_m))
    assert sighting is not None
    assert 0.3 < sighting.visible < 0.9
    assert sighting.distance_m < 0.004


def find_pixels(look: Look, view: RobotView) -> tuple[np.ndarray, np.ndarray]:
    sighting = find(look, view)
    assert sighting is not None
    return sighting.pixels(view.camera)


@pytest.mark.parametrize("instead", ["nothing", "wall", "hidden", "elsewhere"])
def test_a_hand_that_is_not_there_is_not_found(instead: str) -> None:
    look = right_looks(2)[1]
    view = look.views["front"]
    if instead == "elsewhere":
        pose = look.world_from_gripper.copy()
        pose[1, 3] += 0.3
        assert find_hand(view, pose, look.state.finger_positions_m, FAR_M) is None
        return
    depth_m = {"nothing": 0.0, "wall": float(find_depth(look, view)), "hidden": 0.3}[instead]
    assert find(look, replace(view, depth_m=np.full_like(view.depth_m, depth_m))) is None


def find_depth(look: Look, view: RobotView) -> float:
    return (np.linalg.inv(view.camera.world_from_camera) @ look.world_from_gripper[:, 3])[2]


def table_view(world_from_wrong: np.ndarray, scale: float = 1.0, name: str = "front") -> RobotView:
    discs = {"red": np.array([0.1, 0.1, TABLE_HEIGHT_M])}
    seen = render(make_camera(name, np.eye(4), (96, 96)), discs)
    return displaced(RobotView(seen.camera, seen.rgb, seen.depth_m * np.float32(scale), 0.0), world_from_wrong)


@given(height_m=st.floats(-0.04, 0.04), tilt_deg=st.floats(0, 4), turn=st.floats(-3, 3), objects=st.booleans())
@settings(max_examples=20)
def test_the_table_is_found_as_high_and_as_steep_as_it_is(
    height_m: float, tilt_deg: float, turn: float, objects: bool
) -> None:
    centre, pose = np.array([0.2, 0.0, TABLE_HEIGHT_M]), np.eye(4)
    pose[:3, :3] = rotation_of(np.deg2rad(tilt_deg) * np.array([np.cos(turn), np.sin(turn), 0]))
    pose[:3, 3] = centre - pose[:3, :3] @ centre + (0, 0, height_m)
    view = table_view(pose)
    if objects:
        depth_m = view.depth_m.copy()
        depth_m[40:60, 40:60] *= 0.95
        view = replace(view, depth_m=depth_m)
    plane = find_table(view, GuardConfig())
    assert plane is not None
    assert abs(plane.tilt_deg - tilt_deg) < 0.1
    assert abs(plane.height_error_m - height_m) < 0.001 + 0.25 * np.deg2rad(tilt_deg)  # its points are not centred


def test_a_scale_of_one_per_cent_lowers_a_table_one_metre_below_by_a_centimetre() -> None:
    plane = find_table(table_view(np.eye(4), scale=1.01, name="overhead"), GuardConfig())
    assert plane is not None  # the camera is 1.25 m above the table
    assert abs(plane.height_error_m + 0.0125) < 3e-4
    assert abs(plane.depth_ratio - 1.01) < 3e-4


def test_where_there_is_no_plane_there_is_no_table() -> None:
    view = table_view(np.eye(4))
    assert find_table(replace(view, depth_m=np.zeros_like(view.depth_m)), GuardConfig()) is None
    assert find_table(replace(view, depth_m=view.depth_m * 5), GuardConfig()) is None


EE_FROM_MARKER = PoseConfig((0.0, 0.0, -0.05), (0.0, 1.0, 0.0, 0.0))
MARKER = MarkerConfig("DICT_4X4_50", 7, 0.06, EE_FROM_MARKER)


def marked(view: RobotView, world_from_ee: np.ndarray) -> RobotView:
    """The view with a marker drawn where it must be, on white paper."""
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    pattern = np.pad(cv2.aruco.generateImageMarker(family, MARKER.id, 240), 40, constant_values=255)
    half = MARKER.size_m / 2
    pose = np.linalg.inv(view.camera.world_from_camera) @ world_from_ee @ MARKER.ee_from_marker.matrix
    corners = np.array([[-half, half, 0, 1], [half, half, 0, 1], [half, -half, 0, 1], [-half, -half, 0, 1]])
    target = pixels_of(view.camera, (corners @ pose.T)[:, :3]).astype(np.float32)
    source = np.array([[39.5, 39.5], [279.5, 39.5], [279.5, 279.5], [39.5, 279.5]], np.float32)
    warp = cv2.getPerspectiveTransform(source, target)
    size = (view.camera.width, view.camera.height)
    paper = cv2.warpPerspective(pattern, warp, size, flags=cv2.INTER_AREA)
    covered = cv2.warpPerspective(np.full_like(pattern, 255), warp, size) > 127
    return replace(view, rgb=np.where(covered[..., None], paper[..., None], view.rgb).astype(np.uint8))


def facing_view() -> tuple[RobotView, np.ndarray]:
    """A large picture, and an end effector whose marker looks into the camera half a metre before it."""
    seen = render(make_camera("front", np.eye(4), (640, 480)), {})
    camera_from_marker = np.eye(4)
    camera_from_marker[:3, :3] = rotation_of(np.array([0.2, 0.1, 0.3])) @ np.diag([1.0, -1.0, -1.0])
    camera_from_marker[:3, 3] = (0.05, -0.03, 0.5)
    world_from_ee = seen.camera.world_from_camera @ camera_from_marker @ np.linalg.inv(EE_FROM_MARKER.matrix)
    return marked(RobotView(seen.camera, seen.rgb, seen.depth_m, 0.0), world_from_ee), world_from_ee


def test_a_marker_is_seen_where_it_must_be() -> None:
    view, world_from_ee = facing_view()
    error_px = marker_error_px(view, world_from_ee, MARKER)
    assert error_px is not None
    assert error_px < 0.7


def test_a_camera_a_centimetre_aside_shows_in_the_marker_by_as_many_pixels() -> None:
    view, world_from_ee = facing_view()
    right = view.camera.world_from_camera[:3, 0]
    error_px = marker_error_px(displaced(view, moved(0.01 * right)), world_from_ee, MARKER)
    expected_px = view.camera.intrinsics[0, 0] * 0.01 / 0.5
    assert error_px is not None
    assert abs(error_px - expected_px) < 1.5


def test_another_marker_is_none_and_an_unknown_family_is_refused() -> None:
    view, world_from_ee = facing_view()
    assert marker_error_px(view, world_from_ee, replace(MARKER, id=8)) is None
    with pytest.raises(ConfigError, match="'DICT_9X9', which OpenCV does not know"):
        marker_error_px(view, world_from_ee, replace(MARKER, dictionary="DICT_9X9"))


def report(world_from_wrong: np.ndarray, scale: float = 1.0, name: str = "front") -> CameraReport:
    def alter(view: RobotView) -> RobotView:
        return displaced(replace(view, depth_m=view.depth_m * np.float32(scale)), world_from_wrong)

    return check_camera(name, [with_views(look, alter) for look in right_looks(3)], hand_config())


def test_a_right_calibration_passes() -> None:
    found = report(np.eye(4))
    assert found.passed, found.findings
    assert [finding.title for finding in found.findings] == [
        *("gripper", "gripper, worst", "depth scale", "table height", "table tilt")
    ]


def test_a_camera_two_centimetres_off_fails_with_the_direction() -> None:
    found = report(moved(np.array([0.0, 0.02, 0.0])))
    failed = {finding.title: finding.value for finding in found.findings if not finding.passed}
    assert failed["gripper"] == pytest.approx(20, abs=1)
    assert "table tilt" not in failed
    assert found.advice is not None
    assert re.search(
        r"\([+-]\d, \+(19|20|21), [+-]\d\) mm in the world's x, y, z from its place in every", found.advice
    )


def test_a_camera_turned_by_two_degrees_fails() -> None:
    about = right_looks(3)[0].views["front"].camera.world_from_camera[:3, 3]
    found = report(moved(np.zeros(3), 2.0, about))
    assert {"gripper", "table tilt"} <= {finding.title for finding in found.findings if not finding.passed}


def test_depth_three_per_cent_too_long_fails_by_its_scale() -> None:
    found = report(np.eye(4), scale=1.03)
    scale = next(finding for finding in found.findings if finding.title == "depth scale")
    assert not scale.passed
    assert scale.value == pytest.approx(3, abs=0.3)


def test_a_camera_that_sees_no_hand_fails() -> None:
    found = report(np.eye(4), scale=0.0)
    assert not found.passed
    assert "found in 0 of 3 poses" in found.findings[0].words


def test_a_camera_of_which_nothing_can_be_measured_fails() -> None:
    config = hand_config()
    blind = replace(config.cameras["front"], sees_gripper=False, sees_table=False)
    found = check_camera("front", right_looks(1), replace(config, cameras={"front": blind}))
    assert not found.passed


def test_a_camera_that_is_too_near_to_the_hand_is_measured_by_the_table() -> None:
    config = hand_config()
    near = replace(config.cameras["front"], sees_gripper=False)
    found = check_camera("front", right_looks(1), replace(config, cameras={"front": near}))
    assert [finding.title for finding in found.findings] == ["table height", "table tilt", "depth scale"]
    assert found.passed
