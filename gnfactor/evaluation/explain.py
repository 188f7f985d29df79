"""One decision of a policy as a picture: its heat over the voxels, in each camera's picture and in 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from gnfactor.actions import Box, contains, voxel_from_position
from gnfactor.errors import DataError, MissingExtraError
from gnfactor.evaluation.heat import Decision, decide
from gnfactor.geometry import project, unproject
from gnfactor.model import Policy
from gnfactor.scene import Camera, Observation, View
from gnfactor.video import Picture, side_by_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Heat = Float[np.ndarray, "x y z"]

_RAMP = ((20, 0, 60), (140, 20, 120), (235, 70, 50), (255, 180, 20), (255, 255, 170))
"""Colours of heat from 0 to 1, evenly spaced."""
_STRENGTH = 0.85
"""Share of the heat's colour where the heat is 1."""
_DECADES = 4.0
"""Values this many powers of ten below the largest have no colour."""
_VISIBLE = 0.25
"""Heat from which an empty voxel is drawn."""
_PANEL = 256
"""Height of a panel, pixels."""
_FROM = (0.75, 0.55, 0.5)
"""Direction from the box's centre to the eye of a 3D picture."""
_RAYS_AT_ONCE = 4096
_DPI = 100
_CHOSEN, _TRUE = "#00e5ff", "#66ff33"


@dataclass(frozen=True, eq=False)
class Marker:
    """A place to point out in every panel."""

    position_m: Float[np.ndarray, "3"]
    """World."""
    colour: str
    shape: str
    """As matplotlib calls it."""
    size: float
    """Points."""
    label: str


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture and what it was taken with."""

    picture: Picture
    camera: Camera

    @property
    def zoom(self) -> float:
        """By which it is enlarged where it is shown."""
        return _PANEL / self.camera.height

    @property
    def width(self) -> int:
        """Pixels, where it is shown."""
        return max(1, round(self.camera.width * self.zoom))


def explain(
    policy: Policy,
    observation: Observation,
    instruction: str,
    path: Path,
    target_m: Float[np.ndarray, "3"] | None = None,
) -> Decision:
    """Draw what `policy` makes of an observation as a PNG; folders on the way are made.

    Columns: each camera of the policy, and the voxels in 3D. Rows: what is there; the share of each voxel in the choice
    (by its logarithm); Grad-CAM of the chosen voxel; HiResCAM of it (by its logarithm).

    Args:
        policy: in evaluation mode.
        observation: to decide upon.
        instruction: what the policy is told.
        path: ends in .png.
        target_m: where a demonstrator went from here, if it is known.

    Raises:
        ConfigError: the policy has no action head.
        ObservationError: the policy cannot use the observation.
        MissingExtraError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    decision = decide(policy, observation, instruction)
    views = {name: observation.views[name] for name in policy.config.cameras}
    markers = _markers(decision, target_m)
    layers = _layers(decision)
    rows = ["seen", *(layer.name for layer in layers)]
    figure = _draw(_panels(decision, layers, views), rows, [*views, "voxels"], markers)
    _explain_colours(figure, layers)
    _name_markers(figure, markers)
    figure.suptitle(_title(decision, instruction, target_m), fontsize="medium", parse_math=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI, format="png", pil_kwargs={"compress_level": 4})
    except OSError as error:
        raise DataError(f"cannot write the picture {path}: {error}; choose a folder that can be written to") from error
    return decision


def heat_colours(heat: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Colour of heat from 0 (dark) to 1 (pale yellow); what lies outside is clipped."""
    stops = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(heat, stops, channel) for channel in np.transpose(_RAMP)]
    return np.round(np.stack(channels, -1)).astype(np.uint8)


def blend(rgb: UInt8[np.ndarray, "*shape 3"], heat: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """The picture, greyed, under the heat's colour: none of it where the heat is 0, most of it where it is 1."""
    grey = 0.5 * rgb + 0.5 * rgb.mean(-1, keepdims=True)
    share = _STRENGTH * np.clip(heat, 0, 1)[..., None]
    return np.round((1 - share) * grey + share * heat_colours(heat)).astype(np.uint8)


def by_logarithm(heat: Float[np.ndarray, "*shape"], decades: float = _DECADES) -> Float[np.ndarray, "*shape"]:
    """1 at the largest value, less by 1 / `decades` for each power of ten below it, and no less than 0."""
    largest = heat.max()
    if largest <= 0:
        return np.zeros_like(heat)
    smallest = 10.0**-decades
    return np.maximum(1 + np.log10(np.maximum(heat / largest, smallest)) / decades, 0)


def surface_heat(view: View, heat: Heat, box: Box) -> Float[np.ndarray, "height width"]:
    """Heat of the voxel that holds each pixel's own surface point; 0 outside the box and without a reading."""
    depth_m, intrinsics, world_from_camera = _tensors(view.depth_m, view.camera)
    points = unproject(depth_m, intrinsics, world_from_camera)
    found = _looked_up(heat, points, box)
    return torch.where(depth_m > 0, found, 0.0).numpy()


def ray_heat(view: View, heat: Heat, box: Box) -> Float[np.ndarray, "height width"]:
    """Greatest heat along each pixel's ray up to the surface that it sees, and one voxel into it.

    So what lies behind a surface stays hidden, while the grasp of a thing shows upon it. Without a reading the ray goes
    through the whole box.
    """
    depth_m, intrinsics, world_from_camera = _tensors(view.depth_m, view.camera)
    lower, upper = box.bounds(depth_m)
    cell_m = (upper - lower) / heat.shape[0]
    origin = world_from_camera[:3, 3]
    direction = unproject(torch.ones_like(depth_m), intrinsics, world_from_camera) - origin  # of 1 m along the axis
    near_m, far_m = _inside(origin, direction, box)
    far_m = torch.where(depth_m > 0, torch.minimum(far_m, depth_m + cell_m.max()), far_m)
    met = near_m < far_m
    found = torch.zeros_like(depth_m)
    entry, leap = (origin + near_m[met, None] * direction[met] - lower), (far_m - near_m)[met, None] * direction[met]
    found[met] = _greatest((entry / cell_m).float(), (leap / cell_m).float(), heat)
    return found.numpy()


def pixel_of(camera: Camera, position_m: Float[np.ndarray, "3"]) -> tuple[float, float] | None:
    """Pixel (u, v) at which the camera sees a place in the world; None behind it or outside its picture."""
    position, intrinsics, world_from_camera = _tensors(position_m[None], camera)
    pixel, depth_m = project(position, intrinsics, world_from_camera)
    u, v = pixel[0].tolist()
    inside = -0.5 <= u < camera.width - 0.5 and -0.5 <= v < camera.height - 0.5
    return (u, v) if inside and depth_m.item() > 0 else None


def viewpoint(box: Box, size: int = _PANEL) -> Camera:
    """A camera whose picture the box just fills: opposite the robot, to its left and above it."""
    lower, upper = np.array(box.lower), np.array(box.upper)
    back = np.array(_FROM) / np.linalg.norm(_FROM)
    right = np.cross(-back, (0.0, 0.0, 1.0))
    pose = np.eye(4)
    pose[:3, 0] = right / np.linalg.norm(right)
    pose[:3, 1] = np.cross(-back, pose[:3, 0])
    pose[:3, 2] = -back
    pose[:3, 3] = (lower + upper) / 2 + 2 * np.linalg.norm(upper - lower) * back
    corners = np.array(list(product(*zip(lower, upper, strict=True))))
    unscaled, _ = project(*_tensors(corners, Camera(np.eye(3), pose, size, size)))
    first, last = unscaled.amin(0).numpy(), unscaled.amax(0).numpy()
    focal = (size - 1) / (last - first).max()
    u, v = (size - 1) / 2 - focal * (first + last) / 2
    return Camera(np.array([[focal, 0, u], [0, focal, v], [0, 0, 1]]), pose, size, size)


def solid(decision: Decision, heat: Heat | None, camera: Camera, empty: bool = False) -> Picture:
    """The voxels as squares, the farthest painted first: occupied ones in their colour, blended with the heat.

    With `empty`, empty voxels where there is heat are drawn too, half as wide.
    """
    shown = decision.occupied | (heat > _VISIBLE) if empty and heat is not None else decision.occupied
    index = np.argwhere(shown)
    size = np.array(shown.shape)
    lower, upper = np.array(decision.box.lower), np.array(decision.box.upper)
    centres, intrinsics, world_from_camera = _tensors(lower + (index + 0.5) * (upper - lower) / size, camera)
    pixel, depth_m = (part.numpy() for part in project(centres, intrinsics, world_from_camera))
    colour, solidly = decision.colour[shown], decision.occupied[shown]
    if heat is not None:
        colour = np.where(solidly[:, None], blend(colour, heat[shown]), heat_colours(heat[shown]))
    width_m = float(((upper - lower) / size).max())
    half = camera.intrinsics[0, 0] * width_m / depth_m * np.where(solidly, 0.65, 0.3)
    return _paint(pixel, depth_m, half, colour, camera)


def _paint(
    pixel: Float[np.ndarray, "squares 2"],
    depth_m: Float[np.ndarray, "squares"],
    half: Float[np.ndarray, "squares"],
    colour: UInt8[np.ndarray, "squares 3"],
    camera: Camera,
) -> Picture:
    """Squares `2 half` pixels wide, nearer ones over farther ones, on white."""
    picture = np.full((camera.height, camera.width, 3), 255, np.uint8)
    first = np.maximum(np.ceil(pixel - half[:, None]), 0).astype(int)
    last = np.maximum(np.floor(pixel + half[:, None]) + 1, 0).astype(int)
    for square in np.argsort(-depth_m, kind="stable"):
        (left, top), (right, bottom) = first[square], last[square]
        picture[top:bottom, left:right] = colour[square]
    return picture


def _tensors(values: Shaped[np.ndarray, "..."], camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Values, intrinsics and pose in float64; values that are not finite become 0."""
    plain = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    pose = np.asarray(camera.world_from_camera, np.float64)
    return torch.from_numpy(plain), torch.from_numpy(np.asarray(camera.intrinsics, np.float64)), torch.from_numpy(pose)


def _looked_up(heat: Heat, points: Float[Tensor, "*points 3"], box: Box) -> Float[Tensor, "*points"]:
    """Heat of the voxel that holds each point; 0 outside the box."""
    x, y, z = voxel_from_position(points, box, heat.shape[0]).unbind(-1)
    found = torch.from_numpy(np.asarray(heat, np.float64))[x, y, z]
    return torch.where(contains(box, points), found, 0.0)


def _greatest(entry: Float[Tensor, "rays 3"], leap: Float[Tensor, "rays 3"], heat: Heat) -> Float[Tensor, "rays"]:
    """Greatest heat from `entry` to `entry + leap`, in voxels from the box's corner; looked up every voxel or less."""
    size = heat.shape[0]
    flat = torch.from_numpy(np.asarray(heat, np.float64)).flatten()
    steps = torch.linspace(0, 1, 2 * size)
    found = [entry.new_zeros(0, dtype=torch.float64)]
    for first, way in zip(entry.split(_RAYS_AT_ONCE), leap.split(_RAYS_AT_ONCE), strict=True):
        x, y, z = (
            (a[:, None] + steps * b[:, None]).int().clamp(0, size - 1) for a, b in zip(first.T, way.T, strict=True)
        )
        found.append(flat[(x * size + y) * size + z].amax(1))
    return torch.cat(found)


def _inside(
    origin: Float[Tensor, "3"], direction: Float[Tensor, "*rays 3"], box: Box
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"]]:
    """Where each ray enters and leaves the box, in lengths of `direction`; it misses the box if the second is less."""
    lower, upper = box.bounds(origin)
    slope = torch.where(direction.abs() < 1e-12, 1e-12, direction)
    one, other = (lower - origin) / slope, (upper - origin) / slope
    return torch.minimum(one, other).amax(-1).clamp(min=0), torch.maximum(one, other).amin(-1)


def _markers(decision: Decision, target_m: Float[np.ndarray, "3"] | None) -> list[Marker]:
    markers = [Marker(decision.position_m, _CHOSEN, "s", 8.0, "chosen voxel")]
    if target_m is not None:
        markers.append(Marker(target_m, _TRUE, "o", 12.0, "the demonstrator's keyframe"))
    return markers


def _title(decision: Decision, instruction: str, target_m: Float[np.ndarray, "3"] | None) -> str:
    x, y, z = decision.position_m
    text = f"“{instruction}”\nchosen: ({x:.3f}, {y:.3f}, {z:.3f}) m, "
    text += f"{decision.value.max():.1%} of the softmax over {decision.value.size} voxels"
    if target_m is not None:
        text += f"; {1000 * np.linalg.norm(decision.position_m - target_m):.0f} mm from the demonstrator's keyframe"
    return text


@dataclass(frozen=True, eq=False)
class Layer:
    """One kind of heat, a row of the picture."""

    name: str
    scale: str
    """What its colours mean."""
    heat: Heat
    """0 to 1, as it is coloured."""
    range: tuple[float, float]
    """What 0 and 1 stand for; by their logarithms where the first is above 0."""
    floating: bool = False
    """Also shown where nothing is: before the surface that a pixel sees, and in empty voxels."""

    def over(self, view: View, box: Box) -> Panel:
        """In a camera's picture."""
        found = ray_heat(view, self.heat, box) if self.floating else surface_heat(view, self.heat, box)
        return Panel(blend(view.rgb, found), view.camera)


def _layers(decision: Decision) -> list[Layer]:
    largest, least = float(decision.value.max()), 10.0**-_DECADES
    shares = (largest * least, largest)
    shown = decision.grad_cam[decision.occupied].any()
    return [
        Layer("value", "share of the choice", by_logarithm(decision.value), shares, floating=True),
        Layer(f"Grad-CAM{'' if shown else ': none'}", "what speaks for it", decision.grad_cam, (0.0, 1.0)),
        Layer("HiResCAM", "what speaks for it", by_logarithm(decision.hires_cam), (least, 1.0)),
    ]


def _panels(decision: Decision, layers: Sequence[Layer], views: Mapping[str, View]) -> list[list[Panel]]:
    """What there is, and the layers over it, in each camera's picture and, at last, in 3D."""
    box = decision.box
    columns = [[Panel(view.rgb, view.camera), *(layer.over(view, box) for layer in layers)] for view in views.values()]
    camera = viewpoint(box)
    solids = [solid(decision, layer.heat, camera, empty=layer.floating) for layer in layers]
    return [*columns, [Panel(picture, camera) for picture in (solid(decision, None, camera), *solids)]]


def _draw(
    columns: Sequence[Sequence[Panel]], row_names: Sequence[str], names: Sequence[str], markers: Sequence[Marker]
) -> Figure:
    """The panels in one picture of which a pixel is a pixel: axes of their own would take most of the time."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (only who draws needs it)
    except ImportError as error:
        raise MissingExtraError("matplotlib", "pip install 'gnfactor[train]'") from error
    rows = list(zip(*columns, strict=True))
    mosaic = np.concatenate([side_by_side([panel.picture for panel in row], _PANEL) for row in rows])
    left, right, bottom, top = 30, 100, 36, 76
    height, width = mosaic.shape[:2]
    figure = Figure(figsize=((left + width + right) / _DPI, (bottom + height + top) / _DPI), dpi=_DPI)
    area = (left / (left + width + right), bottom / (bottom + height + top))
    axes = figure.add_axes((*area, area[0] * width / left, area[1] * height / bottom))
    axes.imshow(mosaic, interpolation="nearest")
    axes.set_axis_off()
    for index, name in enumerate(row_names):
        axes.text(-6, (index + 0.5) * _PANEL, name, rotation=90, ha="right", va="center")
    across = 0
    for name, column in zip(names, columns, strict=True):
        for row, panel in enumerate(column):
            for marker in markers:
                _point_out(axes, panel, marker, (across, row * _PANEL))
        axes.text(across + column[0].width / 2, -5, name, ha="center", va="bottom", fontsize="small")
        across += column[0].width
    return figure


def _point_out(axes: Axes, panel: Panel, marker: Marker, corner: tuple[int, int]) -> None:
    pixel = pixel_of(panel.camera, marker.position_m)
    if pixel is not None:
        x, y = ((at + 0.5) * panel.zoom - 0.5 + start for at, start in zip(pixel, corner, strict=True))
        for colour, width in (("black", 3.0), (marker.colour, 1.5)):
            axes.scatter(
                x, y, marker.size**2, marker=marker.shape, facecolors="none", edgecolors=colour, linewidths=width
            )


def _explain_colours(figure: Figure, layers: Sequence[Layer]) -> None:
    """A scale of colours at the end of each row with heat."""
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import ListedColormap, LogNorm, Normalize  # noqa: PLC0415

    colours = ListedColormap(heat_colours(np.linspace(0, 1, 256)) / 255)
    area = figure.axes[0].get_position()
    row_height = area.height / (1 + len(layers))
    for row, layer in enumerate(reversed(layers)):
        norm = LogNorm(*layer.range) if layer.range[0] > 0 else Normalize(*layer.range)
        scale = figure.add_axes((area.x1 + 0.008, area.y0 + (row + 0.05) * row_height, 0.01, 0.9 * row_height))
        figure.colorbar(ScalarMappable(norm, colours), cax=scale, label=layer.scale)


def _name_markers(figure: Figure, markers: Sequence[Marker]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    handles = [
        Line2D(
            [], [], linestyle="", marker=marker.shape, color=marker.colour, markerfacecolor="none", label=marker.label
        )
        for marker in markers
    ]
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), fontsize="small", frameon=False)
