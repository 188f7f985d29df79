"""A rig of cameras around the workspace: views to learn from, not to act on.

GNFactor's published demonstrations were filmed so: a camera in the pose of the front one, swung to both sides at the
same height and pitch. About which axis is not recorded; here it is the vertical through the workspace's centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import asin, cos, pi, radians, sin, sqrt

import numpy as np
from jaxtyping import Float

from gnfactor.envs.tabletop.cameras import level_pose, pinhole, tabletop_cameras
from gnfactor.errors import ConfigError
from gnfactor.scene import WORKSPACE_LOWER_M, WORKSPACE_UPPER_M, Camera

Poses = Float[np.ndarray, "views 4 4"]

WORKSPACE_CENTRE_M = tuple((low + up) / 2 for low, up in zip(WORKSPACE_LOWER_M, WORKSPACE_UPPER_M, strict=True))

_GOLDEN = (sqrt(5) - 1) / 2
_PLACES: dict[str, dict[str, float]] = {
    "arc": {"from_deg": -59.7, "to_deg": 54.9},
    "dome": {"from_deg": -180.0, "to_deg": 180.0, "low_deg": 20.0, "high_deg": 70.0, "radius_m": 1.25},
}
"""The numbers that say where a rig of each kind stands, in the order of its word, and what they are where the word ends
before them; the arc's are the published ones."""
RIG_FORM = (
    "arc[:VIEWS[:FROM:TO]] or dome[:VIEWS[:FROM:TO[:LOW:HIGH[:RADIUS]]]], and @FIELD after either (degrees, metres), "
    "such as arc:20, dome:40 or arc:25:-90:90@45"
)
"""How to write a rig in one word."""


@dataclass(frozen=True)
class RigConfig:
    """Where the cameras of a rig stand."""

    kind: str = "arc"
    """"arc": the front camera swung about the vertical through the workspace's centre, evenly over the angles; "dome":
    spread over a part of a sphere about that centre, all facing it."""
    views: int = 20
    """The published arc has 21 in steps of 5.73 degrees, of which 20 were used."""
    from_deg: float = _PLACES["arc"]["from_deg"]
    to_deg: float = _PLACES["arc"]["to_deg"]
    """About the world's z; at 0 the rig's camera stands where the front camera does, or straight above or below it."""
    low_deg: float = _PLACES["dome"]["low_deg"]
    high_deg: float = _PLACES["dome"]["high_deg"]
    """Of a dome: elevations between which its cameras stand."""
    radius_m: float = _PLACES["dome"]["radius_m"]
    """Of a dome; about the front camera's distance."""
    field_deg: float = 60.0
    """Field of view along the longer side of a picture; the published one."""

    def __post_init__(self) -> None:
        if self.kind not in _POSES:
            raise ConfigError(f"rig.kind: there is no kind '{self.kind}'; it is one of {', '.join(_POSES)}")
        if self.views < 1:
            raise ConfigError(f"rig.views: {self.views} is not a number above 0; give one")
        if not self.from_deg <= self.to_deg <= self.from_deg + 360:
            raise ConfigError(
                f"rig.from_deg, to_deg: {self.from_deg:g} to {self.to_deg:g} is not an increasing range of at most one "
                "turn; give one"
            )
        if not -90 < self.low_deg <= self.high_deg < 90:
            raise ConfigError(
                f"rig.low_deg, high_deg: {self.low_deg:g} to {self.high_deg:g} is not an increasing range between -90 "
                "and 90; give one"
            )
        if not 0 < self.radius_m < float("inf"):
            raise ConfigError(f"rig.radius_m: {self.radius_m:g} is not a distance above 0; give one in metres")
        if not 0 < self.field_deg < 180:
            raise ConfigError(f"rig.field_deg: {self.field_deg:g} is not between 0 and 180; give such an angle")


def rig_cameras(config: RigConfig, image_size: tuple[int, int]) -> dict[str, Camera]:
    """The rig's cameras, "rig0", "rig1", ...; `image_size` is (width, height) in pixels."""
    poses = _POSES[config.kind](config)
    return {f"rig{index}": pinhole(pose, config.field_deg, image_size) for index, pose in enumerate(poses)}


def parse_rig(text: str) -> RigConfig | None:
    """The rig that a word on a command line means; None for "none".

    Raises:
        ConfigError: it means none; says how to write one.
    """
    if text == "none":
        return None
    stand, at, field = text.partition("@")
    kind, *words = stand.split(":")
    if kind not in _PLACES:
        raise ConfigError(f"there is no rig '{text}'; write none, {RIG_FORM}")
    places = _PLACES[kind]
    try:
        views = int(words[0]) if words else RigConfig.views
        given = [float(word) for word in words[1:]]
        field_deg = float(field) if at else RigConfig.field_deg
    except ValueError as error:
        raise ConfigError(f"'{text}' does not say where a rig stands ({error}); write none, {RIG_FORM}") from error
    if len(given) > len(places):
        raise ConfigError(f"'{text}' has more numbers than a rig of this kind; write none, {RIG_FORM}")
    return RigConfig(kind, views, **(places | dict(zip(places, given, strict=False))), field_deg=field_deg)


def rig_text(config: RigConfig | None) -> str:
    """The whole word for a rig, equal for equal rigs only; `parse_rig` reads it back."""
    if config is None:
        return "none"
    numbers = [_digits(getattr(config, name)) for name in _PLACES[config.kind]]
    return ":".join((config.kind, str(config.views), *numbers)) + f"@{_digits(config.field_deg)}"


def _digits(number: float) -> str:
    """As many as tell a number from every other."""
    return np.format_float_positional(number, trim="-")


def _arc(config: RigConfig) -> Poses:
    """The front camera's pose swung by evenly spaced angles; a single camera stands in the middle."""
    (front,) = tabletop_cameras(np.eye(4), (1, 1), ("front",)).values()
    if config.views == 1:
        swings_deg = np.array([(config.from_deg + config.to_deg) / 2])
    else:
        whole_turn = config.to_deg - config.from_deg == 360  # whose two ends are one place
        swings_deg = np.linspace(config.from_deg, config.to_deg, config.views, endpoint=not whole_turn)
    return np.stack([_swing(radians(swing_deg)) @ front.world_from_camera for swing_deg in swings_deg])


def _swing(angle: float) -> Float[np.ndarray, "4 4"]:
    """A turn of the world about the vertical through the workspace's centre."""
    turn = np.eye(4)
    turn[:2, :2] = [[cos(angle), -sin(angle)], [sin(angle), cos(angle)]]
    centre = np.array(WORKSPACE_CENTRE_M)
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    return turn


def _dome(config: RigConfig) -> Poses:
    """Equal areas of the dome for all: heights evenly spaced, headings by the golden section."""
    low, high = sin(radians(config.low_deg)), sin(radians(config.high_deg))
    poses: list[Float[np.ndarray, "4 4"]] = []
    for index in range(config.views):
        elevation = asin(low + (high - low) * (index + 0.5) / config.views)
        swing = radians(config.from_deg + (config.to_deg - config.from_deg) * ((index + 0.5) * _GOLDEN % 1))
        outwards = np.array((cos(swing) * cos(elevation), sin(swing) * cos(elevation), sin(elevation)))
        position = np.array(WORKSPACE_CENTRE_M) + config.radius_m * outwards
        poses.append(level_pose(position, swing + pi, elevation))
    return np.stack(poses)


_POSES: dict[str, Callable[[RigConfig], Poses]] = {"arc": _arc, "dome": _dome}
