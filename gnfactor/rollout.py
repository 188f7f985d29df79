"""One episode: a policy acts in an environment until it succeeds, fails, or has had its share of actions."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gnfactor.envs.base import Env, Policy, Scene, Word
from gnfactor.errors import GNFactorError

OnRefusal = Literal["end", "continue"]
"""What a refused action means: the episode has failed, as in the published protocol, or the policy may try again."""

Unattended = Literal["success", "max_steps", "refused", "crashed"]
"""How an episode ends beside which nobody sits."""
Ending = Literal[Unattended, Word]


@dataclass(frozen=True)
class Episode:
    """What came of one scene."""

    scene: Scene
    instruction: str
    """What the policy was told."""
    success: bool | None
    """None where the environment cannot know."""
    steps: int
    """Actions taken, refused ones included."""
    ending: Ending
    reason: str | None = None
    """Of a refusal, a crash or an end by somebody's word; with "max_steps" of the last action that was refused or
    blocked, if one was."""
    repeated: bool = False
    """The environment's process died in a first attempt."""


def rollout(
    env: Env, policy: Policy, scene: Scene, max_steps: int, on_refusal: OnRefusal = "end", index: int = 0
) -> Episode:
    """Let `policy` act in `scene`; the environment holds when the episode is over, whatever ended it.

    An exception of the environment is a result ("crashed"). One of the policy is not: the environment holds, and the
    exception goes on.

    Args:
        env: where to act.
        policy: who acts; the scripted expert, an agent, a replay.
        scene: what to reset to.
        max_steps: actions after which the episode is over.
        on_refusal: what a refused action means.
        index: the environment's number, for the policy's memory.
    """
    episode: Episode | None = None
    try:
        episode = _act(env, policy, scene, max_steps, on_refusal, index)
        return episode
    finally:
        _hold(env, episode)


def _hold(env: Env, episode: Episode | None) -> None:
    """Hold; an error of that says also why the episode had ended, which may be its cause."""
    try:
        env.hold()
    except GNFactorError as error:
        reason = None if episode is None else episode.reason
        if reason is None:
            raise
        raise type(error)(reason if str(error) in reason else f"{reason}; then: {error}") from error


def _act(env: Env, policy: Policy, scene: Scene, max_steps: int, on_refusal: OnRefusal, index: int) -> Episode:
    policy.reset(index)
    try:
        start = env.reset(scene)
    except Exception as error:
        return crashed(scene, "", 0, describe(error))
    observation, instruction = start.observation, start.instructions[0]
    success, reason = None, None
    for steps in range(1, max_steps + 1):
        (action,) = policy.act([observation], [instruction])
        try:
            step = env.step(action)
        except Exception as error:
            return crashed(scene, instruction, steps, describe(error))
        observation, success, reason = step.observation, step.success, step.refused or step.blocked or reason
        if success:
            return Episode(scene, instruction, True, steps, "success")
        if step.ended is not None:
            return Episode(scene, instruction, success, steps, step.ended, step.refused)
        if step.refused is not None and on_refusal == "end":
            return Episode(scene, instruction, success, steps, "refused", reason)
    return Episode(scene, instruction, success, max_steps, "max_steps", reason)


def crashed(scene: Scene, instruction: str, steps: int, reason: str, repeated: bool = False) -> Episode:
    """The episode of a scene in which the environment failed."""
    return Episode(scene, instruction, False, steps, "crashed", reason, repeated)


def describe(error: Exception) -> str:
    """An exception in one line, with the place that raised it unless it is one of ours that explains itself."""
    message = " ".join(str(error).split())
    if isinstance(error, GNFactorError):
        return message
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"
