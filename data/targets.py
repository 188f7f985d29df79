"""What a neural field learns to render: pixels of views that the policy need not see, kept in memory.

Of each picture only some pixels are kept, drawn once by a seed that is the picture's own bytes, so that neither the
order of reading nor what else is in the store changes them. A training sample then draws some of the kept views and
some of their pixels.

The views of a frame are those that were stored to be learned from (`Demonstration.target_views`). A frame without
them, in an episode with or without a rig, offers the recorded cameras instead, the policy's own among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from data.arrays import depth_from_units, units_from_depth
from data.episode import EpisodeInfo
from data.remote import RemoteFolder
from data.store import Store
from gnfactor.actions import Box
from gnfactor.batch import ViewPixels
from gnfactor.config import ViewsConfig
from gnfactor.errors import ConfigError
from gnfactor.evaluation.novel_views import workspace_pixels
from gnfactor.scene import Camera, View

FeaturesOf = Callable[[EpisodeInfo, int, str, View, NDArray[np.uint16]], NDArray[Any]]
"""Features (pixels, channels) of some pixels of a picture: of which episode, at which frame, by which view's name."""
FEATURE_DTYPES = {"fp16": np.float16, "fp32": np.float32}
"""How features may be kept."""

_BYTES_PER_PIXEL = 10
"""Column, row and depth in 2 bytes each, colour in 3, and one for what kind of place it is."""
_MUCH_MEMORY = 1e9
"""Bytes from which on it is said how many there are."""
ELSEWHERE, PLAIN, DETAIL = range(3)
"""What a pixel shows: nothing measured in the box; a surface like its neighbours; a surface where colours change."""
_CONTRAST = 0.1
"""Of full scale: by how much a channel differs within the 3 x 3 pixels around one that shows detail."""

_Parts = list[tuple[NDArray[np.int64], float]]
"""Disjoint sets of positions, and the share of all draws that falls on each."""


@dataclass(frozen=True, eq=False)
class KeptPixels:
    """Some pixels of one picture, in few bytes."""

    camera: Camera
    pixel: NDArray[np.uint16]
    """(pixels, 2): column and row."""
    rgb: NDArray[np.uint8]
    """(pixels, 3)"""
    depth_units: NDArray[np.uint16]
    """(pixels,) of 0.1 mm along the optical axis; 0 = no reading."""
    kind: NDArray[np.uint8]
    """(pixels,): `ELSEWHERE`, or a surface in the policy's box, `PLAIN` or with `DETAIL` around it."""
    feature: NDArray[Any] | None = None
    """(pixels, channels); None where none are distilled."""

    def at(self, chosen: NDArray[np.int64]) -> ViewPixels:
        """The pixels at these positions."""
        return ViewPixels(
            camera=self.camera,
            pixel=self.pixel[chosen].astype(np.int32),
            rgb=self.rgb[chosen],
            depth_m=depth_from_units(self.depth_units[chosen]),
            feature=None if self.feature is None else self.feature[chosen],
        )


def kept_pixels(rgb: NDArray[np.uint8], count: int | None) -> NDArray[np.uint16]:
    """Columns and rows (pixels, 2) of the pixels of a picture that are kept: `count` at random, or all.

    They come in reading order. The picture's bytes are the seed: the same picture always gives the same pixels.
    """
    height, width, _ = rgb.shape
    places = np.arange(height * width)
    if count is not None and count < len(places):
        digest = hashlib.sha256(np.ascontiguousarray(rgb).data).digest()
        draws = np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())
        places = np.sort(draws.choice(len(places), count, replace=False))
    return np.stack((places % width, places // width), -1).astype(np.uint16)


def draw_rays(views: Mapping[str, KeptPixels], config: ViewsConfig, seed: int) -> tuple[ViewPixels, ...]:
    """Some of a frame's views and some pixels of each, as the seed says.

    No view comes twice, and no pixel unless its picture has fewer than are drawn.
    """
    draws = np.random.default_rng(seed)
    names = list(views)
    chosen = [views[names[place]] for place in draws.choice(len(names), config.per_step, replace=False)]
    return tuple(view.at(_draw_pixels(view.kind, config, draws)) for view in chosen)


def _draw_pixels(kind: NDArray[np.uint8], config: ViewsConfig, draws: np.random.Generator) -> NDArray[np.int64]:
    """Positions of the pixels drawn of a view."""
    elsewhere, plain, detail = ([(np.flatnonzero(kind == one), 1.0)] for one in (ELSEWHERE, PLAIN, DETAIL))
    parts = _mixed(_mixed(detail, plain, config.detail_share), elsewhere, config.surface_share)
    ends = np.cumsum([share for _, share in parts]) * config.rays
    counts = np.diff(np.round(ends).astype(int), prepend=0)
    picks = zip(parts, counts, strict=True)
    return np.concatenate([draws.choice(some, count, replace=count > len(some)) for (some, _), count in picks])


def _mixed(first: _Parts, second: _Parts, share: float | None) -> _Parts:
    """Parts of which the first get this share; None, or where one of them has no positions: all alike."""
    one, other = ([(some, part) for some, part in parts if len(some)] for parts in (first, second))
    if share is None:
        every = [some for some, _ in (*one, *other)]
        return [(np.sort(np.concatenate(every)), 1.0)] if every else []
    if not one or not other:
        return one or other
    return [*((some, part * share) for some, part in one), *((some, part * (1 - share)) for some, part in other)]


def kinds_of_pixels(view: View, box: Box) -> NDArray[np.uint8]:
    """What each pixel (height, width) of a view shows: `ELSEWHERE`, `PLAIN` or `DETAIL`."""
    picture = torch.from_numpy(view.rgb).permute(2, 0, 1).float() / 255
    around = torch.nn.functional.max_pool2d(torch.cat((picture, -picture)), 3, 1, 1)
    varied = (around[:3] + around[3:]).amax(0).numpy() > _CONTRAST
    return np.where(workspace_pixels(view, box), np.where(varied, DETAIL, PLAIN), ELSEWHERE).astype(np.uint8)


def views_of_frame(info: EpisodeInfo, frame: int, config: ViewsConfig) -> tuple[str, ...]:
    """Names of the views that a field learns from at a frame, in stored order."""
    rig = [view.name for view in info.target_views] if frame in info.target_frames else []
    offered = rig or [*info.cameras]
    if config.names is not None:
        offered = [name for name in [*rig, *info.cameras] if name in config.names] or offered
    return _evenly([name for name in offered if name not in config.held_out], config.count)


def read_targets(
    store: Store,
    info: EpisodeInfo,
    frames: Sequence[int],
    config: ViewsConfig,
    box: Box,
    features: FeaturesOf | None = None,
) -> dict[int, dict[str, KeptPixels]]:
    """Pixels of an episode's views, by frame and name, with their features if a source of them is given.

    `box` is what the policy's voxels cover.

    Raises:
        DataError: the episode is damaged.
    """
    views = read_views(store, info, {frame: views_of_frame(info, frame, config) for frame in frames})
    kept: dict[int, dict[str, KeptPixels]] = {}
    for frame, own in views.items():
        kept[frame] = {}
        for name, view in own.items():
            pixel = kept_pixels(view.rgb, config.pixels)
            feature = None if features is None else features(info, frame, name, view, pixel)
            u, v = pixel.T
            depth = units_from_depth(view.depth_m[v, u])
            kind = kinds_of_pixels(view, box)[v, u]
            kept[frame][name] = KeptPixels(view.camera, pixel, view.rgb[v, u], depth, kind, feature)
    return kept


def read_views(store: Store, info: EpisodeInfo, names: Mapping[int, Sequence[str]]) -> dict[int, dict[str, View]]:
    """The named views of some frames, be they recorded cameras or views to learn from.

    Raises:
        DataError: the episode is damaged.
    """
    frames = sorted(names)
    wanted = {name for some in names.values() for name in some}
    cameras = [name for name in info.cameras if name in wanted]
    rig = [view.name for view in info.target_views if view.name in wanted]
    part = store.read(info.name, frames, cameras, rig)
    found: dict[int, dict[str, View]] = {}
    for place, frame in enumerate(frames):
        there = {**part.observations[place].views, **part.target_views.get(place, {})}
        found[frame] = {name: there[name] for name in names[frame]}
    return found


def refuse_unfit_views(
    path: Path | RemoteFolder,
    episodes: Sequence[EpisodeInfo],
    frames: Sequence[Sequence[int]],
    config: ViewsConfig,
) -> None:
    """Refuse settings that the episodes cannot fulfil.

    Args:
        path: of the store.
        episodes: those to learn from.
        frames: of each of them.
        config: the settings.

    Raises:
        ConfigError: a view is named that no episode has; a frame has fewer views than are drawn in a step, or fewer
            than are to be learned from although it has a rig.
    """
    if config.count is not None and not any(info.target_frames for info in episodes):
        raise ConfigError(
            f"data.views.count is {config.count}, but no episode in {path} has views around its scenes, only the "
            "recorded cameras; collect with --rig, convert with --views published, or set data.views.count=null to "
            "learn from the recorded cameras"
        )
    there = {name for info in episodes for name in (*info.cameras, *(view.name for view in info.target_views))}
    for key, names in (("names", config.names or ()), ("held_out", config.held_out)):
        absent = [name for name in names if name not in there]
        if absent:
            raise ConfigError(
                f"data.views.{key} names {absent}, but the episodes in {path} have only {sorted(there)}; name views "
                "that are there, or collect with --rig"
            )
    for info, own in zip(episodes, frames, strict=True):
        for frame in own:
            _refuse_too_few(info, frame, config)


def announce_memory(episodes: Sequence[EpisodeInfo], frames: Sequence[Sequence[int]], config: ViewsConfig) -> None:
    """Say how much memory the pixels take, if it is much."""
    size = memory_bytes(episodes, frames, config)
    if size >= _MUCH_MEMORY:
        Console().print(
            f"the pixels that the field learns from take {size / 1e9:.1f} GB of memory; fewer: data.views.pixels, "
            "data.views.count",
            highlight=False,
        )


def memory_bytes(episodes: Sequence[EpisodeInfo], frames: Sequence[Sequence[int]], config: ViewsConfig) -> int:
    """Memory that the pixels of these episodes' frames will take."""
    distilled = config.teacher.name != "none"
    feature_bytes = config.channels * np.dtype(FEATURE_DTYPES[config.dtype]).itemsize if distilled else 0
    total = 0
    for info, own in zip(episodes, frames, strict=True):
        size = {view.name: view.width * view.height for view in (*info.views, *info.target_views)}
        for frame in own:
            total += sum(min(size[name], config.pixels or size[name]) for name in views_of_frame(info, frame, config))
    return total * (_BYTES_PER_PIXEL + feature_bytes)


def _refuse_too_few(info: EpisodeInfo, frame: int, config: ViewsConfig) -> None:
    views = views_of_frame(info, frame, config)
    if len(views) < config.per_step:
        raise ConfigError(
            f"data.views.per_step is {config.per_step}, but frame {frame} of '{info.name}' has only the views "
            f"{list(views)} to learn from; draw fewer, or hold out fewer"
        )
    if config.count is not None and len(views) < config.count and frame in info.target_frames:
        raise ConfigError(
            f"data.views.count is {config.count}, but frame {frame} of '{info.name}' has only {len(views)} views to "
            "learn from; ask for fewer, or collect with a larger --rig"
        )


def _evenly(names: Sequence[str], count: int | None) -> tuple[str, ...]:
    """So many names, the first and the last among them, evenly spread; all where there are no more."""
    if count is None or count >= len(names):
        return tuple(names)
    if count == 1:
        return (names[len(names) // 2],)
    return tuple(names[int(place)] for place in np.linspace(0, len(names) - 1, count).round())
