from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.errors import ConfigError, DataError, RobotError
from gnfactor.ros.config import LinkConfig
from gnfactor.ros.links import rospy_node
from gnfactor.ros.links.bridge_access import bridge_access, rosauth
from gnfactor.ros.links.bridge_messages import BridgeMessages, type_name, with_attributes
from gnfactor.ros.links.robot_clock import DRIFT, RobotClock
from gnfactor.ros.links.rosbridge import Rosbridge

SECRET = "open-sesame-and-nothing-else"
times = st.floats(0, 100)


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    return str(path)


def test_rosauth_is_the_digest_that_its_node_computes() -> None:
    found = rosauth("secret", "ws://robot", 1000, "abcd")
    text = "secret" + found["client"] + "ws://robot" + "abcd" + "1000" + found["level"] + str(found["end"])
    assert found["mac"] == hashlib.sha512(text.encode()).hexdigest()
    assert found["op"] == "auth"
    assert found["end"] > found["t"] == 1000


@pytest.mark.parametrize("uri", ["ws://127.0.0.1:9090", "ws://localhost:9090", "ws://[::1]:9090", "wss://robot.lab"])
def test_a_secret_goes_to_this_computer_or_through_tls(uri: str, token: str) -> None:
    access = bridge_access(LinkConfig(uri=uri, token_file=token))
    greeting = access.greeting(lambda: 7.9)
    assert greeting is not None
    assert greeting["t"] == 7
    assert SECRET not in str(greeting)
    assert access.headers == {}
    bearer = bridge_access(LinkConfig(uri=uri, token_file=token, auth="bearer"))
    assert bearer.headers == {"Authorization": f"Bearer {SECRET}"}
    assert bearer.greeting(lambda: 7.9) is None
    assert SECRET not in repr(access) + repr(bearer)


@pytest.mark.parametrize("uri", ["ws://192.168.1.7:9090", "ws://robot.lab:9090", "ws://127.0.0.1.evil.example"])
@pytest.mark.parametrize("auth", ["rosauth", "bearer"])
def test_a_secret_is_never_sent_in_clear_over_a_network(uri: str, auth: str, token: str) -> None:
    with pytest.raises(ConfigError, match="is not encrypted: anybody on the network"):
        bridge_access(LinkConfig(uri=uri, token_file=token, auth=auth))  # type: ignore[arg-type]
    assert bridge_access(LinkConfig(uri=uri)).tls is None


@pytest.mark.parametrize("uri", [None, "", "robot:9090", "http://robot", "ws://"])
def test_what_is_no_address_of_a_websocket_is_refused(uri: str | None) -> None:
    with pytest.raises(ConfigError, match="the address of the rosbridge server is expected: ws://"):
        bridge_access(LinkConfig(uri=uri))


@pytest.mark.parametrize(("uri", "port"), [("ws://robot", 80), ("wss://robot", 443), ("ws://robot:9090/x", 9090)])
def test_a_port_is_the_usual_one_unless_it_is_said(uri: str, port: int) -> None:
    assert bridge_access(LinkConfig(uri=uri)).port == port
    with pytest.raises(ConfigError, match="no usable port"):
        bridge_access(LinkConfig(uri="ws://robot:99999"))


@pytest.mark.parametrize(
    "uri", ["wss://me:{}@robot.lab", "http://me:{}@robot.lab", "wss://robot.lab/?token={}", "wss://robot.lab/#{}"]
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError, match="holds a user, a password or a query") as caught:
        bridge_access(LinkConfig(uri=uri.format(SECRET)))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", "null", '{"op": "publish"}', "\ud800"])
def test_what_a_bridge_sends_without_sense_is_said_and_the_reading_goes_on(text: str) -> None:
    bridge = Rosbridge(bridge_access(LinkConfig(uri="ws://127.0.0.1:1")), BridgeMessages(1))
    bridge._hear(text)
    (complaint,) = bridge.complaints
    assert complaint.startswith("the bridge sent what cannot be read")
    assert len(complaint) <= 300


def test_a_master_that_answers_without_sense_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: str) -> None:
        raise TypeError("0 is no list")

    monkeypatch.setattr(rospy_node, "rejoin", answer)
    monkeypatch.setattr(rospy_node, "_PERIOD_S", 0.01)
    watch, end_s = rospy_node.MasterWatch("http://127.0.0.1:1"), time.monotonic() + 3
    while watch.complaint() is None and time.monotonic() < end_s:
        time.sleep(0.01)
    watch.close()
    assert "has not answered" in str(watch.complaint())


@pytest.mark.parametrize("text", ["", "  \n", "two words", "a\nb", "\x01bell", "gr\u00fcn"])
def test_a_secret_is_one_word(text: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"link.token_file, .*token, (must hold one word|cannot be read)") as caught:
        bridge_access(LinkConfig(uri="ws://127.0.0.1:9090", token_file=str(path)))
    assert not text.strip() or text.strip() not in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"token_file, .*/none, cannot be read: No such file"):
        bridge_access(LinkConfig(uri="ws://127.0.0.1:9090", token_file=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match=r"link.tls_ca, .*/none, is no file of certificates"):
        bridge_access(LinkConfig(uri="wss://127.0.0.1:9090", tls_ca=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="is not encrypted; use wss://"):
        bridge_access(LinkConfig(uri="ws://127.0.0.1:9090", tls_ca="authority.pem"))


class Steady:
    """A clock of ours that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(
    st.floats(-1e5, 1e5),
    st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0, 50)), min_size=1, max_size=8),
)
def test_the_clock_is_never_wrong_by_more_than_it_says(ahead_s: float, asked: list[tuple[float, float, float]]) -> None:
    steady = Steady()
    clock, drift = RobotClock(0.05, steady), DRIFT / 2
    margin_s = None
    for there_s, back_s, pause_s in asked:
        asked_s = steady.now_s
        answered_s = asked_s + there_s + back_s
        robot_s = ahead_s + (asked_s + there_s) * (1 + drift)
        steady.now_s = answered_s
        clock.learn(asked_s, robot_s, answered_s)
        if (answered_s - asked_s) / 2 <= 0.05:
            margin_s = 0.05 if margin_s is None else margin_s
        if margin_s is None:
            with pytest.raises(RobotError, match=r"at most link.max_clock_error_s, 0.05 s"):
                clock.now_s()
        else:
            allowed_s = 0.05 + DRIFT * (clock.age_s() + 0.2)
            assert abs(clock.now_s() - (ahead_s + steady.now_s * (1 + drift))) <= allowed_s
        steady.now_s += pause_s


def test_a_robot_whose_clock_is_set_is_believed() -> None:
    steady = Steady()
    clock = RobotClock(0.05, steady)
    clock.learn(0.0, 100.0, 0.001)
    clock.learn(0.01, 160.01, 0.09)  # a worse answer, but one that cannot be reconciled with the first
    assert clock.now_s() == pytest.approx(160.0, abs=0.05)


def test_a_worse_answer_changes_nothing_and_a_better_one_does() -> None:
    steady = Steady()
    clock = RobotClock(0.05, steady)
    clock.learn(0.0, 100.02, 0.04)
    clock.learn(0.0, 100.045, 0.09)
    assert clock.now_s() == pytest.approx(100.0)
    clock.learn(1.0, 101.006, 1.01)
    assert clock.now_s() == pytest.approx(100.001)


def test_types_have_the_names_of_their_generation() -> None:
    assert type_name(1, "std_msgs/String") == "std_msgs/String"
    assert type_name(2, "std_msgs/String") == "std_msgs/msg/String"
    assert type_name(2, "control_msgs/FollowJointTrajectory", "action") == "control_msgs/action/FollowJointTrajectory"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_attributes_leave_plain_values_alone(value: object) -> None:
    assert with_attributes(value) == value
    assert with_attributes({"one": {"two": value}}).one.two == value


@given(st.one_of(st.text(), st.binary()))
def test_no_frame_whatever_is_in_it_ends_in_more_than_an_error_of_ours(data: str | bytes) -> None:
    for ros in (1, 2):
        messages = MESSAGES[ros]
        with suppress(DataError):
            assert "op" in messages.frame(data)
        if isinstance(data, bytes):
            for kind in ("sensor_msgs/Image", "sensor_msgs/CameraInfo", "tf2_msgs/TFMessage"):
                with suppress(DataError):
                    messages.raw(kind, data)


MESSAGES = {ros: BridgeMessages(ros) for ros in (1, 2)}
