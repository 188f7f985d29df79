"""push_buttons: push one to three of three buttons, named by the colour of their plates, in the order said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import mjtGeom, mjtJoint

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import COLORS, Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_down,
    sample_places_apart,
)
from gnfactor.envs.tabletop.scene import TABLE_BODY
from gnfactor.envs.tabletop.tasks.base import Goal, Task, Waypoint, go, touch

BUTTONS = 3
PLATE_COLORS = tuple(name for name in COLORS if name not in ("red", "lime"))
"""Red and lime stay out, since a cap is red before it is pressed and bright green after."""
PRESSED_M = 0.003
"""A cap that has gone down further than this is pressed, for good."""
PRESSED_RGB: Rgb = (0.10, 0.95, 0.15)

_APART_M = 0.15
_PLATE_M, _PLATE_HEIGHT_M = 0.10, 0.012
_CAP_RADIUS_M, _CAP_HEIGHT_M, _CAP_TRAVEL_M = 0.026, 0.042, 0.03
_ABOVE_M = 0.10
_PRESS_M = 0.018
"""How deep the expert presses: well beyond the latch, so that a policy may be a centimetre off."""
_CAP_RGB: Rgb = (0.90, 0.05, 0.05)


def _deal_colors() -> tuple[tuple[str, ...], ...]:
    """Colours to be pushed in each of 50 variations, 1, 2 or 3 of them, dealt from shuffled decks of all plate colours.

    Dealing makes each colour turn up equally often over all variations, give or take one; single colours are dealt
    first, so that none comes twice. The standard library's generator is used since its shuffles never change.
    """
    shuffle = random.Random(2023).shuffle  # noqa: S311 (a fixed list, no secret)
    counts = [1 + variation % BUTTONS for variation in range(50)]
    dealt: dict[int, tuple[str, ...]] = {}
    deck: list[str] = []
    for variation in sorted(range(len(counts)), key=counts.__getitem__):
        count = counts[variation]
        if len(deck) < count:
            fresh = [color for color in PLATE_COLORS if color not in deck]
            shuffle(fresh)
            deck = deck + fresh + deck  # what is left over comes last in the next deck
        dealt[variation], deck = tuple(deck[:count]), deck[count:]
    return tuple(dealt[variation] for variation in range(len(counts)))


COLORS_TO_PUSH = _deal_colors()
"""By variation: the plates' colours in the order in which the buttons are to be pushed."""


def cap_name(index: int) -> str:
    """Name of a cap's body, joint and geom."""
    return f"cap/{index}"


@dataclass(frozen=True)
class Buttons:
    """Where the buttons stand and their plates' colours; the first `to_push` are to be pushed, in this order."""

    places: tuple[Place, ...]
    colors: tuple[str, ...]
    to_push: int


class PushButtons(Task[Buttons]):
    """Fifty variations: one, two or three colours in order. The plates not named take any other colours."""

    name = "push_buttons"
    variation_count = len(COLORS_TO_PUSH)
    region = Region(x_m=(0.08, 0.40), y_m=(-0.22, 0.22), max_yaw_deg=0.0)
    recolorable = tuple(cap_name(index) for index in range(BUTTONS))

    def instructions(self, variation: int) -> tuple[str, ...]:
        colors = COLORS_TO_PUSH[variation]
        in_turn = [f"the {color} button" for color in colors]
        plain = [f"the {color} one" for color in colors[1:]]
        return (
            ", then ".join(f"push {button}" for button in in_turn),
            ", and after that ".join([f"press {in_turn[0]}", *plain]),
            " followed by ".join([f"press down {in_turn[0]}", *plain]),
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Buttons:
        named = COLORS_TO_PUSH[variation]
        others = [color for color in PLATE_COLORS if color not in named]
        spare = rng.choice(len(others), BUTTONS - len(named), replace=False)
        return Buttons(
            places=sample_places_apart(self.region, BUTTONS, _APART_M, rng),
            colors=(*named, *(others[i] for i in spare)),
            to_push=len(named),
        )

    def build(self, layout: Buttons, spec: mujoco.MjSpec) -> None:
        for index, (place, color) in enumerate(zip(layout.places, layout.colors, strict=True)):
            plate = stand(spec, f"plate/{index}", place)
            add_box(plate, (0.0, 0.0, _PLATE_HEIGHT_M / 2), (_PLATE_M, _PLATE_M, _PLATE_HEIGHT_M), COLORS[color])
            _add_cap(spec, plate, index)

    def goal(self, layout: Buttons, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        return PressedInOrder(layout.to_push, model, data)

    def waypoints(self, layout: Buttons, data: mujoco.MjData) -> Iterator[Waypoint]:
        for index in range(layout.to_push):
            top = np.add(data.geom(cap_name(index)).xpos, (0, 0, _CAP_HEIGHT_M / 2))
            yield go("above the button", _over(top, _ABOVE_M), gripper_open=False)
            yield touch("press", _over(top, -_PRESS_M), gripper_open=False)


class PressedInOrder:
    """Reached when exactly the first `to_push` buttons have been pressed, in order; a wrong one spoils it for good."""

    def __init__(self, to_push: int, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._wanted = list(range(to_push))
        self._heights = [int(model.joint(cap_name(index)).qposadr[0]) for index in range(BUTTONS)]
        self.pressed: list[int] = []
        """Buttons in the order in which they were first pressed."""

    def observe(self) -> None:
        for index, address in enumerate(self._heights):
            if index not in self.pressed and self._data.qpos[address] < -PRESSED_M:
                self.pressed.append(index)
                self._model.geom(cap_name(index)).rgba[:3] = PRESSED_RGB

    def reached(self) -> bool:
        return self.pressed == self._wanted


def _over(top_m: np.ndarray, height_m: float) -> Pose:
    """Gripper with its finger tips `height_m` above the top of a cap at rest."""
    return gripper_down(np.add(top_m, (0, 0, height_m)))


def _add_cap(spec: mujoco.MjSpec, plate: mujoco.MjsBody, index: int) -> None:
    """A cap on a spring, which sinks into its plate."""
    name = cap_name(index)
    cap = plate.add_body(name=name, pos=(0, 0, _PLATE_HEIGHT_M + _CAP_HEIGHT_M / 2), gravcomp=1)
    cap.add_geom(
        name=name,
        type=mjtGeom.mjGEOM_CYLINDER,
        size=(_CAP_RADIUS_M, _CAP_HEIGHT_M / 2, 0),
        rgba=(*_CAP_RGB, 1.0),
        mass=0.05,
    )
    cap.add_joint(
        name=name,
        type=mjtJoint.mjJNT_SLIDE,
        axis=(0, 0, 1),
        limited=True,
        range=(-_CAP_TRAVEL_M, 0),
        stiffness=(60.0, 0, 0),
        springref=0.02,
        damping=(2.0, 0, 0),
    )
    # Plate and table are fixed to the world, and MuJoCo does not filter contacts of such parents with a child.
    spec.add_exclude(bodyname1=f"plate/{index}", bodyname2=name)
    spec.add_exclude(bodyname1=TABLE_BODY, bodyname2=name)
