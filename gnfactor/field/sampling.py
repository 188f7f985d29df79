"""Where along its ray a field is asked: evenly, where there is density, and about a depth.

Without a generator every function gives the fixed samples that pictures are rendered with; with one, the random
samples that training needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gnfactor.errors import ConfigError
from gnfactor.field.rays import Span


@dataclass(frozen=True)
class SamplingConfig:
    """How many samples each ray gets; the defaults are GNFactor's (64 coarse, 16 + 16 fine)."""

    coarse: int = 64
    """Stratified over the ray's part in the workspace."""
    coarse_of_pictures: int | None = None
    """So many instead where a picture is rendered: it has no measured depth to look about, and needs no gradient. Null:
    as many as in training, as published."""
    importance: int = 16
    """Drawn from the coarse weights (NeRF, ECCV 2020, section 5.2)."""
    guided: int = 16
    """Drawn about a depth; 0 switches depth guidance off."""
    guide: Literal["rendered", "measured"] = "rendered"
    """What the guided samples lie about in training: the depth that the coarse pass renders, as published, or the
    measured depth where there is a reading. Pictures are always rendered by the coarse pass's own depth."""
    guided_std_m: float = 0.001
    """Standard deviation of guided samples along the ray."""

    def __post_init__(self) -> None:
        for name in ("coarse", "coarse_of_pictures"):
            count: int | None = getattr(self, name)
            if count is not None and count < 2:
                raise ConfigError(f"policy.field.sampling.{name} is {count}; at least 2 samples are expected")
        for name in ("importance", "guided"):
            if getattr(self, name) < 0:
                raise ConfigError(f"policy.field.sampling.{name} is {getattr(self, name)}; 0 or more is expected")
        if not 0 < self.guided_std_m < float("inf"):
            raise ConfigError(
                f"policy.field.sampling.guided_std_m is {self.guided_std_m}; a finite length above 0 m is expected"
            )

    def of_pictures(self) -> SamplingConfig:
        """The same for rendering pictures."""
        return self if self.coarse_of_pictures is None else replace(self, coarse=self.coarse_of_pictures)


def stratified(span: Span, count: int, generator: torch.Generator | None) -> Float[Tensor, "*rays samples"]:
    """Increasing distances (m), one in each of `count` equal parts of the span: its middle, or anywhere in it."""
    near = span.near_m[..., None]
    within = _uniform((*span.near_m.shape, count), near, generator)
    share = (torch.arange(count, device=near.device, dtype=near.dtype) + within) / count
    return near + share * (span.far_m[..., None] - near)


def importance(
    distance_m: Float[Tensor, "*rays samples"],
    weight: Float[Tensor, "*rays samples"],
    span: Span,
    count: int,
    generator: torch.Generator | None,
) -> Float[Tensor, "*rays more"]:
    """Distances (m) drawn from the density that gives each coarse sample's part of the ray its weight.

    A sample's part reaches halfway to its neighbours (NeRF, ECCV 2020, section 5.2, inverse transform sampling).
    """
    middles = (distance_m[..., 1:] + distance_m[..., :-1]) / 2
    edges = torch.cat((span.near_m[..., None], middles, span.far_m[..., None]), -1)
    share = weight + _SPREAD / weight.shape[-1]
    cumulative = torch.cat((torch.zeros_like(share[..., :1]), share.cumsum(-1)), -1)
    cumulative = cumulative / cumulative[..., -1:]
    within = _uniform((*weight.shape[:-1], count), weight, generator)
    wanted = (torch.arange(count, device=weight.device, dtype=weight.dtype) + within) / count
    above = torch.searchsorted(cumulative, wanted.contiguous(), right=True).clamp(1, weight.shape[-1])
    low, high = cumulative.gather(-1, above - 1), cumulative.gather(-1, above)
    part = ((wanted - low) / (high - low).clamp(min=torch.finfo(weight.dtype).tiny)).clamp(0, 1)
    return edges.gather(-1, above - 1).lerp(edges.gather(-1, above), part)


def about(
    centre_m: Float[Tensor, "*rays"], std_m: float, span: Span, count: int, generator: torch.Generator | None
) -> Float[Tensor, "*rays samples"]:
    """Distances (m) normally distributed about a centre and clamped to the span (GNFactor's depth-guided samples)."""
    shape = (*centre_m.shape, count)
    if generator is None:
        quantile = (torch.arange(count, device=centre_m.device, dtype=centre_m.dtype) + 0.5) / count
        normal = torch.special.ndtri(quantile).expand(shape)
    else:
        normal = torch.randn(shape, generator=generator, device=generator.device).to(centre_m)
    drawn = centre_m[..., None] + std_m * normal
    return torch.minimum(torch.maximum(drawn, span.near_m[..., None]), span.far_m[..., None])


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers from 0 to 1, or their middle without a generator."""
    if generator is None:
        return torch.full(shape, 0.5, device=like.device, dtype=like.dtype)
    return torch.rand(shape, generator=generator, device=generator.device).to(like)


_SPREAD = 1e-3
"""Share of a ray's importance samples that is spread evenly, so that a ray without density has samples, too."""
