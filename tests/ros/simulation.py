"""A scene of the built-in world that runs in real time in a thread, with a Franka under its own controllers in it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import mujoco
import numpy as np

from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.rendering import RayRenderer
from gnfactor.envs.tabletop.tasks.base import Waypoint
from gnfactor.envs.tabletop.world import TabletopEnv, find_task
from gnfactor.scene import View
from tests.ros.panda import Panda

_SLICE_S = 0.01
"""Physics runs in slices of this length, after which others get their turn."""
_LATE_S = 0.1
"""A simulation that is later than this goes on slower than the clock instead of catching up."""


class Simulation:
    """The scene that stands now. `lock` is held while physics runs; hold it to look at or to command the arm."""

    def __init__(self, scene: SeededScene) -> None:
        self.lock = threading.RLock()
        self._env = TabletopEnv(("front",), (8, 8))
        self._over = threading.Event()
        self.reset(scene)
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def reset(self, scene: SeededScene) -> None:
        """Another scene, the arm at rest in it."""
        with self.lock:
            self._instructions = self._env.reset(scene).instructions
            self._model, self._data = self._env.model, self._env.data
            task = find_task(scene.task, scene.variation)
            self._goal = task.goal(self._env.layout, self._model, self._data)
            self._waypoints: Iterator[Waypoint] = task.waypoints(self._env.layout, self._data)
            self.panda = Panda(self._model, self._data)
            self._photographed, self._renderer = mujoco.MjData(self._model), RayRenderer(self._model)

    @property
    def has_succeeded(self) -> bool:
        """Whether the scene's task is done now."""
        with self.lock:
            return self._goal.reached()

    def instructions(self) -> str:
        """Ways to say what is to be done, in JSON."""
        return json.dumps(self._instructions)

    def next_waypoint(self) -> str:
        """What the expert does next, in JSON: name, world_from_gripper, gripper_open, ignore_collisions; or null."""
        with self.lock:
            waypoint = next(self._waypoints, None)
        if waypoint is None:
            return "null"
        target = waypoint.target
        return json.dumps(
            {
                "name": waypoint.name,
                "world_from_gripper": np.asarray(target.world_from_gripper).tolist(),
                "gripper_open": target.gripper_open,
                "ignore_collisions": target.ignore_collisions,
            }
        )

    def photograph(self, camera: str, size: int) -> tuple[float, View]:
        """What a camera of the built-in world sees, and when (the clock's time, s)."""
        with self.lock:
            renderer, photographed = self._renderer, self._photographed
            photographed.qpos[:] = self._data.qpos
            pose, taken_s = self.panda.world_from_gripper, time.time()
        (placed,) = tabletop_cameras(pose, (size, size), (camera,)).values()
        (view,) = renderer.render(photographed, [placed])
        return taken_s, view

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._over.is_set():
            with self.lock:
                for _ in range(round(_SLICE_S / self._model.opt.timestep)):
                    self.panda.step()
                    self._goal.observe()
            due_s = max(due_s + _SLICE_S, time.monotonic() - _LATE_S)
            time.sleep(max(due_s - time.monotonic(), 0.0005))
