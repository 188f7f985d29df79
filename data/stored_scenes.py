"""The scenes in which RLBench's demonstrations were recorded, so that a policy can be tried in them.

A recording says in which state NumPy's generator was before its scene was made; RLBench makes the scene again from
that, the variation and, in upstream, the number of attempts that placing the objects took.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, cast

import numpy as np

from data.pickles import RecordedDemo, load_pickle
from data.recordings import Recording, find_recordings, variation_of
from gnfactor.envs.base import RandomState, StoredScene
from gnfactor.errors import DataError

_GENERATOR, _WORDS = "MT19937", 624


def read_scenes(root: Path, tasks: Sequence[str], episodes: int) -> list[StoredScene]:
    """The scenes of the first recordings of each task; variations that have folders of their own take turns.

    Args:
        root: folder of tasks as RLBench, PerAct and GNFactor record them.
        tasks: whose recordings are wanted.
        episodes: of each task.

    Raises:
        DataError: a task has fewer recordings, or one is damaged or does not say how its scene was made.
    """
    recordings = find_recordings(root, tasks).recordings
    chosen: list[Recording] = []
    for task in tasks:
        there = taking_turns([recording for recording in recordings if recording.task == task])
        if len(there) < episodes:
            raise DataError(
                f"{root} has {len(there)} recordings of {task}, and {episodes} are asked for; "
                f"evaluate fewer: episodes={len(there)}"
            )
        chosen += there[:episodes]
    return [read_scene(recording) for recording in chosen]


def read_scene(recording: Recording) -> StoredScene:
    """The scene of one recording.

    Raises:
        DataError: the recording is damaged or does not say how its scene was made.
    """
    path = recording.folder / "low_dim_obs.pkl"
    demo = load_pickle(path)
    if not isinstance(demo, RecordedDemo):
        raise DataError(f"{path} holds no demonstration of RLBench; record the episode again")
    attempts = demo.fields.get("num_reset_attempts")
    return StoredScene(
        task=recording.task,
        variation=variation_of(recording),
        demonstration="/".join(recording.folder.parts[-4:]),
        random_state=_random_state(demo.fields.get("random_seed"), path),
        placement_attempts=attempts if isinstance(attempts, int) and attempts > 0 else None,
    )


def taking_turns(recordings: Sequence[Recording]) -> list[Recording]:
    """The first of each variation, the second of each, and so on."""
    by_variation: dict[int | None, list[Recording]] = {}
    for recording in recordings:
        by_variation.setdefault(recording.variation, []).append(recording)
    return [one for one in chain.from_iterable(zip_longest(*by_variation.values())) if one is not None]


def _random_state(value: object, path: Path) -> RandomState:
    try:
        generator, words, position, has_gauss, cached_gaussian = cast("tuple[Any, ...]", value)
        numbers = np.array(words)
        state = RandomState(tuple(int(word) for word in numbers), int(position), int(has_gauss), float(cached_gaussian))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path} does not say in which state NumPy's generator was when the scene was made ({error}), so that the "
            "scene cannot be made again; evaluate in scenes drawn from a seed: leave out demos"
        ) from error
    if generator != _GENERATOR or numbers.shape != (_WORDS,) or numbers.dtype != np.uint32:
        raise DataError(
            f"{path} has a random state of {generator!r} with {numbers.dtype} numbers {numbers.shape}; {_WORDS} of "
            f"uint32 for {_GENERATOR} are expected: the file is damaged, or of an unknown version of NumPy"
        )
    return state
