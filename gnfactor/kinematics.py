"""Where a Franka's gripper is, and which joint positions take it somewhere: NumPy alone, no simulator.

Panda and FR3 share one chain, the manufacturer's public Denavit-Hartenberg parameters. They differ in their limits,
which are data of an `ArmModel`. Joint positions are the manufacturer's (rad). Everything is a pure function of its
arguments: restarts come from a generator seeded anew in every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, cos, pi, sin

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Link:
    """One row of the modified (Craig) Denavit-Hartenberg table (m, rad)."""

    a: float
    d: float
    alpha: float


FRANKA_CHAIN = (
    Link(a=0.0, d=0.333, alpha=0.0),
    Link(a=0.0, d=0.0, alpha=-pi / 2),
    Link(a=0.0, d=0.316, alpha=pi / 2),
    Link(a=0.0825, d=0.0, alpha=pi / 2),
    Link(a=-0.0825, d=0.384, alpha=-pi / 2),
    Link(a=0.0, d=0.0, alpha=pi / 2),
    Link(a=0.088, d=0.0, alpha=pi / 2),
)
FLANGE_M = 0.107
"""From the last joint's frame to the flange, along z."""

_BEFORE_TURN = np.array(
    [
        [
            [1, 0, 0, link.a],
            [0, cos(link.alpha), -sin(link.alpha), -sin(link.alpha) * link.d],
            [0, sin(link.alpha), cos(link.alpha), cos(link.alpha) * link.d],
            [0, 0, 0, 1],
        ]
        for link in FRANKA_CHAIN
    ]
)
ARRIVED_M, ARRIVED_RAD = 1e-4, 1e-3
DAMPING = 1e-4 * np.eye(6)
MAX_STEP_RAD = 0.3
ITERATIONS, LINE_ITERATIONS = 60, 15
"""Of one search, and of one that only has to go on a little."""
DRIFTING, DRIFT_GAIN = 15, 0.3
"""For so many steps a search drifts, by this share of what is left."""
RESTARTS = 10
LINE_STEP_M, LINE_STEP_RAD = 0.01, 0.08
"""How far apart the poses of a straight line are that are looked at."""
_LINE_MAX_JUMP_RAD = 0.35


@dataclass(frozen=True, eq=False)
class ArmModel:
    """One arm as it is bolted down, with what it carries and how far its joints may go."""

    world_from_base: Float[np.ndarray, "4 4"]
    flange_from_gripper: Float[np.ndarray, "4 4"]
    joint_lower: Float[np.ndarray, "7"]
    joint_upper: Float[np.ndarray, "7"]

    @property
    def middle(self) -> Float[np.ndarray, "7"]:
        """Halfway between the limits of every joint."""
        return (self.joint_lower + self.joint_upper) / 2


@dataclass(frozen=True, eq=False)
class Reach:
    """Where a search for joint positions ended."""

    joints: Float[np.ndarray, "7"]
    miss_m: float
    miss_rad: float

    @property
    def arrived(self) -> bool:
        return self.miss_m < ARRIVED_M and self.miss_rad < ARRIVED_RAD


def link_poses(joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7 4 4"]:
    """`base_from_link` of every link; each turns about its own z."""
    turns = np.zeros((7, 4, 4))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(joints)
    turns[:, 1, 0] = np.sin(joints)
    turns[:, 0, 1] = -turns[:, 1, 0]
    turns[:, 2, 2] = turns[:, 3, 3] = 1
    poses = _BEFORE_TURN @ turns
    for i in range(1, 7):
        poses[i] = poses[i - 1] @ poses[i]
    return poses


def gripper_pose(arm: ArmModel, joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "4 4"]:
    """`world_from_gripper`."""
    return arm.world_from_base @ link_poses(joints)[-1] @ _link_from_gripper(arm)


def jacobian(arm: ArmModel, joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "6 7"]:
    """Velocity (m/s) and turning (rad/s) of the gripper in the world for 1 rad/s of every joint."""
    links = arm.world_from_base @ link_poses(joints)
    return _jacobian(links, (links[-1] @ _link_from_gripper(arm))[:3, 3])


def search(
    arm: ArmModel,
    world_from_gripper: Float[np.ndarray, "4 4"],
    start: Float[np.ndarray, "7"],
    iterations: int = ITERATIONS,
    posture: Float[np.ndarray, "7"] | None = None,
) -> Reach:
    """Damped least squares from `start` within the joints' limits, in at most so many steps.

    The first steps also drift towards `posture` as far as the pose leaves freedom.
    """
    link_from_gripper = _link_from_gripper(arm)
    joints = np.clip(start, arm.joint_lower, arm.joint_upper)
    for i in range(iterations + 1):
        links = arm.world_from_base @ link_poses(joints)
        here = links[-1] @ link_from_gripper
        error = np.concatenate(
            (
                world_from_gripper[:3, 3] - here[:3, 3],
                rotation_vector(world_from_gripper[:3, :3] @ here[:3, :3].T),
            )
        )
        reach = Reach(joints, float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:])))
        if reach.arrived or i == iterations:
            break
        slopes = _jacobian(links, here[:3, 3])
        drift = DRIFT_GAIN * (posture - joints) if posture is not None and i < DRIFTING else np.zeros(7)
        step = drift + slopes.T @ np.linalg.solve(slopes @ slopes.T + DAMPING, error - slopes @ drift)
        step *= min(1.0, MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-12))
        joints = np.clip(joints + step, arm.joint_lower, arm.joint_upper)
    return reach  # pyright: ignore[reportPossiblyUnboundVariable] (the range is never empty)


def best_reach(arm: ArmModel, world_from_gripper: Float[np.ndarray, "4 4"], near: Float[np.ndarray, "7"]) -> Reach:
    """The first search that arrives, or the one that came nearest; all drift towards `near`."""
    best: Reach | None = None
    for start in _starts(arm, near):
        found = search(arm, world_from_gripper, start, posture=near)
        if found.arrived:
            return found
        if best is None or found.miss_m + found.miss_rad < best.miss_m + best.miss_rad:
            best = found
    assert best is not None
    return best


def straight_path(
    arm: ArmModel, start: Float[np.ndarray, "7"], world_from_gripper: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "steps 7"] | None:
    """Joint path along which the gripper moves straight and turns evenly, or None where the arm cannot."""
    poses = line(gripper_pose(arm, start), world_from_gripper)
    return follow(lambda pose, joints: search(arm, pose, joints, LINE_ITERATIONS), start, poses)


def follow(
    step: Callable[[Float[np.ndarray, "4 4"], Float[np.ndarray, "7"]], Reach],
    start: Float[np.ndarray, "7"],
    poses: Float[np.ndarray, "poses 4 4"],
) -> Float[np.ndarray, "poses 7"] | None:
    """Joint path through poses that lie close together, or None where the arm cannot go on or would have to jump.

    Args:
        step: searches joint positions for a pose from those of the pose before.
        start: joint positions at the first pose.
        poses: `world_from_gripper`, as `line` gives them.
    """
    path = [start]
    for pose in poses[1:]:
        reach = step(pose, path[-1])
        if not reach.arrived or np.abs(reach.joints - path[-1]).max() > _LINE_MAX_JUMP_RAD:
            return None
        path.append(reach.joints)
    return np.stack(path)


def line(start: Float[np.ndarray, "4 4"], end: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "poses 4 4"]:
    """Poses from one to another, both included, no farther apart than `LINE_STEP_M` and `LINE_STEP_RAD`."""
    distance_m, turn_rad = between(start, end)
    steps = max(ceil(distance_m / LINE_STEP_M), ceil(turn_rad / LINE_STEP_RAD), 1)
    return np.stack([along(start, end, share) for share in np.linspace(0, 1, steps + 1)])


def along(start: Float[np.ndarray, "4 4"], end: Float[np.ndarray, "4 4"], share: float) -> Float[np.ndarray, "4 4"]:
    """The pose at a share (0 to 1) of the way: straight, and turning about one axis."""
    pose = np.eye(4)
    turn = rotation_vector(end[:3, :3] @ start[:3, :3].T)
    pose[:3, :3] = rotation_of(share * turn) @ start[:3, :3]
    pose[:3, 3] = start[:3, 3] + share * (end[:3, 3] - start[:3, 3])
    return pose


def between(start: Float[np.ndarray, "4 4"], end: Float[np.ndarray, "4 4"]) -> tuple[float, float]:
    """Distance (m) and angle (rad) from one pose to another."""
    turn = rotation_vector(end[:3, :3] @ start[:3, :3].T)
    return float(np.linalg.norm(end[:3, 3] - start[:3, 3])), float(np.linalg.norm(turn))


def rotation_vector(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """Axis times angle (rad), the angle at most pi.

    Near half a turn the axis comes from the symmetric part, whose columns are then multiples of it.
    """
    m = rotation
    skew = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]) / 2
    sine, cosine = float(np.linalg.norm(skew)), (float(np.trace(m)) - 1) / 2
    angle = float(np.arctan2(sine, cosine))
    if cosine > -0.9:
        return skew * (angle / sine) if sine > 1e-9 else skew
    outer = (m + m.T) / 2 - cosine * np.eye(3)
    column = outer[:, int(np.diag(outer).argmax())]
    axis = column / np.linalg.norm(column)
    return angle * (axis if axis @ skew >= 0 else -axis)


def rotation_of(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Inverse of `rotation_vector` (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + sin(angle) * cross + (1 - cos(angle)) * cross @ cross


def _starts(arm: ArmModel, near: Float[np.ndarray, "7"]) -> Iterator[Float[np.ndarray, "7"]]:
    yield near
    yield arm.middle
    chance = np.random.default_rng(0)
    for _ in range(RESTARTS):
        yield chance.uniform(arm.joint_lower, arm.joint_upper)


def _link_from_gripper(arm: ArmModel) -> Float[np.ndarray, "4 4"]:
    link_from_flange = np.eye(4)
    link_from_flange[2, 3] = FLANGE_M
    return link_from_flange @ arm.flange_from_gripper


def _jacobian(links: Float[np.ndarray, "7 4 4"], tip: Float[np.ndarray, "3"]) -> Float[np.ndarray, "6 7"]:
    axes = links[:, :3, 2]
    return np.concatenate((np.cross(axes, tip - links[:, :3, 3]).T, axes.T))
