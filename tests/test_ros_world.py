"""The simulated Franka behind franka_ros's names, over a real master: what the other tests with ROS stand on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from tests.ros.presence import require_ros

require_ros()

import rospy  # noqa: E402
import tf2_ros  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, JointState  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from gnfactor.envs.tabletop.robot import JOINT_4_OFFSET, REST_JOINTS, forward_kinematics  # noqa: E402
from gnfactor.ros.links.messages import message_class  # noqa: E402
from tests.ros.client import STATE, Client  # noqa: E402
from tests.ros.franka_node import ARM_JOINTS, BASE, BASE_POSITION_M, HAND  # noqa: E402
from tests.ros.master import LOOPBACK, environment, franka, free_port, listening_addresses, master  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    # Debian's rospy was written for older Pythons, and leaves its sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COLOR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
INFO = "/camera/color/camera_info"
VELOCITY, SUCCESS = "/simulation/gripper_velocity", "/simulation/success"
TRAJECTORY = "/position_joint_trajectory_controller/follow_joint_trajectory"
MOVE, GUIDING, REFLEX, USER_STOPPED = 2, 3, 4, 5


@dataclass(frozen=True)
class Nodes:
    """Processes beside this one."""

    master: subprocess.Popen[bytes]
    franka: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder, port = tmp_path_factory.mktemp("ros"), free_port()
    with pytest.MonkeyPatch.context() as patch, master(port, folder) as core, franka(port, folder) as arm:
        for name, value in environment(port, folder).items():
            patch.setenv(name, value)
        yield Nodes(core, arm)


@pytest.fixture(scope="module")
def client(nodes: Nodes) -> Iterator[Client]:
    rospy.init_node("test", disable_signals=True)
    client = Client()
    client.listen(STATE)
    for topic, kind in (
        ("/joint_states", JointState),
        (COLOR, Image),
        (DEPTH, Image),
        (INFO, CameraInfo),
        (VELOCITY, TwistStamped),
        (SUCCESS, Bool),
    ):
        client.listen(topic, kind)
    everything = {STATE, "/joint_states", COLOR, DEPTH, INFO, VELOCITY, SUCCESS}
    assert client.wait(lambda: client.latest.keys() >= everything), client.latest.keys()
    yield client
    rospy.signal_shutdown("the tests are over")


@pytest.fixture
def drawer(client: Client) -> Client:
    """The arm at rest and in order before a chest of drawers."""
    client.switch("camera", True)
    client.switch("stale_stamps", False)
    client.stage("open_drawer", 0, 0)
    assert client.wait(lambda: client.state().robot_mode == MOVE)
    return client


def speed_m_s(client: Client) -> float:
    """Of the gripper, in truth."""
    velocity = client.latest[VELOCITY].twist.linear
    return float(np.linalg.norm((velocity.x, velocity.y, velocity.z)))


def is_still(client: Client) -> bool:
    return speed_m_s(client) < 0.001


def lowered(client: Client, metres: float) -> np.ndarray:
    pose = client.pose()
    pose[2, 3] -= metres
    return pose


def test_pictures_and_states_come_often_enough(drawer: Client) -> None:
    """Other processes may have the cores for a while: the best of some seconds counts."""
    wanted = {COLOR: 15.0, DEPTH: 15.0, INFO: 15.0, STATE: 30.0, "/joint_states": 30.0}

    def is_fast() -> bool:
        now = time.monotonic()
        return all(sum(came > now - 1.0 for came in drawer.came_s[topic]) >= rate for topic, rate in wanted.items())

    assert drawer.wait(is_fast, 60.0), {
        topic: sum(came > time.monotonic() - 1.0 for came in drawer.came_s[topic]) for topic in wanted
    }


def test_nothing_listens_beyond_the_loopback_interface(nodes: Nodes, drawer: Client) -> None:
    for process in (nodes.master, nodes.franka):
        listening = listening_addresses(process.pid)
        assert listening, f"{process.args} does not listen at all"
        assert set(listening) == {LOOPBACK}


def test_the_state_agrees_with_the_kinematics(drawer: Client) -> None:
    state, joints = drawer.state(), drawer.latest["/joint_states"]
    assert joints.name[:7] == list(ARM_JOINTS)
    assert np.allclose(joints.position[:7], REST_JOINTS + np.eye(7)[3] * JOINT_4_OFFSET, atol=2e-3)
    assert np.allclose(joints.position[7:], 0.04, atol=1e-3)
    world_from_gripper = forward_kinematics(np.array(state.q) - np.eye(7)[3] * JOINT_4_OFFSET)
    world_from_gripper[:3, 3] -= BASE_POSITION_M
    assert np.allclose(drawer.pose(), world_from_gripper, atol=1e-4)


def test_the_table_is_where_frames_and_depth_say(drawer: Client) -> None:
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer)
    frame = drawer.latest[DEPTH].header.frame_id
    transform = buffer.lookup_transform(BASE, frame, rospy.Time(0), rospy.Duration(20)).transform
    assert buffer.lookup_transform(BASE, HAND, rospy.Time(0), rospy.Duration(20)).header.frame_id == BASE
    listener.unregister()
    depth, info = drawer.latest[DEPTH], drawer.latest[INFO]
    assert (depth.encoding, drawer.latest[COLOR].encoding) == ("16UC1", "rgb8")
    metres = np.frombuffer(depth.data, "<u2").reshape(depth.height, depth.width) / 1000
    v, u = np.mgrid[: depth.height, : depth.width]
    k = np.array(info.K).reshape(3, 3)
    points = np.stack(((u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)), -1) * metres[..., None]
    turn, at = transform.rotation, transform.translation
    (x, y, z, w) = (turn.x, turn.y, turn.z, turn.w)
    third_row = np.array((2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)))
    heights = points @ third_row + at.z
    # The arm is bolted to the table top, which fills much of the picture.
    assert (np.abs(heights[metres > 0]) < 0.003).mean() > 0.2


def test_a_target_moves_the_arm_there_and_it_stays(drawer: Client) -> None:
    assert drawer.go(lowered(drawer, 0.15)) < 0.003
    assert drawer.wait(lambda: is_still(drawer), 10.0)


def test_a_target_far_away_is_a_reflex_until_recovery(drawer: Client) -> None:
    start = drawer.pose()
    drawer.send(lowered(drawer, 0.3))
    assert drawer.wait(lambda: drawer.state().robot_mode == REFLEX)
    assert drawer.state().current_errors.cartesian_reflex
    assert drawer.wait(lambda: is_still(drawer), 10.0)
    drawer.send(lowered(drawer, 0.05))
    time.sleep(0.5)
    assert np.abs(drawer.pose() - start).max() < 0.003
    drawer.recover()
    assert drawer.wait(lambda: drawer.state().robot_mode == MOVE)
    assert drawer.go(lowered(drawer, 0.05)) < 0.003


def test_a_reflex_can_be_forced_in_the_middle_of_a_motion(drawer: Client) -> None:
    drawer.send(lowered(drawer, 0.1))
    assert drawer.wait(lambda: speed_m_s(drawer) > 0.02)
    drawer.trigger("force_reflex")
    assert drawer.wait(lambda: drawer.state().robot_mode == REFLEX)
    assert drawer.wait(lambda: is_still(drawer), 10.0)
    drawer.recover()


def test_a_stop_in_the_middle_of_a_motion_brakes_until_recovery(drawer: Client) -> None:
    drawer.send(lowered(drawer, 0.1))
    assert drawer.wait(lambda: speed_m_s(drawer) > 0.02)
    drawer.switch("user_stop", True)
    assert drawer.wait(lambda: drawer.state().robot_mode == USER_STOPPED)
    assert drawer.wait(lambda: is_still(drawer), 10.0)
    drawer.recover()
    assert drawer.state().robot_mode == USER_STOPPED
    drawer.switch("user_stop", False)
    drawer.recover()
    assert drawer.wait(lambda: drawer.state().robot_mode == MOVE)


def test_a_hand_guides_the_arm_to_a_pose(drawer: Client) -> None:
    drawer.switch("guide", True)
    assert drawer.wait(lambda: drawer.state().robot_mode == GUIDING)
    assert drawer.lead(lowered(drawer, 0.1), 10.0) < 0.003
    drawer.switch("guide", False)
    assert drawer.wait(lambda: drawer.state().robot_mode == MOVE)


def test_a_killed_camera_is_silent_until_it_is_back(drawer: Client) -> None:
    drawer.switch("camera", False)
    time.sleep(0.5)
    before = len(drawer.came_s[COLOR])
    time.sleep(0.5)
    assert len(drawer.came_s[COLOR]) == before
    drawer.switch("camera", True)
    assert drawer.wait(lambda: len(drawer.came_s[COLOR]) > before)


def test_stale_stamps_are_old(drawer: Client) -> None:
    drawer.switch("stale_stamps", True)
    assert drawer.wait(lambda: time.time() - drawer.latest[COLOR].header.stamp.to_sec() > 4.0, 10.0)
    assert drawer.wait(lambda: time.time() - drawer.latest["/joint_states"].header.stamp.to_sec() > 4.0, 10.0)
    drawer.switch("stale_stamps", False)
    assert drawer.wait(lambda: time.time() - drawer.latest[COLOR].header.stamp.to_sec() < 1.0, 10.0)


def test_a_trajectory_in_joint_space_is_followed(drawer: Client) -> None:
    goal = message_class("control_msgs/FollowJointTrajectoryGoal")()
    joints = np.array(drawer.latest["/joint_states"].position[:7]) + 0.2
    point = JointTrajectoryPoint(positions=joints.tolist(), time_from_start=rospy.Duration(1.0))
    goal.trajectory = JointTrajectory(joint_names=list(ARM_JOINTS), points=[point])
    result = drawer.act(TRAJECTORY, "control_msgs/FollowJointTrajectory", goal)
    assert result.error_code == result.SUCCESSFUL, result.error_string
    assert drawer.wait(lambda: np.abs(drawer.latest["/joint_states"].position[:7] - joints).max() < 0.01, 10.0)
    point.time_from_start = rospy.Duration(0.01)
    point.positions = (joints - 0.2).tolist()
    result = drawer.act(TRAJECTORY, "control_msgs/FollowJointTrajectory", goal)
    assert result.error_code == result.INVALID_GOAL
    assert "too fast" in result.error_string


def test_fingers_go_to_a_width_and_say_how_it_ended(drawer: Client) -> None:
    goal = message_class("franka_gripper/MoveGoal")(width=0.03, speed=0.1)
    assert drawer.act("/franka_gripper/move", "franka_gripper/Move", goal).success
    assert drawer.wait(lambda: abs(sum(drawer.latest["/joint_states"].position[7:]) - 0.03) < 0.002, 10.0)
    narrow = message_class("franka_gripper/GraspGoal")(width=0.03, speed=0.1, force=20.0)
    narrow.epsilon.inner = narrow.epsilon.outer = 0.005
    result = drawer.act("/franka_gripper/grasp", "franka_gripper/Grasp", narrow)
    assert not result.success
    assert "wanted were 30.0" in result.error
    homing = message_class("franka_gripper/HomingGoal")()
    assert drawer.act("/franka_gripper/homing", "franka_gripper/Homing", homing).success


def test_the_gripper_holds_and_lifts_a_block(client: Client) -> None:
    client.stage("stack_blocks", 0, 0)
    names = []
    while (step := client.expert_step()) is not None:
        names.append(step["name"])
        if step["name"] == "above the tower":
            break
    assert names[-1] == "above the tower", names
    width_m = sum(client.latest["/joint_states"].position[7:])
    assert 0.02 < width_m < 0.075
