"""Looking a volume up: cell centres, the right axes, and the map after the lookup."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from perceiver.volume import SAMPLERS, Volume, sample
from tests.strategies import generators

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))


def centres(size: tuple[int, int, int]) -> Tensor:
    """Coordinates (3, x, y, z), 0 to 1, of the centres of a volume's cells."""
    axes = [(torch.arange(count) + 0.5) / count for count in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def low_rank(generator: torch.Generator, size: tuple[int, int, int], batch: int = 2) -> Volume:
    return Volume(
        torch.randn((batch, 2, *size), generator=generator),
        torch.randn((7, 2), generator=generator),
        torch.randn(7, generator=generator),
    )


def trilinear(volume: Tensor, point: list[float]) -> Tensor:
    """One point of a volume (channels, x, y, z) in plain loops; coordinates 0 to 1."""
    corners: list[list[tuple[int, float]]] = []
    for axis, place in enumerate(point):
        count = volume.shape[1 + axis]
        cell = min(max(place * count - 0.5, 0.0), count - 1.0)
        low = min(math.floor(cell), count - 1)
        corners.append([(low, 1 - (cell - low)), (min(low + 1, count - 1), cell - low)])
    total = torch.zeros(volume.shape[0])
    for (x, share_x), (y, share_y), (z, share_z) in itertools.product(*corners):
        total += share_x * share_y * share_z * volume[:, x, y, z]
    return total


@given(SIZES, generators())
def test_a_volume_of_coordinates_sampled_at_a_point_is_that_point(
    size: tuple[int, int, int], generator: torch.Generator
) -> None:
    half_a_cell = 0.5 / torch.tensor(size)
    inside = half_a_cell + (1 - 2 * half_a_cell) * torch.rand((2, 9, 3), generator=generator)
    volume = Volume(centres(size).expand(2, 3, *size).contiguous())
    torch.testing.assert_close(sample(volume, inside), inside, rtol=0, atol=1e-5)


@given(SIZES, generators())
def test_so_is_one_that_is_stored_before_its_map(size: tuple[int, int, int], generator: torch.Generator) -> None:
    turned = torch.linalg.qr(torch.randn((3, 3), generator=generator))[0]
    bias = torch.randn(3, generator=generator)
    stored = torch.einsum("cr,cxyz->rxyz", turned, centres(size) - bias[:, None, None, None])
    half_a_cell = 0.5 / torch.tensor(size)
    inside = half_a_cell + (1 - 2 * half_a_cell) * torch.rand((1, 9, 3), generator=generator)
    torch.testing.assert_close(sample(Volume(stored[None], turned, bias), inside), inside, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", SAMPLERS)
@given(SIZES, generators())
def test_points_anywhere_agree_with_plain_loops_over_the_expanded_volume(
    method: str, size: tuple[int, int, int], generator: torch.Generator
) -> None:
    volume = low_rank(generator, size)
    position = 2 * torch.rand((2, 6, 3), generator=generator) - 0.5  # a good part of them outside
    plain = volume.expand()
    expected = torch.stack(
        [
            torch.stack([trilinear(scene, p) for p in points])
            for scene, points in zip(plain, position.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(sample(volume, position, method), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", SAMPLERS)
def test_lookup_before_the_map_equals_lookup_of_the_expanded_volume_values_and_gradients(method: str) -> None:
    generator = torch.Generator().manual_seed(0)
    volume = low_rank(generator, (4, 3, 5))
    position = 2 * torch.rand((2, 50, 3), generator=generator) - 0.5
    leaves = [leaf for leaf in (volume.features, volume.weight, volume.bias) if leaf is not None]
    for leaf in leaves:
        leaf.requires_grad_()
    first = sample(volume, position, method)
    second = sample(Volume(volume.expand()), position, "reference")
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(first.shape, generator=generator)
    gradients = [torch.autograd.grad(out, leaves, upstream) for out in (first, second)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_autocast_does_not_round_where_a_point_is() -> None:
    volume = Volume(centres((100, 4, 4))[None])
    position = torch.rand((1, 50, 3), generator=torch.Generator().manual_seed(1))
    for method in SAMPLERS:
        exact = sample(volume, position, method)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(sample(volume, position, method), exact)
