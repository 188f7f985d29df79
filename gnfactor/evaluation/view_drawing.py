"""Rendered views beside the true ones, as pictures for people: colour, depth, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from gnfactor.actions import Box
from gnfactor.errors import MissingExtraError
from gnfactor.evaluation.novel_views import KnownFeatures, render_camera, workspace_pixels
from gnfactor.field.neural_field import NeuralField, Picture
from gnfactor.scene import View
from gnfactor.video import Picture as Pixels
from gnfactor.video import side_by_side, write_png
from perceiver.volume import Volume

_PERCENTILES = (2.0, 98.0)
_SOLID = 0.5
"""Opacity from which a depth or a feature is shown."""
_PANEL = 160
"""Height in pixels of a picture on a sheet."""
_BORDER, _LETTERS = 18, 12
_BACKGROUND, _INK = (24, 24, 28), (240, 240, 240)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a field renders of a view, and what was really seen."""

    name: str
    view: View
    rendered: Picture
    """The whole view, (height, width), on the CPU."""
    feature: KnownFeatures | None = None
    """The true features, where they are known."""


@dataclass(frozen=True)
class DepthRange:
    """Depths (m) that the ends of the colour map stand for; one for all pictures that are to be compared."""

    nearest_m: float
    farthest_m: float

    def __call__(self, depth_m: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
        """Colours of depths along the optical axis: near is bright, far is dark; black where there is no reading.

        The map is viridis, in which equal steps look equally large.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from matplotlib import colormaps  # noqa: PLC0415 (only who draws needs it)
        except ImportError as error:
            raise MissingExtraError("matplotlib", "pip install 'gnfactor[train]'") from error
        share = (self.farthest_m - depth_m) / max(self.farthest_m - self.nearest_m, 1e-6)
        colours = np.asarray(colormaps["viridis"](np.clip(share, 0, 1), bytes=True))[..., :3]
        return np.where((depth_m > 0)[..., None], colours, 0).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class FeatureColours:
    """Three principal components of features as red, green and blue: equal features have equal colours."""

    mean: Float[np.ndarray, "features"]
    directions: Float[np.ndarray, "features 3"]
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    """Values along the directions that are shown as 0 and as 255."""

    def __call__(self, features: Float[np.ndarray, "*shape features"]) -> UInt8[np.ndarray, "*shape 3"]:
        along = (features - self.mean) @ self.directions
        share = (along - self.low) / np.maximum(self.high - self.low, 1e-9)
        return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)


def fit_feature_colours(features: Float[np.ndarray, "pixels features"]) -> FeatureColours:
    """The directions in which these features differ most from their mean; nearly all values fit between the ends.

    Of each direction and its opposite the one is taken whose largest number is positive. Features of fewer than three
    channels leave colours at 0.
    """
    exact = features.astype(np.float64)
    mean = exact.mean(0)
    _, vectors = np.linalg.eigh((exact - mean).T @ (exact - mean))
    directions = np.zeros((exact.shape[1], 3))
    largest = vectors[:, ::-1][:, :3]
    signs = np.sign(largest[np.abs(largest).argmax(0), np.arange(largest.shape[1])])
    directions[:, : largest.shape[1]] = largest * signs
    low, high = np.percentile((exact - mean) @ directions, _PERCENTILES, axis=0)
    return FeatureColours(mean, directions, low, high)


def fit_depth_range(views: Sequence[View], box: Box) -> DepthRange:
    """From the nearest to the farthest surface in the box that any of the views shows; a metre where none does."""
    depths = np.concatenate([view.depth_m[workspace_pixels(view, box)] for view in views])
    return DepthRange(float(depths.min()), float(depths.max())) if len(depths) else DepthRange(0.5, 1.5)


def fit_colours_to(comparisons: Sequence[Comparison], box: Box) -> FeatureColours:
    """One basis for the features of all comparisons: from the true ones where those are known, else the rendered."""
    parts = [
        one.rendered.feature.numpy()[workspace_pixels(one.view, box)] if one.feature is None else one.feature.feature
        for one in comparisons
    ]
    return fit_feature_colours(np.concatenate(parts))


def compare_views(field: NeuralField, volume: Volume, views: Mapping[str, View]) -> list[Comparison]:
    """Each view of a scene (a volume with a batch of 1) as the field renders it."""
    return [Comparison(name, view, render_camera(field, volume, view.camera)) for name, view in views.items()]


def sheet_rows(
    comparisons: Sequence[Comparison], box: Box, depth_range: DepthRange, colours: FeatureColours | None
) -> dict[str, list[Pixels]]:
    """Pictures of a contact sheet by row; without `colours` there are none of features.

    Depths and features are black where there is nothing in the box: in the true ones by what was measured, in the
    rendered ones where most of the light passes through.
    """
    rows: dict[str, list[Pixels]] = {
        "true": [one.view.rgb for one in comparisons],
        "rendered": [colour_bytes(one.rendered) for one in comparisons],
        "true depth": [
            _where(workspace_pixels(one.view, box), depth_range(one.view.depth_m.astype(np.float64)))
            for one in comparisons
        ],
        "rendered depth": [rendered_depth(one.rendered, depth_range) for one in comparisons],
    }
    if colours is not None:
        if all(one.feature is not None for one in comparisons):
            rows["true features"] = [
                _where(workspace_pixels(one.view, box), colours(one.feature.filled()))
                for one in comparisons
                if one.feature is not None
            ]
        rows["rendered features"] = [rendered_features(one.rendered, colours) for one in comparisons]
    return rows


def rendered_depth(picture: Picture, depth_range: DepthRange) -> Pixels:
    """Rendered depths as colours; black where most of the light passes through."""
    return _where(picture.opacity.numpy() >= _SOLID, depth_range(picture.depth_m.double().numpy()))


def rendered_features(picture: Picture, colours: FeatureColours) -> Pixels:
    """Rendered features as colours; black where most of the light passes through."""
    return _where(picture.opacity.numpy() >= _SOLID, colours(picture.feature.double().numpy()))


def _where(shown: Bool[np.ndarray, "height width"], picture: Pixels) -> Pixels:
    return np.where(shown[..., None], picture, 0).astype(np.uint8)


def contact_sheet(rows: Mapping[str, Sequence[Pixels]], columns: Sequence[str]) -> Pixels:
    """Rows of pictures, each row with its name beside it and each column with its name above."""
    strips = [side_by_side(pictures, _PANEL) for pictures in rows.values()]
    font = ImageFont.load_default(_LETTERS)
    width = max(strip.shape[1] for strip in strips)
    canvas = Image.new("RGB", (width + _BORDER, _PANEL * len(strips) + _BORDER), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for number, (name, strip) in enumerate(zip(rows, strips, strict=True)):
        canvas.paste(Image.fromarray(strip), (_BORDER, _BORDER + number * _PANEL))
        label = Image.new("RGB", (_PANEL, _BORDER), _BACKGROUND)
        ImageDraw.Draw(label).text((_PANEL / 2, _BORDER / 2), name, fill=_INK, font=font, anchor="mm")
        canvas.paste(label.rotate(90, expand=True), (0, _BORDER + number * _PANEL))
    left = _BORDER
    for name, picture in zip(columns, next(iter(rows.values())), strict=True):
        own = round(picture.shape[1] * _PANEL / picture.shape[0])
        draw.text((left + own / 2, _BORDER / 2), name, fill=_INK, font=font, anchor="mm")
        left += own
    return np.array(canvas)


def draw_strip(field: NeuralField, volume: Volume, views: Mapping[str, View], path: Path) -> None:
    """A small contact sheet of one scene (a volume with a batch of 1) as a PNG: true and rendered colour, depth.

    Raises:
        DataError: the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    comparisons = compare_views(field, volume, views)
    rows = sheet_rows(comparisons, field.box, fit_depth_range(list(views.values()), field.box), None)
    del rows["true depth"]
    write_png(path, contact_sheet(rows, list(views)))


def colour_bytes(picture: Picture) -> Pixels:
    """Rendered colours in 8 bits."""
    return np.round(255 * picture.colour.numpy().clip(0, 1)).astype(np.uint8)
