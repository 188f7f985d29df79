"""A simulator that records: RLBench, started, with one task at a time and a rig of cameras in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gnfactor.demonstration import ExpertFailure
from gnfactor.envs.base import SeededScene
from gnfactor.envs.rlbench import protocols
from gnfactor.envs.rlbench.display import Display
from gnfactor.envs.rlbench.installation import require_rlbench
from gnfactor.envs.rlbench.recording import Film, Recording, Wanted, filmed, record
from gnfactor.envs.rlbench.rig import Rig
from gnfactor.envs.rlbench.tasks import task_class
from gnfactor.scene import Camera


class Recorder:
    """Records demonstrations, in any scenes one after the other. The simulator starts with the first of them.

    Args:
        cameras: names of RLBench's cameras to look through.
        image_size: (width, height) of their pictures.
        rig: further places to look from, by name; may be empty.
        wanted: which frames are to have views from there.
        renderer: a name in `api.RENDER_MODES`.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        image_size: tuple[int, int],
        rig: Mapping[str, Camera],
        wanted: Wanted,
        renderer: str = "opengl",
    ) -> None:
        self._cameras, self._image_size, self._renderer = tuple(cameras), image_size, renderer
        self._rig_cameras, self._wanted = dict(rig), wanted
        self._display: Display | None = None
        self._environment: protocols.Environment | None = None
        self._film = Film()

    def record(self, scene: SeededScene) -> Recording | ExpertFailure:
        """Make a scene and let RLBench do its task, once; see `recording.record`.

        Raises:
            MissingExtraError: RLBench or PyRep is not installed.
            SimulatorError: CoppeliaSim does not start, or the rig could not be used.
            SceneError: RLBench has no such task, or cannot load it.
        """
        if self._environment is None:
            self._environment = self._launch()
        from gnfactor.envs.rlbench.outcomes import making_scene  # noqa: PLC0415

        # The task is loaded anew, since some of RLBench's tasks add to their conditions with every episode.
        with making_scene(f"'{scene.task}', variation {scene.variation}"):
            task = self._environment.get_task(filmed(task_class(scene.task), self._film))
        return record(task, self._film, scene)

    def close(self) -> None:
        """End the simulator; safe to call twice."""
        environment, display = self._environment, self._display
        self._environment = self._display = None
        if environment is not None:
            environment.shutdown()
        if display is not None:
            display.close()

    def _launch(self) -> protocols.Environment:
        """Start the simulator and put the rig's camera into it."""
        require_rlbench()
        self._display = Display()
        from pyrep.objects.vision_sensor import VisionSensor  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
        from rlbench.action_modes.arm_action_modes import (  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
            EndEffectorPoseViaPlanning,
        )

        from gnfactor.envs.rlbench import api  # noqa: PLC0415

        environment = api.launch(
            EndEffectorPoseViaPlanning(), api.observation_config(self._cameras, self._image_size, self._renderer)
        )
        # The camera is made before the simulation runs, so that it is there as long as the scene is.
        rig = Rig(VisionSensor, self._rig_cameras, api.RENDER_MODES[self._renderer]) if self._rig_cameras else None
        self._film = Film(
            look_around=None if rig is None else rig.look, wanted=self._wanted, with_flags=api.dialect().flag_in_action
        )
        return environment
