"""The views all around that GNFactor's generator left beside RLBench's recordings, to learn from.

    nerf_data/<t>/images/<v>.png
    nerf_data/<t>/depths/<v>.png
    nerf_data/<t>/poses/<v>.txt      4 rows of world_from_camera, a blank line, 3 rows of intrinsics

Which frame of the recording folder t shows is not written down. The generator took its pictures one frame late, so that
it should be frame t + 1, and did not throw them away when it had to begin an episode again, so that it can be another
scene altogether. Therefore nothing is believed: the depths are compared with those of a recorded camera, and what
contradicts them is left out.

How depth is packed is not written down either. It is ASSUMED to be RLBench's own packing into 24 bits, between the near
and the far plane that the generator's camera had by default. Were it another, all frames would contradict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from data.pictures import read_colour, read_depth_m
from gnfactor.demonstration import Demonstration
from gnfactor.envs.rlbench.convert import opencv_camera
from gnfactor.errors import ConfigError, DataError
from gnfactor.geometry import inverse_pose, unproject
from gnfactor.scene import TABLE_HEIGHT_M, WORKSPACE_LOWER_M, WORKSPACE_UPPER_M, Camera, View

PUBLISHED_OFFSET = 1
"""Folder t shows frame t + 1, where no attempt failed before."""

_FOLDER = "nerf_data"
_KINDS = {"images": "png", "depths": "png", "poses": "txt"}
_CLEARANCE_M = 0.01
"""What stands on the table is what lies so far above it, within the workspace."""
_SEEN_THROUGH_M = 0.02
"""A camera looks through a point if the surface that it sees there lies so far behind."""
_POINTS = 1000
"""Of a picture, at most about so many are compared."""
_FEWEST = 20
"""Points that must be comparable for anything to be said."""
_PROBES = 8
"""Folders that are compared with all frames."""

Fault = Literal["not recorded", "contradicting", "damaged"]
FAULTS: tuple[Fault, ...] = ("not recorded", "contradicting", "damaged")


@dataclass(frozen=True)
class MultiviewOptions:
    """Which of these views to take over, and how to read them."""

    every: int = 10
    """Frames 0, this, twice this... get them, besides the keyframes: those that training starts from."""
    near_m: float = 0.01
    far_m: float = 10.0
    """Planes between which depth is packed; PyRep's for a new camera."""
    mismatch: float = 0.05
    """Largest share of the points standing on the table that may be looked through where they should be seen."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"the views of every {self.every}th frame cannot be kept; give a number of at least 1")
        if not 0 <= self.near_m < self.far_m < float("inf"):
            raise ConfigError(f"depth cannot be packed between {self.near_m} m and {self.far_m} m; give near < far")
        if not 0 < self.mismatch < 1:
            raise ConfigError(f"a mismatch of {self.mismatch} is no share; give a number between 0 and 1")

    def __str__(self) -> str:
        """As it is noted in a store."""
        return (
            f"published, every {self.every} frames, depth {self.near_m:g} to {self.far_m:g} m, "
            f"mismatch up to {self.mismatch:g}"
        )

    def frames(self, count: int, keyframes: Sequence[int]) -> list[int]:
        """Frames of an episode that should get their views."""
        return sorted({*range(0, count, self.every), *keyframes})


@dataclass(frozen=True)
class LeftOut:
    """Why a frame has no views."""

    fault: Fault
    reason: str


@dataclass(frozen=True, eq=False)
class Multiview:
    """What came of the folders of one episode."""

    views: Mapping[int, Mapping[str, View]]
    """By frame; "rig0", "rig1"... in the order of the files."""
    left_out: Mapping[int, LeftOut]
    """The other frames that were asked for."""
    offset: int
    """Folder t shows frame t + this."""

    @property
    def as_expected(self) -> bool:
        """Whether all came that the generator can have left of an episode that succeeded at once."""
        never = {frame for frame in self.left_out if frame < PUBLISHED_OFFSET}
        return self.offset == PUBLISHED_OFFSET and self.left_out.keys() <= never

    def __str__(self) -> str:
        """One line for a report."""
        asked = len(self.views) + len(self.left_out)
        frames: dict[str, list[int]] = {}
        for frame, left_out in sorted(self.left_out.items()):
            frames.setdefault(left_out.reason, []).append(frame)
        reasons = "; ".join(f"{_numbers(own)}: {reason}" for reason, own in frames.items())
        shown = f"views at {len(self.views)} of {asked} frames"
        if self.views:
            shown += f", folder t shows frame t {'+' if self.offset >= 0 else '-'} {abs(self.offset)}"
        return f"{shown}; left out: {reasons}" if reasons else shown


def has_multiview(episode: Path) -> bool:
    """Whether there are folders of views all around in an episode's folder."""
    return bool(_folders(episode / _FOLDER))


def read_multiview(episode: Path, demonstration: Demonstration, options: MultiviewOptions) -> Multiview | None:
    """The views all around of an episode, at the frames where they are whole and show what was recorded.

    Args:
        episode: its folder.
        demonstration: what was recorded in it, with all its frames; the depth of its front camera, or of its first one
            where it has no front camera, tells whether a folder shows a frame.
        options: see there.

    Returns:
        None where the episode has no such folders.
    """
    folders = _folders(episode / _FOLDER)
    if not folders:
        return None
    count = _usual_count(folders)
    comparison = _Comparison(folders, count, demonstration, options)
    offset = comparison.offset()
    wanted = options.frames(len(demonstration.observations), demonstration.keyframes)
    failed_before = comparison.failed_before([frame - offset for frame in wanted], offset)
    views: dict[int, Mapping[str, View]] = {}
    left_out: dict[int, LeftOut] = {}
    size: tuple[int, int] | None = None
    for frame in wanted:
        number = frame - offset
        try:
            fault = comparison.fault(number, frame, failed_before)
            if fault is not None:
                left_out[frame] = fault
                continue
            read = _read_views(folders[number], count, options, size)
        except DataError as error:
            left_out[frame] = LeftOut("damaged", str(error))
            continue
        views[frame] = read
        size = _size(read["rig0"].camera)
    return Multiview(views, left_out, offset)


class _Comparison:
    """Which folders can show which frames, judged by their depths."""

    def __init__(
        self, folders: Mapping[int, Path], count: int, demonstration: Demonstration, options: MultiviewOptions
    ) -> None:
        first = demonstration.observations[0].views
        camera = "front" if "front" in first else next(iter(first))
        recorded = [seen.views[camera] for seen in demonstration.observations]
        self._frames = [_Surface(view.camera, view.depth_m) for view in recorded]
        self._limit = options.mismatch
        self._folders: dict[int, list[_Surface]] = {}
        self._damaged: dict[int, DataError] = {}
        self._mismatches: dict[tuple[int, int], float] = {}
        for number, folder in sorted(folders.items()):
            try:
                sides = sorted({count // 4, count // 2, 3 * count // 4})
                self._folders[number] = [_Surface(*_read_geometry(folder, side, options)) for side in sides]
            except DataError as error:
                self._damaged[number] = error

    def mismatch(self, folder: int, frame: int) -> float:
        """Share of the points on the table that one camera sees and another, which would have to, looks through.

        It is 0 for one moment of one scene, up to the pictures' coarseness, and 1 where nothing can be compared.
        """
        if (folder, frame) not in self._mismatches:
            seen = self._frames[frame]
            pairs = [pair for surface in self._folders[folder] for pair in ((surface, seen), (seen, surface))]
            through, compared = np.sum([by.looks_through(of.standing) for by, of in pairs], 0)
            self._mismatches[folder, frame] = float(through / compared) if compared >= _FEWEST else 1.0
        return self._mismatches[folder, frame]

    def fault(self, folder: int, frame: int, failed_before: int) -> LeftOut | None:
        """Why a folder cannot serve for a frame, as far as its depths tell.

        Raises:
            DataError: its depths cannot be read.
        """
        if folder in self._damaged:
            raise self._damaged[folder]
        if folder not in self._folders:
            return LeftOut("not recorded", "nothing was left of them")
        if self.mismatch(folder, frame) > self._limit:
            return LeftOut("contradicting", "the pictures contradict the recorded depth: another moment or scene")
        if folder < failed_before:
            return LeftOut("contradicting", "the pictures come before contradicting ones, as of a failed attempt")
        return None

    def offset(self) -> int:
        """Frame minus folder by which most folders agree with the recording; the published one in doubt."""
        readable = list(self._folders)
        probes = readable[:: max(1, len(readable) // _PROBES)]
        offsets = range(PUBLISHED_OFFSET, -max(readable, default=0) - 1, -1)
        near = max(offsets, key=lambda offset: self._agreement(probes, offset))
        candidates = [offset for offset in (near + 1, near, near - 1) if offset <= PUBLISHED_OFFSET]
        return max(candidates, key=lambda offset: self._agreement(readable, offset))

    def failed_before(self, folders: Sequence[int], offset: int) -> int:
        """The folder before which all are taken for a failed attempt's: the one with the fewest exceptions.

        A failed attempt's pictures come first, and its first ones can look like the right ones: the robot rests, and
        objects are small.
        """
        known = [folder for folder in folders if folder in self._folders]
        cut = likeliest_cut([self.mismatch(folder, folder + offset) > self._limit for folder in known])
        return known[cut - 1] + 1 if cut else 0

    def _agreement(self, folders: Sequence[int], offset: int) -> float:
        """Sum over folders of 1 for one that agrees wholly, down to 0 for one that cannot be used."""
        pairs = [(folder, folder + offset) for folder in folders if 0 <= folder + offset < len(self._frames)]
        return sum(max(0.0, 1 - self.mismatch(folder, frame) / self._limit) for folder, frame in pairs)


def likeliest_cut(contradicting: Sequence[bool]) -> int:
    """Number of pictures to take for those of a failed attempt, with the fewest exceptions before and after it.

    Exceptions are good pictures before it and contradicting ones after it; of equals it is the smallest number.
    """
    exceptions = [cut - 2 * sum(contradicting[:cut]) for cut in range(len(contradicting) + 1)]  # up to a constant
    return int(np.argmin(exceptions))


class _Surface:
    """What one camera says about the space before it.

    Args:
        camera: in OpenCV's convention.
        depth_m: (height, width) along the optical axis; 0 where nothing is seen.
    """

    def __init__(self, camera: Camera, depth_m: NDArray[np.float32]) -> None:
        depth, pose = torch.from_numpy(depth_m).double(), torch.from_numpy(camera.world_from_camera)
        points = unproject(depth, torch.from_numpy(camera.intrinsics), pose)[depth > 0].numpy()
        lower = (*WORKSPACE_LOWER_M[:2], TABLE_HEIGHT_M + _CLEARANCE_M)
        standing = points[((points > lower) & (points < WORKSPACE_UPPER_M)).all(-1)]
        self.standing: Float[np.ndarray, "points 3"] = standing[:: max(1, len(standing) // _POINTS)]
        """World points (m) on what stands on the table, some of them."""
        self._pixel_from_world = camera.intrinsics @ inverse_pose(pose)[:3].numpy()
        self._nearest_m = _nearest(np.where(depth_m > 0, depth_m, np.inf))

    def looks_through(self, points: Float[np.ndarray, "points 3"]) -> tuple[int, int]:
        """How many of some world points this camera looks through, and how many lie in its picture."""
        height, width = self._nearest_m.shape
        homogeneous = points @ self._pixel_from_world[:, :3].T + self._pixel_from_world[:, 3]
        before = homogeneous[homogeneous[:, 2] > 0]
        column_row = np.rint(before[:, :2] / before[:, 2:])
        inside = ((column_row >= 0) & (column_row < (width, height))).all(-1)
        column, row = column_row[inside].astype(np.int64).T
        behind_m = self._nearest_m[row, column] - before[inside, 2]
        return int((behind_m > _SEEN_THROUGH_M).sum()), int(inside.sum())


def _nearest(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth of the nearest surface at a pixel or beside it, so that an outline one pixel off is no contradiction."""
    around = np.pad(depth_m, 1, constant_values=np.inf)
    return np.lib.stride_tricks.sliding_window_view(around, (3, 3)).min((-2, -1))


def _folders(root: Path) -> dict[int, Path]:
    """Folders called by a number."""
    if not root.is_dir():
        return {}
    return {int(entry.name): entry for entry in root.iterdir() if entry.name.isdecimal() and entry.is_dir()}


def _files(folder: Path, kind: str) -> set[str]:
    """Names of the numbered files of one kind; none where there is no such folder."""
    paths = (folder / kind).glob(f"*.{_KINDS[kind]}")
    return {path.name for path in paths if path.stem.isdecimal()}


def _usual_count(folders: Mapping[int, Path]) -> int:
    """Number of views that most folders have; 21 were published."""
    counts = Counter(len(_files(folder, "images")) for folder in folders.values())
    return max(counts, key=lambda count: (counts[count], count))


def _read_views(folder: Path, count: int, options: MultiviewOptions, size: tuple[int, int] | None) -> dict[str, View]:
    """All views in a folder, which must be as many as in most, of one size and, if given, of this one.

    Raises:
        DataError: a file is damaged, missing, too many, or of another size; names it.
    """
    for kind, ending in _KINDS.items():
        there, wanted = _files(folder, kind), {f"{view}.{ending}" for view in range(count)}
        for what, names in (("is missing", wanted - there), ("is one too many", there - wanted)):
            if names:
                raise DataError(f"{folder / kind / min(names)} {what}; most folders beside it have {count} views")
    views: dict[str, View] = {}
    for view in range(count):
        camera, depth_m = _read_geometry(folder, view, options)
        path = folder / "images" / f"{view}.png"
        rgb = read_colour(path)
        size = size or _size(camera)
        for found in (_size(camera), rgb.shape[1::-1]):
            if found != size:
                raise DataError(f"{path} or its depth is {found[0]}x{found[1]}, those before are {size[0]}x{size[1]}")
        views[f"rig{view}"] = View(camera, rgb, depth_m)
    return views


def _size(camera: Camera) -> tuple[int, int]:
    return camera.width, camera.height


def _read_geometry(folder: Path, view: int, options: MultiviewOptions) -> tuple[Camera, NDArray[np.float32]]:
    """Camera and depth (m) of one view."""
    depth_m = read_depth_m(folder / "depths" / f"{view}.png", options.near_m, options.far_m)
    path = folder / "poses" / f"{view}.txt"
    world_from_camera, intrinsics = _read_pose(path)
    return opencv_camera(intrinsics, world_from_camera, *depth_m.shape[::-1], what=f"{path}: the camera"), depth_m


def _read_pose(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World_from_camera (4, 4) and intrinsics (3, 3) of RLBench's convention."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a file of numbers ({error}); copy or record the episode again") from error
    if [len(row) for row in rows] != [4, 4, 4, 4, 3, 3, 3]:
        raise DataError(f"{path} should hold 4 rows of 4 numbers and 3 rows of 3, not {[len(row) for row in rows]}")
    pose, intrinsics = np.array(rows[:4]), np.array(rows[4:])
    if not np.isfinite(pose).all() or not np.isfinite(intrinsics).all() or not np.diag(intrinsics).all():
        raise DataError(f"{path} holds a number that is not finite, or a focal length of 0; record the episode again")
    return pose, intrinsics


def _numbers(frames: Sequence[int]) -> str:
    """A few frame numbers in words."""
    shown = ", ".join(map(str, frames[:6])) + (f" and {len(frames) - 6} more" if len(frames) > 6 else "")
    return f"frame{'s' if len(frames) > 1 else ''} {shown}"
