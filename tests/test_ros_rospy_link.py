"""The link by rospy, over a real master, with the simulated Franka and the watchdog as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.ros.presence import require_ros

require_ros()

import actionlib  # noqa: E402
import rospy  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402

from gnfactor.actions import Action, ArmTarget  # noqa: E402
from gnfactor.envs.base import LiveScene, Step  # noqa: E402
from gnfactor.errors import RobotError  # noqa: E402
from gnfactor.kinematics import between, gripper_pose  # noqa: E402
from gnfactor.ros.config import RobotConfig, load  # noqa: E402
from gnfactor.ros.link import (  # noqa: E402
    GripCommand,
    JointTrajectory,
    PlanRequest,
    PoseTarget,
    RobotLink,
    RobotMode,
)
from gnfactor.ros.links.connect import connect  # noqa: E402
from gnfactor.ros.links.messages import message_class  # noqa: E402
from gnfactor.ros.links.moveit_messages import ERROR_CODES  # noqa: E402
from gnfactor.ros.robot_env import RobotEnv  # noqa: E402
from gnfactor.scene import ARM, TABLE_HEIGHT_M  # noqa: E402
from tests.fake_robot import ROBOTS  # noqa: E402
from tests.ros.client import Client  # noqa: E402
from tests.ros.master import REPOSITORY, environment, franka, free_port, master, watchdog  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    # Debian's rospy was written for older Pythons, and leaves its sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
VELOCITY = "/simulation/gripper_velocity"
STILL_M_S = 0.001
SIMULATED = (
    "arm.ee_frame=panda_hand_tcp",
    "arm.ee_from_gripper={translation_m: [0, 0, 0], quaternion_xyzw: [0, 0, 0, 1]}",
    "guard.min_workspace_points=100",
)
"""What differs between the simulated Franka and the real one: it reports our own gripper frame."""


@dataclass
class Nodes:
    """Processes beside this one."""

    port: int
    folder: Path
    running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.master = self.running.enter_context(master(self.port, self.folder))
        self.running.enter_context(franka(self.port, self.folder))
        self.key.write_text("of both computers")
        self.watchdog = self.running.enter_context(watchdog(self.port, self.folder, "--key-file", str(self.key)))

    @property
    def key(self) -> Path:
        """File with the secret that signs commands."""
        return self.folder / "key"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    nodes = Nodes(free_port(), tmp_path_factory.mktemp("ros"))
    with pytest.MonkeyPatch.context() as patch, nodes.running:
        for name, value in environment(nodes.port, nodes.folder).items():
            patch.setenv(name, value)
        nodes.start()
        yield nodes


@pytest.fixture(scope="module")
def client(nodes: Nodes) -> Iterator[Client]:
    rospy.init_node("test", disable_signals=True)
    client = Client()
    client.listen(VELOCITY, TwistStamped)
    assert client.wait(lambda: VELOCITY in client.latest)
    yield client
    rospy.signal_shutdown("the tests are over")


Connect = Callable[..., RobotLink]


@pytest.fixture
def connected(nodes: Nodes, client: Client) -> Iterator[Connect]:
    """Links to an arm at rest; they are closed when the test ends."""
    client.stage("open_drawer", 0, 0)
    links: list[RobotLink] = []

    def make(*overrides: str) -> RobotLink:
        links.append(connect(config(f"watchdog.key_file={nodes.key}", *overrides)))
        if not any(override.startswith("topics.watchdog") for override in overrides):
            links[-1].hold()
        return links[-1]

    yield make
    for link in links:
        link.close()


def config(*overrides: str) -> RobotConfig:
    return load([str(ROBOTS / "franka_ros.yaml"), *SIMULATED, *overrides])


def speed_m_s(client: Client) -> float:
    """Of the gripper, in truth."""
    velocity = client.latest[VELOCITY].twist.linear
    return float(np.linalg.norm((velocity.x, velocity.y, velocity.z)))


def still_after_s(client: Client, since_s: float, within_s: float = 10.0) -> float:
    """How long after that the gripper was still, and stayed so for half a second."""
    still_since_s = None
    while time.monotonic() < since_s + within_s:
        moves = speed_m_s(client) >= STILL_M_S
        still_since_s = None if moves else still_since_s or time.monotonic()
        if still_since_s is not None and time.monotonic() - still_since_s > 0.5:
            return still_since_s - since_s
        time.sleep(0.005)
    raise AssertionError(f"the gripper still moves, at {speed_m_s(client)} m/s")


def lowered(link: RobotLink, metres: float) -> np.ndarray:
    pose = link.state().base_from_gripper.copy()
    pose[2, 3] -= metres
    return pose


def stream_down(link: RobotLink, metres: float, numbers: Iterator[int], speed: float = 0.1) -> None:
    """Targets straight down, and no word more."""
    start = link.state().base_from_gripper
    for i in range(1, round(metres / speed * 30) + 1):
        pose = start.copy()
        pose[2, 3] -= speed * i / 30
        link.stream(PoseTarget(next(numbers), link.now_s() + 0.3, pose))
        link.wait(1 / 30)


def act(link: RobotLink, config: RobotConfig, down_m: float, gripper_open: bool = True) -> tuple[Step, float]:
    """One action through the Env, from where the arm is; what came of it, and how far from its target it ended."""
    env = RobotEnv(link, config)
    start = env.reset(LiveScene("open the drawer")).observation.arms[ARM]
    goal = start.world_from_gripper.copy()
    goal[2, 3] -= down_m
    step = env.step(Action({ARM: ArmTarget(goal, gripper_open, ignore_collisions=False)}))
    return step, between(step.observation.arms[ARM].world_from_gripper, goal)[0]


def test_pictures_and_states_are_true(connected: Connect, client: Client) -> None:
    link = connected()
    state, view = link.state(), link.observe(0.5)["front"]
    model = config().arm.model()
    told = model.world_from_base @ state.base_from_gripper
    # The built-in world's arm is not quite the manufacturer's.
    assert between(told, gripper_pose(model, state.joint_positions))[0] < 3e-3
    assert state.mode == RobotMode.MOVE
    assert np.allclose(state.finger_positions_m, 0.04, atol=1e-3)
    assert 0 <= link.now_s() - state.stamp_s < 1
    v, u = np.mgrid[: view.camera.height, : view.camera.width]
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(view.camera.intrinsics).T
    points = rays * view.depth_m[..., None] @ view.camera.world_from_camera[:3, :3].T
    heights = points[..., 2] + view.camera.world_from_camera[2, 3]
    assert (np.abs(heights - TABLE_HEIGHT_M)[view.depth_m > 0] < 0.004).mean() > 0.2


@pytest.mark.parametrize("executor", ["impedance", "trajectory"])
def test_an_action_arrives_and_is_held(executor: str, connected: Connect, client: Client) -> None:
    chosen = (f"executor.name={executor}", "executor.speed_m_s=0.15")
    step, off_m = act(connected(*chosen), config(*chosen), 0.12)
    assert (step.refused, step.blocked) == (None, None)
    assert off_m < 0.01
    assert still_after_s(client, time.monotonic()) < 3


def test_fingers_that_hold_nothing_are_reported_and_open_again(connected: Connect) -> None:
    link, setup = connected(), config()
    step, _ = act(link, setup, 0.0, gripper_open=False)
    assert "they hold nothing" in str(step.blocked)
    assert link.state().width_m < 0.002
    link.start_grip(GripCommand(100, link.now_s() + 6, 0.08, 0.1, 0.0, grasp=False, tolerance_m=0.08))
    while link.progress().status == "running":
        link.wait(0.02)
    assert link.progress().status == "done"
    assert link.state().width_m > 0.07


def test_a_hold_stops_the_fingers_where_they_are(connected: Connect) -> None:
    link = connected()
    link.start_grip(GripCommand(1, link.now_s() + 6, 0.0, 0.03, 20.0, grasp=True, tolerance_m=0.08))
    while link.state().width_m > 0.06:
        link.wait(0.02)
    link.hold()
    link.wait(0.3)
    width_m = link.state().width_m
    link.wait(0.5)
    assert link.state().width_m == pytest.approx(width_m, abs=0.001)
    assert width_m > 0.03
    assert link.progress().status == "failed"


def test_late_and_disordered_commands_are_dropped(connected: Connect, client: Client) -> None:
    link = connected()
    start, away = link.state().base_from_gripper, lowered(link, 0.1)
    link.stream(PoseTarget(5, link.now_s() + 1, start))
    link.stream(PoseTarget(4, link.now_s() + 1, away))
    link.stream(PoseTarget(5, link.now_s() + 1, away))
    link.stream(PoseTarget(6, link.now_s() - 0.001, away))
    link.start_grip(GripCommand(3, link.now_s() + 1, 0.0, 0.1, 20.0, grasp=True, tolerance_m=0.08))
    link.wait(0.5)
    assert link.progress().sequence == 0
    assert between(link.state().base_from_gripper, start)[0] < 0.002
    assert link.state().width_m > 0.07


def test_a_hold_in_the_middle_of_a_motion_stills_the_arm(connected: Connect, client: Client) -> None:
    link = connected()
    stream_down(link, 0.08, count(1))
    assert speed_m_s(client) > 0.05
    held_s = time.monotonic()
    link.hold()
    assert still_after_s(client, held_s) < 2


def test_a_trajectory_is_watched_and_ends_with_our_silence(connected: Connect, client: Client) -> None:
    chosen = ("executor.name=trajectory",)
    link = connected(*chosen)
    joints = link.state().joint_positions
    goal = joints + 0.3 * np.eye(7)[0]
    way = JointTrajectory(1, link.now_s() + 9, np.array([4.0]), goal[None], np.zeros((1, 7)))
    link.start_trajectory(way)
    link.wait(1.5)
    assert link.progress().status == "running"
    assert still_after_s(client, time.monotonic()) < 2
    with pytest.raises(RobotError, match=r"this program said nothing for \d\.\d+ s while the arm moved"):
        link.progress()
    link.hold()
    assert np.abs(link.state().joint_positions - joints).max() < 0.25


def test_silence_is_a_hold_and_nothing_moves_before_the_next(connected: Connect, client: Client) -> None:
    link, numbers = connected(), count(1)
    stream_down(link, 0.08, numbers)
    silent_s = time.monotonic()
    assert still_after_s(client, silent_s) < 2
    with pytest.raises(RobotError, match=r"the watchdog: .*silent for 0\.\d+ s|said nothing for \d\.\d+ s"):
        link.stream(PoseTarget(next(numbers), link.now_s() + 0.3, lowered(link, 0.01)))
    link.hold()
    stream_down(link, 0.03, numbers)


def test_waiting_is_no_silence(connected: Connect) -> None:
    link, numbers = connected(), count(1)
    stream_down(link, 0.02, numbers)
    link.wait(0.8)
    stream_down(link, 0.02, numbers)


def test_a_watchdog_that_is_gone_lets_nothing_move(nodes: Nodes, connected: Connect, client: Client) -> None:
    link, numbers = connected(), count(1)
    stream_down(link, 0.05, numbers)
    nodes.watchdog.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(RobotError, match="the watchdog has been silent on /gnfactor/watchdog"):
            stream_down(link, 0.5, numbers, speed=0.02)
        with pytest.raises(RobotError, match="the measured pose was sent to /cartesian_impedance"):
            link.hold()
        assert still_after_s(client, time.monotonic()) < 2
    finally:
        nodes.watchdog.send_signal(signal.SIGCONT)
    assert client.wait(lambda: _holds(link))
    stream_down(link, 0.02, numbers)


def _holds(link: RobotLink) -> bool:
    try:
        link.hold()
    except RobotError:
        return False
    return True


def test_a_lost_master_is_said_until_it_is_back_and_held(nodes: Nodes, connected: Connect, client: Client) -> None:
    link, numbers = connected(), count(1)
    link.hold()
    nodes.master.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(RobotError, match=rf"the ROS master at http://127.0.0.1:{nodes.port} has not answered"):
            stream_down(link, 0.5, numbers, speed=0.02)
        with pytest.raises(RobotError, match="has not answered"):
            link.hold()
        assert still_after_s(client, time.monotonic()) < 2
    finally:
        nodes.master.send_signal(signal.SIGCONT)
    assert client.wait(lambda: _progresses(link))
    with pytest.raises(RobotError, match="hold before the next motion"):
        stream_down(link, 0.01, numbers)
    link.hold()
    stream_down(link, 0.02, numbers)


def _progresses(link: RobotLink) -> bool:
    try:
        link.progress()
    except RobotError:
        return False
    return True


def test_a_reflex_ends_on_our_word(connected: Connect, client: Client) -> None:
    link = connected()
    client.trigger("force_reflex")
    assert client.wait(lambda: link.state().mode == RobotMode.REFLEX)
    assert link.state().errors == ("cartesian_reflex",)
    link.recover()
    assert client.wait(lambda: link.state().mode == RobotMode.MOVE)
    stream_down(link, 0.02, count(1))


def test_without_a_watchdog_targets_go_to_the_controller(connected: Connect, client: Client) -> None:
    link = connected("watchdog.required=false")
    stream_down(link, 0.05, count(1))
    assert speed_m_s(client) > 0.05
    held_s = time.monotonic()
    link.hold()
    assert still_after_s(client, held_s) < 2


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (("topics.state=/nobody/states",), "nothing has come on /nobody/states"),
        (("actions.grip_move=/nobody/move",), "no action server answers at /nobody/move"),
        (("topics.target=/nobody/target",), "no controller listens to /nobody/target"),
        (("link.uri=http://127.0.0.1:9",), "no ROS master answers at http://127.0.0.1:9"),
    ],
)
def test_what_is_missing_at_the_start_is_named(overrides: tuple[str, ...], complaint: str, client: Client) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_MASTER_URI", os.environ["ROS_MASTER_URI"])
        with pytest.raises(RobotError, match=complaint):
            connect(config("link.timeout_s=1", *overrides))


def test_a_watchdog_that_never_spoke_is_missed_before_the_first_motion(connected: Connect) -> None:
    link = connected("topics.watchdog=/nobody/watchdog", "link.timeout_s=2")
    with pytest.raises(RobotError, match="no watchdog has spoken on /nobody/watchdog: start"):
        link.stream(PoseTarget(1, link.now_s() + 10, link.state().base_from_gripper))


@pytest.mark.slow
def test_moveit_is_asked_and_its_refusal_is_a_block(client: Client, connected: Connect) -> None:
    asked = []

    def plan(goal: object) -> None:
        asked.append(goal)
        result = message_class("moveit_msgs/MoveGroupResult")()
        result.error_code.val = ERROR_CODES["GOAL_IN_COLLISION"]
        server.set_aborted(result, "no plan")

    action = message_class("moveit_msgs/MoveGroupAction")
    server = actionlib.SimpleActionServer("/move_group", action, plan, auto_start=False)
    server.start()
    chosen = ("executor.name=moveit", "actions.move_group=/move_group")
    try:
        link = connected(*chosen)
        goal = lowered(link, 0.1)
        link.start_plan(PlanRequest(1, link.now_s() + 5, goal, avoid_collisions=True, speed_share=0.1))
        while link.progress().status == "running":
            link.wait(0.02)
    finally:
        server.action_server.status_timer.shutdown()
    assert "MoveIt answers GOAL_IN_COLLISION (-12)" in link.progress().message
    (request,) = [goal.request for goal in asked]
    assert request.max_velocity_scaling_factor == 0.1
    (ball,) = request.goal_constraints[0].position_constraints
    centre = ball.constraint_region.primitive_poses[0].position
    assert np.allclose((centre.x, centre.y, centre.z), goal[:3, 3])


@pytest.mark.slow
def test_a_process_of_its_own_ends_and_listens_to_this_computer_only(nodes: Nodes, client: Client) -> None:
    """A whole connection without ROS_IP: held, closed and gone."""
    program = (
        "import os, sys; from gnfactor.ros.config import load; from gnfactor.ros.links.connect import connect\n"
        "from tests.ros.master import listening_addresses\n"
        "link = connect(load(sys.argv[1:])); link.hold()\n"
        "print(*set(listening_addresses(os.getpid()))); link.close(); link.close()\n"
    )
    names = {**environment(nodes.port, nodes.folder), "PYTHONWARNINGS": "ignore"}
    names["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), names["PYTHONPATH"]])
    variables = {name: value for name, value in names.items() if name != "ROS_IP"}
    arguments = [str(ROBOTS / "franka_ros.yaml"), *SIMULATED, f"watchdog.key_file={nodes.key}"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "127.0.0.1"), ended.stderr


@pytest.mark.slow
def test_a_robot_that_is_started_anew_is_found_again(nodes: Nodes, connected: Connect, client: Client) -> None:
    """Master, robot and watchdog, as a launch file ends and starts them; nobody tells us."""
    link, numbers = connected(), count(1)
    stream_down(link, 0.02, numbers)
    nodes.running.close()
    with pytest.raises(RobotError, match="has not"):
        stream_down(link, 1.0, numbers)
    nodes.start()
    assert client.wait(lambda: _holds(link), 20.0)
    before = link.state().base_from_gripper
    stream_down(link, 0.05, numbers)
    assert before[2, 3] - link.state().base_from_gripper[2, 3] > 0.02
    assert link.observe(1.0)["front"].depth_m.any()
