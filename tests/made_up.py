"""Demonstrations of random numbers, and what it means for two to be the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gnfactor.demonstration import Demonstration
from gnfactor.scene import ArmState, Camera, Observation, View


def made_up(
    frames: int = 5,
    cameras: dict[str, tuple[int, int]] | None = None,
    keyframes: tuple[int, ...] = (2, 4),
    labels: bool = False,
    seed: int = 0,
    targets: dict[str, tuple[int, int]] | None = None,
    target_frames: tuple[int, ...] = (),
) -> Demonstration:
    """A demonstration of random numbers; cameras and views to learn from by name with their width and height."""
    rng = np.random.default_rng(seed)
    sizes = {"front": (8, 6), "wrist": (8, 6)} if cameras is None else cameras

    def view(size: tuple[int, int]) -> View:
        shape = size[::-1]
        depth_m = rng.uniform(0.0, 6.5, shape).astype(np.float32)
        depth_m[rng.random(shape) < 0.1] = 0
        return View(
            camera=Camera(rng.normal(size=(3, 3)), rng.normal(size=(4, 4)), *size),
            rgb=rng.integers(0, 256, (*shape, 3), np.uint8),
            depth_m=depth_m,
            segmentation=rng.integers(0, 65536, shape, np.int32) if labels else None,
        )

    def arm() -> ArmState:
        return ArmState(
            world_from_gripper=rng.normal(size=(4, 4)),
            gripper_open=bool(rng.integers(2)),
            finger_positions_m=rng.uniform(0, 0.04, 2),
            joint_positions=rng.normal(size=7),
            joint_velocities=rng.normal(size=7),
        )

    return Demonstration(
        task="open_drawer",
        variation=1,
        seed=17,
        instructions=("öffne die mittlere Schublade", "pull"),
        renderer="mujoco-ray",
        observations=tuple(
            Observation(
                step=sum(keyframe <= frame for keyframe in keyframes),
                time_s=0.05 * frame,
                views={name: view(size) for name, size in sizes.items()},
                arms={"right": arm()},
            )
            for frame in range(frames)
        ),
        ignore_collisions=tuple(bool(rng.integers(2)) for _ in range(frames)),
        keyframes=keyframes,
        target_views={frame: {name: view(size) for name, size in (targets or {}).items()} for frame in target_frames},
        labels={3: "button", 12: "plate/0"} if labels else {},
    )


def assert_same(first: Demonstration, second: Demonstration) -> None:
    """Equal in everything; depth to 0.05 mm, the rounding of the store, and that of float32."""
    for name in (
        "task",
        "variation",
        "seed",
        "instructions",
        "renderer",
        "ignore_collisions",
        "keyframes",
        "labels",
        "frame_numbers",
    ):
        assert getattr(first, name) == getattr(second, name), name
    assert len(first.observations) == len(second.observations)
    for a, b in zip(first.observations, second.observations, strict=True):
        assert (a.step, a.time_s, list(a.views), list(a.arms)) == (b.step, b.time_s, list(b.views), list(b.arms))
        for name in a.arms:
            assert a.arms[name].gripper_open == b.arms[name].gripper_open
            for part in ("world_from_gripper", "finger_positions_m", "joint_positions", "joint_velocities"):
                np.testing.assert_array_equal(getattr(a.arms[name], part), getattr(b.arms[name], part))
        assert_same_views(a.views, b.views)
    assert list(first.target_views) == list(second.target_views)
    for frame, views in first.target_views.items():
        assert_same_views(views, second.target_views[frame])


def assert_same_views(first: Mapping[str, View], second: Mapping[str, View]) -> None:
    """Equal in everything; depth to 0.05 mm, the rounding of the store, and that of float32."""
    assert list(first) == list(second)
    for name, one in first.items():
        other = second[name]
        assert (one.camera.width, one.camera.height) == (other.camera.width, other.camera.height)
        np.testing.assert_array_equal(one.camera.intrinsics, other.camera.intrinsics)
        np.testing.assert_array_equal(one.camera.world_from_camera, other.camera.world_from_camera)
        np.testing.assert_array_equal(one.rgb, other.rgb)
        np.testing.assert_allclose(one.depth_m, other.depth_m, rtol=0, atol=0.0505e-3)
        assert (one.segmentation is None) == (other.segmentation is None)
        if one.segmentation is not None:
            np.testing.assert_array_equal(one.segmentation, other.segmentation)
