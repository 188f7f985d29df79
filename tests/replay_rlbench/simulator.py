"""What stands for CoppeliaSim: the gripper goes where it is told, and the cameras show the recorded frame nearest it.

The drawer counts as open when the gripper has been at the recorded keyframes, in their order and as open as then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.replay_rlbench.errors import ALL
from tests.replay_rlbench.recorded import CAMERAS, Episode, intrinsics, pictures, read_episodes

TASK = "open_drawer"
NEAR_M = 0.03
LOWER_M, UPPER_M = np.array([-0.475, -0.655, 0.752]), np.array([0.925, 0.655, 1.752])
REACH_M = 1.1
BASE_M = np.array([-0.268, -0.006, 0.75])


@dataclass
class Shape:
    """A thing that may be collided with."""

    collidable: bool = True
    switched: list[bool] = field(default_factory=list)

    def is_collidable(self) -> bool:
        return self.collidable

    def set_collidable(self, value: bool) -> None:
        self.collidable = value
        self.switched.append(value)


class PyRep:
    """The simulation."""

    def __init__(self) -> None:
        self.shapes = [Shape(), Shape(), Shape(collidable=False)]

    def get_objects_in_tree(self, root_object: object = None, *args: object, **kwargs: object) -> list[Shape]:
        assert kwargs == {"object_type": "shape"}
        return self.shapes


class Task:
    """RLBench's task, which draws what is in its scene whenever an episode is prepared."""

    def __init__(self, pyrep: object, robot: object, name: str | None = None) -> None:
        self.world: World | None = None

    def variation_count(self) -> int:
        return 3

    def init_episode(self, index: int) -> list[str]:
        assert self.world is not None
        return self.world.draw(index)

    def decorate_observation(self, observation: Any) -> Any:
        return observation

    def success(self) -> tuple[bool, bool]:
        assert self.world is not None
        done = self.world.reached == len(self.world.episode.keyframes)
        return done, done or self.world.gave_up


@dataclass
class Trouble:
    """What goes wrong, for tests; only once where there is a marker file, which then appears."""

    at: str = ""
    """"launch", "reset", "arm" or, when the arm moves, "death"; "" for nothing."""
    error: str = ""
    """Name of the exception."""
    marker: Path | None = None

    def happens(self, at: str) -> bool:
        if at != self.at or (self.marker is not None and self.marker.exists()):
            return False
        if self.marker is not None:
            self.marker.touch()
        return True


class World:
    """The recorded scenes, and what is going on in the present one."""

    def __init__(self, root: Path, trouble: Trouble) -> None:
        self.episodes = read_episodes(root)
        self.trouble = trouble
        self.pyrep = PyRep()
        self.task: Task = Task(None, None)
        self.config: Any = None
        self.actions: list[np.ndarray] = []
        self.planned: list[dict[str, Any]] = []
        self.draws = 0
        self.placements: list[int | None] = []
        self.gave_up = False
        self.fork_fields: dict[str, Any] = {}
        """What the observations of the dialect have besides upstream's."""
        self.episode: Episode = self.episodes[0]
        self._callback: Callable[[], None] | None = None

    def register_step_callback(self, func: Callable[[], None]) -> None:
        self._callback = func

    def draw(self, variation: int) -> list[str]:
        """Another scene of the variation: the recorded one whose random state is the present, or any."""
        self.draws += 1
        state: Any = np.random.get_state()
        same = [one for one in self.episodes if np.array_equal(one.words, state[1]) and one.position == state[2]]
        there = [one for one in self.episodes if one.variation == variation]
        chosen = int(np.random.randint(len(there)))
        self.episode = same[0] if same and same[0].variation == variation else there[chosen]
        self.frame, self.reached, self.gave_up = 0, 0, False
        self.pose, self.open = np.array(self.episode.frames[0]["gripper_pose"], np.float64), True
        return list(self.episode.descriptions)

    def fail(self, at: str) -> None:
        """Raise, or die, if that is due now."""
        if at == "arm" and self.trouble.happens("death"):
            os._exit(11)
        if self.trouble.happens(at):
            raise ALL[self.trouble.error](f"no luck\nat the {at}")

    def move(self, pose: np.ndarray) -> None:
        """Go to a pose in three steps of the simulation."""
        for _ in range(3):
            if self._callback is not None:
                self._callback()
        self.pose = pose.copy()
        frames = self.episode.positions_m
        self.frame = int(np.linalg.norm(frames - pose[:3], axis=1).argmin())

    def actuate(self, opened: bool) -> None:
        """Open or close the gripper, and note what of the task is done."""
        self.open = opened
        if self.reached < len(self.episode.keyframes):
            wanted = self.episode.frames[self.episode.keyframes[self.reached]]
            near = np.linalg.norm(np.array(wanted["gripper_pose"])[:3] - self.pose[:3]) < NEAR_M
            self.reached += bool(near and bool(wanted["gripper_open"] > 0.5) == self.open)

    def observe(self) -> Any:
        """The present observation, as RLBench gives it; None for whatever was not asked for."""
        recorded = self.episode.frames[self.frame]
        seen: dict[str, Any] = {}
        misc: dict[str, Any] = {}
        for name in CAMERAS:
            asked = getattr(self.config, f"{name}_camera")
            wanted = asked.rgb or asked.depth
            rgb, depth = pictures(self.episode, self.frame, name, asked.image_size) if wanted else (None, None)
            seen |= {f"{name}_rgb": rgb, f"{name}_depth": depth, f"{name}_mask": None, f"{name}_point_cloud": None}
            if wanted:
                misc |= {
                    f"{name}_camera_extrinsics": np.array(recorded["misc"][f"{name}_camera_extrinsics"]),
                    f"{name}_camera_intrinsics": intrinsics(self.episode, self.frame, name, asked.image_size),
                    f"{name}_camera_near": recorded["misc"][f"{name}_camera_near"],
                    f"{name}_camera_far": recorded["misc"][f"{name}_camera_far"],
                }
        return SimpleNamespace(
            **seen,
            joint_positions=np.array(recorded["joint_positions"]),
            joint_velocities=np.array(recorded["joint_velocities"]),
            joint_forces=None,
            gripper_open=float(self.open),
            gripper_pose=self.pose.copy(),
            gripper_joint_positions=np.full(2, 0.04 if self.open else 0.0),
            **self.fork_fields,
            misc=misc,
        )
