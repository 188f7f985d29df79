"""The room that every task shares: floor, wall, table, light and the arm, as an MjSpec to which a task adds its own.

Conventions for a task's bodies: angles in radians; a geom that is drawn has group 0 to 2 and an alpha above 0; a geom
that is touched keeps MuJoCo's contype and conaffinity of 1, and one that is only drawn has both at 0.
"""

from __future__ import annotations

import mujoco
from mujoco import mjtGeom

from gnfactor.envs.tabletop.robot import HAND_BODY, add_panda
from gnfactor.scene import TABLE_HEIGHT_M

TIMESTEP_S = 0.002
FLOOR_GEOM, WALL_GEOM, TABLE_GEOM = "floor", "wall", "table"
TABLE_BODY = "table"
LIGHT = "sun"
GRASP_PREFIX = "grasp:"
"""An inactive weld of this name + a body's name makes the body graspable."""

_TABLE_LOWER_M, _TABLE_UPPER_M = (-0.49, -0.55), (1.10, 0.55)
_TABLE_THICKNESS_M = 0.04
_WALL_X_M = -2.5


def base_scene() -> mujoco.MjSpec:
    """Floor, wall, table, light and arm, with the physics options under which all tasks run."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    # What lies still costs nothing until something awake touches it.
    spec.option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    # The stiffest contacts that the time step carries: grasped things creep in proportion to this time constant.
    spec.default.geom.solref = (2 * TIMESTEP_S, 1)
    # Like wood on wood. With MuJoCo's own 1.0 a pushed block tips and jams between finger and table.
    spec.default.geom.friction = (0.5, 0.005, 0.0001)
    spec.visual.headlight.ambient = (0.45, 0.45, 0.45)
    spec.visual.headlight.diffuse = (0.15, 0.15, 0.15)
    spec.visual.headlight.specular = (0, 0, 0)
    _set_up_opengl(spec)
    _add_room(spec.worldbody)
    add_panda(spec)
    return spec


def room_bodies(model: mujoco.MjModel) -> list[int]:
    """Ids of the bodies just below the world that every scene has, and of the world itself."""
    return [0, *(int(model.body(body.name).id) for body in base_scene().worldbody.bodies)]


def make_graspable(spec: mujoco.MjSpec, body: str) -> None:
    """Let the gripper hold the free body of this name firmly once both fingers touch it."""
    spec.add_equality(
        name=GRASP_PREFIX + body,
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1=HAND_BODY,
        name2=body,
        active=False,
        solref=(2 * TIMESTEP_S, 1),
    )


def _set_up_opengl(spec: mujoco.MjSpec) -> None:
    """Clipping planes (m, since the extent is their unit), buffer, and no smoothing: edges belong to one thing."""
    spec.stat.extent = 1
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 12
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth = spec.visual.global_.offheight = 1024


def _add_room(world: mujoco.MjsBody) -> None:
    world.add_light(
        name=LIGHT,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(0.5, -0.5, 3),
        dir=(-0.35, 0.25, -0.9),
        diffuse=(0.5, 0.5, 0.5),
        ambient=(0, 0, 0),
        specular=(0.1, 0.1, 0.1),
        castshadow=False,
    )
    world.add_geom(name=FLOOR_GEOM, type=mjtGeom.mjGEOM_PLANE, size=(4, 4, 0.1), rgba=(0.83, 0.81, 0.78, 1))
    world.add_geom(
        name=WALL_GEOM,
        type=mjtGeom.mjGEOM_BOX,
        pos=(_WALL_X_M - 0.05, 0, 2),
        size=(0.05, 4, 2),
        rgba=(0.05, 0.22, 0.23, 1),
    )
    (lower_x, lower_y), (upper_x, upper_y) = _TABLE_LOWER_M, _TABLE_UPPER_M
    half_thickness = _TABLE_THICKNESS_M / 2
    table = world.add_body(name=TABLE_BODY)
    table.add_geom(
        name=TABLE_GEOM,
        type=mjtGeom.mjGEOM_BOX,
        pos=((lower_x + upper_x) / 2, (lower_y + upper_y) / 2, TABLE_HEIGHT_M - half_thickness),
        size=((upper_x - lower_x) / 2, (upper_y - lower_y) / 2, half_thickness),
        rgba=(0.80, 0.62, 0.34, 1),
    )
