from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gnfactor.errors import RobotError
from gnfactor.ros.sensing.pictures import COLORS, Lens, decode_color, decode_depth, distortion_px, lens_of
from tests.robot_messages import as_rospy, camera_info, image
from tests.strategies import seeds

PINHOLE = np.array([[50.0, 0, 31.5], [0, 52.0, 23.5], [0, 0, 1]])
LENS = Lens(PINHOLE, 64, 48)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 7))
generations = st.sampled_from([1, 2])


@given(generations, st.sampled_from(sorted(COLORS)), shapes, st.integers(0, 9), seeds, st.booleans())
def test_colour_survives_every_encoding_and_padding(
    ros: int, encoding: str, shape: tuple[int, int], padding: int, seed: int, bytewise: bool
) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    by_letter = dict(zip("rgba", (*np.moveaxis(rgb, -1, 0), np.full(shape, 7, np.uint8)), strict=True))
    encoded = np.stack([by_letter[letter] for letter in encoding[:-1]], -1)
    message = image(ros, 1.0, "f", encoding, encoded, padding=padding)
    decoded = decode_color("/c", as_rospy(message) if bytewise else message)
    np.testing.assert_array_equal(decoded, rgb)
    assert decoded.flags.writeable


@given(generations, st.sampled_from(["16UC1", "mono16"]), shapes, st.integers(0, 9), st.booleans(), seeds)
def test_whole_numbers_of_depth_are_scaled(
    ros: int, encoding: str, shape: tuple[int, int], padding: int, is_bigendian: bool, seed: int
) -> None:
    raw = np.random.default_rng(seed).integers(0, 2**16, shape, np.uint16)
    message = image(ros, 1.0, "f", encoding, raw, padding=padding, is_bigendian=is_bigendian)
    np.testing.assert_allclose(decode_depth("/d", message, 0.00025), raw * 0.00025, rtol=1e-6)


@given(generations, shapes, st.integers(0, 9), st.booleans(), seeds)
def test_floats_of_depth_are_metres(
    ros: int, shape: tuple[int, int], padding: int, is_bigendian: bool, seed: int
) -> None:
    depth_m = np.random.default_rng(seed).choice(np.array([0, 0.5, 1.25, np.nan, np.inf], np.float32), shape)
    message = image(ros, 1.0, "f", "32FC1", depth_m, padding=padding, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(decode_depth("/d", message, 0.001), depth_m)


@pytest.mark.parametrize(("format_", "tolerance"), [("png", 0), ("jpeg", 3)])
def test_compressed_colour_is_read(format_: str, tolerance: int) -> None:
    rgb = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    file = BytesIO()
    Image.fromarray(rgb).save(file, format_)
    message = SimpleNamespace(format=f"rgb8; {format_} compressed bgr8", data=file.getvalue())
    np.testing.assert_allclose(decode_color("/c", message).astype(int), rgb, atol=tolerance)
    message.data = message.data[: len(message.data) // 2]
    with pytest.raises(RobotError, match=r"/c sent .* no whole PNG or JPEG"):
        decode_color("/c", message)


def test_other_encodings_are_refused_with_those_that_are_read() -> None:
    message = image(1, 1.0, "f", "yuv422", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(RobotError, match=r"/c .*'yuv422'; for colour, one of rgb8, bgr8, rgba8, bgra8"):
        decode_color("/c", message)
    with pytest.raises(RobotError, match=r"/d .*'yuv422'; for depth, one of 16UC1, mono16, 32FC1"):
        decode_depth("/d", message, 0.001)
    with pytest.raises(RobotError, match=r"/d .*'png'; for depth"):
        decode_depth("/d", SimpleNamespace(format="png", data=b""), 0.001)


@given(st.integers(1, 47))
def test_a_picture_that_is_cut_off_is_refused(lost: int) -> None:
    message = image(1, 1.0, "f", "rgb8", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(RobotError, match=f"/c sent {48 - lost} bytes for 4 x 4 pixels"):
        decode_color("/c", replace(message, data=message.data[:-lost]))


def test_rows_shorter_than_their_pixels_are_refused() -> None:
    message = image(1, 1.0, "f", "rgb8", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(RobotError, match="rows of 8"):
        decode_color("/c", replace(message, step=8))


@pytest.mark.parametrize("ros", [1, 2])
def test_intrinsics_are_read_of_both_generations(ros: int) -> None:
    lens = lens_of("/i", camera_info(ros, 1.0, "f", PINHOLE, (48, 64)), rectified=False, max_distortion_px=1.0)
    np.testing.assert_array_equal(lens.intrinsics, PINHOLE)
    assert (lens.width, lens.height) == (64, 48)


@pytest.mark.parametrize("wrong", [np.nan, 0.0, -50.0])
def test_intrinsics_that_are_no_cameras_are_refused(wrong: float) -> None:
    matrix = PINHOLE.copy()
    matrix[0, 0] = wrong
    with pytest.raises(RobotError, match=r"/i says K = .*finite numbers with positive focal lengths"):
        lens_of("/i", camera_info(1, 1.0, "f", matrix, (48, 64)), rectified=False, max_distortion_px=1.0)


@pytest.mark.parametrize(
    ("model", "terms", "found"),
    [
        ("plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0), "up to 2.4 pixels; at most 1.0"),
        ("plumb_bob", (float("nan"), 0.0, 0.0, 0.0, 0.0), "up to inf pixels"),
        ("rational_polynomial", (0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0), "up to .* pixels"),
        ("thin_prism", (0.1,), "the model 'thin_prism', which is not known"),
    ],
)
def test_distortion_is_refused_unless_the_driver_took_it_out(model: str, terms: tuple[float, ...], found: str) -> None:
    info = camera_info(1, 1.0, "f", PINHOLE, (48, 64), terms, model)
    with pytest.raises(RobotError, match=found):
        lens_of("/i", info, rectified=False, max_distortion_px=1.0)
    rectified = lens_of("/i", info, rectified=True, max_distortion_px=1.0)
    np.testing.assert_array_equal(rectified.intrinsics, PINHOLE)


def test_distortion_that_moves_no_pixel_is_left_out() -> None:
    info = camera_info(2, 1.0, "f", PINHOLE, (48, 64), (1e-3, 0.0, 0.0, 0.0, 0.0))
    assert lens_of("/i", info, rectified=False, max_distortion_px=1.0).width == 64


def test_distortion_is_the_shift_of_the_corner() -> None:
    x, y = (63 - 31.5) / 50, 23.5 / 52  # by hand: the corner moves by k1 r^2 of its distance from the centre
    expected = 0.1 * (x * x + y * y) * np.hypot(x * 50, y * 52)
    assert distortion_px("plumb_bob", np.array([0.1, 0, 0, 0, 0]), LENS) == pytest.approx(expected)
    info = camera_info(1, 1.0, "f", PINHOLE, (48, 64), (0.1, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(RobotError, match=re.escape(f"{expected:.1f} pixels")):
        lens_of("/i", info, rectified=False, max_distortion_px=0.5)


def test_a_fish_eye_always_distorts() -> None:
    found = distortion_px("equidistant", np.array([1e-9, 0, 0, 0]), LENS)
    corner = np.hypot(31.5 / 50, 23.5 / 52)
    shift = np.arctan(corner) / corner - 1
    assert found == pytest.approx(np.hypot(31.5 * shift, 23.5 * shift), rel=1e-3)
