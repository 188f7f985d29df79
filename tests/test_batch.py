"""From observations to tensors, and what is refused on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnfactor.batch import Batch, Inputs, collate, select_views, stack_observations, to_device
from gnfactor.demonstration import Demonstration
from gnfactor.errors import ObservationError
from gnfactor.scene import ARM, ArmState, Camera, Observation, View
from tests.strategies import random_batch
from tests.synthetic import sample_from
from tests.test_actions import UNIT

WIDTH, HEIGHT = 4, 3
NAMES = ("front", "wrist")


def view(shade: int, depth_m: float = 1.0) -> View:
    camera = Camera(np.array([[5.0, 0, 2], [0, 5, 1.5], [0, 0, 1]]), np.eye(4), WIDTH, HEIGHT)
    rgb = np.full((HEIGHT, WIDTH, 3), shade, dtype=np.uint8)
    rgb[..., 1] += 1
    return View(camera=camera, rgb=rgb, depth_m=np.full((HEIGHT, WIDTH), depth_m, dtype=np.float32))


def observation(
    step: int = 0, *, gripper_open: bool = True, fingers: tuple[float, float] = (0.04, 0.04)
) -> Observation:
    pose = np.eye(4)
    pose[0, 3] = step
    arm = ArmState(pose, gripper_open, np.array(fingers), np.zeros(7), np.zeros(7))
    views = {name: view(10 * place + step) for place, name in enumerate(NAMES)}
    return Observation(step=step, time_s=0.1 * step, views=views, arms={ARM: arm})


def with_view(changed: View) -> Observation:
    return replace(observation(), views={"front": changed})


def test_inputs_keep_the_order_of_scenes_and_of_cameras() -> None:
    inputs = stack_observations([observation(1), observation(2)], ["one", "two"], ("wrist", "front"), (WIDTH, HEIGHT))
    assert inputs.views.rgb.shape == (2, 2, 3, HEIGHT, WIDTH)
    assert inputs.views.rgb[:, :, 0, 0, 0].tolist() == [[11, 1], [12, 2]]
    assert inputs.views.rgb[0, 0, :, 0, 0].tolist() == [11, 12, 11]
    assert inputs.world_from_gripper[:, 0, 3].tolist() == [1, 2]
    assert inputs.step.tolist() == [1, 2]
    assert inputs.instructions == ("one", "two")


def test_fingers_are_clipped_to_what_a_gripper_can_do() -> None:
    inputs = stack_observations([observation(fingers=(-0.01, 0.05))], ["go"], ("front",), (WIDTH, HEIGHT))
    torch.testing.assert_close(inputs.gripper, torch.tensor([[1.0, 0.0, 0.04]]))


@pytest.mark.parametrize("depth_m", [np.nan, np.inf, -np.inf, 0.0])
def test_depth_that_is_not_finite_becomes_no_reading(depth_m: float) -> None:
    inputs = stack_observations([with_view(view(0, depth_m))], ["go"], ("front",), (WIDTH, HEIGHT))
    assert (inputs.views.depth_m == 0).all()


def test_an_absent_camera_is_named() -> None:
    with pytest.raises(ObservationError, match=r"overhead.*missing"):
        select_views(observation(), ("front", "overhead"), (WIDTH, HEIGHT))


def test_a_picture_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ObservationError, match=r"front.*4x3.*128x128"):
        select_views(observation(), ("front",), (128, 128))


def test_a_pose_that_is_not_finite_is_refused() -> None:
    seen = observation()
    seen.arms[ARM].world_from_gripper[0, 3] = np.nan
    with pytest.raises(ObservationError, match="gripper pose"):
        stack_observations([seen], ["go"], ("front",), (WIDTH, HEIGHT))


def test_the_collision_label_is_that_of_the_motion_which_reaches_the_keyframe() -> None:
    frames = tuple(observation(step, gripper_open=step != 2) for step in range(4))
    demonstration = Demonstration("t", 0, None, ("do it",), "rlbench", frames, (False, False, True, False), (2, 3))
    stale = sample_from(demonstration, 0, 2, "do it")
    batch = collate([stale, sample_from(demonstration, 2, 3, "now")], NAMES, (WIDTH, HEIGHT))
    assert batch.targets.ignore_collisions.tolist() == [True, False]
    assert batch.targets.gripper_open.tolist() == [False, True]
    assert batch.targets.world_from_gripper[:, 0, 3].tolist() == [2, 3]
    assert batch.inputs.step.tolist() == [0, 2]
    assert batch.inputs.instructions == ("do it", "now")
    assert batch.tasks == ("t", "t")


def test_to_device_moves_every_tensor_and_leaves_the_rest() -> None:
    batch = random_batch(2, UNIT, torch.Generator().manual_seed(0))
    moved: Batch = to_device(batch, "meta")
    assert moved.tasks == batch.tasks
    assert moved.inputs.instructions == batch.inputs.instructions
    inputs: Inputs = moved.inputs
    tensors = [*vars(inputs).values(), *vars(inputs.views).values(), *vars(moved.targets).values()]
    assert {value.device.type for value in tensors if isinstance(value, torch.Tensor)} == {"meta"}
