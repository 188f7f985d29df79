"""A real robot as an Env: what stands before it now, one keyframe at a time, held whenever nobody moves it."""

from __future__ import annotations

from dataclasses import replace

from gnfactor.actions import Action
from gnfactor.envs.base import Capabilities, LiveScene, Scene, Start, Step
from gnfactor.errors import SceneError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.executors import Executor
from gnfactor.ros.journal import Began, Forgetful, Journal, Seen
from gnfactor.ros.link import RobotLink
from gnfactor.ros.observing import observation_from
from gnfactor.ros.plan import Approve
from gnfactor.ros.safety import SafetyGuard
from gnfactor.scene import Observation


class RobotEnv:
    """One robot behind one link, with the guard between it and any policy."""

    def __init__(
        self,
        link: RobotLink,
        config: RobotConfig,
        image_size: tuple[int, int] | None = None,
        approve: Approve | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Args:
        link: the way to the robot.
        config: of the same robot.
        image_size: width and height of the pictures that the policy is shown, cut and made smaller from the
            robot's; None: as the robot takes them. The guard always sees the latter.
        approve: asked about every action between the guard's judgement and the motion; None: nobody is.
        journal: told of what is seen, wanted, judged and done.
        """
        self._link, self._config, self._image_size = link, config, image_size
        self._journal = journal or Forgetful()
        self._guard = SafetyGuard(config)
        self._executor = Executor(link, self._guard, config, approve, self._journal)
        self._began_s: float | None = None
        self._step = 0
        self._seen: Observation | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(seeded=False, restores_stored_scenes=False, knows_success=False)

    def reset(self, scene: Scene) -> Start:
        """Take what stands before the robot as a new episode; moves nothing.

        Raises:
            SceneError: the scene is not a live one.
            RobotError: the robot cannot be reached.
            ObservationError: a camera's picture is smaller than the policy's.
        """
        if not isinstance(scene, LiveScene):
            raise SceneError(f"a real robot cannot make {scene}; set it up by hand and use a LiveScene")
        if not scene.instruction.strip():
            raise SceneError("the instruction is empty; say what the robot is to do")
        self._journal.note(Began(scene.instruction))
        self._link.hold()
        self._step, self._began_s = 0, self._link.now_s()
        return Start(self._observe(self._began_s), (scene.instruction,))

    def step(self, action: Action) -> Step:
        """Carry out one action, or refuse it; the robot holds afterwards.

        Raises:
            RobotError: the robot cannot be reached any more.
            SceneError: there was no reset.
        """
        if self._began_s is None or self._seen is None:
            raise SceneError("the robot has no episode yet; call reset first")
        outcome = self._executor.execute(action)
        self._step += 1
        if outcome.ended is not None:  # nothing was done, and nobody looks any more
            return Step(replace(self._seen, step=self._step), None, outcome.why_ended, ended=outcome.ended)
        return Step(self._observe(self._began_s), None, outcome.refused, outcome.blocked)

    def hold(self) -> None:
        """Command the measured pose."""
        self._link.hold()

    def close(self) -> None:
        self._link.close()

    def _observe(self, began_s: float) -> Observation:
        seen = self._link.observe(self._config.guard.max_image_age_s)
        state = self._link.state()
        time_s = self._link.now_s() - began_s
        self._seen = observation_from(seen, state, self._step, time_s, self._config, self._image_size)
        self._journal.note(Seen(self._seen))
        return self._seen
