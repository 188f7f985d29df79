"""Write a store's demonstrations as folders of RLBench's, so that other programs can train on them.

    python -m data.export STORE OUT --format rlbench

OUT/<task>/all_variations/episodes/episode<k>/ is laid out as PerAct and GNFactor load it, see `data.rlbench_episode`;
`data.convert` reads it back. Episodes that are in OUT already are not written again, so that a killed export goes on
with the same command, and what a store has gained is added behind them.

Keyframes are not written down in these folders: their readers find them where the gripper changes and where the arm
stops. So the store must have the frames between keyframes (`data.collect --frames all`). Where readers would find
others than the store's keyframes, since the arm also stands while it settles or the gripper moves, those frames at
which it stands are left out; with `--standing keep` they stay. The command says what readers will find.

The format has no place for seeds, the names of labels, the renderer, times (RLBench's frames are 0.05 s apart), and
which frames of the store were written. All this stands in `origin.json` in each episode's folder, which `data.convert`
and other programs pass over. A store may have fewer cameras than RLBench's five; RLBench's own loader, and those made
from it, count the pictures of all five and may refuse such folders.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.durable import new_folder, remove_remnants
from data.episode import EpisodeInfo, attributes_of
from data.keyframes import STILL_RAD_S, published_keyframes
from data.multiview import MultiviewOptions
from data.remote import is_url
from data.rlbench_episode import write_recording
from data.store import Store
from gnfactor.command import Parser, run
from gnfactor.demonstration import Demonstration
from gnfactor.errors import ConfigError, DataError
from gnfactor.files import write_file
from gnfactor.scene import ARM, CAMERAS

FORMATS = ("rlbench",)
Standing = Literal["drop", "keep"]

_ORIGIN = "origin.json"
_WORKPLACE = ".writing"
_EPISODE = re.compile(r"episode(\d+)")


@dataclass(frozen=True)
class ExportConfig:
    """What to export."""

    store: Path | str
    """Its folder or URL."""
    out: Path
    tasks: tuple[str, ...] | None = None
    """None takes all."""
    cameras: tuple[str, ...] | None = None
    """None takes all that the store has."""
    views: bool = False
    """Also the views to learn from."""
    standing: Standing = "drop"
    """What becomes of frames at which the arm stands and readers would find a keyframe that the store does not have."""
    allow_sparse: bool = False
    """Also episodes of keyframes alone."""

    @property
    def settings(self) -> dict[str, str]:
        """What the episodes of one folder have to have in common."""
        return {
            "cameras": "all in the store" if self.cameras is None else ",".join(self.cameras),
            "views to learn from": "written" if self.views else "left out",
            "standing": self.standing,
        }


@dataclass(frozen=True)
class Exported:
    """What was written of one episode; frames are numbers in the store."""

    frames: tuple[int, ...]
    left_out: int
    """Number of frames that were left out since the arm stands there."""
    keyframes: tuple[int, ...]
    """The store's."""
    found: tuple[int, ...]
    """Those that the published rule finds in what was written."""
    wanted_views: int
    """Number of frames at which training by the published rule would ask for views to learn from."""
    written_views: int
    """Number of these that have them."""


@dataclass(frozen=True)
class ExportReport:
    """What came of it."""

    exported: Mapping[str, Exported]
    """By name in the store."""
    there_before: tuple[str, ...]
    failed: tuple[str, ...]
    """Why, for each episode that could not be exported."""


@dataclass
class _Shelf:
    """The episodes of one task that are in OUT."""

    folder: Path
    names: set[str]
    """Of its episodes in the store."""
    free: int
    """The next number."""


def export(config: ExportConfig, console: Console) -> ExportReport:
    """Export what can be exported; an interruption leaves whole episodes, and the next run goes on.

    Raises:
        DataError: the store cannot be exported as asked, OUT holds something else, or the disk is full.
    """
    store = Store.open(config.store)
    infos = _chosen(store, config)
    _check_out(config)
    shelves = {task: _shelf(config, task, infos) for task in sorted({info.task for info in infos})}
    exported, there_before, failed = dict[str, Exported](), list[str](), list[str]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        for shelf in shelves.values():
            shelf.folder.mkdir(parents=True, exist_ok=True)
        remove_remnants(config.out / _WORKPLACE)
        with Progress(*columns, console=console) as progress:
            for info in progress.track(infos, description="episodes"):
                shelf = shelves[info.task]
                if info.name in shelf.names:
                    there_before.append(info.name)
                    continue
                try:
                    exported[info.name] = _export_episode(store, info, config, shelf.folder / f"episode{shelf.free}")
                    shelf.free += 1
                except DataError as error:
                    failed.append(str(error))
    except OSError as error:
        raise DataError(f"cannot write {config.out}: {error}; make room, or name another folder") from error
    finally:
        with suppress(OSError):  # there are remnants of others, or it was never made
            (config.out / _WORKPLACE).rmdir()
    return ExportReport(exported, tuple(there_before), tuple(failed))


def frames_for_readers(demonstration: Demonstration) -> tuple[int, ...]:
    """Frames in which the published rule finds no keyframe but the demonstration's, as far as this can be had.

    Only frames at which all joints stand are left out, one after the other as the rule takes them for keyframes; never
    a keyframe, nor any frame if the rule is right about all of them.
    """
    is_open, velocities = _what_the_rule_sees(demonstration)
    standing = np.abs(velocities).max(-1) <= STILL_RAD_S
    kept = np.arange(len(is_open))
    while True:
        found = kept[list(published_keyframes(is_open[kept], velocities[kept]))]
        mistaken = found[standing[found] & ~np.isin(found, demonstration.keyframes)]
        if not mistaken.size:
            return tuple(kept.tolist())
        kept = np.setdiff1d(kept, mistaken)


def _export_episode(store: Store, info: EpisodeInfo, config: ExportConfig, destination: Path) -> Exported:
    """Write one episode.

    Raises:
        DataError: it is damaged, or holds something that RLBench's folders cannot.
        OSError: the disk is full, or the destination is there.
    """
    motion = store.read(info.name, cameras=())
    frames = frames_for_readers(motion) if config.standing == "drop" else tuple(range(info.frames))
    cameras = _cameras(info, config)
    demonstration = store.read(info.name, frames, cameras, None if config.views else ())
    rows = list(frames)
    is_open, velocities = _what_the_rule_sees(motion)
    found = [frames[row] for row in published_keyframes(is_open[rows], velocities[rows])]
    origin = {"name": info.name, "settings": config.settings, "frames": rows, "episode": attributes_of(info)}
    with new_folder(destination, config.out / _WORKPLACE) as folder:
        try:
            write_recording(folder, demonstration)
        except DataError as error:
            raise DataError(f"{store.path / info.name}: {error}") from error
        write_file(folder / _ORIGIN, json.dumps(origin, indent=1, ensure_ascii=False))
    wanted = MultiviewOptions().frames(len(frames), [frames.index(frame) for frame in found])
    return Exported(
        frames=frames,
        left_out=info.frames - len(frames),
        keyframes=info.keyframes,
        found=tuple(found),
        wanted_views=len(wanted),
        written_views=sum(frame in demonstration.target_views for frame in wanted),
    )


def _what_the_rule_sees(demonstration: Demonstration) -> tuple[Any, Any]:
    """Gripper open or not (frames,), and the joints' velocities (frames, 7), rad/s."""
    states = [seen.arms[ARM] for seen in demonstration.observations]
    return np.array([state.gripper_open for state in states]), np.stack([state.joint_velocities for state in states])


def _chosen(store: Store, config: ExportConfig) -> list[EpisodeInfo]:
    """The episodes to export; raises DataError if one of them cannot be, for a reason that needs no pictures."""
    everything = store.episodes()
    if not everything:
        raise DataError(f"{store.path} has no episodes; collect or convert some first")
    there = sorted({info.task for info in everything})
    absent = [task for task in config.tasks or () if task not in there]
    if absent:
        raise DataError(f"{store.path} has no episode of {absent}; it has {there}")
    infos = [info for info in everything if config.tasks is None or info.task in config.tasks]
    for info in infos:
        problem = _problem(info, config)
        if problem is not None:
            raise DataError(f"{store.path / info.name} {problem}")
    if config.views and not any(info.target_frames for info in infos):
        raise DataError(
            f"{store.path} has no views to learn from; collect with --rig arc:21 --rig-every 1, or leave out --views"
        )
    return infos


def _problem(info: EpisodeInfo, config: ExportConfig) -> str | None:
    """Why an episode cannot be exported, or None."""
    if info.arms != (ARM,):
        return f"shows the arms {list(info.arms)}; RLBench's folders have room for one, called '{ARM}' here"
    if Path(info.task).name != info.task:
        return f"is of the task '{info.task}', which cannot be the name of a folder"
    if info.frames <= len(info.keyframes) + 1 and not config.allow_sparse:
        return (
            "has keyframes only, in which readers of RLBench's folders cannot find the keyframes: collect with "
            "--frames all, or give --allow-sparse"
        )
    if info.frame_numbers and not config.allow_sparse:
        return (
            f"has {info.frames} of the {info.frame_numbers[-1] + 1} frames of its recording, in which readers of "
            "RLBench's folders would find other keyframes: convert it with --frames all, or give --allow-sparse"
        )
    cameras = _cameras(info, config)
    unknown = [name for name in cameras if name not in info.cameras]
    if unknown:
        return f"has the cameras {list(info.cameras)}, not {unknown}; give --cameras among these"
    foreign = [name for name in cameras if name not in CAMERAS]
    if foreign:
        return f"has cameras {foreign} that RLBench has not; give --cameras among {', '.join(CAMERAS)}"
    return None


def _cameras(info: EpisodeInfo, config: ExportConfig) -> tuple[str, ...]:
    return info.cameras if config.cameras is None else config.cameras


def _check_out(config: ExportConfig) -> None:
    """Refuse to write into a store, or behind a URL."""
    if is_url(config.out):
        raise DataError(f"{config.out} is a URL; export into a folder and copy it there")
    out = config.out.resolve()
    in_store = not is_url(config.store) and out.is_relative_to(Path(config.store).resolve())
    if in_store or (out / "zarr.json").exists():
        raise DataError(f"{config.out} is a store or in one; name a folder for the export that is not")


def _shelf(config: ExportConfig, task: str, infos: Sequence[EpisodeInfo]) -> _Shelf:
    """What OUT has of one task; raises DataError if it does not go together with what is to be exported."""
    folder = config.out / task / "all_variations" / "episodes"
    known = {info.name: json.loads(json.dumps(attributes_of(info))) for info in infos}
    names, free = set[str](), 0
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _EPISODE.fullmatch(entry.name)
        if match is None:
            continue
        name, settings, attributes = _origin(entry)
        differing = [key for key, now in config.settings.items() if settings.get(key) != now]
        if differing:
            changes = [f"{key}: {settings.get(key)} there, now {config.settings[key]}" for key in differing]
            raise DataError(
                f"{entry} was exported with other settings ({'; '.join(changes)}); name a new folder, or give the "
                "settings of before"
            )
        if known.get(name, attributes) != attributes:
            raise DataError(
                f"{entry} was exported from another episode that is called '{name}', too; name a new folder"
            )
        names.add(name)
        free = max(free, int(match[1]) + 1)
    return _Shelf(folder, names, free)


def _origin(episode: Path) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """Name, settings, and attributes in the store of an exported episode."""
    path = episode / _ORIGIN
    try:
        origin = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        return str(origin["name"]), dict(origin["settings"]), dict(origin["episode"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{episode} was not exported from a store: {path.name} in it is absent or damaged ({error}); name a new "
            "folder"
        ) from error


def _parse(arguments: Sequence[str] | None) -> ExportConfig:
    parser = Parser(prog="python -m data.export", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", help="folder of the store, or its URL")
    parser.add_argument("out", type=Path, help="folder to write into; continued if it is there")
    parser.add_argument("--format", choices=FORMATS, default="rlbench", help="whose folders")
    parser.add_argument("--tasks", help="names, separated by commas; all if not given")
    parser.add_argument("--cameras", help=f"some of {','.join(CAMERAS)}; all that the store has if not given")
    parser.add_argument(
        "--views", action="store_true", help="also the views to learn from, as folders nerf_data, where there are any"
    )
    parser.add_argument(
        "--standing",
        choices=("drop", "keep"),
        default="drop",
        help="frames at which the arm stands and readers would find keyframes that the store has not",
    )
    parser.add_argument("--allow-sparse", action="store_true", help="also export episodes of keyframes alone")
    given = parser.parse_args(arguments)
    cameras = None if given.cameras is None else tuple(str(given.cameras).split(","))
    unknown = [name for name in cameras or () if name not in CAMERAS]
    if unknown:
        raise ConfigError(f"--cameras: RLBench has no camera {unknown}; it has {', '.join(CAMERAS)}")
    return ExportConfig(
        store=str(given.store),
        out=cast("Path", given.out),
        tasks=None if given.tasks is None else tuple(str(given.tasks).split(",")),
        cameras=cameras,
        views=bool(given.views),
        standing=cast("Standing", given.standing),
        allow_sparse=bool(given.allow_sparse),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 1 some episodes failed, 2 wrong use, 130 interrupted."""

    def command(console: Console) -> int:
        config = _parse(arguments)
        report = export(config, console)
        for reason in report.failed:
            _say(console, f"failed: {reason}", style="red")
        if report.exported:
            _say(console, _what_readers_find(list(report.exported.values()), config))
        _say(
            console,
            f"{len(report.exported)} episodes exported, {len(report.there_before)} were there before, "
            f"{len(report.failed)} failed; they are in {config.out}",
        )
        return int(bool(report.failed))

    return run(command, "interrupted; what was exported is whole: run the same command again to go on")


def _what_readers_find(exported: Sequence[Exported], config: ExportConfig) -> str:
    """What the keyframe rule of PerAct and GNFactor makes of the episodes, in one paragraph."""
    right = sum(each.found == each.keyframes for each in exported)
    missed = sum(len(set(each.keyframes) - set(each.found)) for each in exported)
    added = sum(len(set(each.found) - set(each.keyframes)) for each in exported)
    frames = sum(each.left_out + len(each.frames) for each in exported)
    said = (
        f"the published rule finds the store's keyframes, and no others, in {right} of {len(exported)} episodes "
        f"({missed} missed, {added} more than the store's {sum(len(each.keyframes) for each in exported)}); "
        f"{sum(each.left_out for each in exported)} of {frames} frames were left out since the arm stands there"
    )
    if config.views:
        wanted, written = (sum(getattr(each, name) for each in exported) for name in ("wanted_views", "written_views"))
        said += (
            f"; of the frames that GNFactor trains from (every {MultiviewOptions().every}th and keyframes) {written} "
            f"of {wanted} have views to learn from"
        )
        if written < wanted:
            said += " (collect with --rig-every 1 for all)"
    return said


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
