"""What the policy knows of the robot, in the published order and scale."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given

from gnfactor.actions import Box
from gnfactor.errors import ConfigError
from gnfactor.geometry import pose_from, rotation_from_euler
from gnfactor.proprioception import PROPRIOCEPTION, PUBLISHED_STATE, robot_state, state_width
from tests.strategies import generators, random_batch, sizes

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))


@given(generators(), sizes)
def test_every_sense_is_as_wide_as_it_says(generator: torch.Generator, size: int) -> None:
    batch = random_batch(size, BOX, generator)
    for name in PROPRIOCEPTION:
        assert robot_state(batch.inputs, (name,), 25, BOX).shape == (len(batch.tasks), state_width((name,)))
    together = robot_state(batch.inputs, tuple(PROPRIOCEPTION), 25, BOX)
    assert together.shape[1] == state_width(tuple(PROPRIOCEPTION))
    assert together.abs().max() <= 1


def test_the_published_state_is_open_two_fingers_and_time() -> None:
    inputs = random_batch(4, BOX, torch.Generator().manual_seed(0)).inputs
    inputs = replace(inputs, step=torch.tensor([0, 12, 24, 30]))
    state = robot_state(inputs, PUBLISHED_STATE, 25, BOX)
    torch.testing.assert_close(state[:, :3], inputs.gripper)
    assert state[:, 3].tolist() == [1.0, 0.0, -1.0, -1.0]


def test_position_is_minus_one_to_one_across_the_box_and_axes_are_x_then_z() -> None:
    inputs = random_batch(1, BOX, torch.Generator().manual_seed(1)).inputs
    rotation = rotation_from_euler(torch.tensor([torch.pi, 0.0, 0.0]))  # pointing down
    inputs = replace(inputs, world_from_gripper=pose_from(rotation, torch.tensor([0.7, 0.0, 0.85]))[None])
    state = robot_state(inputs, ("position", "axes"), 25, BOX)
    expected = torch.tensor([[1.0, 0.0, -0.5, 1, 0, 0, 0, 0, -1]])
    torch.testing.assert_close(state, expected, rtol=0, atol=1e-6)


def test_no_sense_at_all_is_a_state_of_no_numbers() -> None:
    inputs = random_batch(2, BOX, torch.Generator().manual_seed(2)).inputs
    assert robot_state(inputs, (), 25, BOX).shape == (2, 0)


def test_an_unknown_sense_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"smell.*known are.*gripper"):
        state_width(("gripper", "smell"))
