"""Records of passed checks: without one for exactly this arrangement, no policy is run.

A record is a small JSON file, named by a digest of all that the check depended on: the arm's frames, every camera's
topics and extrinsics (the content of a calibration file, too), the table, and the limits. A change of any of these
takes another check. What the cameras said of themselves then, intrinsics and poses, stands in the record, so that a
camera that has been moved since is noticed when it is looked through.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from gnfactor.errors import ConfigError
from gnfactor.files import write_file
from gnfactor.kinematics import between
from gnfactor.ros.calibration.looking import Look
from gnfactor.ros.config import CameraConfig, RobotConfig
from gnfactor.ros.link import RobotLink, RobotView
from gnfactor.ros.sensing.camera_file import load_calibration
from gnfactor.scene import Camera

COMMAND = "python -m gnfactor.ros.calibrate --check --config ROBOT.yaml"
_INTRINSICS_PX = 0.5
"""Intrinsics that differ by more are those of another camera or another mode of it."""
_RECORDED = "replay"
"""The `link.type` behind which there is no robot: nothing moves, and nobody need answer for its cameras."""


@dataclass(frozen=True, eq=False)
class CheckedCamera:
    """A camera as it was when it passed."""

    intrinsics: Float[np.ndarray, "3 3"]
    width: int
    height: int
    fixed: bool
    """Whether it stood still while the arm moved."""
    pose: Float[np.ndarray, "4 4"]
    """`world_from_camera` of one that is fixed, `gripper_from_camera` of one that the arm carries."""


@dataclass(frozen=True, eq=False)
class Record:
    """A check that was passed."""

    passed_at: str
    """Date and time with its zone, as in ISO 8601."""
    robot: str
    cameras: Mapping[str, CheckedCamera]
    report: str
    """The folder with the whole report, as it was called then."""


def arrangement_digest(config: RobotConfig) -> str:
    """Of all that a check depends on; 64 hexadecimal digits.

    Raises:
        ConfigError: a calibration file cannot be read.
    """
    arm, limits = config.arm, asdict(config.calibration)
    del limits["folder"]
    content = {
        "arm": [
            (arm.name, arm.base_frame, arm.ee_frame),
            [asdict(pose) for pose in (arm.world_from_base, arm.flange_from_gripper, arm.ee_from_gripper)],
        ],
        "cameras": {name: _described(name, camera) for name, camera in sorted(config.cameras.items())},
        "table": config.guard.table_height_m,
        "limits": limits,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def require_calibration(config: RobotConfig, accept: str | None) -> str | None:
    """Refuse to go on without a record of a passed check of this arrangement.

    Args:
        config: of the robot.
        accept: who takes the responsibility for going on without one; None: nobody.

    Returns:
        `accept` where it was needed, to be logged; None where there is a record, or a recording instead of a robot.

    Raises:
        ConfigError: there is no record and nobody takes the responsibility, or a calibration file cannot be read.
    """
    if config.link.type == _RECORDED or read_record(config) is not None:
        return None
    if accept is not None and accept.strip():
        return accept.strip()
    raise ConfigError(
        f"no check of this calibration of '{config.arm.name}' with {', '.join(sorted(config.cameras))} has passed: run "
        f"`{COMMAND}`, with the same settings; or take the responsibility by name: --accept-calibration NAME"
    )


def read_record(config: RobotConfig) -> Record | None:
    """The record for this arrangement, None where there is none.

    Raises:
        ConfigError: the record is damaged, or a calibration file cannot be read.
    """
    path = record_path(config)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cameras = {str(name): _camera_from(said) for name, said in content["cameras"].items()}
        record = Record(str(content["passed_at"]), str(content["robot"]), cameras, str(content["report"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no record of a check ({error}); delete it and check again: {COMMAND}") from error
    return record


def write_record(config: RobotConfig, looks: Sequence[Look], passed_at: datetime, report: Path) -> Path:
    """Note that this arrangement has passed, and where.

    Args:
        config: of the robot.
        looks: through which it passed; at least one.
        passed_at: with its time zone.
        report: folder of the whole report.

    Raises:
        ConfigError: it cannot be written there.
    """
    path = record_path(config)
    content = {
        "passed_at": passed_at.isoformat(timespec="seconds"),
        "robot": config.arm.name,
        "cameras": {name: _plain(_as_seen(name, looks, config)) for name in config.cameras},
        "report": str(report.absolute()),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(content, indent=1))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error}; set calibration.folder to one that can be written") from error
    return path


def record_path(config: RobotConfig) -> Path:
    """Where the record of this arrangement is, if there is one.

    It belongs to a computer and not to a configuration's folder: configurations are copied and checked in, and a copy
    elsewhere has passed nothing.

    Raises:
        ConfigError: a calibration file cannot be read.
    """
    if config.calibration.folder is not None:
        folder = Path(config.calibration.folder)
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "gnfactor/calibrations"
    return folder / f"{arrangement_digest(config)[:16]}.json"


def require_unmoved(link: RobotLink, robot: RobotConfig, accept: str | None) -> str | None:
    """Refuse to go on if a camera is not where it was when its calibration was checked.

    Args:
        link: to look through.
        robot: the configuration.
        accept: who takes the responsibility for going on all the same; None: nobody.

    Returns:
        `accept` where it was needed, to be logged.

    Raises:
        ConfigError: a camera has moved, or was exchanged, and nobody takes the responsibility.
        RobotError: the robot cannot be reached.
    """
    record = None if robot.link.type == _RECORDED else read_record(robot)
    if record is None:
        return None
    views, state = link.observe(robot.guard.max_image_age_s), link.state()
    complaint = moved_complaint(record, views, robot.arm.world_from_base.matrix @ state.base_from_gripper, robot)
    if complaint is None:
        return None
    if accept is not None and accept.strip():
        return accept.strip()
    raise ConfigError(f"{complaint}; or take the responsibility by name: --accept-calibration NAME")


def moved_complaint(
    record: Record,
    views: Mapping[str, RobotView],
    world_from_gripper: Float[np.ndarray, "4 4"],
    config: RobotConfig,
) -> str | None:
    """Why a record does not hold for what the cameras say of themselves now, or None.

    Args:
        record: of a passed check.
        views: of every camera, now.
        world_from_gripper: as measured now.
        config: says how far a camera may have moved.
    """
    limits = config.calibration
    for name, checked in record.cameras.items():
        camera = views[name].camera
        differs_px = float(np.abs(camera.intrinsics - checked.intrinsics).max())
        if (camera.width, camera.height) != (checked.width, checked.height) or differs_px > _INTRINSICS_PX:
            return (
                f"'{name}' has other intrinsics than on {record.passed_at}, when its calibration was checked (by up to "
                f"{differs_px:.1f} pixels, {camera.width} x {camera.height} now, {checked.width} x {checked.height} "
                f"then): check again: {COMMAND}"
            )
        distance_m, turn_rad = between(checked.pose, _pose_of(camera, world_from_gripper, fixed=checked.fixed))
        if distance_m > limits.max_moved_m or np.rad2deg(turn_rad) > limits.max_turned_deg:
            return (
                f"'{name}' is {distance_m * 1000:.0f} mm and {np.rad2deg(turn_rad):.1f} deg from where it was on "
                f"{record.passed_at}, when its calibration was checked (at most {limits.max_moved_m * 1000:.0f} mm and "
                f"{limits.max_turned_deg} deg are allowed): check again: {COMMAND}"
            )
    return None


def _described(name: str, camera: CameraConfig) -> dict[str, Any]:
    """What a check depends on of a camera; its file by content, since a path says nothing."""
    said = asdict(camera)
    if camera.calibration is not None:
        said["calibration"] = asdict(load_calibration(Path(camera.calibration), f"cameras.{name}.calibration"))
    return said


def _as_seen(name: str, looks: Sequence[Look], config: RobotConfig) -> CheckedCamera:
    limits = config.calibration
    first = looks[0].views[name].camera
    moves = [between(first.world_from_camera, look.views[name].camera.world_from_camera) for look in looks]
    fixed = all(m <= limits.max_moved_m and np.rad2deg(rad) <= limits.max_turned_deg for m, rad in moves)
    pose = _pose_of(first, looks[0].world_from_gripper, fixed=fixed)
    return CheckedCamera(first.intrinsics, first.width, first.height, fixed, pose)


def _pose_of(camera: Camera, world_from_gripper: Float[np.ndarray, "4 4"], *, fixed: bool) -> Float[np.ndarray, "4 4"]:
    """Of a camera in what it is fixed to: the world, or the gripper."""
    return camera.world_from_camera if fixed else np.linalg.inv(world_from_gripper) @ camera.world_from_camera


def _plain(camera: CheckedCamera) -> dict[str, Any]:
    said: dict[str, Any] = {"width": camera.width, "height": camera.height, "fixed": camera.fixed}
    return {**said, "intrinsics": camera.intrinsics.tolist(), "pose": camera.pose.tolist()}


def _camera_from(said: Mapping[str, Any]) -> CheckedCamera:
    intrinsics, pose = np.array(said["intrinsics"], np.float64), np.array(said["pose"], np.float64)
    if intrinsics.shape != (3, 3) or pose.shape != (4, 4):
        raise ValueError(f"intrinsics of shape {intrinsics.shape} and a pose of {pose.shape}")
    return CheckedCamera(intrinsics, int(said["width"]), int(said["height"]), bool(said["fixed"]), pose)
