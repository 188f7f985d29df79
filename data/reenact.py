"""`python -m data.reenact DIR`: restore the scenes of RLBench's recordings, and go to the keyframes recorded there.

No policy takes part. Where this succeeds, scenes are restored, and cameras, actions, gripper and success of the
installed RLBench mean what this program takes them to mean: run it before the first evaluation in CoppeliaSim.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console

from data.demos import ReadOptions, read_recording
from data.recordings import Recording, find_recordings
from data.stored_scenes import read_scene, taking_turns
from gnfactor.actions import Action, ArmTarget
from gnfactor.build import environment
from gnfactor.command import Parser, run
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import Env
from gnfactor.evaluation.film import outcome
from gnfactor.rollout import Episode, rollout
from gnfactor.scene import ARM, Observation, View

CAMERA = "front"
SAME_SURFACE_M = 0.01
SAME_SCENE = 0.02
"""Share of pixels that may see another surface than the recording before the scene counts as another one: edges may."""


@dataclass(frozen=True)
class Reenactment:
    """What came of one recording."""

    name: str
    elsewhere: float
    """Share of the first picture's pixels that see a surface more than `SAME_SURFACE_M` from the recorded one."""
    same_words: bool
    """The goal is said as in the recording."""
    episode: Episode

    @property
    def is_restored(self) -> bool:
        """Whether the scene is the recorded one."""
        return self.same_words and self.elsewhere <= SAME_SCENE

    def __str__(self) -> str:
        scene = "the recorded scene" if self.is_restored else "ANOTHER SCENE"
        words = "" if self.same_words else f", told '{self.episode.instruction}'"
        return f"{self.name}: {scene} ({self.elsewhere:.1%} of the pixels differ{words}), {outcome(self.episode)}"


class Reenactor:
    """A policy that goes to a demonstration's keyframes, one after the other, and keeps what it saw first."""

    def __init__(self, demonstration: Demonstration) -> None:
        self._demonstration = demonstration
        self.seen_first: Observation | None = None

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:  # noqa: ARG002
        """The next keyframe of each; after the last one, that one again."""
        self.seen_first = self.seen_first or observations[0]
        return [self._keyframe(observation.step) for observation in observations]

    def reset(self, index: int) -> None:
        """There is nothing to forget."""

    def _keyframe(self, number: int) -> Action:
        made = self._demonstration
        frame = made.keyframes[min(number, len(made.keyframes) - 1)]
        there = made.observations[frame].arms[ARM]
        return Action({ARM: ArmTarget(there.world_from_gripper, there.gripper_open, made.ignore_collisions[frame])})


def reenact(env: Env, recording: Recording, made: Demonstration) -> Reenactment:
    """Restore the scene of a recording and go to its keyframes.

    Args:
        env: looks through `CAMERA`, in the size of the recording.
        recording: whose scene is restored.
        made: the same recording, with its pictures of `CAMERA`.

    Raises:
        DataError: the recording does not say how its scene was made.
    """
    scene = read_scene(recording)
    policy = Reenactor(made)
    episode = rollout(env, policy, scene, max_steps=len(made.keyframes))
    seen = policy.seen_first
    elsewhere = 1.0 if seen is None else share_elsewhere(seen.views[CAMERA], made.observations[0].views[CAMERA])
    return Reenactment(scene.demonstration, elsewhere, episode.instruction in made.instructions, episode)


def share_elsewhere(seen: View, recorded: View) -> float:
    """Share of the pixels whose depths are further apart than `SAME_SURFACE_M`."""
    return float((np.abs(seen.depth_m - recorded.depth_m) > SAME_SURFACE_M).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 all scenes restored, 1 some not, 2 wrong use."""
    parser = Parser(prog="python -m data.reenact", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recordings", type=Path, help="folder of tasks, as RLBench, PerAct and GNFactor record them")
    parser.add_argument("--tasks", default=None, help="comma-separated names; all without")
    parser.add_argument("--episodes", type=int, default=5, help="of each task")
    parser.add_argument("--renderer", default="opengl", choices=environment("rlbench").renderers)

    def command(console: Console) -> int:
        given = parser.parse_args(arguments)
        names = cast("str | None", given.tasks)
        tasks = None if names is None else names.split(",")
        found = find_recordings(cast("Path", given.recordings), tasks).recordings
        results: list[Reenactment] = []
        for task in dict.fromkeys(recording.task for recording in found):
            of_task = taking_turns([recording for recording in found if recording.task == task])
            for recording in of_task[: cast("int", given.episodes)]:
                results.append(_one(recording, cast("str", given.renderer)))
                print(results[-1], flush=True)
        restored = sum(result.is_restored for result in results)
        reached = sum(result.episode.success is True for result in results)
        print(f"{restored} of {len(results)} scenes restored, {reached} of {len(results)} reenactments successful")
        if restored < len(results):
            console.print("a scene that is not restored was recorded by another RLBench, or with other tasks")
        return 0 if restored == len(results) else 1

    return run(command, "interrupted")


def _one(recording: Recording, renderer: str) -> Reenactment:
    """One recording in a simulator of its own."""
    made = read_recording(recording, ReadOptions(cameras=(CAMERA,)))
    camera = made.observations[0].views[CAMERA].camera
    env = environment("rlbench").make((CAMERA,), (camera.width, camera.height), renderer)
    try:
        return reenact(env, recording, made)
    finally:
        env.close()


if __name__ == "__main__":
    sys.exit(main())
