"""Lists of scenes that names and numbers determine, on every machine and for ever.

A list is identified by its `source`: any words and numbers, which are hashed.
"""

from __future__ import annotations

import hashlib

import numpy as np


def draw_variation(task: str, variation_count: int, index: int, *source: object) -> int:
    """The variation of a list's scene number `index`: shuffled rounds through all of them, which cover them evenly."""
    shuffled = np.random.default_rng(_number(task, *source, "round", index // variation_count))
    return int(shuffled.permutation(variation_count)[index % variation_count])


def draw_seed(seeds: range, task: str, *source: object) -> int:
    """One of `seeds`."""
    return seeds[_number(task, *source) % len(seeds)]


def _number(*parts: object) -> int:
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")
