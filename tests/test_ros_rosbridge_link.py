from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import pytest

from gnfactor.actions import Action, ArmTarget
from gnfactor.errors import ConfigError, MissingExtraError, RobotError
from gnfactor.kinematics import between
from gnfactor.ros.executors import Executor, Outcome
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, RobotLink, RobotMode
from gnfactor.ros.links import bridge_actions
from gnfactor.ros.links.connect import connect
from gnfactor.ros.links.rosbridge_link import RosbridgeLink
from gnfactor.ros.safety import SafetyGuard
from gnfactor.scene import ARM
from tests.fake_robot import EYES
from tests.rosbridge_lab import config_of, lab, linked, target_of, wait_until


@pytest.mark.parametrize("ros", [1, 2])
def test_what_comes_through_is_what_the_robot_said(ros: int) -> None:
    with linked(config_of(ros, "trajectory")) as (link, robot, _):
        seen, state = link.observe(0.5), link.state()
        expected = robot.views()
        assert sorted(seen) == sorted(EYES)
        for name, view in seen.items():
            np.testing.assert_array_equal(view.rgb, expected[name].rgb)
            np.testing.assert_allclose(view.depth_m, expected[name].depth_m, atol=0.00051)
            pose = expected[name].camera.world_from_camera
            np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-6)
            assert 0 <= link.now_s() - view.stamp_s < 0.5
        truth = robot.fake.state()
        assert state.mode is RobotMode.MOVE
        for name in ("joint_positions", "base_from_gripper", "finger_positions_m"):
            np.testing.assert_allclose(getattr(state, name), getattr(truth, name), atol=1e-6)


def test_the_robots_clock_is_known_although_it_is_another() -> None:
    with linked(config_of(1, "impedance")) as (link, robot, _):
        assert robot.clock_ahead_s > 100
        assert link.now_s() == pytest.approx(robot.now_s(), abs=0.05)
        before_s = link.now_s()
        link.wait(0.1)
        assert link.now_s() - before_s == pytest.approx(0.1, abs=0.05)


def test_a_clock_that_cannot_be_known_is_refused() -> None:
    config = config_of(1, "impedance", "link.max_clock_error_s=0.02")
    with (
        lab(config, answer_delay_s=0.1) as (named, _, _),
        pytest.raises(RobotError, match=r"leaves an error of 0\.0[56]\d s, at most link.max_clock_error_s, 0.02 s"),
    ):
        RosbridgeLink(named)


def test_a_bridge_without_rosapi_is_refused_with_what_is_missing() -> None:
    with (
        lab(config_of(1, "impedance"), mute=("rosapi",)) as (named, _, _),
        pytest.raises(RobotError, match=r"nobody has told the time; rosapi must run .*/rosapi/get_time: no such"),
    ):
        RosbridgeLink(named)


def test_a_topic_that_never_speaks_is_named() -> None:
    config = config_of(1, "impedance", "link.timeout_s=0.6")
    with (
        lab(config, mute=("/front/depth",)) as (named, _, _),
        pytest.raises(RobotError, match=r"after 0.6 s \(link.timeout_s\), nothing has come on /front/depth: start"),
    ):
        RosbridgeLink(named)


def test_nobody_at_the_address_is_said_in_time() -> None:
    config = config_of(1, "impedance", "link.timeout_s=0.5", "link.uri=ws://127.0.0.1:1")
    began_s = time.monotonic()
    with pytest.raises(RobotError, match=r"the bridge at ws://127.0.0.1:1 cannot be reached: .*refused"):
        RosbridgeLink(config)
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("ros", [1, 2])
def test_a_command_that_is_late_or_out_of_order_is_dropped(ros: int) -> None:
    with linked(config_of(ros, "impedance")) as (link, robot, _):
        link.wait(0.1)  # a hold without a watchdog is a target too
        robot.fake.record.clear()
        link.stream(target_of(link, 5))
        link.stream(target_of(link, 5))
        link.stream(target_of(link, 4))
        link.stream(target_of(link, 6, life_s=-0.1))
        link.stream(target_of(link, 7))
        wait_until(lambda: len(robot.fake.record) == 2)
        link.wait(0.05)
        assert [type(command) for command in robot.fake.record] == [PoseTarget, PoseTarget]


def test_a_target_arrives_in_the_robots_own_end_effector_frame() -> None:
    with linked(config_of(1, "impedance")) as (link, robot, _):
        robot.fake.record.clear()
        target = target_of(link, 1, lift_m=0.03)
        link.stream(target)
        wait_until(lambda: bool(robot.fake.record))
        (heard,) = robot.fake.record
        assert isinstance(heard, PoseTarget)
        np.testing.assert_allclose(heard.base_from_gripper, target.base_from_gripper, atol=1e-6)


def plan_of(link: RosbridgeLink, avoid_collisions: bool) -> PlanRequest:
    pose = link.state().base_from_gripper
    pose[2, 3] -= 0.05
    return PlanRequest(1, link.now_s() + 10, pose, avoid_collisions, 0.2)


@pytest.mark.parametrize("ros", [1, 2])
def test_a_plan_is_asked_of_moveit_and_cancelled_by_a_hold(ros: int) -> None:
    with linked(config_of(ros, "moveit")) as (link, robot, _):
        link.start_plan(plan_of(link, avoid_collisions=True))
        wait_until(lambda: bool(robot.took))
        request = robot.took[0]["request"]
        assert request["group_name"] == link._config.actions.planning_group
        assert request["max_velocity_scaling_factor"] == 0.2
        assert (link.progress().sequence, link.progress().status) == (1, "running")
        link.hold()
        wait_until(lambda: link.progress().status == "failed")
        assert link.progress().message.endswith({1: "MoveIt answers CONTROL_FAILED (-4)", 2: "(-4)"}[ros])
        wait_until(lambda: robot.fake.holding)


@pytest.mark.parametrize("ros", [1, 2])
def test_a_plan_that_fails_says_why(ros: int) -> None:
    with linked(config_of(ros, "moveit")) as (link, robot, _):
        robot.fake.plan_fails = "no way"
        link.start_plan(plan_of(link, avoid_collisions=False))
        wait_until(lambda: link.progress().status == "failed")
        assert "aborted, MoveIt answers CONTROL_FAILED (-4)" in link.progress().message


@pytest.mark.parametrize("ros", [1, 2])
def test_fingers_grasp_with_the_tolerance_of_the_command(ros: int) -> None:
    with linked(config_of(ros, "trajectory")) as (link, robot, _):
        robot.fake.held_width_m = 0.03
        link.start_grip(GripCommand(1, link.now_s() + 3, 0.0, 0.1, 25.0, grasp=True, tolerance_m=0.08))
        wait_until(lambda: link.progress().status == "done")
        assert robot.took[0]["epsilon"] == {"inner": 0.08, "outer": 0.08}
        assert robot.took[0]["force"] == 25.0
        wait_until(lambda: abs(link.state().width_m - 0.03) < 1e-3)
        link.start_grip(GripCommand(2, link.now_s() + 3, 0.08, 0.1, 25.0, grasp=False, tolerance_m=0.08))
        wait_until(lambda: link.progress().status == "done")
        assert "force" not in robot.took[1]


@pytest.mark.parametrize("ros", [1, 2])
def test_recovery_clears_a_reflex_and_holds(ros: int) -> None:
    with linked(config_of(ros, "trajectory")) as (link, robot, _):
        robot.fake.mode = RobotMode.REFLEX
        wait_until(lambda: link.state().mode is RobotMode.REFLEX)
        link.recover()
        wait_until(lambda: link.state().mode is RobotMode.MOVE)
        if ros == 1:
            assert robot.fake.record[-1] == "hold"


def test_a_goal_that_its_server_forgets_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_actions, "_FORGOTTEN_S", 0.2)
    with linked(config_of(1, "trajectory")) as (link, robot, server):
        robot.finishes = False
        server._goals = Forgetting()
        now_s, joints = link.now_s(), link.state().joint_positions
        link.start_trajectory(JointTrajectory(1, now_s + 5, np.array([0.1]), joints[None], np.zeros((1, 7))))
        wait_until(lambda: link.progress().status == "failed")
        assert "has not named our goal for" in link.progress().message


class Forgetting(dict[str, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: str, value: Any) -> None:
        pass


def test_an_action_that_nobody_serves_is_said_before_anything_moves() -> None:
    config = config_of(1, "trajectory", "link.timeout_s=0.6")
    with (
        lab(config, mute=(f"{config.actions.grip_move}/status",)) as (named, _, _),
        pytest.raises(RobotError, match=r"after 0.6 s \(link.timeout_s\), no server of /franka_gripper/move has been"),
    ):
        RosbridgeLink(named)


@pytest.mark.parametrize("ros", [1, 2])
def test_a_hold_stops_fingers_that_move(ros: int) -> None:
    with linked(config_of(ros, "trajectory")) as (link, robot, _):
        link.start_grip(GripCommand(1, link.now_s() + 3, 0.0, 0.1, 25.0, grasp=False, tolerance_m=0.08))
        wait_until(lambda: link.state().width_m < 0.079)
        link.hold()
        wait_until(lambda: "stop" in robot.fake.record)
        link.wait(0.05)
        width_m = link.state().width_m
        link.wait(0.1)
        assert link.state().width_m == pytest.approx(width_m, abs=1e-6)


def test_an_executor_moves_through_the_watchdogs_gate_and_leaves_a_hold() -> None:
    with linked(config_of(1, "impedance")) as (link, robot, _):
        pose = robot.fake.pose
        pose[2, 3] -= 0.1
        outcome = Executor(link, SafetyGuard(link._config), link._config).execute(
            Action({ARM: ArmTarget(pose, gripper_open=True, ignore_collisions=False)})
        )
        assert outcome == Outcome()
        assert between(robot.fake.pose, pose)[0] < 0.01
        assert robot.fake.holding
        assert robot.gate.status.dropped == 0
        assert not robot.gate.status.armed


def test_nothing_moves_without_the_watchdog_that_is_required() -> None:
    config = config_of(1, "impedance", "link.timeout_s=0.6")
    with lab(config, mute=(config.topics.watchdog,)) as (named, robot, _):
        link = RosbridgeLink(named)
        with pytest.raises(RobotError, match=r"no watchdog has spoken on /gnfactor/watchdog: start"):
            link.stream(target_of(link, 1))
        assert robot.fake.record == []
        link.close()


def test_a_loop_that_hangs_is_held_by_the_watchdog_and_must_hold_itself_before_it_goes_on() -> None:
    with linked(config_of(1, "impedance")) as (link, robot, _):
        link.stream(target_of(link, 1, lift_m=0.05))
        wait_until(lambda: not robot.fake.holding)
        held_s = wait_until(lambda: robot.fake.holding)
        assert held_s < link._config.watchdog.timeout_s + 0.3
        time.sleep(0.15)
        with pytest.raises(RobotError, match=r"this program said nothing for 0\.\d+ s while the arm moved"):
            link.wait(0.1)
        target = PoseTarget(2, link.now_s() + 1, robot.fake.pose)
        with pytest.raises(RobotError, match=r"the watchdog: .*(held: silent for 0\.\d+ s|because of silence)"):
            link.stream(target)
        link.hold()
        link.stream(target_of(link, 3))


def test_waiting_keeps_a_motion_alive() -> None:
    with linked(config_of(1, "impedance")) as (link, robot, _):
        link.stream(target_of(link, 1, lift_m=0.01))
        link.wait(1.0)
        assert robot.gate.status.armed


def test_pictures_that_are_cut_off_are_no_pictures_and_the_reason_is_said() -> None:
    def cut(topic: str, message: Any) -> Any:
        return b"\x01\x02\x03" if topic == "/front/color" and cut_now else message

    cut_now = False
    with linked(config_of(1, "impedance"), alter=cut) as (link, _, _):
        link.observe(0.5)
        cut_now = True
        time.sleep(0.8)
        with pytest.raises(RobotError, match=r"'front' is \d\.\d+ s old.*3 bytes are not the sensor_msgs/Image"):
            link.observe(0.3)
        cut_now = False
        wait_until(lambda: link.state() is not None)
        link.observe(0.5)


def test_a_killed_camera_is_said_with_its_age() -> None:
    with linked(config_of(2, "trajectory")) as (link, _, server):
        server.mute.add("/overhead/depth")
        time.sleep(0.6)
        with pytest.raises(RobotError, match=r"of 'overhead' is \d\.\d+ s old"):
            link.observe(0.3)


def test_a_robot_that_falls_silent_behind_a_bridge_that_does_not_is_lost() -> None:
    config = config_of(1, "impedance")
    with linked(config) as (link, _, server):
        server.mute.add(config.topics.state)
        time.sleep(1.2)
        with pytest.raises(RobotError, match=r"state has not come on /franka_state_controller/franka_states for 1\."):
            link.state()
        server.mute.clear()
        wait_until(lambda: link._transport.loss() is None)
        with pytest.raises(RobotError, match=r"lost.*hold before the next motion"):
            link.stream(target_of(link, 1))
        link.hold()


def test_the_link_is_made_by_its_name_and_is_a_robots_link() -> None:
    with lab(config_of(2, "trajectory")) as (config, _, _):
        link = connect(config)
        assert isinstance(link, RosbridgeLink)
        assert isinstance(link, RobotLink)
        link.close()


@pytest.mark.parametrize("package", ["websockets.sync.client", "cbor2", "rosbags.serde"])
def test_a_package_that_is_missing_is_named_with_how_to_get_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"'{package.partition('.')[0]}'.*pip install gnfactor\\[robot\\]"):
        RosbridgeLink(config_of(1, "impedance"))


def test_another_scheme_is_refused_before_anything_is_tried() -> None:
    with pytest.raises(ConfigError, match=r"link.uri is http://robot; .* ws://127.0.0.1:9090 or wss://"):
        RosbridgeLink(config_of(1, "impedance", "link.uri=http://robot"))
