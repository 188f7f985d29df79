"""Our side of the watchdog, against the gate itself. No ROS here."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from gnfactor.errors import ConfigError, RobotError
from gnfactor.ros.config import RobotConfig, WatchdogConfig
from gnfactor.ros.link import PoseTarget
from gnfactor.ros.links.rospy_node import choose_addresses
from gnfactor.ros.links.voice import Voice
from gnfactor.ros.watchdog import Gate, Orders, Pose, pack
from tests.bridged_robot import status_of
from tests.fake_robot import robot_config

HERE = Pose([0.3, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0])
CONFIG = robot_config()


class Wire:
    """A gate at the other end, that answers at once."""

    def __init__(self, config: RobotConfig = CONFIG, key: bytes | None = None, clock_ahead_s: float = 0.0) -> None:
        self.gate = Gate(config.watchdog.timeout_s, key, status_of(config))
        self.orders, self.ahead_s = list[Orders](), clock_ahead_s
        self.words: list[str] = []
        self.measured: Pose | None = HERE
        self.voice = Voice(config, self.carry, time.time)

    def carry(self, word: str) -> None:
        self.words.append(word)
        self.orders.append(self.gate.hear(word, self.measured, time.time() + self.ahead_s, time.monotonic()))
        self.speak()

    def speak(self) -> None:
        self.voice.take(json.dumps({"stamp_s": 0.0, **asdict(self.gate.status)}))


def target(life_s: float = 0.3) -> PoseTarget:
    return PoseTarget(7, time.time() + life_s, CONFIG.arm.ee_from_gripper.matrix)


def test_targets_pass_in_the_robots_own_frame_and_a_hold_is_answered() -> None:
    wire = Wire()
    assert wire.voice.hold() is None
    wire.voice.target(target())
    (_, passed) = wire.orders
    assert passed.target is not None
    assert np.allclose(passed.target.position_m, 0)
    assert np.allclose(passed.target.quaternion_xyzw, [0, 0, 0, 1])
    assert wire.voice.hold() is None
    assert wire.orders[-1] == Orders(HERE, cancel=True)


def test_a_secret_of_both_computers_signs_every_word(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    config = replace(CONFIG, watchdog=replace(CONFIG.watchdog, key_file=str(tmp_path / "key")))
    wire = Wire(config, b"secret")
    assert wire.voice.hold() is None
    wire.voice.arm()
    wire.voice.target(target())
    assert wire.voice.hold() is None
    assert wire.gate.status.dropped == 0
    assert not any("secret" in word for word in wire.words)


def test_a_watchdog_with_another_secret_or_clock_does_not_answer() -> None:
    for wire, why in ((Wire(key=b"other"), "not signed"), (Wire(clock_ahead_s=9.0), "are the clocks")):
        assert why in str(wire.voice.hold())
        with pytest.raises(RobotError, match=why):
            wire.voice.arm()


def test_heartbeats_come_no_oftener_than_configured() -> None:
    config = replace(CONFIG, watchdog=WatchdogConfig(heartbeat_hz=20.0))
    wire, end_s = Wire(config), time.monotonic() + 0.3
    while time.monotonic() < end_s:
        wire.voice.heartbeat()
        time.sleep(0.001)
    assert 2 <= len(wire.words) <= 7
    wire.voice.target(target())
    before = len(wire.words)
    wire.voice.heartbeat()
    assert len(wire.words) == before


def test_silence_and_latches_of_the_watchdog_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    assert "no watchdog has spoken on /gnfactor/watchdog: start" in str(wire.voice.silence())
    wire.voice.heartbeat()
    assert "hold before the next motion" in str(wire.voice.latch())
    assert wire.voice.hold() is None
    wire.voice.arm()
    assert (wire.voice.silence(), wire.voice.latch()) == (None, None)
    wire.gate.tick(HERE, time.monotonic() + 1.0)
    wire.speak()
    assert "held: silent for" in str(wire.voice.latch())
    assert wire.voice.hold() is None
    assert wire.voice.latch() is None
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 1.5)
    assert "the watchdog has been silent on /gnfactor/watchdog for 1.5 s" in str(wire.voice.silence())


def test_a_hold_is_not_done_before_the_measured_pose_is_known() -> None:
    wire = Wire()
    wire.measured = None
    assert "the watchdog does not know the measured pose" in str(wire.voice.hold())
    assert wire.gate.tick(HERE, time.monotonic()) == Orders(HERE, cancel=True)
    wire.measured = HERE
    assert wire.voice.hold() is None


@pytest.mark.parametrize(
    ("executor", "field", "value", "said"),
    [
        ("impedance", "timeout_s", 30.0, "--timeout is 30.0 s, more than watchdog.timeout_s, 0.3 s"),
        ("impedance", "target", "/other", "--target is '/other', not '/cartesian"),
        ("impedance", "frame", "world", "--frame is 'world', not 'panda_link0'"),
        ("trajectory", "cancel", [], "--cancel is [], without /position_joint"),
        ("moveit", "cancel", ["/other"], "without /move_group"),
    ],
)
def test_a_watchdog_that_watches_something_else_lets_nothing_move(
    executor: str, field: str, value: object, said: str
) -> None:
    config = robot_config(f"executor.name={executor}")
    wire = Wire(config)
    assert wire.voice.hold() is None
    wire.voice.arm()
    assert wire.voice.misfit() is None
    setattr(wire.gate.status, field, value)
    with pytest.raises(RobotError, match="started with other flags than fit") as caught:
        wire.voice.arm()
    assert said in str(caught.value)


def test_a_hold_of_another_ends_our_leave_to_move() -> None:
    wire = Wire()
    assert wire.voice.hold() is None
    wire.gate.hear(pack("other", 1, time.time() + 1, "hold"), HERE, time.time(), time.monotonic())
    wire.speak()
    assert "session other has held the arm" in str(wire.voice.latch())
    with pytest.raises(RobotError, match="does not watch our motion"):
        wire.voice.arm()
    assert wire.voice.hold() is None
    assert wire.voice.latch() is None


def test_a_secret_that_is_not_there_is_a_mistake_in_the_configuration() -> None:
    config = replace(CONFIG, watchdog=replace(CONFIG.watchdog, key_file="/nowhere/key"))
    with pytest.raises(ConfigError, match=r"watchdog\.key_file: .*/nowhere/key"):
        Voice(config, print, time.time)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ROS_IP", "ROS_HOSTNAME", "ROS_MASTER_URI"):
        monkeypatch.setenv(name, "")
    return monkeypatch


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_with_a_master_here_we_listen_to_this_computer_only(host: str, addresses: pytest.MonkeyPatch) -> None:
    assert choose_addresses(f"http://{host}:11311") == f"http://{host}:11311"
    assert (os.environ["ROS_IP"], os.environ["ROS_MASTER_URI"]) == ("127.0.0.1", f"http://{host}:11311")


def test_with_a_master_elsewhere_our_own_address_has_to_be_told(addresses: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"another computer, 192\.168\.1\.2, and ROS_IP is not set"):
        choose_addresses("http://192.168.1.2:11311")
    addresses.setenv("ROS_IP", "192.168.1.3")
    assert choose_addresses("http://192.168.1.2:11311") == "http://192.168.1.2:11311"


@pytest.mark.parametrize("uri", [None, "", "robot", "ws://robot:9090", "http://"])
def test_a_master_without_an_address_is_asked_for(uri: str | None, addresses: pytest.MonkeyPatch) -> None:
    found = uri or "not set"
    with pytest.raises(ConfigError, match=rf"address is {found}; .*set link\.uri or ROS_MASTER_URI"):
        choose_addresses(uri)
