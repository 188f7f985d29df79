"""An episode as a video, with what the policy was told and what came of it written below the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from gnfactor.envs.base import Env
from gnfactor.errors import ConfigError
from gnfactor.rollout import Episode
from gnfactor.video import caption, outlined, write_video

OnFrame = Callable[[UInt8[np.ndarray, "_ _ 3"]], None]

_ROWS = 4
_LAST_FRAME_S = 1.5
_COLOURS = {True: (60, 180, 75), False: (200, 60, 50)}


@dataclass(frozen=True)
class Film:
    """How to film an episode, and where to."""

    path: Path
    """Ends in .webm."""
    camera: str
    image_size: tuple[int, int] = (320, 320)
    """Width and height in pixels, of the film only: the policy sees what it always sees."""
    frequency_hz: float = 10.0
    """Pictures for each second of motion; the film plays at the speed of the motion."""


@runtime_checkable
class Filmable(Env, Protocol):
    """An environment that shows its motion."""

    def watch(self, on_frame: OnFrame | None, camera: str, image_size: tuple[int, int], frequency_hz: float) -> None:
        """Show `on_frame` a picture (RGB) at this rate of simulated time from now on, or None: stop showing.

        What happens in the world is the same, watched or not.
        """
        ...


def film(env: Env, how: Film, run: Callable[[], Episode]) -> Episode:
    """Run an episode of `env` and leave a video of it.

    Raises:
        ConfigError: the environment cannot be filmed.
        DataError: the file cannot be written.
    """
    if not isinstance(env, Filmable):
        raise ConfigError("this environment cannot be filmed; set evaluate.videos=false")
    frames: list[UInt8[np.ndarray, "_ _ 3"]] = []
    env.watch(frames.append, how.camera, how.image_size, how.frequency_hz)
    try:
        episode = run()
    finally:
        env.watch(None, how.camera, how.image_size, how.frequency_hz)
    if frames:
        write_video(how.path, _captioned(frames, episode, how), how.frequency_hz)
    return episode


def outcome(episode: Episode) -> str:
    """What came of an episode, in words."""
    actions = f"{episode.steps} action{'s' if episode.steps != 1 else ''}"
    words = {
        "success": f"success after {actions}",
        "max_steps": f"no success in {actions}",
        "refused": f"failed: action {episode.steps} was refused: {episode.reason}",
        "crashed": f"failed: {episode.reason}",
        "done": f"said to be done after {actions}",
        "stopped": f"stopped by the operator after {actions}",
    }
    return words[episode.ending]


def _captioned(frames: list[UInt8[np.ndarray, "_ _ 3"]], episode: Episode, how: Film) -> Iterator[np.ndarray]:
    """Every frame with the instruction; the last one stays for a while, with the outcome."""
    for frame in frames:
        yield caption(frame, [episode.instruction], rows=_ROWS)
    end = outlined(frames[-1], _COLOURS[bool(episode.success)])
    yield from repeat(
        caption(end, [episode.instruction, outcome(episode)], rows=_ROWS), round(_LAST_FRAME_S * how.frequency_hz)
    )
