"""Turn RLBench's recorded demonstrations into a store.

    python -m data.convert RAW OUT --tasks open_drawer --cameras front,wrist

RAW is a folder of tasks as RLBench writes them, or a part of it. What is damaged is named and left out, the rest is
converted. Episodes that are in OUT already are not read again, so a killed conversion goes on with the same command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.command import Parser, run
from data.demos import ReadOptions, read_recording
from data.keyframes import KEYFRAME_RULES
from data.recordings import Recording, find_recordings, variation_of
from data.store import Store, episode_name
from gnfactor.errors import ConfigError, DataError
from gnfactor.scene import CAMERAS


@dataclass(frozen=True)
class ConvertConfig:
    """What to convert."""

    raw: Path
    out: Path
    tasks: tuple[str, ...] | None
    """None takes all."""
    options: ReadOptions


@dataclass(frozen=True)
class ConvertReport:
    """What came of it."""

    converted: tuple[str, ...]
    """Names in the store."""
    there_before: tuple[str, ...]
    failed: tuple[str, ...]
    """Why, for each folder that could not be read."""


def convert(config: ConvertConfig, console: Console) -> ConvertReport:
    """Convert what can be converted; an interruption leaves a store that can be continued.

    Raises:
        DataError: nothing is recorded in RAW, or OUT cannot be made or was made with other settings.
    """
    found = find_recordings(config.raw, config.tasks)
    store = Store.create(config.out)
    store.refuse_others_than(config.options.made_with)
    names: dict[str, Path] = {}
    converted, there_before, failed = list[str](), list[str](), list(found.strays)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            for recording in progress.track(found.recordings, description="episodes"):
                try:
                    name = _claim_name(recording, names)
                    if name in store:
                        there_before.append(name)
                        continue
                    store.write(read_recording(recording, config.options), name, config.options.made_with)
                    converted.append(name)
                except DataError as error:
                    failed.append(f"{recording.folder}: {error}")
    finally:
        store.finish()
    return ConvertReport(tuple(converted), tuple(there_before), tuple(failed))


def _claim_name(recording: Recording, names: dict[str, Path]) -> str:
    """The name of a recording in the store; raises DataError if another one has taken it in this run."""
    name = episode_name(recording.task, variation_of(recording), recording.folder.name)
    if name in names:
        raise DataError(f"it would be called '{name}' as {names[name]} is; convert the two into different stores")
    names[name] = recording.folder
    return name


def _parse(arguments: Sequence[str] | None) -> ConvertConfig:
    parser = Parser(prog="python -m data.convert", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("raw", type=Path, help="folder of tasks, of one task, or of episodes, as RLBench writes them")
    parser.add_argument("out", type=Path, help="folder of the store; continued if it is there")
    parser.add_argument("--tasks", help="names, separated by commas; all if not given")
    parser.add_argument("--cameras", help=f"some of {','.join(CAMERAS)}; all that were recorded if not given")
    parser.add_argument("--keyframes", choices=sorted(KEYFRAME_RULES), default="published", help="rule to find them by")
    parser.add_argument("--segmentation", action="store_true", help="keep the masks, too, where there are any")
    given = parser.parse_args(arguments)
    cameras = None if given.cameras is None else tuple(str(given.cameras).split(","))
    unknown = [name for name in cameras or () if name not in CAMERAS]
    if unknown:
        raise ConfigError(f"--cameras: RLBench has no camera {unknown}; it has {', '.join(CAMERAS)}")
    return ConvertConfig(
        raw=cast("Path", given.raw),
        out=cast("Path", given.out),
        tasks=None if given.tasks is None else tuple(str(given.tasks).split(",")),
        options=ReadOptions(
            cameras=cameras,
            keyframes=str(given.keyframes),
            segmentation=bool(given.segmentation),
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 1 some episodes failed, 2 wrong use, 130 interrupted."""

    def command(console: Console) -> int:
        config = _parse(arguments)
        report = convert(config, console)
        for reason in report.failed:
            console.print(f"failed: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
        console.print(
            f"{len(report.converted)} episodes converted, {len(report.there_before)} were there before, "
            f"{len(report.failed)} failed; the store is {config.out}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return int(bool(report.failed))

    return run(command, "interrupted; what is in the store is whole: run the same command again to go on")


if __name__ == "__main__":
    sys.exit(main())
