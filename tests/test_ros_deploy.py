"""`python -m gnfactor.ros`: what it refuses before anything moves, and one run of a checkpoint from end to end."""

from __future__ import annotations

import io
import os
import pty
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.agent import Agent
from gnfactor.checkpoint import CheckpointInfo, checkpoint_path, load_policy, write_checkpoint
from gnfactor.config import from_yaml
from gnfactor.errors import ConfigError
from gnfactor.model import Policy
from gnfactor.ros.__main__ import DESCRIPTION, main, split_words
from gnfactor.ros.calibration.looking import Look
from gnfactor.ros.calibration.records import require_calibration, write_record
from gnfactor.ros.config import load
from gnfactor.ros.journal import Began, Decided, Ended, Judged, Seen
from gnfactor.ros.link import RobotMode
from gnfactor.ros.links import connect
from gnfactor.ros.links.replay_link import ReplayLink
from gnfactor.ros.log.header import weights_sha256
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.session.deploy import check_fit, require_room
from gnfactor.ros.session.operator import STOP, typed
from tests.fake_robot import ROBOTS, FakeRobot, robot_config
from tests.synthetic import TINY

SAID = "push the square"


class Remembered(FakeRobot):
    """A robot that the command connects to, and that can be asked afterwards."""

    made: ClassVar[list[Remembered]] = []
    mode_at_start = RobotMode.MOVE

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mode = self.mode_at_start
        self.made.append(self)

    def recover(self) -> None:
        raise AssertionError("recovered without being asked")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = from_yaml(TINY)
    policy = Policy(config.policy)
    policy.instructions.learn([SAID])
    path = checkpoint_path(tmp_path_factory.mktemp("run"), 7)
    write_checkpoint(path, config, CheckpointInfo(7, (SAID,), averaged=False, validation=None), policy.state_dict(), {})
    return path.parent.parent


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """The Panda's, with guards that suit the made-up cameras."""
    content = yaml.safe_load((ROBOTS / "franka_ros.yaml").read_text())
    content["guard"] = {"min_workspace_points": 100}
    content["calibration"] = {"folder": str(tmp_path / "calibrations")}
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(autouse=True)
def robots(monkeypatch: pytest.MonkeyPatch) -> list[Remembered]:
    monkeypatch.setitem(connect.LINKS, "rospy", (__name__, "Remembered"))  # type: ignore[arg-type]
    monkeypatch.setattr(Remembered, "made", [])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Remembered.made


def run(checkpoint: Path, config_file: Path, *more: str) -> int:
    return main([str(checkpoint), "--config", str(config_file), "--out", str(config_file.parent / "out"), *more])


def test_a_run_without_questions_leaves_a_log_and_pictures_and_a_holding_robot(
    checkpoint: Path, config_file: Path, robots: list[Remembered], capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(checkpoint, config_file, SAID, "--confirm", "never", "--max-steps", "2", "--accept-calibration", "Ada")
    said = capsys.readouterr().out
    (robot,) = robots
    assert robot.holding
    assert status in (0, 1)
    assert "action 1:" in said
    assert "picture:" in said
    out = config_file.parent / "out"
    assert (out / "latest.png").is_file()
    recording = Recording(out / "run.mcap")
    header = recording.header
    assert (header.instruction, header.calibration, header.confirm, header.dry_run) == (SAID, "Ada", "never", False)
    assert header.weights_sha256 == weights_sha256(load_policy(checkpoint).path)
    kinds = [type(noted.event) for noted in recording.events()]
    assert [kind for kind in kinds if kind in (Began, Seen, Decided)][:3] == [Began, Seen, Decided]
    assert kinds.count(Decided) == kinds.count(Ended)
    assert Judged in kinds


def test_a_dry_run_moves_nothing_and_needs_no_calibration(
    checkpoint: Path, config_file: Path, robots: list[Remembered], capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(checkpoint, config_file, SAID, "--dry-run", "--confirm", "never", "--max-steps", "1")
    assert status == 1
    (robot,) = robots
    assert set(robot.record) <= {"hold", "close"}  # this robot's own close holds
    said = capsys.readouterr().out
    assert "note: no check of this calibration" in said
    assert Recording(config_file.parent / "out/run.mcap").header.dry_run


def test_a_passed_check_lets_a_run_begin_until_a_camera_is_moved(
    checkpoint: Path, config_file: Path, robots: list[Remembered], capsys: pytest.CaptureFixture[str]
) -> None:
    robot = load([str(config_file)])
    seen = FakeRobot(robot)
    look = Look(seen.observe(1.0), seen.state(), seen.pose)
    write_record(robot, [look], datetime.now(UTC), config_file.parent)
    asked = (SAID, "--confirm", "never", "--max-steps", "1")
    assert run(checkpoint, config_file, *asked) in (0, 1)
    assert Recording(config_file.parent / "out/run.mcap").header.calibration is None

    (config_file.parent / "out/run.mcap").unlink()
    moved = replace(look.views["front"].camera, world_from_camera=np.eye(4))
    views = {**look.views, "front": replace(look.views["front"], camera=moved)}
    write_record(robot, [Look(views, look.state, look.world_from_gripper)], datetime.now(UTC), config_file.parent)
    capsys.readouterr()
    assert run(checkpoint, config_file, *asked) == 2
    assert "from where it was on" in capsys.readouterr().err
    assert set(robots[-1].record) <= {"hold", "close"}
    assert run(checkpoint, config_file, *asked, "--accept-calibration", "Ada") in (0, 1)
    assert Recording(config_file.parent / "out/run.mcap").header.calibration == "Ada"


MISTAKES = {
    "no instruction": ((), "one instruction is expected, in quotes; found none"),
    "two instructions": (("push", "the square"), "found ['push', 'the square']"),
    "an empty instruction": (("",), "the instruction is empty"),
    "no terminal": (
        (SAID, "--accept-calibration", "Ada"),
        "--confirm each asks at the terminal, and standard input is",
    ),
    "a key that is none": ((SAID, "guard.high=3"), "guard.high"),
    "another answer": ((SAID, "--confirm", "maybe"), "invalid choice: 'maybe'"),
    "a typo alone": (("log-folder=x",), "'log-folder=x' is neither a file nor an override; did you mean log.folder=x?"),
    "a typo beside": ((SAID, "log-folder=x"), "did you mean log.folder=x?"),
    "a camera that is null": (
        (SAID, "cameras.front=null"),
        "sets 'cameras.front' to null; a group of keys (color, depth",
    ),
    "a camera that is a number": ((SAID, "cameras.front=3"), "sets 'cameras.front' to 3 (int); a group of keys (color"),
    "no steps": ((SAID, "--confirm", "never", "--max-steps", "0"), "at least 1 is expected"),
    "no calibration": ((SAID, "--confirm", "never"), "no check of this calibration"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_before_anything_is_connected(
    mistake: str, checkpoint: Path, config_file: Path, robots: list[Remembered], capsys: pytest.CaptureFixture[str]
) -> None:
    words, answer = MISTAKES[mistake]
    words = words or ("log.images=false",)
    assert run(checkpoint, config_file, *words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ")
    assert answer in said
    assert "\n" not in said
    assert not robots


def test_a_folder_that_can_take_no_log_is_found_out_before_anything_is_connected(
    checkpoint: Path, config_file: Path, robots: list[Remembered], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (SAID, "--confirm", "never", "--accept-calibration", "Ada")
    out = config_file.parent / "out"
    out.mkdir()
    (out / "run.mcap").touch()
    assert run(checkpoint, config_file, *asked) == 2
    said = capsys.readouterr().err
    assert "run.mcap is the log of another run; name another folder with --out" in said
    (out / "run.mcap").unlink()
    out.rmdir()
    out.touch()  # a file where the folder is to be
    assert run(checkpoint, config_file, *asked) == 2
    assert "no log can be written in" in capsys.readouterr().err
    assert not robots
    fresh = config_file.parent / "a/b"
    require_room(fresh)
    assert not fresh.parent.exists()


def test_a_recording_in_a_robots_place_asks_nobody_to_answer_for_cameras(config_file: Path) -> None:
    recorded = load([str(config_file), "link.type=replay"])
    assert require_calibration(recorded, None) is None
    with pytest.raises(ConfigError, match=r"link.uri=runs/robot/RUN/run.mcap"):
        ReplayLink(recorded)


def test_a_policy_whose_cameras_the_robot_has_not_is_refused_with_both_lists(checkpoint: Path) -> None:
    agent = Agent(load_policy(checkpoint).policy)
    agent.cameras = ("front", "wrist")
    with pytest.raises(ConfigError, match=r"\['front', 'wrist'\].*has \['front', 'overhead'\]: \['wrist'\] missing"):
        check_fit(agent, robot_config())


def test_a_robot_in_reflex_is_not_recovered_and_the_run_says_how_it_stands(
    checkpoint: Path,
    config_file: Path,
    robots: list[Remembered],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Remembered, "mode_at_start", RobotMode.REFLEX)
    assert run(checkpoint, config_file, SAID, "--confirm", "never", "--accept-calibration", "Ada") == 1
    said = capsys.readouterr().out
    assert "REFUSED: the robot's mode is REFLEX" in said
    assert "stopped after 3 actions" in said
    assert robots[0].holding


def test_words_may_stand_in_any_order() -> None:
    assert split_words(["a.b=1", "put a=b there", "c_d=[x]"]) == (["a.b=1", "c_d=[x]"], ["put a=b there"])


keys = st.text(st.characters(exclude_categories=("Z", "C"), exclude_characters="="), min_size=1)


@given(keys, st.text())
def test_a_setting_with_whatever_typo_never_becomes_the_instruction(key: str, value: str) -> None:
    assert split_words([f"{key}={value}"]) == ([f"{key}={value}"], [])


def test_the_example_of_the_help_has_the_cameras_of_the_shipped_file() -> None:
    said = " ".join(DESCRIPTION.split())
    assert f"policy.cameras=[{','.join(load([str(ROBOTS / 'franka_ros.yaml')]).cameras)}]" in said
    assert "gnfactor.ros runs/demo" not in said


def test_keys_pressed_before_the_question_do_not_answer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal, os.fdopen(ours, "wb", buffering=0) as keyboard:
        monkeypatch.setattr("sys.stdin", terminal)
        keyboard.write(b"y\n")
        time.sleep(0.05)
        later = threading.Timer(0.5, lambda: keyboard.write(b"n\n"))
        later.start()
        assert typed("? ") == "n"
        later.join()


def test_a_terminal_that_is_gone_says_stop() -> None:
    assert typed("? ") == STOP
