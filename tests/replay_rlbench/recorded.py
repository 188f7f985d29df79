"""Recorded episodes in RLBench's own terms: turned cameras, depth between 0 and 1, poses as position and quaternion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.keyframes import KEYFRAME_RULES
from data.pickles import load_pickle

CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
FULL = 128


@dataclass(frozen=True, eq=False)
class Episode:
    """One recording."""

    folder: Path
    variation: int
    descriptions: list[str]
    words: np.ndarray
    """Of the random state before its scene was made, as is `position`."""
    position: int
    frames: list[dict[str, Any]]
    keyframes: tuple[int, ...]

    @property
    def positions_m(self) -> np.ndarray:
        """Of the gripper, (frames, 3)."""
        return np.stack([np.array(frame["gripper_pose"])[:3] for frame in self.frames])


@cache
def read_episodes(root: Path) -> list[Episode]:
    """The episodes of open_drawer."""
    folders = sorted((root / "open_drawer" / "all_variations" / "episodes").iterdir())
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> Episode:
    demo: Any = load_pickle(folder / "low_dim_obs.pkl")
    frames = [frame.fields for frame in demo.fields["_observations"]]
    opened = np.array([frame["gripper_open"] > 0.5 for frame in frames])
    velocities = np.stack([np.array(frame["joint_velocities"]) for frame in frames])
    variation: Any = load_pickle(folder / "variation_number.pkl")
    texts: Any = load_pickle(folder / "variation_descriptions.pkl")
    state = demo.fields["random_seed"]
    keyframes = KEYFRAME_RULES["published"](opened, velocities)
    return Episode(folder, variation, texts, np.array(state[1]), state[2], frames, tuple(keyframes))


def pictures(episode: Episode, frame: int, camera: str, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth (0 to 1): every so many pixels of the middle of what was recorded, which is what RLBench's
    camera would have drawn in that size, since its longer side has the whole field of view.
    """
    rgb = np.array(Image.open(episode.folder / f"{camera}_rgb" / f"{frame}.png"))
    packed = np.array(Image.open(episode.folder / f"{camera}_depth" / f"{frame}.png")).astype(np.int64)
    depth = (packed @ np.array([65536, 256, 1])) / (2**24 - 1)
    stride, (width, height) = FULL // max(image_size), image_size
    left, top = ((FULL - stride * side) // 2 for side in (width, height))
    part = np.s_[top : top + stride * height : stride, left : left + stride * width : stride]
    return rgb[part], depth[part].astype(np.float32)


def intrinsics(episode: Episode, frame: int, camera: str, image_size: tuple[int, int]) -> np.ndarray:
    """RLBench's, of a picture of that size."""
    matrix = np.array(episode.frames[frame]["misc"][f"{camera}_camera_intrinsics"], np.float64)
    stride = FULL // max(image_size)
    matrix[:2, :2] /= stride
    matrix[:2, 2] = np.array(image_size) / 2
    return matrix
