"""Who adds the samples of a ray up, by name: our own function, or pytorch3d's raymarcher where it is installed.

Both compute Max's sum (1995, eq. 8), so that a policy trained with one may be rendered by the other. pytorch3d is
imported when it is asked for the first picture; a policy that only acts never needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnfactor.errors import ConfigError, MissingExtraError
from gnfactor.field.rays import Span
from gnfactor.field.render import (
    Background,
    Compositing,
    FieldValues,
    Rendered,
    composite,
    in_single_precision,
    ray_weights,
    spacing,
)

INSTALL_PYTORCH3D = (
    "pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/pytorch3d.git@33824be3cbc87a7dd1db0f6a9a9de9ac81b2d0ba'"
)
"""Version 0.7.9; what it needs besides stands in docs/install.md."""


def composite_by_pytorch3d(
    values: FieldValues, distance_m: Float[Tensor, "*rays samples"], span: Span, background: Background
) -> tuple[Rendered, Float[Tensor, "*rays samples"]]:
    """What `composite` computes, by pytorch3d's `EmissionAbsorptionRaymarcher`, with its gradients.

    The raymarcher takes the opacity of each sample where we have a density, adds up any number of channels at once and
    keeps its weights to itself. Those returned here are ours and carry no gradient: they only say where to look closer.

    Raises:
        MissingExtraError: pytorch3d is not installed.
        ConfigError: it is, but cannot be imported.
    """
    march = _raymarcher()
    with torch.autocast(distance_m.device.type, enabled=False):
        density = in_single_precision(values.density)
        length_m = spacing(distance_m, span.far_m)
        opacity_of_samples = -torch.expm1(-density * length_m)
        marched: Tensor = march(
            opacity_of_samples[..., None],
            torch.cat((values.colour, values.feature, distance_m[..., None]), -1),  # in the precision of the last
            eps=0.0,  # added to every transmittance by default, for gradients that torch has without it
        )
        colour, feature, stopped_m, opacity = marched.split((3, values.feature.shape[-1], 1, 1), -1)
        rest = 1 - opacity
        rendered = Rendered(
            colour=colour + rest * background.colour,
            feature=feature + rest * background.feature,
            distance_m=(stopped_m + rest * span.far_m[..., None])[..., 0],
            opacity=opacity[..., 0],
        )
        with torch.no_grad():
            weight = ray_weights(density, length_m)
    return rendered, weight


def _raymarcher() -> Any:
    """A raymarcher whose samples do not hide themselves (surface_thickness 1, its default)."""
    try:
        return importlib.import_module("pytorch3d.renderer").EmissionAbsorptionRaymarcher()
    except ModuleNotFoundError as error:
        package = (error.name or "pytorch3d").partition(".")[0]  # it, or one that it needs
        raise MissingExtraError(package, INSTALL_PYTORCH3D) from error
    except ImportError as error:  # its compiled part is missing, or was compiled beside another torch
        raise ConfigError(
            f"policy.field.compositing is 'pytorch3d', which is installed but cannot be imported ({error}); compile it "
            f"beside the torch that is here: {INSTALL_PYTORCH3D} --force-reinstall --no-deps, or set "
            "policy.field.compositing=ours"
        ) from error


COMPOSITING: dict[str, Compositing] = {"ours": composite, "pytorch3d": composite_by_pytorch3d}
