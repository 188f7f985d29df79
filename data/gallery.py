"""Show what the tasks of the built-in world look like: a sheet of pictures, and a short video of each.

python -m data.gallery docs/tasks
python -m data.gallery OUT --tasks close_jar,turn_tap --variation 1 --seed 7 --camera front
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console
from rich.progress import track

from gnfactor.command import Parser, run
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import TabletopEnv, find_task
from gnfactor.errors import SceneError
from gnfactor.scene import CAMERAS
from gnfactor.video import Picture, caption, spaced, write_png, write_video

_SIZE, _FILM_SIZE = (192, 144), (256, 192)
"""Width and height of a picture of the sheet and of a video."""
_COLUMNS = 6
"""Pictures of a task: its start, some keyframes, its end."""
_FILMED_HZ, _SHOWN_HZ = 8.0, 16.0
"""Videos run at twice the speed."""
_LAST_S = 1.0
"""How long a video stands still at its end."""


@dataclass(frozen=True)
class Shown:
    """One task, done by its expert."""

    title: tuple[str, ...]
    start_and_keyframes: tuple[Picture, ...]
    film: tuple[Picture, ...]


def show(scene: SeededScene, camera: str) -> Shown:
    """Let the expert do the task once.

    Raises:
        SceneError: there is no such scene or camera, or the expert fails in it.
    """
    frames: list[Picture] = []
    env = TabletopEnv((camera,), _SIZE)
    env.watch(frames.append, camera, _FILM_SIZE, _FILMED_HZ)
    made = env.record(scene)
    env.close()
    if not isinstance(made, Demonstration):
        raise SceneError(f"the expert fails in {scene} ({made.reason}); choose another --seed")
    title = (scene.task, f'"{made.instructions[0]}"')
    return Shown(title, tuple(seen.views[camera].rgb for seen in made.observations), tuple(frames))


def sheet(tasks: Sequence[Shown]) -> Picture:
    """A row for each task, from its start on the left to its success on the right, the words below."""
    rows = [caption(spaced(_chosen(shown.start_and_keyframes), axis=1), (": ".join(shown.title),)) for shown in tasks]
    return spaced(rows, axis=0)


def film(shown: Shown) -> list[Picture]:
    """The frames of a video, with words."""
    frames = [*shown.film, *[shown.film[-1]] * round(_LAST_S * _SHOWN_HZ)]
    return [caption(frame, shown.title, rows=3, size=12) for frame in frames]


def _chosen(pictures: Sequence[Picture]) -> list[Picture]:
    """As many as there are columns, evenly, first and last included; white after them where there are not so many."""
    count = min(len(pictures), _COLUMNS)
    chosen = [pictures[round(index)] for index in np.linspace(0, len(pictures) - 1, count)]
    return [*chosen, *[np.full_like(pictures[0], 255)] * (_COLUMNS - count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 2 wrong use."""
    parser = Parser(prog="python -m data.gallery", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder for sheet.png and <task>.webm")
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated names; all without")
    parser.add_argument("--variation", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the scenes")
    parser.add_argument("--camera", default="spectator", choices=(*CAMERAS, "spectator"))

    def command(console: Console) -> int:
        given = parser.parse_args(arguments)
        out, camera = cast("Path", given.out), cast("str", given.camera)
        variation, seed = cast("int", given.variation), cast("int", given.seed)
        names = list(dict.fromkeys(name.strip() for name in cast("str", given.tasks).split(",")))
        for name in names:
            find_task(name, variation)
        tasks: list[Shown] = []
        for name in track(names, "filming", console=console):
            shown = show(SeededScene(name, variation, seed), camera)
            write_video(out / f"{name}.webm", film(shown), _SHOWN_HZ)
            tasks.append(shown)
        write_png(out / "sheet.png", sheet(tasks))
        print(f"{out / 'sheet.png'} and {len(tasks)} videos written")
        return 0

    return run(command, "interrupted; the sheet was not written, a video that is there is whole")


if __name__ == "__main__":
    sys.exit(main())
