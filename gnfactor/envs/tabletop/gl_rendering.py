"""The OpenGL renderer: needs an EGL or OSMesa library, and only when it is made.

MuJoCo chooses its graphics backend when it is imported; here the context is made directly instead, so that no
environment variable has to be set beforehand. OSMesa shares memory between contexts in a way that corrupts pictures
when one is closed while another lives: keep one renderer per process.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes.util import find_library
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float32, Int, UInt8
from mujoco import mjtRndFlag

from gnfactor.envs.tabletop.rendering import DRAWN_GROUPS, FAR_M, geom_labels
from gnfactor.errors import ConfigError
from gnfactor.scene import Camera, View

_MAX_GEOMS = 2000


@runtime_checkable
class _Context(Protocol):
    def make_current(self) -> None: ...

    def free(self) -> None: ...


class GLRenderer:
    """Draws with MuJoCo's own shader, without shadows and smoothing, which cost most and hide edges."""

    name = "mujoco-gl"

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        size = (model.vis.global_.offwidth, model.vis.global_.offheight)
        self._gl: _Context | None = _make_context(*size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, int(mujoco.mjtFontScale.mjFONTSCALE_100))
        mujoco.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._scene.flags[mjtRndFlag.mjRND_SHADOW] = 0
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = DRAWN_GROUPS
        self._options.sitegroup[:] = 0

    def render(self, data: mujoco.MjData, cameras: Sequence[Camera]) -> list[View]:
        assert self._gl is not None, "render was called after close"
        self._gl.make_current()
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_camlight(self._model, data)
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._options,
            None,
            mujoco.MjvCamera(),
            int(mujoco.mjtCatBit.mjCAT_ALL),
            self._scene,
        )
        return [self._view(camera) for camera in cameras]

    def close(self) -> None:
        if self._gl is not None:
            self._context.free()
            self._gl.free()
            self._gl = None

    def _view(self, camera: Camera) -> View:
        buffer_size = self._model.vis.global_
        if camera.width > buffer_size.offwidth or camera.height > buffer_size.offheight:
            raise ConfigError(
                f"the picture is {camera.width} x {camera.height} pixels and the OpenGL buffer of the scene "
                f"{buffer_size.offwidth} x {buffer_size.offheight}: ask for a smaller picture or use renderer=ray"
            )
        self._aim(camera)
        rgb, _ = self._draw(camera, identities=False)
        # Drawn by identity, depth is not disturbed by transparency, and the same drawing gives the labels.
        identity, buffer = self._draw(camera, identities=True)
        depth_m = self._depth_from_buffer(buffer)
        depth_m[(buffer == 0) | (depth_m > FAR_M)] = 0
        return View(camera=camera, rgb=rgb, depth_m=depth_m, segmentation=self._labels(identity))

    def _aim(self, camera: Camera) -> None:
        """Set the frustum such that pixel centres lie at integers, half a pixel from where OpenGL has them."""
        k, pose = camera.intrinsics, camera.world_from_camera
        for eye in self._scene.camera:
            near = self._near_far()[0]
            eye.pos[:] = pose[:3, 3]
            eye.forward[:] = pose[:3, 2]
            eye.up[:] = -pose[:3, 1]
            eye.orthographic = 0
            eye.frustum_near, eye.frustum_far = self._near_far()
            left = (-0.5 - k[0, 2]) / k[0, 0] * near
            right = (camera.width - 0.5 - k[0, 2]) / k[0, 0] * near
            eye.frustum_center = (left + right) / 2
            eye.frustum_width = (right - left) / 2
            eye.frustum_top = (0.5 + k[1, 2]) / k[1, 1] * near
            eye.frustum_bottom = -(camera.height - 0.5 - k[1, 2]) / k[1, 1] * near

    def _draw(
        self, camera: Camera, identities: bool
    ) -> tuple[UInt8[np.ndarray, "height width 3"], Float32[np.ndarray, "height width"]]:
        """Colours and depth buffer, row 0 at the top."""
        self._scene.flags[mjtRndFlag.mjRND_SEGMENT] = identities
        self._scene.flags[mjtRndFlag.mjRND_IDCOLOR] = identities
        rectangle = mujoco.MjrRect(0, 0, camera.width, camera.height)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        rgb = np.empty((camera.height, camera.width, 3), np.uint8)
        buffer = np.empty((camera.height, camera.width), np.float32)
        mujoco.mjr_readPixels(rgb, buffer, rectangle, self._context)
        return rgb[::-1].copy(), buffer[::-1].copy()

    def _near_far(self) -> tuple[float, float]:
        extent, planes = self._model.stat.extent, self._model.vis.map
        return planes.znear * extent, planes.zfar * extent

    def _depth_from_buffer(self, buffer: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
        """Metres along the optical axis; the buffer holds 1 at the near plane and 0 at the far one."""
        near, far = self._near_far()
        return (near * far / (near + buffer.astype(np.float64) * (far - near))).astype(np.float32)

    def _labels(self, identity: UInt8[np.ndarray, "height width 3"]) -> Int[np.ndarray, "height width"]:
        """Labels from the numbers that MuJoCo drew as colours: 1 + the place of the geom in the scene."""
        number = identity.astype(np.int64) @ np.array([1, 256, 65536])
        of_geom = geom_labels(self._model)
        of_number = np.zeros(self._scene.ngeom + 1, of_geom.dtype)
        for drawn in self._scene.geoms[: self._scene.ngeom]:
            if drawn.segid >= 0 and drawn.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                of_number[drawn.segid + 1] = of_geom[drawn.objid]
        return of_number[number]


def _make_context(width: int, height: int) -> _Context:
    """An off-screen context, by EGL or else OSMesa. Raises ConfigError where neither works."""
    problem = "no EGL and no OSMesa library was found"
    try:
        if find_library("EGL"):
            from mujoco.egl import GLContext  # noqa: PLC0415 (fails on import where the library is missing)

            return GLContext(width, height)
        if find_library("OSMesa"):
            from mujoco.osmesa import GLContext  # noqa: PLC0415

            return GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        problem = str(error)
    raise ConfigError(
        f"the renderer 'gl' does not work here: {problem}; install libegl1 and libgl1-mesa-dri (or libosmesa6), or use "
        "renderer=ray, which needs neither"
    )
