"""One camera of the simulator that takes pictures from all places of a rig, one after the other, while time stands."""

from __future__ import annotations

from collections.abc import Mapping
from math import atan, degrees

import numpy as np
from numpy.typing import NDArray

from gnfactor.envs.rlbench import protocols
from gnfactor.envs.rlbench.convert import opencv_camera
from gnfactor.errors import SimulatorError
from gnfactor.scene import Camera, View

NEAR_M, FAR_M = 0.01, 10.0
"""Between which the camera sees; as the published views were made."""

_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From x to the right and y down to RLBench's x to the left and y up."""
_PLACED_M = 1e-3
"""How far from where it was put the camera may say that it is."""


class Rig:
    """A camera for some places.

    Args:
        sensors: PyRep's class of cameras.
        cameras: the places by name; all have one size and one field of view.
        render_mode: how it draws.
    """

    def __init__(
        self,
        sensors: type[protocols.VisionSensor],
        cameras: Mapping[str, Camera],
        render_mode: protocols.RenderMode,
    ) -> None:
        self._cameras = dict(cameras)
        first = next(iter(self._cameras.values()))
        # Explicit handling draws when it is told to; otherwise pictures come with steps of the simulation.
        self._sensor = sensors.create(
            [first.width, first.height],
            explicit_handling=True,
            near_clipping_plane=NEAR_M,
            far_clipping_plane=FAR_M,
            view_angle=field_deg(first),
            render_mode=render_mode,
        )
        self._sensor.set_renderable(False)  # the other cameras are not to see its body

    def look(self) -> dict[str, View]:
        """What is seen from every place now; nothing moves meanwhile.

        Raises:
            SimulatorError: the camera does not stand where it was put.
        """
        return {name: self._view(name, camera) for name, camera in self._cameras.items()}

    def close(self) -> None:
        """Take the camera out of the scene."""
        self._sensor.remove()

    def _view(self, name: str, wanted: Camera) -> View:
        self._sensor.set_matrix(wanted.world_from_camera @ _TURN)
        self._sensor.handle_explicitly()
        camera = opencv_camera(
            np.asarray(self._sensor.get_intrinsic_matrix(), np.float64),
            np.asarray(self._sensor.get_matrix(), np.float64),
            wanted.width,
            wanted.height,
            what=f"the camera '{name}' of the rig",
        )
        if np.abs(camera.world_from_camera - wanted.world_from_camera).max() > _PLACED_M:
            raise SimulatorError(
                f"the camera '{name}' of the rig stands at {camera.world_from_camera[:3, 3].tolist()} and was put at "
                f"{wanted.world_from_camera[:3, 3].tolist()}; this PyRep places cameras differently from those that "
                "docs/rlbench.md names"
            )
        depth_m = self._sensor.capture_depth(in_meters=True)
        return View(camera, eight_bits(self._sensor.capture_rgb()), seen_depth(depth_m))


def field_deg(camera: Camera) -> float:
    """The field of view along the longer side, which is what a camera of PyRep is made with."""
    longer = max(camera.width, camera.height)
    return degrees(2 * atan(longer / 2 / camera.intrinsics[0, 0]))


def eight_bits(rgb: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours in 0..255 of those in 0..1."""
    return np.clip(np.rint(np.asarray(rgb, np.float64) * 255), 0, 255).astype(np.uint8)


def seen_depth(depth_m: NDArray[np.floating]) -> NDArray[np.float32]:
    """Depth (m), with 0 where nothing was seen up to the far plane."""
    depth = np.asarray(depth_m, np.float32)
    return np.where(depth < FAR_M * (1 - 1e-5), depth, np.float32(0))
