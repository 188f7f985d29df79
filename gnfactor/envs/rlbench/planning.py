"""The arm's part of an action: plan a path to a pose, go there, and leave the scene as it was."""

from __future__ import annotations

from pyrep.const import ObjectType  # pyright: ignore[reportMissingImports]
from rlbench.action_modes.arm_action_modes import (  # pyright: ignore[reportMissingImports]
    EndEffectorPoseViaPlanning,
)

from gnfactor.envs.rlbench import protocols
from gnfactor.envs.rlbench.api import Dialect


class PlannedMotion:
    """RLBench's planned motion to a pose in the world, as an arm's action mode of RLBench.

    Two things are done here that not every RLBench does. Each action has its own choice whether collisions are ignored:
    the forks take it with the action, upstream has a planner for either. And shapes that a planner made non-collidable,
    because the arm touched them, are collidable again when the arm has moved: the forks leave them so, and later paths
    would go through them.

    Args:
        dialect: of the installed RLBench.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._careful: protocols.EndEffectorPoseViaPlanning = EndEffectorPoseViaPlanning(collision_checking=True)
        self._careless: protocols.EndEffectorPoseViaPlanning = EndEffectorPoseViaPlanning(collision_checking=False)
        self._scene: protocols.Scene | None = None
        self.ignore_collisions = False
        """Choice for the next action."""
        self.simulated_steps = 0
        """Steps of the simulation in which the arm has moved; RLBench does not tell those of the gripper."""

    def action(self, scene: protocols.Scene, action: protocols.Floats, ignore_collisions: bool | None = None) -> None:
        """Go to a pose; called by RLBench, in the forks with the flag that stands in the action."""
        if ignore_collisions is not None:
            self.ignore_collisions = ignore_collisions
        self._scene = scene
        scene.register_step_callback(self._count)
        shapes = scene.pyrep.get_objects_in_tree(object_type=ObjectType.SHAPE)
        collidable = [shape for shape in shapes if shape.is_collidable()]
        try:
            self._move(scene, action)
        finally:
            for shape in collidable:
                shape.set_collidable(True)

    def action_shape(self, scene: protocols.Scene) -> tuple[int, ...]:
        """Of the arm's part; called by RLBench."""
        return self._careful.action_shape(scene)

    def set_control_mode(self, robot: object) -> None:
        """Prepare the arm's joints; called by RLBench."""
        self._careful.set_control_mode(robot)

    def succeeded(self) -> bool:
        """Whether the task's goal is reached, by the task itself: the forks may reward more than success."""
        if self._scene is None:
            return False
        success, _ = self._scene.task.success()
        return bool(success)

    def _move(self, scene: protocols.Scene, action: protocols.Floats) -> None:
        if self._dialect.flag_in_action:
            self._careful.action(scene, action, self.ignore_collisions)  # dialects: peract_fork, gnfactor_fork
        elif self.ignore_collisions:
            self._careless.action(scene, action)
        else:
            self._careful.action(scene, action)

    def _count(self) -> None:
        self.simulated_steps += 1
