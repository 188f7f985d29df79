"""The generalizable neural feature field: a deep volume as something that can be looked at from anywhere.

Colour, depth and a foundation model's features are rendered from the volume and compared with what other cameras saw
(GNFactor, CoRL 2023, section 3.2, equations 1 to 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gnfactor.actions import Box
from gnfactor.batch import RayTargets
from gnfactor.errors import ConfigError
from gnfactor.field.compositing import COMPOSITING
from gnfactor.field.network import FieldNetwork, FieldNetworkConfig
from gnfactor.field.rays import Rays, Span, clip_to_box, rays_through
from gnfactor.field.render import Background, Field, FieldValues, Passes, Rendered, render
from gnfactor.field.sampling import SamplingConfig
from perceiver.volume import Volume, sample

NEAREST_M = 0.1
"""Nothing nearer to a camera is rendered."""
_RAYS_AT_ONCE = 4096


@dataclass(frozen=True)
class FieldLossConfig:
    """Weights of the field's loss; the defaults are the published ones. A weight of 0 leaves its term out."""

    total: float = 0.01
    """Of all terms beside behaviour cloning (lambda_recon in the paper)."""
    colour: float = 1.0
    feature: float = 0.01
    """Lambda_feat in the paper."""
    depth: float = 0.0
    """Of the error of the expected distance (m) where depth was measured; not part of the publication."""
    coarse: float = 1.0
    """Of the coarse pass's errors beside the fine pass's, in every term. Both passes are one network here, and few
    coarse samples cannot see a thin thing that is where it should be: less than 1 lets the fine pass decide."""

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not 0 <= weight < float("inf"):
                raise ConfigError(f"policy.field.loss.{name} is {weight}; a finite weight of at least 0 is expected")
        if self.total == 0 or self.colour == self.feature == self.depth == 0:
            raise ConfigError("policy.field.loss has no weight above 0; set one, or policy.field=null for no field")


@dataclass(frozen=True)
class FieldConfig:
    """The field and how it is trained; every default is the published one."""

    network: FieldNetworkConfig = field(default_factory=FieldNetworkConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    loss: FieldLossConfig = field(default_factory=FieldLossConfig)
    background: Literal["black", "learned", "masked"] = "black"
    """What is seen by rays that pass through the workspace. black: nothing, as published; learned: a small network of
    the ray; masked: nothing, and colours and features are compared only where the measured surface lies in the
    workspace (which needs depth, and is right when scenes are moved about a room that stays)."""
    compositing: str = "ours"
    """Whose code adds the samples of a ray up: ours, or pytorch3d's where it is installed (the same numbers)."""

    def __post_init__(self) -> None:
        if self.compositing not in COMPOSITING:
            raise ConfigError(f"policy.field.compositing is '{self.compositing}'; known: {', '.join(COMPOSITING)}")


@dataclass(frozen=True, eq=False)
class Picture:
    """One rendered view, (height, width), or some pixels of it."""

    colour: Float[Tensor, "*pixels 3"]
    """0 to 1."""
    depth_m: Float[Tensor, "*pixels"]
    """Along the optical axis; where nothing is in the way, that of the workspace's far side."""
    feature: Float[Tensor, "*pixels features"]
    opacity: Float[Tensor, "*pixels"]

    def shaped(self, *pixels: int) -> Picture:
        """The same pixels in another order of rows and columns, as `Tensor.view`."""
        return Picture(
            colour=self.colour.view(*pixels, 3),
            depth_m=self.depth_m.view(*pixels),
            feature=self.feature.view(*pixels, self.feature.shape[-1]),
            opacity=self.opacity.view(*pixels),
        )


class NeuralField(nn.Module):
    """The network that turns places in a volume into density, colour and feature, with its loss."""

    def __init__(self, config: FieldConfig, box: Box, channels: int) -> None:
        """`channels` of the volume, which covers `box`."""
        super().__init__()
        self.config = config
        self.box = box
        self.network = FieldNetwork(config.network, channels)
        self.background = BackgroundNetwork(config.network.features) if config.background == "learned" else None

    def loss(
        self, volume: Volume, targets: RayTargets, generator: torch.Generator | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms by name, means over rays, coarse and fine pass added as published.

        Raises:
            ConfigError: features are to be learned but the targets have none, or of another width.
        """
        weights = self.config.loss
        rays = _flat(rays_through(targets.pixel, targets.intrinsics, targets.world_from_camera))
        span = clip_to_box(rays, self.box, NEAREST_M)
        surface_m = targets.depth_m.flatten(1) / rays.cosine
        measured_m = surface_m if self.config.sampling.guide == "measured" else None
        passes = self.render(volume, rays, span, self.config.sampling, generator, measured_m)
        compared = self._compared(surface_m, span)
        terms: dict[str, Tensor] = {}
        if weights.colour:
            seen = targets.rgb.flatten(1, 2).float() / 255
            terms["colour"] = self._both(passes, lambda part: _mean((part.colour - seen).square().mean(-1), compared))
        if weights.feature:
            known = self._features_of(targets)
            terms["feature"] = self._both(
                passes, lambda part: _mean((part.feature - known).square().mean(-1), compared)
            )
        if weights.depth:
            read = (surface_m > span.near_m) & span.crosses
            stop_m = torch.minimum(surface_m, span.far_m)
            terms["depth"] = self._both(passes, lambda part: _mean((part.distance_m - stop_m).abs(), read))
        return {f"field/{name}": weights.total * getattr(weights, name) * term for name, term in terms.items()}

    def render(
        self,
        volume: Volume,
        rays: Rays,
        span: Span,
        sampling: SamplingConfig,
        generator: torch.Generator | None = None,
        measured_m: Float[Tensor, "batch rays"] | None = None,
    ) -> Passes:
        """Rays (batch, rays) through each scene's volume; see `gnfactor.field.render.render`."""
        compositing = COMPOSITING[self.config.compositing]
        return render(
            self.of(volume),
            rays,
            span,
            sampling,
            self._behind(rays),
            generator,
            measured_m,
            compositing=compositing,
        )

    def of(self, volume: Volume) -> Field:
        """The field of these scenes: world points (batch, rays, samples, 3) -> values."""
        lower, upper = self.box.bounds(volume.features)

        def values(
            points: Float[Tensor, "batch rays samples 3"], direction: Float[Tensor, "batch rays 3"]
        ) -> FieldValues:
            position = (points - lower) / (upper - lower)
            place = sample(volume, position.flatten(1, 2)).view(*points.shape[:-1], -1)
            raw = self.network(position, direction[:, :, None].expand_as(points), place)
            return self.network.values(raw)

        return values

    def render_view(
        self,
        volume: Volume,
        intrinsics: Float[Tensor, "3 3"],
        world_from_camera: Float[Tensor, "4 4"],
        width: int,
        height: int,
    ) -> Picture:
        """What a camera would see of one scene (a volume with a batch of 1)."""
        device = volume.features.device
        v, u = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        pixel = torch.stack((u, v), -1).view(-1, 2).float()
        return self.render_pixels(volume, pixel, intrinsics, world_from_camera).shaped(height, width)

    @torch.no_grad()
    def render_pixels(
        self,
        volume: Volume,
        pixel: Float[Tensor, "pixels 2"],
        intrinsics: Float[Tensor, "3 3"],
        world_from_camera: Float[Tensor, "4 4"],
    ) -> Picture:
        """What some pixels (u, v) of a camera would see of one scene (a volume with a batch of 1)."""
        parts: list[Rendered] = []
        cosines: list[Tensor] = []
        for some in pixel[None].split(_RAYS_AT_ONCE, 1):
            rays = rays_through(some, intrinsics[None], world_from_camera[None])
            span = clip_to_box(rays, self.box, NEAREST_M)
            parts.append(self.render(volume, rays, span, self.config.sampling.of_pictures()).fine)
            cosines.append(rays.cosine)
        return Picture(
            colour=torch.cat([part.colour for part in parts], 1)[0],
            depth_m=(torch.cat([part.distance_m for part in parts], 1) * torch.cat(cosines, 1))[0],
            feature=torch.cat([part.feature for part in parts], 1)[0],
            opacity=torch.cat([part.opacity for part in parts], 1)[0],
        )

    def _both(self, passes: Passes, error: Callable[[Rendered], Tensor]) -> Float[Tensor, ""]:
        """The error of the fine pass and, as much as is asked for, of the coarse one; added alike as published."""
        weight = self.config.loss.coarse
        return error(passes.fine) + weight * error(passes.coarse) if weight else error(passes.fine)

    def _compared(self, surface_m: Float[Tensor, "batch rays"], span: Span) -> Bool[Tensor, "batch rays"]:
        """Rays whose colour and feature the field answers for."""
        if self.config.background == "masked":
            return (surface_m > span.near_m) & (surface_m < span.far_m)
        return torch.ones_like(surface_m, dtype=torch.bool)

    def _behind(self, rays: Rays) -> Background:
        if self.background is not None:
            return self.background(rays, self.box)
        features = self.config.network.features
        return Background(torch.zeros_like(rays.origin), rays.cosine.new_zeros(*rays.cosine.shape, features))

    def _features_of(self, targets: RayTargets) -> Float[Tensor, "batch rays features"]:
        expected = self.config.network.features
        found = None if targets.feature is None else targets.feature.shape[-1]
        if targets.feature is None or found != expected:
            raise ConfigError(
                f"policy.field.network.features is {expected}, but the views to learn from have "
                f"{'no features' if found is None else found}; choose a teacher in data.views, set the two equal, or "
                "set policy.field.loss.feature=0"
            )
        return targets.feature.flatten(1, 2)


class BackgroundNetwork(nn.Module):
    """What is seen behind the workspace, the same in all scenes: a function of where a ray leaves the box, and how."""

    def __init__(self, features: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3 + features)
        )

    def forward(self, rays: Rays, box: Box) -> Background:
        """Colour and feature behind each ray."""
        lower, upper = box.bounds(rays.origin)
        leaving = rays.at(clip_to_box(rays, box, NEAREST_M).far_m[..., None])[..., 0, :]
        out = self.layers(torch.cat(((leaving - lower) / (upper - lower), rays.direction), -1)).float()
        return Background(colour=torch.sigmoid(out[..., :3]), feature=out[..., 3:])


def _flat(rays: Rays) -> Rays:
    """Rays of all views of a scene in one row."""
    return Rays(rays.origin.flatten(1, 2), rays.direction.flatten(1, 2), rays.cosine.flatten(1, 2))


def _mean(error: Float[Tensor, "batch rays"], of: Bool[Tensor, "batch rays"]) -> Float[Tensor, ""]:
    """Mean over the rays that count; 0 where none does."""
    return torch.where(of, error, torch.zeros_like(error)).sum() / of.sum().clamp(min=1)
