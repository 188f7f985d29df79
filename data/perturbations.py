"""Draw a scene of the built-in world beside itself under each perturbation that suits its task.

python -m data.perturbations docs/perturbations.png
python -m data.perturbations OUT.png --task open_drawer --variation 2 --seed 7 --camera left_shoulder
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from rich.console import Console

from gnfactor.command import Parser, run
from gnfactor.envs.base import PERTURBATION_TITLES, SeededScene, Start
from gnfactor.envs.tabletop.perturbations import perturbations_of
from gnfactor.envs.tabletop.world import TabletopEnv, find_task
from gnfactor.errors import ConfigError
from gnfactor.scene import CAMERAS, TABLE_HEIGHT_M, Camera, View
from gnfactor.video import Picture, caption, spaced, write_png

_SIZE, _COLUMNS, _ROWS = 192, 3, 3
_SQUARE_M = ((0.05, -0.25), (0.55, -0.25), (0.55, 0.25), (0.05, 0.25))
"""Corners of a square on the table, x and y."""
_SQUARE_RGB = (255, 255, 255)


def perturbation_sheet(scene: SeededScene, camera: str) -> Picture:
    """Pairs of pictures, without a perturbation and with it, each pair with the name of the perturbation below.

    The white square lies on the table where the reported calibration says that it lies.

    Raises:
        SceneError: there is no such scene, or no such camera.
    """
    env = TabletopEnv((camera,), (_SIZE, _SIZE))
    plain = env.reset(scene)
    pairs: list[Picture] = []
    for name in perturbations_of(find_task(scene.task, scene.variation)):
        start = env.reset(replace(scene, perturbation=name))
        pair = spaced([_with_square(one.observation.views[camera]) for one in (plain, start)], axis=1)
        pairs.append(caption(pair, _words(name, plain, start), rows=_ROWS))
    env.close()
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % _COLUMNS)
    rows = [pairs[first : first + _COLUMNS] for first in range(0, len(pairs), _COLUMNS)]
    return spaced([spaced(row, axis=1) for row in rows], axis=0)


def _words(name: str, plain: Start, perturbed: Start) -> list[str]:
    said, now_said = plain.instructions[0], perturbed.instructions[0]
    words = [f"{name}: {PERTURBATION_TITLES[name]}"]
    return words if said == now_said else [*words, f'"{said}" / "{now_said}"']


def _with_square(view: View) -> Picture:
    picture = Image.fromarray(view.rgb)
    corners = [_pixel(view.camera, np.array((x, y, TABLE_HEIGHT_M))) for x, y in _SQUARE_M]
    ImageDraw.Draw(picture).line([*corners, corners[0]], fill=_SQUARE_RGB)
    return np.array(picture)


def _pixel(camera: Camera, point_m: Float[np.ndarray, "3"]) -> tuple[float, float]:
    """Column and row at which a camera sees a point of the world."""
    pose = camera.world_from_camera
    column, row, depth = camera.intrinsics @ pose[:3, :3].T @ (point_m - pose[:3, 3])
    return float(column / depth), float(row / depth)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 2 wrong use."""
    parser = Parser(prog="python -m data.perturbations", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="the PNG")
    parser.add_argument("--task", default="slide_block_to_color_target", help="whose scene; this one suits all")
    parser.add_argument("--variation", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the scene")
    parser.add_argument("--camera", default="front", choices=(*CAMERAS, "spectator"))

    def command(console: Console) -> int:  # noqa: ARG001 (there is nothing to say but the result)
        given = parser.parse_args(arguments)
        out = cast("Path", given.out)
        if out.suffix != ".png":
            raise ConfigError(f"the picture is to be {out}; its name has to end in .png")
        scene = SeededScene(cast("str", given.task), cast("int", given.variation), cast("int", given.seed))
        write_png(out, perturbation_sheet(scene, cast("str", given.camera)))
        print(f"{out} written")
        return 0

    return run(command, "interrupted; no picture was written")


if __name__ == "__main__":
    sys.exit(main())
