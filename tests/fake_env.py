"""A world of coloured discs on a table: small, exact, and a full member of the Env contract.

The gripper is a point that jumps to its target. The task "touch" has one variation for each colour: the gripper
must come within 3 cm of the disc of that colour. Pictures are computed from the camera's geometry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import Capabilities, Scene, SeededScene, Start, Step
from gnfactor.errors import SceneError
from gnfactor.evaluation.film import OnFrame
from gnfactor.scene import (
    ARM,
    TABLE_HEIGHT_M,
    WORKSPACE_LOWER_M,
    WORKSPACE_UPPER_M,
    ArmState,
    Camera,
    Observation,
    View,
)

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
TABLE_COLOUR = (120, 110, 100)
DISC_RADIUS_M = 0.05
REACH_M = 0.03
DOWN = np.diag([1.0, -1.0, -1.0])
EYES = {"front": (1.2, 0.0, 1.5), "overhead": (0.2, 0.0, 2.0), "left_shoulder": (-0.2, 0.3, 1.8)}
TASKS = {"touch": len(COLOURS), "tap": len(COLOURS)}


class FakeEnv:
    """The discs' world; in chosen scenes a step raises or ends the process (only once with a marker file)."""

    def __init__(
        self,
        cameras: tuple[str, ...] = ("front", "overhead", "wrist"),
        image_size: tuple[int, int] = (32, 32),
        renderer: str = "ray",
        crash_on: Callable[[SeededScene], bool] = lambda _: False,
        die_on: Callable[[SeededScene], bool] = lambda _: False,
        die_once: Path | None = None,
    ) -> None:
        self.cameras, self.image_size, self.renderer = cameras, image_size, renderer
        self._crash_on, self._die_on, self._die_once = crash_on, die_on, die_once
        self._watch: tuple[OnFrame, str, tuple[int, int]] | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(seeded=True, restores_stored_scenes=False, knows_success=True)

    def reset(self, scene: Scene) -> Start:
        if not isinstance(scene, SeededScene) or scene.task not in TASKS:
            raise SceneError(f"the world of discs cannot make {scene}; it knows seeded scenes of {sorted(TASKS)}")
        if not 0 <= scene.variation < len(COLOURS):
            raise SceneError(f"'{scene.task}' has variations 0 to {len(COLOURS) - 1}, not {scene.variation}")
        generator = np.random.default_rng([scene.seed, scene.variation])
        slots = generator.permutation([(x, y) for x in (0.1, 0.3) for y in (-0.2, 0.0, 0.2)])[: len(COLOURS)]
        centres = slots + generator.uniform(-0.03, 0.03, slots.shape)
        self._scene = scene
        self._goal = list(COLOURS)[scene.variation]
        self._discs = {name: np.array([*centre, TABLE_HEIGHT_M]) for name, centre in zip(COLOURS, centres, strict=True)}
        self._pose = np.eye(4)
        self._pose[:3, :3], self._pose[:3, 3] = DOWN, (0.2, 0.0, 1.2)
        self._open = True
        self._step, self._time_s = 0, 0.0
        return Start(self._observe(), (f"{scene.task} the {self._goal} disc", f"the {self._goal} one, please"))

    def step(self, action: Action) -> Step:
        target = action.arms[ARM]
        self._step += 1
        self._time_s += 1.0
        if self._crash_on(self._scene):
            raise RuntimeError("the gears\nhave jammed")
        if self._die_on(self._scene) and (self._die_once is None or not self._die_once.exists()):
            if self._die_once is not None:
                self._die_once.touch()
            os._exit(17)
        refused = self._why_not(target.world_from_gripper)
        if refused is None:
            for share in np.linspace(0, 1, 5)[1:]:
                self._time_s += 0.1
                moved = (1 - share) * self._pose[:3, 3] + share * target.world_from_gripper[:3, 3]
                self._film(moved)
            self._pose = target.world_from_gripper.copy()
            self._open = target.gripper_open
        near = np.linalg.norm(self._pose[:3, 3] - self._discs[self._goal]) < REACH_M
        return Step(self._observe(), bool(near), refused)

    def hold(self) -> None:
        pass

    def close(self) -> None:
        pass

    def empty_views(self, observation: Observation) -> Mapping[str, View]:
        """The same cameras before a table without discs."""
        return {name: render(view.camera, {}) for name, view in observation.views.items()}

    def watch(self, on_frame: OnFrame | None, camera: str, image_size: tuple[int, int], frequency_hz: float) -> None:
        self._watch = None if on_frame is None else (on_frame, camera, image_size)

    def _film(self, position: np.ndarray) -> None:
        if self._watch is not None:
            on_frame, camera, image_size = self._watch
            pose = self._pose.copy()
            pose[:3, 3] = position
            on_frame(render(make_camera(camera, pose, image_size), self._discs).rgb)

    def _why_not(self, pose: np.ndarray) -> str | None:
        if not np.isfinite(pose).all():
            return "the target pose holds a number that is not finite"
        rotation = pose[:3, :3]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            return "the target pose holds no rotation"
        position = pose[:3, 3]
        if (position < WORKSPACE_LOWER_M).any() or (position > WORKSPACE_UPPER_M).any():
            return f"the target {position.round(2).tolist()} m is outside the workspace"
        return None

    def _observe(self) -> Observation:
        cameras = {name: make_camera(name, self._pose, self.image_size) for name in self.cameras}
        fingers = np.full(2, 0.04 if self._open else 0.0)
        arm = ArmState(self._pose.copy(), self._open, fingers, np.zeros(7), np.zeros(7))
        views = {name: render(camera, self._discs) for name, camera in cameras.items()}
        return Observation(self._step, self._time_s, views, {ARM: arm})


class PointPolicy:
    """Finds the disc whose colour is in the instruction, in the pictures alone, and goes there."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        self.batch_sizes.append(len(observations))
        return [go_to(seen(o, i)) for o, i in zip(observations, instructions, strict=True)]

    def reset(self, index: int) -> None:
        pass


def go_to(position: np.ndarray, rotation: np.ndarray = DOWN, gripper_open: bool = True) -> Action:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return Action({ARM: ArmTarget(pose, gripper_open, ignore_collisions=False)})


def seen(observation: Observation, instruction: str) -> np.ndarray:
    """Mean place of the pixels that have the instruction's colour; a place above the table where there are none."""
    colour = next(COLOURS[word] for word in instruction.split() if word in COLOURS)
    view = observation.views["overhead"]
    chosen = (view.rgb == colour).all(-1)
    return world_points(view)[chosen].mean(0) if chosen.any() else np.array([0.2, 0.0, 1.0])


def make_camera(name: str, world_from_gripper: np.ndarray, image_size: tuple[int, int]) -> Camera:
    width, height = image_size
    focal = width / (2 * np.tan(np.deg2rad(30)))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    if name == "wrist":
        return Camera(intrinsics, world_from_gripper.copy(), width, height)
    eye = np.array(EYES[name])
    forward = np.array([0.2, 0.0, TABLE_HEIGHT_M]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0]) if np.abs(forward[2]) < 0.999 else np.array([0, -1.0, 0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((right, np.cross(forward, right), forward), 1)
    pose[:3, 3] = eye
    return Camera(intrinsics, pose, width, height)


def render(camera: Camera, discs: Mapping[str, np.ndarray]) -> View:
    """Table and discs by intersecting every pixel's ray with the table's plane."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(camera.intrinsics).T
    along = rays @ camera.world_from_camera[:3, :3].T
    with np.errstate(divide="ignore"):
        depth = (TABLE_HEIGHT_M - camera.world_from_camera[2, 3]) / along[..., 2]
    hit = np.isfinite(depth) & (depth > 0) & (depth < 4)
    depth = np.where(hit, depth, 0.0)
    points = camera.world_from_camera[:3, 3] + along * depth[..., None]
    rgb = np.where(hit[..., None], TABLE_COLOUR, 0).astype(np.uint8)
    segmentation = hit.astype(np.int32)
    for label, (name, centre) in enumerate(discs.items(), start=2):
        on_disc = hit & (np.linalg.norm(points - centre, axis=-1) < DISC_RADIUS_M)
        rgb[on_disc], segmentation[on_disc] = COLOURS[name], label
    return View(camera, rgb, depth.astype(np.float32), segmentation)


def world_points(view: View) -> np.ndarray:
    v, u = np.mgrid[: view.camera.height, : view.camera.width]
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(view.camera.intrinsics).T
    pose = view.camera.world_from_camera
    return (rays * view.depth_m[..., None]) @ pose[:3, :3].T + pose[:3, 3]


def with_views(observation: Observation, change: Callable[[View], View]) -> Observation:
    return replace(observation, views={name: change(view) for name, view in observation.views.items()})
