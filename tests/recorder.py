"""Writes recordings as RLBench writes them, with small pictures of random numbers."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

CAMERA_NAMES = ("front", "left_shoulder", "right_shoulder", "overhead", "wrist")
NEAR_M, FAR_M = 0.01, 4.5
FOCAL = -10.0


class Demo:
    """Pickled under RLBench's name."""


class Observation:
    """Pickled under RLBench's name."""


@contextmanager
def rlbench_importable() -> Iterator[None]:
    """Inside, pickle finds the classes above where RLBench has its own."""
    names = {"rlbench.demo": Demo, "rlbench.backend.observation": Observation}
    for name, kind in names.items():
        module = ModuleType(name)
        setattr(module, kind.__name__, kind)
        kind.__module__ = name
        sys.modules[name] = module
    sys.modules["rlbench"], sys.modules["rlbench.backend"] = ModuleType("rlbench"), ModuleType("rlbench.backend")
    try:
        yield
    finally:
        for name in ("rlbench", "rlbench.backend", *names):
            del sys.modules[name]


def camera_to_world(rng: np.random.Generator) -> np.ndarray:
    """A random pose."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
    pose[:3, 3] = rng.normal(size=3)
    return pose


def observation(
    rng: np.random.Generator, flag: bool, is_open: bool, size: tuple[int, int], moving: bool
) -> Observation:
    """One frame's numbers."""
    quaternion = rng.normal(size=4)
    made = Observation()
    misc: dict[str, Any] = {}
    for camera in CAMERA_NAMES:
        for kind in ("rgb", "depth", "mask", "point_cloud"):
            setattr(made, f"{camera}_{kind}", None)
        misc[f"{camera}_camera_extrinsics"] = camera_to_world(rng)
        misc[f"{camera}_camera_intrinsics"] = np.array([[FOCAL, 0, size[0] / 2], [0, FOCAL, size[1] / 2], [0, 0, 1.0]])
        misc[f"{camera}_camera_near"], misc[f"{camera}_camera_far"] = NEAR_M, FAR_M
    vars(made).update(
        gripper_open=1.0 if is_open else 0.0,
        gripper_pose=np.concatenate((rng.normal(size=3), quaternion / np.linalg.norm(quaternion))),
        gripper_joint_positions=rng.uniform(0, 0.04, 2),
        joint_positions=rng.normal(size=7),
        joint_velocities=np.full(7, 0.5 if moving else 0.0),
        ignore_collisions=np.array(float(flag)),
        task_low_dim_state=rng.normal(size=5),
        misc=misc,
    )
    return made


def write_recording(
    folder: Path,
    flags: Sequence[bool] = (False, False, True, True, False, False, False, True, False, False),
    is_open: Sequence[bool] = (True, True, True, True, False, False, False, False, False, False),
    cameras: Sequence[str] = ("front", "wrist"),
    size: tuple[int, int] = (12, 10),
    masks: bool = True,
    variation: int | None = 2,
    protocol: int = 4,
    seed: int = 0,
) -> None:
    """One episode; the gripper closes once and the arm never stands still."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    demo = Demo()
    observations = [
        observation(rng, flag, opened, size, moving=True) for flag, opened in zip(flags, is_open, strict=True)
    ]
    vars(demo).update(_observations=observations, random_seed=np.random.default_rng(0).bytes(3), variation_number=0)
    write_pickle(folder / "low_dim_obs.pkl", demo, protocol)
    if variation is not None:
        write_pickle(folder / "variation_number.pkl", variation, protocol)
    write_pickle(folder / "variation_descriptions.pkl", ["pull the thing", "open it"], protocol)
    for camera in cameras:
        for kind in ("rgb", "depth", *(["mask"] if masks else [])):
            (folder / f"{camera}_{kind}").mkdir()
            for frame in range(len(flags)):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
                if kind == "mask":
                    pixels[..., 2] = 0  # handles of objects stay below 2^16 in practice
                Image.fromarray(pixels).save(folder / f"{camera}_{kind}" / f"{frame}.png")


def write_pickle(path: Path, value: object, protocol: int = 4) -> None:
    """A pickle as RLBench would write it."""
    with rlbench_importable(), path.open("wb") as file:
        pickle.dump(value, file, protocol)


def read_moments(folder: Path) -> list[Any]:
    """The observations of a recording, read the dangerous way."""
    with rlbench_importable():
        return pickle.loads((folder / "low_dim_obs.pkl").read_bytes())._observations


def rewrite_moments(folder: Path, moments: list[Any]) -> None:
    """Replace the observations of a recording."""
    demo = Demo()
    demo._observations = moments  # type: ignore[attr-defined]
    write_pickle(folder / "low_dim_obs.pkl", demo)
