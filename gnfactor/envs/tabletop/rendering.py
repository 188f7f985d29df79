"""Pictures of the world: RGB, metric depth and segmentation from any cameras, behind one protocol.

The ray caster needs nothing but MuJoCo; the OpenGL renderer (`gl_rendering`) needs a graphics library. Their pictures
differ in shading, so a policy should be trained and evaluated with one of them: `name` is kept with every recording.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float, Float32, Int

from gnfactor.errors import ConfigError
from gnfactor.scene import Camera, View

FAR_M = 4.5
"""Farthest depth that is reported, along the optical axis; beyond it the depth is 0."""
DRAWN_GROUPS = (True, True, True, False, False, False)
"""Geom groups that are drawn: 0 to 2, MuJoCo's own habit."""
BACKGROUND_RGB = (0.10, 0.16, 0.18)


@runtime_checkable
class Renderer(Protocol):
    """Makes views of a model's present state."""

    @property
    def name(self) -> str:
        """Either "mujoco-ray" or "mujoco-gl"."""
        ...

    def render(self, data: mujoco.MjData, cameras: Sequence[Camera]) -> list[View]:
        """One view for each camera, of the state in `data` (its derived positions are brought up to date).

        Depth is float32 metres along the optical axis, 0 where nothing lies within FAR_M. The label of a pixel is the
        id of the body just below the world that the seen geom belongs to (robot, table, a whole cabinet: one label
        each); 0 is background: nothing, floor and wall.
        """
        ...

    def close(self) -> None:
        """Release what the renderer holds; safe to call twice."""
        ...


def make_renderer(model: mujoco.MjModel, kind: str = "ray") -> Renderer:
    """The renderer of a kind, "ray" or "gl". Raises ConfigError for other kinds and where OpenGL does not work."""
    if kind == "ray":
        return RayRenderer(model)
    if kind == "gl":
        from gnfactor.envs.tabletop.gl_rendering import GLRenderer  # noqa: PLC0415 (needs a graphics library)

        return GLRenderer(model)
    raise ConfigError(f"the tabletop world has no renderer '{kind}'; it has ray, gl: choose one of these")


class RayRenderer:
    """Casts one ray per pixel with MuJoCo and shades what it hits by the model's directional lights.

    Several cameras are shared among as many threads as there are cores: MuJoCo lets go of the interpreter while it
    casts rays. Each thread has a state of its own, since a state holds the memory that casting works in. The pictures
    do not depend on the number of threads.
    """

    name = "mujoco-ray"

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._groups = np.array(DRAWN_GROUPS, np.uint8)
        self._threads: ThreadPoolExecutor | None = None
        self._states: list[mujoco.MjData] = []

    def render(self, data: mujoco.MjData, cameras: Sequence[Camera]) -> list[View]:
        mujoco.mj_kinematics(self._model, data)
        colours, labels = geom_colours(self._model), geom_labels(self._model)

        def views(state: mujoco.MjData, some: Sequence[Camera]) -> list[View]:
            return [self._view(state, camera, colours, labels) for camera in some]

        count = min(len(cameras), len(os.sched_getaffinity(0)))
        if count < 2:
            return views(data, cameras)
        shares = [cameras[first::count] for first in range(count)]
        made = list(self._pool().map(views, self._copies(data, count), shares))
        return [made[index % count][index // count] for index in range(len(cameras))]

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _pool(self) -> ThreadPoolExecutor:
        self._threads = self._threads or ThreadPoolExecutor(len(os.sched_getaffinity(0)), "rays")
        return self._threads

    def _copies(self, data: mujoco.MjData, count: int) -> list[mujoco.MjData]:
        """The present state, once for each thread."""
        while len(self._states) < count:
            self._states.append(mujoco.MjData(self._model))
        for state in self._states[:count]:
            state.qpos[:], state.mocap_pos[:], state.mocap_quat[:] = data.qpos, data.mocap_pos, data.mocap_quat
            mujoco.mj_kinematics(self._model, state)
        return self._states[:count]

    def _view(
        self,
        data: mujoco.MjData,
        camera: Camera,
        colours: Float32[np.ndarray, "geoms 3"],
        labels: Int[np.ndarray, "geoms"],
    ) -> View:
        rays = camera_rays(camera) @ camera.world_from_camera[:3, :3].T
        count = len(rays)
        geoms, depth, normals = np.empty(count, np.int32), np.empty(count), np.empty(3 * count)
        mujoco.mj_multiRay(
            self._model,
            data,
            camera.world_from_camera[:3, 3],
            rays.ravel(),
            self._groups,
            True,  # static geoms too
            -1,  # no body left out
            geoms,
            depth,
            normals,
            count,
            mujoco.mjMAXVAL,
        )
        missed = geoms < 0
        rgb = self._shade(colours[geoms], normals.reshape(-1, 3).astype(np.float32), rays.astype(np.float32))
        rgb[missed] = BACKGROUND_RGB
        # Rays are one metre long along the optical axis, so that distances in their units are depths.
        depth[missed | (depth > FAR_M)] = 0
        shape = (camera.height, camera.width)
        return View(
            camera=camera,
            rgb=(rgb * 255).round().astype(np.uint8).reshape(*shape, 3),
            depth_m=depth.astype(np.float32).reshape(shape),
            segmentation=np.where(missed, 0, labels[geoms]).reshape(shape),
        )

    def _shade(
        self,
        colours: Float32[np.ndarray, "pixels 3"],
        normals: Float32[np.ndarray, "pixels 3"],
        rays: Float32[np.ndarray, "pixels 3"],
    ) -> Float32[np.ndarray, "pixels 3"]:
        """Lambert's law for every directional light and for a lamp at the camera, over an ambient part."""
        model = self._model
        headlight = model.vis.headlight
        towards = -np.einsum("pc,pc->p", normals, rays) / np.sqrt(np.einsum("pc,pc->p", rays, rays))
        light = headlight.ambient.astype(np.float32) + np.outer(towards.clip(0), headlight.diffuse.astype(np.float32))
        for i in range(model.nlight):
            direction = model.light_dir[i].astype(np.float32)
            light += model.light_ambient[i]
            light += np.outer((normals @ -direction).clip(0), model.light_diffuse[i])
        return (colours * light).clip(0, 1)


def geom_colours(model: mujoco.MjModel) -> Float32[np.ndarray, "geoms 3"]:
    """RGB of every geom: its material's, unless it has a colour of its own."""
    colours = model.geom_rgba.copy()
    default = (colours == 0.5).sum(1) == 3
    by_material = default & (model.geom_matid >= 0)
    colours[by_material] = model.mat_rgba[model.geom_matid[by_material]]
    return colours[:, :3]


def geom_labels(model: mujoco.MjModel) -> Int[np.ndarray, "geoms"]:
    """Label of every geom: the body just below the world that it belongs to, 0 for the world's own geoms."""
    return model.body_rootid[model.geom_bodyid]


def label_names(model: mujoco.MjModel) -> dict[int, str]:
    """Names of all labels but 0, the background: those of the bodies just below the world."""
    return {body: str(model.body(body).name) for body in range(1, model.nbody) if model.body_rootid[body] == body}


def camera_rays(camera: Camera) -> Float[np.ndarray, "pixels 3"]:
    """Directions through all pixel centres in the camera's frame, row by row, with z = 1."""
    k = camera.intrinsics
    u = (np.arange(camera.width) - k[0, 2]) / k[0, 0]
    v = (np.arange(camera.height) - k[1, 2]) / k[1, 1]
    x, y = np.meshgrid(u, v)
    return np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 3)
