"""Two evaluations side by side: the statistics of pairs, what is refused, and the command."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.compare import main
from gnfactor.errors import DataError
from gnfactor.evaluation.comparison import Paired, compare, mcnemar_p_value, paired_interval, read_outcomes

counts = st.tuples(*[st.integers(0, 40)] * 4).filter(any).map(lambda four: Paired(*four))


def swapped(pairs: Paired) -> Paired:
    return Paired(pairs.both, pairs.only_b, pairs.only_a, pairs.neither)


@given(pairs=counts)
def test_swapping_the_two_turns_the_difference_round_and_leaves_the_p_value(pairs: Paired) -> None:
    there, back = paired_interval(pairs), paired_interval(swapped(pairs))
    assert there.lower == pytest.approx(-back.upper, abs=1e-12)
    assert there.upper == pytest.approx(-back.lower, abs=1e-12)
    assert mcnemar_p_value(pairs.only_a, pairs.only_b) == mcnemar_p_value(pairs.only_b, pairs.only_a)


@given(pairs=counts)
def test_the_interval_holds_the_difference_and_stays_within_what_is_possible(pairs: Paired) -> None:
    interval = paired_interval(pairs)
    assert -1 - 1e-12 <= interval.lower <= pairs.difference <= interval.upper <= 1 + 1e-12
    assert pairs.difference == pytest.approx(pairs.rate_b - pairs.rate_a)


@given(only_a=st.integers(0, 60), only_b=st.integers(0, 60), agreeing=st.integers(1, 50))
def test_scenes_in_which_both_do_the_same_change_no_p_value(only_a: int, only_b: int, agreeing: int) -> None:
    p_value = mcnemar_p_value(only_a, only_b)
    assert 0 < p_value <= 1
    assert (p_value == 1) == (abs(only_a - only_b) <= 1)
    many = Paired(agreeing, only_a, only_b, agreeing)
    assert mcnemar_p_value(many.only_a, many.only_b) == p_value


@pytest.mark.parametrize("discordant", range(11))
def test_the_p_value_is_the_share_of_coin_tosses_at_least_as_uneven(discordant: int) -> None:
    tosses = [sum(toss) for toss in itertools.product((0, 1), repeat=discordant)]
    for only_a in range(discordant + 1):
        uneven = abs(only_a - discordant / 2)
        share = sum(abs(heads - discordant / 2) >= uneven for heads in tosses) / len(tosses)
        assert mcnemar_p_value(only_a, discordant - only_a) == pytest.approx(share)


def test_p_values_worked_by_hand() -> None:
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(0, 5) == 2 / 32
    assert mcnemar_p_value(1, 9) == 2 * (1 + 10) / 1024


def test_the_interval_of_pairs_that_say_nothing_of_each_other_is_that_of_two_independent_rates() -> None:
    """Rates 0.5 and 0.5 of 100, Wilson 0.4038 to 0.5962: +- sqrt(2) * 0.0962."""
    interval = paired_interval(Paired(25, 25, 25, 25))
    assert interval.upper == pytest.approx(math.sqrt(2) * 0.0962, abs=1e-4)
    assert interval.lower == pytest.approx(-interval.upper)


@pytest.mark.parametrize(
    ("pairs", "lower", "upper"),
    [
        (Paired(0, 0, 0, 54), -0.0664, 0.0664),  # both rates 0 to 3.8415 / 57.8415
        (Paired(53, 0, 1, 0), -0.0496, 0.0977),  # 1/54 - sqrt(0.0664^2 + 0.0152^2), 1/54 + 0.0792
        (Paired(0, 0, 30, 0), 0.8395, 1.0),  # 1 - sqrt(2) * 3.8415 / 33.8415
    ],
)
def test_intervals_worked_by_hand(pairs: Paired, lower: float, upper: float) -> None:
    interval = paired_interval(pairs)
    assert (interval.lower, interval.upper) == (pytest.approx(lower, abs=1e-4), pytest.approx(upper, abs=1e-4))


@pytest.mark.parametrize("chances", [(0.4, 0.1, 0.2, 0.3), (0.25, 0.25, 0.25, 0.25), (0.1, 0.45, 0.4, 0.05)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(chances: tuple[float, ...]) -> None:
    """Summed over all outcomes of 12 scenes."""
    n, truth, covered = 12, chances[2] - chances[1], 0.0
    for both, only_a, only_b in itertools.product(range(n + 1), repeat=3):
        if both + only_a + only_b <= n:
            four = (both, only_a, only_b, n - both - only_a - only_b)
            interval = paired_interval(Paired(*four))
            ways = math.factorial(n) / math.prod(math.factorial(count) for count in four)
            chance = ways * math.prod(p**count for p, count in zip(chances, four, strict=True))
            covered += chance * (interval.lower <= truth <= interval.upper)
    assert 0.92 < covered < 0.99


@given(agreeing=st.integers(20, 200), only_b=st.integers(1, 10))
def test_pairs_that_agree_tell_more_than_as_many_independent_episodes(agreeing: int, only_b: int) -> None:
    agreed = paired_interval(Paired(agreeing, 0, only_b, agreeing))
    shuffled = paired_interval(Paired(agreeing // 2, agreeing // 2, agreeing // 2 + only_b, agreeing // 2))
    assert agreed.upper - agreed.lower < shuffled.upper - shuffled.lower


def write_report(path: Path, successes: dict[tuple[str, int], bool], **protocol: Any) -> str:
    """A report of scenes (task, seed)."""
    episodes = [
        {"task": task, "variation": 1, "seed": seed, "success": done, "ending": "success" if done else "max_steps"}
        for (task, seed), done in successes.items()
    ]
    report = {
        "schema": 1,
        "subject": {"checkpoint": f"runs/{path.stem}", "step": 7},
        "protocol": {"env": "tabletop", "max_steps": 25, "cameras": ["front"], "processes": 2, **protocol},
        "episodes": episodes,
    }
    path.write_text(json.dumps(report))
    return str(path)


A = {("lift", 1): True, ("lift", 2): False, ("lift", 3): False, ("tap", 1): True, ("tap", 2): False}
B = {("tap", 2): True, ("tap", 1): True, ("lift", 3): False, ("lift", 2): True, ("lift", 1): False}


def test_episodes_are_paired_by_scene_not_by_place(tmp_path: Path) -> None:
    paths = write_report(tmp_path / "a.json", A), write_report(tmp_path / "b.json", B, processes=5)
    found = compare(*(read_outcomes(Path(path)) for path in paths))
    assert {verdict.name: verdict.counts for verdict in found.tasks} == {
        "lift": Paired(both=0, only_a=1, only_b=1, neither=1),
        "tap": Paired(both=1, only_a=0, only_b=1, neither=0),
    }
    assert found.overall.counts == Paired(both=1, only_a=1, only_b=2, neither=1)
    assert found.overall.difference == pytest.approx(0.2)


def test_the_command_prints_and_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").mkdir()
    a, _ = write_report(tmp_path / "a.json", A), write_report(tmp_path / "b" / "report.json", B)
    out = tmp_path / "found.json"
    assert main([a, str(tmp_path / "b"), f"out={out}"]) == 0
    said = capsys.readouterr().out
    for part in ("lift", "tap", "all", "+20.0%", "McNemar", "Newcombe", "runs/a (step 7)"):
        assert part in said
    written = json.loads(out.read_text())
    assert written["overall"]["counts"] == {"both": 1, "only_a": 1, "only_b": 2, "neither": 1}
    assert written["overall"]["p_value"] == 1
    assert [task["name"] for task in written["tasks"]] == ["lift", "tap"]
    assert written["protocol"]["max_steps"] == 25


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_steps": 8}, "max_steps: 25 in A, 8 in B"),
        ({"cameras": ["front", "wrist"]}, 'cameras: ["front"] in A, ["front", "wrist"] in B'),
        ({"benchmark": {"name": "tabletop3", "digest": "ab"}}, "benchmark: none in A, {"),
        ({"perturb": "lighting"}, 'perturb: none in A, "lighting" in B'),
    ],
)
def test_other_protocols_are_refused_in_one_line_that_says_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    assert main([write_report(tmp_path / "a.json", A), write_report(tmp_path / "b.json", A, **change)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "different protocols" in line
    assert said in line
    assert "processes" not in line


def test_other_scenes_are_refused(tmp_path: Path) -> None:
    fewer = {scene: done for scene, done in A.items() if scene != ("tap", 2)}
    a, b = (read_outcomes(Path(write_report(tmp_path / f"{n}.json", of))) for n, of in enumerate((A, fewer)))
    with pytest.raises(DataError, match="1 only in A, such as tap variation 1 seed 2"):
        compare(a, b)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        ("no json", "is no report"),
        ("[]", "is no report"),
        ('{"schema": 1}', "is no report"),
        ('{"schema": 99}', "schema 99, 1 is expected"),
        ('{"schema": 1, "subject": null, "protocol": {}, "episodes": []}', "has no episodes"),
        (
            (
                '{"schema": 1, "subject": null, "protocol": {}, "episodes": '
                '[{"task": "tap", "variation": 0, "seed": 1, "success": "false", "ending": "max_steps"}]}'
            ),
            "success is 'false' where true or false is expected",
        ),
    ],
)
def test_what_is_no_report_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    assert main([str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "a.json" in line


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "out=FILE" in capsys.readouterr().out
    assert main(["one.json"]) == 2
    assert "two reports are expected" in capsys.readouterr().err


def test_a_count_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no count"):
        Paired(0, 0, 0, 0)
