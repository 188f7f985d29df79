"""RLBench's picture files: colour, depth packed into 24 bits, and masks of object handles."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gnfactor.errors import DataError

_DEPTH_STEPS = 2**24 - 1
_PICTURE = re.compile(r"\d+\.png")


def check_pictures(folder: Path, count: int) -> None:
    """A folder must hold 0.png to <count - 1>.png, one for each frame, and no more.

    Raises:
        DataError: names the picture that is missing or too many.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; record the episode with this camera or leave the camera out")
    there = {entry.name for entry in folder.iterdir() if _PICTURE.fullmatch(entry.name)}
    wanted = {f"{frame}.png" for frame in range(count)}
    for what, names in (("is missing", wanted - there), ("is one too many", there - wanted)):
        if names:
            name = min(names, key=lambda name: int(name[:-4]))
            raise DataError(f"{folder / name} {what}: {count} frames were recorded, {len(there)} pictures are there")


def has_pictures(folder: Path) -> bool:
    """Whether there is a folder with any picture; recorders make empty folders for what they leave out."""
    return folder.is_dir() and any(_PICTURE.fullmatch(entry.name) for entry in folder.iterdir())


def read_colour(path: Path) -> NDArray[np.uint8]:
    """A picture, (height, width, 3).

    Raises:
        DataError: the file is damaged or not an 8-bit colour picture.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode != "RGB":
                raise DataError(f"{path} has the colour mode {picture.mode}, not 8-bit RGB; record the episode again")
            return np.array(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a whole PNG picture ({error}); copy or record the episode again") from error


def read_depth_m(path: Path, near_m: float, far_m: float) -> NDArray[np.float32]:
    """Depth (m) along the optical axis; 0 where the renderer saw nothing up to its far plane.

    The three channels are the bytes of the renderer's depth, linear between the near and the far plane.
    """
    steps = _bytes_together(read_colour(path)[..., ::-1])
    depth_m = near_m + steps / _DEPTH_STEPS * (far_m - near_m)
    return np.where(steps == _DEPTH_STEPS, 0, depth_m).astype(np.float32)


def read_labels(path: Path) -> NDArray[np.int32]:
    """Handle of the object at every pixel; the first channel is the lowest byte."""
    return _bytes_together(read_colour(path))


def _bytes_together(picture: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Numbers of 24 bits, lowest byte first."""
    low, middle, high = (picture[..., channel].astype(np.int32) for channel in range(3))
    return low + (middle << 8) + (high << 16)
