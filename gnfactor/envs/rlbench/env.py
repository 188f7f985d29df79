"""RLBench as an environment: CoppeliaSim, the Panda, and RLBench's own tasks and planners."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from gnfactor.actions import Action
from gnfactor.envs.base import Capabilities, RandomState, Scene, SeededScene, Start, Step, StoredScene
from gnfactor.envs.rlbench import protocols
from gnfactor.envs.rlbench.api import RENDER_MODES, dialect, launch, observation_config, stored_demo
from gnfactor.envs.rlbench.convert import FRAME_S, action_from, observation_from, why_no_pose
from gnfactor.envs.rlbench.display import Display
from gnfactor.envs.rlbench.outcomes import failure, making_scene, refusal
from gnfactor.envs.rlbench.planning import PlannedMotion
from gnfactor.envs.rlbench.tasks import task_class
from gnfactor.errors import ConfigError, SceneError
from gnfactor.scene import ARM, CAMERAS, Observation


class RLBenchEnv:
    """RLBench's world, one episode at a time; CoppeliaSim starts with the first one.

    A scene drawn from a seed has the objects' places from that seed, as far as they come from NumPy's or Python's
    global generators, which this environment therefore sets. RLBench's planners are random in themselves, and decide
    with how many attempts objects are placed, so that neither places nor behaviour are promised to repeat.

    Args:
        cameras: names of RLBench's cameras to look through.
        image_size: (width, height) of their pictures, pixels.
        renderer: "opengl", as the published demonstrations were made, or "opengl3", which has shadows.

    Raises:
        ConfigError: there is no such camera or renderer.
        SimulatorError: there is no display and none can be made.
    """

    def __init__(
        self, cameras: Sequence[str] = ("front",), image_size: tuple[int, int] = (128, 128), renderer: str = "opengl"
    ) -> None:
        for key, names, known in (("cameras", cameras, CAMERAS), ("renderer", (renderer,), RENDER_MODES)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ConfigError(f"RLBench has no {key} {unknown}; it has {', '.join(known)}")
        self._cameras = tuple(cameras)
        self._observed = observation_config(cameras, image_size, renderer)
        self._dialect = dialect()
        self._motion = PlannedMotion(self._dialect)
        self._display = Display()
        self._simulator: protocols.Environment | None = None
        self._task: protocols.TaskEnvironment | None = None
        self._steps = 0
        self._over = False
        """RLBench has declared the episode a failure: what happens from now on is no success."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(seeded=False, restores_stored_scenes=True, knows_success=True)

    def reset(self, scene: Scene) -> Start:
        """Make a scene, drawn from a seed or stored.

        The task is loaded anew, since some of RLBench's tasks add to their conditions with every episode.

        Raises:
            SceneError: this RLBench cannot make the scene.
            SimulatorError: the simulator does not start, or failed.
        """
        self._task = None
        if not isinstance(scene, (SeededScene, StoredScene)):
            raise SceneError(f"RLBench cannot make {scene}; it makes scenes drawn from a seed and stored ones")
        if isinstance(scene, SeededScene) and scene.perturbation is not None:
            raise SceneError(f"RLBench cannot change '{scene.perturbation}' about its scenes; leave the change out")
        with making_scene(f"'{scene.task}', variation {scene.variation}"):
            kind = task_class(scene.task)
            if self._simulator is None:
                self._simulator = launch(self._motion, self._observed)
            task = self._simulator.get_task(kind)
            task.set_variation(scene.variation)
            instructions, seen = self._make(task, scene)
        self._task, self._steps, self._over = task, 0, False
        self._motion.simulated_steps = 0
        return Start(self._observed_now(seen), tuple(instructions))

    def step(self, action: Action) -> Step:
        """Go to the target by RLBench's planner, then open or close the gripper.

        Raises:
            SceneError: there is no scene.
            SimulatorError: the simulator failed.
        """
        if self._task is None:
            raise SceneError("there is no scene to act in; reset RLBench's environment to one first")
        target = action.arms[ARM]
        self._steps += 1
        refused = why_no_pose(target)
        try:
            if refused is None:
                self._motion.ignore_collisions = target.ignore_collisions
                numbers = action_from(target, with_collision_flag=self._dialect.flag_in_action)
                try:
                    seen, _, over = self._task.step(numbers)
                except Exception as error:
                    refused = refusal(error)
                    if refused is None:
                        raise
                else:
                    success = self._motion.succeeded() and not self._over
                    self._over = self._over or (over and not success)
                    return Step(self._observed_now(seen), success)
            return Step(self._observed_now(self._task.get_observation()), False, refused)
        except Exception as error:
            raise failure(error, f"at action {self._steps}") from error

    def hold(self) -> None:
        """Nothing has to be done: the simulation stands still between actions."""

    def close(self) -> None:
        """End CoppeliaSim, and the display if it is one of our own."""
        simulator, self._simulator, self._task = self._simulator, None, None
        try:
            if simulator is not None:
                simulator.shutdown()
        finally:
            self._display.close()

    def _make(
        self, task: protocols.TaskEnvironment, scene: SeededScene | StoredScene
    ) -> tuple[list[str], protocols.Observation]:
        """Ways to say the goal, and the first observation, both of the same placement: one reset makes all."""
        if isinstance(scene, SeededScene):
            random.seed(scene.seed)
            np.random.seed(scene.seed)
            return task.reset()
        random.seed(0)  # no recording says how this one stood
        restore(scene.random_state)
        if self._dialect.replays_placements and scene.placement_attempts is not None:
            return task.reset(stored_demo(scene.placement_attempts))  # dialects: upstream
        return task.reset()

    def _observed_now(self, seen: protocols.Observation) -> Observation:
        return observation_from(seen, self._cameras, self._steps, self._motion.simulated_steps * FRAME_S)


def restore(state: RandomState) -> None:
    """Set NumPy's global generator, from which RLBench draws, to a recorded state."""
    words = np.array(state.words, np.uint32)
    np.random.set_state(("MT19937", words, state.position, state.has_gauss, state.cached_gaussian))
