"""One thing changed about a scene, to see whether a policy has learned more than its training scenes.

Whatever a perturbation draws comes from generators of its own, seeded by its name and the scene. So a perturbed scene
can be made again too, and what the perturbation does not name is as it is without it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjtGeom

from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.cameras import WRIST
from gnfactor.envs.tabletop.colors import COLORS, UNSEEN_COLORS, Rgb
from gnfactor.envs.tabletop.placement import Place, Region, sample_place, scene_generator
from gnfactor.envs.tabletop.scene import FLOOR_GEOM, LIGHT, TABLE_GEOM, WALL_GEOM, room_bodies
from gnfactor.envs.tabletop.tasks.base import Task, Waypoint
from gnfactor.errors import SceneError
from gnfactor.scene import TABLE_HEIGHT_M, Camera

DISTRACTOR_PREFIX = "distractor:"

_UNDRAWN_GROUP = 3
"""Geoms of this group are felt and not seen, see `rendering.DRAWN_GROUPS`."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A scene as it was drawn, before its perturbation and before anything has moved."""

    instruction: str
    model: mujoco.MjModel
    data: mujoco.MjData
    waypoints: tuple[Waypoint, ...]


@dataclass(frozen=True)
class Perturbation:
    """Changes nothing; every kind of perturbation says what it changes instead."""

    def suits(self, task: Task[Any]) -> bool:  # noqa: ARG002 (one signature for all)
        """Whether scenes of this task can be changed so."""
        return True

    rearranges: ClassVar[bool] = False
    """Whether things are laid out anew, by what `arranged` says."""

    def arranged(self, task: Task[Any], layout: Any, rng: np.random.Generator) -> Task[Any]:  # noqa: ARG002
        """The task that lays the scene out, whose unperturbed `layout` is known; asked for every layout drawn."""
        return task

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
        """Change the room in which the task's bodies stand."""

    def actual(self, name: str, camera: Camera, rng: np.random.Generator) -> Camera:  # noqa: ARG002
        """Where a camera really is and what it sees; `rng` is the same for every picture of one camera."""
        return camera

    def reported(self, camera: Camera, actual: Camera) -> Camera:  # noqa: ARG002
        """What is said about a camera of which `actual` is true."""
        return actual

    def worded(self, instructions: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:  # noqa: ARG002
        """Ways to say the goal; the first is what a policy is told."""
        return instructions


@dataclass(frozen=True)
class Distractors(Perturbation):
    """Free objects beside those of the task, clear of them and of the expert's way, in colours that are not named."""

    clear_of_things_m: float = 0.03
    clear_of_way_m: float = 0.12

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:  # noqa: ARG002
        named = drawn.instruction.replace(",", " ").split()
        colors = [rgb for name, rgb in COLORS.items() if name not in named]
        chosen = rng.choice(len(colors), len(_DISTRACTORS), replace=False)
        spots: list[Place] = []
        for (name, parts), color in zip(_DISTRACTORS.items(), chosen, strict=True):
            radius_m = max(math.hypot(*part.half_size_m[:2]) for part in parts)
            place = self._free_place(drawn, spots, radius_m, rng)
            spots.append(place)
            body = stand(spec, DISTRACTOR_PREFIX + name, place)
            body.add_freejoint()
            for part in parts:
                part.add_to(body, colors[color])

    def _free_place(self, drawn: Drawn, others: Sequence[Place], radius_m: float, rng: np.random.Generator) -> Place:
        lower_m, upper_m = _footprints(drawn)
        for _ in range(_MAX_PLACES):
            place = sample_place(_DISTRACTOR_REGION, rng)
            spot = np.array((place.x_m, place.y_m))
            beyond = np.maximum(np.maximum(lower_m - spot, spot - upper_m), 0.0)
            gaps = [
                *(np.linalg.norm(beyond, axis=1) - self.clear_of_things_m),
                *(_distance_to_way(spot, stretch) - self.clear_of_way_m for stretch in _low_ways(drawn.waypoints)),
                *(math.dist(spot, (other.x_m, other.y_m)) - _DISTRACTORS_APART_M for other in others),
            ]
            if min(gaps) > radius_m:
                return place
        raise SceneError(f"found no room for a distractor in {_MAX_PLACES} draws; take another seed")


@dataclass(frozen=True)
class Resized(Perturbation):
    """The task's resizable bodies scaled, of the same material, standing where they stood."""

    factor: float

    def suits(self, task: Task[Any]) -> bool:
        return bool(task.resizable)

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:  # noqa: ARG002
        for name in task.resizable:
            body = spec.body(name)
            _scale(body, self.factor)
            of_body = drawn.model.body_rootid[drawn.model.geom_bodyid] == drawn.model.body(name).id
            lowest_m = float(_boxes(drawn)[0][of_body, 2].min())
            below_m = float(drawn.data.body(name).xpos[2]) - lowest_m
            body.pos = body.pos + np.array((0.0, 0.0, (self.factor - 1) * below_m))


@dataclass(frozen=True)
class Recolored(Perturbation):
    """The task's recolourable bodies in a colour that no training scene has, unlike their own."""

    def suits(self, task: Task[Any]) -> bool:
        return bool(task.recolorable)

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:  # noqa: ARG002
        geoms = [geom for name in task.recolorable for geom in spec.body(name).geoms]
        unlike = [
            rgb for rgb in UNSEEN_COLORS.values() if min(math.dist(rgb, geom.rgba[:3]) for geom in geoms) > _UNLIKE
        ]
        color = unlike[rng.integers(len(unlike))]
        for geom in geoms:
            _paint(geom, color)


@dataclass(frozen=True)
class Elsewhere(Perturbation):
    """The task's region replaced by a strip along one of its sides, just outside, corners included."""

    rearranges = True
    width_m: float = 0.08

    def suits(self, task: Task[Any]) -> bool:
        return hasattr(task, "region")

    def arranged(self, task: Task[Any], layout: Any, rng: np.random.Generator) -> Task[Any]:
        (near, far), (right, left), width = task.region.x_m, task.region.y_m, self.width_m
        strips = (
            ((near - width, near), (right - width, left + width)),
            ((far, far + width), (right - width, left + width)),
            ((near - width, far + width), (right - width, right)),
            ((near - width, far + width), (left, left + width)),
        )
        moved = copy.copy(task)
        moved.region = Region(*strips[rng.integers(len(strips))], task.region.max_yaw_deg)
        sample = moved.sample
        moved.sample = lambda variation, rng: _moved_only(sample(variation, rng), layout)
        return moved


@dataclass(frozen=True)
class OtherTable(Perturbation):
    """A table top of planks in two shades instead of one plain board; it is as solid as it was."""

    planks: int = 9

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:  # noqa: ARG002
        table = spec.geom(TABLE_GEOM)
        table.group = _UNDRAWN_GROUP
        red, green, blue = _muted(rng)
        shades = ((red, green, blue), (0.7 * red, 0.7 * green, 0.7 * blue))
        side = int(rng.integers(2))
        edges = np.linspace(-table.size[side], table.size[side], self.planks + 1)
        for index, (start, end) in enumerate(pairwise(edges)):
            center, size = table.pos.copy(), 2 * table.size
            center[side] += (start + end) / 2
            size[side] = end - start
            add_box(table.parent, tuple(center), tuple(size), shades[index % 2], solid=False)


@dataclass(frozen=True)
class OtherBackground(Perturbation):
    """Floor and wall in other colours."""

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:  # noqa: ARG002
        for name in (FLOOR_GEOM, WALL_GEOM):
            _paint(spec.geom(name), _muted(rng))


@dataclass(frozen=True)
class OtherLight(Perturbation):
    """A sun from anywhere above, brighter or weaker, warmer or colder, over more or less light from all sides."""

    def alter(self, task: Task[Any], drawn: Drawn, spec: mujoco.MjSpec, rng: np.random.Generator) -> None:  # noqa: ARG002
        heading, height = rng.uniform(-math.pi, math.pi), math.radians(rng.uniform(20, 60))
        sun = spec.light(LIGHT)
        sun.dir = (math.cos(heading) * math.cos(height), math.sin(heading) * math.cos(height), -math.sin(height))
        warmth = rng.uniform(-0.3, 0.3)
        tint = np.array((1 + warmth, 1.0, 1 - warmth))
        sun.diffuse = rng.uniform(0.3, 0.8) * tint
        headlight = spec.visual.headlight
        headlight.ambient = rng.uniform(0.2, 0.5) * tint
        headlight.diffuse = rng.uniform(0.0, 0.2) * tint


@dataclass(frozen=True)
class OtherEyes(Perturbation):
    """Every camera moved, turned and zoomed, each its own way."""

    calibrated: bool
    """Whether that is known; else the cameras are reported as they ever were."""
    shift_m: float = 0.0
    """How far, in a direction that is drawn."""
    wrist_shift_m: float = 0.0
    """The same of the camera at the hand, which further off would be inside the hand."""
    turn_deg: float = 0.0
    """How much, about an axis that is drawn."""
    zoom: float = 1.0
    """By how much focal lengths grow or shrink, which of both being drawn."""

    def actual(self, name: str, camera: Camera, rng: np.random.Generator) -> Camera:
        moved = np.eye(4)
        moved[:3, :3] = _turn(_direction(rng), math.radians(self.turn_deg))
        moved[:3, 3] = (self.wrist_shift_m if name == WRIST else self.shift_m) * _direction(rng)
        intrinsics = camera.intrinsics.copy()
        intrinsics[:2, :2] *= self.zoom ** rng.choice((-1, 1))
        return Camera(intrinsics, camera.world_from_camera @ moved, camera.width, camera.height)

    def reported(self, camera: Camera, actual: Camera) -> Camera:
        return actual if self.calibrated else camera


@dataclass(frozen=True)
class Paraphrased(Perturbation):
    """Another way to say the same, one of those that are not the task's default."""

    def suits(self, task: Task[Any]) -> bool:
        return all(len(task.instructions(variation)) > 1 for variation in range(task.variation_count))

    def worded(self, instructions: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
        told = instructions[1 + rng.integers(len(instructions) - 1)]
        return (told, *(text for text in instructions if text != told))


UNPERTURBED = Perturbation()
PERTURBATIONS: MappingProxyType[str, Perturbation] = MappingProxyType(
    {
        "distractors": Distractors(),
        "larger": Resized(1.25),
        "smaller": Resized(0.8),
        "new_color": Recolored(),
        "new_position": Elsewhere(),
        "table": OtherTable(),
        "background": OtherBackground(),
        "lighting": OtherLight(),
        "camera_pose": OtherEyes(calibrated=True, shift_m=0.05, wrist_shift_m=0.01, turn_deg=3.0),
        "camera_pose_stale": OtherEyes(calibrated=False, shift_m=0.05, wrist_shift_m=0.01, turn_deg=3.0),
        "field_of_view": OtherEyes(calibrated=True, zoom=1.2),
        "field_of_view_stale": OtherEyes(calibrated=False, zoom=1.2),
        "paraphrase": Paraphrased(),
    }
)
"""By the names of `gnfactor.envs.base.PERTURBATION_TITLES`."""


def find_perturbation(name: str | None, task: Task[Any]) -> Perturbation:
    """The perturbation of this name for scenes of a task; None is `UNPERTURBED`.

    Raises:
        SceneError: there is none of this name, or it does not suit the task.
    """
    if name is None:
        return UNPERTURBED
    if name not in PERTURBATIONS or not PERTURBATIONS[name].suits(task):
        raise SceneError(
            f"{task.name} cannot be perturbed by '{name}'; it can by {', '.join(perturbations_of(task))}: choose among "
            "these"
        )
    return PERTURBATIONS[name]


def perturbations_of(task: Task[Any]) -> tuple[str, ...]:
    """Names of the perturbations that suit a task."""
    return tuple(name for name, perturbation in PERTURBATIONS.items() if perturbation.suits(task))


def perturbation_generator(scene: SeededScene, of: str = "") -> np.random.Generator:
    """What a scene's perturbation draws from; `of` names what it changes, where that is one of several things."""
    return scene_generator(f"{scene.perturbation}/{of}/{scene.task}", scene.variation, scene.seed)


@dataclass(frozen=True)
class _Part:
    """A piece of a distractor, upright."""

    kind: mjtGeom
    half_size_m: tuple[float, float, float]
    """Along x, y and z."""
    bottom_m: float = 0.0

    def add_to(self, body: mujoco.MjsBody, color: Rgb) -> None:
        along_x, _, along_z = self.half_size_m
        round_size = (along_x, along_z, 0.0)
        body.add_geom(
            type=self.kind,
            pos=(0.0, 0.0, self.bottom_m + along_z),
            size=self.half_size_m if self.kind == mjtGeom.mjGEOM_BOX else round_size,
            rgba=(*color, 1.0),
            density=400,
        )


_DISTRACTORS: dict[str, tuple[_Part, ...]] = {
    "book": (_Part(mjtGeom.mjGEOM_BOX, (0.055, 0.04, 0.012)),),
    "can": (_Part(mjtGeom.mjGEOM_CYLINDER, (0.03, 0.03, 0.05)),),
    "bottle": (
        _Part(mjtGeom.mjGEOM_CYLINDER, (0.03, 0.03, 0.055)),
        _Part(mjtGeom.mjGEOM_CYLINDER, (0.012, 0.012, 0.02), bottom_m=0.11),
    ),
}
_DISTRACTOR_REGION = Region(x_m=(0.0, 0.62), y_m=(-0.38, 0.38), max_yaw_deg=180.0)
_DISTRACTORS_APART_M = 0.08
"""From the middle of one to the edge of the next."""
_MAX_PLACES = 2000
_LOW_M = TABLE_HEIGHT_M + 0.25
"""Where the hand is higher than this, it passes over a distractor."""
_UNLIKE = 0.5
"""Distance in RGB above which two colours are told apart at a glance."""


def _moved_only(layout: Any, unmoved: Any) -> Any:
    """A layout with its places, and with everything else, such as colours, as in another layout of the same scene."""
    kept = {field.name: getattr(unmoved, field.name) for field in fields(layout)}
    return replace(layout, **{name: value for name, value in kept.items() if not _is_place(value)})


def _is_place(value: object) -> bool:
    return isinstance(value, Place) or (isinstance(value, tuple) and all(isinstance(part, Place) for part in value))


def _boxes(drawn: Drawn) -> tuple[Float[np.ndarray, "geoms 3"], Float[np.ndarray, "geoms 3"]]:
    """Lower and upper corners (m, world frame) of boxes around all geoms."""
    model, data = drawn.model, drawn.data
    rotation = data.geom_xmat.reshape(-1, 3, 3)
    center = data.geom_xpos + np.einsum("gij,gj->gi", rotation, model.geom_aabb[:, :3])
    half = np.einsum("gij,gj->gi", np.abs(rotation), model.geom_aabb[:, 3:])
    return center - half, center + half


def _footprints(drawn: Drawn) -> tuple[Float[np.ndarray, "geoms 2"], Float[np.ndarray, "geoms 2"]]:
    """Lower and upper corners (m) of what the task's geoms cover of the table."""
    lower, upper = _boxes(drawn)
    of_task = ~np.isin(drawn.model.body_rootid[drawn.model.geom_bodyid], room_bodies(drawn.model))
    return lower[of_task, :2], upper[of_task, :2]


def _low_ways(waypoints: Sequence[Waypoint]) -> list[tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]]:
    """Starts and ends of what the gripper passes close to the table in straight lines; elsewhere it goes around."""
    positions = [waypoint.target.world_from_gripper[:3, 3] for waypoint in waypoints]
    starts = [positions[0], *positions[:-1]]
    return [
        (start[:2] if waypoint.target.ignore_collisions else end[:2], end[:2])
        for waypoint, start, end in zip(waypoints, starts, positions, strict=True)
        if min(start[2], end[2]) < _LOW_M
    ]


def _distance_to_way(spot: Float[np.ndarray, "2"], way: tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]) -> float:
    """Distance (m) of a spot from a stretch of the table between two points."""
    start, end = way
    along = end - start
    share = np.clip((spot - start) @ along / max(along @ along, 1e-12), 0, 1)
    return float(np.linalg.norm(spot - start - share * along))


def _scale(body: mujoco.MjsBody, factor: float) -> None:
    """Make a body and all below it larger about its frame; masses that were given grow with the volume."""
    for geom in body.geoms:
        geom.size, geom.pos, geom.fromto = geom.size * factor, geom.pos * factor, geom.fromto * factor
        geom.mass *= factor**3
    for thing in (*body.sites, *body.joints):
        thing.pos = thing.pos * factor
    for child in body.bodies:
        child.pos = child.pos * factor
        _scale(child, factor)


def _paint(geom: mujoco.MjsGeom, color: Rgb) -> None:
    geom.rgba = (*color, geom.rgba[3])


def _muted(rng: np.random.Generator) -> Rgb:
    """A colour of low saturation, neither black nor white."""
    vivid = rng.uniform(0.15, 0.9, 3)
    red, green, blue = (0.6 * vivid + 0.4 * vivid.mean()).tolist()
    return (red, green, blue)


def _direction(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A unit vector, all directions being equally likely."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _turn(axis: Float[np.ndarray, "3"], angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about an axis by `angle` (rad)."""
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, axis, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
