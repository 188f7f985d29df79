"""A Franka behind franka_ros's names: `python -m tests.ros.franka_node --task open_drawer --camera camera=front`.

Joint positions are in the manufacturer's convention and poses in `panda_link0`, as franka_ros has them. What no real
arm has stands under /simulation: the gripper's true velocity, whether the task is done, what the expert would do next,
and switches that break things.
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import actionlib
import numpy as np
import rospy
import torch
from geometry_msgs.msg import PoseStamped, TransformStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage

from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.robot import BASE_POSITION_M, JOINT_4_OFFSET
from gnfactor.ros.links.messages import message_class
from tests.ros.camera_topics import CameraTopics, optical_frame
from tests.ros.pose_messages import matrix_of, transform_message
from tests.ros.simulation import Simulation
from tests.ros.state_message import MODES, FrankaState
from tests.ros.switches import Faults, serve_switches

BASE, HAND = "panda_link0", "panda_hand_tcp"
ARM_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
STATE_HZ, TRUTH_HZ = 50.0, 100.0
_STALE_S = 5.0
"""How old the stamps of pictures and states are made by the switch."""
_ZERO = np.array([0, 0, 0, JOINT_4_OFFSET, 0, 0, 0])
_WORLD_FROM_BASE = np.eye(4)
_WORLD_FROM_BASE[:3, 3] = BASE_POSITION_M
_ACTION_S = 30.0
"""Longest time that an action is waited for."""


class FrankaNode:
    """Publishers, subscribers, action servers and switches around one simulation."""

    def __init__(self, simulation: Simulation, cameras: dict[str, str], size: int, camera_hz: float) -> None:
        self._simulation, self._cameras, self._size = simulation, cameras, size
        self._faults = Faults()
        self._joints = rospy.Publisher("/joint_states", JointState, queue_size=1)
        self._state = rospy.Publisher("/franka_state_controller/franka_states", FrankaState, queue_size=1)
        self._tf = rospy.Publisher("/tf", TFMessage, queue_size=10)
        self._velocity = rospy.Publisher("/simulation/gripper_velocity", TwistStamped, queue_size=1)
        self._success = rospy.Publisher("/simulation/success", Bool, queue_size=1)
        self._static_tf = rospy.Publisher("/tf_static", TFMessage, queue_size=1, latch=True)
        self._static_tf.publish(TFMessage(self._fixed_frames()))
        self._pictures = {name: CameraTopics(name) for name in cameras}
        target = "/cartesian_impedance_example_controller/equilibrium_pose"
        rospy.Subscriber(target, PoseStamped, self._on_target, queue_size=1, tcp_nodelay=True)
        rospy.Subscriber("/simulation/hand", PoseStamped, self._on_hand, queue_size=1, tcp_nodelay=True)
        self._serve_actions()
        serve_switches(simulation, self._faults)
        for name, rate, work in (
            ("state", STATE_HZ, self._publish_state),
            ("truth", TRUTH_HZ, self._publish_truth),
            ("camera", camera_hz, self._publish_pictures),
        ):
            threading.Thread(target=_repeat, args=(rate, work), name=name, daemon=True).start()

    def _serve_actions(self) -> None:
        arm, fingers = "/position_joint_trajectory_controller", "/franka_gripper"
        self._servers = [
            self._serve(f"{arm}/follow_joint_trajectory", "control_msgs/FollowJointTrajectory", self._follow),
            self._serve("/franka_control/error_recovery", "franka_msgs/ErrorRecovery", self._recover),
            self._serve(f"{fingers}/move", "franka_gripper/Move", self._move_fingers),
            self._serve(f"{fingers}/grasp", "franka_gripper/Grasp", self._grasp),
            self._serve(f"{fingers}/homing", "franka_gripper/Homing", self._home),
            self._serve(f"{fingers}/stop", "franka_gripper/Stop", self._stop_fingers),
        ]

    def _serve(self, name: str, kind: str, execute: Callable[[Any, Any], Any]) -> actionlib.SimpleActionServer:
        """An action server; `execute` takes the server and the goal and returns the result, with success or without."""
        server = actionlib.SimpleActionServer(
            name, message_class(f"{kind}Action"), lambda goal: _answer(server, execute(server, goal)), auto_start=False
        )
        server.start()
        return server

    def _on_target(self, message: PoseStamped) -> None:
        if message.header.frame_id != BASE:
            rospy.logerr(f"a target in {message.header.frame_id or 'no frame'} is not heeded; it has to be in {BASE}")
            return
        pose = _WORLD_FROM_BASE @ matrix_of(message.pose)
        with self._simulation.lock:
            self._simulation.panda.track(pose)

    def _on_hand(self, message: PoseStamped) -> None:
        with self._simulation.lock:
            self._simulation.panda.lead(_WORLD_FROM_BASE @ matrix_of(message.pose))

    def _follow(self, server: actionlib.SimpleActionServer, goal: Any) -> Any:
        result = message_class("control_msgs/FollowJointTrajectoryResult")()
        trajectory = goal.trajectory
        if sorted(trajectory.joint_names) != sorted(ARM_JOINTS):
            result.error_code, result.error_string = result.INVALID_JOINTS, f"expected {', '.join(ARM_JOINTS)}"
            return result
        order = [trajectory.joint_names.index(name) for name in ARM_JOINTS]
        times = np.array([point.time_from_start.to_sec() for point in trajectory.points])
        positions = np.array([point.positions for point in trajectory.points]).reshape(-1, 7)[:, order] - _ZERO
        panda = self._simulation.panda
        with self._simulation.lock:
            refused = panda.follow(times, positions)
        if refused is not None:
            result.error_code, result.error_string = result.INVALID_GOAL, refused
            return result
        self._wait(server, lambda: not panda.follows_path)
        with self._simulation.lock:
            if panda.follows_path:
                panda.stop()
            miss = float(np.abs(panda.joints - positions[-1]).max())
        if miss > 0.05:
            result.error_code, result.error_string = result.GOAL_TOLERANCE_VIOLATED, f"a joint is {miss:.3f} rad away"
        return result

    def _recover(self, server: actionlib.SimpleActionServer, goal: Any) -> Any:
        with self._simulation.lock:
            self._simulation.panda.recover()
        return message_class("franka_msgs/ErrorRecoveryResult")()

    def _move_fingers(self, server: actionlib.SimpleActionServer, goal: Any) -> Any:
        width = self._close_to(server, goal.width, goal.speed, grasp=False)
        return _gripped("franka_gripper/MoveResult", width, goal.width, 0.002, 0.002)

    def _grasp(self, server: actionlib.SimpleActionServer, goal: Any) -> Any:
        width = self._close_to(server, 0.0, goal.speed, grasp=True)
        return _gripped("franka_gripper/GraspResult", width, goal.width, goal.epsilon.inner, goal.epsilon.outer)

    def _home(self, server: actionlib.SimpleActionServer, goal: Any) -> Any:
        self._close_to(server, 0.0, 0.1, grasp=False)
        width = self._close_to(server, 0.08, 0.1, grasp=False)
        return _gripped("franka_gripper/HomingResult", width, 0.08, 0.002, 0.002)

    def _stop_fingers(self, server: actionlib.SimpleActionServer, goal: Any) -> Any:
        with self._simulation.lock:
            self._simulation.panda.stop_fingers()
        return message_class("franka_gripper/StopResult")(True, "")

    def _close_to(
        self, server: actionlib.SimpleActionServer, width_m: float, speed_m_s: float, *, grasp: bool
    ) -> float:
        """Move the fingers and wait for them; their distance then (m)."""
        panda = self._simulation.panda
        with self._simulation.lock:
            panda.move_fingers(width_m, speed_m_s, grasp)
        self._wait(server, lambda: panda.has_reached_width)
        with self._simulation.lock:
            if server.is_preempt_requested():
                panda.stop_fingers()
            return panda.width_m

    def _wait(self, server: actionlib.SimpleActionServer, is_done: Callable[[], bool]) -> None:
        """Wait for something, a cancellation, or the end of patience."""
        end = time.monotonic() + _ACTION_S
        while time.monotonic() < end and not server.is_preempt_requested() and not rospy.is_shutdown():
            with self._simulation.lock:
                if is_done():
                    return
            time.sleep(0.005)

    def _publish_state(self) -> None:
        if self._faults.silent_state:
            return
        panda = self._simulation.panda
        with self._simulation.lock:
            stamp = _stamp(time.time(), self._faults.stale_states)
            joints, speeds, pose = panda.joints + _ZERO, panda.joint_speeds, panda.world_from_gripper
            width, mode = panda.width_m, panda.mode
        pose[:3, 3] -= BASE_POSITION_M
        state = JointState(name=[*ARM_JOINTS, *FINGER_JOINTS])
        state.header.stamp = stamp
        state.position, state.velocity = [*joints, width / 2, width / 2], [*speeds, 0.0, 0.0]
        self._joints.publish(state)
        franka = FrankaState()
        franka.header.stamp = stamp
        franka.q, franka.dq, franka.O_T_EE = joints.tolist(), speeds.tolist(), pose.T.ravel().tolist()
        franka.robot_mode = MODES[mode]
        franka.current_errors.cartesian_reflex = mode == "reflex"
        self._state.publish(franka)
        self._tf.publish(TFMessage([transform_message(BASE, HAND, pose, stamp)]))

    def _publish_truth(self) -> None:
        panda = self._simulation.panda
        message = TwistStamped()
        with self._simulation.lock:
            message.header.stamp = rospy.Time.from_sec(time.time())
            velocity = message.twist.linear
            velocity.x, velocity.y, velocity.z = panda.velocity_m_s.tolist()
        self._velocity.publish(message)
        self._success.publish(Bool(self._simulation.has_succeeded))

    def _publish_pictures(self) -> None:
        if self._faults.no_camera:
            return
        for name, source in self._cameras.items():
            taken_s, view = self._simulation.photograph(source, self._size)
            self._pictures[name].publish(view, _stamp(taken_s, self._faults.stale_pictures))

    def _fixed_frames(self) -> list[TransformStamped]:
        """Where the cameras stand."""
        stamp, base_from_world = rospy.Time.from_sec(time.time()), np.linalg.inv(_WORLD_FROM_BASE)
        frames = [transform_message("world", BASE, _WORLD_FROM_BASE, stamp)]
        for name, source in self._cameras.items():
            _, view = self._simulation.photograph(source, 8)
            frames.append(
                transform_message(BASE, optical_frame(name), base_from_world @ view.camera.world_from_camera, stamp)
            )
        return frames


def _stamp(time_s: float, is_stale: bool) -> rospy.Time:
    return rospy.Time.from_sec(time_s - (_STALE_S if is_stale else 0.0))


def _gripped(name: str, width_m: float, wanted_m: float, inner_m: float, outer_m: float) -> Any:
    """Result of a gripper's action: whether the fingers ended at a distance that will do."""
    is_good = wanted_m - inner_m <= width_m <= wanted_m + outer_m
    complaint = "" if is_good else f"the fingers ended {1000 * width_m:.1f} mm apart, wanted were {1000 * wanted_m:.1f}"
    return message_class(name)(is_good, complaint)


def _answer(server: actionlib.SimpleActionServer, result: Any) -> None:
    """Tell the client how its goal ended."""
    if server.is_preempt_requested():
        server.set_preempted(result)
    elif getattr(result, "success", True) and getattr(result, "error_code", 0) == 0:
        server.set_succeeded(result)
    else:
        server.set_aborted(result)


def _repeat(rate_hz: float, work: Callable[[], None]) -> None:
    """Do something at a steady rate until ROS shuts down; a missed turn is not made up for."""
    due_s = time.monotonic()
    while not rospy.is_shutdown():
        work()
        due_s = max(due_s + 1 / rate_hz, time.monotonic())
        time.sleep(due_s - time.monotonic() if due_s > time.monotonic() else 0)


def main() -> None:
    """Run until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="open_drawer")
    parser.add_argument("--variation", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--camera", action="append", help="NAME=CAMERA of the built-in world; default camera=front")
    parser.add_argument("--size", type=int, default=96, help="pixels of a picture's side")
    parser.add_argument("--camera-hz", type=float, default=20.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cameras = dict(text.split("=") for text in args.camera or ["camera=front"])
    simulation = Simulation(SeededScene(args.task, args.variation, args.seed))
    over = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: over.set())
    rospy.init_node("franka", disable_signals=True)
    simulation.start()
    FrankaNode(simulation, cameras, args.size, args.camera_hz)
    print("ready", flush=True)
    over.wait()
    rospy.signal_shutdown("asked to end")
    simulation.close()


if __name__ == "__main__":
    main()
