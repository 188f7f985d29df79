"""Grippers over pictures: where they are drawn is where the camera would see them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.kinematics import rotation_of
from gnfactor.ros.config import GuardConfig
from gnfactor.ros.session.drawing import draw_gripper, draw_way, enlarge, gripper_boxes
from gnfactor.scene import Camera
from tests.fake_env import make_camera

GUARD = GuardConfig()
OPEN_M = 0.08
CAMERA = make_camera("front", np.eye(4), (160, 120))
BLACK = np.zeros((120, 160, 3), np.uint8)
GREEN = (60, 220, 90)
small = st.floats(-0.4, 0.4)
turns = st.tuples(small, small, small)
places = st.tuples(st.floats(-0.1, 0.1), small, st.floats(0.8, 1.2))


def pixels(camera: Camera, points: np.ndarray) -> np.ndarray:
    in_camera = (points - camera.world_from_camera[:3, 3]) @ camera.world_from_camera[:3, :3]
    homogeneous = in_camera @ camera.intrinsics.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def corners(boxes: np.ndarray, pose: np.ndarray) -> np.ndarray:
    ends = np.array(
        [[box[i, 0], box[j, 1], box[k, 2]] for box in boxes for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    return ends @ pose[:3, :3].T + pose[:3, 3]


@given(
    st.tuples(small, small, small), st.tuples(st.floats(-0.1, 0.1), small, st.floats(0.8, 1.2)), st.floats(0, OPEN_M)
)
def test_a_gripper_is_painted_where_its_corners_project_and_nowhere_else(
    turn: tuple[float, float, float], place: tuple[float, float, float], width_m: float
) -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_of(np.array(turn)), place
    boxes = gripper_boxes(GUARD, OPEN_M, width_m)
    painted = np.argwhere((draw_gripper(BLACK, CAMERA, pose, boxes, GREEN) > 0).any(-1))[:, ::-1]
    expected = pixels(CAMERA, corners(boxes, pose))
    low, high = np.clip(expected.min(0), 0, (159, 119)), np.clip(expected.max(0), 0, (159, 119))
    assert (painted >= low - 3).all()
    assert (painted <= high + 3).all()
    if len(painted):
        np.testing.assert_allclose((painted.min(0), painted.max(0)), (low, high), atol=3)


@given(st.floats(0, OPEN_M))
def test_fingers_stand_as_far_apart_as_they_are(width_m: float) -> None:
    _, left, right = gripper_boxes(GUARD, OPEN_M, width_m)
    np.testing.assert_allclose(left[0, 1] - right[1, 1], width_m, atol=1e-12)
    np.testing.assert_allclose(left[1] - left[0], right[1] - right[0])


def test_open_fingers_fill_the_guards_box() -> None:
    _, left, right = gripper_boxes(GUARD, OPEN_M, OPEN_M)
    np.testing.assert_allclose(np.maximum(left[1], right[1]), GUARD.fingers_upper)
    np.testing.assert_allclose(np.minimum(left[0], right[0]), GUARD.fingers_lower)


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    behind = CAMERA.world_from_camera.copy()
    behind[:3, 3] -= 0.5 * behind[:3, 2]
    assert not draw_gripper(BLACK, CAMERA, behind, gripper_boxes(GUARD, OPEN_M, OPEN_M), GREEN).any()
    assert not draw_way(BLACK, CAMERA, np.stack((behind[:3, 3], behind[:3, 3] - 0.1 * behind[:3, 2])), GREEN).any()


def test_a_way_that_begins_behind_the_camera_is_drawn_from_where_it_appears() -> None:
    forward, eye = CAMERA.world_from_camera[:3, 2], CAMERA.world_from_camera[:3, 3]
    aside = 0.1 * CAMERA.world_from_camera[:3, 0]
    drawn = draw_way(BLACK, CAMERA, np.stack((eye - 0.2 * forward + aside, eye + 0.8 * forward)), GREEN)
    assert drawn[60, 80].any()  # the end, in the middle of the picture
    assert drawn.any(-1).sum() > 20


def test_a_nearer_face_covers_a_farther_one() -> None:
    pose = CAMERA.world_from_camera.copy()
    pose[:3, 3] += 0.6 * pose[:3, 2]
    box = np.array([[[-0.1, -0.1, 0.0], [0.1, 0.1, 0.3]]])
    solid = draw_gripper(BLACK, CAMERA, pose, box, GREEN, opacity=1.0)
    # The near side reaches 23 pixels from the middle, the far one 15; between them only the dark flanks would show.
    assert (solid[60 - 20 : 60 + 20, 80 - 20 : 80 + 20] == GREEN).all()


def test_an_enlarged_picture_and_its_camera_agree() -> None:
    picture = BLACK.copy()
    picture[40:44, 60:64] = 255
    point = np.array([[0.1, 0.05, 0.76]])
    larger, camera = enlarge(picture, CAMERA, 480)
    assert larger.shape == (480, 640, 3)
    np.testing.assert_allclose(pixels(camera, point) + 0.5, 4 * (pixels(CAMERA, point) + 0.5))
    bright = np.argwhere(larger[..., 0] > 127).mean(0)
    np.testing.assert_allclose(bright + 0.5, (168, 248), atol=0.6)
    assert enlarge(larger, camera, 400)[0] is larger
