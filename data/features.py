"""Compute a teacher's features of a store's pictures once, for all runs that distil them.

    python -m data.features STORE --teacher segmentation --projection none --channels 16
    python -m data.features STORE configs/gnfactor.yaml data.views.teacher.weights=PATH

Settings are those of training (`data.views`, `data.tasks`, `data.start_every`), from the same files and overrides; the
flags are short for some of them. Features are kept in the store (see `data.feature_cache`) for the frames that training
starts from: of the views stored to be learned from, or of the recorded cameras where a frame has none, and of those
that `data.views.names` names. The same command run again goes on where a killed one stopped, recomputes features of
pictures that have changed, and adds those of new episodes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from data.episode import EpisodeInfo
from data.feature_cache import About, FeatureCache, find_caches, make_cache, picture_digest, request_of
from data.pairs import start_frames, stored_pairs
from data.projection import Projection, features_at, principal_components, random_directions
from data.store import Store
from data.targets import FEATURE_DTYPES, kept_pixels, read_views, views_of_frame
from gnfactor.command import Parser, run
from gnfactor.config import Config, DataConfig, ViewsConfig, load
from gnfactor.errors import ConfigError, DataError
from gnfactor.field.teachers import Pictures, Teacher, build_teacher
from gnfactor.scene import View

_SAMPLE_PICTURES, _SAMPLE_PIXELS = 200, 256
"""From which the principal components are found."""

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Distiller:
    """What turns a picture into the features that are learned from."""

    teacher: Teacher
    projection: Projection | None
    dtype: str

    def __call__(self, view: View, pixel: NDArray[np.uint16], label_names: Mapping[int, str]) -> NDArray[Any]:
        """Features (pixels, channels) at some pixels; the picture is looked at alone, so that no other changes a bit.

        Raises:
            ConfigError: a feature is too large for the kind of number.
        """
        features = features_of(self.teacher, view, pixel, label_names)
        kept = features if self.projection is None else self.projection(features)
        with np.errstate(over="ignore"):
            kept = kept.astype(FEATURE_DTYPES[self.dtype])
        if not np.isfinite(kept).all():
            raise ConfigError(
                f"features of the teacher '{self.teacher.name}' do not fit into {self.dtype}; set data.views.dtype=fp32"
            )
        return kept


class FeatureSource:
    """Features of pictures: from the store's cache where it has them, else from the teacher.

    The teacher is built when a picture is met that the cache does not have; with a complete cache it never is.
    """

    def __init__(self, store: Store, config: DataConfig, device: torch.device, say: Say) -> None:
        """Features as `config.views` says.

        Raises:
            DataError: caches of several revisions of the teacher are there, or one is damaged.
        """
        self._store, self._config, self._device, self._say = store, config, device, say
        # Behind a URL there are none: they would have to be listed, and written there.
        caches = find_caches(store.path, request_of(config.views)) if isinstance(store.path, Path) else []
        self._cache = _only(caches)
        self._read: tuple[str, dict[str, tuple[str, NDArray[Any]]]] = ("", {})
        self._distiller: Distiller | None = None
        self.from_cache = self.computed = 0
        """Pictures so far."""
        name = config.views.teacher.name
        if self._cache is None:
            say(f"{store.path} has no such features by '{name}'; `python -m data.features` keeps them for all runs")
        else:
            say(f"features by '{name}' (revision {self._cache.about.revision}) from {self._cache.folder}")

    def __call__(self, info: EpisodeInfo, frame: int, name: str, view: View, pixel: NDArray[np.uint16]) -> NDArray[Any]:
        """Features (pixels, channels) of an episode's view at a frame.

        Raises:
            GNFactorError: the teacher is needed and cannot be built, or does not fit the cache.
        """
        digest = picture_digest(view, pixel, info.labels, self._config.views.teacher.name)
        known, features = self._of_episode(info.name).get(_place(frame, name), ("", np.zeros(0)))
        if known == digest:
            self.from_cache += 1
            return features
        if self._distiller is None:
            self._say(
                f"computing features by '{self._config.views.teacher.name}', first of '{info.name}' frame {frame}"
            )
            self._distiller = make_distiller(self._store, self._config, self._device, self._cache)
        self.computed += 1
        return self._distiller(view, pixel, info.labels)

    def _of_episode(self, episode: str) -> dict[str, tuple[str, NDArray[Any]]]:
        if self._read[0] != episode:
            self._read = (episode, {} if self._cache is None else self._cache.read(episode))
        return self._read[1]


def make_distiller(
    store: Store, config: DataConfig, device: torch.device, cache: FeatureCache | None, teacher: Teacher | None = None
) -> Distiller:
    """The teacher with the cache's projection, or with one found from the store's pictures where there is no cache.

    Raises:
        ConfigError: there is no such teacher, or its channels are not those configured.
        DataError: the teacher is of another revision than the cache.
    """
    views = config.views
    teacher = build_teacher(views.teacher, device) if teacher is None else teacher
    if teacher is None:
        raise ConfigError("data.views.teacher.name is none; name a teacher: --teacher, or data.views.teacher.name=...")
    if views.projection == "none" and teacher.channels != views.channels:
        raise ConfigError(
            f"data.views.channels is {views.channels}, but the teacher '{teacher.name}' has {teacher.channels} and "
            f"data.views.projection is none; set data.views.channels={teacher.channels}, or project"
        )
    if cache is not None and cache.about.revision != teacher.revision:
        raise DataError(
            f"the features in {cache.folder} are by revision {cache.about.revision} of '{teacher.name}', which now is "
            f"{teacher.revision}; put its weights back as they were, or delete that folder"
        )
    projection = cache.projection if cache is not None else _find_projection(store, config, teacher)
    return Distiller(teacher, projection, views.dtype)


def features_of(
    teacher: Teacher, view: View, pixel: NDArray[np.uint16], label_names: Mapping[int, str]
) -> NDArray[np.float32]:
    """The teacher's own features (pixels, channels) at some pixels of a view, see `features_at` for where they lie."""
    rgb = torch.from_numpy(np.ascontiguousarray(view.rgb)).permute(2, 0, 1)[None]
    labels = None if view.segmentation is None else torch.from_numpy(view.segmentation.astype(np.int64))[None]
    with torch.no_grad():
        feature_map = teacher(Pictures(rgb.contiguous(), labels, label_names))[0].float().cpu().numpy()
    return features_at(feature_map, pixel, view.camera.width, view.camera.height)


def pictures_of(info: EpisodeInfo, config: DataConfig) -> dict[int, tuple[str, ...]]:
    """The views of an episode whose features are kept, by frame: those held out, too, and those named.

    Recorded cameras that are held out are among them, since the field is measured on them.
    """
    everything = replace(config.views, names=None, held_out=(), count=None)
    measured = [name for name in info.cameras if name in config.views.held_out]
    pairs = stored_pairs(info, config.start_every)
    return {
        frame: tuple(
            dict.fromkeys(
                (*views_of_frame(info, frame, everything), *views_of_frame(info, frame, config.views), *measured)
            )
        )
        for frame in start_frames(pairs)
    }


def fill_cache(store: Store, config: DataConfig, device: torch.device, console: Console) -> FeatureCache:
    """Compute what a store's cache lacks, with progress and an estimate before; what is there is verified.

    Raises:
        GNFactorError: the teacher cannot be built, or the store is empty, damaged or cannot be written to.
    """
    folder = store.folder
    episodes = _episodes(store, config)
    teacher = build_teacher(config.views.teacher, device)
    revision = "" if teacher is None else teacher.revision
    caches = find_caches(folder, request_of(config.views))
    cache = next((cache for cache in caches if cache.about.revision == revision), None)
    distiller = make_distiller(store, config, device, cache, teacher)
    if cache is None:
        digest = None if distiller.projection is None else distiller.projection.digest
        about = About(request_of(config.views), revision, distiller.teacher.channels, digest)
        cache = make_cache(folder, about, distiller.projection)
    for other in caches:
        if other.folder != cache.folder:
            _print(
                console, f"{other.folder} has features by another revision, {other.about.revision}; delete one of them"
            )
    names = [pictures_of(info, config) for info in episodes]
    _announce(store, config.views, list(zip(episodes, names, strict=True)), cache, distiller, console)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("features", total=sum(len(views) for own in names for views in own.values()))
        for info, own in zip(episodes, names, strict=True):
            _fill_episode(store, info, own, cache, distiller, config.views, lambda: progress.advance(bar))
    return cache


def _fill_episode(
    store: Store,
    info: EpisodeInfo,
    names: Mapping[int, Sequence[str]],
    cache: FeatureCache,
    distiller: Distiller,
    config: ViewsConfig,
    done: Callable[[], object],
) -> None:
    """Compute what the cache lacks of an episode; features that nothing asks for any more stay."""
    before = cache.read(info.name)
    features = dict(before)
    for frame, views in read_views(store, info, names).items():
        for name, view in views.items():
            pixel = kept_pixels(view.rgb, config.pixels)
            digest = picture_digest(view, pixel, info.labels, config.teacher.name)
            place = _place(frame, name)
            if features.get(place, ("",))[0] != digest:
                features[place] = (digest, distiller(view, pixel, info.labels))
            done()
    if any(before.get(place, ("",))[0] != digest for place, (digest, _) in features.items()):
        cache.write(info.name, features)


def _find_projection(store: Store, config: DataConfig, teacher: Teacher) -> Projection | None:
    """The projection that the settings ask for; the same for the same store, settings and teacher."""
    if config.views.projection == "none":
        return None
    if config.views.projection == "random":
        return random_directions(teacher.channels, config.views.channels)
    return principal_components(_sample(store, config, teacher), config.views.channels)


def _sample(store: Store, config: DataConfig, teacher: Teacher) -> Iterator[NDArray[np.float32]]:
    """Features of some pixels of some of the store's pictures, drawn with a fixed seed."""
    everything = replace(config, views=replace(config.views, names=None))
    episodes = _episodes(store, config)
    pictures = [
        (place, frame, name)
        for place, info in enumerate(episodes)
        for frame, names in pictures_of(info, everything).items()
        for name in names
    ]
    drawn = np.random.default_rng(0).choice(len(pictures), min(_SAMPLE_PICTURES, len(pictures)), replace=False)
    chosen: dict[int, dict[int, list[str]]] = {}
    for at in np.sort(drawn).tolist():
        place, frame, name = pictures[at]
        chosen.setdefault(place, {}).setdefault(frame, []).append(name)
    few = len(drawn) < _SAMPLE_PICTURES
    for place, names in track(list(chosen.items()), "principal components", disable=few):
        for own in read_views(store, episodes[place], names).values():
            for view in own.values():
                labels = episodes[place].labels
                yield features_of(teacher, view, kept_pixels(view.rgb, _SAMPLE_PIXELS), labels)


def _episodes(store: Store, config: DataConfig) -> list[EpisodeInfo]:
    """Those of the tasks that the settings name."""
    episodes = [info for info in store.episodes() if config.tasks is None or info.task in config.tasks]
    if not episodes:
        raise DataError(f"the store {store.path} holds no episodes to look at; collect or convert some first")
    return episodes


def _announce(
    store: Store,
    config: ViewsConfig,
    pictures: Sequence[tuple[EpisodeInfo, Mapping[int, Sequence[str]]]],
    cache: FeatureCache,
    distiller: Distiller,
    console: Console,
) -> None:
    """Say what is to be done, how large it gets and how long it takes, from one picture that is really computed."""
    missing = [(info, names) for info, names in pictures if not cache.has(info.name)]
    count = sum(len(views) for _, names in missing for views in names.values())
    there = f"{len(pictures) - len(missing)} of {len(pictures)} episodes are in {cache.folder}"
    if not missing:
        _print(console, f"{there}; they are verified")
        return
    info, names = missing[0]
    frame = min(names)
    view = read_views(store, info, {frame: names[frame][:1]})[frame][names[frame][0]]
    pixel = kept_pixels(view.rgb, config.pixels)
    distiller(view, pixel, info.labels)  # the first one takes longer
    began = time.perf_counter()
    size = distiller(view, pixel, info.labels).nbytes
    seconds = (time.perf_counter() - began) * count
    _print(
        console,
        f"{there}; {count} pictures to come, about {_amount(size * count)} and {_duration(seconds)}",
    )


def _amount(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _only(caches: Sequence[FeatureCache]) -> FeatureCache | None:
    if len(caches) > 1:
        there = ", ".join(f"{cache.folder} (revision {cache.about.revision})" for cache in caches)
        raise DataError(f"several features answer the same settings: {there}; delete the folders you do not want")
    return caches[0] if caches else None


def _place(frame: int, name: str) -> str:
    return f"{frame}/{name}"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


_FLAGS = {
    "teacher": "data.views.teacher.name",
    "weights": "data.views.teacher.weights",
    "channels": "data.views.channels",
    "projection": "data.views.projection",
    "pixels": "data.views.pixels",
    "dtype": "data.views.dtype",
}
"""Short names of settings."""


def _settings(given: Mapping[str, object]) -> Config:
    """The configuration of the files and overrides, then of the flags."""
    flags = [f"{key}={given[flag]}" for flag, key in _FLAGS.items() if given[flag] is not None]
    pixels = given["pixels"]
    if isinstance(pixels, str) and pixels.isdigit():  # fewer than training draws by default are fine here
        flags.append(f"data.views.rays={min(load(_texts(given['settings'])).data.views.rays, int(pixels))}")
    return load([*_texts(given["settings"]), *flags])


def _texts(values: object) -> list[str]:
    return [str(value) for value in cast("Sequence[object]", values)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 2 wrong use or a damaged store, 130 interrupted."""
    parser = Parser(prog="python -m data.features", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", help="folder of the store")
    parser.add_argument("settings", nargs="*", help="YAML files and key=value, as for train.py")
    parser.add_argument("--teacher", help="whose features")
    parser.add_argument("--weights", help="a local folder, or a model on the Hugging Face hub")
    parser.add_argument("--channels", help="numbers per pixel after the projection")
    parser.add_argument("--projection", help="pca, random or none")
    parser.add_argument("--pixels", help="pixels of each picture, or null for all")
    parser.add_argument("--dtype", help="how features are kept: fp16 or fp32")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the teacher runs")

    def command(console: Console) -> int:
        given = parser.parse_intermixed_args(arguments)
        config = _settings(vars(given)).data
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        if given.device == "cuda" and automatic != "cuda":
            raise ConfigError("--device is cuda, but torch finds no CUDA here; take --device cpu")
        device = torch.device(automatic if given.device == "auto" else given.device)
        cache = fill_cache(Store.open(str(given.store)), config, device, console)
        print(cache.folder)
        return 0

    return run(command, "interrupted; the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
