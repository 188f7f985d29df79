"""Collecting demonstrations: what is drawn, kept, counted, continued, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import collect as collect_module
from data.collect import CollectConfig, attempt_scene, collect_episode, jobs_of, main
from data.demonstrators import Filming
from data.expert_report import Journal, Outcome, summarise
from data.store import Store
from gnfactor.demonstration import Demonstration, ExpertFailure
from gnfactor.envs.base import TRAINING_SEEDS, SeededScene
from gnfactor.envs.benchmark import read_manifest
from gnfactor.envs.tabletop.rig import RigConfig, parse_rig
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.errors import DataError, SceneError
from tests.synthetic import make_demonstration

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL = ["--cameras", "front", "--image-size", "16"]


def names(path: Path) -> set[str]:
    return {info.name for info in Store.open(path).episodes()}


class Clumsy:
    """An expert that fails on the given attempts (counted over its life), and a world without physics."""

    rejected_placements = 2

    def close(self) -> None:
        pass

    def __init__(self, *failing: int, crowded: tuple[int, ...] = ()) -> None:
        self.scenes: list[SeededScene] = []
        self._failing, self._crowded = failing, crowded

    def demonstrate(self, scene: SeededScene) -> Demonstration | ExpertFailure:
        self.scenes.append(scene)
        if len(self.scenes) - 1 in self._crowded:
            raise SceneError("no layout was found in 100 attempts")
        if len(self.scenes) - 1 in self._failing:
            return ExpertFailure("dropped it")
        return make_demonstration(scene.task, scene.seed)


def collect_one(env: Clumsy, out: Path, index: int = 0) -> Outcome:
    (*_, job) = jobs_of(CollectConfig(out, ("push_buttons",), episodes=index + 1, seed=0))
    return collect_episode(job, env, Store.create(out))


@given(seed=st.integers(0, 10**12), index=st.integers(0, 10**6), attempt=st.integers(0, 20))
def test_collecting_never_draws_an_evaluation_scene(seed: int, index: int, attempt: int) -> None:
    scene = attempt_scene("open_drawer", 3, seed, index, attempt)
    assert scene.seed in TRAINING_SEEDS
    assert scene == attempt_scene("open_drawer", 3, seed, index, attempt)
    assert scene != attempt_scene("open_drawer", 3, seed, index, attempt + 1)
    assert scene.seed != attempt_scene("push_buttons", 50, seed, index, attempt).seed


def test_variations_are_drawn_over_all() -> None:
    drawn = Counter(attempt_scene("push_buttons", 50, 0, index, 0).variation for index in range(2000))
    assert set(drawn) == set(range(50))
    assert max(drawn.values()) < 80


def test_a_failed_scene_is_drawn_again_and_counted(tmp_path: Path) -> None:
    env = Clumsy(0, 1)
    outcome = collect_one(env, tmp_path)
    assert env.scenes == [attempt_scene("push_buttons", 50, 0, 0, attempt) for attempt in range(3)]
    assert (outcome.collected, outcome.failures, outcome.rejected_placements) == (True, ("dropped it",) * 2, 6)
    report = summarise([outcome])
    assert (report.attempts, report.successes, report.failures) == (3, 1, {"dropped it": 2})


def test_a_scene_that_cannot_be_made_is_a_failed_attempt(tmp_path: Path) -> None:
    outcome = collect_one(Clumsy(1, crowded=(0,)), tmp_path)
    assert outcome.collected
    assert outcome.failures == ("no layout was found in 100 attempts", "dropped it")


def test_an_expert_that_always_fails_is_given_up(tmp_path: Path) -> None:
    outcome = collect_one(Clumsy(*range(100)), tmp_path)
    assert not outcome.collected
    assert summarise([outcome]).successes == 0
    assert names(tmp_path) == set()


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    collect_one(Clumsy(0), tmp_path)
    again = Clumsy(0)
    outcome = collect_one(again, tmp_path)
    assert outcome.reused
    assert outcome.failures == ("dropped it",)
    assert outcome.keyframes == len(make_demonstration().keyframes)
    report = summarise([outcome])
    assert (report.attempts, report.successes, report.reused) == (2, 1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--cameras", "front,wrist"], "cameras: front there, now front,wrist"),
        (["--image-size", "24"], "pictures: 16x16 there, now 24x24"),
        (["--frames", "all"], "frames: keyframes there, now all"),
        (["--rig", "arc:3"], "rig: none there, now arc:3:-59.7:54.9@60"),
    ],
)
def test_a_store_is_not_continued_with_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], said: str
) -> None:
    config = CollectConfig(tmp_path, ("push_buttons",), 1, 0, Filming(cameras=("front",), image_size=16))
    Store.create(tmp_path).write(small_demonstration(), "push_buttons/variation0/seed1", config.made_with)
    assert main([str(tmp_path), "--tasks", "push_buttons", "--episodes", "1", *SMALL, *change]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert "name a new folder" in line
    assert len(names(tmp_path)) == 1


def test_a_store_of_an_older_world_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CollectConfig(tmp_path, ("push_buttons",), 1, 0, Filming(cameras=("front",), image_size=16))
    Store.create(tmp_path).write(small_demonstration(), "push_buttons/variation0/seed1", config.made_with)
    Store.open(tmp_path).refuse_others_than(config.made_with)
    monkeypatch.setattr("data.demonstrators.WORLD_VERSION", 10**6)
    with pytest.raises(DataError, match="version of the tabletop world"):
        Store.open(tmp_path).refuse_others_than(config.made_with)


def test_a_rig_is_kept_and_only_the_same_one_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [str(tmp_path), "--tasks", "slide_block_to_color_target", "--episodes", "1", *SMALL]
    assert main([*common, "--rig", "arc:2"]) == 0
    (info,) = Store.open(tmp_path).episodes()
    assert [(view.name, view.width, view.segmentation) for view in info.target_views] == [
        ("rig0", 16, True),
        ("rig1", 16, True),
    ]
    assert info.target_frames == (0, *info.keyframes)
    assert {"panda", "table"} < set(info.labels.values())
    assert main([*common, "--rig", "arc:2:-59.7:54.9"]) == 0
    capsys.readouterr()
    for other, now in (("none", "none"), ("arc:2@40", "arc:2:-59.7:54.9@40")):
        assert main([*common, "--rig", other]) == 2
        assert f"rig: arc:2:-59.7:54.9@60 there, now {now}" in capsys.readouterr().err


def test_how_often_the_rig_looks_is_a_setting_where_it_matters() -> None:
    filming = Filming(frames="all", rig=parse_rig("arc"), rig_every=5)
    assert filming.made_with != replace(filming, rig_every=6).made_with
    assert replace(filming, rig=None).made_with == replace(filming, rig=None, rig_every=6).made_with
    keyframes = replace(filming, frames="keyframes")
    assert keyframes.made_with == replace(keyframes, rig_every=6).made_with


def small_demonstration() -> Demonstration:
    demonstration = make_demonstration("push_buttons", 1)
    return replace(demonstration, renderer="mujoco-ray")


def test_the_command_collects_reports_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report_file = tmp_path / "store", tmp_path / "report.json"
    common = [str(out), "--tasks", "slide_block_to_color_target,push_buttons", "--seed", "3", *SMALL]
    assert main([*common, "--episodes", "1"]) == 0
    first = names(out)
    assert main([*common, "--episodes", "2", "--report", str(report_file)]) == 0
    assert first < names(out)
    assert len(names(out)) == 4
    reports: dict[str, dict[str, Any]] = json.loads(report_file.read_text())
    assert set(reports) == {"slide_block_to_color_target", "push_buttons"}
    for report in reports.values():
        assert (report["successes"], report["reused"]) == (2, 1)
        assert report["attempts"] == 2 + sum(report["failures"].values())
    assert reports["slide_block_to_color_target"]["mean_keyframes"] == 2
    assert json.loads((out / "index.json").read_text())["episodes"]
    assert "slide_block_to_color_target" in capsys.readouterr().err
    for info in Store.open(out).episodes():
        demonstration = Store.open(out).read(info.name)
        assert info.cameras == ("front",)
        assert demonstration.observations[0].views["front"].rgb.shape == (16, 16, 3)
        assert demonstration.seed in TRAINING_SEEDS


def test_all_tasks_are_collected_where_none_is_named(tmp_path: Path) -> None:
    config, _ = collect_module._parse([str(tmp_path), "--episodes", "2"])
    assert config.tasks == tuple(TASKS)
    config, _ = collect_module._parse([str(tmp_path), "--benchmark", "tabletop3"])
    assert config.tasks == read_manifest("tabletop3").tasks


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tasks", "fold_laundry", "--episodes", "1"], "fold_laundry"),
        (["--tasks", "open_drawer,open_drawer", "--episodes", "1"], "twice"),
        (["--tasks", "open_drawer", "--episodes", "0"], "--episodes"),
        (["--tasks", "open_drawer", "--episodes", "many"], "many"),
        (["--tasks", "open_drawer", "--episodes", "1", "--workers", "0"], "--workers"),
        (["--tasks", "open_drawer", "--episodes", "1", "--image-size", "-3"], "--image-size"),
        (["--tasks", "open_drawer", "--episodes", "1", "--cameras", "periscope"], "periscope"),
        (["--tasks", "open_drawer", "--episodes", "1", "--rig", "tripod"], "no rig 'tripod'; write none, arc"),
        (["--tasks", "open_drawer", "--episodes", "1", "--rig", "arc:0"], "rig.views"),
        (["--tasks", "open_drawer", "--episodes", "1", "--rig-every", "0"], "--rig-every"),
        (["--tasks", "open_drawer", "--episodes", "1", "--colour", "red"], "--colour"),
        (["--tasks", "open_drawer"], "--episodes"),
        (["--benchmark", "tabletop3", "--episodes", "1"], "leave out --episodes"),
        (["--benchmark", "tabletop3", "--seed", "0"], "leave out --episodes and --seed"),
        (["--benchmark", "tabletop99"], "no benchmark 'tabletop99'; known are: "),
        (["--tasks", "open_drawer", "--episodes", "1", "--report-only", "--cameras", "front"], "leave out --cameras"),
        (["--tasks", "open_drawer", "--episodes", "1", "--report-only", "--rig", "arc"], "leave out --rig"),
        (["--tasks", "open_drawer", "--episodes", "1", "--report", "/nowhere/x.json"], "there is no folder /nowhere"),
        (["--tasks", "", "--episodes", "1"], "a name is empty"),
    ],
)
def test_a_bad_argument_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main([str(tmp_path / "store"), *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert complaint in said
    assert "\n" not in said
    assert not (tmp_path / "store").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main([str(tmp_path), "--tasks", "open_drawer", "--episodes", "1"]) == 2
    assert "is not a store" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


# Measuring the expert


@given(
    redrawn=st.lists(st.sampled_from(["dropped it", "stuck"]), max_size=4).map(tuple),
    collected=st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_every_scene_given_to_the_expert_is_an_attempt(redrawn: tuple[str, ...], collected: list[bool]) -> None:
    outcomes = [
        Outcome("lift", done, False, 3 if done else 0, 1, 2.0, redrawn if done else (*redrawn, "gave up"))
        for done in collected
    ]
    report = summarise(outcomes)
    assert report.attempts == len(collected) * len(redrawn) + len(collected)
    assert report.successes == sum(collected)
    assert report.attempts == report.successes + sum(report.failures.values())
    assert report.interval.lower <= report.rate == report.successes / report.attempts <= report.interval.upper
    assert list(report.failures.values()) == sorted(report.failures.values(), reverse=True)
    assert report.rejected_placements == len(collected)
    if any(collected):
        assert report.seconds_per_demonstration == pytest.approx(2.0 * len(collected) / sum(collected))
        assert report.mean_keyframes == 3


def measure_with(env: Clumsy, monkeypatch: pytest.MonkeyPatch, out: Path, *more: str) -> dict[str, Any]:
    monkeypatch.setattr("data.collect._make_demonstrator", lambda _: env)
    tasks = ["--tasks", "push_buttons,open_drawer", "--episodes", "3", "--seed", "9"]
    assert main([str(out), *tasks, "--report-only", "--report", str(out) + ".json", *more]) == 0
    return json.loads(Path(str(out) + ".json").read_text())


def test_a_measurement_tries_each_scene_once_and_keeps_no_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = Clumsy(0, 2, crowded=(5,))
    reports = measure_with(env, monkeypatch, tmp_path / "out")
    order = [(index, task) for index in range(3) for task in ("push_buttons", "open_drawer")]
    assert env.scenes == [attempt_scene(task, TASKS[task].variation_count, 9, index, 0) for index, task in order]
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["expert.jsonl"]
    buttons, drawer = reports["push_buttons"], reports["open_drawer"]
    assert (buttons["attempts"], buttons["successes"], buttons["failures"]) == (3, 1, {"dropped it": 2})
    assert (drawer["attempts"], drawer["successes"]) == (3, 2)
    assert drawer["failures"] == {"no layout was found in 100 attempts": 1}
    assert (buttons["rate"], buttons["rejected_placements"]) == (pytest.approx(1 / 3), 6)
    assert buttons["interval"]["lower"] == pytest.approx(0.0615, abs=1e-4)  # Wilson 1/3
    said = capsys.readouterr().err
    for part in ("1/3", "33.3%", "redrawn", "push_buttons: 2 x dropped it"):
        assert part in said


def test_an_interrupted_measurement_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tired(Clumsy):
        def demonstrate(self, scene: SeededScene) -> Demonstration | ExpertFailure:
            if len(self.scenes) == 4:
                raise KeyboardInterrupt
            return super().demonstrate(scene)

    monkeypatch.setattr("data.collect._make_demonstrator", lambda _: Tired(1))
    tasks = ["--tasks", "push_buttons,open_drawer", "--episodes", "3", "--seed", "9", "--report-only"]
    assert main([str(tmp_path / "out"), *tasks]) == 130
    journal = tmp_path / "out" / "expert.jsonl"
    journal.write_text(journal.read_text() + '{"scene": "push_but')  # as if killed while writing
    env = Clumsy()
    reports = measure_with(env, monkeypatch, tmp_path / "out")
    assert len(env.scenes) == 2
    assert reports["open_drawer"]["failures"] == {"dropped it": 1}
    assert {report["attempts"] for report in reports.values()} == {3}
    assert measure_with(again := Clumsy(), monkeypatch, tmp_path / "out") == reports
    assert again.scenes == []


def test_a_journal_of_another_world_or_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "expert.jsonl"
    journal = Journal(path, 1)
    outcome = Outcome("lift", True, False, 3, 0, 1.5, ("dropped it",))
    journal.add("lift/variation0/seed1", outcome)
    assert Journal(path, 1).outcomes == {"lift/variation0/seed1": outcome}
    with pytest.raises(DataError, match="name a new folder"):
        Journal(path, 2)
    path.write_text(path.read_text() + "no json\n")
    with pytest.raises(DataError, match="is damaged"):
        Journal(path, 1)


def test_a_store_is_no_place_for_a_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.create(tmp_path)
    assert main([str(tmp_path), "--tasks", "open_drawer", "--episodes", "1", "--report-only"]) == 2
    assert "is a store" in capsys.readouterr().err


def test_the_expert_is_measured_in_the_real_world_without_cameras(tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    arguments = ["--tasks", "slide_block_to_color_target", "--episodes", "1", "--report-only", "--report", str(report)]
    assert main([str(out), *arguments]) == 0
    (found,) = json.loads(report.read_text()).values()
    assert (found["attempts"], found["successes"], found["mean_keyframes"]) == (1, 1, 2)


# Interruptions


def start_collecting(out: Path) -> subprocess.Popen[bytes]:
    """Two workers on more episodes than anyone waits for, in a process group of their own."""
    program = [sys.executable, "-m", "data.collect", str(out), "--tasks", "push_buttons", "--episodes", "500"]
    # Whoever runs the tests in the background ignores interruptions, and what it starts inherits that.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen([*program, "--workers", "2", *SMALL], cwd=REPOSITORY, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, usual)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(out.glob("push_buttons/variation*/seed*/zarr.json")):
            return process
        time.sleep(0.05)
    raise AssertionError(f"no episode after two minutes; exit status {process.poll()}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_what_a_stopped_run_leaves_is_whole_and_nothing_runs_on(tmp_path: Path, how: signal.Signals) -> None:
    process = start_collecting(tmp_path / "store")
    process.send_signal(how)
    assert process.wait(timeout=60) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 60
    while group_runs(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_runs(process.pid)
    store = Store.open(tmp_path / "store")
    episodes = store.episodes()
    assert episodes
    for info in episodes:
        assert len(store.read(info.name).observations) == info.frames
    assert not list(Store.create(store.path).path.glob(".writing/*"))


def group_runs(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("world", "rig"), [("tabletop", None), ("rlbench", RigConfig())])
def test_each_world_has_the_rig_that_is_usual_there(world: str, rig: RigConfig | None, tmp_path: Path) -> None:
    words = [str(tmp_path), "--env", world, "--tasks", "open_drawer", "--episodes", "1"]
    config, _ = collect_module._parse(words)
    assert config.filming.rig == rig
    assert collect_module._parse([*words, "--rig", "none"])[0].filming.rig is None
