"""A gripper and its way drawn over the picture of a camera, where they are or would be.

Faces are painted from the farthest to the nearest; what hides them in the scene is not known and does not hide them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from gnfactor.resizing import fit_camera
from gnfactor.ros.config import GuardConfig
from gnfactor.scene import Camera
from gnfactor.video import Picture

Colour: TypeAlias = tuple[int, int, int]

_NEAR_M = 0.02
"""What is nearer to a camera than this is not drawn."""
_FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
"""Corners of each side of a box; the bits of a corner's number say which end of x, y and z it is at."""
_DARKEST = 0.5
"""Share of its colour that a face seen edge-on has."""
_DASH = 2
"""Of so many pieces of a dashed line the first is drawn."""


def gripper_boxes(guard: GuardConfig, open_width_m: float, width_m: float) -> Float[np.ndarray, "3 2 3"]:
    """Lower and upper corner of the hand and of each finger, in the gripper's frame.

    Args:
        guard: has the box of the hand and that about the open fingers.
        open_width_m: between the open fingers.
        width_m: between the fingers as they are to be drawn.
    """
    lower, upper = np.array(guard.fingers_lower), np.array(guard.fingers_upper)
    thickness_m = max(upper[1] - open_width_m / 2, 0.005)
    inner, outer = width_m / 2, width_m / 2 + thickness_m
    left = ((lower[0], inner, lower[2]), (upper[0], outer, upper[2]))
    right = ((lower[0], -outer, lower[2]), (upper[0], -inner, upper[2]))
    return np.array([(guard.hand_lower, guard.hand_upper), left, right], dtype=np.float64)


def enlarge(picture: Picture, camera: Camera, height: int) -> tuple[Picture, Camera]:
    """A small picture at `height` pixels, so that lines on it can be seen, and the camera that it is then of."""
    if camera.height >= height:
        return picture, camera
    size = (round(camera.width * height / camera.height), height)
    larger = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    return np.array(larger), fit_camera(camera, size)


def draw_gripper(
    picture: Picture,
    camera: Camera,
    world_from_gripper: Float[np.ndarray, "4 4"],
    boxes: Float[np.ndarray, "boxes 2 3"],
    colour: Colour,
    opacity: float = 0.35,
) -> Picture:
    """A copy of the picture with boxes in the gripper's frame drawn over it, their edges in full colour.

    Args:
        picture: what the camera saw.
        camera: of the picture's size.
        world_from_gripper: where the gripper is to be drawn.
        boxes: lower and upper corner of each.
        colour: of the edges; faces that are seen edge-on are darker.
        opacity: of each face, 0 to 1; 0 draws the edges alone.
    """
    camera_from_gripper = np.linalg.inv(camera.world_from_camera) @ world_from_gripper
    faces = [_transformed(camera_from_gripper, face) for lower, upper in boxes for face in _sides(lower, upper)]
    faces.sort(key=lambda face: -float(np.linalg.norm(face.mean(0))))
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas, "RGBA")  # so that what is drawn is blended in
    for face in faces:
        outline = _pixels(camera, _in_front(face))
        if len(outline) >= 3:
            fill = (*_shaded(colour, face), round(255 * opacity))
            draw.polygon(outline, fill=fill, outline=colour, width=2)
    return np.array(canvas)


def draw_way(
    picture: Picture,
    camera: Camera,
    points: Float[np.ndarray, "points 3"],
    colour: Colour,
    dashed: bool = False,
) -> Picture:
    """A copy of the picture with a line through points of the world (m) drawn over it."""
    camera_from_world = np.linalg.inv(camera.world_from_camera)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    in_camera = _transformed(camera_from_world, points)
    for number in range(len(in_camera) - 1):
        if dashed and number % _DASH:
            continue
        ends = _in_front(in_camera[number : number + 2])
        if len(ends) >= 2:
            draw.line(_pixels(camera, ends), fill=colour, width=2)
    return np.array(canvas)


def _sides(lower: Float[np.ndarray, "3"], upper: Float[np.ndarray, "3"]) -> Iterator[Float[np.ndarray, "4 3"]]:
    corners = np.array([[(lower, upper)[number >> axis & 1][axis] for axis in range(3)] for number in range(8)])
    for side in _FACES:
        yield corners[list(side)]


def _transformed(
    target_from_source: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    return points @ target_from_source[:3, :3].T + target_from_source[:3, 3]


def _in_front(outline: Float[np.ndarray, "corners 3"]) -> Float[np.ndarray, "kept 3"]:
    """The part of an outline (or of a line with two ends) that lies before the camera."""
    kept: list[np.ndarray] = []
    for corner, following in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if corner[2] >= _NEAR_M:
            kept.append(corner)
        if (corner[2] >= _NEAR_M) != (following[2] >= _NEAR_M):
            share = (_NEAR_M - corner[2]) / (following[2] - corner[2])
            kept.append(corner + share * (following - corner))
    return np.array(kept).reshape(-1, 3)


def _pixels(camera: Camera, points: Float[np.ndarray, "points 3"]) -> list[tuple[float, float]]:
    homogeneous = points @ camera.intrinsics.T
    return [(float(u / w), float(v / w)) for u, v, w in homogeneous]


def _shaded(colour: Colour, face: Float[np.ndarray, "4 3"]) -> Colour:
    normal = np.cross(face[1] - face[0], face[3] - face[0])
    middle = face.mean(0)
    facing = abs(float(normal @ middle)) / max(float(np.linalg.norm(normal) * np.linalg.norm(middle)), 1e-12)
    share = _DARKEST + (1 - _DARKEST) * facing
    red, green, blue = (round(share * channel) for channel in colour)
    return red, green, blue
