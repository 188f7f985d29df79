"""Two evaluations of the same scenes, scene by scene: what differs, and whether chance alone would do that.

A scene in which both policies succeed or both fail says nothing about which is better; the exact test of McNemar (1947)
counts the others. The interval of the difference is Newcombe's for paired rates (1998, method 10), made of the Wilson
intervals of the two rates and the correlation between them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gnfactor.errors import DataError
from gnfactor.evaluation.publish import JSON_NAME
from gnfactor.evaluation.report import SCHEMA, Interval, wilson

MCNEMAR = "exact two-sided McNemar test on the scenes in which one policy succeeds and the other fails"
NEWCOMBE = "95% interval of the difference of paired rates (Newcombe 1998, method 10)"

Scene = tuple[str, int, str]
"""Task, variation, and its seed or the recording that it comes from."""

_WITHOUT_EFFECT = ("processes", "seeds_are_unseen", "demonstrations")
"""Keys of a protocol on which no result depends."""
_NONE = "none"


@dataclass(frozen=True)
class Outcomes:
    """What a report says that a comparison needs."""

    path: str
    title: str
    """What was evaluated, for people."""
    protocol: Mapping[str, Any]
    successes: Mapping[Scene, bool]
    crashes: int
    """Episodes that crashed; they count as failures."""


@dataclass(frozen=True)
class Paired:
    """How two policies, A and B, did in the same scenes."""

    both: int
    """Scenes in which both succeeded."""
    only_a: int
    only_b: int
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_a, self.only_b, self.neither) < 0 or self.scenes == 0:
            raise ValueError(f"{self} is no count of scenes")

    @property
    def scenes(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def rate_a(self) -> float:
        return (self.both + self.only_a) / self.scenes

    @property
    def rate_b(self) -> float:
        return (self.both + self.only_b) / self.scenes

    @property
    def difference(self) -> float:
        """How much more often B succeeds than A, -1 to 1."""
        return (self.only_b - self.only_a) / self.scenes


@dataclass(frozen=True)
class Verdict:
    """A count of pairs with its statistics."""

    name: str
    """The task, or "all"."""
    counts: Paired
    rate_a: float
    rate_b: float
    difference: float
    """B - A."""
    interval: Interval
    """Of the difference, by `NEWCOMBE`."""
    p_value: float
    """By `MCNEMAR`."""


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side."""

    a: Outcomes
    b: Outcomes
    tasks: tuple[Verdict, ...]
    overall: Verdict
    """Over all scenes together."""


def compare(a: Outcomes, b: Outcomes) -> Comparison:
    """Pair the episodes of two evaluations by scene.

    Raises:
        DataError: the protocols or the scenes differ; says in what.
    """
    _refuse_other_protocols(a, b)
    _refuse_other_scenes(a, b)
    by_task: dict[str, list[Scene]] = {}
    for scene in a.successes:
        by_task.setdefault(scene[0], []).append(scene)
    tasks = tuple(_verdict(task, _count(a, b, scenes)) for task, scenes in by_task.items())
    return Comparison(a, b, tasks, _verdict("all", _count(a, b, list(a.successes))))


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Probability of a split at least as uneven as this one, if either policy were as likely to be the only one to
    succeed (McNemar 1947, exact: two-sided binomial test with 1/2); 1 where there is nothing to split.
    """
    discordant = only_a + only_b
    tail = sum(math.comb(discordant, count) for count in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**discordant)


def paired_interval(counts: Paired) -> Interval:
    """95% interval of `counts.difference` (Newcombe 1998, method 10); sound for few scenes and rates of 0 and 1."""
    n = counts.scenes
    wilson_a, wilson_b = (wilson(round(rate * n), n) for rate in (counts.rate_a, counts.rate_b))
    below_a, above_a = counts.rate_a - wilson_a.lower, wilson_a.upper - counts.rate_a
    below_b, above_b = counts.rate_b - wilson_b.lower, wilson_b.upper - counts.rate_b
    phi = _correlation(counts)
    down = math.sqrt(max(below_b**2 - 2 * phi * below_b * above_a + above_a**2, 0.0))
    up = math.sqrt(max(above_b**2 - 2 * phi * above_b * below_a + below_a**2, 0.0))
    return Interval(counts.difference - down, counts.difference + up)


def read_outcomes(path: Path) -> Outcomes:
    """A report.json, or the one in a folder.

    Raises:
        DataError: there is none, or it is no report of this schema.
    """
    file = path / JSON_NAME if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        if report["schema"] != SCHEMA:
            raise DataError(f"{file} has the schema {report['schema']}, {SCHEMA} is expected; evaluate again")
        episodes = cast("list[dict[str, Any]]", report["episodes"])
        scenes = [(str(one["task"]), int(one["variation"]), _origin(one)) for one in episodes]
        outcomes = Outcomes(
            path=str(file),
            title=_title(report["subject"]),
            protocol=dict(report["protocol"]),
            successes=dict(zip(scenes, (_truth(one["success"]) for one in episodes), strict=True)),
            crashes=sum(one["ending"] == "crashed" for one in episodes),
        )
    except OSError as error:
        raise DataError(f"cannot read {file}: {error}; name a {JSON_NAME} that eval.py has written") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{file} is no report of an evaluation ({type(error).__name__}: {error}); name a {JSON_NAME} that eval.py "
            "has written"
        ) from error
    if not scenes or len(outcomes.successes) < len(scenes):
        raise DataError(f"{file} has no episodes, or a scene twice; name a {JSON_NAME} that eval.py has written")
    return outcomes


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"success is {value!r} where true or false is expected")
    return value


def _origin(episode: Mapping[str, Any]) -> str:
    recording = episode.get("demonstration")
    return f"seed {int(episode['seed'])}" if recording is None else f"of the recording {recording}"


def _title(subject: Mapping[str, Any] | None) -> str:
    return "no checkpoint" if subject is None else f"{subject['checkpoint']} (step {subject['step']})"


def _count(a: Outcomes, b: Outcomes, scenes: list[Scene]) -> Paired:
    pairs = [(a.successes[scene], b.successes[scene]) for scene in scenes]
    return Paired(*(pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))


def _verdict(name: str, counts: Paired) -> Verdict:
    return Verdict(
        name=name,
        counts=counts,
        rate_a=counts.rate_a,
        rate_b=counts.rate_b,
        difference=counts.difference,
        interval=paired_interval(counts),
        p_value=mcnemar_p_value(counts.only_a, counts.only_b),
    )


def _correlation(counts: Paired) -> float:
    """Between the two policies' successes (phi), drawn towards 0 where it is positive, as the method has it."""
    a, b, c, d = counts.both, counts.only_a, counts.only_b, counts.neither
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    excess = a * d - b * c
    return (max(excess - counts.scenes / 2, 0) if excess > 0 else excess) / math.sqrt(product)


def _refuse_other_protocols(a: Outcomes, b: Outcomes) -> None:
    keys = [key for key in dict.fromkeys((*a.protocol, *b.protocol)) if key not in _WITHOUT_EFFECT]
    said = {key: (_said(a.protocol, key), _said(b.protocol, key)) for key in keys}
    differing = [f"{key}: {in_a} in A, {in_b} in B" for key, (in_a, in_b) in said.items() if in_a != in_b]
    if differing:
        raise DataError(
            f"{a.path} (A) and {b.path} (B) were evaluated by different protocols, so that they cannot be compared: "
            f"{'; '.join(differing)}. Evaluate one of them again as the other was"
        )


def _said(protocol: Mapping[str, Any], key: str) -> str:
    """What a protocol says; a report of an earlier version may say nothing, which counts as none."""
    value = protocol.get(key)
    return _NONE if value is None else json.dumps(value)


def _refuse_other_scenes(a: Outcomes, b: Outcomes) -> None:
    alone = {"A": a.successes.keys() - b.successes.keys(), "B": b.successes.keys() - a.successes.keys()}
    if any(alone.values()):
        counts = ", ".join(f"{len(scenes)} only in {name}" for name, scenes in alone.items() if scenes)
        task, variation, origin = min(alone["A"] | alone["B"])
        raise DataError(
            f"{a.path} (A) and {b.path} (B) were not evaluated in the same scenes: {counts}, such as {task} variation "
            f"{variation} {origin}. Evaluate one of them again with the tasks and the seed of the other"
        )
