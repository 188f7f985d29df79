"""turn_tap: turn the left or the right handle of a tap by more than a quarter of a turn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import mjtGeom, mjtJoint

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import Rgb
from gnfactor.envs.tabletop.placement import Place, Pose, Region, gripper_down, sample_place
from gnfactor.envs.tabletop.scene import TIMESTEP_S
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, go, touch

HANDLES = ("left", "right")
"""As the robot sees the tap."""
TURNED = math.pi / 2
"""A handle that has turned further than this (rad) is turned."""

# The tap's frame lies on the table below its middle; its spout points along -x, towards the robot.
_ASIDE_M = {"left": 0.11, "right": -0.11}
"""Where a handle's axis stands along y, which points to the robot's left."""
_PLINTH_SIZE_M = (0.07, 0.28, 0.02)
_COLLAR_RADIUS_M, _STEM_RADIUS_M = 0.024, 0.008
_COLLAR_HEIGHT_M, _HANDLE_HEIGHT_M = 0.06, 0.105
_HANDLE_SIZE_M = (0.10, 0.018, 0.026)
"""Of a closed handle, which points towards the robot."""
_COLUMN_RADIUS_M, _COLUMN_HEIGHT_M = 0.02, 0.12
_SPOUT_LENGTH_M, _SPOUT_RADIUS_M, _NOZZLE_M = 0.11, 0.013, 0.035

_TRAVEL = math.radians(125)
_TURN = math.radians(108)
"""How far the expert turns: a policy may miss by some degrees."""
_GRASP_DEPTH_M = 0.008
"""Of the finger tips below the middle of the handle."""

_CHROME: Rgb = (0.66, 0.68, 0.72)
_DARK: Rgb = (0.16, 0.17, 0.20)


@dataclass(frozen=True)
class Tap:
    """Where the tap stands and which of its handles is meant."""

    place: Place
    handle: str


class TurnTap(Task[Tap]):
    """Two variations, one for each handle. Both open counter-clockwise seen from above, as screwed valves do."""

    name = "turn_tap"
    variation_count = len(HANDLES)
    # At headings beyond 60 degrees one handle would stand behind the other, and at 90 left would become right.
    region = Region(x_m=(0.14, 0.46), y_m=(-0.22, 0.22), max_yaw_deg=60.0)
    recolorable = ("tap",)

    def instructions(self, variation: int) -> tuple[str, ...]:
        side = HANDLES[variation]
        return (
            f"turn the {side} handle of the tap",
            f"open the tap by its {side} handle",
            f"grip the tap's handle on the {side} and twist it open",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Tap:
        return Tap(sample_place(self.region, rng), HANDLES[variation])

    def build(self, layout: Tap, spec: mujoco.MjSpec) -> None:
        tap = stand(spec, "tap", layout.place)
        add_box(tap, (0.0, 0.0, _PLINTH_SIZE_M[2] / 2), _PLINTH_SIZE_M, _CHROME)
        _add_tube(tap, (0.0, 0.0, 0.0), (0.0, 0.0, _COLUMN_HEIGHT_M), _COLUMN_RADIUS_M)
        mouth = _COLUMN_HEIGHT_M - _SPOUT_RADIUS_M
        _add_tube(tap, (0.0, 0.0, mouth), (-_SPOUT_LENGTH_M, 0.0, mouth), _SPOUT_RADIUS_M)
        _add_tube(tap, (-_SPOUT_LENGTH_M, 0.0, mouth), (-_SPOUT_LENGTH_M, 0.0, mouth - _NOZZLE_M), _SPOUT_RADIUS_M)
        for side, y in _ASIDE_M.items():
            _add_tube(tap, (0.0, y, 0.0), (0.0, y, _COLLAR_HEIGHT_M), _COLLAR_RADIUS_M)
            _add_handle(spec, tap, side)

    def goal(self, layout: Tap, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        address = int(model.joint(handle_name(layout.handle)).qposadr[0])
        return Momentary(lambda: float(data.qpos[address]) > TURNED)

    def waypoints(self, layout: Tap, data: mujoco.MjData) -> Iterator[Waypoint]:
        yield go("grasp", _around(layout, data), gripper_open=False)
        yield touch("turn", _around(layout, data, _TURN), gripper_open=False)


def handle_name(side: str) -> str:
    """Name of a handle's body, joint and geom."""
    return f"handle/{side}"


def _around(layout: Tap, data: mujoco.MjData, turn: float = 0.0) -> Pose:
    """Gripper from above whose fingers close on the sides of the handle when it has turned by `turn` (rad)."""
    middle = data.geom(handle_name(layout.handle)).xpos
    return gripper_down(middle - (0.0, 0.0, _GRASP_DEPTH_M), layout.place.yaw + turn)


def _add_handle(spec: mujoco.MjSpec, tap: mujoco.MjsBody, side: str) -> None:
    """A bar across a stem, on a hinge stiff enough to stay where it is left."""
    name = handle_name(side)
    handle = tap.add_body(name=name, pos=(0.0, _ASIDE_M[side], _HANDLE_HEIGHT_M))
    bar = add_box(handle, (0.0, 0.0, 0.0), _HANDLE_SIZE_M, _DARK, name=name)
    bar.friction = (1.0, 0.02, 0.0001)
    _add_tube(handle, (0.0, 0.0, _COLLAR_HEIGHT_M - _HANDLE_HEIGHT_M), (0.0, 0.0, 0.0), _STEM_RADIUS_M)
    handle.add_joint(
        name=name,
        type=mjtJoint.mjJNT_HINGE,
        axis=(0, 0, 1),
        limited=True,
        range=(0, _TRAVEL),
        damping=(0.05, 0, 0),
        frictionloss=0.08,
        armature=0.001,
        solref_limit=(2 * TIMESTEP_S, 1),
    )
    # The tap is fixed to the world, and MuJoCo does not filter contacts of such a parent with its child.
    spec.add_exclude(bodyname1="tap", bodyname2=name)


def _add_tube(
    body: mujoco.MjsBody, start_m: tuple[float, float, float], end_m: tuple[float, float, float], radius_m: float
) -> None:
    """A cylinder between two points of a body's frame."""
    kind = mjtGeom.mjGEOM_CYLINDER
    body.add_geom(type=kind, fromto=(*start_m, *end_m), size=(radius_m, 0, 0), rgba=(*_CHROME, 1.0))
