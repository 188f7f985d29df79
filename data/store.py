"""A folder of demonstrations: plain zarr v3, one group per episode, each there whole or not at all.

    zarr.json                                 attributes: kind, schema
    index.json                                what all episodes are, for readers that cannot list folders
    <task>/variation<v>/<label>/              an episode, see `data.arrays`
    .writing/                                 episodes not finished yet

Any number of processes, on one machine or on several with a shared file system, may write different episodes of one
store at the same time. What a killed writer leaves is removed when the store is next opened for writing.

A store that was copied to an object store or a web server is read from there by its URL, through the index and a local
cache (see `data.remote`); copy the index last. It is never written there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.arrays import digests, read_episode, write_episode
from data.durable import new_folder, remove_remnants
from data.episode import (
    ALL_FRAMES,
    FRAMES_KEPT_KEY,
    SCHEMA,
    EpisodeInfo,
    attributes_of,
    check_schema,
    info_from,
    read_info,
)
from data.remote import RemoteFolder, is_url
from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError
from gnfactor.files import write_file

if TYPE_CHECKING:
    from gnfactor.config import CacheConfig

_METADATA = "zarr.json"
_INDEX = "index.json"
_WORKPLACE = ".writing"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")


def episode_name(task: str, variation: int, label: str) -> str:
    """The usual name of an episode; the label is `seed<seed>`, or `episode<k>` for recordings."""
    return f"{task}/variation{variation}/{label}"


class Store:
    """Demonstrations on disk. Made by `Store.open` for reading and `Store.create` for writing, too."""

    def __init__(
        self, path: Path | RemoteFolder, *, writable: bool, index: Mapping[str, EpisodeInfo] | None = None
    ) -> None:
        """A store in a folder, or behind a URL, where the index says what it holds."""
        self.path = path
        self._writable = writable
        self._index = index

    @classmethod
    def open(cls, path: Path | str, cache: CacheConfig | None = None) -> Store:
        """An existing store, for reading; nothing in it is changed.

        Args:
            path: its folder, or its URL.
            cache: what to keep of it on this machine's disk if it is behind a URL; None takes the defaults.

        Raises:
            DataError: there is no store, it is of another schema version, or it cannot be reached.
            GNFactorError: the URL cannot be understood, or a package is missing.
        """
        if is_url(path):
            return cls._open_url(str(path), cache)
        path = Path(path)
        metadata = path / _METADATA
        if not metadata.is_file():
            raise DataError(
                f"{path} is not a store: it holds no {_METADATA}; make one with `python -m data.convert RAW {path}` or "
                f"`python -m data.collect {path}`"
            )
        check_schema(_attributes(metadata), "store", path)
        return cls(path, writable=False)

    @classmethod
    def _open_url(cls, url: str, cache: CacheConfig | None) -> Store:
        """A store behind a URL; its index is fetched anew each time."""
        place = RemoteFolder.connect(url, cache)
        try:
            metadata, index = place.read(_METADATA), place.read(_INDEX)
        except FileNotFoundError as error:
            raise DataError(
                f"{url} is not a store with an index: {error}; copy a whole store there, {_INDEX} last"
            ) from error
        check_schema(_attributes_in(metadata, f"{url}/{_METADATA}"), "store", url)
        return cls(place, writable=False, index=_read_index(index, f"{url}/{_INDEX}"))

    @classmethod
    def create(cls, path: Path | str) -> Store:
        """A store for writing; made if there is none, continued if there is.

        Remnants of killed writers are removed and the index is brought up to date; other processes may be writing
        at the same time.

        Raises:
            DataError: the folder holds something else, is of another schema version, or cannot be written to.
        """
        if is_url(path):
            raise DataError(
                f"{path} is a URL, and stores behind URLs are only read; write into a folder and copy it there"
            )
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not (path / _METADATA).is_file():
                foreign = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
                if foreign and not (path / _METADATA).is_file():  # another process may have made it just now
                    raise DataError(f"{path} is not a store and not empty (it holds '{foreign[0]}'); name a new folder")
                _write_group(path, {"kind": "store", "schema": SCHEMA})
            remove_remnants(path / _WORKPLACE)
        except OSError as error:
            raise DataError(f"cannot make a store in {path}: {error}; name a folder that can be written to") from error
        check_schema(_attributes(path / _METADATA), "store", path)
        store = cls(path, writable=True)
        store._renew_index()
        return store

    @property
    def folder(self) -> Path:
        """Where it lies on this machine.

        Raises:
            DataError: it is behind a URL.
        """
        if not isinstance(self.path, Path):
            raise DataError(f"{self.path} is behind a URL, where nothing is written; copy the store to this machine")
        return self.path

    def __contains__(self, name: str) -> bool:
        """Whether there is an episode of this name."""
        check_name(name)
        if self._index is not None:
            return name in self._index
        metadata = self.folder / name / _METADATA
        return metadata.is_file() and _attributes(metadata).get("kind") == "episode"

    def refuse_others_than(self, made_with: Mapping[str, str]) -> None:
        """Refuse to continue a store with other settings than its episodes were made with.

        Only what is known of both is compared; of any episode, its cameras, the size of its pictures and who made
        them.

        Raises:
            DataError: a setting differs; names it, with both values.
        """
        for info in self.episodes():
            sizes = sorted({f"{view.width}x{view.height}" for view in info.views})
            seen = {"cameras": ",".join(info.cameras), "pictures": ",".join(sizes), "renderer": info.renderer}
            rig = {} if info.target_views else {"rig": "none"}
            whole = {} if info.frame_numbers else {FRAMES_KEPT_KEY: ALL_FRAMES}
            before = {**seen, **rig, **whole, **info.made_with}
            differing = [key for key in made_with if before.get(key, made_with[key]) != made_with[key]]
            if differing:
                differences = "; ".join(f"{key}: {before[key]} there, now {made_with[key]}" for key in differing)
                raise DataError(
                    f"{self.path / info.name} was made with other settings ({differences}); name a new folder, or "
                    "give the settings of before"
                )

    def write(self, demonstration: Demonstration, name: str, made_with: Mapping[str, str] | None = None) -> None:
        """Add an episode; it appears in one step when all of it is on the disk.

        Args:
            demonstration: what to keep.
            name: path inside the store, usually from `episode_name`.
            made_with: settings that the episodes of a store have in common, see `refuse_others_than`.

        Raises:
            DataError: the name is taken, the demonstration is not whole, or the disk is full; nothing is left behind.
        """
        if not self._writable:
            raise ValueError("this store was opened for reading; use Store.create to write")
        check_name(name)
        destination = self.folder / name
        taken = DataError(f"{destination} is there already; delete it first, or choose another name")
        if name in self:
            raise taken
        try:
            self._make_parents(destination)
            with new_folder(destination, self.folder / _WORKPLACE) as folder:
                write_episode(folder, demonstration, made_with or {})
        except OSError as error:
            if name in self:  # another process was faster
                raise taken from error
            raise DataError(f"cannot write {destination}: {error}; make room or choose another folder") from error

    def episodes(self) -> list[EpisodeInfo]:
        """What is in the store, by name in natural order; read from the episodes themselves, not from the index.

        Behind a URL it is what the index said when the store was opened.

        Raises:
            DataError: an episode's attributes are damaged.
        """
        if self._index is not None:
            return [self._index[name] for name in sorted(self._index, key=natural)]
        names = sorted(self._names(self.folder), key=natural)
        return [read_info(self.folder / name, name) for name in names]

    def read(
        self,
        name: str,
        frames: Sequence[int] | None = None,
        cameras: Sequence[str] | None = None,
        target_views: Sequence[str] | None = (),
    ) -> Demonstration:
        """An episode, or a part of it.

        Args:
            name: of the episode.
            frames: increasing frame numbers; None reads all. The `keyframes` of a part are positions in it;
                `EpisodeInfo.keyframes` has the numbers in the whole episode. `ignore_collisions` stays that of the
                motion from the frame before in the whole episode.
            cameras: names, in the order wanted; None reads all.
            target_views: names of views to learn from, in the order wanted; None reads all. The frames read have them
                as far as they are stored for them, see `EpisodeInfo.target_frames`.

        Raises:
            DataError: there is no such episode, camera or view, or the episode is damaged.
        """
        return read_episode(self.path / name, self._info(name), frames, cameras, target_views)

    def finish(self) -> None:
        """Write the index; call it when all episodes are written."""
        if not self._writable:
            raise ValueError("this store was opened for reading; use Store.create to write")
        self._renew_index()

    def _renew_index(self) -> None:
        """Make the index agree with the episodes that are there."""
        episodes = [
            {"name": info.name, **attributes_of(info), "files": info.files or digests(self.folder / info.name)}
            for info in self.episodes()
        ]
        text = json.dumps({"schema": SCHEMA, "episodes": episodes}, indent=1)
        path = self.folder / _INDEX
        try:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                write_file(path, text)
        except OSError as error:
            raise DataError(f"cannot write {path}: {error}; make room or choose another folder") from error

    def _info(self, name: str) -> EpisodeInfo:
        """The attributes of an episode; DataError if there is none of this name."""
        check_name(name)
        if self._index is None and (self.folder / name / _METADATA).is_file():
            return read_info(self.folder / name, name)
        if self._index is not None and name in self._index:
            return self._index[name]
        raise DataError(f"{self.path} has no episode '{name}'; `python -m data.inspect {self.path}` lists what it has")

    def _make_parents(self, destination: Path) -> None:
        """The groups above an episode; writing the same one twice at the same time does no harm."""
        for parent in reversed(destination.relative_to(self.folder).parents[:-1]):
            folder = self.folder / parent
            folder.mkdir(exist_ok=True)
            if not (folder / _METADATA).is_file():
                _write_group(folder, {})
            elif _attributes(folder / _METADATA).get("kind") == "episode":
                raise DataError(f"{folder} is an episode, so nothing can be stored below it; choose another name")

    def _names(self, folder: Path) -> Iterator[str]:
        """Names of the episodes in or below a folder; a group whose own file is lost does not hide them."""
        metadata = folder / _METADATA
        if metadata.is_file() and _attributes(metadata).get("kind") == "episode":
            yield folder.relative_to(self.folder).as_posix()
            return
        for entry in folder.iterdir():
            if not entry.name.startswith(".") and entry.is_dir():
                yield from self._names(entry)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which episode10 comes after episode9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an episode, with DataError."""
    if not _NAME.fullmatch(name):
        raise DataError(
            f"'{name}' cannot be the name of an episode: use letters, digits, '_', '-', '.' and '/' between parts, "
            f"such as open_drawer/variation0/seed17"
        )


def _read_index(content: bytes, where: str) -> dict[str, EpisodeInfo]:
    """The episodes in an index, by name."""
    try:
        entries = [(str(entry["name"]), dict(entry)) for entry in json.loads(content)["episodes"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{where} is not the index of a store ({type(error).__name__}: {error}); copy the store's index there again"
        ) from error
    return {name: info_from(attributes, name, f"{where}, episode '{name}'") for name, attributes in entries}


def _write_group(folder: Path, attributes: dict[str, Any]) -> None:
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1)
    write_file(folder / _METADATA, text)


def _attributes(metadata: Path) -> dict[str, Any]:
    try:
        content = metadata.read_bytes()
    except OSError as error:
        raise _no_metadata(metadata, error) from error
    return _attributes_in(content, metadata)


def _attributes_in(content: bytes, where: Path | str) -> dict[str, Any]:
    try:
        return dict(json.loads(content).get("attributes", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise _no_metadata(where, error) from error


def _no_metadata(where: Path | str, error: Exception) -> DataError:
    return DataError(
        f"{where} is not zarr metadata ({error}); restore the file from a copy, or, if it describes a single episode, "
        "delete that episode's folder and write it again"
    )
