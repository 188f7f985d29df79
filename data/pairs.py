"""Which moments of an episode are learned from, and how often: (start frame, keyframe it leads to, weight)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from data.episode import EpisodeInfo
from gnfactor.errors import ConfigError


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


def stored_pairs(
    info: EpisodeInfo,
    start_every: int,
    counting: Literal["distinct", "published"] = "distinct",
    keyframe_weight: float = 1.0,
) -> list[Pair]:
    """Training pairs of a stored episode, by the positions of its frames in the store; see `training_pairs`.

    Where only some frames of a recording were kept, these are the pairs of the whole recording.

    Raises:
        ConfigError: one starts at a frame that was not kept.
    """
    numbers = info.frame_numbers or tuple(range(info.frames))
    position = {number: place for place, number in enumerate(numbers)}
    keyframes = [numbers[place] for place in info.keyframes]
    pairs = training_pairs(numbers[-1] + 1, keyframes, start_every, counting, keyframe_weight)
    absent = [pair.frame for pair in pairs if pair.frame not in position]
    if absent:
        raise ConfigError(
            f"data.start_every is {start_every}, but frame {absent[0]} of the recording '{info.name}' was not kept; of "
            f"it the store has the frames {', '.join(map(str, numbers[:6]))} ...: set data.start_every to a multiple "
            "of their distance, or convert the recordings again with another --start-every or --frames all"
        )
    return [Pair(position[pair.frame], position[pair.keyframe], pair.weight) for pair in pairs]


def used_frames(frames: int, keyframes: Sequence[int], start_every: int) -> tuple[int, ...]:
    """Frames of an episode that training uses: those that pairs start from, and the keyframes that they lead to."""
    pairs = training_pairs(frames, keyframes, start_every)
    return tuple(sorted({frame for pair in pairs for frame in (pair.frame, pair.keyframe)}))


def start_frames(pairs: Sequence[Pair]) -> list[int]:
    """Frames that pairs start from, each once, in order."""
    return sorted({pair.frame for pair in pairs})


def _next(frame: int, keyframes: Sequence[int]) -> int:
    return keyframes[bisect_right(keyframes, frame)]
