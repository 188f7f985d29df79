"""One conformance suite for every environment: simulated, recorded or real.

    for verdict in check_env(make_env, scene):
        print(verdict)

Every check takes a fresh environment. What an environment does not declare is not tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gnfactor.envs import promises
from gnfactor.envs.base import Capabilities, Scene
from gnfactor.envs.promises import MakeEnv, opened


@dataclass(frozen=True)
class Check:
    """One promise and how to test it."""

    name: str
    run: Callable[[MakeEnv, Scene], None]
    declared: Callable[[Capabilities], bool]
    """Whether the environment promises this at all."""


@dataclass(frozen=True)
class Verdict:
    """What came of one check."""

    name: str
    passed: bool | None
    """None: the environment does not promise this."""
    complaint: str = ""

    def __str__(self) -> str:
        word = {True: "kept", False: "BROKEN", None: "not promised"}[self.passed]
        return f"{word:12} {self.name}" + (f": {self.complaint}" if self.complaint else "")


def check_env(make_env: MakeEnv, scene: Scene) -> list[Verdict]:
    """Run every check that the environment's capabilities call for, each on a fresh environment."""
    with opened(make_env) as env:
        capabilities = env.capabilities
    return [_verdict(check, make_env, scene, capabilities) for check in CHECKS]


def _verdict(check: Check, make_env: MakeEnv, scene: Scene, capabilities: Capabilities) -> Verdict:
    if not check.declared(capabilities):
        return Verdict(check.name, None)
    try:
        check.run(make_env, scene)
    except Exception as error:
        return Verdict(check.name, False, f"{type(error).__name__}: {error}")
    return Verdict(check.name, True)


def _always(capabilities: Capabilities) -> bool:  # noqa: ARG001 (one signature for all)
    return True


def _seeded(capabilities: Capabilities) -> bool:
    return capabilities.seeded


def _knows_success(capabilities: Capabilities) -> bool:
    return capabilities.knows_success


CHECKS: tuple[Check, ...] = (
    Check("an episode starts complete", promises.start_is_complete, _always),
    Check("poses are rigid and in metres", promises.poses_are_rigid, _always),
    Check("pictures fit their cameras", promises.pictures_fit_their_cameras, _always),
    Check("depth is metric and around the workspace", promises.depth_is_metric, _always),
    Check("cameras agree on where things are", promises.cameras_agree, _always),
    Check("step and time advance", promises.steps_advance, _always),
    Check("success is known", promises.success_is_known, _knows_success),
    Check("targets are reached in the frame of the observations", promises.targets_are_reached, _always),
    Check("the gripper obeys", promises.gripper_obeys, _always),
    Check("absurd targets are refused with a reason", promises.absurd_targets_are_refused, _always),
    Check("observations keep their moment", promises.observations_are_kept, _always),
    Check("unknown scenes are refused", promises.unknown_scenes_are_refused, _always),
    Check("it holds at any time", promises.holds_at_any_time, _always),
    Check("it closes twice", promises.closes_twice, _always),
    Check("scenes repeat", promises.scenes_repeat, _seeded),
    Check("scenes repeat in another process", promises.scenes_repeat_in_another_process, _seeded),
)
