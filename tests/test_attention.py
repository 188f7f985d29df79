"""Attention and the Perceiver against plain loops and their laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from perceiver.attention import Attention, FeedForward
from perceiver.perceiver_io import PerceiverConfig, PerceiverIO

TINY = PerceiverConfig(latents=4, latent_width=8, depth=2, latent_heads=2, latent_head_width=4, cross_head_width=4)


def randn(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def module(layer: nn.Module) -> nn.Module:
    """The layer in float64 and evaluation mode, with biases and norms that show."""
    generator = torch.Generator().manual_seed(7)
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return layer.double().eval()


def plain_attention(layer: Attention, queries: torch.Tensor, context: torch.Tensor, heads: int) -> torch.Tensor:
    """One scene, one query and one head at a time; `context` is normalised already."""
    q, kv = layer.to_query(layer.norm_query(queries)), layer.to_key_value(context)
    width = q.shape[-1] // heads
    keys, values = kv[:, : heads * width], kv[:, heads * width :]
    rows: list[torch.Tensor] = []
    for query in q:
        parts: list[torch.Tensor] = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = torch.stack([query[part] @ key[part] / math.sqrt(width) for key in keys])
            shares = scores.exp() / scores.exp().sum()
            parts.append(sum((share * value[part] for share, value in zip(shares, values, strict=True))))  # type: ignore[arg-type]
        rows.append(layer.to_output(torch.cat(parts)))
    return torch.stack(rows)


def test_cross_attention_equals_plain_loops() -> None:
    layer = module(Attention(6, 10, heads=2, head_width=4))
    queries, context = randn(1, 3, 6), randn(1, 5, 10, seed=1)
    assert isinstance(layer, Attention)
    assert layer.norm_context is not None
    expected = plain_attention(layer, queries[0], layer.norm_context(context[0]), heads=2)
    torch.testing.assert_close(layer(queries, context)[0], expected)


def test_self_attention_equals_plain_loops() -> None:
    layer = module(Attention(6, None, heads=3, head_width=2))
    assert isinstance(layer, Attention)
    sequence = randn(1, 4, 6)
    expected = plain_attention(layer, sequence[0], layer.norm_query(sequence[0]), heads=3)
    torch.testing.assert_close(layer(sequence)[0], expected)


def test_masked_keys_change_nothing() -> None:
    layer = module(Attention(6, 10, heads=2, head_width=4))
    queries, context = randn(2, 3, 6), randn(2, 5, 10, seed=1)
    mask = torch.tensor([[True] * 5, [True, False, True, True, False]])
    expected = layer(queries[1:], context[1:, [0, 2, 3]])
    torch.testing.assert_close(layer(queries, context, mask)[1:], expected)
    torch.testing.assert_close(layer(queries, context, mask)[:1], layer(queries[:1], context[:1]))


def test_dropout_acts_in_training_mode_only_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = module(Attention(6, None, heads=1, head_width=4, dropout=0.5))
    sequence = randn(1, 8, 6)
    quiet = layer(sequence)
    torch.testing.assert_close(layer(sequence), quiet)
    layer.train()
    drawn = torch.stack([layer(sequence) for _ in range(2000)])
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3
    torch.testing.assert_close(drawn.mean(0), quiet, rtol=0, atol=0.05)


def test_feed_forward_is_a_linear_layer_gated_by_exact_gelu() -> None:
    layer = module(FeedForward(3))
    assert isinstance(layer, FeedForward)
    x = 3 * randn(1, 2, 3)
    hidden = layer.to_hidden(layer.norm(x))
    value, gate = hidden[..., :12], hidden[..., 12:]
    gelu = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    torch.testing.assert_close(layer(x), layer.to_output(value * gelu), rtol=0, atol=1e-12)


def test_perceiver_does_not_care_for_the_order_of_its_inputs() -> None:
    perceiver = module(PerceiverIO(TINY, width=6))
    inputs, queries = randn(1, 7, 6), randn(1, 3, 6, seed=1)
    torch.testing.assert_close(perceiver(inputs.flip(1), queries), perceiver(inputs, queries))


def test_each_query_is_answered_by_itself() -> None:
    perceiver = module(PerceiverIO(TINY, width=6))
    inputs, queries = randn(2, 7, 6), randn(2, 3, 6, seed=1)
    torch.testing.assert_close(perceiver(inputs, queries)[:, 1:2], perceiver(inputs, queries[:, 1:2]))


def test_latents_start_as_standard_normal_numbers() -> None:
    latents = PerceiverIO(PerceiverConfig(latents=500, latent_width=64, depth=0), width=4).latents
    assert abs(latents.mean()) < 0.03
    assert abs(latents.std() - 1) < 0.03


@pytest.mark.parametrize(("key", "value"), [("latents", 0), ("depth", -1), ("dropout", 1.0), ("cross_heads", 0)])
def test_nonsense_in_the_configuration_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"perceiver.{key} is {value}"):
        PerceiverConfig(**{key: value})
