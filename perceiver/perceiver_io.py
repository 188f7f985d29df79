"""PerceiverIO: a long sequence is read into a few latents, thought over, and read out again (Jaegle et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceiver.attention import Attention, FeedForward


@dataclass(frozen=True)
class PerceiverConfig:
    """Sizes of a PerceiverIO; the defaults are PerAct's and GNFactor's."""

    latents: int = 2048
    latent_width: int = 512
    depth: int = 6
    """Self-attention blocks on the latents."""
    latent_heads: int = 8
    latent_head_width: int = 64
    cross_heads: int = 1
    cross_head_width: int = 64
    dropout: float = 0.1
    """Share of attention weights dropped in training. On a CPU anything but 0 leaves the fast attention path."""

    def __post_init__(self) -> None:
        for name in ("latents", "latent_width", "latent_heads", "latent_head_width", "cross_heads", "cross_head_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"perceiver.{name} is {getattr(self, name)}; it must be at least 1")
        if self.depth < 0:
            raise ValueError(f"perceiver.depth is {self.depth}; it must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"perceiver.dropout is {self.dropout}; it must be at least 0 and below 1")


class PerceiverIO(nn.Module):
    """Inputs -> latents (cross-attention) -> self-attention blocks -> queries (cross-attention)."""

    def __init__(self, config: PerceiverConfig, width: int) -> None:
        """A Perceiver over sequences of `width` features, which are also its queries' and outputs' width."""
        super().__init__()
        latent = config.latent_width
        self.latents = nn.Parameter(torch.randn(config.latents, latent))
        self.read = Attention(latent, width, config.cross_heads, config.cross_head_width, config.dropout)
        self.read_feed = FeedForward(latent)
        heads, head_width = config.latent_heads, config.latent_head_width
        self.blocks = nn.ModuleList(
            nn.ModuleList((Attention(latent, None, heads, head_width, config.dropout), FeedForward(latent)))
            for _ in range(config.depth)
        )
        self.write = Attention(width, latent, config.cross_heads, config.cross_head_width, config.dropout)

    def forward(
        self,
        inputs: Float[Tensor, "batch length width"],
        queries: Float[Tensor, "batch queries width"],
        mask: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """What the inputs mean to each query; inputs where `mask` is False are not read."""
        latents = self.latents.expand(inputs.shape[0], -1, -1)
        latents = latents + self.read(latents, inputs, mask)
        latents = latents + self.read_feed(latents)
        for attention, feed in self.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            latents = latents + attention(latents)
            latents = latents + feed(latents)
        return self.write(queries, latents)
