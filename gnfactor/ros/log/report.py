"""What happened in a recorded run, in numbers and words, and what another policy would have done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from gnfactor.errors import DataError
from gnfactor.files import write_file
from gnfactor.ros.log.header import RunHeader
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.log.shadow import Difference, Resolution
from gnfactor.ros.log.turns import Turn

SCHEMA = 2
"""Version of the report's JSON form."""


@dataclass(frozen=True)
class StepRecord:
    """One action, and what came of it."""

    step: int
    """From 1 on, as the operator was told it."""
    time_s: float
    """Since the first observation."""
    refused: str | None
    """Why nothing was moved: the guard's reason first, else the outcome's."""
    blocked: str | None
    answers: tuple[str, ...]
    """The operator's, in order."""
    ended: str | None
    finished: bool
    """Whether its outcome was noted; False: the run broke off before."""


@dataclass(frozen=True)
class RunSummary:
    """A whole run."""

    instruction: str
    duration_s: float
    """From the first event to the last."""
    steps: tuple[StepRecord, ...]
    failures: tuple[str, ...]


def step_record(turn: Turn, time_s: float) -> StepRecord:
    """The action of a turn, at this time since the first observation."""
    verdict, outcome = turn.verdict, turn.outcome
    refused = (verdict and verdict.reason) or (outcome and outcome.refused)
    return StepRecord(
        step=turn.number,
        time_s=time_s,
        refused=refused or None,
        blocked=outcome.blocked if outcome is not None else None,
        answers=tuple(asked.answer for asked in turn.answers),
        ended=outcome.ended if outcome is not None else None,
        finished=outcome is not None,
    )


class Tally:
    """Counts a run's turns as they come."""

    def __init__(self) -> None:
        self._steps: list[StepRecord] = []
        self._failures: list[str] = []
        self._instruction = ""
        self._times_s: list[float] = []
        self._began_s: float | None = None

    def add(self, turn: Turn) -> None:
        """The next turn."""
        self._times_s += [turn.start.time_s, *(noted.time_s for noted in turn.events[-1:])]
        self._instruction = turn.instruction or self._instruction
        self._failures += [failure.complaint for failure in turn.failures]
        if turn.observation is None:
            return
        self._began_s = turn.start.time_s if self._began_s is None else self._began_s
        if turn.action is not None:
            self._steps.append(step_record(turn, turn.start.time_s - self._began_s))

    def summary(self) -> RunSummary:
        """Of all that was added."""
        duration_s = max(self._times_s) - min(self._times_s) if self._times_s else 0.0
        return RunSummary(self._instruction, duration_s, tuple(self._steps), tuple(self._failures))


@dataclass(frozen=True)
class ShadowRun:
    """Another policy beside the recorded run."""

    checkpoint: str
    weights_sha256: str
    resolution: Resolution
    differences: tuple[Difference, ...]

    @property
    def first_other(self) -> Difference | None:
        """Where it would first have acted differently; from then on the recording shows what it would not have seen."""
        return next((one for one in self.differences if one.other), None)


def report_tree(recording: Recording, summary: RunSummary, shadow: ShadowRun | None) -> dict[str, Any]:
    """As plain values, for JSON."""
    head = recording.header
    tree = {
        "schema": SCHEMA,
        "log": str(recording.path),
        "whole": recording.whole,
        "run": _head_tree(head),
        "duration_s": summary.duration_s,
        "actions": len(summary.steps),
        "refused": sum(step.refused is not None for step in summary.steps),
        "blocked": sum(step.blocked is not None for step in summary.steps),
        "steps": [asdict(step) for step in summary.steps],
        "failures": list(summary.failures),
    }
    if shadow is not None:
        first = shadow.first_other
        tree["shadow"] = {
            "checkpoint": shadow.checkpoint,
            "weights_sha256": shadow.weights_sha256,
            "voxel_m": shadow.resolution.voxel_m,
            "rotation_bin_deg": shadow.resolution.rotation_bin_deg,
            "identical": all(one.identical for one in shadow.differences),
            "first_other_step": None if first is None else first.step,
            "steps": [_finite(asdict(one)) for one in shadow.differences],
        }
    return tree


def report_text(recording: Recording, summary: RunSummary, shadow: ShadowRun | None) -> str:
    """As Markdown."""
    head, steps = recording.header, summary.steps
    refused = sum(step.refused is not None for step in steps)
    blocked = sum(step.blocked is not None for step in steps)
    acted = head.checkpoint or "no trained policy"
    how = f"{head.config.arm.name}, {head.config.executor.name}, confirm {head.confirm}"
    lines = [
        f"# {summary.instruction or head.instruction}",
        "",
        f"- log: `{recording.path}`{'' if recording.whole else ', whose end is missing: it was not closed'}",
        f"- run: {head.started}, {how}{', dry run' if head.dry_run else ''}",
        f"- policy: {acted}" + (f", weights {head.weights_sha256[:12]}" if head.weights_sha256 else ""),
        f"- calibration: {head.calibration or 'not checked'}",
        f"- {len(steps)} actions in {summary.duration_s:.1f} s, {refused} refused, {blocked} stopped on the way",
        *(f"- FAILURE: {_line(failure)}" for failure in summary.failures),
        "",
        "| action | at | what came of it | operator |",
        "|---|---|---|---|",
        *(
            f"| {step.step} | {step.time_s:.1f} s | {_cell(words_of(step))} | {_cell(', '.join(step.answers))} |"
            for step in steps
        ),
    ]
    return "\n".join([*lines, *([] if shadow is None else _shadow_lines(shadow)), ""])


def words_of(step: StepRecord) -> str:
    """What came of an action."""
    if step.ended is not None:
        refused = "" if step.refused is None else f"refused: {step.refused}; "
        return refused + _ending(step)
    if step.refused is not None:
        return f"refused: {step.refused}"
    if step.blocked is not None:
        return f"stopped: {step.blocked}"
    return "arrived" if step.finished else "not known: the run broke off"


def _ending(step: StepRecord) -> str:
    """How an action that is the last ended the run: without an answer it was not the operator."""
    if step.answers:
        return f"the operator ended the run: {step.ended}"
    return "the policy was done" if step.ended == "done" else "the run was stopped, with nobody to be asked"


def write_report(folder: Path, recording: Recording, summary: RunSummary, shadow: ShadowRun | None) -> None:
    """Write `report.md` and `report.json`; the folder is made.

    Raises:
        DataError: they cannot be written there.
    """
    tree = report_tree(recording, summary, shadow)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "report.json", json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
        write_file(folder / "report.md", report_text(recording, summary, shadow))
    except OSError as error:
        raise DataError(f"cannot write the report to {folder}: {error.strerror}; name another folder: --out") from error


def _shadow_lines(shadow: ShadowRun) -> list[str]:
    first, least = shadow.first_other, shadow.resolution
    if all(one.identical for one in shadow.differences):
        found = "every action is identical to the recorded one, to the last bit"
    elif first is None:
        found = "no other decision: all differences are below its resolution"
    else:
        found = f"the first other decision is at action {first.step}"
    meaning = (
        f"Another decision is one that is more than a voxel ({least.voxel_m * 1000:.1f} mm) or a rotation bin "
        f"({least.rotation_bin_deg:.1f} degrees) away, or another word on gripper or contact. After the first the "
        "recording shows what this policy would not have seen."
    )
    return [
        "",
        f"## Beside it: {shadow.checkpoint}",
        "",
        f"Weights {shadow.weights_sha256[:12]}; {found}. {meaning}",
        "",
        "| action | apart | turned | gripper | contact | guard, then | guard, of this |",
        "|---|---|---|---|---|---|---|",
        *(_shadow_row(one) for one in shadow.differences),
    ]


def _shadow_row(one: Difference) -> str:
    mark = " **other**" if one.other else ""
    return (
        f"| {one.step}{mark} | {one.distance_m * 1000:.1f} mm | {one.turn_deg:.1f} deg | {_alike(one.gripper)} | "
        f"{_alike(one.collisions)} | {_cell(one.recorded_verdict or 'ok')} | {_cell(one.verdict or 'ok')} |"
    )


def _alike(differs: bool) -> str:
    return "other" if differs else "same"


def _head_tree(head: RunHeader) -> dict[str, Any]:
    names = ("instruction", "started", "confirm", "dry_run", "checkpoint", "weights_sha256", "seed", "calibration")
    robot = {"arm": head.config.arm.name, "executor": head.config.executor.name}
    return {name: getattr(head, name) for name in names} | robot | {"versions": dict(head.versions)}


def _finite(tree: dict[str, Any]) -> dict[str, Any]:
    """JSON has no nan."""
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in tree.items()}


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())
