"""Attention blocks of the Perceiver: pre-normalised attention and gated feed-forward layers."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention from queries to a context, or of a sequence to itself; layer-normalised first.

    No bias on queries, keys and values; dropout falls on the attention matrix (in training mode).
    """

    def __init__(
        self, query_width: int, context_width: int | None, heads: int, head_width: int, dropout: float = 0.0
    ) -> None:
        """Attention to a context of `context_width` features; None: to the queries themselves, normalised once."""
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_query = nn.LayerNorm(query_width)
        self.norm_context = None if context_width is None else nn.LayerNorm(context_width)
        self.to_query = nn.Linear(query_width, heads * head_width, bias=False)
        self.to_key_value = nn.Linear(context_width or query_width, 2 * heads * head_width, bias=False)
        self.to_output = nn.Linear(heads * head_width, query_width)

    def forward(
        self,
        queries: Float[Tensor, "batch queries query_width"],
        context: Float[Tensor, "batch keys context_width"] | None = None,
        mask: Bool[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch queries query_width"]:
        """What the context says to each query; keys where `mask` is False are not looked at."""
        queries = self.norm_query(queries)
        if self.norm_context is not None:
            assert context is not None, "cross-attention needs a context"
            context = self.norm_context(context)
        query = self.to_query(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key_value = self.to_key_value(queries if context is None else context)
        key, value = key_value.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.to_output(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Layer norm, then a GELU-gated hidden layer of four times the width (GEGLU, Shazeer 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_hidden = nn.Linear(width, 8 * width)
        self.to_output = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length width"]:
        """The layer's output, without the residual."""
        value, gate = self.to_hidden(self.norm(x)).chunk(2, dim=-1)
        return self.to_output(value * F.gelu(gate))
