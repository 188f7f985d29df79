"""RLBench's own motions as demonstrations for a store."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from data.demonstrators import Filming
from data.keyframes import may_be_published_keyframe, published_keyframes
from gnfactor.demonstration import Demonstration, ExpertFailure
from gnfactor.envs.base import SeededScene
from gnfactor.envs.rlbench.convert import FRAME_S, arm_from, observation_from
from gnfactor.envs.rlbench.recorder import Recorder
from gnfactor.envs.rlbench.recording import Recording
from gnfactor.envs.rlbench.tasks import variation_count
from gnfactor.envs.tabletop.rig import rig_cameras
from gnfactor.errors import ConfigError, SimulatorError
from gnfactor.scene import CAMERAS, ArmState

MADE_WITH: Mapping[str, str] = MappingProxyType({"renderer": "rlbench", "keyframe rule": "published"})
"""What the demonstrations of one store have to have in common, besides how they were filmed."""


class RLBenchDemonstrator:
    """RLBench as an expert. The simulator starts with the first demonstration."""

    rejected_placements = 0
    """RLBench does not say how often it placed the objects."""

    def __init__(self, filming: Filming) -> None:
        self._filming = filming
        rig = {} if filming.rig is None else rig_cameras(filming.rig, filming.size)
        self._recorder = Recorder(filming.cameras, filming.size, rig, self._wanted)

    def demonstrate(self, scene: SeededScene) -> Demonstration | ExpertFailure:
        """Make a scene and let RLBench do its task, once.

        Raises:
            GNFactorError: RLBench cannot be used here, or not with what was asked for.
        """
        recording = self._recorder.record(scene)
        if isinstance(recording, ExpertFailure):
            return recording
        return demonstration_of(recording, scene, self._filming)

    def close(self) -> None:
        self._recorder.close()

    def _wanted(self, number: int, arm: ArmState, before: ArmState | None) -> bool:
        """Whether a frame may be one that is to have views; the last one has them in any case."""
        if before is None or (self._filming.frames == "all" and number % self._filming.rig_every == 0):
            return True
        return may_be_published_keyframe(arm.gripper_open, before.gripper_open, arm.joint_velocities)


def demonstration_of(recording: Recording, scene: SeededScene, filming: Filming) -> Demonstration | ExpertFailure:
    """A recording in our terms: keyframes by the published rule, and of all frames those that are to be kept.

    The collision flag of a frame is the one that RLBench noted at the frame before, as in `data.demos`.

    Raises:
        SimulatorError: views are missing, or pictures.
    """
    arms = [arm_from(seen) for seen in recording.frames]
    gripper_open = np.array([arm.gripper_open for arm in arms])
    keyframes = published_keyframes(gripper_open, np.stack([arm.joint_velocities for arm in arms]))
    if not keyframes:
        return ExpertFailure(f"RLBench: recorded {len(arms)} frame(s), in which there is no keyframe")
    kept = range(len(arms)) if filming.frames == "all" else (0, *keyframes)
    position = {frame: index for index, frame in enumerate(kept)}
    flags = (False, *recording.ignore_collisions[:-1])
    return Demonstration(
        task=scene.task,
        variation=scene.variation,
        seed=scene.seed,
        instructions=recording.instructions,
        renderer=MADE_WITH["renderer"],
        observations=tuple(
            observation_from(recording.frames[frame], filming.cameras, bisect_right(keyframes, frame), frame * FRAME_S)
            for frame in kept
        ),
        ignore_collisions=tuple(flags[frame] for frame in kept),
        keyframes=tuple(position[frame] for frame in keyframes),
        target_views={position[frame]: recording.views[frame] for frame in _with_views(recording, keyframes, filming)},
    )


def variation_counts(tasks: Sequence[str]) -> Mapping[str, int]:
    """Numbers of variations of some tasks of the RLBench that is installed.

    Raises:
        GNFactorError: it has no such task, or RLBench is not installed.
    """
    return {task: variation_count(task) for task in tasks}


def check(filming: Filming) -> None:
    """Raise ConfigError for cameras that RLBench has not."""
    unknown = [name for name in filming.cameras if name not in CAMERAS]
    if unknown:
        raise ConfigError(f"--cameras: RLBench has no camera {unknown}; it has {', '.join(CAMERAS)}")


def _with_views(recording: Recording, keyframes: Sequence[int], filming: Filming) -> list[int]:
    """Frames that are to have views: the start, the keyframes and, of all frames, those at equal distances."""
    if filming.rig is None:
        return []
    evenly = range(0, len(recording.frames), filming.rig_every) if filming.frames == "all" else ()
    wanted = sorted({0, *keyframes, *evenly})
    missing = [frame for frame in wanted if frame not in recording.views]
    if missing:
        raise SimulatorError(
            f"RLBench recorded frames {missing} that it did not show to the rig; this RLBench records differently from "
            "those that docs/rlbench.md names"
        )
    return wanted
