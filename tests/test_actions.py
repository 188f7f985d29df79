"""Voxels and rotation bins: laws, hand numbers, and the published binning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from gnfactor.actions import (
    Box,
    bins_from_rotation,
    contains,
    position_from_voxel,
    rotation_from_bins,
    voxel_from_position,
)
from gnfactor.geometry import quaternion_from_rotation, rotation_angle_deg, rotation_from_quaternion
from tests.strategies import boxes, points, rotations

UNIT = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@given(boxes(), points(), st.integers(1, 100))
def test_decoding_inverts_encoding_within_half_a_voxel(box: Box, point: Tensor, size: int) -> None:
    lower, upper = box.bounds(point)
    position = (lower + (upper - lower) * (point / 6 + 0.5)).float()
    decoded = position_from_voxel(voxel_from_position(position, box, size), box, size)
    half = (upper - lower) / size / 2
    assert ((decoded - position).abs() <= half + 1e-5).all()


@given(boxes(), st.integers(1, 100), st.data())
def test_encoding_inverts_decoding(box: Box, size: int, data: st.DataObject) -> None:
    index = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), min_size=3, max_size=3)))
    centre = position_from_voxel(index, box, size)
    assert contains(box, centre)
    assert torch.equal(voxel_from_position(centre, box, size), index)


def test_positions_outside_go_to_the_nearest_voxel() -> None:
    outside = torch.tensor([[-5.0, 0.5, 7.0], [1.0, 1.0, 1.0]])
    assert voxel_from_position(outside, UNIT, 4).tolist() == [[0, 2, 3], [3, 3, 3]]


def test_the_box_is_half_open() -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0, 0, 1], [1 - 1e-6, 0, 0], [-1e-6, 0, 0]])
    assert contains(UNIT, corners).tolist() == [True, False, False, True, False]


def test_a_voxel_of_the_published_grid_worked_by_hand() -> None:
    box = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
    index = voxel_from_position(torch.tensor([0.205, 0.005, 0.755]), box, 100)
    assert index.tolist() == [50, 50, 15]
    torch.testing.assert_close(position_from_voxel(index, box, 100), torch.tensor([0.205, 0.005, 0.755]))


@given(rotations(), st.sampled_from([8, 36, 72]))
def test_binning_moves_no_rotation_further_than_half_a_bin_about_each_axis(rotation: Tensor, count: int) -> None:
    decoded = rotation_from_bins(bins_from_rotation(rotation, count), count)
    assert rotation_angle_deg(rotation, decoded.double()) <= 3 * (360 / count / 2) + 1e-3


@given(st.lists(st.integers(0, 71), min_size=3, max_size=3))
def test_binning_a_binned_rotation_again_changes_nothing(bins: list[int]) -> None:
    rotation = rotation_from_bins(torch.tensor(bins), 72)
    again = rotation_from_bins(bins_from_rotation(rotation, 72), 72)
    assert rotation_angle_deg(rotation, again) < 0.1


def test_bin_zero_is_minus_180_degrees_and_the_identity_lies_in_the_middle() -> None:
    assert bins_from_rotation(torch.eye(3), 72).tolist() == [36, 36, 36]
    half_turn = rotation_from_bins(torch.tensor([0, 36, 36]), 72)
    torch.testing.assert_close(half_turn, torch.diag(torch.tensor([1.0, -1, -1])), rtol=0, atol=1e-6)


def test_bins_equal_the_published_ones(published: Path) -> None:
    tensors = load_file(published / "pieces.safetensors")
    rotation = rotation_from_quaternion(tensors["rotation/quaternion_xyzw"].double())
    bins = bins_from_rotation(rotation, 72)
    assert torch.equal(bins, tensors["rotation/bins"])
    decoded = quaternion_from_rotation(rotation_from_bins(bins, 72).double())
    expected = tensors["rotation/decoded_quaternion_xyzw"]
    error = torch.minimum((decoded - expected).norm(dim=-1), (decoded + expected).norm(dim=-1))
    assert error.max().item() == pytest.approx(0, abs=1e-6)
