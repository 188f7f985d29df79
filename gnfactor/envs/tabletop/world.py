"""The built-in world as an Env: reset to a seeded scene, act one keyframe at a time, record the expert."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from gnfactor.actions import Action, ArmTarget
from gnfactor.demonstration import Demonstration, ExpertFailure
from gnfactor.envs.base import Capabilities, Scene, SeededScene, Start, Step
from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.description import movable_positions, scene_digest
from gnfactor.envs.tabletop.expert import Film, Reach
from gnfactor.envs.tabletop.motion import Mover
from gnfactor.envs.tabletop.perturbations import (
    UNPERTURBED,
    Drawn,
    Perturbation,
    find_perturbation,
    perturbation_generator,
)
from gnfactor.envs.tabletop.placement import scene_generator
from gnfactor.envs.tabletop.rendering import Renderer, label_names, make_renderer
from gnfactor.envs.tabletop.rig import RigConfig, rig_cameras
from gnfactor.envs.tabletop.scene import base_scene, room_bodies
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.tasks.base import Goal, Task
from gnfactor.errors import SceneError
from gnfactor.scene import ARM, CAMERAS, Observation, View

Frames = Literal["keyframes", "all"]
WORLD_VERSION = 1
"""To be raised whenever a scene, its pictures or the expert's way through it change: new demonstrations are then not
mixed with old ones unawares."""
_MAX_LAYOUTS = 200
"""Layouts drawn for one scene before it is given up."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """A scene as it was drawn, before anything has moved."""

    layout: Any
    rejected: int
    model: mujoco.MjModel
    data: mujoco.MjData
    arm: Arm


@dataclass(eq=False)
class _Episode:
    """The scene that stands now, and how far its episode has come."""

    scene: SeededScene
    task: Task[Any]
    perturbation: Perturbation
    stage: _Stage
    mover: Mover
    goal: Goal
    renderer: Renderer
    start_s: float = 0.0
    steps: int = 0


@dataclass(eq=False)
class _Watcher:
    """Someone who looks at the motion through a camera of their own."""

    on_frame: Callable[[UInt8[np.ndarray, "_ _ 3"]], None]
    camera: str
    image_size: tuple[int, int]
    interval_s: float
    due_s: float = 0.0


class TabletopEnv:
    """RLBench's world in MuJoCo, with tasks of our own. One episode at a time.

    Args:
        cameras: names of the cameras to look through.
        image_size: (width, height) of their pictures, pixels.
        renderer: "ray" (needs nothing else) or "gl" (needs a graphics library).

    Raises:
        SceneError: there is no such camera.
    """

    def __init__(
        self, cameras: Sequence[str] = CAMERAS, image_size: tuple[int, int] = (128, 128), renderer: str = "ray"
    ) -> None:
        tabletop_cameras(np.eye(4), image_size, cameras)  # says at once if a name is not known
        self._cameras = tuple(cameras)
        self._image_size = image_size
        self._renderer_kind = renderer
        self._episode: _Episode | None = None
        self._film: Film | None = None
        self._watcher: _Watcher | None = None
        self._reach = Reach()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(seeded=True, restores_stored_scenes=False, knows_success=True)

    @property
    def rejected_placements(self) -> int:
        """Layouts of the present scene that were drawn and put aside: out of the arm's reach, or done already."""
        return self._running.stage.rejected

    @property
    def layout(self) -> Any:
        """What its task drew for the present scene."""
        return self._running.stage.layout

    @property
    def model(self) -> mujoco.MjModel:
        """MuJoCo's model of the present scene."""
        return self._running.stage.model

    @property
    def data(self) -> mujoco.MjData:
        """MuJoCo's state of the present scene."""
        return self._running.stage.data

    @property
    def positions(self) -> tuple[int, ...]:
        """Where the task's movable bodies are now: x, y, z of each, units of 0.1 mm."""
        return movable_positions(self.model, self.data)

    @property
    def _running(self) -> _Episode:
        if self._episode is None:
            raise RuntimeError("there is no scene yet: call reset first")
        return self._episode

    def reset(self, scene: Scene) -> Start:
        """Make a scene from (task, variation, seed), with its perturbation if it has one.

        Raises:
            SceneError: the scene is of another kind, there is no such task or variation, or the task cannot be
                perturbed so.
        """
        if not isinstance(scene, SeededScene):
            raise SceneError(f"the tabletop world makes seeded scenes only, this is a {type(scene).__name__}")
        task = find_task(scene.task, scene.variation)
        perturbation = find_perturbation(scene.perturbation, task)
        self.close()
        stage = self._set(task, scene, perturbation)
        self._episode = episode = _Episode(
            scene=scene,
            task=task,
            perturbation=perturbation,
            stage=stage,
            mover=Mover(stage.model, stage.data, self._after_physics_step),
            goal=task.goal(stage.layout, stage.model, stage.data),
            renderer=make_renderer(stage.model, self._renderer_kind),
        )
        if self._watcher is not None:
            self._watcher.due_s = 0.0
        episode.mover.settle()
        episode.start_s = stage.data.time
        texts = perturbation.worded(task.instructions(scene.variation), perturbation_generator(scene))
        return Start(self._observe(), texts)

    def digest(self, scene: SeededScene) -> str:
        """What a scene consists of before any physics, in twelve hexadecimal digits; the present scene stays.

        Raises:
            SceneError: see `reset`.
        """
        task = find_task(scene.task, scene.variation)
        return scene_digest(self._set(task, scene, find_perturbation(scene.perturbation, task)).model)

    def step(self, action: Action) -> Step:
        episode = self._running
        target = action.arms[ARM]
        refused, blocked = _refusal(target), None
        if refused is None:
            motion = episode.mover.move_to(target.world_from_gripper, target.ignore_collisions)
            refused, blocked = motion.refused, motion.blocked
        if refused is None:
            episode.mover.set_gripper(target.gripper_open)
            episode.mover.settle()
        episode.steps += 1
        return Step(self._observe(), episode.goal.reached(), refused, blocked)

    def hold(self) -> None:
        if self._episode is not None:
            self._episode.mover.hold()

    def close(self) -> None:
        if self._episode is not None:
            self._episode.renderer.close()
            self._episode = None

    def record(
        self,
        scene: SeededScene,
        frames: Frames = "keyframes",
        frequency_hz: float = 20.0,
        rig: RigConfig | None = None,
        rig_every: int = 10,
    ) -> Demonstration | ExpertFailure:
        """Make a scene and let the expert do its task, once.

        A demonstration does not tell a perturbed scene from the scene itself; do not train on it unawares.

        Args:
            scene: which one.
            frames: "keyframes" keeps the start and the end of every action; "all" also what lies between, at
                `frequency_hz` of simulated time.
            frequency_hz: see `frames`.
            rig: further cameras, whose views are there to be learned from; they are taken at the start, at keyframes
                and at every `rig_every`-th frame. What happens in the world is the same with them or without.
            rig_every: see `rig`.

        Raises:
            SceneError: see `reset`.
        """
        start = self.reset(scene)
        episode = self._running
        film = Film(start.observation, 1 / frequency_hz, self._looking_around(rig), rig_every)
        for waypoint in episode.task.waypoints(episode.stage.layout, episode.stage.data):
            film.ignoring_collisions = waypoint.target.ignore_collisions
            self._film = film if frames == "all" else None
            step = self.step(Action({ARM: waypoint.target}))
            self._film = None
            if step.refused is not None:
                return ExpertFailure(f"{waypoint.name}: {step.refused}")
            film.add_keyframe(step.observation)
            if step.success:
                return film.demonstration(
                    scene, start.instructions, episode.renderer.name, label_names(episode.stage.model)
                )
        return ExpertFailure("every waypoint was reached, the goal was not")

    def watch(
        self,
        on_frame: Callable[[UInt8[np.ndarray, "_ _ 3"]], None] | None,
        camera: str = "front",
        image_size: tuple[int, int] = (256, 256),
        frequency_hz: float = 10.0,
    ) -> None:
        """Show `on_frame` a picture (RGB) for every 1 / `frequency_hz` of simulated time from now on; None stops it.

        What happens in the world is the same, watched or not.
        """
        self._watcher = None if on_frame is None else _Watcher(on_frame, camera, image_size, 1 / frequency_hz)

    def empty_views(self, observation: Observation) -> dict[str, View]:
        """The observation's views as they would be without the task's objects: the arm over an empty table."""
        episode = self._running
        model = episode.stage.model
        data = mujoco.MjData(model)
        arm = observation.arms[ARM]
        data.qpos[episode.stage.arm.qpos] = arm.joint_positions
        data.qpos[episode.stage.arm.finger_qpos] = arm.finger_positions_m
        objects = ~np.isin(model.body_rootid[model.geom_bodyid], room_bodies(model))
        alpha = model.geom_rgba[:, 3].copy()
        model.geom_rgba[objects, 3] = 0.0
        try:
            views = self._look(data, arm.world_from_gripper)
        finally:
            model.geom_rgba[:, 3] = alpha
        return {name: replace(views[name], camera=seen.camera) for name, seen in observation.views.items()}

    def _set(self, task: Task[Any], scene: SeededScene, perturbation: Perturbation) -> _Stage:
        """The scene as it was drawn, perturbed."""
        rng = scene_generator(scene.task, scene.variation, scene.seed)
        stage = self._draw(scene, lambda: task, rng)
        if perturbation is UNPERTURBED:
            return stage
        of_perturbation = perturbation_generator(scene)
        if perturbation.rearranges:
            rng = scene_generator(scene.task, scene.variation, scene.seed)
            stage = self._draw(scene, lambda: perturbation.arranged(task, stage.layout, of_perturbation), rng)
        waypoints = tuple(task.waypoints(stage.layout, stage.data))
        drawn = Drawn(task.instructions(scene.variation)[0], stage.model, stage.data, waypoints)
        spec = _built(task, stage.layout)
        perturbation.alter(task, drawn, spec, of_perturbation)
        return _compiled(spec, stage.layout, stage.rejected)

    def _draw(self, scene: SeededScene, task_of: Callable[[], Task[Any]], rng: np.random.Generator) -> _Stage:
        """The first scene that is not done as it stands, with waypoints within reach; those before it are counted."""
        for rejected in range(_MAX_LAYOUTS):
            task = task_of()
            layout = task.sample(scene.variation, rng)
            stage = _compiled(_built(task, layout), layout, rejected)
            done = task.goal(layout, stage.model, stage.data).reached()
            if not done and self._reach.allows(task.waypoints(layout, stage.data)):
                return stage
        raise SceneError(
            f"found no layout within the arm's reach for {scene} in {_MAX_LAYOUTS} draws; take another seed"
        )

    def _after_physics_step(self) -> None:
        episode = self._running
        episode.goal.observe()
        if self._film is not None and self._film.is_due(episode.stage.data.time - episode.start_s):
            self._film.add(self._observe())
        if self._watcher is not None and episode.stage.data.time >= self._watcher.due_s:
            self._show(self._watcher)

    def _show(self, watcher: _Watcher) -> None:
        episode = self._running
        arm = episode.stage.arm.state(episode.stage.model, episode.stage.data)
        cameras = tabletop_cameras(arm.world_from_gripper, watcher.image_size, (watcher.camera,))
        (view,) = episode.renderer.render(episode.stage.data, list(cameras.values()))
        watcher.due_s = episode.stage.data.time + watcher.interval_s
        watcher.on_frame(view.rgb)

    def _looking_around(self, rig: RigConfig | None) -> Callable[[], Mapping[str, View]] | None:
        """What gives the rig's views of the present state, each time it is called."""
        if rig is None:
            return None
        episode, cameras = self._running, rig_cameras(rig, self._image_size)

        def look_around() -> Mapping[str, View]:
            views = episode.renderer.render(episode.stage.data, list(cameras.values()))
            return dict(zip(cameras, views, strict=True))

        return look_around

    def _observe(self) -> Observation:
        episode = self._running
        arm = episode.stage.arm.state(episode.stage.model, episode.stage.data)
        return Observation(
            step=episode.steps,
            time_s=episode.stage.data.time - episode.start_s,
            views=self._look(episode.stage.data, arm.world_from_gripper),
            arms={ARM: arm},
        )

    def _look(self, data: mujoco.MjData, world_from_gripper: Float[np.ndarray, "4 4"]) -> dict[str, View]:
        """What the cameras see of a state, by name."""
        episode = self._running
        perturbation = episode.perturbation
        cameras = tabletop_cameras(world_from_gripper, self._image_size, self._cameras)
        actual = [
            perturbation.actual(name, camera, perturbation_generator(episode.scene, name))
            for name, camera in cameras.items()
        ]
        views = episode.renderer.render(data, actual)
        return {
            name: replace(view, camera=perturbation.reported(camera, view.camera))
            for (name, camera), view in zip(cameras.items(), views, strict=True)
        }


def _built(task: Task[Any], layout: Any) -> mujoco.MjSpec:
    """The room with a task's bodies in it."""
    spec = base_scene()
    task.build(layout, spec)
    return spec


def _compiled(spec: mujoco.MjSpec, layout: Any, rejected: int) -> _Stage:
    """A scene with the arm at rest."""
    model = spec.compile()
    data = mujoco.MjData(model)
    arm = Arm(model)
    arm.place_at_rest(model, data)
    return _Stage(layout, rejected, model, data, arm)


def find_task(name: str, variation: int) -> Task[Any]:
    """The task of this name.

    Raises:
        SceneError: there is no such task, or it has no such variation.
    """
    if name not in TASKS:
        raise SceneError(f"the tabletop world has no task '{name}'; it has {', '.join(TASKS)}: choose among these")
    task = TASKS[name]
    if not 0 <= variation < task.variation_count:
        raise SceneError(
            f"{name} has the variations 0 to {task.variation_count - 1}, not {variation}; choose one of these"
        )
    return task


def _refusal(target: ArmTarget) -> str | None:
    """Why a target is nonsense, or None."""
    pose = target.world_from_gripper
    if not np.isfinite(pose).all():
        return "the target pose holds a number that is not finite"
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        return "the target's orientation is not a rotation"
    return None
