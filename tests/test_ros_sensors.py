from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.errors import ConfigError, RobotError
from gnfactor.ros.config import CameraConfig, RobotConfig, load
from gnfactor.ros.link import RobotMode, RobotState, RobotView
from gnfactor.ros.sensing.camera_file import calibration_of, load_calibration, save_calibration
from gnfactor.ros.sensing.sensors import Sensors
from tests.fake_robot import READY, ROBOTS, FakeRobot
from tests.robot_messages import as_rospy, franka_state, joint_state, pictures, tf, transform
from tests.strategies import poses

FILES = {1: "franka_ros.yaml", 2: "fr3_ros2.yaml"}


@cache
def config_of(ros: int, **camera: Any) -> RobotConfig:
    config = load([str(ROBOTS / FILES[ros])])
    front = replace(config.cameras["front"], **camera)
    return replace(config, cameras={"front": front})


class Robot:
    """What a robot would publish about one moment, taken by sensors."""

    def __init__(self, ros: int = 1, rospy: bool = False, **camera: Any) -> None:
        self.ros, self.config = ros, config_of(ros, **camera)
        self.sensors, self.rospy = Sensors(self.config), rospy
        fake = FakeRobot(self.config)
        self.view = replace(fake.observe(1.0)["front"], stamp_s=100.0)
        self.front = self.config.cameras["front"]

    def say(self, topic: str, message: Any) -> None:
        self.sensors.take(topic, as_rospy(message) if self.rospy else message)

    def place_camera(self) -> None:
        arm = self.config.arm
        pose = np.linalg.inv(arm.world_from_base.matrix) @ self.view.camera.world_from_camera
        self.say(
            self.config.topics.tf_static, tf(self.ros, transform(self.ros, 0, arm.base_frame, self.front.frame, pose))
        )

    def show(self, **changes: Any) -> None:
        color, depth, info = pictures(self.ros, self.view, self.front.frame)
        parts = {"color": color, "depth": depth, "info": info} | changes
        for name, message in parts.items():
            self.say(getattr(self.front, name), message)

    def joints(self) -> dict[str, float]:
        arm = self.config.arm
        return dict(zip(arm.joint_names, READY, strict=True)) | dict.fromkeys(arm.finger_joint_names, 0.03)

    def state(self, mode: RobotMode = RobotMode.MOVE, errors: tuple[str, ...] = ()) -> RobotState:
        speeds = np.arange(7) / 10
        fingers = np.full(2, 0.03)
        pose = np.linalg.inv(self.config.arm.world_from_base.matrix) @ FakeRobot(self.config).pose
        return RobotState(100.0, mode, errors, READY, speeds, pose, fingers)

    def report(self, state: RobotState | None = None) -> None:
        state, arm = state or self.state(), self.config.arm
        base_from_ee = state.base_from_gripper @ np.linalg.inv(arm.ee_from_gripper.matrix)
        self.say(self.config.topics.state, franka_state(self.ros, state, base_from_ee, arm.joint_names))
        self.say(self.config.topics.joint_states, joint_state(self.ros, state.stamp_s, self.joints()))


DIALECTS = [(1, False), (1, True), (2, False)]


@pytest.mark.parametrize(("ros", "rospy"), DIALECTS)
def test_a_view_is_what_the_camera_saw_in_the_policys_world(ros: int, rospy: bool) -> None:
    robot = Robot(ros, rospy)
    robot.place_camera()
    robot.show()
    seen = robot.sensors.views(100.1, 0.5)
    assert seen is not None
    view, expected = seen["front"], robot.view
    np.testing.assert_array_equal(view.rgb, expected.rgb)
    np.testing.assert_allclose(view.depth_m, expected.depth_m, atol=0.00051)
    np.testing.assert_allclose(view.camera.world_from_camera, expected.camera.world_from_camera, atol=1e-9)
    np.testing.assert_allclose(view.camera.intrinsics, expected.camera.intrinsics)
    assert view.stamp_s == 100.0


@pytest.mark.parametrize(("ros", "rospy"), DIALECTS)
def test_a_state_is_what_the_arm_said(ros: int, rospy: bool) -> None:
    robot = Robot(ros, rospy)
    said = robot.state(RobotMode.REFLEX, ("joint_reflex",))
    robot.report(said)
    heard = robot.sensors.state()
    assert (heard.mode, heard.errors, heard.stamp_s) == (RobotMode.REFLEX, ("joint_reflex",), 100.0)
    assert heard.width_m == pytest.approx(0.06)
    for name in ("joint_positions", "joint_velocities", "base_from_gripper", "finger_positions_m"):
        np.testing.assert_allclose(getattr(heard, name), getattr(said, name), atol=1e-9)


@given(st.lists(st.permutations(range(9)), min_size=1, max_size=3))
def test_joints_are_found_by_name_in_whatever_order_and_pieces_they_come(orders: list[list[int]]) -> None:
    robot = Robot()
    robot.report()
    names = list(robot.joints())
    for order in orders:
        for part in (order[:4], order[4:]):
            positions = {names[i]: 0.001 * i for i in part}
            robot.say(robot.config.topics.joint_states, joint_state(1, 101.0, positions))
    np.testing.assert_allclose(robot.sensors.state().finger_positions_m, [0.007, 0.008])


def test_a_state_is_as_old_as_its_oldest_part() -> None:
    robot = Robot()
    robot.report()
    robot.say(robot.config.topics.joint_states, joint_state(1, 99.0, robot.joints()))
    assert robot.sensors.state().stamp_s == 99.0


def test_fingers_may_have_a_topic_of_their_own() -> None:
    config = load([str(ROBOTS / FILES[1]), "topics.finger_states=/fingers"])
    sensors, robot = Sensors(config), Robot()
    robot.sensors = sensors
    robot.report()
    with pytest.raises(RobotError, match="nothing has come yet on /fingers"):
        sensors.state()
    sensors.take("/fingers", joint_state(1, 98.0, dict.fromkeys(config.arm.finger_joint_names, 0.02)))
    assert sensors.state().width_m == pytest.approx(0.04)
    assert sensors.topics()["/fingers"] == "sensor_msgs/JointState"


@pytest.mark.parametrize("ros", [1, 2])
def test_topics_have_the_types_of_their_generation(ros: int) -> None:
    topics = Robot(ros).sensors.topics()
    robot_state, infix = {1: ("FrankaState", "/"), 2: ("FrankaRobotState", "/msg/")}[ros]
    kinds = sorted(set(topics.values()))
    messages = ("franka_msgs", robot_state), ("sensor_msgs", "CameraInfo"), ("sensor_msgs", "Image")
    others = ("sensor_msgs", "JointState"), ("tf2_msgs", "TFMessage")
    assert kinds == sorted(infix.join(name) for name in (*messages, *others))
    assert topics["/tf_static"] == infix.join(("tf2_msgs", "TFMessage"))


def test_what_has_not_come_is_named_until_it_comes() -> None:
    robot = Robot()
    front, topics = robot.front, robot.config.topics
    silent = [topics.state, topics.joint_states, front.color, front.depth, front.info]
    assert sorted(robot.sensors.missing()) == sorted([*silent, topics.tf])
    assert front.color in robot.sensors.blindness(100.0, 0.5)
    with pytest.raises(RobotError, match=f"nothing has come yet on {topics.state}, {topics.joint_states}"):
        robot.sensors.state()
    robot.report()
    robot.show()
    assert robot.sensors.missing() == [topics.tf]
    with pytest.raises(RobotError, match="no way from 'panda_link0' to 'camera_color_optical_frame'"):
        robot.sensors.views(100.0, 0.5)
    robot.place_camera()
    assert robot.sensors.missing() == []
    assert robot.sensors.adrift() == []
    assert robot.sensors.blindness(100.0, 0.5) == ""


def test_a_frame_that_tf_does_not_know_is_named_with_those_that_it_knows() -> None:
    robot = Robot()
    header = SimpleNamespace(frame_id="world", stamp=SimpleNamespace(secs=1, nsecs=0))
    transform = SimpleNamespace(header=header, child_frame_id="panda_link0", transform=SimpleNamespace())
    robot.sensors.take(robot.config.topics.tf_static, SimpleNamespace(transforms=[transform]))
    assert robot.config.topics.tf not in robot.sensors.missing()
    (said,) = robot.sensors.adrift()
    assert "'camera_color_optical_frame' (cameras.front.frame); it knows panda_link0, world" in said


def test_old_pictures_are_none_and_their_age_is_said() -> None:
    robot = Robot()
    robot.place_camera()
    robot.show()
    assert robot.sensors.views(100.5, 0.5) is not None
    assert robot.sensors.views(100.51, 0.5) is None
    assert "'front' is 0.51 s old; at most 0.5 s" in robot.sensors.blindness(100.51, 0.5)


def test_colour_and_depth_of_different_moments_are_no_view() -> None:
    robot = Robot()
    robot.place_camera()
    late = pictures(1, replace(robot.view, stamp_s=100.1), robot.front.frame)
    robot.show(depth=late[1])
    assert robot.sensors.views(100.1, 0.5) is None
    assert "is 0.10 s old and its newest depth 0.00 s; no two are within 0.02 s" in robot.sensors.blindness(100.1, 0.5)
    robot.show(color=late[0])
    seen = robot.sensors.views(100.1, 0.5)
    assert seen is not None
    assert seen["front"].stamp_s == pytest.approx(100.1)


def test_every_camera_must_see() -> None:
    robot = Robot()
    other = CameraConfig("/c2", "/d2", "/i2", "second")
    robot.sensors = Sensors(replace(robot.config, cameras={"front": robot.front, "second": other}))
    robot.place_camera()
    robot.show()
    assert robot.sensors.views(100.0, 0.5) is None
    assert "'second' has heard nothing on /c2, /d2, /i2" in robot.sensors.blindness(100.0, 0.5)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_another_frame_than_the_configured_one_is_refused(part: int) -> None:
    robot = Robot()
    robot.place_camera()
    name = ("color", "depth", "info")[part]
    robot.show(**{name: pictures(1, robot.view, "elsewhere")[part]})
    with pytest.raises(RobotError, match=f"{getattr(robot.front, name)} is in the frame 'elsewhere'"):
        robot.sensors.views(100.0, 0.5)


@pytest.mark.parametrize("part", ["color", "depth"])
def test_pictures_of_another_size_than_their_info_are_refused(part: str) -> None:
    robot = Robot()
    robot.place_camera()
    view = robot.view
    half = RobotView(view.camera, view.rgb[:32], view.depth_m[:32], view.stamp_s)
    color, depth, _ = pictures(1, half, robot.front.frame)
    robot.show(**{part: {"color": color, "depth": depth}[part]})
    with pytest.raises(RobotError, match=r"has 64 x 32 pixels, .* is of 64 x 64"):
        robot.sensors.views(100.0, 0.5)


def wrong_states() -> dict[str, tuple[RobotState, str]]:
    state = Robot().state()
    nan = np.full(7, np.nan)
    scaled = np.diag([2.0, 2, 2, 1]) @ state.base_from_gripper
    return {
        "joint": (replace(state, joint_positions=nan), r"joint positions \[nan.*seven finite numbers"),
        "speed": (replace(state, joint_velocities=nan), r"joint velocities \[nan"),
        "pose": (replace(state, base_from_gripper=scaled), "O_T_EE = .* column by column"),
        "rows": (replace(state, base_from_gripper=state.base_from_gripper.T), "column by column"),
    }


@pytest.mark.parametrize("name", ["joint", "speed", "pose", "rows"])
def test_a_state_that_cannot_be_is_refused(name: str) -> None:
    state, answer = wrong_states()[name]
    robot = Robot()
    base_from_ee = state.base_from_gripper
    robot.report()
    robot.say(robot.config.topics.state, franka_state(1, state, base_from_ee, robot.config.arm.joint_names))
    with pytest.raises(RobotError, match=answer):
        robot.sensors.state()


@pytest.mark.parametrize("ros", [1, 2])
def test_joints_of_another_robot_are_refused_with_both_names(ros: int) -> None:
    robot = Robot(ros)
    robot.report()
    sensors = Sensors(robot.config)
    robot.sensors = sensors
    other = replace(robot.config.arm, joint_names=tuple(f"ur_joint{i}" for i in range(7)))
    message = franka_state(ros, robot.state(), np.eye(4), other.joint_names)
    robot.say(robot.config.topics.state, message)
    robot.say(robot.config.topics.joint_states, joint_state(ros, 100.0, dict.fromkeys(other.joint_names, 0.0)))
    with pytest.raises(RobotError, match=r"no position of (panda|fr3)_joint1, .*; it has ur_joint0"):
        sensors.state()


def test_an_unknown_mode_is_no_mode_to_move_in() -> None:
    robot = Robot()
    message = franka_state(1, robot.state(), np.eye(4), robot.config.arm.joint_names)
    message.robot_mode = 42
    robot.report()
    robot.say(robot.config.topics.state, message)
    assert robot.sensors.state().mode is RobotMode.OTHER


@given(poses())
def test_a_calibration_file_says_what_was_saved(pose: Any) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "eye.yaml"
        save_calibration(path, calibration_of("panda_link0", "eye", pose.numpy()))
        found = load_calibration(path, "cameras.eye.calibration")
    assert (found.parent_frame, found.camera_frame) == ("panda_link0", "eye")
    np.testing.assert_allclose(found.parent_from_camera, pose.numpy(), atol=1e-9)


@pytest.mark.parametrize("parent", ["panda_link0", "panda_hand"])
def test_a_camera_stands_where_its_file_says(tmp_path: Path, parent: str) -> None:
    path = tmp_path / "front.yaml"
    parent_from_camera = np.array([[0, 0, 1, 0.1], [1, 0, 0, 0.2], [0, 1, 0, 0.3], [0, 0, 0, 1.0]])
    frame = config_of(1).cameras["front"].frame
    save_calibration(path, calibration_of(parent, frame, parent_from_camera))
    robot = Robot(extrinsics="file", calibration=str(path))
    base_from_hand = np.eye(4)
    base_from_hand[2, 3] = 0.5
    if parent == "panda_hand":
        assert robot.config.topics.tf in robot.sensors.missing()
        robot.say(robot.config.topics.tf, tf(1, transform(1, 100.0, "panda_link0", parent, base_from_hand)))
    robot.show()
    seen = robot.sensors.views(100.0, 0.5)
    assert seen is not None
    base_from_parent = base_from_hand if parent == "panda_hand" else np.eye(4)
    expected = robot.config.arm.world_from_base.matrix @ base_from_parent @ parent_from_camera
    np.testing.assert_allclose(seen["front"].camera.world_from_camera, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "parent_frame"),
        ("parent_frame: a\ncamera_frame: b\ntranslation_m: [0, 0, 0]\nquaternion_xyzw: [0, 0, 0, 2]", "length 2"),
        ("parent_frame: a\ncamera_frame: b\ntranslation_m: [0, 0]\nquaternion_xyzw: [0, 0, 0, 1]", "translation_m"),
        ("parent: a", "'parent'"),
    ],
)
def test_a_calibration_that_is_none_is_refused(tmp_path: Path, text: str, answer: str) -> None:
    path = tmp_path / "front.yaml"
    path.write_text(text or "{}")
    with pytest.raises(ConfigError, match=answer):
        load_calibration(path, "cameras.front.calibration")


def test_a_calibration_that_is_not_there_is_named_by_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"^cameras.front.calibration, nope.yaml, cannot be read: No such file"):
        Robot(extrinsics="file", calibration="nope.yaml")


def test_the_file_of_another_camera_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "front.yaml"
    save_calibration(path, calibration_of("panda_link0", "another_eye", np.eye(4)))
    with pytest.raises(ConfigError, match=r"of the camera frame 'another_eye', cameras.front.frame is 'camera_color"):
        Robot(extrinsics="file", calibration=str(path))


def test_compressed_depth_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="compressed depth is not read"):
        Robot(depth="/camera/depth/image_raw/compressedDepth")


def test_compressed_colour_is_known_by_its_name() -> None:
    assert Robot(2, color="/c/image/compressed").sensors.topics()["/c/image/compressed"].endswith("CompressedImage")


def test_threads_may_speak_while_it_is_asked() -> None:
    robot = Robot()
    robot.place_camera()
    robot.show()
    over = threading.Event()

    def speak() -> None:
        while not over.is_set():
            robot.show()
            robot.report()

    speakers = [threading.Thread(target=speak) for _ in range(2)]
    for speaker in speakers:
        speaker.start()
    for _ in range(30):
        assert robot.sensors.views(100.1, 0.5) is not None
    over.set()
    for speaker in speakers:
        speaker.join()
