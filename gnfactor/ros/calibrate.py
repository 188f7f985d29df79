"""Hold a robot's calibration against what its cameras see of the gripper and the table.

    python -m gnfactor.ros.calibrate --check --config ROBOT.yaml [key=value ...] [--poses N] [--move] [--out FOLDER]
    python -m gnfactor.ros.calibrate --show --config ROBOT.yaml [key=value ...]

The first looks at the arm in several poses, into which a person guides it by hand (Enter at each; nothing is sent to
the robot), or, with --move, into which it moves itself, each time after a question and only where the guard allows it.
What it finds is printed with its limits and written to the folder, with a picture of every camera. Where all of it is
within its limits a record is left, without which no policy is run. The second says whether there is such a record.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from gnfactor.actions import Action, ArmTarget
from gnfactor.command import Parser, run
from gnfactor.errors import ConfigError, RobotError
from gnfactor.files import write_file
from gnfactor.ros.calibration.camera_check import CameraReport, check_camera, hand_in
from gnfactor.ros.calibration.looking import Look, look_when_still, poses_around, repeats
from gnfactor.ros.calibration.picture import draw_check
from gnfactor.ros.calibration.records import COMMAND, arrangement_digest, read_record, record_path, write_record
from gnfactor.ros.commands import is_open
from gnfactor.ros.config import RobotConfig, load
from gnfactor.ros.executors import Executor
from gnfactor.ros.journal import Forgetful
from gnfactor.ros.link import RobotLink
from gnfactor.ros.links.connect import connect
from gnfactor.ros.links.listening_link import ListeningLink
from gnfactor.ros.plan import Answer, Plan
from gnfactor.ros.safety import SafetyGuard
from gnfactor.ros.session.interruption import signals_interrupt
from gnfactor.ros.session.operator import KEYS_OF_A_CHECK, STOP, Ask, Operator, Say, is_in_error, typed
from gnfactor.ros.session.session import leave
from gnfactor.scene import ARM
from gnfactor.video import write_png

FAILED = 1
"""Exit status where something is beyond its limit or was not seen."""


@dataclass(frozen=True)
class Task:
    """What is asked of the command."""

    config: RobotConfig
    check: bool
    """False: only show the record."""
    move: bool
    poses: int
    out: Path


class GivenUp(Exception):  # noqa: N818 (nothing is wrong: somebody does not go on)
    """The person at the terminal has had enough."""


def looks_by_hand(link: RobotLink, config: RobotConfig, poses: int, say: Say, ask: Ask) -> list[Look]:
    """One look at each pose into which the arm is guided.

    Raises:
        GivenUp: the person stopped it.
        RobotError: the robot cannot be reached.
    """
    say(
        "Open the fingers, with nothing between them. In each pose every camera should see the hand, with nothing else "
        "within 5 cm of it and the table at least 10 cm below; turn it and take it to all corners of the workspace."
    )
    looks: list[Look] = []
    while len(looks) < poses:
        key = ask(f"pose {len(looks) + 1} of {poses}: guide the arm there and hold it; Enter: look, {STOP}: give up > ")
        if key.strip().lower() == STOP:
            raise GivenUp
        look = look_when_still(link, config)
        if isinstance(look, str):
            say(f"  {look}")
        elif repeats(look, looks):
            say("  the arm has been here before; guide it at least 4 cm away, or turn it by 10 degrees")
        else:
            looks.append(look)
            say(kept(looks, config))
    return looks


def kept(looks: Sequence[Look], config: RobotConfig) -> str:
    """Said of the newest look: its number, and which of the cameras that have to see the hand see it."""
    asked = [name for name, camera in config.cameras.items() if camera.sees_gripper]
    seen = [name for name in asked if hand_in(name, looks[-1], config) is not None]
    missed = ", ".join(name for name in asked if name not in seen)
    hand = f"; hand seen by {', '.join(seen)}" if seen else "; hand" if missed else ""
    return f"  kept pose {len(looks)}{hand}" + (f"{',' if seen else ''} not seen by {missed}" if missed else "")


def looks_by_moving(link: RobotLink, config: RobotConfig, poses: int, say: Say, operator: Operator) -> list[Look]:
    """One look from where the arm stands, and others from around there, as far as guard and operator allow.

    About a pose that the guard refuses nobody is asked, unless the robot waits to be recovered.

    Raises:
        GivenUp: the operator stopped it.
        ConfigError: the fingers are not open; closing them is part of every motion, and may drop something.
        RobotError: the robot cannot be reached, or the arm does not stand still.
    """
    state = link.state()
    if not is_open(state, config):
        raise ConfigError(f"the fingers are {state.width_m * 1000:.0f} mm apart; open them before the arm moves itself")

    def approve(plan: Plan) -> Answer:
        return operator.approve(plan) if plan.verdict.ok or is_in_error(plan.state) else "refuse"

    executor = Executor(link, SafetyGuard(config), config, approve)
    link.hold()  # the watchdog lets nobody move before
    looks = [_still(link, config)]
    say(kept(looks, config))
    for pose in poses_around(looks[0].world_from_gripper):
        if len(looks) == poses:
            break
        outcome = executor.execute(Action({ARM: ArmTarget(pose, gripper_open=True, ignore_collisions=False)}))
        if outcome.ended is not None:
            raise GivenUp
        if outcome.done:
            looks.append(_still(link, config))
            say(kept(looks, config))
        else:
            say(f"  left out: {outcome.refused or outcome.blocked}")
    return looks


def report_of(reports: Sequence[CameraReport], looks: Sequence[Look], config: RobotConfig, at: datetime) -> str:
    """Everything that was found, as JSON."""
    cameras = {
        report.name: {
            "passed": report.passed,
            "findings": [{**asdict(finding), "passed": finding.passed} for finding in report.findings],
            "advice": report.advice,
            "shift_m": [None if sighting is None else sighting.shift_m.tolist() for sighting in report.sightings],
        }
        for report in reports
    }
    content = {
        "passed": all(report.passed for report in reports),
        "checked_at": at.isoformat(timespec="seconds"),
        "robot": config.arm.name,
        "arrangement": arrangement_digest(config),
        "world_from_gripper": [look.world_from_gripper.tolist() for look in looks],
        "cameras": cameras,
    }
    return json.dumps(content, indent=1)


def check(task: Task, looks: Sequence[Look], console: Console) -> bool:
    """Measure, print, write the report and the pictures, and leave or take back the record.

    Raises:
        ConfigError: the record cannot be written, or a calibration file cannot be read.
        OSError: the report cannot be written.
    """
    config, at = task.config, datetime.now(UTC)
    reports = [check_camera(name, looks, config) for name in config.cameras]
    console.print(_table(reports))
    task.out.mkdir(parents=True, exist_ok=True)
    write_file(task.out / "report.json", report_of(reports, looks, config, at))
    for report in reports:
        if report.advice is not None and not report.passed:
            console.print(f"'{report.name}': {report.advice}", markup=False, soft_wrap=True)
        write_png(task.out / f"{report.name}.png", draw_check(report, looks))
    passed = all(report.passed for report in reports)
    if passed:
        where = f"the record is {write_record(config, looks, at, task.out)}"
    else:
        record_path(config).unlink(missing_ok=True)
        where = "no policy is run on it"
    verdict = "The calibration PASSED" if passed else "The calibration FAILED"
    console.print(f"{verdict}; {where}. Report and pictures: {task.out}", markup=False, soft_wrap=True)
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; status 0: passed, 1: failed or given up, 2: wrong use or no robot, 130: interrupted."""

    def command(console: Console) -> int:
        task = _parse(arguments)
        if not task.check:
            return _show(task.config, console)
        with signals_interrupt():
            try:
                looks = _looks(task, console)
            except GivenUp:
                console.print("given up: nothing was measured, and no record was changed")
                return FAILED
        return 0 if check(task, looks, console) else FAILED

    return run(command, "interrupted: no record was changed", "choose another folder with --out")


def _looks(task: Task, console: Console) -> list[Look]:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    link = connect(task.config)
    link = link if task.move else ListeningLink(link)
    try:
        if not task.move:
            return looks_by_hand(link, task.config, task.poses, say, typed)
        operator = Operator(task.config, task.out, say, typed, Forgetful(), keys=KEYS_OF_A_CHECK)
        return looks_by_moving(link, task.config, task.poses, say, operator)
    finally:
        leave(link, say)


def _still(link: RobotLink, config: RobotConfig) -> Look:
    look = look_when_still(link, config)
    if isinstance(look, str):
        raise RobotError(f"the arm cannot be looked at: {look}")
    return look


def _table(reports: Sequence[CameraReport]) -> Table:
    table = Table("camera", "what", "measured", "limit", "verdict", "", title="calibration")
    for row in chain.from_iterable(_rows(report) for report in reports):
        table.add_row(*row)
    return table


def _rows(report: CameraReport) -> Iterator[tuple[str, ...]]:
    for finding in report.findings:
        measured = "-" if finding.value is None else f"{finding.value:.2f} {finding.unit}"
        verdict = "[green]pass[/green]" if finding.passed else "[red]FAIL[/red]"
        yield report.name, finding.title, measured, f"{finding.limit:.2f} {finding.unit}", verdict, finding.words


def _show(config: RobotConfig, console: Console) -> int:
    record = read_record(config)
    if record is None:
        console.print(f"no check of this arrangement has passed; run `{COMMAND}`", markup=False, soft_wrap=True)
        return FAILED
    cameras = ", ".join(f"{name} ({'fixed' if seen.fixed else 'carried'})" for name, seen in record.cameras.items())
    said = f"'{record.robot}' passed on {record.passed_at} with {cameras}; report: {record.report}"
    console.print(said, markup=False, soft_wrap=True)
    return 0


def _parse(arguments: Sequence[str] | None) -> Task:
    parser = Parser(prog="python -m gnfactor.ros.calibrate", description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="look at the arm in several poses, and judge")
    what.add_argument("--show", action="store_true", help="say whether a check has passed; needs no robot")
    parser.add_argument(
        "--config", action="append", required=True, metavar="ROBOT.yaml", help="the robot and its cell; repeatable"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that differ from the file's")
    parser.add_argument("--poses", type=int, help="in how many to look; calibration.poses if it is not given")
    parser.add_argument("--move", action="store_true", help="the arm moves itself, after a question each time")
    parser.add_argument("--out", type=Path, help="folder of report and pictures; one below log.folder otherwise")
    given = parser.parse_intermixed_args(arguments)
    config = load([*cast("list[str]", given.config), *cast("list[str]", given.settings)])
    poses = cast("int", config.calibration.poses if given.poses is None else given.poses)
    if poses < config.calibration.min_sightings:
        raise ConfigError(
            f"--poses {poses} is less than calibration.min_sightings: every camera must see the gripper in at least "
            f"{config.calibration.min_sightings} poses; give more"
        )
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    out = cast("Path | None", given.out) or Path(config.log.folder) / f"calibration-{stamp}"
    return Task(config, bool(given.check), bool(given.move), poses, out)


if __name__ == "__main__":
    sys.exit(main())
