"""The link by rosbridge to the simulated Franka of ROS 1, over a stand-in and over rosbridge_server where it is.

ROSBRIDGE_COMMAND starts the real one, with {port} for its port: `roslaunch rosbridge_server rosbridge_websocket.launch
address:=127.0.0.1 port:={port}`.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import LiveScene, Step
from gnfactor.errors import RobotError
from gnfactor.kinematics import between
from gnfactor.ros.config import RobotConfig, load
from gnfactor.ros.link import PoseTarget, RobotMode
from gnfactor.ros.links.bridge_access import bridge_access
from gnfactor.ros.links.bridge_messages import BridgeMessages
from gnfactor.ros.links.rosbridge import Rosbridge, Subscription
from gnfactor.ros.links.rosbridge_link import RosbridgeLink
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.scene import ARM
from tests.fake_robot import ROBOTS
from tests.ros.master import LOOPBACK, REPOSITORY, environment, franka, free_port, master, process, watchdog
from tests.ros.presence import require_ros

require_ros()

pytestmark = [pytest.mark.ros, pytest.mark.slow]
VELOCITY = "/simulation/gripper_velocity"
STILL_M_S = 0.001
SIMULATED = (
    "arm.ee_frame=panda_hand_tcp",
    "arm.ee_from_gripper={translation_m: [0, 0, 0], quaternion_xyzw: [0, 0, 0, 1]}",
    "guard.min_workspace_points=100",
    "link.type=rosbridge",
    "link.timeout_s=20",
)
"""What differs between the simulated Franka and the real one: it reports our own gripper frame."""


@dataclass
class Lab:
    """Processes beside this one; the bridge can be killed and started again."""

    ros_port: int
    port: int
    folder: Path
    command: tuple[str, ...]
    bridge: Any = None
    started: subprocess.Popen[bytes] | None = None

    def start_bridge(self) -> None:
        variables = environment(self.ros_port, self.folder)
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), variables.get("PYTHONPATH")]))
        self.bridge = process(self.command, variables, self.folder / "rosbridge.txt")
        self.started = self.bridge.__enter__()
        end_s = time.monotonic() + 20
        while not accepts(self.port):
            assert self.started.poll() is None, (self.folder / "rosbridge.txt").read_text()[-2000:]
            assert time.monotonic() < end_s, "the bridge does not listen"
            time.sleep(0.05)

    def kill_bridge(self) -> None:
        assert self.started is not None
        self.started.kill()
        self.bridge.__exit__(None, None, None)


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
        return True
    return False


def command_of(kind: str, port: int) -> tuple[str, ...]:
    if kind == "stand-in":
        return (sys.executable, "-m", "tests.ros.rosbridge_stand_in", "--port", str(port))
    command = os.environ.get("ROSBRIDGE_COMMAND")
    if not command:
        pytest.skip("no rosbridge_server is here; set ROSBRIDGE_COMMAND to the command that starts it")
    return tuple(shlex.split(command.format(port=port)))


@pytest.fixture(scope="module", params=["stand-in", "rosbridge_server"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder, ros_port, port = tmp_path_factory.mktemp("ros"), free_port(), free_port()
    command = command_of(request.param, port)
    with master(ros_port, folder), franka(ros_port, folder), watchdog(ros_port, folder):
        made = Lab(ros_port, port, folder, command)
        made.start_bridge()
        yield made
        made.kill_bridge()


def config_of(lab: Lab, *overrides: str) -> RobotConfig:
    address = f"link.uri=ws://{LOOPBACK}:{lab.port}"
    return load([str(ROBOTS / "franka_ros.yaml"), *SIMULATED, address, *overrides])


@contextmanager
def linked(config: RobotConfig) -> Iterator[RosbridgeLink]:
    link = RosbridgeLink(config)
    try:
        yield link
    finally:
        link.close()


@contextmanager
def speeds(config: RobotConfig) -> Iterator[list[float]]:
    """True speeds of the gripper as they come, over a connection of their own."""
    seen: list[float] = []

    def take(message: Any) -> None:
        linear = message.twist.linear
        seen.append(float(np.linalg.norm((linear.x, linear.y, linear.z))))

    bridge = Rosbridge(bridge_access(config.link), BridgeMessages(1))
    bridge.subscribe(VELOCITY, Subscription("geometry_msgs/TwistStamped", take, raw=True))
    bridge.start(config.link.timeout_s)
    wait_until(lambda: bool(seen))
    try:
        yield seen
    finally:
        bridge.close()


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> float:
    """Seconds until something is so."""
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < seconds, "it never came"
        time.sleep(0.005)
    return time.monotonic() - began_s


def go(env: RobotEnv, pose: np.ndarray, gripper_open: bool = True) -> Step:
    return env.step(Action({ARM: ArmTarget(pose, gripper_open=gripper_open, ignore_collisions=True)}))


@pytest.mark.parametrize("executor", ["impedance", "trajectory"])
def test_the_arm_goes_there_and_back_over_a_websocket(lab: Lab, executor: str) -> None:
    config = config_of(lab, f"executor.name={executor}")
    with linked(config) as link:
        env = RobotEnv(link, config)
        start = env.reset(LiveScene("go down and up")).observation
        assert link.state().mode is RobotMode.MOVE
        view = start.views["front"]
        assert view.rgb.std() > 5
        assert (view.depth_m > 0).mean() > 0.5
        home = start.arms[ARM].world_from_gripper
        low = home.copy()
        low[2, 3] -= 0.05
        for pose in (low, home):
            step = go(env, pose)
            assert (step.refused, step.blocked) == (None, None)
            assert between(step.observation.arms[ARM].world_from_gripper, pose)[0] < 0.012


def test_fingers_close_on_nothing_and_it_is_said(lab: Lab) -> None:
    config = config_of(lab)
    with linked(config) as link:
        env = RobotEnv(link, config)
        pose = env.reset(LiveScene("grasp the air")).observation.arms[ARM].world_from_gripper
        step = go(env, pose, gripper_open=False)
        assert "hold nothing" in str(step.blocked)
        assert link.state().width_m < 0.005
        assert go(env, pose).blocked is None
        assert link.state().width_m > 0.07


def test_an_arm_whose_bridge_is_killed_is_still_soon_and_moves_again_after_a_hold(lab: Lab) -> None:
    config = config_of(lab)
    with linked(config) as link:
        link.hold()
        start = link.state().base_from_gripper
        sequence = 0
        for i in range(1, 12):
            pose, sequence = start.copy(), i
            pose[2, 3] -= 0.003 * i
            link.stream(PoseTarget(i, link.now_s() + 0.3, pose))
            link.wait(1 / 30)
        lab.kill_bridge()
        killed_s = time.monotonic()
        wait_until(lambda: link._transport.loss() is not None)
        noticed_s = time.monotonic() - killed_s
        with pytest.raises(RobotError, match=f"the bridge at ws://{LOOPBACK}"):
            link.state()
        lab.start_bridge()
        with speeds(config) as seen:
            wait_until(lambda: seen[-1] < STILL_M_S)
        came_s = wait_until(lambda: link._transport.loss() is None)
        assert noticed_s < 0.5
        with pytest.raises(RobotError, match=r"lost.*hold before the next motion"):
            link.stream(PoseTarget(sequence + 1, link.now_s() + 0.3, start))
        link.hold()
        held = link.state().base_from_gripper
        assert between(held, start)[0] > 0.002, "it was on its way"
        link.stream(PoseTarget(sequence + 2, link.now_s() + 0.3, held))
        print(f"noticed after {noticed_s:.3f} s, back {came_s:.2f} s after the bridge listened")
