"""How well a field renders a view: colour, structure, depth and features, over the pixels that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gnfactor.actions import Box, contains
from gnfactor.batch import stack_observations, to_device
from gnfactor.errors import ConfigError
from gnfactor.field.neural_field import NeuralField, Picture
from gnfactor.geometry import unproject
from gnfactor.model import Policy
from gnfactor.scene import Camera, Observation, View
from perceiver.volume import Volume

ROOM_LABELS = frozenset({"table", "panda"})
"""Names of what stands in every scene of the built-in world; whatever else has a label belongs to the task."""
_WINDOW, _WINDOW_STD = 11, 1.5
"""Wang et al., IEEE TIP 2004, section III-C: the window's width and standard deviation in pixels, and two constants."""
_STABLE_MEAN, _STABLE_SPREAD = 0.01**2, 0.03**2


@dataclass(frozen=True)
class ColourError:
    """How far colours are from the true ones, and over how many pixels that was measured."""

    pixels: int
    squared: float
    """Mean over pixels and the three channels, which run from 0 to 1."""

    @property
    def psnr_db(self) -> float:
        """Peak signal-to-noise ratio: -10 log10 of the error; infinite for equal pictures."""
        return inf if self.squared == 0 else -10 * log10(self.squared)


@dataclass(frozen=True, eq=False)
class KnownFeatures:
    """What a field should render as features of a view, at the pixels where that is known."""

    known: Bool[np.ndarray, "height width"]
    feature: Float[np.ndarray, "pixels features"]
    """Of those pixels, in reading order."""

    def filled(self) -> Float[np.ndarray, "height width features"]:
        """A feature for every pixel, for people to look at: the known one before it in reading order."""
        before = np.maximum(np.cumsum(self.known.ravel()) - 1, 0)
        return self.feature[before].reshape(*self.known.shape, -1)


@dataclass(frozen=True, eq=False)
class ViewScore:
    """One rendered view against the true one."""

    colour: ColourError
    ssim: float
    depth_error_m: Float[np.ndarray, "pixels"]
    """Of each pixel that counts, along the optical axis, without sign."""
    cosine: float | None = None
    """Mean cosine between rendered and true features, after the teacher's projection; None where none are known."""


def pooled(errors: Sequence[ColourError]) -> ColourError | None:
    """The error over the pixels of all pictures together, each pixel alike; None where there are none.

    A ratio in decibels follows from this one number, not from the mean of the pictures' own ratios.
    """
    pixels = sum(error.pixels for error in errors)
    if not pixels:
        return None
    return ColourError(pixels, sum(error.pixels * error.squared for error in errors) / pixels)


def trained_field(policy: Policy) -> NeuralField:
    """The policy's field.

    Raises:
        ConfigError: it has none.
    """
    field: NeuralField | None = policy.field
    if field is None:
        raise ConfigError(
            "the policy has no neural field (policy.field is null), so that there is nothing to render; take a "
            "checkpoint that was trained with one, such as by configs/field_only.yaml"
        )
    return field


@torch.no_grad()
def scene_volume(policy: Policy, observation: Observation, instruction: str) -> Volume:
    """What the policy's encoder makes of one scene, with a batch of 1.

    Raises:
        ObservationError: a camera is absent or of another size, or a number is not finite.
    """
    config = policy.config
    inputs = stack_observations([observation], [instruction], config.cameras, config.image_size)
    return policy.encode(to_device(inputs, next(policy.parameters()).device)).volume


def workspace_pixels(view: View, box: Box) -> Bool[np.ndarray, "height width"]:
    """Pixels whose measured surface lies in the box: what a field that covers the box can be asked for."""
    depth_m = torch.from_numpy(np.nan_to_num(view.depth_m.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0))
    camera = view.camera
    intrinsics, world_from_camera = (
        torch.from_numpy(np.asarray(matrix, np.float64)) for matrix in (camera.intrinsics, camera.world_from_camera)
    )
    inside = contains(box, unproject(depth_m, intrinsics, world_from_camera)) & (depth_m > 0)
    return inside.numpy()


def object_pixels(view: View, names: Mapping[int, str]) -> Bool[np.ndarray, "height width"] | None:
    """Pixels of what the task is about: labels that are neither background nor room; None where labels are unknown."""
    if view.segmentation is None or not names:
        return None
    return np.isin(view.segmentation, [label for label, name in names.items() if label and name not in ROOM_LABELS])


def render_counted(
    field: NeuralField, volume: Volume, camera: Camera, counted: Bool[np.ndarray, "height width"]
) -> Picture:
    """What a camera would see of a scene (a volume with a batch of 1) at some pixels, in reading order, on the CPU."""
    device = volume.features.device
    v, u = np.nonzero(counted)
    pixel = torch.from_numpy(np.stack((u, v), -1).astype(np.float32)).to(device)
    return _on_cpu(field.render_pixels(volume, pixel, *_camera_tensors(camera, device)))


def render_camera(field: NeuralField, volume: Volume, camera: Camera) -> Picture:
    """What a camera would see of a scene (a volume with a batch of 1), on the CPU."""
    everywhere = np.ones((camera.height, camera.width), np.bool_)
    return render_counted(field, volume, camera, everywhere).shaped(camera.height, camera.width)


def score_view(
    rendered: Picture,
    view: View,
    counted: Bool[np.ndarray, "height width"],
    feature: KnownFeatures | None = None,
) -> ViewScore:
    """A rendered view against the true one.

    Args:
        rendered: the pixels that count, in reading order, on the CPU.
        view: what the camera saw.
        counted: which pixels those are; at least one.
        feature: the true features, if they are to be compared where they are known.
    """
    colour = np.zeros(view.rgb.shape, np.float32)
    colour[counted] = rendered.colour.numpy()
    difference = np.abs(rendered.depth_m.numpy().astype(np.float64) - view.depth_m[counted])
    return ViewScore(
        colour=colour_error(colour, view.rgb, counted),
        ssim=structural_similarity(colour, view.rgb, counted),
        depth_error_m=difference,
        cosine=None if feature is None else _cosine(rendered.feature.numpy(), feature, counted),
    )


def colour_error(
    colour: Float[np.ndarray, "height width 3"], rgb: np.ndarray, counted: Bool[np.ndarray, "height width"]
) -> ColourError:
    """Error of a picture (0 to 1) against one in 8 bits (height, width, 3), over some pixels."""
    difference = np.clip(colour[counted].astype(np.float64), 0, 1) - rgb[counted] / 255
    return ColourError(len(difference), float(np.square(difference).mean()) if len(difference) else 0.0)


def structural_similarity(
    colour: Float[np.ndarray, "height width 3"], rgb: np.ndarray, counted: Bool[np.ndarray, "height width"]
) -> float:
    """Mean over colours and the pixels that count, of which there is at least one, of `similarity_map`."""
    return float(similarity_map(colour, rgb, counted)[:, torch.from_numpy(counted)].mean())


def similarity_map(
    colour: Float[np.ndarray, "height width 3"], rgb: np.ndarray, counted: Bool[np.ndarray, "height width"]
) -> Float[Tensor, "3 height width"]:
    """SSIM (Wang et al., IEEE TIP 2004, eq. 13) of a picture (0 to 1) with one in 8 bits, in a window at each pixel.

    The 11x11 Gaussian windows weigh nothing but pixels that count, so that what lies outside is not compared; where all
    pixels of a window count it is the usual SSIM.
    """
    weight = torch.from_numpy(counted).double()[None, None]
    found, true = (
        torch.from_numpy(np.asarray(picture, np.float64)).movedim(-1, 0)[:, None]
        for picture in (np.clip(colour, 0, 1), rgb / 255)
    )
    total = _blurred(weight).clamp(min=torch.finfo(torch.float64).tiny)

    def mean(values: Float[Tensor, "channels 1 height width"]) -> Float[Tensor, "channels 1 height width"]:
        return _blurred(weight * values) / total

    mean_found, mean_true = mean(found), mean(true)
    spread_found, spread_true = mean(found.square()) - mean_found.square(), mean(true.square()) - mean_true.square()
    together = mean(found * true) - mean_found * mean_true
    similarity = (2 * mean_found * mean_true + _STABLE_MEAN) * (2 * together + _STABLE_SPREAD)
    similarity /= mean_found.square() + mean_true.square() + _STABLE_MEAN
    similarity /= spread_found + spread_true + _STABLE_SPREAD
    return similarity[:, 0]


def _blurred(values: Float[Tensor, "channels 1 height width"]) -> Float[Tensor, "channels 1 height width"]:
    """Each pixel's surroundings weighed by the window; outside the picture there is nothing."""
    offset = torch.arange(_WINDOW, dtype=values.dtype) - _WINDOW // 2
    bell = torch.exp(-0.5 * (offset / _WINDOW_STD).square())
    bell = bell / bell.sum()
    along_rows = F.conv2d(values, bell[None, None, None], padding=(0, _WINDOW // 2))
    return F.conv2d(along_rows, bell[None, None, :, None], padding=(_WINDOW // 2, 0))


def _cosine(
    rendered: Float[np.ndarray, "pixels features"], true: KnownFeatures, counted: Bool[np.ndarray, "height width"]
) -> float | None:
    """Mean cosine over the pixels that count and whose features are known; None where there are none."""
    found = torch.from_numpy(rendered[true.known[counted]]).double()
    expected = torch.from_numpy(true.feature[counted[true.known]]).double()
    return float(F.cosine_similarity(found, expected, -1).mean()) if len(found) else None


def _camera_tensors(camera: Camera, device: torch.device) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]]:
    intrinsics, world_from_camera = (
        torch.from_numpy(np.asarray(matrix, np.float32)).to(device)
        for matrix in (camera.intrinsics, camera.world_from_camera)
    )
    return intrinsics, world_from_camera


def _on_cpu(picture: Picture) -> Picture:
    return Picture(picture.colour.cpu(), picture.depth_m.cpu(), picture.feature.cpu(), picture.opacity.cpu())
