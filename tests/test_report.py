"""Rates, intervals and what a report says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from gnfactor.errors import DataError
from gnfactor.evaluation.curves import _by_task, plot_training, read_curves
from gnfactor.evaluation.publish import markdown, print_report, write_report
from gnfactor.evaluation.report import (
    SCHEMA,
    EpisodeRecord,
    Explained,
    Protocol,
    Report,
    Subject,
    Video,
    score,
    this_machine,
    void_controls,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "episodes", "lower", "upper"),
    [
        (8, 10, 0.4902, 0.9433),  # (0.8 + 0.19207 -+ 1.96 sqrt(0.016 + 0.0096037)) / 1.38415
        (0, 25, 0.0, 0.1332),  # upper = z^2 / (n + z^2) = 3.8415 / 28.8415
        (25, 25, 0.8668, 1.0),
        (1, 2, 0.0945, 0.9055),  # (0.5 + 0.9604 -+ 1.96 sqrt(0.125 + 0.2401)) / 2.9207
    ],
)
def test_wilson_intervals_agree_with_numbers_worked_by_hand(
    successes: int, episodes: int, lower: float, upper: float
) -> None:
    interval = wilson(successes, episodes)
    assert interval.lower == pytest.approx(lower, abs=1e-4)
    assert interval.upper == pytest.approx(upper, abs=1e-4)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_intervals_hold_the_rate_mirror_failures_and_shrink_with_more_episodes(case: tuple[int, int]) -> None:
    successes, episodes = case
    interval, mirrored = wilson(successes, episodes), wilson(episodes - successes, episodes)
    assert 0 <= interval.lower <= successes / episodes <= interval.upper <= 1
    assert interval.lower == pytest.approx(1 - mirrored.upper, abs=1e-12)
    longer = wilson(2 * successes, 2 * episodes)
    assert longer.upper - longer.lower < interval.upper - interval.lower


@pytest.mark.parametrize(("successes", "episodes"), [(3, 2), (-1, 2), (0, 0)])
def test_no_rate_comes_of_impossible_counts(successes: int, episodes: int) -> None:
    with pytest.raises(ValueError, match="make no rate"):
        wilson(successes, episodes)


def record(task: str, success: bool, ending: str = "max_steps", reason: str | None = None) -> EpisodeRecord:
    return EpisodeRecord(task, 1, 10**9, f"do {task}", success, 4, "success" if success else ending, reason, False)


def records(successes: int, failures: int, task: str) -> tuple[EpisodeRecord, ...]:
    return (record(task, True),) * successes + (record(task, False),) * failures


def test_the_mean_is_over_tasks_and_its_interval_over_all_episodes() -> None:
    found = score(records(3, 1, "b") + records(1, 3, "a"))
    assert [task.task for task in found.tasks] == ["b", "a"]
    assert [task.rate for task in found.tasks] == [0.75, 0.25]
    assert found.mean == 0.5
    assert found.interval == wilson(4, 8)


def report() -> Report:
    episodes = (
        *records(2, 0, "open_drawer"),
        record("open_drawer", False, "refused", "target in collision: a|b"),
        record("open_drawer", False, "crashed", "RuntimeError: jammed"),
        *records(1, 2, "push_buttons"),
        replace(record("push_buttons", False, "crashed", "the process ended"), repeated=True),
    )
    return Report(
        schema=SCHEMA,
        made_at="2026-11-21T00:00:00+00:00",
        wall_s=61.4,
        subject=Subject("runs/demo/checkpoints/step=00001000", 1000, "the last by step", "0123456789ab"),
        protocol=Protocol(
            env="tabletop",
            renderer="ray",
            cameras=("front", "wrist"),
            image_size=(128, 96),
            episodes_per_task=4,
            max_steps=25,
            on_refusal="end",
            seed=3,
            scene_seeds=(10**9, 10**9),
            seeds_are_unseen="they never overlap",
            processes=2,
        ),
        score=score(episodes),
        controls={"empty_scene": score(records(0, 4, "open_drawer") + records(1, 3, "push_buttons"))},
        void_controls=(),
        videos=(Video("open_drawer", True, "videos/open_drawer_success.webm"),),
        machine=this_machine("cpu"),
        episodes=episodes,
        control_episodes={"empty_scene": records(0, 4, "open_drawer") + records(1, 3, "push_buttons")},
    )


def test_a_report_is_written_as_json_that_a_program_can_read(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "deep")
    read = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert read["schema"] == SCHEMA == 1
    assert read["score"]["mean"] == 0.375
    first = read["score"]["tasks"][0]
    assert (first["task"], first["successes"], first["episodes"], first["rate"]) == ("open_drawer", 2, 4, 0.5)
    assert set(first["interval"]) == {"lower", "upper"}
    assert read["controls"]["empty_scene"]["mean"] == 0.125
    assert read["subject"] == {
        "checkpoint": "runs/demo/checkpoints/step=00001000",
        "step": 1000,
        "selected_by": "the last by step",
        "config_hash": "0123456789ab",
        "demonstrations": None,
        "text_encoder": None,
        "wordings": None,
    }
    assert [episode["success"] for episode in read["episodes"]].count(True) == 3
    assert read["episodes"][0].keys() >= {"task", "variation", "seed", "instruction", "ending", "reason", "steps"}
    assert {"system", "processor", "cores", "python", "packages"} <= read["machine"].keys()
    assert not list((tmp_path / "deep").glob(".*"))


def test_the_page_tells_the_result_the_controls_the_protocol_and_the_failures() -> None:
    page = markdown(report(), curves="training.png")
    assert "Mean success **37.5%** (13.7% to 69.4%) over 8 episodes of 2 tasks" in page
    assert "| open_drawer | 2/4 | 50.0% | 15.0% to 85.0% | 4.0 |" in page
    assert "| the picture replaced by an empty scene's | 0.0% | 25.0% | 12.5% | 2.2% to 47.1% |" in page
    assert "Wilson" in page
    for said in (
        "step 1000, chosen by: the last by step",
        "0123456789ab",
        "they never overlap",
        "front, wrist, 128x96 pixels",
        "the published protocol",
        "wall time 61 s",
        "renderer 'ray'",
    ):
        assert said in page
    assert "| open_drawer | 2 | 0 | 1 | 1 |" in page
    assert "1 x open_drawer: RuntimeError: jammed" in page
    assert "1 episodes were repeated once" in page
    assert "(videos/open_drawer_success.webm)" in page
    assert "(training.png)" in page


def test_a_control_whose_episodes_crashed_is_void_everywhere(tmp_path: Path) -> None:
    jammed = (*records(0, 3, "open_drawer"), record("open_drawer", False, "crashed", "KeyError: 'drawer'"))
    controls = {"empty_scene": score(jammed), "other_instruction": score(records(0, 4, "open_drawer"))}
    assert void_controls(controls) == ("empty_scene",)
    broken = replace(
        report(), controls=controls, void_controls=void_controls(controls), control_episodes={"empty_scene": jammed}
    )
    page = markdown(broken)
    assert "| VOID, episodes crashed: the picture replaced by an empty scene's |" in page
    assert "| the instruction replaced by another variation's |" in page
    assert "| control: the picture replaced by an empty scene's | 0 | 3 | 0 | 1 |" in page
    assert "1 x open_drawer, control 'empty_scene': KeyError: 'drawer'" in page
    write_report(broken, tmp_path)
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["void_controls"] == ["empty_scene"]
    assert read["controls"]["empty_scene"]["endings"] == {"success": 0, "max_steps": 3, "refused": 0, "crashed": 1}
    console = Console(record=True, width=120, quiet=False)
    print_report(broken, console)
    said = console.export_text()
    assert "VOID" in said
    assert "control: the picture replaced by an empty scene's: no success in time 3, crash 1" in said
    assert "how episodes ended: success 3, no success in time 2, refused action 1, crash 2" in said


def test_the_page_of_a_policy_without_checkpoint_controls_or_videos_leaves_them_out() -> None:
    page = markdown(replace(report(), subject=None, controls={}, videos=()))
    assert "## Controls" not in page
    assert "## Videos" not in page
    assert "## Training" not in page


def test_the_page_shows_the_decisions_that_were_drawn(tmp_path: Path) -> None:
    drawn = replace(report(), explained=(Explained("open_drawer", "open the top one", "explain/open_drawer.png"),))
    page = markdown(drawn)
    assert "## Decisions" in page
    assert "open_drawer: open the top one\n\n![decision in open_drawer](explain/open_drawer.png)" in page
    assert "## Decisions" not in markdown(report())
    write_report(drawn, tmp_path)
    (entry,) = json.loads((tmp_path / "report.json").read_text())["explained"]
    assert entry == {"task": "open_drawer", "instruction": "open the top one", "path": "explain/open_drawer.png"}


def test_the_table_on_a_terminal_has_a_row_for_each_task_the_mean_and_each_control() -> None:
    console = Console(width=130, record=True)
    print_report(report(), console)
    text = console.export_text()
    for said in ("open_drawer", "push_buttons", "2/4", "50.0%", "mean", "3/8", "37.5%", "control: the picture"):
        assert said in text
    assert "1 episodes were repeated" in text


METRICS = """\
step,loss/total,loss/translation,validation/translation_m,validation/rotation_deg,validation/keyframe0/translation_m
10,4.0,3.0,,,
20,2.0,1.5,0.2,30.0,0.3
30,1.0,0.7,,,
40,0.5,0.3,0.1,10.0,0.1
"""


def test_curves_are_read_by_column_without_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    curves = read_curves(tmp_path / "metrics.csv")
    assert curves["loss/total"] == ([10, 20, 30, 40], [4.0, 2.0, 1.0, 0.5])
    assert curves["validation/translation_m"] == ([20, 40], [0.2, 0.1])


def test_curves_are_drawn_as_a_picture(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    plot_training(tmp_path / "metrics.csv", tmp_path / "deep" / "curves.png")
    with Image.open(tmp_path / "deep" / "curves.png") as picture:
        assert picture.width > 1500  # losses, translation, rotation
        assert len(picture.convert("RGB").getcolors(maxcolors=10**6) or ()) > 100


def test_many_keyframes_are_drawn_as_their_tasks(tmp_path: Path) -> None:
    """Sixty lines with names leave no room for the lines: matplotlib warns, and a warning is an error here."""
    names = [f"validation/task{index % 5}/keyframe{index // 5}/translation_m" for index in range(60)]
    values = ",".join(str(index) for index in range(60))
    (tmp_path / "metrics.csv").write_text(f"step,validation/translation_m,{','.join(names)}\n7,1,{values}\n")
    plot_training(tmp_path / "metrics.csv", tmp_path / "curves.png")
    groups = {
        name.removeprefix("validation/").removesuffix("/translation_m"): ([7], [1.0 * index])
        for index, name in enumerate(names)
    }
    assert _by_task(groups) == {f"task{task}": ([7], [27.5 + task]) for task in range(5)}


def test_a_training_without_validation_has_one_panel(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss/total\n1,0.5\n2,-0.5\n")
    plot_training(tmp_path / "metrics.csv", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width < 700


@pytest.mark.parametrize("content", [None, "", "step,loss/total\n"])
def test_a_file_without_numbers_is_an_error_with_its_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(DataError, match=r"metrics\.csv"):
        read_curves(tmp_path / "metrics.csv")
