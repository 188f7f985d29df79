"""Volume rendering as pure functions over a callable field (NeRF, ECCV 2020, sections 4 and 5.2; Max 1995).

A field is a function of world points and directions; what it is made of stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnfactor.field.rays import Rays, Span
from gnfactor.field.sampling import SamplingConfig, about, importance, stratified


@dataclass(frozen=True, eq=False)
class FieldValues:
    """A field at some points."""

    density: Float[Tensor, "*points"]
    """Per metre, 0 or more."""
    colour: Float[Tensor, "*points 3"]
    """0 to 1."""
    feature: Float[Tensor, "*points features"]


Field = Callable[[Float[Tensor, "*rays samples 3"], Float[Tensor, "*rays 3"]], FieldValues]
"""World points (m) and the direction of the ray on which each row of them lies."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """What a ray sees."""

    colour: Float[Tensor, "*rays 3"]
    """0 to 1."""
    feature: Float[Tensor, "*rays features"]
    distance_m: Float[Tensor, "*rays"]
    """Expected distance along the ray; what passes through all samples is taken to stop at the end of the span."""
    opacity: Float[Tensor, "*rays"]
    """Share of the ray that stops in the span: 0 to 1."""


@dataclass(frozen=True, eq=False)
class Background:
    """What rays see that leave the span."""

    colour: Float[Tensor, "*rays 3"]
    feature: Float[Tensor, "*rays features"]


Compositing = Callable[
    [FieldValues, Float[Tensor, "*rays samples"], Span, Background], tuple[Rendered, Float[Tensor, "*rays samples"]]
]
"""What `composite` is: the field at some distances along rays -> what each ray sees, and the weights of its samples."""


@dataclass(frozen=True, eq=False)
class Passes:
    """The same rays by the coarse samples alone and by all samples."""

    coarse: Rendered
    fine: Rendered


def ray_weights(
    density: Float[Tensor, "*rays samples"], spacing_m: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays samples"]:
    """Share of each sample in its ray: w_i = T_i (1 - exp(-sigma_i delta_i)) (Max 1995, eq. 8; NeRF, eq. 3)."""
    thickness = density * spacing_m
    before = torch.nn.functional.pad(thickness.cumsum(-1)[..., :-1], (1, 0))  # a difference would lose thin samples
    return torch.exp(-before) * -torch.expm1(-thickness)


def spacing(
    distance_m: Float[Tensor, "*rays samples"], far_m: Float[Tensor, "*rays"]
) -> Float[Tensor, "*rays samples"]:
    """Length of ray (m) that each sample stands for: up to the next sample, the last one up to the end of the span."""
    return torch.cat((distance_m, far_m[..., None]), -1).diff(dim=-1)


def composite(
    values: FieldValues, distance_m: Float[Tensor, "*rays samples"], span: Span, background: Background
) -> tuple[Rendered, Float[Tensor, "*rays samples"]]:
    """What each ray sees, and the weights of its samples; in float32 at least, also under autocast.

    Args:
        values: the field at the samples.
        distance_m: increasing distances of the samples along their rays.
        span: where the rays are rendered.
        background: seen by what is left of a ray at the end of its span.
    """
    with torch.autocast(distance_m.device.type, enabled=False):
        weight = ray_weights(in_single_precision(values.density), spacing(distance_m, span.far_m))
        opacity = weight.sum(-1)
        rest = 1 - opacity
        rendered = Rendered(
            colour=_weighted(weight, values.colour) + rest[..., None] * background.colour,
            feature=_weighted(weight, values.feature) + rest[..., None] * background.feature,
            distance_m=(weight * distance_m).sum(-1) + rest * span.far_m,
            opacity=opacity,
        )
    return rendered, weight


def render(
    field: Field,
    rays: Rays,
    span: Span,
    sampling: SamplingConfig,
    background: Background,
    generator: torch.Generator | None = None,
    measured_m: Float[Tensor, "*rays"] | None = None,
    method: Literal["fast", "reference"] = "fast",
    compositing: Compositing = composite,
) -> Passes:
    """Render rays: evenly spaced samples first, then more where those found something.

    Args:
        field: what is rendered.
        rays: through which pixels.
        span: which part of each ray.
        sampling: how many samples.
        background: what lies behind the span.
        generator: for random samples, as in training; None for the fixed ones of pictures.
        measured_m: measured distance of the surface along each ray, 0 where there is no reading; guided samples lie
            about it where it is given and lies in the span, else about the coarse pass's depth.
        method: "fast" asks the field once for every sample and reuses the coarse answers (both passes share one
            network, so that the numbers are the same); "reference" asks for all samples anew in the second pass.
        compositing: what adds the samples of a ray up.
    """
    coarse_m = stratified(span, sampling.coarse, generator)
    coarse = field(rays.at(coarse_m), rays.direction)
    first, weight = compositing(coarse, coarse_m, span, background)
    if sampling.importance + sampling.guided == 0:
        return Passes(first, first)
    with torch.no_grad():
        centre_m = first.distance_m
        if measured_m is not None:
            known = (measured_m > span.near_m) & (measured_m < span.far_m)
            centre_m = torch.where(known, measured_m, centre_m)
        more_m = torch.cat(
            (
                importance(coarse_m, weight, span, sampling.importance, generator),
                about(centre_m, sampling.guided_std_m, span, sampling.guided, generator),
            ),
            -1,
        )
        all_m, order = torch.cat((coarse_m, more_m), -1).sort(-1)
    if method == "reference":
        values = field(rays.at(all_m), rays.direction)
    else:
        values = _merged(coarse, field(rays.at(more_m), rays.direction), order)
    return Passes(first, compositing(values, all_m, span, background)[0])


def _merged(first: FieldValues, second: FieldValues, order: Int[Tensor, "*rays all"]) -> FieldValues:
    """Both sets of samples of each ray in the given order."""

    def gathered(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat((one, other), -2).gather(-2, order[..., None].expand(*order.shape, one.shape[-1]))

    return FieldValues(
        density=torch.cat((first.density, second.density), -1).gather(-1, order),
        colour=gathered(first.colour, second.colour),
        feature=gathered(first.feature, second.feature),
    )


def _weighted(weight: Tensor, values: Float[Tensor, "*rays samples width"]) -> Float[Tensor, "*rays width"]:
    return torch.einsum("...s,...sw->...w", weight, in_single_precision(values))


def in_single_precision(values: Tensor) -> Tensor:
    """Float32 of what has fewer bits; what has more stays as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
