"""The scripted expert: which scenes it is given, and what is kept of its episodes.

What it does is written in the tasks, as waypoints; it acts through the same `step` as any policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.inverse_kinematics import InverseKinematics, distinct_solutions
from gnfactor.envs.tabletop.robot import REST_JOINTS
from gnfactor.envs.tabletop.tasks.base import Waypoint
from gnfactor.scene import Observation, View


class Reach:
    """Whether the arm alone, with nothing around it, could take a task's waypoints one after the other."""

    def __init__(self) -> None:
        self._kinematics = InverseKinematics()

    def allows(self, waypoints: Iterable[Waypoint]) -> bool:
        """From rest; in straight lines, from which only motions that mind collisions may depart."""
        joints = REST_JOINTS
        for waypoint in waypoints:
            pose = waypoint.target.world_from_gripper
            line = self._kinematics.follow_line(joints, pose)
            if line is not None:
                joints = line[-1]
            elif waypoint.target.ignore_collisions:
                return False
            else:
                found = next(distinct_solutions(self._kinematics.attempts(pose, joints)), None)
                if found is None:
                    return False
                joints = found
        return True


class Film:
    """An episode as it is recorded, frame by frame.

    Args:
        start: its first frame.
        interval_s: simulated time between frames, where those between keyframes are kept.
        look_around: gives the present views to learn from, taken at the start, at keyframes and at every
            `look_every`-th frame; None takes none.
        look_every: see `look_around`.
    """

    def __init__(
        self,
        start: Observation,
        interval_s: float,
        look_around: Callable[[], Mapping[str, View]] | None = None,
        look_every: int = 10,
    ) -> None:
        self._observations = [start]
        self._flags = [False]
        self._target_views: dict[int, Mapping[str, View]] = {}
        self._look_around, self._look_every = look_around, look_every
        self._look()
        self._keyframes: list[int] = []
        self._interval_s = interval_s
        self._due_s = start.time_s + interval_s
        self.ignoring_collisions = False
        """Whether the present motion ignores collisions; every frame added is marked so."""

    def is_due(self, time_s: float) -> bool:
        """Whether it is time for the next frame between keyframes."""
        return time_s > self._due_s - 1e-9

    def add(self, observation: Observation) -> None:
        """A frame between keyframes."""
        self._append(observation)
        if (len(self._observations) - 1) % self._look_every == 0:
            self._look()

    def add_keyframe(self, observation: Observation) -> None:
        """The end of an action; it replaces a frame of the same moment."""
        if self._observations[-1].time_s == observation.time_s:
            self._observations.pop()
            self._flags.pop()
        self._append(observation)
        self._look()
        self._keyframes.append(len(self._observations) - 1)

    def demonstration(
        self, scene: SeededScene, instructions: tuple[str, ...], renderer: str, labels: Mapping[int, str]
    ) -> Demonstration:
        """All frames so far as a demonstration; `labels` are the names of the labels in its segmentation."""
        return Demonstration(
            task=scene.task,
            variation=scene.variation,
            seed=scene.seed,
            instructions=instructions,
            renderer=renderer,
            observations=tuple(self._observations),
            ignore_collisions=tuple(self._flags),
            keyframes=tuple(self._keyframes),
            target_views=self._target_views,
            labels=labels,
        )

    def _append(self, observation: Observation) -> None:
        self._observations.append(observation)
        self._flags.append(self.ignoring_collisions)
        self._due_s = observation.time_s + self._interval_s

    def _look(self) -> None:
        """Keep the views around the last frame, if any are wanted."""
        if self._look_around is not None:
            self._target_views[len(self._observations) - 1] = self._look_around()
