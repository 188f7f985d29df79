"""A policy in the shadow of a recorded run: asked at every observation what it would have done, and told of nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gnfactor.actions import Action, ArmTarget
from gnfactor.agent import Agent
from gnfactor.errors import ConfigError
from gnfactor.kinematics import between
from gnfactor.model import PolicyConfig
from gnfactor.resizing import fit_view
from gnfactor.ros.log.turns import Turn
from gnfactor.ros.safety import SafetyGuard
from gnfactor.scene import ARM, Observation

_ROUNDING_M, _ROUNDING_DEG = 1e-5, 1e-3
"""Centres of voxels and of bins are computed in float32."""


@dataclass(frozen=True)
class Resolution:
    """What a policy can tell apart; less than that is no other decision."""

    voxel_m: float
    """Along the axis where voxels are longest."""
    rotation_bin_deg: float


@dataclass(frozen=True)
class Difference:
    """One action of a policy beside the recorded one."""

    step: int
    """Its number, from 1 on."""
    time_s: float
    distance_m: float
    """Between the two places; nan where one is no place."""
    turn_deg: float
    gripper: bool
    """Whether the one opens and the other closes."""
    collisions: bool
    """Whether the one accepts contact and the other does not."""
    identical: bool
    """To the last bit."""
    other: bool
    """Whether this is another decision: farther than a voxel or a bin away, or another gripper or contact."""
    recorded_verdict: str | None
    """Why the guard refused the recorded action, or None."""
    verdict: str | None
    """Why it would refuse this one, judged by the same pictures and the same state."""


def resolution(config: PolicyConfig) -> Resolution:
    """Of a policy.

    Raises:
        ConfigError: it has no action head.
    """
    if config.head is None:
        raise ConfigError("this policy has no action head (policy.head=null): there is nothing to compare")
    sizes_m = (np.array(config.grid.upper) - np.array(config.grid.lower)) / config.grid.size
    return Resolution(float(sizes_m.max()), 360 / config.head.network.rotation_bins)


class Shadow:
    """Asks one policy.

    Raises:
        ConfigError: the policy has no action head.
    """

    def __init__(self, agent: Agent, guard: SafetyGuard) -> None:
        self.resolution = resolution(agent.policy.config)
        self._agent, self._guard = agent, guard
        agent.reset(0)

    def ask(self, turn: Turn) -> Difference | None:
        """What it would have done; None where the recorded policy decided nothing.

        Raises:
            ObservationError: the recording has not the cameras that the policy needs, or too small pictures.
        """
        if turn.observation is None or turn.action is None:
            return None
        (action,) = self._agent.act([_fitted(turn.observation, self._agent)], [turn.instruction])
        return compare(turn, turn.action, action, self.resolution, _judged(turn, action, self._guard))


def compare(turn: Turn, recorded: Action, action: Action, least: Resolution, verdict: str | None) -> Difference:
    """One action beside the recorded one of its turn."""
    before, now = recorded.arms.get(ARM), action.arms[ARM]
    distance_m, turn_deg = (np.nan, np.nan) if before is None else _apart(before, now)
    gripper = before is None or before.gripper_open != now.gripper_open
    collisions = before is None or before.ignore_collisions != now.ignore_collisions
    near = distance_m <= least.voxel_m + _ROUNDING_M and turn_deg <= least.rotation_bin_deg + _ROUNDING_DEG
    judged = turn.verdict
    return Difference(
        step=turn.number,
        time_s=turn.start.time_s,
        distance_m=distance_m,
        turn_deg=turn_deg,
        gripper=gripper,
        collisions=collisions,
        identical=before is not None and not gripper and not collisions and _same_bits(before, now),
        other=not near or gripper or collisions,
        recorded_verdict=None if judged is None else judged.reason,
        verdict=verdict,
    )


def _judged(turn: Turn, action: Action, guard: SafetyGuard) -> str | None:
    moment = turn.judging
    if moment.state is None:
        return "the recording holds no state to judge it by"
    return guard.check(action, turn.views(moment), moment.state, moment.time_s).reason


def _fitted(observation: Observation, agent: Agent) -> Observation:
    views = {name: view for name, view in observation.views.items() if name in agent.cameras}
    return replace(observation, views={name: fit_view(name, view, agent.image_size) for name, view in views.items()})


def _apart(before: ArmTarget, now: ArmTarget) -> tuple[float, float]:
    poses = [np.asarray(target.world_from_gripper, dtype=np.float64) for target in (before, now)]
    if not all(np.isfinite(pose).all() for pose in poses):
        return np.nan, np.nan
    distance_m, turn_rad = between(*poses)
    return distance_m, float(np.rad2deg(turn_rad))


def _same_bits(before: ArmTarget, now: ArmTarget) -> bool:
    poses: list[Float[np.ndarray, "4 4"]] = [target.world_from_gripper.astype(np.float64) for target in (before, now)]
    return poses[0].tobytes() == poses[1].tobytes()
