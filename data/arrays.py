"""One demonstration as a group of zarr v3 arrays that any language can read.

    zarr.json                      attributes: task, variation, seed, instructions, keyframes, cameras, units,
                                   files (their digests), ...
    step, time_s, ignore_collisions                                            (frames,)
    arms/<arm>/world_from_gripper                                              (frames, 4, 4)
    arms/<arm>/{gripper_open, finger_positions_m, joint_positions, joint_velocities}
    views/<width>x<height>/{rgb, depth, intrinsics, world_from_camera[, segmentation]}
                                   (cameras, frames, ...), the cameras of that size in the attributes' order
    targets/<width>x<height>/...   the same of the views to learn from, if there are any: (views, some frames, ...), the
                                   `target_views` of that size and the `target_frames` in the attributes' order

Cameras of one size share an array, since opening an array costs more than reading it. Pictures are kept as they
are. Depth is uint16 in units of 0.1 mm; 0 means no reading, and so do readings beyond 6.5535 m, which do not fit.
Each array is one file: a shard, whose chunks hold a few frames of one camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from data.episode import CameraInfo, EpisodeInfo, attributes_of, describe
from data.file_cache import digest_of
from data.remote import FetchedFiles, RemoteFolder, below
from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError, MissingExtraError
from gnfactor.scene import ArmState, Camera, Observation, View

try:
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore
except ImportError as error:
    raise MissingExtraError("zarr", "pip install 'gnfactor[train]'") from error

DEPTH_UNIT_M = 1e-4
FRAMES_PER_CHUNK = 8
"""Neighbouring frames are alike: of real episodes eight together take 36% of the bytes of eight alone, sixteen 31%."""
UNITS = {
    "depth": "0.1 mm along the optical axis; 0 = no reading",
    "time_s": "s",
    "world_from_gripper": "m",
    "world_from_camera": "m; OpenCV: x right, y down, z forward",
    "intrinsics": "pixels; pixel centres at integers",
    "finger_positions_m": "m",
    "joint_positions": "rad",
    "joint_velocities": "rad/s",
}

_LARGEST = np.iinfo(np.uint16).max
_FRAME_ARRAYS = ("step", "time_s", "ignore_collisions")
_VIEW_ARRAYS = ("rgb", "depth", "segmentation", "intrinsics", "world_from_camera")
_ARM_ARRAYS = ("world_from_gripper", "gripper_open", "finger_positions_m", "joint_positions", "joint_velocities")


def write_episode(folder: Path, demonstration: Demonstration, made_with: Mapping[str, str]) -> None:
    """Write the arrays and attributes into a new or empty folder.

    Raises:
        DataError: the demonstration is not whole; says what is wrong.
        OSError: the disk is full or the folder cannot be written to.
    """
    info = replace(describe(demonstration), made_with=dict(made_with))
    observations = demonstration.observations
    root = zarr.create_group(
        str(folder), zarr_format=3, attributes={**attributes_of(info), "units": UNITS, "depth_unit_m": DEPTH_UNIT_M}
    )
    _put(root, "step", np.array([seen.step for seen in observations], np.int32), "frame")
    _put(root, "time_s", np.array([seen.time_s for seen in observations], np.float64), "frame")
    _put(root, "ignore_collisions", np.array(demonstration.ignore_collisions, np.bool_), "frame")
    for arm in info.arms:
        states = [seen.arms[arm] for seen in observations]
        for name in _ARM_ARRAYS:
            stacked = np.stack([np.asarray(getattr(state, name)) for state in states])
            kept = stacked if stacked.dtype == np.bool_ else stacked.astype(np.float64)
            _put(root, f"arms/{arm}/{name}", kept, "frame", "row", "column")
    for size, cameras in _by_size(info.views).items():
        views = [[seen.views[camera.name] for seen in observations] for camera in cameras]
        _put_views(root, f"views/{size}", views, segmentation=any(camera.segmentation for camera in cameras))
    for size, cameras in _by_size(info.target_views).items():
        targets = [demonstration.target_views[frame] for frame in info.target_frames]
        views = [[seen[camera.name] for seen in targets] for camera in cameras]
        _put_views(root, f"targets/{size}", views, segmentation=any(camera.segmentation for camera in cameras))
    root.update_attributes({"files": digests(folder)})


def digests(folder: Path) -> dict[str, str]:
    """Digest of each file of an episode's arrays, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / "zarr.json")
    return {path.relative_to(folder).as_posix(): digest_of(path.read_bytes()) for path in paths}


def read_episode(
    folder: Path | RemoteFolder,
    info: EpisodeInfo,
    frames: Sequence[int] | None = None,
    cameras: Sequence[str] | None = None,
    target_views: Sequence[str] | None = (),
) -> Demonstration:
    """The demonstration, or the named frames, cameras and views to learn from of it; see `Store.read`."""
    chosen = tuple(range(info.frames)) if frames is None else tuple(frames)
    if not chosen or chosen[0] < 0 or chosen[-1] >= info.frames or any(b <= a for a, b in pairwise(chosen)):
        raise ValueError(f"frames have to be increasing numbers in 0..{info.frames - 1}, not {chosen}")
    names = _chosen(folder, "cameras", info.views, cameras)
    target_names = _chosen(folder, "views to learn from", info.target_views, target_views)
    rows = np.array(chosen)
    position = {frame: row for row, frame in enumerate(chosen)}
    wanted = [row for row, frame in enumerate(info.target_frames) if frame in position] if target_names else []
    target_rows = np.array(wanted, np.int_)
    try:
        files = _files(folder, info, names, target_names if wanted else ())
        step, time_s, ignore = (_get(files, name)[rows] for name in _FRAME_ARRAYS)
        arms = {arm: _read_arm(files, f"arms/{arm}", rows) for arm in info.arms}
        read = _read_groups(files, "views", info.views, names, rows)
        targets = _read_groups(files, "targets", info.target_views, target_names if wanted else (), target_rows)
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise DataError(
            f"the episode {folder} is damaged ({type(error).__name__}: {error}); delete it and write it again"
        ) from error
    observations = tuple(
        Observation(
            step=int(step[row]),
            time_s=float(time_s[row]),
            views={name: read[name](row) for name in names},
            arms={arm: state(row) for arm, state in arms.items()},
        )
        for row in range(len(chosen))
    )
    return Demonstration(
        task=info.task,
        variation=info.variation,
        seed=info.seed,
        instructions=info.instructions,
        renderer=info.renderer,
        observations=observations,
        ignore_collisions=tuple(bool(flag) for flag in ignore),
        keyframes=tuple(position[frame] for frame in info.keyframes if frame in position),
        target_views={
            position[info.target_frames[stored]]: {name: targets[name](row) for name in target_names}
            for row, stored in enumerate(wanted)
        },
        labels=info.labels,
        frame_numbers=_numbers(info, chosen),
    )


def units_from_depth(depth_m: NDArray[Any]) -> NDArray[np.uint16]:
    """Metric depth in units of 0.1 mm; 0 where there is no reading or it does not fit into 16 bits."""
    units = np.round(np.nan_to_num(depth_m.astype(np.float64), nan=0, posinf=0, neginf=0) / DEPTH_UNIT_M)
    return np.where((units > 0) & (units <= _LARGEST), units, 0).astype(np.uint16)


def depth_from_units(units: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Metric depth (m); 0 where there is no reading."""
    return (units * DEPTH_UNIT_M).astype(np.float32)


def _put_views(root: zarr.Group, group: str, views: Sequence[Sequence[View]], *, segmentation: bool) -> None:
    """Write the pictures of cameras of one size: `views[camera][frame]`."""
    _put_pictures(root, f"{group}/rgb", np.stack([[view.rgb for view in row] for row in views]))
    depth = np.stack([units_from_depth(np.stack([view.depth_m for view in row])) for row in views])
    _put_pictures(root, f"{group}/depth", depth)
    if segmentation:
        nothing = np.zeros(depth.shape[2:], np.uint16)
        labels = [[nothing if view.segmentation is None else view.segmentation for view in row] for row in views]
        _put_pictures(root, f"{group}/segmentation", np.array(labels).astype(np.uint16))
    for name in ("intrinsics", "world_from_camera"):
        matrices = np.array([[getattr(view.camera, name) for view in row] for row in views], np.float64)
        _put(root, f"{group}/{name}", matrices, "camera", "frame", "row", "column")


def _put_pictures(root: zarr.Group, name: str, values: NDArray[Any]) -> None:
    """Write pictures (cameras, frames, height, width, ...) as one shard of chunks of a few frames of one camera."""
    cameras, frames, *rest = values.shape
    chunk = min(FRAMES_PER_CHUNK, frames)
    whole_chunks = -(-frames // chunk) * chunk
    dimensions = ("camera", "frame", "row", "column", "channel")[: values.ndim]
    _put(root, name, values, *dimensions, chunks=(1, chunk, *rest), shards=(cameras, whole_chunks, *rest))


def _put(
    root: zarr.Group,
    name: str,
    values: NDArray[Any],
    *dimensions: str,
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
) -> None:
    """Write one array as one file; without `chunks` and `shards` as a single chunk."""
    array = root.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=values.shape if chunks is None else chunks,
        shards=shards,
        compressors=ZstdCodec(level=3, checksum=True),
        dimension_names=dimensions[: values.ndim],
        config={"write_empty_chunks": True},  # so that a file that is not there is a file that was lost
    )
    array[...] = values


def _numbers(info: EpisodeInfo, chosen: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers in the recording of the frames that are read; empty if these are all of it."""
    numbers = tuple(info.frame_numbers[frame] for frame in chosen) if info.frame_numbers else chosen
    return () if len(chosen) == info.frames and not info.frame_numbers else numbers


def _files(
    folder: Path | RemoteFolder, info: EpisodeInfo, cameras: Sequence[str], target_views: Sequence[str]
) -> Path | FetchedFiles:
    """Where to read the arrays from that show these cameras and views: behind a URL they are fetched first."""
    if isinstance(folder, Path):
        return folder
    views = {f"views/{_size(camera)}" for camera in info.views if camera.name in cameras}
    views |= {f"targets/{_size(camera)}" for camera in info.target_views if camera.name in target_views}
    groups = (*((f"arms/{arm}", _ARM_ARRAYS) for arm in info.arms), *((group, _VIEW_ARRAYS) for group in sorted(views)))
    arrays = (*_FRAME_ARRAYS, *(f"{group}/{name}" for group, names in groups for name in names))
    return folder.read_all(below(info.files, arrays))


def _get(files: Path | FetchedFiles, name: str) -> NDArray[Any]:
    return cast("NDArray[Any]", _open(files, name)[...])


def _open(files: Path | FetchedFiles, name: str) -> zarr.Array[Any]:
    store = str(files / name) if isinstance(files, Path) else _in_memory(files, name)
    array = zarr.open_array(store, mode="r", zarr_format=3)
    shard = "/".join((name, "c", *["0"] * array.ndim))
    if not ((files / shard).is_file() if isinstance(files, Path) else shard in files.contents):
        raise FileNotFoundError(f"{files}/{shard} is missing")  # zarr would read zeros
    return array


def _in_memory(files: FetchedFiles, name: str) -> MemoryStore:
    """An array whose files have been fetched, as zarr reads it."""
    buffer = default_buffer_prototype().buffer
    own = {
        path.removeprefix(f"{name}/"): content
        for path, content in files.contents.items()
        if path.startswith(f"{name}/")
    }
    return MemoryStore({path: buffer.from_bytes(content) for path, content in own.items()}, read_only=True)


def _read_arm(files: Path | FetchedFiles, group: str, rows: NDArray[np.int_]) -> Callable[[int], ArmState]:
    """State of the arm by position in `rows`."""
    arrays = {name: _get(files, f"{group}/{name}")[rows] for name in _ARM_ARRAYS}
    is_open = arrays.pop("gripper_open")
    return lambda row: ArmState(
        gripper_open=bool(is_open[row]), **{name: values[row] for name, values in arrays.items()}
    )


def _chosen(folder: object, what: str, stored: Sequence[CameraInfo], names: Sequence[str] | None) -> tuple[str, ...]:
    """The names asked for, or all; DataError if one of them is not stored."""
    there = [camera.name for camera in stored]
    chosen = tuple(there if names is None else names)
    unknown = [name for name in chosen if name not in there]
    if unknown:
        raise DataError(f"{folder} has the {what} {there}, but {unknown} were asked for; use those it has")
    return chosen


def _read_groups(
    files: Path | FetchedFiles, group: str, stored: Sequence[CameraInfo], names: Sequence[str], rows: NDArray[np.int_]
) -> dict[str, Callable[[int], View]]:
    """Views of the cameras `names` by position in `rows`, from the groups of all sizes of the cameras `stored`."""
    read: dict[str, Callable[[int], View]] = {}
    for size, cameras in _by_size(stored).items():
        if any(camera.name in names for camera in cameras):
            read |= _read_views(files, f"{group}/{size}", cameras, names, rows)
    return read


def _read_views(
    files: Path | FetchedFiles, group: str, stored: Sequence[CameraInfo], names: Sequence[str], rows: NDArray[np.int_]
) -> dict[str, Callable[[int], View]]:
    """Views of the cameras `names` by position in `rows`; the group holds the cameras `stored`, all of one size."""
    rgb, depth = _open(files, f"{group}/rgb"), _open(files, f"{group}/depth")
    labels = _open(files, f"{group}/segmentation") if any(camera.segmentation for camera in stored) else None
    intrinsics, poses = _get(files, f"{group}/intrinsics"), _get(files, f"{group}/world_from_camera")
    return {
        camera.name: _viewer(
            [Camera(intrinsics[index, row], poses[index, row], camera.width, camera.height) for row in rows],
            _frames(rgb, index, rows),
            depth_from_units(_frames(depth, index, rows)),
            _frames(labels, index, rows).astype(np.int32) if labels is not None and camera.segmentation else None,
        )
        for index, camera in enumerate(stored)
        if camera.name in names
    }


def _viewer(
    cameras: Sequence[Camera], rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], labels: NDArray[np.int32] | None
) -> Callable[[int], View]:
    return lambda row: View(cameras[row], rgb[row], depth_m[row], None if labels is None else labels[row])


def _frames(array: zarr.Array[Any], camera: int, rows: NDArray[np.int_]) -> NDArray[Any]:
    """The frames `rows` of one camera; frames in neighbouring chunks are read at once, chunks between are not."""
    out: NDArray[Any] = np.empty((len(rows), *array.shape[2:]), array.dtype)
    breaks = np.flatnonzero(np.diff(rows // array.chunks[1]) > 1) + 1
    done = 0
    for run in np.split(rows, breaks):
        block = cast("NDArray[Any]", array[camera, int(run[0]) : int(run[-1]) + 1])
        out[done : done + len(run)] = block[run - run[0]]
        done += len(run)
    return out


def _size(camera: CameraInfo) -> str:
    return f"{camera.width}x{camera.height}"


def _by_size(views: Sequence[CameraInfo]) -> dict[str, list[CameraInfo]]:
    groups: dict[str, list[CameraInfo]] = {}
    for camera in views:
        groups.setdefault(_size(camera), []).append(camera)
    return groups
