"""Say what is in a store, and show it.

python -m data.inspect STORE            for reading
python -m data.inspect STORE --json     for programs
python -m data.inspect STORE --video DIR    a video of each episode, and a picture of its views to learn from
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.episode import SCHEMA, CameraInfo, EpisodeInfo
from data.remote import RemoteFolder
from data.store import Store
from gnfactor.command import Parser, run
from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError
from gnfactor.scene import View
from gnfactor.video import Picture, caption, outlined, side_by_side, write_video

_LEAST_WIDTH = 640
"""Videos of few or small pictures are enlarged to about this width, so that the words have room."""
_KEYFRAME_COLOUR = (255, 190, 0)
_KEYFRAME_S = 0.7
"""How long a video stands still at a keyframe."""
_CAPTION_ROWS = 4
_SHEET_COLUMNS = 5


def describe_json(episodes: Sequence[EpisodeInfo]) -> dict[str, Any]:
    """The store's contents as plain values for JSON."""
    return {
        "schema": SCHEMA,
        "episodes": [
            {
                "task": info.task,
                "episode": info.name,
                "variation": info.variation,
                "seed": info.seed,
                "frames": info.frames,
                "frame_numbers": list(info.frame_numbers),
                "keyframes": list(info.keyframes),
                "instructions": list(info.instructions),
                "cameras": list(info.cameras),
                "image_sizes": {view.name: [view.width, view.height] for view in info.views},
                "segmentation": [view.name for view in info.views if view.segmentation],
                "renderer": info.renderer,
                "target_views": {view.name: [view.width, view.height] for view in info.target_views},
                "target_frames": list(info.target_frames),
                "labels": {str(label): name for label, name in info.labels.items()},
            }
            for info in episodes
        ],
    }


def describe_text(path: Path | RemoteFolder, episodes: Sequence[EpisodeInfo]) -> str:
    """The store's contents for people."""
    tasks = [(task, list(group)) for task, group in groupby(sorted(episodes, key=_task), key=_task)]
    lines = [f"{path}: schema version {SCHEMA}, {_count(tasks, 'task')}, {_count(episodes, 'episode')}"]
    for task, group in tasks:
        lines += ["", f"{task}: {_count(group, 'episode')}, {sum(info.frames for info in group)} frames"]
        for info in group:
            seed = "" if info.seed is None else f", seed {info.seed}"
            lines += [
                f"  {info.name}",
                f"    variation {info.variation}{seed}; {_frames(info)}; keyframes {_words(info.keyframes)}",
                f"    cameras {_words(info.cameras)}, {_sizes(info.views)} pixels, pictures by {info.renderer}",
                *_rig_lines(info),
                f"    instructions: {' | '.join(info.instructions)}",
            ]
    return "\n".join(lines)


def contact_sheet(views: Mapping[str, View]) -> Picture:
    """All views in rows, each with its name below."""
    named = [caption(view.rgb, [name], rows=1) for name, view in views.items()]
    height, width = (max(picture.shape[axis] for picture in named) for axis in (0, 1))
    gaps = -len(named) % _SHEET_COLUMNS if len(named) > _SHEET_COLUMNS else 0
    even = [
        np.pad(picture, ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))) for picture in named
    ]
    even += [np.zeros_like(even[0])] * gaps
    rows = [even[begin : begin + _SHEET_COLUMNS] for begin in range(0, len(even), _SHEET_COLUMNS)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def film(demonstration: Demonstration) -> Iterator[Picture]:
    """Pictures of a video: all cameras in a row, the instruction below, a rest with a coloured frame at keyframes."""
    fps = frames_per_second(demonstration)
    count = len(demonstration.observations)
    for frame, seen in enumerate(demonstration.observations):
        row = _row([view.rgb for view in seen.views.values()])
        state = f"frame {frame} of {count} at {seen.time_s:.2f} s, {_words(seen.views)}"
        repeats = 1
        if frame in demonstration.keyframes:
            number = demonstration.keyframes.index(frame) + 1
            row = outlined(row, _KEYFRAME_COLOUR)
            state = f"keyframe {number} of {len(demonstration.keyframes)}: {state}"
            repeats = max(1, round(_KEYFRAME_S * fps))
        text = [f"{demonstration.instructions[0]}  ({demonstration.task}, variation {demonstration.variation})", state]
        picture = caption(row, text, rows=_CAPTION_ROWS)
        for _ in range(repeats):
            yield picture


def frames_per_second(demonstration: Demonstration) -> float:
    """Speed of the recording, but no more than 30 and no fewer than 2, as where only keyframes were kept."""
    times = [seen.time_s for seen in demonstration.observations]
    interval_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return float(np.clip(1 / max(interval_s, 1e-3), 2, 30))


def write_videos(store: Store, episodes: Sequence[EpisodeInfo], folder: Path, console: Console) -> None:
    """A video of each episode, under its name, and a picture of its views to learn from, if any; shows progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for info in progress.track(episodes, description="videos"):
            demonstration = store.read(info.name)
            path = folder / f"{info.name}.webm"
            write_video(path, film(demonstration), frames_per_second(demonstration))
            if info.target_frames:
                start = store.read(info.name, info.target_frames[:1], (), None)
                _write_picture(folder / f"{info.name}.rig.png", contact_sheet(start.target_views[0]))


def _write_picture(path: Path, picture: Picture) -> None:
    try:
        Image.fromarray(picture).save(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}; choose a folder that can be written to") from error


def _rig_lines(info: EpisodeInfo) -> list[str]:
    """What is said about views to learn from, if there are any."""
    if not info.target_views:
        return []
    names = [view.name for view in info.target_views]
    span = _words(names) if len(names) < 3 else f"{names[0]} to {names[-1]}"
    views = f"{_count(names, 'view')} to learn from ({span}), {_sizes(info.target_views)} pixels"
    return [f"    {views}, at frames {_words(info.target_frames)}"]


def _row(pictures: Sequence[Picture]) -> Picture:
    """Pictures in a row, enlarged by a whole number where they are small."""
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] * height // picture.shape[0] for picture in pictures)
    return side_by_side(pictures, height * -(-_LEAST_WIDTH // width))


def _task(info: EpisodeInfo) -> str:
    return info.task


def _frames(info: EpisodeInfo) -> str:
    """How many frames there are, and of how many."""
    kept = f", kept of {info.frame_numbers[-1] + 1}" if info.frame_numbers else ""
    return f"{info.frames} frames{kept}"


def _words(values: Sequence[object] | Any) -> str:
    return " ".join(str(value) for value in values)


def _sizes(views: Sequence[CameraInfo]) -> str:
    return _words(sorted({f"{view.width}x{view.height}" for view in views}))


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 2 wrong use or a damaged store."""
    parser = Parser(prog="python -m data.inspect", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", help="folder of the store, or its URL")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--video", type=Path, metavar="DIR", help="write videos into this folder")

    def command(console: Console) -> int:
        given = parser.parse_args(arguments)
        store = Store.open(str(given.store))
        episodes = store.episodes()
        print(json.dumps(describe_json(episodes), indent=1) if given.json else describe_text(store.path, episodes))
        if given.video is not None:
            write_videos(store, episodes, cast("Path", given.video), console)
        return 0

    return run(command, "interrupted; the videos that are there are whole")


if __name__ == "__main__":
    sys.exit(main())
