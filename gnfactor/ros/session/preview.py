"""A picture of what an action would do, over what every camera sees, for the person who is asked about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from gnfactor.kinematics import between, line
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotView
from gnfactor.ros.plan import Plan
from gnfactor.ros.session.drawing import Colour, draw_gripper, draw_way, enlarge, gripper_boxes
from gnfactor.video import Picture, caption, outlined

ALLOWED: Colour = (60, 220, 90)
REFUSED: Colour = (235, 60, 50)
MEASURED: Colour = (255, 255, 255)
_HEIGHT = 480
"""Of a camera's picture, in pixels; larger ones stay as they are."""
_COLUMNS = 2
_LETTERS = 15
_BACKGROUND = (24, 24, 28)


def draw_plan(plan: Plan, config: RobotConfig, lines: Sequence[str]) -> Picture:
    """Every camera's picture with the measured gripper (white), the way, and the gripper at its target.

    What the guard allows is green, what it refuses red.

    Args:
        plan: the action with its verdict.
        config: of the robot; its guard says how large the gripper is.
        lines: what to write below the pictures.
    """
    colour = ALLOWED if plan.verdict.ok else REFUSED
    panels = [caption(_panel(view, plan, config, colour), [name], size=_LETTERS) for name, view in plan.views.items()]
    return outlined(caption(_grid(panels), lines, size=_LETTERS), colour)


def step_lines(plan: Plan) -> tuple[str, ...]:
    """An action in words: what the guard says, where to, how far, the fingers, contact."""
    verdict = "the guard allows it" if plan.verdict.ok else f"REFUSED: {plan.verdict.reason}"
    target = plan.target
    if target is None:
        return verdict, f"an action for the arms {sorted(plan.action.arms)}"
    place = ", ".join(f"{value:.3f}" for value in np.asarray(target.world_from_gripper)[:3, 3])
    distance_m, turn_rad = (np.nan, np.nan) if plan.goal is None else between(plan.start, plan.goal)
    fingers = "open" if target.gripper_open else "closed"
    contact = "accepted" if target.ignore_collisions else "to be avoided"
    step = (
        f"to ({place}) m: {distance_m:.3f} m and "
        f"{np.rad2deg(turn_rad):.0f} deg away; fingers {fingers} (now {plan.state.width_m * 1000:.0f} mm); "
        f"contact on the way {contact}"
    )
    return verdict, step


def _panel(view: RobotView, plan: Plan, config: RobotConfig, colour: Colour) -> Picture:
    picture, camera = enlarge(view.rgb, view.camera, _HEIGHT)
    open_m = config.executor.gripper.open_width_m
    if plan.is_measured:
        now = gripper_boxes(config.guard, open_m, float(np.clip(plan.state.width_m, 0, open_m)))
        picture = draw_gripper(picture, camera, plan.start, now, MEASURED, opacity=0.0)
    if plan.target is None or plan.goal is None:
        return picture
    if plan.is_measured:
        way = line(plan.start, plan.goal)[:, :3, 3]
        picture = draw_way(picture, camera, way, colour, dashed=config.executor.name == "moveit")
    there = gripper_boxes(config.guard, open_m, open_m if plan.target.gripper_open else 0.0)
    return draw_gripper(picture, camera, plan.goal, there, colour)


def _grid(panels: Sequence[Picture]) -> Picture:
    """Pictures of any sizes in rows, left and top aligned."""
    rows = [panels[first : first + _COLUMNS] for first in range(0, len(panels), _COLUMNS)]
    width = max(sum(panel.shape[1] for panel in row) for row in rows)
    heights = [max(panel.shape[0] for panel in row) for row in rows]
    canvas = Image.new("RGB", (width, sum(heights)), _BACKGROUND)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            canvas.paste(Image.fromarray(panel), (left, top))
            left += panel.shape[1]
        top += height
    return np.array(canvas)
