"""Keyframes: the few moments of a demonstration at which an action was complete."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

STILL_RAD_S = 0.1
"""A joint slower than this counts as standing."""
_REST_FRAMES = 4
"""After a stop, the next so many frames are no stop again."""
_INTERVALS = 20

KeyframeRule = Callable[[Bool[np.ndarray, "frames"], Float[np.ndarray, "frames joints"]], tuple[int, ...]]
"""From the gripper (open or not) and the joints' velocities (rad/s) of all frames to increasing frame indices >= 1,
of which the last is the last frame."""


def published_keyframes(
    gripper_open: Bool[np.ndarray, "frames"], joint_velocities: Float[np.ndarray, "frames joints"]
) -> tuple[int, ...]:
    """Frames where the gripper changes, where the arm stops, and the last one: the rule of James & Davison
    (Q-attention, RA-L 2022) as PerAct and GNFactor use it.

    The arm stops where all joints stand while the gripper has not changed for two frames and will not in the next;
    near the start the two frames before are taken from the end, as in the published rule. Of two neighbouring
    keyframes at the end only the last is kept.
    """
    is_open: list[bool] = gripper_open.tolist()
    count = len(is_open)
    still = np.abs(joint_velocities).max(-1) <= STILL_RAD_S
    keyframes: list[int] = []
    rest = 0
    for frame in range(count):
        stopped = (
            rest <= 0
            and bool(still[frame])
            and frame < count - 2
            and all(is_open[other] == is_open[frame] for other in (frame - 2, frame - 1, frame + 1))
        )
        rest = _REST_FRAMES if stopped else rest - 1
        changed = frame > 0 and is_open[frame] != is_open[frame - 1]
        if frame > 0 and (stopped or changed or frame == count - 1):
            keyframes.append(frame)
    if len(keyframes) > 1 and keyframes[-1] - keyframes[-2] == 1:
        del keyframes[-2]
    return tuple(keyframes)


def may_be_published_keyframe(is_open: bool, was_open: bool, joint_velocities: Float[np.ndarray, "joints"]) -> bool:
    """Whether a frame can turn out to be one of the `published_keyframes`, from what is known when it is seen.

    Args:
        is_open: the gripper at the frame.
        was_open: the gripper at the frame before.
        joint_velocities: at the frame, rad/s.

    Only the last frame can be a keyframe without this.
    """
    return is_open != was_open or bool(np.abs(joint_velocities).max() <= STILL_RAD_S)


def fixed_interval_keyframes(
    gripper_open: Bool[np.ndarray, "frames"], _joint_velocities: Float[np.ndarray, "frames joints"]
) -> tuple[int, ...]:
    """About twenty frames at equal distances, and the last one, whatever the robot does."""
    count = len(gripper_open)
    step = max(1, count // _INTERVALS)
    return tuple(sorted({*range(step, count, step), count - 1} - {0}))


KEYFRAME_RULES: dict[str, KeyframeRule] = {
    "published": published_keyframes,
    "fixed_interval": fixed_interval_keyframes,
}
