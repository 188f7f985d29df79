"""Where a camera stands, in a YAML file: for a camera whose pose nobody publishes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from jaxtyping import Float

from gnfactor.config_tree import load_tree
from gnfactor.errors import ConfigError
from gnfactor.files import write_file
from gnfactor.geometry import quaternion_from_rotation
from gnfactor.ros.config import PoseConfig


@dataclass(frozen=True)
class CameraCalibration:
    """A camera's optical frame (x right, y down, z forward) in another frame of the robot."""

    parent_frame: str
    """The arm's base for a camera that stands beside it, the hand for one that it carries."""
    camera_frame: str
    translation_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        PoseConfig(self.translation_m, self.quaternion_xyzw)

    @property
    def parent_from_camera(self) -> Float[np.ndarray, "4 4"]:
        """As a 4x4 matrix."""
        return PoseConfig(self.translation_m, self.quaternion_xyzw).matrix


def calibration_of(
    parent_frame: str, camera_frame: str, parent_from_camera: Float[np.ndarray, "4 4"]
) -> CameraCalibration:
    """The calibration with a pose."""
    quaternion = quaternion_from_rotation(torch.from_numpy(parent_from_camera[:3, :3].astype(np.float64)))
    x, y, z = parent_from_camera[:3, 3].tolist()
    qx, qy, qz, qw = quaternion.tolist()
    return CameraCalibration(parent_frame, camera_frame, (x, y, z), (qx, qy, qz, qw))


def load_calibration(path: Path, key: str) -> CameraCalibration:
    """Read a file that `save_calibration`, or somebody by hand, has written.

    Args:
        path: of the file.
        key: of the setting that names it, such as cameras.front.calibration.

    Raises:
        ConfigError: it cannot be read, a key is missing or unknown, or the quaternion's length is not 1.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(
            f"{key}, {path}, cannot be read: {error.strerror}; name the file of the camera's pose (docs/robot.md, "
            "section 3)"
        ) from error
    return load_tree(CameraCalibration, [str(path)])


def save_calibration(path: Path, calibration: CameraCalibration) -> None:
    """Write or replace a file.

    Raises:
        OSError: it cannot be written.
    """
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(calibration).items()}
    write_file(path, yaml.safe_dump(plain, sort_keys=False))
