"""A passed check leaves a record for exactly its arrangement; the command that makes it, over robots in pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.errors import ConfigError
from gnfactor.kinematics import rotation_of
from gnfactor.ros import calibrate
from gnfactor.ros.calibration.camera_check import check_camera
from gnfactor.ros.calibration.looking import Look, look_when_still, poses_around, repeats
from gnfactor.ros.calibration.picture import draw_check
from gnfactor.ros.calibration.records import (
    arrangement_digest,
    moved_complaint,
    read_record,
    record_path,
    require_calibration,
    require_unmoved,
    write_record,
)
from gnfactor.ros.config import MarkerConfig, PoseConfig, RobotConfig, load
from gnfactor.ros.safety import SafetyGuard, Verdict
from gnfactor.ros.sensing.camera_file import calibration_of, save_calibration
from gnfactor.video import write_png
from tests.fake_robot import ROBOTS, FakeRobot, robot_config
from tests.hand_world import HandRobot, displaced, guided_joints, hand_config, right_looks, with_views

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> RobotConfig:
    quick = hand_config("executor.speed_m_s=0.25", "executor.turn_speed_rad_s=1.0")
    return in_folder(quick, tmp_path / "records")


def in_folder(config: RobotConfig, folder: Path) -> RobotConfig:
    return replace(config, calibration=replace(config.calibration, folder=str(folder)))


def passed(config: RobotConfig) -> RobotConfig:
    write_record(config, right_looks(3), NOW, Path("report"))
    return config


def test_without_a_passed_check_nothing_goes_on_and_the_command_is_named(config: RobotConfig) -> None:
    with pytest.raises(ConfigError, match=r"python -m gnfactor.ros.calibrate --check --config ROBOT.yaml"):
        require_calibration(config, None)
    with pytest.raises(ConfigError, match="--accept-calibration NAME"):
        require_calibration(config, "  ")


def test_somebody_may_take_the_responsibility_where_there_is_no_record(config: RobotConfig) -> None:
    assert require_calibration(config, " Ada ") == "Ada"
    assert require_calibration(passed(config), "Ada") is None


def test_a_passed_check_is_known_from_then_on(config: RobotConfig) -> None:
    assert require_calibration(passed(config), None) is None
    record = read_record(config)
    assert record is not None
    assert record.passed_at == "2026-03-04T05:06:07+00:00"
    assert record.cameras.keys() == config.cameras.keys()
    assert all(seen.fixed for seen in record.cameras.values())


ALTERATIONS: dict[str, Callable[[RobotConfig], RobotConfig]] = {
    "where the arm stands": lambda c: replace(
        c, arm=replace(c.arm, world_from_base=PoseConfig((0.0, 0.0, 0.75), (0.0, 0.0, 0.0, 1.0)))
    ),
    "the tool": lambda c: replace(
        c, arm=replace(c.arm, ee_from_gripper=PoseConfig((0.0, 0.0, 0.01), (0.0, 0.0, 1.0, 0.0)))
    ),
    "the depth's scale": lambda c: cameras_with(c, depth_scale=0.0011),
    "a frame": lambda c: cameras_with(c, frame="other"),
    "a camera more": lambda c: replace(c, cameras={**c.cameras, "wrist": c.cameras["front"]}),
    "a camera less": lambda c: replace(c, cameras={"front": c.cameras["front"]}),
    "the table": lambda c: replace(c, guard=replace(c.guard, table_height_m=0.76)),
    "a limit": lambda c: replace(c, calibration=replace(c.calibration, max_gripper_m=0.004)),
    "a marker": lambda c: replace(
        c, calibration=replace(c.calibration, marker=MarkerConfig("DICT_4X4_50", 1, 0.05, c.arm.ee_from_gripper))
    ),
}


def cameras_with(config: RobotConfig, **changes: Any) -> RobotConfig:
    return replace(config, cameras={name: replace(one, **changes) for name, one in config.cameras.items()})


@pytest.mark.parametrize("what", ALTERATIONS)
def test_another_arrangement_needs_another_check(config: RobotConfig, what: str) -> None:
    altered = ALTERATIONS[what](passed(config))
    with pytest.raises(ConfigError, match="has passed"):
        require_calibration(altered, None)


def test_what_a_check_does_not_depend_on_may_change(config: RobotConfig) -> None:
    slower = replace(passed(config), executor=replace(config.executor, speed_m_s=0.05))
    assert require_calibration(slower, None) is None


def test_a_calibration_file_counts_by_what_is_in_it(config: RobotConfig, tmp_path: Path) -> None:
    path, pose = tmp_path / "front.yaml", np.eye(4)
    save_calibration(path, calibration_of("panda_link0", "f", pose))
    by_file = cameras_with(config, extrinsics="file", calibration=str(path))
    before = arrangement_digest(by_file)
    copy = tmp_path / "copy.yaml"
    copy.write_bytes(path.read_bytes())
    assert arrangement_digest(cameras_with(by_file, calibration=str(copy))) == before
    pose[0, 3] = 0.001
    save_calibration(path, calibration_of("panda_link0", "f", pose))
    assert arrangement_digest(by_file) != before


def test_without_a_folder_the_record_is_among_the_users_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert record_path(hand_config()).parent == tmp_path / "gnfactor/calibrations"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert record_path(hand_config()).parent == tmp_path / ".local/share/gnfactor/calibrations"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cameras": {"front": {"intrinsics": [1]}}}', "\x00"])
def test_a_damaged_record_is_no_pass(config: RobotConfig, text: str) -> None:
    path = record_path(config)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no record of a check"):
        require_calibration(config, None)


def test_a_folder_that_cannot_be_made_is_said(config: RobotConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"set calibration\.folder"):
        passed(in_folder(config, tmp_path / "file/records"))


@given(distance_m=st.floats(0, 0.02), turn_deg=st.floats(0, 2), axis=st.sampled_from(range(3)))
@settings(max_examples=15)
def test_a_camera_that_was_moved_is_noticed_beyond_the_limits_and_not_within(
    distance_m: float, turn_deg: float, axis: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = in_folder(hand_config(), tmp_path_factory.mktemp("records"))
    record = read_record(passed(config))
    assert record is not None
    look, wrong = right_looks(1)[0], np.eye(4)
    wrong[:3, :3] = rotation_of(np.deg2rad(turn_deg) * np.eye(3)[axis])
    stand = look.views["front"].camera.world_from_camera[:3, 3]
    wrong[:3, 3] = stand - wrong[:3, :3] @ stand + distance_m * np.eye(3)[axis]
    views = {**look.views, "front": displaced(look.views["front"], wrong)}
    complaint = moved_complaint(record, views, look.world_from_gripper, config)
    limits = config.calibration
    within = distance_m <= limits.max_moved_m - 1e-6 and turn_deg <= limits.max_turned_deg - 1e-3
    beyond = distance_m > limits.max_moved_m + 1e-6 or turn_deg > limits.max_turned_deg + 1e-3
    assert complaint is None or not within
    assert complaint is not None or not beyond


def test_a_carried_camera_may_move_with_the_gripper_and_not_on_it(config: RobotConfig) -> None:
    gripper_from_camera = np.eye(4)
    gripper_from_camera[2, 3] = -0.1

    def carried(look: Any) -> Any:
        pose = look.world_from_gripper @ gripper_from_camera
        return with_views(look, lambda view: replace(view, camera=replace(view.camera, world_from_camera=pose)))

    first, second, third = (carried(look) for look in right_looks(3))
    write_record(config, [first, second], NOW, Path("report"))
    record = read_record(config)
    assert record is not None
    assert not any(seen.fixed for seen in record.cameras.values())
    assert moved_complaint(record, third.views, third.world_from_gripper, config) is None
    assert moved_complaint(record, third.views, second.world_from_gripper, config) is not None


def test_another_mode_of_a_camera_is_noticed_before_anything_moves(config: RobotConfig) -> None:
    robot = HandRobot(passed(config))
    assert require_unmoved(robot, config, None) is None
    robot.alter_view = lambda view: replace(
        view, camera=replace(view.camera, intrinsics=view.camera.intrinsics * np.array([[1.1], [1.1], [1]]))
    )
    with pytest.raises(ConfigError, match="has other intrinsics than on 2026-03-04"):
        require_unmoved(robot, config, None)
    assert require_unmoved(robot, config, "Ada") == "Ada"


def test_an_arm_that_moves_is_not_looked_at(config: RobotConfig) -> None:
    robot = HandRobot(config)

    def tremble(robot: FakeRobot) -> None:
        robot.joints = robot.joints + 0.01

    robot.on_state = tremble
    assert "has not stood still" in str(look_when_still(robot, config))


def test_a_state_that_has_stopped_coming_is_no_standing_arm(config: RobotConfig) -> None:
    robot = HandRobot(config, alter_state=lambda state: replace(state, stamp_s=99.0))
    assert "the state is" in str(look_when_still(robot, config))


def test_an_arm_that_stands_is_looked_at_after_a_second(config: RobotConfig) -> None:
    robot = HandRobot(config)
    look = look_when_still(robot, config)
    assert not isinstance(look, str)
    assert robot.clock_s > 101.0
    assert np.allclose(look.world_from_gripper, robot.pose)
    assert repeats(look, [look])
    assert not robot.record


def test_the_poses_around_one_are_different_from_it_and_each_other() -> None:
    look = right_looks(1)[0]
    looks = [replace(look, world_from_gripper=pose) for pose in poses_around(look.world_from_gripper)]
    assert len(looks) >= 7
    for number, one in enumerate(looks):
        assert not repeats(one, [look, *looks[:number]])


class Hand:
    """Guides a robot from pose to pose, and presses Enter."""

    def __init__(self, robot: HandRobot) -> None:
        self.robot, self.asked = robot, list[str]()

    def __call__(self, question: str) -> str:
        self.asked.append(question)
        if self.robot.guided:
            self.robot.guide()
            return ""
        return "q"


@pytest.fixture
def guided(config: RobotConfig, monkeypatch: pytest.MonkeyPatch) -> HandRobot:
    """The robot that the command connects to, guided by a hand."""
    config = replace(config, cameras={"front": config.cameras["front"]})
    robot = HandRobot(config, guided=guided_joints(config)[:3])
    monkeypatch.setattr(calibrate, "connect", lambda _: robot)
    monkeypatch.setattr(calibrate, "load", lambda _: config)
    monkeypatch.setattr(calibrate, "typed", Hand(robot))
    return robot


def run(out: Path, *more: str) -> int:
    return calibrate.main(["--config", "ROBOT.yaml", "--poses", "3", "--out", str(out), *more])


def test_a_right_calibration_is_checked_by_hand_and_recorded(
    guided: HandRobot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", "--check") == 0
    assert "The calibration PASSED" in capsys.readouterr().err
    said = json.loads((tmp_path / "out/report.json").read_text())
    assert said["passed"]
    assert said["arrangement"] == arrangement_digest(guided.config)
    assert {name: len(seen["shift_m"]) for name, seen in said["cameras"].items()} == {"front": 3}
    assert (tmp_path / "out/front.png").stat().st_size > 0
    assert require_calibration(guided.config, None) is None
    assert set(guided.record) <= {"hold", "close"}
    assert calibrate.main(["--show", "--config", "ROBOT.yaml"]) == 0
    assert "with front (fixed)" in capsys.readouterr().err


def test_a_wrong_calibration_fails_and_takes_the_record_back(
    guided: HandRobot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed(guided.config)
    guided.world_from_wrong[:3, 3] = (0.0, 0.02, 0.0)
    assert run(tmp_path / "out", "--check") == 1
    said = capsys.readouterr().err
    assert "The calibration FAILED" in said
    assert "so much is the camera's position off" in said
    assert read_record(guided.config) is None
    assert calibrate.main(["--show", "--config", "ROBOT.yaml"]) == 1


def test_whoever_gives_up_changes_nothing(guided: HandRobot, tmp_path: Path) -> None:
    passed(guided.config)
    guided.guided = guided.guided[:2]
    assert run(tmp_path / "out", "--check") == 1
    assert read_record(guided.config) is not None
    assert not (tmp_path / "out").exists()


def test_a_pose_taken_twice_counts_once(guided: HandRobot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guided.guided = [guided.guided[0], *guided.guided]
    assert run(tmp_path / "out", "--check") == 0
    said = capsys.readouterr().err
    assert "has been here before" in said
    assert [f"kept pose {number}; hand seen by front" in said for number in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_pose_in_which_a_camera_misses_the_hand_says_so(guided: HandRobot) -> None:
    guided.guide()
    config = guided.config
    right = Look(guided.observe(1.0), guided.state(), guided.pose)
    elsewhere = guided.pose.copy()
    elsewhere[:3, 3] += (0.3, 0.0, 0.3)
    assert calibrate.kept([right], config) == "  kept pose 1; hand seen by front"
    assert calibrate.kept([right, replace(right, world_from_gripper=elsewhere)], config) == (
        "  kept pose 2; hand not seen by front"
    )


def test_too_few_poses_are_refused(guided: HandRobot, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate.main(["--check", "--config", "ROBOT.yaml", "--poses", "2"]) == 2
    assert "in at least 3 poses" in capsys.readouterr().err


def test_the_arm_looks_at_itself_where_guard_and_operator_allow(
    guided: HandRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(("n", "y", "y"))
    monkeypatch.setattr(calibrate, "typed", lambda _: next(answers))
    guided.guide()
    assert run(tmp_path / "out", "--check", "--move") == 0
    said = capsys.readouterr().err
    assert "left out: the operator refused it" in said
    assert "kept pose 3; hand seen by front" in said
    assert guided.holding


def test_a_moving_check_speaks_of_poses_and_asks_about_none_that_the_guard_refuses(
    guided: HandRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return ("d", "q")[len(questions) - 1]

    monkeypatch.setattr(calibrate, "typed", answer)
    guided.guide()
    refused = iter([True])
    check = SafetyGuard.check

    def outside_once(guard: SafetyGuard, *seen: Any) -> Verdict:
        return Verdict("outside the box") if next(refused, False) else check(guard, *seen)

    monkeypatch.setattr(SafetyGuard, "check", outside_once)
    assert run(tmp_path / "out", "--check", "--move") == 1
    said = capsys.readouterr().err
    assert "left out: outside the box" in said
    assert "'d' is none of the answers" in said
    assert questions == ["y: do it, n: another pose, q: give up > "] * 2


def test_fingers_that_hold_something_do_not_go_on_a_journey(guided: HandRobot, tmp_path: Path) -> None:
    guided.fingers_m = np.full(2, 0.01)
    assert run(tmp_path / "out", "--check", "--move") == 2
    assert set(guided.record) <= {"hold", "close"}


def test_the_pictures_have_every_pose(config: RobotConfig, tmp_path: Path) -> None:
    looks = right_looks(3)
    report = check_camera("front", looks, config)
    sheet = draw_check(replace(report, sightings=(report.sightings[0], None, report.sightings[2])), looks)
    write_png(tmp_path / "sheet.png", sheet)
    assert sheet.shape[1] == 3 * 480
    assert (sheet[:4] == (60, 220, 90)).all()


@pytest.mark.parametrize("path", sorted(ROBOTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_robots_file_has_a_digest(path: Path) -> None:
    assert len(arrangement_digest(load([str(path)]))) == 64


def test_more_sightings_than_poses_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"calibration\.min_sightings is 6"):
        robot_config("calibration.min_sightings=6")
