"""Volume operations against their definitions."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceiver.conv3d import (
    UPSAMPLE_CONVOLVE,
    FiLM,
    choose_upsampling,
    convolve,
    patchify,
    pool,
    spatial_soft_argmax,
    upsample_convolve,
)

BENCHMARK = Path(__file__).parent / "benchmarks" / "results" / "upsample.json"


def randn(*size: int, seed: int = 0, channels_last: bool = False) -> torch.Tensor:
    x = torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 4)] * 3),
    kernel=st.sampled_from([1, 3, 5]),
    scale=st.integers(1, 6),
    channels_last=st.booleans(),
)
def test_every_upsampling_equals_its_definition_with_borders_and_gradients(
    size: tuple[int, int, int], kernel: int, scale: int, channels_last: bool
) -> None:
    leaves = [
        randn(2, 3, *size, channels_last=channels_last).requires_grad_(),
        randn(2, 3, kernel, kernel, kernel, seed=1).requires_grad_(),
        randn(2, seed=2).requires_grad_(),
    ]
    expected = UPSAMPLE_CONVOLVE["reference"](*leaves, scale)
    loss_weight = randn(*expected.shape, seed=3)
    expected_gradients = torch.autograd.grad((expected * loss_weight).sum(), leaves)
    for name, implementation in UPSAMPLE_CONVOLVE.items():
        if name == "pointwise" and kernel != 1:
            continue
        y = implementation(*leaves, scale)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
        gradients = torch.autograd.grad((y * loss_weight).sum(), leaves)
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-11)


def test_upsampling_is_chosen_by_size_and_agrees_with_the_reference() -> None:
    for kernel in (1, 3, 5):
        x, weight, bias = randn(1, 4, 3, 3, 3), randn(4, 4, kernel, kernel, kernel, seed=1), randn(4, seed=2)
        expected = UPSAMPLE_CONVOLVE["reference"](x, weight, bias, 2)
        torch.testing.assert_close(upsample_convolve(x, weight, bias, 2), expected, rtol=0, atol=1e-12)


def test_the_rule_is_never_far_from_the_best_in_the_committed_benchmark() -> None:
    for device, result in json.loads(BENCHMARK.read_text()).items():
        for row in result["rows"]:
            chosen = choose_upsampling(row["kernel"], row["scale"], row["cells"])
            best = min(row["ms"].values())
            assert row["ms"][chosen] <= 1.5 * best, f"{device}: {row}, chosen: {chosen}"


def test_the_published_decoder_takes_the_poly_phase_form() -> None:
    assert choose_upsampling(kernel=5, scale=5, cells=20**3) == "fast"


def test_upsampling_by_two_of_two_voxels_worked_by_hand() -> None:
    x = torch.tensor([0.0, 4.0]).reshape(1, 1, 2, 1, 1)
    kernel = torch.zeros(1, 1, 3, 3, 3)
    kernel[0, 0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])
    # upsampled: 0 1 3 4; padded: 0 0 1 3 4 4
    expected = torch.tensor([100.0, 310.0, 431.0, 443.0])
    for name in ("reference", "fast"):
        y = UPSAMPLE_CONVOLVE[name](x, kernel, torch.zeros(1), 2)
        torch.testing.assert_close(y[0, 0, :, 0, 0], expected)


def test_convolution_continues_the_border_voxels_outwards() -> None:
    weight = randn(2, 3, 3, 3, 3)
    y = convolve(torch.ones(1, 3, 4, 4, 4, dtype=torch.float64), weight, randn(2, seed=1))
    expected = (weight.sum((1, 2, 3, 4)) + randn(2, seed=1))[None, :, None, None, None].expand(y.shape)
    torch.testing.assert_close(y, expected)


def test_odd_patches_are_centred_on_their_first_voxel_as_published() -> None:
    x, weight, bias = randn(1, 2, 6, 6, 6), randn(4, 2, 3, 3, 3, seed=1), randn(4, seed=2)
    y = patchify(x, weight, bias)
    assert y.shape == (1, 4, 2, 2, 2)
    for cell in product(range(2), repeat=3):
        window = torch.zeros(2, 3, 3, 3, dtype=torch.float64)
        for offset in product(range(3), repeat=3):
            i, j, k = (min(max(3 * c + o - 1, 0), 5) for c, o in zip(cell, offset, strict=True))
            window[:, offset[0], offset[1], offset[2]] = x[0, :, i, j, k]
        expected = (weight * window).sum((1, 2, 3, 4)) + bias
        torch.testing.assert_close(y[0, :, cell[0], cell[1], cell[2]], expected)


def test_even_patches_tile_the_grid() -> None:
    x, weight, bias = randn(1, 2, 4, 8, 4), randn(4, 2, 4, 4, 4, seed=1), randn(4, seed=2)
    y = patchify(x, weight, bias)
    assert y.shape == (1, 4, 1, 2, 1)
    expected = (weight * x[0, :, :, 4:8, :]).sum((1, 2, 3, 4)) + bias
    torch.testing.assert_close(y[0, :, 0, 1, 0], expected)


def test_soft_argmax_equals_plain_loops_over_voxels() -> None:
    x = 0.02 * randn(2, 3, 2, 3, 4)
    axes = [torch.linspace(-1, 1, size).double() for size in (2, 3, 4)]
    for batch, channel in product(range(2), range(3)):
        total, expected = 0.0, torch.zeros(3, dtype=torch.float64)
        for i, j, k in product(range(2), range(3), range(4)):
            share = torch.exp(x[batch, channel, i, j, k] / 0.01)
            total += share
            expected += share * torch.stack((axes[1][j], axes[0][i], axes[2][k]))
        result = spatial_soft_argmax(x)[batch, channel].double()
        torch.testing.assert_close(result, expected / total, rtol=1e-5, atol=1e-5)


def test_soft_argmax_of_one_peak_is_its_place_in_the_published_order() -> None:
    x = torch.zeros(1, 1, 5, 5, 5)
    x[0, 0, 0, 4, 2] = 1.0  # x at its lower end, y at its upper end, z in the middle
    torch.testing.assert_close(spatial_soft_argmax(x)[0, 0], torch.tensor([1.0, -1.0, 0.0]))


def test_pool_lists_triplets_of_all_channels_then_maxima() -> None:
    x = randn(2, 3, 2, 2, 2)
    pooled = pool(x)
    torch.testing.assert_close(pooled[:, :9].unflatten(1, (3, 3)), spatial_soft_argmax(x))
    torch.testing.assert_close(pooled[:, 9:], x.flatten(2).max(-1).values.float())


def test_pooling_stays_in_fp32_under_autocast() -> None:
    x = 0.01 * randn(1, 2, 4, 4, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool(x)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, pool(x), rtol=0, atol=0)


@pytest.mark.parametrize("channels_last", [False, True])
def test_film_starts_as_identity_and_then_scales_and_shifts_each_channel(channels_last: bool) -> None:
    film, x = FiLM(2, 3).double(), randn(2, 3, 2, 2, 2, channels_last=channels_last)
    condition = randn(2, 2, seed=1)
    torch.testing.assert_close(film(x, condition), x, rtol=0, atol=0)
    torch.nn.init.normal_(film.project.weight)
    projected = film.project(condition)
    for batch, channel in product(range(2), range(3)):
        expected = (1 + projected[batch, channel]) * x[batch, channel] + projected[batch, 3 + channel]
        torch.testing.assert_close(film(x, condition)[batch, channel], expected)
