"""A printed marker on the gripper: where a camera sees its corners, beside where they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from gnfactor.errors import ConfigError, MissingExtraError
from gnfactor.ros.calibration.hand_model import pixels_of
from gnfactor.ros.config import MarkerConfig
from gnfactor.ros.link import RobotView

_CORNERS = np.array([[-0.5, 0.5, 0], [0.5, 0.5, 0], [0.5, -0.5, 0], [-0.5, -0.5, 0]])
"""In the marker's frame, in the order in which they are found: as one reads it, clockwise from the top left."""


def marker_error_px(view: RobotView, world_from_ee: Float[np.ndarray, "4 4"], marker: MarkerConfig) -> float | None:
    """Mean distance between the corners as seen and as predicted; None where the marker is not seen.

    Raises:
        ConfigError: OpenCV knows no such family of markers.
        MissingExtraError: OpenCV is not installed.
    """
    seen = _find_corners(view, marker)
    if seen is None:
        return None
    camera_from_marker = np.linalg.inv(view.camera.world_from_camera) @ world_from_ee @ marker.ee_from_marker.matrix
    corners = _CORNERS * marker.size_m @ camera_from_marker[:3, :3].T + camera_from_marker[:3, 3]
    if (corners[:, 2] <= 0).any():
        return float("inf")
    return float(np.linalg.norm(pixels_of(view.camera, corners) - seen, axis=-1).mean())


def _find_corners(view: RobotView, marker: MarkerConfig) -> Float[np.ndarray, "4 2"] | None:
    try:
        import cv2  # noqa: PLC0415 (optional: only who has a marker needs it)
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "pip install 'gnfactor[robot]'") from error
    aruco: Any = cv2.aruco
    family = getattr(aruco, marker.dictionary, None)
    if not isinstance(family, int):
        raise ConfigError(
            f"calibration.marker.dictionary is '{marker.dictionary}', which OpenCV does not know; a name such as "
            "DICT_4X4_50 or DICT_APRILTAG_36h11 is expected"
        )
    parameters = aruco.DetectorParameters()
    parameters.cornerRefinementMethod = aruco.CORNER_REFINE_SUBPIX
    detector = aruco.ArucoDetector(aruco.getPredefinedDictionary(family), parameters)
    found, identities, _ = detector.detectMarkers(np.ascontiguousarray(view.rgb[..., ::-1]))
    if identities is None:
        return None
    for corners, identity in zip(found, np.ravel(identities).tolist(), strict=True):
        if identity == marker.id:
            return np.asarray(corners, dtype=np.float64).reshape(4, 2)
    return None
