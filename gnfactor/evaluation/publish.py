"""A report for people and programs: report.json, report.md, a table on the terminal, and the curves of a training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from gnfactor.envs.base import PERTURBATION_TITLES
from gnfactor.evaluation.controls import CONTROL_TITLES
from gnfactor.evaluation.report import MEAN_INTERVAL, WILSON, EpisodeRecord, Interval, Report, Score, Subject
from gnfactor.files import write_file

JSON_NAME, TEXT_NAME, CURVES_NAME = "report.json", "report.md", "training.png"
VIEWS_NAME = "novel_views.png"
"""Held-out views as they are and as a policy's field renders them; training leaves it in the run folder."""
_HEADINGS = ("task", "successes", "rate", "95% interval", "actions")
_ENDINGS = {
    "success": "success",
    "max_steps": "no success in time",
    "refused": "refused action",
    "crashed": "crash",
}
_REASONS = 8


def write_report(report: Report, folder: Path, curves: str | None = None, views: str | None = None) -> None:
    """Leave report.json and report.md in `folder`, which is made.

    Args:
        report: what was found.
        folder: where to.
        curves: path of a picture of the training, relative to the folder, to show in report.md.
        views: the same of a picture of novel views.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / JSON_NAME, json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")
    write_file(folder / TEXT_NAME, markdown(report, curves, views))


def print_report(report: Report, console: Console) -> None:
    """Show the table of a report on a terminal."""
    benchmark = report.protocol.benchmark
    title = f"{report.protocol.env}: unseen scenes" if benchmark is None else f"benchmark {benchmark.name}"
    table = Table(title=title, title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "task" else "right")
    rows = _rows(report.score)
    for index, row in enumerate(rows):
        table.add_row(*row, end_section=index == len(rows) - 2, style="bold" if index == len(rows) - 1 else None)
    for title, found in _rounds(report)[1:]:
        *_, (_, successes, rate, interval, actions) = _rows(found)
        style = "red" if _void(found) else "dim"
        table.add_row(_void(found) + title, successes, rate, interval, actions, style=style)
    console.print(table)
    for title, found in _rounds(report):
        ended = ", ".join(f"{_ENDINGS[ending]} {count}" for ending, count in found.endings.items() if count)
        console.print(f"{title}: {ended}", style="red" if found.endings["crashed"] else "dim", highlight=False)
    console.print(f"intervals: {WILSON}; of the mean: {MEAN_INTERVAL}", style="dim", highlight=False)
    for line in _conditions(report):
        console.print(line, style="dim", highlight=False, markup=False)
    repeated = sum(episode.repeated for episode in report.episodes)
    if repeated:
        console.print(f"{repeated} episodes were repeated since the environment's process had died", style="yellow")


def markdown(report: Report, curves: str | None = None, views: str | None = None) -> str:
    """The whole report as a page of Markdown."""
    parts = [
        "# Evaluation\n",
        _summary(report),
        "## Success\n",
        _table(_HEADINGS, _rows(report.score)),
        f"Intervals: {WILSON}; of the mean: {MEAN_INTERVAL}.\n",
    ]
    if report.controls:
        parts += ["## Controls\n", _controls(report)]
    if report.perturbations:
        parts += ["## Perturbations\n", _perturbations(report)]
    parts += ["## How it was run\n", _protocol(report), "## How episodes ended\n", _endings(report)]
    if report.videos:
        parts += ["## Videos\n", _list(f"[{v.task}: {_word(v.success)}]({v.path})" for v in report.videos)]
    if report.explained:
        parts += ["## Decisions\n", _decisions(report)]
    if views is not None:
        parts += [
            "## Novel views\n",
            f"![a scene in other views, true and rendered by the field]({views})\n",
        ]
    if curves is not None:
        parts += ["## Training\n", f"![losses and errors during training]({curves})\n"]
    return "\n".join(parts)


def _summary(report: Report) -> str:
    mean, interval = report.score.mean, report.score.interval
    named = report.protocol.benchmark
    text = "" if named is None else f"Benchmark **{named.name}**, manifest `{named.digest}`. "
    text += f"Mean success **{mean:.1%}** ({_interval(interval)}) over {len(report.episodes)} episodes of "
    return text + f"{len(report.score.tasks)} tasks in scenes that the policy has never seen.\n"


def _rows(score: Score) -> list[tuple[str, ...]]:
    """Cells of a row for each task, and of one for all of them."""
    rows = [
        (
            task.task,
            f"{task.successes}/{task.episodes}",
            f"{task.rate:.1%}",
            _interval(task.interval),
            f"{task.mean_steps:.1f}",
        )
        for task in score.tasks
    ]
    successes, episodes = sum(task.successes for task in score.tasks), sum(task.episodes for task in score.tasks)
    actions = sum(task.mean_steps * task.episodes for task in score.tasks) / episodes
    mean = ("mean", f"{successes}/{episodes}", f"{score.mean:.1%}", _interval(score.interval), f"{actions:.1f}")
    return [*rows, mean]


def _controls(report: Report) -> str:
    """What is left of the success when something is withheld, on the same scenes."""
    text = "The same scenes with something withheld from the policy; one that looks and listens fails in them.\n\n"
    text += _beside("withheld", report.score, {CONTROL_TITLES[name]: score for name, score in report.controls.items()})
    if report.void_controls:
        text += "\nIn a void control episodes crashed. They count as failures, so that it shows nothing.\n"
    return text


def _perturbations(report: Report) -> str:
    """What is left of the success when something is changed, on the same scenes."""
    titles = {f"{name}: {PERTURBATION_TITLES[name]}": score for name, score in report.perturbations.items()}
    text = "The same scenes with one thing changed; a policy that generalises succeeds as often in them.\n\n"
    text += _beside("changed", report.score, titles)
    if any(len(found.tasks) < len(report.score.tasks) for found in titles.values()):
        text += (
            "\nA task without a figure cannot be changed so. The mean is that of the others; without the change it is "
        )
        text += "the one in the last column.\n"
    if any(_void(found) for found in report.perturbations.values()):
        text += "\nUnder a void perturbation episodes crashed. They count as failures, so that it shows nothing.\n"
    if "paraphrase" in report.perturbations and report.subject is not None:
        text += _about_paraphrases(report.subject)
    return text


def _about_paraphrases(subject: Subject) -> str:
    text = ""
    if subject.text_encoder == "hashing":
        text += "\nParaphrases measure nothing here: to the text encoder 'hashing' every two words are strangers, so "
        text += "that a word which was never trained tells the policy nothing.\n"
    if subject.wordings == "any":
        text += "\nThe paraphrases are wordings that the training used too (data.instruction=any).\n"
    return text


def _beside(what: str, plain: Score, others: Mapping[str, Score]) -> str:
    """A table of rates under `others`, by title, below the `plain` ones."""
    names = [task.task for task in plain.tasks]
    rows = [(_void(score) + title, *_rates(score, plain)) for title, score in {"none": plain, **others}.items()]
    return _table((what, *names, "mean", "95% interval", "mean without"), rows)


def _void(found: Score) -> str:
    return "VOID, episodes crashed: " if found.endings["crashed"] else ""


def _rounds(report: Report) -> list[tuple[str, Score]]:
    """The episodes that count, and those of each control and perturbation, with a title."""
    controls = [(f"control: {CONTROL_TITLES[name]}", found) for name, found in report.controls.items()]
    perturbations = [(f"perturbation: {name}", found) for name, found in report.perturbations.items()]
    return [("how episodes ended", report.score), *controls, *perturbations]


def _rates(score: Score, plain: Score) -> tuple[str, ...]:
    """Cells of a row: the rate of each task of `plain`, their mean, and what that is in `plain` for the same tasks."""
    rates = {task.task: task.rate for task in score.tasks}
    cells = [f"{rates[task.task]:.1%}" if task.task in rates else "" for task in plain.tasks]
    without = fmean(task.rate for task in plain.tasks if task.task in rates)
    return (*cells, f"{score.mean:.1%}", _interval(score.interval), f"{without:.1%}")


def _protocol(report: Report) -> str:
    protocol, machine, subject = report.protocol, report.machine, report.subject
    lines = [
        *_conditions(report),
        protocol.seeds_are_unseen,
        f"every scene's task, variation and {'seed' if protocol.scene_seeds else 'recording'} stand in {JSON_NAME}",
        f"wall time {report.wall_s:.0f} s with {protocol.processes} environment processes, made {report.made_at}",
        f"machine: {machine.processor}, {machine.cores} cores, policy on {machine.device}; {machine.system}",
        f"Python {machine.python}, " + ", ".join(f"{name} {found}" for name, found in machine.packages.items()),
    ]
    if subject is not None:
        chosen = f"checkpoint `{subject.checkpoint}`, step {subject.step}, chosen by: {subject.selected_by}"
        learned = [] if subject.demonstrations is None else [f"learned from {subject.demonstrations}"]
        lines[:0] = [chosen, f"configuration hash: {subject.config_hash}", *learned]
    return _list(lines)


def _conditions(report: Report) -> list[str]:
    """The protocol, as far as results depend on it."""
    protocol = report.protocol
    width, height = protocol.image_size
    refused = {"end": "ends the episode as a failure (the published protocol)", "continue": "counts as an action"}
    version = "" if protocol.world_version is None else f" in version {protocol.world_version}"
    scenes = f"scenes drawn from the evaluation seed {protocol.seed}"
    if protocol.demonstrations is not None:
        scenes = f"scenes: those of the recordings in {protocol.demonstrations}"
    if protocol.benchmark is not None:
        scenes = f"scenes: those of the benchmark {protocol.benchmark.name}, manifest {protocol.benchmark.digest}"
    return [
        scenes,
        f"environment: {protocol.env}{version}, pictures by the renderer '{protocol.renderer}'",
        f"cameras: {', '.join(protocol.cameras)}, {width}x{height} pixels",
        f"episodes: {protocol.episodes_per_task} per task, at most {protocol.max_steps} actions each",
        f"an action that cannot be carried out {refused[protocol.on_refusal]}",
    ]


def _endings(report: Report) -> str:
    """Counts of how episodes ended, and the commonest reasons of refusals and crashes."""
    counts = Counter((episode.task, episode.ending) for episode in report.episodes)
    tasks = [task.task for task in report.score.tasks]
    rows = [(task, *(str(counts[task, ending]) for ending in _ENDINGS)) for task in tasks]
    rows += [(title, *(str(found.endings[ending]) for ending in _ENDINGS)) for title, found in _rounds(report)[1:]]
    text = _table(("task", *_ENDINGS.values()), rows)
    repeated = [episode for episode in report.episodes if episode.repeated]
    if repeated:
        text += f"\n{len(repeated)} episodes were repeated once since the environment's process had died: "
        text += ", ".join(_name(episode) for episode in repeated) + ".\n"
    reasons = Counter(f"{e.task}: {e.reason}" for e in report.episodes if e.reason and not e.success)
    reasons.update(
        f"{e.task}, {kind} '{name}': {e.reason}"
        for kind, rounds in (("control", report.control_episodes), ("perturbation", report.perturbation_episodes))
        for name, episodes in rounds.items()
        for e in episodes
        if e.ending == "crashed"
    )
    if reasons:
        text += "\nReasons of failures, the commonest first:\n\n"
        text += _list(f"{count} x {reason}" for reason, count in reasons.most_common(_REASONS))
        left = len(reasons) - _REASONS
        text += f"- and {left} others, which stand in {JSON_NAME}\n" if left > 0 else ""
    return text


def _decisions(report: Report) -> str:
    """Pictures of decisions, and how to read them."""
    text = (
        "The first decision in the first scene of each task, in the policy's cameras and over its voxels. Rows: what "
    )
    text += "is seen; each voxel's share in the choice (softmax, by its logarithm), as far as no surface hides it; "
    text += (
        "Grad-CAM: what speaks for the chosen voxel, on the surfaces, by gradients averaged over the volume; HiResCAM: "
    )
    text += "the same by each voxel's own gradient (by its logarithm).\n\n"
    return text + "\n".join(
        f"{e.task}: {e.instruction}\n\n![decision in {e.task}]({e.path})\n" for e in report.explained
    )


def _name(episode: EpisodeRecord) -> str:
    if episode.demonstration is not None:
        return episode.demonstration
    return f"{episode.task} variation {episode.variation} seed {episode.seed}"


def _interval(interval: Interval) -> str:
    return f"{interval.lower:.1%} to {interval.upper:.1%}"


def _word(success: bool) -> str:
    return "success" if success else "failure"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "".join(f"- {' '.join(line.split())}\n" for line in lines)
