"""Tensors between the store and the model: what a policy sees, what it should do, and both for many scenes.

Training and acting share `stack_observations`, so that a policy cannot see two different worlds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gnfactor.errors import ObservationError
from gnfactor.scene import ARM, Camera, Observation, View

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures with their cameras (OpenCV convention, metres)."""

    rgb: UInt8[Tensor, "batch cameras 3 height width"]
    depth_m: Float[Tensor, "batch cameras height width"]
    """0 where there is no reading."""
    intrinsics: Float[Tensor, "batch cameras 3 3"]
    world_from_camera: Float[Tensor, "batch cameras 4 4"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """All that a policy may look at."""

    views: Views
    world_from_gripper: Float[Tensor, "batch 4 4"]
    gripper: Float[Tensor, "batch 3"]
    """Open (1) or closed (0), and the two finger positions in metres, 0 to 0.04."""
    step: Int[Tensor, "batch"]
    """Actions taken since the episode began (refused ones count); in demonstrations, keyframes reached."""
    instructions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Targets:
    """The next keyframe, as the demonstrator chose it."""

    world_from_gripper: Float[Tensor, "batch 4 4"]
    gripper_open: Bool[Tensor, "batch"]
    ignore_collisions: Bool[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class RayTargets:
    """What some pixels of other views show: what a neural field learns to render."""

    pixel: Float[Tensor, "batch views rays 2"]
    """(u, v): column and row; pixel centres at integers."""
    intrinsics: Float[Tensor, "batch views 3 3"]
    world_from_camera: Float[Tensor, "batch views 4 4"]
    rgb: UInt8[Tensor, "batch views rays 3"]
    depth_m: Float[Tensor, "batch views rays"]
    """Along the optical axis; 0 where there is no reading."""
    feature: Float[Tensor, "batch views rays features"] | None = None
    """A foundation model's features; None where none are distilled."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One training step's worth of scenes."""

    inputs: Inputs
    targets: Targets
    tasks: tuple[str, ...]
    rays: RayTargets | None = None
    """None where the policy has no field, and in validation."""


@dataclass(frozen=True, eq=False)
class ViewPixels:
    """Some pixels of one view, in NumPy."""

    camera: Camera
    pixel: Int[np.ndarray, "rays 2"]
    """(u, v): column and row."""
    rgb: UInt8[np.ndarray, "rays 3"]
    depth_m: Float[np.ndarray, "rays"]
    feature: Float[np.ndarray, "rays features"] | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One scene of a batch, still in NumPy: what was seen, what was said, what came next."""

    observation: Observation
    instruction: str
    target: Observation
    ignore_collisions: bool
    task: str
    rays: tuple[ViewPixels, ...] = ()
    """What a neural field is to render; the same number of views and of pixels in each sample of a batch."""


def select_views(observation: Observation, cameras: Sequence[str], image_size: tuple[int, int]) -> list[View]:
    """The named views in order.

    Raises:
        ObservationError: a camera is absent or its picture is not `image_size` (width, height).
    """
    absent = [name for name in cameras if name not in observation.views]
    if absent:
        raise ObservationError(
            f"the policy looks through the cameras {list(cameras)}, but the observation has only "
            f"{sorted(observation.views)}: {absent} missing; record them or train without them"
        )
    views = [observation.views[name] for name in cameras]
    for name, view in zip(cameras, views, strict=True):
        if (view.camera.width, view.camera.height) != image_size:
            raise ObservationError(
                f"camera '{name}' gives {view.camera.width}x{view.camera.height} pixels, the policy was trained on "
                f"{image_size[0]}x{image_size[1]}; render or resize the pictures to that size"
            )
    return views


def stack_observations(
    observations: Sequence[Observation],
    instructions: Sequence[str],
    cameras: Sequence[str],
    image_size: tuple[int, int],
) -> Inputs:
    """Inputs of a list of observations and what was said with each.

    Raises:
        ObservationError: a camera is absent or of another size, or a number is not finite.
    """
    per_scene = [select_views(observation, cameras, image_size) for observation in observations]
    arms = [observation.arms[ARM] for observation in observations]
    inputs = Inputs(
        views=stack_views(per_scene),
        world_from_gripper=_float([arm.world_from_gripper for arm in arms]),
        gripper=_float([[float(arm.gripper_open), *np.clip(arm.finger_positions_m, 0, 0.04)] for arm in arms]),
        step=torch.tensor([observation.step for observation in observations]),
        instructions=tuple(instructions),
    )
    for name, value in (
        ("gripper pose", inputs.world_from_gripper),
        ("finger positions", inputs.gripper),
        ("camera pose", inputs.views.world_from_camera),
        ("camera intrinsics", inputs.views.intrinsics),
    ):
        if not value.isfinite().all():
            raise ObservationError(f"the observation's {name} holds a number that is not finite: {value.tolist()}")
    return inputs


def stack_views(scenes: Sequence[Sequence[View]]) -> Views:
    """Views of several scenes; every scene has the same number of views, all of one size."""
    rgb = np.stack([[view.rgb for view in views] for views in scenes])
    depth_m = np.stack([[view.depth_m for view in views] for views in scenes]).astype(np.float32)
    return Views(
        rgb=torch.from_numpy(rgb).permute(0, 1, 4, 2, 3).contiguous(),
        depth_m=_readings(depth_m),
        intrinsics=_float([[view.camera.intrinsics for view in views] for views in scenes]),
        world_from_camera=_float([[view.camera.world_from_camera for view in views] for views in scenes]),
    )


def collate(samples: Sequence[Sample], cameras: Sequence[str], image_size: tuple[int, int]) -> Batch:
    """Batch of samples, seen through `cameras` of `image_size` (width, height)."""
    targets = [sample.target.arms[ARM] for sample in samples]
    return Batch(
        inputs=stack_observations(
            [sample.observation for sample in samples],
            [sample.instruction for sample in samples],
            cameras,
            image_size,
        ),
        targets=Targets(
            world_from_gripper=_float([arm.world_from_gripper for arm in targets]),
            gripper_open=torch.tensor([arm.gripper_open for arm in targets]),
            ignore_collisions=torch.tensor([sample.ignore_collisions for sample in samples]),
        ),
        tasks=tuple(sample.task for sample in samples),
        rays=stack_rays([sample.rays for sample in samples]),
    )


def stack_rays(scenes: Sequence[Sequence[ViewPixels]]) -> RayTargets | None:
    """Pixels of several scenes, all with as many views and pixels; None if there are none."""
    if not any(scenes):
        return None
    features = [[view.feature for view in views] for views in scenes]
    distilled = all(feature is not None for views in features for feature in views)
    return RayTargets(
        pixel=_float([[view.pixel for view in views] for views in scenes]),
        intrinsics=_float([[view.camera.intrinsics for view in views] for views in scenes]),
        world_from_camera=_float([[view.camera.world_from_camera for view in views] for views in scenes]),
        rgb=torch.from_numpy(np.array([[view.rgb for view in views] for views in scenes])),
        depth_m=_readings(np.asarray([[view.depth_m for view in views] for views in scenes], np.float32)),
        feature=_float(features) if distilled else None,
    )


def to_device(value: T, device: torch.device | str) -> T:
    """The same tree of dataclasses with every tensor on `device`."""
    if isinstance(value, Tensor):
        return cast("T", value.to(device, non_blocking=True))
    if isinstance(value, (Views, Inputs, Targets, RayTargets, Batch)):
        moved: dict[str, Any] = {field.name: to_device(getattr(value, field.name), device) for field in fields(value)}
        return cast("T", replace(value, **moved))
    return value


def _readings(depth_m: np.ndarray) -> Tensor:
    """Depth with 0, no reading, for what is not a number."""
    return torch.from_numpy(np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0))


def _float(values: object) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
