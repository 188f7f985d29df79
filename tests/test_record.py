"""Demonstrations recorded by guiding an arm: kept where it stood, whole or not at all, and train.py takes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from data import record as record_module
from data.record import Recorder, Wanted, keep, main
from data.store import Store
from gnfactor.demonstration import Demonstration
from gnfactor.errors import ConfigError, DataError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import GripCommand, Progress, RobotMode
from gnfactor.scene import ARM
from tests.fake_robot import READY, FakeRobot, robot_config
from tests.synthetic import TINY

SIZE = (16, 16)


class Hand:
    """Answers the recorder's questions by a script of keys; before each look it guides the arm to a new place."""

    def __init__(self, robot: FakeRobot, keys: str) -> None:
        self.robot, self.questions = robot, list[str]()
        self._keys = iter(keys)
        self._chance = np.random.default_rng(0)

    def __call__(self, question: str) -> str:
        self.questions.append(question)
        key = next(self._keys)
        if key in ".x":
            self.robot.joints = READY + self._chance.uniform(-0.15, 0.15, 7)
        return "" if key in ".=" else key


def wanted(store: Path, config: RobotConfig | None = None) -> Wanted:
    """A dot is Enter at a new place, an equals sign Enter at the same."""
    robot = robot_config() if config is None else config
    return Wanted(store, robot, "push_buttons", 3, ("push the red button", "press the red one"), SIZE)


class Jammed(FakeRobot):
    """Its fingers never come to an end."""

    def progress(self) -> Progress:
        return replace(super().progress(), status="running")


def guided() -> FakeRobot:
    robot = FakeRobot(robot_config())
    robot.mode = RobotMode.GUIDING
    return robot


def recorded(robot: FakeRobot, keys: str) -> tuple[Demonstration | None, list[str]]:
    said: list[str] = []
    hand = Hand(robot, keys)
    return Recorder(robot, wanted(Path("store")), said.append, hand).record(), said


def test_keyframes_are_where_the_hand_let_the_arm_stand() -> None:
    robot = guided()
    poses = [robot.pose]
    hand = Hand(robot, "=..x.d")

    def ask(question: str) -> str:
        key = hand(question)
        if key in ("", "x") and len(hand.questions) > 1:
            poses.append(robot.pose)
        return key

    demonstration = Recorder(robot, wanted(Path("store")), lambda _: None, ask).record()
    assert demonstration is not None
    stood = [seen.arms[ARM].world_from_gripper for seen in demonstration.observations]
    assert np.allclose(stood, poses)
    assert demonstration.keyframes == (1, 2, 3, 4)
    assert demonstration.ignore_collisions == (False, False, False, True, False)
    assert [seen.step for seen in demonstration.observations] == [0, 1, 2, 3, 4]
    assert all(after.time_s - before.time_s >= 1 for before, after in pairs(demonstration))
    assert {view.rgb.shape for seen in demonstration.observations for view in seen.views.values()} == {(16, 16, 3)}
    assert not robot.record


def pairs(demonstration: Demonstration) -> Iterator[tuple[object, object]]:
    yield from zip(demonstration.observations, demonstration.observations[1:], strict=False)


@given(keys=st.text(st.sampled_from(".xocyuz?"), max_size=12))
@settings(max_examples=12)
def test_whatever_is_pressed_nothing_but_the_fingers_is_told_to_move(keys: str) -> None:
    robot = guided()
    demonstration, _ = recorded(robot, f".{keys}yyq{'q' * 4}")
    assert demonstration is None
    assert all(isinstance(sent, GripCommand) or sent == "hold" for sent in robot.record)
    kinds = ["hold" if sent == "hold" else "grip" for sent in robot.record]
    assert kinds == ["hold", "grip", "hold"] * (len(kinds) // 3)


def test_fingers_move_after_a_yes_and_the_next_keyframe_has_them_closed() -> None:
    robot = guided()
    robot.held_width_m = 0.03
    demonstration, said = recorded(robot, "..cy=d")
    assert demonstration is not None
    assert [seen.arms[ARM].gripper_open for seen in demonstration.observations] == [True, True, False]
    assert "  the fingers are 30 mm apart" in said
    (command,) = [sent for sent in robot.record if isinstance(sent, GripCommand)]
    assert command.grasp


def test_fingers_stay_without_a_yes() -> None:
    robot = guided()
    _, said = recorded(robot, ".cnq")
    assert "  the fingers stay as they are" in said
    assert not robot.record


def test_a_gripper_that_does_not_answer_is_said_and_the_recording_goes_on() -> None:
    robot = Jammed(robot_config())
    demonstration, said = recorded(robot, "..cy.d")
    assert demonstration is not None
    assert any("the fingers did not end within 6.0 s" in line for line in said)


def test_a_forgotten_keyframe_is_not_in_the_demonstration() -> None:
    robot = guided()
    demonstration, _ = recorded(robot, "..u.d")
    assert demonstration is not None
    assert len(demonstration.observations) == 2
    assert np.allclose(demonstration.observations[1].arms[ARM].world_from_gripper, robot.pose)


def test_nothing_can_be_undone_or_done_before_the_first_keyframe() -> None:
    demonstration, said = recorded(guided(), ".udq")
    assert demonstration is None
    assert said.count("  there is no keyframe yet") == 2


def test_a_second_enter_at_the_same_place_is_no_keyframe() -> None:
    demonstration, said = recorded(guided(), "..=d")
    assert demonstration is not None
    assert len(demonstration.keyframes) == 1
    assert any("which is no action" in line for line in said)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda view: replace(view, depth_m=np.zeros_like(view.depth_m)), "have a depth below"),
        (lambda view: replace(view, depth_m=view.depth_m * np.float32(1.2)), "the table is missing"),
        (lambda view: replace(view, stamp_s=view.stamp_s + 5), "from the future"),
        (lambda view: replace(view, stamp_s=view.stamp_s - 5), "from before the arm stood still"),
    ],
)
def test_pictures_that_cannot_be_used_are_not_kept(spoil: Callable[..., object], why: str) -> None:
    robot = guided()
    robot.alter_view = spoil  # type: ignore[assignment]
    demonstration, said = recorded(robot, "..q")
    assert demonstration is None
    assert sum(why in line for line in said) == 2


def test_the_next_demonstration_has_the_next_number(tmp_path: Path) -> None:
    demonstration, _ = recorded(guided(), "..d")
    assert demonstration is not None
    order = wanted(tmp_path / "store")
    assert [keep(demonstration, order) for _ in range(2)] == [
        *("push_buttons/variation3/episode0", "push_buttons/variation3/episode1")
    ]


def test_pictures_of_another_size_do_not_mix(tmp_path: Path) -> None:
    demonstration, _ = recorded(guided(), "..d")
    assert demonstration is not None
    keep(demonstration, wanted(tmp_path / "store"))
    with pytest.raises(DataError, match="pictures: 16x16 there, now 32x32"):
        keep(demonstration, replace(wanted(tmp_path / "store"), image_size=(32, 32)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task": "../elsewhere"}, "cannot be the name"),
        ({"variation": -1}, "--variation"),
        ({"instructions": (" ",)}, "--instruction"),
        ({"image_size": (0, 0)}, "size"),
    ],
)
def test_nonsense_is_refused_before_anything_is_recorded(change: dict[str, object], why: str) -> None:
    with pytest.raises((ConfigError, DataError), match=why):
        replace(wanted(Path("store")), **change)  # type: ignore[arg-type]


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRobot:
    """To which the command connects; its calibration has not been checked."""
    config = robot_config(f"calibration.folder={tmp_path / 'records'}")
    robot = FakeRobot(config)
    robot.mode = RobotMode.GUIDING
    monkeypatch.setattr(record_module, "load", lambda _: config)
    monkeypatch.setattr(record_module, "connect", lambda _: robot)
    return robot


def command(store: Path, *more: str) -> int:
    text = ["--instruction", "push the red button"]
    return main([str(store), "--config", "ROBOT.yaml", "--task", "push_buttons", "--image-size", "16", *text, *more])


def test_recorded_demonstrations_train(
    robot: FakeRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, poses = tmp_path / "store", []
    for _ in range(2):
        hand = Hand(robot, "...cy=oy.d")
        monkeypatch.setattr(record_module, "typed", hand)
        assert command(store, "--accept-calibration", "Ada") == 0
        poses.append(robot.pose)
    assert "Ada answers for a calibration that was not checked" in capsys.readouterr().err
    for number, pose in enumerate(poses):
        last = Store.open(store).read(f"push_buttons/variation0/episode{number}")
        assert last.keyframes == (1, 2, 3, 4)
        assert np.allclose(last.observations[-1].arms[ARM].world_from_gripper, pose, atol=1e-5)
    (tmp_path / "tiny.yaml").write_text(TINY)
    overrides = [f"data.store={store}", f"run_dir={tmp_path / 'run'}", "train.steps=2", "train.checkpoint_every=2"]
    cameras = ["policy.cameras=[front,overhead]"]
    assert train.main([str(tmp_path / "tiny.yaml"), *overrides, *cameras]) == 0


def test_without_a_checked_calibration_nothing_is_recorded(
    robot: FakeRobot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "store") == 2
    assert "gnfactor.ros.calibrate --check" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("keys", "status"), [("q", 1), ("..q", 1), ("..!", 130)])
def test_what_is_discarded_or_interrupted_leaves_the_store_as_it_was(
    robot: FakeRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str, status: int
) -> None:
    hand = Hand(robot, keys)

    def ask(question: str) -> str:
        if (key := hand(question)) == "!":
            raise KeyboardInterrupt
        return key

    monkeypatch.setattr(record_module, "typed", ask)
    assert command(tmp_path / "store", "--accept-calibration", "Ada") == status
    assert not (tmp_path / "store").exists()


def test_a_second_signal_does_not_end_the_hold_at_the_end(
    robot: FakeRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = robot.close

    def closed() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        close()

    monkeypatch.setattr(robot, "close", closed)
    monkeypatch.setattr(record_module, "typed", lambda _: "q")
    assert command(tmp_path / "store", "--accept-calibration", "Ada") == 1
    assert robot.record[-2:] == ["hold", "close"]


def test_a_name_that_is_no_folders_is_said_before_the_missing_calibration(
    robot: FakeRobot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "store", "--task", "../elsewhere") == 2
    assert "cannot be the name of an episode" in capsys.readouterr().err
    assert not robot.record


def test_a_store_that_cannot_be_made_is_refused_before_the_work(
    robot: FakeRobot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert command(tmp_path / "file", "--accept-calibration", "Ada") == 2
    assert "cannot make a store in" in capsys.readouterr().err
    assert not robot.record
