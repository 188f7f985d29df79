"""A recorded run shown again, and a policy in its shadow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.agent import Agent
from gnfactor.checkpoint import CheckpointInfo, checkpoint_path, load_policy, write_checkpoint
from gnfactor.config import Config, from_yaml
from gnfactor.geometry import rotation_from_euler
from gnfactor.kinematics import between
from gnfactor.model import Policy
from gnfactor.ros.journal import Asked, Began, Decided, Ended, Event, Failed, Forgetful, Judged, Looked, Seen, Stated
from gnfactor.ros.log.film import ALLOWED, FPS, REFUSED, film
from gnfactor.ros.log.header import weights_sha256
from gnfactor.ros.log.reader import Noted, Recording
from gnfactor.ros.log.report import ShadowRun, StepRecord, Tally, step_record, words_of
from gnfactor.ros.log.shadow import Difference, Resolution, Shadow, compare, resolution
from gnfactor.ros.log.turns import turns
from gnfactor.ros.replay import main
from gnfactor.ros.safety import SafetyGuard
from gnfactor.ros.session.drawing import Colour
from gnfactor.ros.session.operator import Operator
from gnfactor.scene import ARM
from tests.fake_env import go_to
from tests.made_up_events import MAKERS, Maker
from tests.recorded_run import Wanderer, record, robot_for, written
from tests.test_evaluate import TINY

TRAINED = TINY.replace("[overhead]", "[front, overhead]")


def make_checkpoint(run: Path, seed: int) -> Path:
    """A run folder with one checkpoint of a tiny policy that has learned nothing."""
    config: Config = from_yaml(TRAINED)
    torch.manual_seed(seed)
    info = CheckpointInfo(step=7, instructions=(), averaged=False, validation=None)
    path = checkpoint_path(run, 7)
    write_checkpoint(path, config, info, Policy(config.policy).state_dict(), {})
    return path


def agent_of(checkpoint: Path) -> Agent:
    return Agent(load_policy(checkpoint).policy)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recorded run whose policy is in `first`; `second` has other weights."""
    folder = tmp_path_factory.mktemp("run")
    checkpoint = make_checkpoint(folder / "first", 0)
    make_checkpoint(folder / "second", 1)
    changes = {"checkpoint": str(checkpoint), "weights_sha256": weights_sha256(checkpoint)}
    record(folder / "run.mcap", robot_for("moveit"), agent_of(checkpoint), 4, image_size=(16, 16), **changes)
    return folder


def test_the_same_checkpoint_acts_identically_to_the_last_bit(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run / "run.mcap"), "--checkpoint", str(run / "first"), "--out", str(run / "same")]) == 0
    report = json.loads((run / "same/report.json").read_text())
    assert report["shadow"]["identical"] is True
    assert report["shadow"]["first_other_step"] is None
    assert report["shadow"]["weights_sha256"] == report["run"]["weights_sha256"]
    steps = report["shadow"]["steps"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert all(step["verdict"] == step["recorded_verdict"] for step in steps)
    assert "identical to the recorded one, to the last bit" in capsys.readouterr().out
    assert (run / "same/film.webm").stat().st_size > 1000


def test_another_checkpoint_is_told_where_it_would_first_have_acted_differently(run: Path) -> None:
    first, second = agent_of(run / "first"), agent_of(run / "second")
    recording = Recording(run / "run.mcap")
    shadow, found_all = Shadow(second, SafetyGuard(recording.header.config)), list[Difference]()
    for turn in turns(recording.events()):
        found = shadow.ask(turn)
        if turn.observation is None or found is None:
            continue
        found_all.append(found)
        (before,), (now,) = (agent.act([turn.observation], [turn.instruction]) for agent in (first, second))
        poses = [action.arms[ARM].world_from_gripper for action in (before, now)]
        assert (found.distance_m, np.deg2rad(found.turn_deg)) == pytest.approx(between(*poses))
        assert found.gripper == (before.arms[ARM].gripper_open != now.arms[ARM].gripper_open)
        assert not found.identical
    assert len(found_all) == 4
    asked = ShadowRun("second", "", shadow.resolution, tuple(found_all))
    assert asked.first_other == next(one for one in found_all if one.other)


HEADS = Resolution(voxel_m=0.01, rotation_bin_deg=5.0)


@given(
    st.tuples(*[st.floats(-0.012, 0.012)] * 3),
    st.floats(0, 10),
    st.booleans(),
    st.booleans(),
)
def test_a_decision_is_another_beyond_a_voxel_a_bin_or_by_another_word(
    moved_m: tuple[float, float, float], turned_deg: float, gripper: bool, collisions: bool
) -> None:
    events = [MAKERS["seen"](Maker(0, [])), Decided(go_to(np.zeros(3)))]
    *_, turn = turns(Noted(0.0, event) for event in events)
    pose = np.eye(4)
    about_x = torch.tensor([np.deg2rad(turned_deg), 0, 0], dtype=torch.float64)
    pose[:3, :3] = rotation_from_euler(about_x).numpy() @ go_to(np.zeros(3)).arms[ARM].world_from_gripper[:3, :3]
    pose[:3, 3] = moved_m
    action = Action({ARM: ArmTarget(pose, not gripper, collisions)})
    found = compare(turn, events[1].action, action, HEADS, None)
    assert found.distance_m == pytest.approx(np.linalg.norm(moved_m))
    assert found.turn_deg == pytest.approx(turned_deg, abs=1e-6)
    assert (found.gripper, found.collisions) == (gripper, collisions)
    if abs(np.linalg.norm(moved_m) - 0.01) > 1e-4 and abs(turned_deg - 5) > 1e-2:
        assert found.other == (np.linalg.norm(moved_m) > 0.01 or turned_deg > 5 or gripper or collisions)


def test_the_resolution_is_that_of_the_policy() -> None:
    assert resolution(from_yaml(TRAINED).policy) == Resolution(voxel_m=1 / 8, rotation_bin_deg=45.0)


def test_a_recording_is_told_in_turns() -> None:
    maker = Maker(3, [])
    seen, look, state = Seen(maker.observation()), Looked({"front": 1.5}), Stated(maker.state())
    action = Decided(go_to(np.ones(3)))
    events: list[Event] = [Began("press it"), look, state, seen, action, Judged("too far"), Asked("?", "no"), seen]
    before, first, last = turns(Noted(float(number), event) for number, event in enumerate(events))
    assert (before.observation, len(before.events)) == (None, 3)
    assert (first.instruction, first.observation) == ("press it", seen.observation)
    assert (first.start.time_s, first.start.stamps_s, first.start.state) == (3.0, {"front": 1.5}, state.state)
    assert (first.action, first.verdict, first.answers) == (action.action, Judged("too far"), [Asked("?", "no")])
    assert (last.action, last.events) == (None, ())


def test_the_guard_is_shown_what_it_was_shown() -> None:
    maker = Maker(4, [])
    old, new, newer = (Stated(maker.state()) for _ in range(3))
    seen = Seen(replace(maker.observation(), views={"front": maker.view()}))
    events = [Looked({"front": 0.5}), old, seen, Decided(go_to(np.ones(3)))]
    events += [Looked({"front": 4.5}), new, Judged(None), Looked({"front": 7.5}), newer, Judged(None)]
    *_, turn = turns(Noted(float(number), event) for number, event in enumerate(events))
    assert (turn.judging.time_s, turn.judging.stamps_s, turn.judging.state) == (5.0, {"front": 4.5}, new.state)
    assert turn.views(turn.judging)["front"].stamp_s == 4.5
    *_, unjudged = turns(Noted(float(number), event) for number, event in enumerate(events[:6]))
    assert (unjudged.judging.stamps_s, unjudged.judging.state) == ({"front": 0.5}, old.state)


def test_a_report_counts_what_happened() -> None:
    maker, tally = Maker(5, []), Tally()
    action, seen = Decided(go_to(np.ones(3))), Seen(replace(maker.observation(), step=0))
    steps: list[list[Event]] = [
        [action, Judged("too far"), Ended("too far", None)],
        [action, Judged(None), Asked("go?", "n"), Ended("the operator refused it", None)],
        [action, Judged(None), Asked("go?", "y"), Ended(None, "the arm is behind")],
        [action, Judged(None), Ended(None, None)],
        [action, Judged(None), Failed("the bridge is gone")],
    ]
    events = [Began("press it"), *(event for step in steps for event in (seen, *step))]
    for turn in turns(Noted(10.0 + number, event) for number, event in enumerate(events)):
        tally.add(turn)
    summary = tally.summary()
    assert (summary.instruction, summary.failures) == ("press it", ("the bridge is gone",))
    assert summary.duration_s == len(events) - 1
    assert [words_of(step) for step in summary.steps] == [
        "refused: too far",
        "refused: the operator refused it",
        "stopped: the arm is behind",
        "arrived",
        "not known: the run broke off",
    ]
    assert [step.answers for step in summary.steps] == [(), ("n",), ("y",), (), ()]
    assert summary.steps[1] == StepRecord(1, 4.0, "the operator refused it", None, ("n",), None, True)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ([Judged(None), Asked("?", "q"), Ended(None, None, "stopped")], "the operator ended the run: stopped"),
        ([Judged(None), Asked("?", "d"), Ended(None, None, "done")], "the operator ended the run: done"),
        ([Judged(None), Ended(None, None, "done")], "the policy was done"),
        (
            [Judged("too far"), Ended(None, None, "stopped")],
            "refused: too far; the run was stopped, with nobody to be asked",
        ),
        (
            [Judged("too far"), Asked("?", "q"), Ended(None, None, "stopped")],
            "refused: too far; the operator ended the run: stopped",
        ),
    ],
)
def test_the_last_action_says_who_ended_the_run_and_why_it_was_refused(ending: list[Event], words: str) -> None:
    seen = Seen(replace(Maker(5, []).observation(), step=2))
    (turn,) = turns(Noted(10.0, event) for event in (seen, Decided(go_to(np.ones(3))), *ending))
    record = step_record(turn, 0.0)
    assert (record.step, words_of(record)) == (3, words)


def test_actions_have_the_numbers_that_the_operator_was_told(tmp_path: Path) -> None:
    robot, said = robot_for("impedance"), list[str]()
    operator = Operator(robot.config, tmp_path, said.append, input, Forgetful(), "never")
    record(tmp_path / "run.mcap", robot, Wanderer(refuse_at=1), steps=3, approve=operator.approve)
    numbers = [turn.number for turn in turns(Recording(tmp_path / "run.mcap").events()) if turn.action is not None]
    assert [f"action {number}:" for number in numbers] == [
        line.partition(":")[0] + ":" for line in said if line.startswith("action ")
    ]
    assert [(tmp_path / f"action{number:03d}.png").is_file() for number in numbers] == [True, True, True]


@pytest.mark.parametrize("whole", [True, False])
def test_a_log_in_which_nothing_is_fails_and_leaves_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: bool
) -> None:
    path = tmp_path / "run.mcap"
    written(path, [])
    if not whole:
        path.write_bytes(path.read_bytes()[:-30])
    assert main([str(path)]) == 2
    said = capsys.readouterr().err
    assert "holds no event" in said
    assert ("its end is missing" in said) == (not whole)
    assert not (tmp_path / "run-replay").exists()


def frames_of(path: Path, camera: str | None = None) -> list[np.ndarray]:
    recording = Recording(path)
    return list(film(turns(recording.events()), recording.header.config, camera))


def shows(frame: np.ndarray, colour: Colour) -> bool:
    return bool((np.abs(frame.astype(int) - colour).sum(-1) < 8).any())


def test_a_film_shows_allowed_actions_green_and_refused_ones_red(tmp_path: Path) -> None:
    path, policy = tmp_path / "run.mcap", Wanderer(refuse_at=1)
    record(path, robot_for("impedance"), policy, steps=2)
    frames = frames_of(path)
    assert len({frame.shape for frame in frames}) == 1
    assert len(frames) > 6 * FPS
    assert shows(frames[0], ALLOWED)
    assert not shows(frames[0], REFUSED)
    refused = [frame for frame in frames if shows(frame, REFUSED)]
    assert refused
    assert not any(shows(frame, ALLOWED) for frame in refused)


def test_the_drawn_gripper_moves_as_the_robots_did(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    record(path, robot_for("trajectory"), Wanderer(), steps=1)
    still, *moving = frames_of(path, "overhead")[FPS - 1 : -3 * FPS]
    height = 400
    assert (np.diff([np.abs(frame[:height].astype(int) - still[:height]).sum() for frame in moving]) != 0).any()


def test_a_run_without_pictures_has_a_report_and_no_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = robot_for("impedance", "log.images=false")
    record(tmp_path / "run.mcap", robot, Wanderer(), steps=1)
    assert main([str(tmp_path / "run.mcap")]) == 0
    assert {path.name for path in (tmp_path / "run-replay").iterdir()} == {"report.json", "report.md"}
    assert "1 actions in" in capsys.readouterr().out
    checkpoint = make_checkpoint(tmp_path / "policy", 0)
    assert main([str(tmp_path / "run.mcap"), "--checkpoint", str(checkpoint)]) == 2
    assert "no policy can be asked again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["absent.mcap"], "cannot be read: No such file"),
        (["text.mcap"], "is not an MCAP file"),
        (["run.mcap", "--camera", "rear"], "--camera is rear; the recorded robot has"),
        (["run.mcap", "--checkpoint", "nowhere"], "is neither a checkpoint nor a run"),
        ([], "the following arguments are required: log"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    answer: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mcap").write_text("once upon a time")
    written(Path("run.mcap"), [])
    assert main(args) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1
