"""Render novel views of a scene along an orbit: colour, depth and features beside the true view.

python -m data.view CHECKPOINT STORE
python -m data.view CHECKPOINT STORE --episode open_drawer/variation0/seed7 --frame 2 --views 96 --out DIR

Leaves `sheet.png`, some held-out views as they are and as they are rendered, and `orbit.webm`; prints how well the
held-out views of the episode are rendered.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import Progress

from data.episode import EpisodeInfo
from data.novel_views import (
    EncodedScene,
    FieldReport,
    TrueFeatures,
    evaluating,
    feature_source,
    measure,
    measured_views,
    progress_bar,
    read_scene,
    start_frames,
)
from data.store import Store
from data.targets import views_of_frame
from gnfactor.checkpoint import FOLDER, LoadedPolicy, load_policy
from gnfactor.command import Parser, run
from gnfactor.config import DataConfig
from gnfactor.errors import ConfigError, DataError
from gnfactor.evaluation.novel_views import render_camera, trained_field
from gnfactor.evaluation.orbit import nearest, orbit
from gnfactor.evaluation.view_drawing import (
    Comparison,
    DepthRange,
    FeatureColours,
    colour_bytes,
    contact_sheet,
    draw_strip,
    fit_colours_to,
    fit_depth_range,
    rendered_depth,
    rendered_features,
    sheet_rows,
)
from gnfactor.model import Policy
from gnfactor.scene import View
from gnfactor.video import Picture, caption, side_by_side, write_png, write_video

_COLUMNS = 5
"""Most views on a contact sheet."""
_PICTURES = 20
"""Most held-out views of the episode that are measured."""
_HEIGHT, _FPS, _CAPTION_ROWS = 240, 12, 3


@dataclass(frozen=True, eq=False)
class Colouring:
    """How depth and features are shown, the same in all pictures of a scene."""

    depth: DepthRange
    feature: FeatureColours | None
    """None where no features are learned."""


def choose_episode(store: Store, name: str | None, loaded: LoadedPolicy) -> EpisodeInfo:
    """The episode of this name; without one the first that the policy was kept from, or else the store's first.

    Raises:
        DataError: there is none; names those that are called alike.
    """
    episodes = {info.name: info for info in store.episodes()}
    if not episodes:
        raise DataError(f"{store.path} has no episodes; collect or convert some first")
    held_out = () if loaded.info.trained_on is None else loaded.info.trained_on.held_out
    chosen = name or next((known for known in held_out if known in episodes), next(iter(episodes)))
    if chosen not in episodes:
        alike = difflib.get_close_matches(chosen, episodes, n=3)
        near = f"; did you mean {' or '.join(alike)}?" if alike else ""
        raise DataError(
            f"{store.path} has no episode '{chosen}'{near} `python -m data.inspect {store.path}` lists all of them"
        )
    return episodes[chosen]


def choose_frame(info: EpisodeInfo, frame: int | None, config: DataConfig) -> int:
    """A frame that has views to compare with; the first that training starts from unless one is asked for.

    Raises:
        ConfigError: the frame asked for is not in the episode.
        DataError: there are no views to compare with.
    """
    if frame is not None and not 0 <= frame < info.frames:
        raise ConfigError(f"--frame is {frame}; '{info.name}' has frames 0 to {info.frames - 1}")
    viewed = [number for number in range(info.frames) if measured_views(info, number, config)]
    if not viewed:
        raise DataError(
            f"'{info.name}' has none of the views {list(config.views.held_out)} that the field was kept from; collect "
            "with the --rig that the field was trained with"
        )
    if frame is not None and frame not in viewed:
        raise DataError(f"frame {frame} of '{info.name}' has no views to compare with; frames that have: {viewed}")
    starts = [number for number in start_frames(info, config) if number in viewed]
    return frame if frame is not None else (starts or viewed)[0]


def draw_sheet(scene: EncodedScene, true_features: TrueFeatures | None, path: Path, console: Console) -> Colouring:
    """Write the contact sheet of a scene; returns how its depth and features were coloured."""
    field, box = trained_field(scene.policy), scene.policy.config.grid.box
    names = _evenly(list(scene.views), _COLUMNS)
    comparisons: list[Comparison] = []
    with progress_bar(console) as bar:
        for name in bar.track(names, description="contact sheet"):
            view = scene.views[name]
            feature = None if true_features is None else true_features(scene.info, scene.frame, name, view)
            comparisons.append(Comparison(name, view, render_camera(field, scene.volume, view.camera), feature))
    learned = field.config.loss.feature > 0 and field.config.network.features > 0
    colouring = Colouring(
        fit_depth_range([one.view for one in comparisons], box), fit_colours_to(comparisons, box) if learned else None
    )
    write_png(path, contact_sheet(sheet_rows(comparisons, box, colouring.depth, colouring.feature), names))
    return colouring


def film_orbit(
    scene: EncodedScene, around: dict[str, View], count: int, how: Colouring, bar: Progress
) -> Iterator[Picture]:
    """Frames of a video along the orbit: the nearest true view, then what is rendered."""
    field, names = trained_field(scene.policy), list(around)
    cameras = [view.camera for view in around.values()]
    for camera in bar.track(orbit(cameras, count), description="orbit"):
        name = names[nearest(camera, cameras)]
        rendered = render_camera(field, scene.volume, camera)
        panels = [around[name].rgb, colour_bytes(rendered), rendered_depth(rendered, how.depth)]
        words = [f"true ({name}, the nearest)", "rendered", "depth"]
        if how.feature is not None:
            panels.append(rendered_features(rendered, how.feature))
            words.append("features")
        text = [" | ".join(words), f"{scene.info.name}, frame {scene.frame}: {scene.info.instructions[0]}"]
        yield caption(side_by_side(panels, _HEIGHT), text, rows=_CAPTION_ROWS)


def view_scene(
    loaded: LoadedPolicy, store: Store, info: EpisodeInfo, frame: int, count: int, out: Path, console: Console
) -> FieldReport:
    """Draw a scene's sheet and orbit into a folder, and measure the held-out views of its episode.

    Raises:
        GNFactorError: the checkpoint has no field, the episode does not fit it, or a file cannot be written.
    """
    policy, config = loaded.policy, loaded.config
    true_features = feature_source(policy, config, store, console)
    held_out = measured_views(info, frame, config.data)
    everything = views_of_frame(info, frame, replace(config.data.views, held_out=(), count=None))
    with evaluating(policy):
        scene = read_scene(policy, store, info, frame, list(dict.fromkeys((*held_out, *everything))))
        shown = replace(scene, views={name: scene.views[name] for name in held_out})
        colouring = draw_sheet(shown, true_features, out / "sheet.png", console)
        with progress_bar(console) as bar:
            around = {name: scene.views[name] for name in everything if name != "wrist"}
            frames = film_orbit(scene, around or dict(scene.views), count, colouring, bar)
            write_video(out / "orbit.webm", frames, _FPS)
    trained_on = loaded.info.trained_on
    learned = trained_on is not None and info.name in trained_on.training
    seen, unseen = ([info], []) if learned else ([], [info])
    return measure(policy, config, store, seen, unseen, console, _PICTURES)


def draw_scene_strip(policy: Policy, config: DataConfig, store: Store, info: EpisodeInfo, path: Path) -> None:
    """A small PNG of held-out views at an episode's first frame: true and rendered colour, rendered depth.

    Raises:
        GNFactorError: the policy has no field, the episode does not fit it, or the file cannot be written.
    """
    frame = choose_frame(info, None, config)
    names = _evenly(measured_views(info, frame, config), _COLUMNS)
    with evaluating(policy):
        scene = read_scene(policy, store, info, frame, names)
        draw_strip(trained_field(policy), scene.volume, scene.views, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 2 wrong use or damaged files."""
    parser = Parser(prog="python -m data.view", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path, help="run folder or checkpoint folder")
    parser.add_argument("store", help="folder of the store, or its URL")
    parser.add_argument("--episode", help="its name in the store; else the first that the policy was kept from")
    parser.add_argument("--frame", type=int, help="which of its frames; else the first")
    parser.add_argument("--views", type=int, default=48, help="pictures along the orbit")
    parser.add_argument("--out", type=Path, help="folder for the pictures; else RUN/views/EPISODE_frameN")
    parser.add_argument("--select", choices=["last", "validation"], default="last", help="which checkpoint of a run")

    def command(console: Console) -> int:
        given = parser.parse_args(arguments)
        if given.views < 1:
            raise ConfigError(f"--views is {given.views}; at least 1 is expected")
        store = Store.open(str(given.store))
        loaded = load_policy(cast("Path", given.checkpoint), given.select)
        trained_field(loaded.policy)
        info = choose_episode(store, given.episode, loaded)
        frame = choose_frame(info, given.frame, loaded.config.data)
        out = cast("Path | None", given.out) or _default_folder(loaded.path, info, frame)
        report = view_scene(loaded, store, info, frame, given.views, out, console)
        Console().print(report.table())
        print(f"{info.name}, frame {frame}: {out / 'sheet.png'} and {out / 'orbit.webm'} written")
        return 0

    return run(command, "interrupted; pictures that were not finished were not written")


def _default_folder(checkpoint: Path, info: EpisodeInfo, frame: int) -> Path:
    run_dir = checkpoint.parent.parent if checkpoint.parent.name == FOLDER else checkpoint.parent
    return run_dir / "views" / f"{info.name.replace('/', '_')}_frame{frame}"


def _evenly(names: Sequence[str], count: int) -> list[str]:
    """So many names, the first and the last among them; all where there are no more."""
    if len(names) <= count:
        return list(names)
    return [names[round(number * (len(names) - 1) / (count - 1))] for number in range(count)]


if __name__ == "__main__":
    sys.exit(main())
