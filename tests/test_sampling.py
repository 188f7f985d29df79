"""Samples lie in their span, one in each part, and more where the weights are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.errors import ConfigError
from gnfactor.field.rays import Span
from gnfactor.field.sampling import SamplingConfig, about, importance, stratified
from tests.strategies import generators, seeds

RAYS = 5
SPREAD = 1e-3


def spans(generator: torch.Generator) -> Span:
    near_m = 0.1 + torch.rand(RAYS, generator=generator)
    length_m = 2 * torch.rand(RAYS, generator=generator)
    length_m[0] = 0  # a ray that misses the box
    return Span(near_m, near_m + length_m)


def coarse(generator: torch.Generator, count: int) -> tuple[Span, Tensor, Tensor]:
    """Span, coarse distances and weights, of which many are zero."""
    span = spans(generator)
    weight = torch.rand((RAYS, count), generator=generator) ** 4
    weight[:, ::3] = 0
    weight[1] = 0  # a ray through nothing
    return span, stratified(span, count, generator), weight / (1 + weight.sum(-1, keepdim=True))


def parts(span: Span, distance_m: Tensor) -> Tensor:
    """Edges of the part of the ray that each coarse sample stands for, by plain loops."""
    rows = [
        [near, *((a + b) / 2 for a, b in pairwise(row)), far]
        for near, far, row in zip(span.near_m.tolist(), span.far_m.tolist(), distance_m.tolist(), strict=True)
    ]
    return torch.tensor(rows)


@given(generators(), st.integers(2, 20), st.booleans())
def test_stratified_samples_lie_one_in_each_part_in_order(generator: torch.Generator, count: int, random: bool) -> None:
    span = spans(generator)
    distance_m = stratified(span, count, generator if random else None)
    edges = torch.linspace(0, 1, count + 1)
    share = ((distance_m - span.near_m[:, None]) / (span.far_m - span.near_m)[:, None])[1:]
    assert (share >= edges[:-1] - 1e-4).all()
    assert (share <= edges[1:] + 1e-4).all()
    assert (distance_m.diff(dim=-1) >= 0).all()
    assert torch.equal(distance_m[0], span.near_m[:1].expand(count))


def test_fixed_samples_are_the_middles() -> None:
    span = Span(torch.tensor([1.0]), torch.tensor([2.0]))
    torch.testing.assert_close(stratified(span, 4, None), torch.tensor([[1.125, 1.375, 1.625, 1.875]]))


@given(generators(), st.integers(2, 12), st.integers(0, 9), st.booleans())
def test_importance_samples_lie_in_the_span_in_order(
    generator: torch.Generator, count: int, more: int, random: bool
) -> None:
    span, distance_m, weight = coarse(generator, count)
    drawn = importance(distance_m, weight, span, more, generator if random else None)
    assert drawn.shape == (RAYS, more)
    assert (drawn >= span.near_m[:, None]).all()
    assert (drawn <= span.far_m[:, None] + 1e-6).all()
    assert (drawn.diff(dim=-1) >= -1e-6).all()


@given(generators(), st.integers(2, 12))
def test_each_part_of_the_ray_gets_its_weights_share_of_the_samples(generator: torch.Generator, count: int) -> None:
    """Stratified draws leave no room for chance: a part's count is its share of them to within two."""
    span, distance_m, weight = coarse(generator, count)
    drawn = importance(distance_m, weight, span, 1000, generator)
    share = weight + SPREAD / count
    share = share / share.sum(-1, keepdim=True)
    for edges, found, expected in list(zip(parts(span, distance_m), drawn, share, strict=True))[1:]:
        counts, _ = np.histogram(found.numpy(), np.maximum.accumulate(edges.numpy()))
        below = np.abs(np.cumsum(counts) - 1000 * np.cumsum(expected.numpy()))
        assert (below[:-1] <= 2.5).all()


@given(generators(), st.integers(2, 12), st.integers(1, 9))
def test_fixed_importance_samples_invert_the_cumulative_weights(
    generator: torch.Generator, count: int, more: int
) -> None:
    span, distance_m, weight = coarse(generator, count)
    found = importance(distance_m, weight, span, more, None)
    wanted = (np.arange(more) + 0.5) / more
    for ray, edges in enumerate(parts(span, distance_m).double().numpy()):
        share = weight[ray].double().numpy() + SPREAD / count
        cumulative = np.concatenate(([0], np.cumsum(share))) / share.sum()
        here = found[ray].double().numpy()
        # float32 sums may tip a sample over an edge where a part has next to no weight: metres differ, shares do not.
        # In a span of millimetres the last bit of a distance is a larger share: shares differ, metres do not.
        back = np.interp(here, edges, cumulative) if edges[-1] > edges[0] else wanted
        same_share = np.abs(back - wanted) < 2e-5
        same_place = np.abs(here - np.interp(wanted, cumulative, edges)) <= 4 * np.spacing(np.float32(edges[-1]))
        assert (same_share | same_place).all(), (back, wanted)


@given(generators(), st.integers(0, 9), st.booleans())
def test_guided_samples_lie_in_the_span_wherever_their_centre_is(
    generator: torch.Generator, count: int, random: bool
) -> None:
    span = spans(generator)
    centre_m = 4 * torch.rand(RAYS, generator=generator) - 1
    drawn = about(centre_m, 0.3, span, count, generator if random else None)
    assert (drawn >= span.near_m[:, None]).all()
    assert (drawn <= span.far_m[:, None]).all()


@pytest.mark.parametrize("random", [True, False])
def test_guided_samples_are_normal_about_their_centre(random: bool) -> None:
    span = Span(torch.zeros(1), torch.full((1,), 10.0))
    generator = torch.Generator().manual_seed(0) if random else None
    drawn = about(torch.tensor([4.0]), 0.5, span, 20_000, generator)[0]
    quantiles = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    expected = 4 + 0.5 * torch.special.ndtri(quantiles)
    torch.testing.assert_close(drawn.quantile(quantiles), expected, rtol=0, atol=0.02)


@given(seeds)
def test_the_same_seed_draws_the_same_and_another_seed_other_samples(seed: int) -> None:
    span, distance_m, weight = coarse(torch.Generator().manual_seed(3), 8)

    def drawn(number: int | None) -> list[Tensor]:
        generator = None if number is None else torch.Generator().manual_seed(number)
        return [
            stratified(span, 6, generator),
            importance(distance_m, weight, span, 6, generator),
            about(span.far_m - 0.1, 0.05, span, 6, generator),
        ]

    for first, again, other, fixed, fixed_again in zip(
        drawn(seed), drawn(seed), drawn(seed + 1), drawn(None), drawn(None), strict=True
    ):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(fixed, fixed_again)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"coarse": 1}, "coarse"),
        ({"importance": -1}, "importance"),
        ({"guided": -1}, "guided"),
        ({"guided_std_m": 0.0}, "guided_std_m"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        replace(SamplingConfig(), **changes)
