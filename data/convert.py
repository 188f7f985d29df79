"""Turn RLBench's recorded demonstrations into a store.

    python -m data.convert RAW OUT --tasks open_drawer --cameras front,wrist

RAW is a folder of tasks as RLBench writes them, or a part of it. What is damaged is named and left out, the rest is
converted. Episodes that are in OUT already are not read again, so a killed conversion goes on with the same command.
`--frames used --cameras front` keeps what training from that camera uses: keyframes and every tenth frame.
Where GNFactor's generator left views all around an episode, they are kept, too, as views to learn from; those that
contradict what was recorded are named and left out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.demos import ReadOptions, read_recording
from data.keyframes import KEYFRAME_RULES
from data.multiview import FAULTS, Multiview, MultiviewOptions, has_multiview, read_multiview
from data.recordings import Recording, find_recordings, variation_of
from data.store import Store, episode_name
from data.workers import spread
from gnfactor.command import Parser, run
from gnfactor.demonstration import Demonstration, some_frames
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
    views: MultiviewOptions | None = None
    """How to read the views all around, where there are any; None leaves them out."""
    workers: int = 1
    """Processes that convert at the same time."""

    @property
    def made_with(self) -> dict[str, str]:
        """What the demonstrations of one store have to have in common."""
        return {**self.options.made_with, "views to learn from": "none" if self.views is None else str(self.views)}


@dataclass(frozen=True, eq=False)
class ConvertReport:
    """What came of it."""

    converted: tuple[str, ...]
    """Names in the store."""
    there_before: tuple[str, ...]
    failed: tuple[str, ...]
    """Why, for each folder that could not be read."""
    multiview: Mapping[str, Multiview]
    """By name in the store: what came of the views all around, for each converted episode that had some; without the
    pictures."""


@dataclass(frozen=True)
class _Job:
    recording: Recording
    name: str
    """In the store."""


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What came of a recording."""

    multiview: Multiview | None = None
    """Without the pictures."""
    failure: str | None = None
    """Why it could not be converted."""


def convert(config: ConvertConfig, console: Console) -> ConvertReport:
    """Convert what can be converted; an interruption leaves a store that can be continued.

    Raises:
        DataError: nothing is recorded in RAW, OUT cannot be made or was made with other settings, or a worker died.
    """
    found = find_recordings(config.raw, config.tasks)
    store = Store.create(config.out)
    store.refuse_others_than(config.made_with)
    names: dict[str, Path] = {}
    jobs, there_before = list[_Job](), list[str]()
    outcomes: dict[Path, _Outcome] = {}
    for recording in found.recordings:
        try:
            name = _claim_name(recording, names)
        except DataError as error:
            outcomes[recording.folder] = _Outcome(failure=str(error))
            continue
        if name in store:
            there_before.append(name)
        else:
            jobs.append(_Job(recording, name))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("episodes", total=len(jobs))
            for job, outcome in spread(partial(_convert_recording, store, config), jobs, config.workers):
                outcomes[job.recording.folder] = outcome
                progress.advance(bar)
    finally:
        store.finish()
    done = [(job.name, outcomes[job.recording.folder]) for job in jobs]
    failures = [(one.folder, outcomes[one.folder].failure) for one in found.recordings if one.folder in outcomes]
    return ConvertReport(
        converted=tuple(name for name, outcome in done if outcome.failure is None),
        there_before=tuple(there_before),
        failed=(*found.strays, *(f"{folder}: {why}" for folder, why in failures if why is not None)),
        multiview={name: outcome.multiview for name, outcome in done if outcome.multiview is not None},
    )


def _convert_recording(store: Store, config: ConvertConfig, job: _Job) -> _Outcome:
    """Put one recording into the store."""
    try:
        demonstration, around = _read(job.recording, config)
        store.write(demonstration, job.name, config.made_with)
    except DataError as error:
        return _Outcome(failure=str(error))
    return _Outcome(around and replace(around, views={frame: {} for frame in around.views}))


def _read(recording: Recording, config: ConvertConfig) -> tuple[Demonstration, Multiview | None]:
    """A recording as configured, and what came of its views all around, if it has some."""
    if config.views is None or not has_multiview(recording.folder):
        return read_recording(recording, config.options), None
    whole = read_recording(recording, replace(config.options, frames="all"))  # which the views are compared with
    around = read_multiview(recording.folder, whole, config.views)
    if around is not None:
        whole = replace(whole, target_views=around.views)
    return some_frames(whole, config.options.kept(len(whole.observations), whole.keyframes)), around


def _claim_name(recording: Recording, names: dict[str, Path]) -> str:
    """The name of a recording in the store; raises DataError if another one has taken it in this run."""
    name = episode_name(recording.task, variation_of(recording), recording.folder.name)
    if name in names:
        raise DataError(f"it would be called '{name}' as {names[name]} is; convert the two into different stores")
    names[name] = recording.folder
    return name


def _parser() -> Parser:
    parser = Parser(prog="python -m data.convert", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("raw", type=Path, help="folder of tasks, of one task, or of episodes, as RLBench writes them")
    parser.add_argument("out", type=Path, help="folder of the store; continued if it is there")
    parser.add_argument("--tasks", help="names, separated by commas; all if not given")
    parser.add_argument("--cameras", help=f"some of {','.join(CAMERAS)}; all that were recorded if not given")
    parser.add_argument("--keyframes", choices=sorted(KEYFRAME_RULES), default="published", help="rule to find them by")
    parser.add_argument(
        "--frames",
        choices=("all", "used"),
        default="all",
        help="used: keyframes and those that training starts from, some seven times fewer",
    )
    parser.add_argument(
        "--start-every",
        type=int,
        default=ReadOptions().start_every,
        help="with --frames used: data.start_every of the training, or a divisor of it",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that convert at the same time")
    parser.add_argument("--segmentation", action="store_true", help="keep the masks, too, where there are any")
    views = MultiviewOptions()
    parser.add_argument(
        "--views",
        choices=("published", "none"),
        default="published",
        help="views to learn from: those that GNFactor's generator left all around, where there are any; or none",
    )
    parser.add_argument(
        "--views-every", type=int, default=views.every, help="keep those of every so many frames, and of keyframes"
    )
    parser.add_argument(
        "--views-near", type=float, default=views.near_m, help="plane (m) from which their depth is packed (assumed)"
    )
    parser.add_argument(
        "--views-far", type=float, default=views.far_m, help="plane (m) up to which their depth is packed (assumed)"
    )
    parser.add_argument(
        "--views-mismatch",
        type=float,
        default=views.mismatch,
        help="share of the points on the table in which they may contradict the recorded depth",
    )
    return parser


def _parse(arguments: Sequence[str] | None) -> ConvertConfig:
    given = _parser().parse_args(arguments)
    cameras = None if given.cameras is None else tuple(str(given.cameras).split(","))
    unknown = [name for name in cameras or () if name not in CAMERAS]
    if unknown:
        raise ConfigError(f"--cameras: RLBench has no camera {unknown}; it has {', '.join(CAMERAS)}")
    if given.workers < 1:
        raise ConfigError(f"--workers is {given.workers}; at least 1 is expected")
    return ConvertConfig(
        raw=cast("Path", given.raw),
        out=cast("Path", given.out),
        tasks=None if given.tasks is None else tuple(str(given.tasks).split(",")),
        options=ReadOptions(
            cameras=cameras,
            keyframes=str(given.keyframes),
            segmentation=bool(given.segmentation),
            frames=given.frames,
            start_every=int(given.start_every),
        ),
        views=None
        if given.views == "none"
        else MultiviewOptions(
            every=int(given.views_every),
            near_m=float(given.views_near),
            far_m=float(given.views_far),
            mismatch=float(given.views_mismatch),
        ),
        workers=int(given.workers),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 1 some episodes failed, 2 wrong use, 130 interrupted."""

    def command(console: Console) -> int:
        config = _parse(arguments)
        report = convert(config, console)
        for name, around in report.multiview.items():
            if not around.as_expected:
                _say(console, f"{name}: {around}", style="yellow")
        for reason in report.failed:
            _say(console, f"failed: {reason}", style="red")
        if config.views is not None and report.multiview:
            _say(console, _summary(list(report.multiview.values()), config.views))
        _say(
            console,
            f"{len(report.converted)} episodes converted, {len(report.there_before)} were there before, "
            f"{len(report.failed)} failed; the store is {config.out}",
        )
        return int(bool(report.failed))

    return run(command, "interrupted; what is in the store is whole: run the same command again to go on")


def _summary(multiview: Sequence[Multiview], options: MultiviewOptions) -> str:
    """What came of all views around, in one paragraph."""
    kept = sum(len(around.views) for around in multiview)
    faults = Counter(left_out.fault for around in multiview for left_out in around.left_out.values())
    whole = sum(bool(around.views) for around in multiview)
    return (
        f"views to learn from: {whole} of {len(multiview)} episodes with such folders have them, at {kept} of "
        f"{kept + faults.total()} frames; left out: {', '.join(f'{faults[fault]} {fault}' for fault in FAULTS)}. Their "
        f"depth was taken as packed into 24 bits between {options.near_m:g} m and {options.far_m:g} m, which is an "
        "assumption (--views-near, --views-far); the colours do not depend on it"
    )


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
