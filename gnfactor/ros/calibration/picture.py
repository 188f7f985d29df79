"""A camera's picture with the hand drawn where it must be, and arrows to where it is seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from gnfactor.ros.calibration.camera_check import CameraReport
from gnfactor.ros.calibration.hand_model import hand_boxes
from gnfactor.ros.calibration.hand_search import Sighting
from gnfactor.ros.calibration.looking import Look
from gnfactor.ros.session.drawing import Colour, draw_gripper, enlarge
from gnfactor.scene import Camera
from gnfactor.video import Picture, caption, outlined, side_by_side

PASSED: Colour = (60, 220, 90)
FAILED: Colour = (235, 60, 50)
SEEN: Colour = (80, 170, 255)
_HEIGHT = 480
_COLUMNS = 3
_HEAD_PX = 6


def draw_check(report: CameraReport, looks: Sequence[Look]) -> Picture:
    """Every pose as the camera saw it: the hand's outline as predicted, and again, in blue, as it was found.

    The arrow goes from the middle of the one to that of the other, ten times as long as it is. The outline is green
    where the camera passed and red where it failed; a pose in which the hand was not found has a red one alone.
    """
    colour = PASSED if report.passed else FAILED
    panels = [
        _panel(look, sighting, report.name, number, colour)
        for number, (look, sighting) in enumerate(zip(looks, report.sightings, strict=True), start=1)
    ]
    rows = [side_by_side(panels[i : i + _COLUMNS], panels[0].shape[0]) for i in range(0, len(panels), _COLUMNS)]
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
    lines = [f"'{report.name}' {'passed' if report.passed else 'FAILED'}", *([report.advice] if report.advice else [])]
    return outlined(caption(sheet, lines), colour)


def _panel(look: Look, sighting: Sighting | None, name: str, number: int, colour: Colour) -> Picture:
    view = look.views[name]
    picture, camera = enlarge(view.rgb, view.camera, _HEIGHT)
    boxes = hand_boxes(look.state.finger_positions_m)
    if sighting is None:
        drawn = draw_gripper(picture, camera, look.world_from_gripper, boxes, FAILED, opacity=0.0)
        return caption(drawn, [f"pose {number}: the hand was not found"], rows=1)
    seen = look.world_from_gripper.copy()
    seen[:3, 3] += camera.world_from_camera[:3, :3] @ sighting.shift_m
    drawn = draw_gripper(picture, camera, look.world_from_gripper, boxes, colour, opacity=0.0)
    drawn = draw_gripper(drawn, camera, seen, boxes, SEEN, opacity=0.0)
    return caption(
        _with_arrow(drawn, camera, sighting), [f"pose {number}: {sighting.distance_m * 1000:.1f} mm"], rows=1
    )


def _with_arrow(picture: Picture, camera: Camera, sighting: Sighting) -> Picture:
    """From the middle of the hand as predicted, ten times the way to where it is seen."""
    start, seen = sighting.pixels(camera)
    way: Float[np.ndarray, "2"] = 10 * (seen - start)
    length = float(np.linalg.norm(way))
    if length < 1:
        return picture
    along = way / length
    across = np.array([-along[1], along[0]])
    tip = start + way
    head = [tip, *(tip - _HEAD_PX * (2 * along + side * across) for side in (-1, 1))]
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    draw.line([tuple(start), tuple(tip)], fill=SEEN, width=2)
    draw.polygon([tuple(corner) for corner in head], fill=SEEN)
    return np.array(canvas)
