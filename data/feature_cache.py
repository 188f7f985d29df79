"""A teacher's features of a store's pictures on the disk, so that they are computed once.

    STORE/.features/<key>/about.json                 what was asked for, and what answered: teacher, revision, ...
    STORE/.features/<key>/projection.safetensors     mean and directions, where channels were projected
    STORE/.features/<key>/<episode>.safetensors      one array (pixels, channels) per picture, named <frame>/<view>
    STORE/.features/<key>/<episode>.json             digest of each picture, and of the file beside it

The key is a hash of all that decides the numbers besides the pictures: the teacher with its options and revision,
the pixels kept, the projection with its directions, the kind of number. A picture's digest covers its bytes and size,
the pixels kept, and for the teacher that needs them its labels; features of a picture that has changed since are never
given out. Files appear whole, the .json last: what has none is not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from data.projection import Projection
from gnfactor.config import ViewsConfig
from gnfactor.errors import DataError
from gnfactor.files import write_file
from gnfactor.scene import View

_FOLDER = ".features"
_ABOUT = "about.json"
_PROJECTION = "projection.safetensors"
_VERSION = 1
_LABELLED = "segmentation"
"""The teacher that looks at labels."""

Request = dict[str, Any]


@dataclass(frozen=True)
class About:
    """What the features of one cache are."""

    request: Request
    """What was asked for, see `request_of`."""
    revision: str
    """Of the teacher; from its weights."""
    teacher_channels: int
    """Before the projection."""
    projection: str | None
    """Digest of the projection; None where there is none."""
    version: int = _VERSION

    @property
    def key(self) -> str:
        """Name of the cache's folder."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class FeatureCache:
    """The features that one teacher gave in one way."""

    def __init__(self, folder: Path, about: About, projection: Projection | None) -> None:
        self.folder = folder
        self.about = about
        self.projection = projection

    def has(self, episode: str) -> bool:
        """Whether there are features of an episode, be they whole or not."""
        return self._path(episode, ".json").is_file()

    def read(self, episode: str) -> dict[str, tuple[str, NDArray[Any]]]:
        """Digest of the picture, and its features, by "<frame>/<view>"; nothing if there are none, or damaged ones."""
        try:
            written = json.loads(self._path(episode, ".json").read_text(encoding="utf-8"))
            content = self._path(episode, ".safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != written["sha256"]:
                return {}
            arrays = load(content)
            return {name: (digest, arrays[name]) for name, digest in written["pictures"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
            return {}

    def write(self, episode: str, features: Mapping[str, tuple[str, NDArray[Any]]]) -> None:
        """Replace an episode's features; the same ones give the same bytes.

        Raises:
            DataError: the disk is full or cannot be written to.
        """
        ordered = {name: features[name] for name in sorted(features)}
        content = save({name: array for name, (_, array) in ordered.items()})
        pictures = {name: digest for name, (digest, _) in ordered.items()}
        text = json.dumps({"sha256": hashlib.sha256(content).hexdigest(), "pictures": pictures}, indent=1)
        try:
            self._path(episode, ".json").parent.mkdir(parents=True, exist_ok=True)
            self._path(episode, ".json").unlink(missing_ok=True)
            write_file(self._path(episode, ".safetensors"), content)
            write_file(self._path(episode, ".json"), text)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def _path(self, episode: str, suffix: str) -> Path:
        return self.folder / f"{episode}{suffix}"


def request_of(config: ViewsConfig) -> Request:
    """The settings that decide which features are wanted, as plain values."""
    keys = ("pixels", "projection", "channels", "dtype")
    request = {"teacher": asdict(config.teacher), **{key: getattr(config, key) for key in keys}}
    return cast("Request", json.loads(json.dumps(request)))


def find_caches(store: Path, request: Request) -> list[FeatureCache]:
    """The caches in a store that answer a request: none, one, or one for each revision of the teacher.

    Raises:
        DataError: one of them is damaged.
    """
    found: list[FeatureCache] = []
    for path in sorted((store / _FOLDER).glob(f"*/{_ABOUT}")):
        about = _read_about(path)
        if about.version == _VERSION and about.request == request:
            found.append(FeatureCache(path.parent, about, _read_projection(path.parent, about)))
    return found


def make_cache(store: Path, about: About, projection: Projection | None) -> FeatureCache:
    """A cache without features yet, or the one that is there.

    Raises:
        DataError: the store cannot be written to.
    """
    folder = store / _FOLDER / about.key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _ABOUT).is_file():
            if projection is not None:
                arrays = {"mean": projection.mean, "directions": projection.directions}
                write_file(folder / _PROJECTION, save(arrays))
            write_file(folder / _ABOUT, json.dumps(asdict(about), indent=1))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return FeatureCache(folder, about, projection)


def picture_digest(view: View, pixel: NDArray[np.uint16], label_names: Mapping[int, str], teacher: str) -> str:
    """What a picture's features depend on, besides the teacher and its settings, as a hash."""
    digest = hashlib.sha256(np.array(view.rgb.shape).tobytes())
    digest.update(np.ascontiguousarray(view.rgb).data)
    digest.update(pixel.tobytes())
    if teacher == _LABELLED and view.segmentation is not None:
        digest.update(view.segmentation.astype(np.uint16).tobytes())
        digest.update(json.dumps(sorted(label_names.items())).encode())
    return digest.hexdigest()


def _read_about(path: Path) -> About:
    try:
        return About(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _read_projection(folder: Path, about: About) -> Projection | None:
    if about.projection is None:
        return None
    path = folder / _PROJECTION
    try:
        arrays = load(path.read_bytes())
        projection = Projection(arrays["mean"], arrays["directions"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _damaged(path, error) from error
    if projection.digest != about.projection:
        raise _damaged(path, ValueError("its numbers are not those that the cache was made with"))
    return projection


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged ({type(error).__name__}: {error}); delete the folder {path.parent} and run "
        "`python -m data.features` again"
    )


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(f"cannot write features to {folder}: {error}; make room, or copy the store to where you may write")
