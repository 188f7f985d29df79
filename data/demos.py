"""RLBench's recorded demonstrations as `Demonstration`s.

Cameras leave here in OpenCV's convention; `gnfactor.envs.rlbench.convert` knows how RLBench's differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data.episode import ALL_FRAMES, FRAMES_KEPT_KEY
from data.keyframes import KEYFRAME_RULES
from data.pairs import used_frames
from data.pickles import RecordedDemo, RecordedFrame, load_pickle
from data.pictures import check_pictures, has_pictures, read_colour, read_depth_m, read_labels
from data.recordings import Recording, instructions_of, variation_of
from gnfactor.demonstration import Demonstration
from gnfactor.envs.rlbench.convert import FRAME_S, opencv_camera
from gnfactor.errors import ConfigError, DataError
from gnfactor.geometry import pose_from, rotation_from_quaternion
from gnfactor.scene import ARM, CAMERAS, ArmState, Camera, Observation, View

RENDERER = "rlbench"

_LOW_DIM = "low_dim_obs.pkl"
_ARRAYS = {"gripper_pose": 7, "gripper_joint_positions": 2, "joint_positions": 7, "joint_velocities": 7}


@dataclass(frozen=True)
class ReadOptions:
    """What to take over from a recording."""

    cameras: tuple[str, ...] | None = None
    """Names; None takes all that were recorded."""
    keyframes: str = "published"
    """A rule of `KEYFRAME_RULES`."""
    segmentation: bool = False
    """Read the masks, where there are any."""
    frames: Literal["all", "used"] = "all"
    """"used": those alone that training with `start_every` uses; no other pictures are opened."""
    start_every: int = 10
    """See `gnfactor.config.DataConfig.start_every`; read only with "used"."""

    def __post_init__(self) -> None:
        if self.keyframes not in KEYFRAME_RULES:
            raise ConfigError(f"there is no keyframe rule '{self.keyframes}'; there are {sorted(KEYFRAME_RULES)}")
        if self.start_every < 1:
            raise ConfigError(f"every {self.start_every}th frame cannot start a sample; give a number of at least 1")

    @property
    def made_with(self) -> dict[str, str]:
        """What the demonstrations of one store have to have in common."""
        return {
            "renderer": RENDERER,
            "keyframe rule": self.keyframes,
            "cameras asked for": "all that were recorded" if self.cameras is None else ",".join(self.cameras),
            "masks": "kept" if self.segmentation else "left out",
            FRAMES_KEPT_KEY: ALL_FRAMES if self.frames == "all" else f"used with start_every {self.start_every}",
        }

    def kept(self, count: int, keyframes: Sequence[int]) -> tuple[int, ...]:
        """Which of `count` frames are taken over."""
        return tuple(range(count)) if self.frames == "all" else used_frames(count, keyframes, self.start_every)


def read_recording(recording: Recording, options: ReadOptions) -> Demonstration:
    """One recorded episode.

    The collision flag of a frame is the one that RLBench noted at the frame before, since that is the motion which
    led here; False at the first frame, and everywhere in recordings without flags. Joint positions are RLBench's.

    Raises:
        DataError: a file is damaged or missing; names it.
    """
    source = recording.folder / _LOW_DIM
    moments = _moments(source)
    gripper_open = np.array([moment.gripper_open for moment in moments])
    velocities = np.stack([moment.numbers["joint_velocities"] for moment in moments])
    keyframes = KEYFRAME_RULES[options.keyframes](gripper_open, velocities)
    if not keyframes:
        raise DataError(f"{source} records {len(moments)} frame(s), in which there is no keyframe; record it again")
    flags = (False, *(moment.ignores_collisions for moment in moments[:-1]))
    kept = options.kept(len(moments), keyframes)
    names = _cameras(recording.folder, options.cameras)
    cameras = [_Source(recording.folder, name, options.segmentation, len(moments)) for name in names]
    return Demonstration(
        task=recording.task,
        variation=variation_of(recording),
        seed=None,
        instructions=instructions_of(recording),
        renderer=RENDERER,
        observations=tuple(
            Observation(
                step=bisect_right(keyframes, frame),
                time_s=frame * FRAME_S,
                views={camera.name: camera.view(frame, moments[frame]) for camera in cameras},
                arms={ARM: moments[frame].arm()},
            )
            for frame in kept
        ),
        ignore_collisions=tuple(flags[frame] for frame in kept),
        keyframes=tuple(kept.index(frame) for frame in keyframes),
        frame_numbers=() if len(kept) == len(moments) else kept,
    )


@dataclass(frozen=True, eq=False)
class _Moment:
    """What the pickle says about one frame, checked."""

    where: str
    gripper_open: bool
    ignores_collisions: bool
    numbers: dict[str, NDArray[np.float64]]
    misc: dict[str, Any]

    def arm(self) -> ArmState:
        pose = torch.from_numpy(self.numbers["gripper_pose"])
        return ArmState(
            world_from_gripper=pose_from(rotation_from_quaternion(pose[3:]), pose[:3]).numpy(),
            gripper_open=self.gripper_open,
            finger_positions_m=self.numbers["gripper_joint_positions"],
            joint_positions=self.numbers["joint_positions"],
            joint_velocities=self.numbers["joint_velocities"],
        )

    def camera(self, name: str, width: int, height: int) -> Camera:
        """The camera in OpenCV's convention."""
        intrinsics = _numbers(self.misc, f"{name}_camera_intrinsics", (3, 3), self.where)
        world_from_camera = _numbers(self.misc, f"{name}_camera_extrinsics", (4, 4), self.where)
        return opencv_camera(intrinsics, world_from_camera, width, height, what=f"{self.where}: camera '{name}'")


class _Source:
    """The pictures of one camera of an episode."""

    def __init__(self, episode: Path, name: str, segmentation: bool, count: int) -> None:
        self.name = name
        self._rgb, self._depth, self._mask = (episode / f"{name}_{kind}" for kind in ("rgb", "depth", "mask"))
        self._labelled = segmentation and has_pictures(self._mask)
        self._size: tuple[int, ...] | None = None
        for folder in (self._rgb, self._depth, *([self._mask] if self._labelled else [])):
            check_pictures(folder, count)

    def view(self, frame: int, moment: _Moment) -> View:
        """The view of one frame; all pictures must have the size of the first one."""
        near, far = (_number(moment.misc, f"{self.name}_camera_{plane}", moment.where) for plane in ("near", "far"))
        if not 0 <= near < far:
            raise DataError(f"{moment.where}: camera '{self.name}' sees from {near} m to {far} m, which cannot be")
        file = f"{frame}.png"
        rgb = self._sized(self._rgb / file, read_colour)
        depth_m = self._sized(self._depth / file, lambda path: read_depth_m(path, near, far))
        labels = self._sized(self._mask / file, read_labels) if self._labelled else None
        height, width = depth_m.shape
        return View(moment.camera(self.name, width, height), rgb, depth_m, labels)

    def _sized(self, path: Path, read: Callable[[Path], NDArray[Any]]) -> NDArray[Any]:
        picture = read(path)
        if self._size is None:
            self._size = picture.shape[:2]
        if picture.shape[:2] != self._size:
            (height, width), (first_height, first_width) = picture.shape[:2], self._size
            raise DataError(f"{path} is {width}x{height}, the pictures before it are {first_width}x{first_height}")
        return picture


def _moments(path: Path) -> list[_Moment]:
    demo = load_pickle(path)
    observations = demo.fields.get("_observations") if isinstance(demo, RecordedDemo) else None
    if not isinstance(observations, list) or not observations:
        raise DataError(f"{path} holds no recorded observations; record the episode again")
    return [_moment(observation, f"{path}, frame {frame}") for frame, observation in enumerate(observations)]


def _moment(observation: object, where: str) -> _Moment:
    fields = observation.fields if isinstance(observation, RecordedFrame) else {}
    misc = fields.get("misc")
    if not isinstance(misc, dict):
        raise DataError(f"{where}: this is not an observation of RLBench with its cameras; record the episode again")
    numbers = {name: _numbers(fields, name, (length,), where) for name, length in _ARRAYS.items()}
    if abs(np.linalg.norm(numbers["gripper_pose"][3:]) - 1) > 1e-3:
        raise DataError(
            f"{where}: the gripper's orientation is {numbers['gripper_pose'][3:].tolist()}, not of length 1"
        )
    flag = fields.get("ignore_collisions")
    return _Moment(
        where=where,
        gripper_open=_number(fields, "gripper_open", where) > 0.5,
        ignores_collisions=flag is not None and _number(fields, "ignore_collisions", where) > 0.5,
        numbers=numbers,
        misc=misc,
    )


def _number(fields: Any, name: str, where: str) -> float:
    return float(_numbers(fields, name, (), where))


def _numbers(fields: Any, name: str, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """Finite numbers of the given shape from a pickled attribute."""
    value = fields.get(name)
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: '{name}' is not made of numbers ({error})") from error
    if value is None or numbers.shape != shape or not np.isfinite(numbers).all():
        found = "absent" if value is None else f"{numbers.tolist()}"
        raise DataError(f"{where}: '{name}' should be finite numbers of shape {shape}, and is {found}")
    return numbers


def _cameras(episode: Path, asked: Sequence[str] | None) -> list[str]:
    """Cameras to read: those asked for, or all that left pictures."""
    if asked is not None:
        return list(asked)
    there = [name for name in CAMERAS if any(has_pictures(episode / f"{name}_{kind}") for kind in ("rgb", "depth"))]
    if not there:
        raise DataError(f"{episode} has no pictures of any camera; expected are folders such as front_rgb, front_depth")
    return there
