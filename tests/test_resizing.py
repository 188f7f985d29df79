"""Pictures of a robot's cameras, brought to a policy's size: every pixel still shows what lies behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.errors import ObservationError
from gnfactor.geometry import project, unproject
from gnfactor.resizing import fit_camera, fit_view, middle_crop
from gnfactor.scene import Camera, View
from tests.fake_env import make_camera, render

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def camera_of(width: int, height: int) -> Camera:
    seen = make_camera("front", np.eye(4), (width, height))
    return Camera(seen.intrinsics * [[1.3], [0.8], [1]], seen.world_from_camera, width, height)


def numbered(width: int, height: int) -> View:
    """Depth and label tell which pixel they come from."""
    v, u = np.mgrid[:height, :width]
    number = v * width + u
    return View(camera_of(width, height), np.zeros((height, width, 3), np.uint8), 1.0 + number, number.astype(np.int32))


def old_pixels(old: Camera, new: Camera) -> np.ndarray:
    """Where in the old picture the rays of the new one's pixels meet it, (height, width, 2)."""
    depth_m = torch.ones(new.height, new.width, dtype=torch.float64)
    points = unproject(depth_m, torch.from_numpy(new.intrinsics), torch.from_numpy(new.world_from_camera))
    flat = points.reshape(-1, 3)
    pixels, _ = project(flat, torch.from_numpy(old.intrinsics), torch.from_numpy(old.world_from_camera))
    return pixels.reshape(new.height, new.width, 2).numpy()


@given(sizes, st.integers(0, 40), st.integers(0, 40))
def test_every_depth_lies_within_half_an_old_pixel_of_its_new_ray(
    wanted: tuple[int, int], more_width: int, more_height: int
) -> None:
    view = numbered(wanted[0] + more_width, wanted[1] + more_height)
    fitted = fit_view("front", view, wanted)
    assert fitted.segmentation is not None
    came_from = np.stack((fitted.segmentation % view.camera.width, fitted.segmentation // view.camera.width), -1)
    assert np.abs(old_pixels(view.camera, fitted.camera) - came_from).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(fitted.depth_m, 1.0 + fitted.segmentation)


@given(st.tuples(st.integers(4, 20), st.integers(4, 20)), st.integers(0, 60), st.integers(0, 60))
def test_colours_stay_on_their_rays(wanted: tuple[int, int], more_width: int, more_height: int) -> None:
    width, height = wanted[0] + more_width, wanted[1] + more_height
    v, u = np.mgrid[:height, :width]
    ramp = np.stack((u * 255 / (width - 1), v * 255 / (height - 1), 0 * u), -1)
    view = View(camera_of(width, height), np.round(ramp).astype(np.uint8), np.ones((height, width)))
    fitted = fit_view("front", view, wanted)
    expected = old_pixels(view.camera, fitted.camera) * (255 / (width - 1), 255 / (height - 1))
    border = 2  # beyond it a filter reaches over the picture's edge
    inside = (slice(border, -border), slice(border, -border))
    tenth_of_a_pixel = 0.1 * 255 / (min(width, height) - 1)
    np.testing.assert_allclose(fitted.rgb[inside][..., :2], expected[inside], atol=1 + tenth_of_a_pixel)


@given(sizes, sizes)
def test_what_is_kept_is_as_large_as_can_be_and_has_the_wanted_shape(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    crop = middle_crop(*size, wanted)
    assert crop.width == size[0] or crop.height == size[1]
    assert 0 <= crop.left <= size[0] - crop.width
    assert 0 <= crop.top <= size[1] - crop.height
    assert abs(crop.width * wanted[1] / wanted[0] - crop.height) <= max(wanted[1] / wanted[0], 1)


def test_a_wide_picture_of_a_common_camera_by_hand() -> None:
    intrinsics = np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]])
    fitted = fit_camera(Camera(intrinsics, np.eye(4), 640, 480), (128, 128))
    # 480 of 480 rows and columns 80 to 559 stay; 480 / 128 = 3.75 old pixels each. The middle stays the middle.
    np.testing.assert_allclose(fitted.intrinsics, [[160, 0, 63.5], [0, 160, 63.5], [0, 0, 1]])


def test_a_plane_seen_through_the_fitted_camera_is_the_plane() -> None:
    wide = render(make_camera("front", np.eye(4), (160, 120)), {})
    fitted = fit_view("front", View(wide.camera, wide.rgb, wide.depth_m), (32, 32))
    direct = render(fitted.camera, {})
    seen = (fitted.depth_m > 0) & (direct.depth_m > 0)
    assert seen.mean() > 0.5
    # half an old pixel beside the ray: the plane is that much nearer or farther there
    assert np.abs(fitted.depth_m - direct.depth_m)[seen].max() < 0.03


def test_a_view_of_the_right_size_is_left_alone_and_a_smaller_one_is_refused() -> None:
    view = numbered(8, 6)
    assert fit_view("front", view, (8, 6)) is view
    with pytest.raises(ObservationError, match="'front' gives 8x6 pixels, the policy was trained on 16x16"):
        fit_view("front", view, (16, 16))
