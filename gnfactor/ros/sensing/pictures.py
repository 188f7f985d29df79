"""Pixels of sensor_msgs/Image and CompressedImage, and the intrinsics of sensor_msgs/CameraInfo."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import atan, hypot
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError

from gnfactor.errors import RobotError

COLORS = {"rgb8": (3, [0, 1, 2]), "bgr8": (3, [2, 1, 0]), "rgba8": (4, [0, 1, 2]), "bgra8": (4, [2, 1, 0])}
"""Channels of a pixel, and which of them are red, green and blue."""
DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
"""The number that a pixel is."""
_SAMPLES = 21
"""Points along each side of a picture at which distortion is looked at."""


def decode_color(topic: str, message: Any) -> UInt8[np.ndarray, "height width 3"]:
    """Colours of an Image, or of a CompressedImage (PNG or JPEG).

    Raises:
        RobotError: the encoding is none of `COLORS`, or the data is damaged.
    """
    if hasattr(message, "format"):
        return _decompressed(topic, message)
    if message.encoding not in COLORS:
        raise RobotError(_unknown(topic, message.encoding, "colour", COLORS))
    channels, order = COLORS[message.encoding]
    rows = _rows(topic, message, channels)
    return np.ascontiguousarray(rows.reshape(message.height, message.width, channels)[..., order])


def decode_depth(topic: str, message: Any, scale: float) -> Float[np.ndarray, "height width"]:
    """Metres of an Image of depth; whole numbers are multiplied by `scale`.

    Raises:
        RobotError: the encoding is none of `DEPTHS`, or the data is damaged.
    """
    encoding = getattr(message, "encoding", getattr(message, "format", ""))
    if encoding not in DEPTHS:
        raise RobotError(_unknown(topic, encoding, "depth", DEPTHS))
    number = np.dtype(DEPTHS[encoding]).newbyteorder(">" if message.is_bigendian else "<")
    rows = _rows(topic, message, number.itemsize)
    values = np.ascontiguousarray(rows).view(number).reshape(message.height, message.width).astype(np.float32)
    return values if number.kind == "f" else values * np.float32(scale)


@dataclass(frozen=True, eq=False)
class Lens:
    """What a CameraInfo says about pictures without distortion."""

    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels."""
    width: int
    height: int


def lens_of(topic: str, info: Any, *, rectified: bool, max_distortion_px: float) -> Lens:
    """The pinhole camera of a sensor_msgs/CameraInfo of ROS 1 (K, D, P) or 2 (k, d, p).

    Args:
        topic: named in errors.
        info: the message.
        rectified: whether the driver has taken the distortion out; then P holds, not K and D.
        max_distortion_px: by how much distortion may move a pixel anywhere in the picture, to be left out.

    Raises:
        RobotError: the intrinsics are no pinhole camera's, or the distortion is not negligible.
    """
    matrix = np.array(_either(info, "P"), np.float64).reshape(3, 4)[:, :3] if rectified else _matrix(info)
    name = "P" if rectified else "K"
    plausible = np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0
    if not (plausible and matrix[2].tolist() == [0, 0, 1] and info.width > 0 and info.height > 0):
        raise RobotError(
            f"{topic} says {name} = {np.round(matrix, 3).tolist()} for {info.width} x {info.height} pixels; finite "
            "numbers with positive focal lengths are expected: is the camera calibrated?"
        )
    lens = Lens(matrix, int(info.width), int(info.height))
    if not rectified:
        _refuse_distortion(topic, info, lens, max_distortion_px)
    return lens


def _matrix(info: Any) -> Float[np.ndarray, "3 3"]:
    return np.array(_either(info, "K"), np.float64).reshape(3, 3)


def _either(info: Any, name: str) -> Any:
    """A field that ROS 1 writes in capitals and ROS 2 does not."""
    return getattr(info, name) if hasattr(info, name) else getattr(info, name.lower())


def _refuse_distortion(topic: str, info: Any, lens: Lens, max_distortion_px: float) -> None:
    coefficients = np.array(_either(info, "D"), np.float64)
    if not coefficients.any():  # not a number is true
        return
    shift_px = distortion_px(info.distortion_model, coefficients, lens)
    if shift_px is None:
        found = f"distortion of the model '{info.distortion_model}', which is not known here"
    elif shift_px > max_distortion_px or not np.isfinite(shift_px):
        found = f"a distortion of up to {shift_px:.1f} pixels; at most {max_distortion_px} are neglected"
    else:
        return
    raise RobotError(
        f"{topic} says D = {coefficients.tolist()}: {found}. Have the driver or image_proc rectify colour and depth, "
        "name those topics and set rectified: true"
    )


def distortion_px(model: str, coefficients: Float[np.ndarray, "terms"], lens: Lens) -> float | None:
    """By how much a lens moves the pixel that it moves farthest; None for a model that is not known.

    Models and coefficients as in sensor_msgs/CameraInfo: plumb_bob (k1 k2 p1 p2 k3), rational_polynomial
    (then k4 k5 k6) and equidistant (k1 k2 k3 k4).
    """
    terms = np.zeros(8)
    terms[: min(len(coefficients), 8)] = coefficients[:8]
    shift = {"plumb_bob": _polynomial, "rational_polynomial": _polynomial, "equidistant": _equidistant}.get(model)
    if shift is None:
        return None
    matrix = lens.intrinsics
    farthest_px = 0.0
    for u in np.linspace(0, lens.width - 1, _SAMPLES):
        for v in np.linspace(0, lens.height - 1, _SAMPLES):
            x, y = (u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1]
            moved_x, moved_y = shift(float(x), float(y), terms)
            moved_px = hypot((moved_x - x) * matrix[0, 0], (moved_y - y) * matrix[1, 1])
            farthest_px = max(farthest_px, moved_px) if np.isfinite(moved_px) else float("inf")
    return farthest_px


def _polynomial(x: float, y: float, terms: Float[np.ndarray, "8"]) -> tuple[float, float]:
    """Brown's model (1966), its radial part a quotient of polynomials."""
    k1, k2, p1, p2, k3, k4, k5, k6 = terms
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y


def _equidistant(x: float, y: float, terms: Float[np.ndarray, "8"]) -> tuple[float, float]:
    """Fish eye (Kannala and Brandt 2006): the angle to the axis becomes the distance from the centre."""
    r = hypot(x, y)
    if r == 0:
        return x, y
    angle = atan(r)
    k1, k2, k3, k4 = terms[:4]
    a2 = angle * angle
    share = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4)))) / r
    return x * share, y * share


def _rows(topic: str, message: Any, pixel_bytes: int) -> UInt8[np.ndarray, "height row"]:
    """Bytes of every row, without those that only fill it up."""
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if min(height, width) < 1 or step < width * pixel_bytes or len(data) < height * step:
        raise RobotError(
            f"{topic} sent {len(data)} bytes for {width} x {height} pixels of {pixel_bytes} bytes in rows of {step}; "
            f"{height} rows of at least {width * pixel_bytes} bytes are expected: the picture is cut off or mislabelled"
        )
    return data[: height * step].reshape(height, step)[:, : width * pixel_bytes]


def _decompressed(topic: str, message: Any) -> UInt8[np.ndarray, "height width 3"]:
    try:
        with Image.open(BytesIO(bytes(message.data)), formats=("PNG", "JPEG")) as picture:
            return np.array(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RobotError(
            f"{topic} sent {len(message.data)} bytes of format '{message.format}', no whole PNG or JPEG: {error}"
        ) from error


def _unknown(topic: str, encoding: str, what: str, known: Any) -> str:
    return (
        f"{topic} sends pictures encoded as '{encoding}'; for {what}, one of {', '.join(known)} is expected: name the "
        "topic that has it, or change the driver's settings"
    )
