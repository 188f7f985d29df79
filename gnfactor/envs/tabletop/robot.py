"""The arm: a Franka Panda with a parallel gripper, built from primitives, in RLBench's conventions.

Kinematics are the manufacturer's public Denavit-Hartenberg parameters and joint limits. RLBench's simulator counts
joint 4 from another zero and puts the gripper frame between the finger tips, a little off the flange's axis; both
offsets were measured on recorded demonstrations. Joint positions here are always as RLBench records them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjtGeom

from gnfactor.kinematics import FLANGE_M, FRANKA_CHAIN, link_poses
from gnfactor.scene import TABLE_HEIGHT_M

BASE_POSITION_M = (-0.268, -0.006, TABLE_HEIGHT_M)
"""Where the arm is bolted to the table; its axes are the world's."""

JOINT_4_OFFSET = 0.0685
"""Recorded joint 4 + this = joint 4 in the manufacturer's convention (rad)."""
_PANDA_LOWER = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
_PANDA_UPPER = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
_ZERO = np.array([0, 0, 0, JOINT_4_OFFSET, 0, 0, 0])

JOINT_LOWER: Float[np.ndarray, "7"] = np.array(_PANDA_LOWER) - _ZERO
JOINT_UPPER: Float[np.ndarray, "7"] = np.array(_PANDA_UPPER) - _ZERO
REST_JOINTS: Float[np.ndarray, "7"] = np.array([0, 0.175, 0, -0.873, 0, 1.222, 0.785])
FINGER_OPEN_M = 0.04
"""Travel of each finger from closed."""

BASE_BODY = "panda"
LINK_BODIES = tuple(f"panda/link{i}" for i in range(1, 8))
HAND_BODY = "panda/hand"
FINGER_BODIES = ("panda/left_finger", "panda/right_finger")
ARM_JOINTS = tuple(f"panda/joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("panda/left_finger", "panda/right_finger")
ARM_ACTUATORS = ARM_JOINTS
FINGER_ACTUATORS = FINGER_JOINTS
TIP_SITE = "panda/tip"
"""The gripper frame: between the finger tips, z out of the gripper, y along the fingers' motion."""

SERVO_LAG_S = 0.1
"""Damping over stiffness of every arm servo: how far its target must run ahead of a moving joint (s)."""


@dataclass(frozen=True)
class _Servo:
    """What a link weighs, and what drives its joint."""

    mass: float
    stiffness: float
    torque: float


_SERVOS = (
    _Servo(mass=3.0, stiffness=4500.0, torque=87.0),
    _Servo(mass=3.0, stiffness=4500.0, torque=87.0),
    _Servo(mass=2.5, stiffness=3500.0, torque=87.0),
    _Servo(mass=2.5, stiffness=3500.0, torque=87.0),
    _Servo(mass=2.5, stiffness=2000.0, torque=12.0),
    _Servo(mass=1.5, stiffness=2000.0, torque=12.0),
    _Servo(mass=0.7, stiffness=2000.0, torque=12.0),
)
_HAND_MASS, _FINGER_MASS = 0.7, 0.1
_HAND_OFFSET_M = (0.0014, 0.0014)
_HAND_TURN = radians(135.1)
_TIP_M = 0.1104
_FINGER_ROOT_M = 0.0584
_FINGER_STIFFNESS, _FINGER_DAMPING, _FINGER_FORCE_N = 2500.0, 80.0, 40.0

_WHITE = (0.92, 0.92, 0.93, 1.0)
_GREY = (0.62, 0.63, 0.65, 1.0)
_DARK = (0.16, 0.16, 0.18, 1.0)
_RUBBER = (0.09, 0.09, 0.10, 1.0)


@dataclass(frozen=True)
class _Tube:
    """A capsule (round ends, which add the radius) or a cylinder (flat ends) between two points of a link (m)."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float, float] = _WHITE
    flat: bool = False


@dataclass(frozen=True)
class _Block:
    """A box by its centre and half sizes in a link's frame (m)."""

    centre: tuple[float, float, float]
    half_size: tuple[float, float, float]
    colour: tuple[float, float, float, float]


_BASE_PARTS = (
    _Tube((0.0, 0.0, 0.0), (0.0, 0.0, 0.135), 0.074, flat=True),
    _Block((-0.075, 0.0, 0.035), (0.065, 0.07, 0.035), _WHITE),
)
# Seen from the shoulder up: the frames' z axes are the joint axes, so housings of joints are tubes along z of one
# link and along -y or y of its neighbour.
_LINK_PARTS: tuple[tuple[_Tube | _Block, ...], ...] = (
    (
        _Tube((0.0, 0.0, -0.195), (0.0, 0.0, -0.04), 0.062, flat=True),
        _Tube((0.0, -0.085, 0.0), (0.0, 0.085, 0.0), 0.063, _GREY, flat=True),
    ),
    (
        _Tube((0.0, 0.0, -0.055), (0.0, 0.0, 0.055), 0.0665),
        _Tube((0.0, -0.02, 0.0), (0.0, -0.175, 0.0), 0.062, flat=True),
    ),
    (
        _Tube((0.0, 0.0, -0.139), (0.0, 0.0, -0.05), 0.057),
        _Tube((0.0825, -0.07, 0.0), (0.0825, 0.07, 0.0), 0.055, _DARK, flat=True),
        _Tube((0.02, 0.0, -0.03), (0.0825, 0.0, 0.0), 0.052),
    ),
    (
        _Tube((0.0, 0.0, -0.035), (0.0, 0.0, 0.035), 0.058),
        _Tube((0.0, 0.0, 0.0), (-0.0825, 0.11, 0.0), 0.05),
    ),
    (
        _Tube((0.0, 0.0, -0.262), (0.0, 0.0, -0.15), 0.055),
        _Tube((0.0, 0.03, -0.2), (0.0, 0.045, -0.01), 0.035, _DARK),
        _Tube((0.0, -0.065, 0.0), (0.0, 0.075, 0.0), 0.047, _GREY, flat=True),
    ),
    (
        _Tube((0.0, 0.0, -0.04), (0.0, 0.0, 0.03), 0.051),
        _Tube((0.03, 0.0, 0.0), (0.088, 0.0, 0.0), 0.05),
    ),
    (
        _Tube((0.0, 0.0, -0.06), (0.0, 0.0, 0.08), 0.046, flat=True),
        _Tube((0.0, 0.0, 0.08), (0.0, 0.0, 0.107), 0.04, _DARK, flat=True),
    ),
)
_HAND_PARTS = (
    _Block((0.0, 0.0, 0.018), (0.032, 0.098, 0.018), _WHITE),
    _Block((0.0, 0.0, 0.047), (0.0195, 0.102, 0.013), _DARK),
)


def add_panda(spec: mujoco.MjSpec) -> None:
    """Add the arm, its servos and the site of its gripper frame to a scene whose angles are in radians."""
    parent = spec.worldbody.add_body(name=BASE_BODY, pos=BASE_POSITION_M)
    _add_parts(parent, _BASE_PARTS, mass=3.0)
    for i, (joint, drive) in enumerate(zip(FRANKA_CHAIN, _SERVOS, strict=True)):
        parent = parent.add_body(
            name=LINK_BODIES[i],
            pos=(joint.a, -sin(joint.alpha) * joint.d, cos(joint.alpha) * joint.d),
            quat=_quaternion_of_joint_frame(joint.alpha, float(_ZERO[i])),
            gravcomp=1,
        )
        _add_parts(parent, _LINK_PARTS[i], drive.mass)
        parent.add_joint(
            name=ARM_JOINTS[i],
            axis=(0, 0, 1),
            limited=True,
            range=(float(JOINT_LOWER[i]), float(JOINT_UPPER[i])),
            armature=0.1,
        )
        servo = spec.add_actuator(name=ARM_ACTUATORS[i], trntype=mujoco.mjtTrn.mjTRN_JOINT, target=ARM_JOINTS[i])
        servo.set_to_position(kp=drive.stiffness, kv=drive.stiffness * SERVO_LAG_S)
        servo.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        servo.forcerange = (-drive.torque, drive.torque)
    _add_hand(spec, parent)
    _exclude_near_links(spec)


def forward_kinematics(joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "4 4"]:
    """`world_from_gripper` of joint positions as RLBench records them (rad)."""
    pose = np.eye(4)
    pose[:3, 3] = BASE_POSITION_M
    c, s = cos(_HAND_TURN), sin(_HAND_TURN)
    x, y = _HAND_OFFSET_M
    link_from_gripper = np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, FLANGE_M + _TIP_M], [0, 0, 0, 1]])
    return pose @ link_poses(joints + _ZERO)[-1] @ link_from_gripper


def _quaternion_of_joint_frame(alpha: float, zero: float) -> tuple[float, float, float, float]:
    """Turn about x by `alpha`, then about the new z by the joint's zero; MuJoCo's order wxyz."""
    ca, sa, cz, sz = cos(alpha / 2), sin(alpha / 2), cos(zero / 2), sin(zero / 2)
    return (ca * cz, sa * cz, -sa * sz, ca * sz)


def _add_parts(body: mujoco.MjsBody, parts: tuple[_Tube | _Block, ...], mass: float) -> None:
    """Geoms that are seen and touched alike; the body's mass is shared equally among them."""
    for part in parts:
        share = mass / len(parts)
        if isinstance(part, _Block):
            kind = mjtGeom.mjGEOM_BOX
            body.add_geom(type=kind, pos=part.centre, size=part.half_size, rgba=part.colour, mass=share)
        else:
            kind = mjtGeom.mjGEOM_CYLINDER if part.flat else mjtGeom.mjGEOM_CAPSULE
            ends = (*part.start, *part.end)
            body.add_geom(type=kind, fromto=ends, size=(part.radius, 0, 0), rgba=part.colour, mass=share)


def _add_hand(spec: mujoco.MjSpec, link7: mujoco.MjsBody) -> None:
    hand = link7.add_body(
        name=HAND_BODY,
        pos=(*_HAND_OFFSET_M, FLANGE_M),
        quat=(cos(_HAND_TURN / 2), 0, 0, sin(_HAND_TURN / 2)),
        gravcomp=1,
    )
    _add_parts(hand, _HAND_PARTS, _HAND_MASS)
    hand.add_site(name=TIP_SITE, pos=(0, 0, _TIP_M), size=(0.005, 0, 0))
    for name, side in zip(FINGER_BODIES, (1, -1), strict=True):
        _add_finger(spec, hand, name, side)
    # The two fingers of the real hand are driven by one belt.
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1=FINGER_JOINTS[0], name2=FINGER_JOINTS[1]
    )


def _add_finger(spec: mujoco.MjSpec, hand: mujoco.MjsBody, name: str, side: int) -> None:
    """One finger on the hand's +y (`side` 1) or -y side; at 0 the pads meet in the middle."""
    finger = hand.add_body(name=name, pos=(0, 0, _FINGER_ROOT_M), gravcomp=1)
    root = _Block((0.0, side * 0.0145, 0.014), (0.0105, 0.0125, 0.014), _DARK)
    _add_parts(finger, (root,), _FINGER_MASS / 2)
    pad = _Block((0.0, side * 0.0075, 0.0405), (0.0105, 0.0075, 0.0135), _RUBBER)
    _add_parts(finger, (pad,), _FINGER_MASS / 2)
    finger.geoms[-1].condim = 4
    finger.geoms[-1].friction = (1.0, 0.02, 0.0001)
    finger.add_joint(
        name=name,
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=(0, side, 0),
        limited=True,
        range=(0, FINGER_OPEN_M),
        armature=0.5,
    )
    servo = spec.add_actuator(name=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, target=name)
    servo.set_to_position(kp=_FINGER_STIFFNESS, kv=_FINGER_DAMPING)
    servo.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    servo.forcerange = (-_FINGER_FORCE_N, _FINGER_FORCE_N)


def _exclude_near_links(spec: mujoco.MjSpec) -> None:
    """No contact between links that are close along the chain: their coarse shapes overlap by design."""
    reach = 3
    along_chain = [[BASE_BODY], *([link] for link in LINK_BODIES), [HAND_BODY], list(FINGER_BODIES)]
    for i, group in enumerate(along_chain):
        for others in along_chain[i + 1 : i + 1 + reach]:
            for first in group:
                for second in others:
                    spec.add_exclude(bodyname1=first, bodyname2=second)
    spec.add_exclude(bodyname1=FINGER_BODIES[0], bodyname2=FINGER_BODIES[1])
