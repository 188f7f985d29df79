"""A recorded run as a film: what a camera saw, the measured gripper, the target, and what was said about it.

Pictures are there only for the moments at which the policy was asked; between them the drawn gripper moves over the
last one as the robot's did. Time in which nothing moves is cut short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from gnfactor.ros.config import RobotConfig
from gnfactor.ros.journal import Commanded, Stated
from gnfactor.ros.link import RobotState
from gnfactor.ros.log.report import step_record, words_of
from gnfactor.ros.log.turns import Turn
from gnfactor.ros.session.drawing import Colour, draw_gripper, enlarge, gripper_boxes
from gnfactor.scene import ARM, Camera
from gnfactor.video import Picture, caption

FPS = 10
ALLOWED: Colour = (60, 220, 90)
REFUSED: Colour = (235, 60, 50)
_MEASURED: Colour = (255, 255, 255)
_HEIGHT = 400
_BEFORE_S, _AFTER_S = 1.0, 1.0
"""How long a decision is shown before the motion, and its outcome after it."""
_VERDICT_ROWS, _ROWS = 3, 6
_FARTHEST_M = 100.0


def film(turns: Iterable[Turn], config: RobotConfig, camera: str | None = None) -> Iterator[Picture]:
    """Frames at `FPS`; none for turns without a picture of that camera.

    Args:
        turns: of the run.
        config: of the robot; its guard says how large the gripper is.
        camera: whose pictures; None: the first that there is.
    """
    began_s: float | None = None
    for turn in turns:
        views = {} if turn.observation is None else turn.observation.views
        view = views.get(camera) if camera is not None else next(iter(views.values()), None)
        if view is None:
            continue
        began_s = turn.start.time_s if began_s is None else began_s
        picture, eye = enlarge(view.rgb, view.camera, _HEIGHT)
        yield from _turn_frames(turn, _with_target(turn, picture, eye, config), eye, config, began_s)


def _turn_frames(turn: Turn, picture: Picture, eye: Camera, config: RobotConfig, began_s: float) -> Iterator[Picture]:
    times_s = _moving_times(turn)
    end_s = turn.events[-1].time_s if turn.events else turn.start.time_s
    shown = [
        *((turn.start.time_s, False) for _ in range(round(_BEFORE_S * FPS))),
        *((time_s, False) for time_s in times_s),
        *((end_s, True) for _ in range(round(_AFTER_S * FPS))),
    ]
    for time_s, over in shown:
        state = _state_at(turn, time_s)
        drawn = picture if state is None else _with_gripper(picture, eye, state, config)
        yield _captioned(turn, drawn, time_s - began_s, over)


def _moving_times(turn: Turn) -> Float[np.ndarray, "frames"]:
    """From the first command to the end of the turn."""
    sent = [time_s for time_s, event in turn.of(Commanded) if event.command is not None]
    return np.arange(sent[0], turn.events[-1].time_s, 1 / FPS) if sent else np.zeros(0)


def _state_at(turn: Turn, time_s: float) -> RobotState | None:
    """The newest state at that time."""
    state = turn.start.state
    for noted_s, event in turn.of(Stated):
        if noted_s > time_s:
            break
        state = event.state
    return state


def _with_target(turn: Turn, picture: Picture, eye: Camera, config: RobotConfig) -> Picture:
    target = None if turn.action is None else turn.action.arms.get(ARM)
    if target is None or not _drawable(target.world_from_gripper):
        return picture
    open_m = config.executor.gripper.open_width_m
    boxes = gripper_boxes(config.guard, open_m, open_m if target.gripper_open else 0.0)
    pose = np.asarray(target.world_from_gripper, dtype=np.float64)
    return draw_gripper(picture, eye, pose, boxes, _verdict(turn)[1])


def _with_gripper(picture: Picture, eye: Camera, state: RobotState, config: RobotConfig) -> Picture:
    pose = config.arm.world_from_base.matrix @ state.base_from_gripper
    if not _drawable(pose) or not np.isfinite(state.width_m):
        return picture
    open_m = config.executor.gripper.open_width_m
    boxes = gripper_boxes(config.guard, open_m, float(np.clip(state.width_m, 0, open_m)))
    return draw_gripper(picture, eye, pose, boxes, _MEASURED, opacity=0.0)


def _drawable(pose: Float[np.ndarray, "4 4"]) -> bool:
    return bool(np.isfinite(pose).all()) and float(np.abs(pose).max()) < _FARTHEST_M


def _captioned(turn: Turn, picture: Picture, time_s: float, over: bool) -> Picture:
    verdict, colour = _verdict(turn)
    lines = [turn.instruction, f"{time_s:.1f} s, action {turn.number}"]
    lines += [f"operator: {asked.answer}" for asked in turn.answers]
    lines += [f"FAILURE: {failure.complaint}" for failure in turn.failures[:1]] if over else []
    if over and turn.action is not None and colour != REFUSED:
        lines.append(words_of(step_record(turn, time_s)))
    judged = caption(picture, [verdict], rows=_VERDICT_ROWS, ink=colour)
    return caption(judged, lines, rows=_ROWS)


def _verdict(turn: Turn) -> tuple[str, Colour]:
    if turn.verdict is None:
        return ("the policy has not decided anything yet" if turn.action is None else "not judged"), _MEASURED
    if turn.verdict.reason is None:
        return "the guard allows it", ALLOWED
    return f"REFUSED: {turn.verdict.reason}", REFUSED
