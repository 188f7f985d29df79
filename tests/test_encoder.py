"""Encoders: any grid size, conditions that start as nothing, and the volume's map kept apart exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.encoder import EncoderConfig, build_encoder
from gnfactor.errors import ConfigError
from perceiver.volume import Volume

KINDS = ("unet", "pointwise")


def randn(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(size=st.tuples(*[st.integers(8, 21)] * 3), depth=st.integers(2, 4), kind=st.sampled_from(KINDS))
def test_any_grid_size_comes_back_as_a_volume_of_that_size(size: tuple[int, int, int], depth: int, kind: str) -> None:
    encoder = build_encoder(EncoderConfig(kind=kind, widths=(4, 6, 8, 10)[:depth], channels=12), inputs=5)
    volume = encoder(randn(2, 5, *size))
    assert volume.features.shape == (2, encoder.rank, *size)
    assert volume.channels == encoder.channels == 12
    assert volume.expand().shape == (2, 12, *size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_changes_nothing_before_training_and_something_after_one_step(kind: str) -> None:
    torch.manual_seed(0)
    plain = build_encoder(EncoderConfig(kind=kind, channels=8), inputs=5).eval()
    conditioned = build_encoder(EncoderConfig(kind=kind, channels=8, condition=True), 5, condition_width=3).eval()
    missing = conditioned.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys
    assert all("film" in key for key in missing.missing_keys)
    grid, condition = randn(2, 5, 8, 8, 8), randn(2, 3, seed=1)
    torch.testing.assert_close(conditioned(grid, condition).expand(), plain(grid).expand())

    conditioned(grid, condition).expand().square().mean().backward()
    projections = [p for name, p in conditioned.named_parameters() if name.endswith("film.project.weight")]
    assert len(projections) == (1 if kind == "pointwise" else 4)  # stem, bottleneck, all doublings but the first
    for projection in projections:
        assert projection.grad is not None
        assert projection.grad.abs().max() > 0
        projection.data -= 1e-3 * projection.grad
    assert (conditioned(grid, condition).expand() - plain(grid).expand()).abs().max() > 1e-6


def test_group_norm_treats_every_scene_by_itself_and_batch_norm_does_not_in_training() -> None:
    grid = randn(2, 5, 16, 16, 16)
    for norm, alike in (("group", True), ("batch", False)):
        encoder = build_encoder(EncoderConfig(norm=norm, channels=8), inputs=5).train()
        difference = (encoder(grid).expand()[:1] - encoder(grid[:1]).expand()).abs().max()
        assert (difference < 1e-5) == alike


def test_the_map_commutes_with_sampling_and_folds_into_convolutions() -> None:
    volume = Volume(randn(2, 3, 4, 4, 4).double(), randn(6, 3, seed=1).double(), randn(6, seed=2).double())
    plain = volume.expand()
    by_hand = torch.einsum("brxyz,cr->bcxyz", volume.features, volume.weight) + volume.bias[None, :, None, None, None]
    torch.testing.assert_close(plain, by_hand)
    torch.testing.assert_close(volume.expand_channels(2, 5), plain[:, 2:5])
    torch.testing.assert_close(volume.map(volume.features[:, :, 1, 2, 3]), plain[:, :, 1, 2, 3])
    kernel = randn(5, 6, 3, 3, 3, seed=3).double()
    folded, bias = volume.fold(kernel)
    assert folded.shape == (5, 3, 3, 3, 3)
    padded = [torch.nn.functional.pad(x, (1,) * 6, mode="replicate") for x in (volume.features, plain)]
    torch.testing.assert_close(
        torch.nn.functional.conv3d(padded[0], folded, bias), torch.nn.functional.conv3d(padded[1], kernel)
    )


def test_a_volume_without_a_map_is_its_own_features() -> None:
    volume = Volume(randn(1, 3, 2, 2, 2))
    assert volume.channels == 3
    assert volume.expand().equal(volume.features)
    assert volume.map(volume.features[:, :, 0, 0, 0]).equal(volume.features[:, :, 0, 0, 0])
    kernel = randn(2, 3, 1, 1, 1)
    folded, bias = volume.fold(kernel)
    assert folded.equal(kernel)
    assert bias.equal(torch.zeros(2))


def test_nonsense_in_the_configuration_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"encoder.kind is 'unett'; known: unet, pointwise"):
        EncoderConfig(kind="unett")
    with pytest.raises(ConfigError, match=r"encoder.norm is 'layer'; known: batch, group"):
        EncoderConfig(norm="layer")
    with pytest.raises(ConfigError, match=r"encoder.widths"):
        EncoderConfig(widths=(8,))
    with pytest.raises(ConfigError, match=r"encoder.condition is true"):
        build_encoder(EncoderConfig(condition=True), inputs=5)
