"""From a teacher's many channels to a few: principal components, or random directions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnfactor.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Projection:
    """A change of coordinates: (feature - mean) @ directions."""

    mean: NDArray[np.float32]
    """(channels before,)"""
    directions: NDArray[np.float32]
    """(channels before, channels after)"""

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (pixels, channels before) as (pixels, channels after)."""
        return np.asarray((features - self.mean) @ self.directions, np.float32)

    @property
    def digest(self) -> str:
        """Equal for equal numbers."""
        return hashlib.sha256(self.mean.tobytes() + self.directions.tobytes()).hexdigest()


def principal_components(samples: Iterable[NDArray[np.float32]], channels: int) -> Projection:
    """The directions in which features differ most from their mean, largest first; lengths along them are kept.

    Args:
        samples: features (pixels, channels before), in parts; each part is looked at once.
        channels: how many directions.

    Raises:
        ConfigError: there are fewer channels, or fewer features, than directions.
    """
    count, total, squares = 0, np.zeros(0), np.zeros((0, 0))
    for part in samples:
        exact = part.astype(np.float64)
        if count == 0:
            _refuse_more_channels(channels, exact.shape[1])
            total, squares = np.zeros(exact.shape[1]), np.zeros((exact.shape[1],) * 2)
        count += len(exact)
        total += exact.sum(0)
        squares += exact.T @ exact
    if count < channels:
        raise ConfigError(
            f"data.views.channels is {channels}, but there are only {count} features to find their principal "
            "components from; collect more demonstrations, or ask for fewer channels"
        )
    mean = total / count
    _, vectors = np.linalg.eigh(squares / count - np.outer(mean, mean))  # smallest variance first
    directions = vectors[:, ::-1][:, :channels]
    largest = np.abs(directions).argmax(0)
    directions = directions * np.sign(
        directions[largest, np.arange(channels)]
    )  # or each would be itself or its opposite
    return Projection(mean.astype(np.float32), np.ascontiguousarray(directions, np.float32))


def random_directions(before: int, after: int) -> Projection:
    """Fixed random directions, which keep distances on average (Johnson and Lindenstrauss 1984).

    Raises:
        ConfigError: there are fewer channels than directions.
    """
    _refuse_more_channels(after, before)
    drawn = np.random.default_rng((before, after)).standard_normal((before, after)) / np.sqrt(after)
    return Projection(np.zeros(before, np.float32), drawn.astype(np.float32))


def features_at(feature_map: NDArray[np.float32], pixel: NDArray[Any], width: int, height: int) -> NDArray[np.float32]:
    """Features (pixels, channels) of some pixels of a picture: bilinear between the map's cells.

    The map (channels, rows, columns) covers the picture: the centre of column c lies at u = (c + 0.5) * width / columns
    - 0.5, with pixel centres at integers. Beyond the outermost centres the outermost cells go on. A map with a cell for
    each pixel gives exactly that cell.

    Args:
        feature_map: of the whole picture.
        pixel: (pixels, 2), columns and rows.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    _, rows, columns = feature_map.shape
    left, right, to_right = _neighbours(pixel[:, 0], width, columns)
    above, below, to_below = _neighbours(pixel[:, 1], height, rows)
    upper = (1 - to_right) * feature_map[:, above, left] + to_right * feature_map[:, above, right]
    lower = (1 - to_right) * feature_map[:, below, left] + to_right * feature_map[:, below, right]
    return np.ascontiguousarray(((1 - to_below) * upper + to_below * lower).T, np.float32)


def _neighbours(
    place: NDArray[Any], pixels: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The cells before and after each pixel, and how far it is from the one to the other, 0 to 1."""
    exact = np.clip((place.astype(np.float64) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    before = np.floor(exact).astype(np.int64)
    return before, np.minimum(before + 1, cells - 1), (exact - before).astype(np.float32)


def _refuse_more_channels(after: int, before: int) -> None:
    if after > before:
        raise ConfigError(
            f"data.views.channels is {after}, but the teacher's features have only {before} channels; ask for at most "
            f"as many, or take them as they are: data.views.projection=none data.views.channels={before}"
        )
