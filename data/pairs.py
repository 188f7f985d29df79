"""Which moments of an episode are learned from, and how often: (start frame, keyframe it leads to, weight)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Pair(NamedTuple):
    """One thing to learn from an episode: standing at `frame`, go to `keyframe`."""

    frame: int
    keyframe: int
    weight: float


def training_pairs(
    frames: int,
    keyframes: Sequence[int],
    start_every: int,
    counting: Literal["distinct", "published"] = "distinct",
    keyframe_weight: float = 1.0,
) -> list[Pair]:
    """Pairs of an episode by start frame, each once.

    Args:
        frames: how many the episode has.
        keyframes: increasing frame numbers; the last frame is one.
        start_every: frames 0, this, twice this... start a pair, besides all keyframes but the last.
        counting: weight of a pair that starts at a keyframe: "distinct" gives `keyframe_weight`. "published" gives
            the number of earlier starts (plus one if it is a start itself), for the published replay appends the
            rest of the keyframes after every start (ARM; PerAct; GNFactor).
        keyframe_weight: see `counting`; all other pairs weigh 1.
    """
    counts: Counter[int] = Counter()
    for start in range(0, frames - 1, start_every):
        counts[start] += 1
        if counting == "published":
            counts.update(keyframe for keyframe in keyframes[:-1] if keyframe > start)
    at_keyframe = set(keyframes[:-1])
    weights = {frame: float(count) for frame, count in counts.items()}
    if counting == "distinct":
        weights = dict.fromkeys(counts, 1.0) | dict.fromkeys(at_keyframe, keyframe_weight)
    return [Pair(frame, _next(frame, keyframes), weights[frame]) for frame in sorted(weights)]


def keyframe_pairs(keyframes: Sequence[int]) -> list[Pair]:
    """What an agent meets: the first frame and every keyframe but the last, each leading to the next keyframe."""
    starts = [0, *keyframes[:-1]]
    return [Pair(frame, keyframe, 1.0) for frame, keyframe in zip(starts, keyframes, strict=True)]


def start_frames(pairs: Sequence[Pair]) -> list[int]:
    """Frames that pairs start from, each once, in order."""
    return sorted({pair.frame for pair in pairs})


def _next(frame: int, keyframes: Sequence[int]) -> int:
    return keyframes[bisect_right(keyframes, frame)]
