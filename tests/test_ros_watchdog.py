"""The gate on the robot's computer: what never passes it, and that silence ends in a hold. No ROS here."""

from __future__ import annotations

import ast
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gnfactor.errors import ConfigError
from gnfactor.ros import watchdog
from gnfactor.ros.config import TopicsConfig, WatchdogConfig, load
from gnfactor.ros.watchdog import STATUS_S, Gate, Orders, Pose, pack, pose_of, quaternion_xyzw, read_key
from tests.fake_robot import ROBOTS

KEY = b"of both computers"
TIMEOUT_S = 0.3
HERE = Pose([0.3, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0])
THERE = [[1.0, 0.0, 0.0, 0.4], [0.0, -1.0, 0.0, 0.1], [0.0, 0.0, -1.0, 0.45], [0.0, 0.0, 0.0, 1.0]]


@dataclass(frozen=True)
class Word:
    """One word, right or wrong, and how long after the one before it."""

    session: str
    sequence: int
    life_s: float
    verb: str
    key: bytes | None
    pose_is_known: bool
    after_s: float


WORDS = st.builds(
    Word,
    session=st.sampled_from("ab"),
    sequence=st.integers(0, 8),
    life_s=st.sampled_from((-0.1, 0.0, 0.2, 0.2, 0.2, 4.9, 5.1, 1e9, math.nan, math.inf)),
    verb=st.sampled_from(("target", "target", "target", "heartbeat", "hold")),
    key=st.sampled_from((KEY, KEY, KEY, KEY, b"another", None)),
    pose_is_known=st.sampled_from((True, True, True, False)),
    after_s=st.sampled_from((0.0, 0.01, 0.1, 0.29, 0.31, 2.0)),
)


def held_by(session: str = "a", key: bytes | None = None) -> Gate:
    """A gate that a session has just told to hold."""
    gate = Gate(TIMEOUT_S, key)
    assert gate.hear(pack(session, 1, 101.0, "hold", key=key), HERE, 100.0, 0.0) == Orders(HERE, cancel=True)
    return gate


@given(words=st.lists(WORDS, max_size=40))
def test_no_target_passes_but_of_whom_held_last_and_none_that_is_expired_again_out_of_order_or_wrongly_signed(
    words: list[Word],
) -> None:
    gate, now_s = Gate(TIMEOUT_S, KEY), 100.0
    highest, mover, moves, owed, cancels = {"a": 0, "b": 0}, "", False, False, False
    for word in words:
        now_s += word.after_s
        measured = HERE if word.pose_is_known else None
        orders = gate.tick(measured, now_s)
        if moves and word.after_s >= TIMEOUT_S:
            assert orders == Orders(measured, cancel=True)
            mover, moves, owed, cancels = "", False, measured is None, True
        elif owed and measured is not None:
            assert orders == Orders(measured, cancel=True)
            owed = False
        else:
            assert orders.target is None
            assert cancels or not orders.cancel
            moves = moves and gate.status.armed
        base = THERE if word.verb == "target" else None
        text = pack(word.session, word.sequence, now_s + word.life_s, word.verb, base, word.key)
        orders = gate.hear(text, measured, now_s, now_s)
        in_order = word.key == KEY and 0 < word.life_s < 5 and word.sequence > highest[word.session]
        if in_order:
            highest[word.session] = word.sequence
        if in_order and word.verb == "hold":
            assert orders == Orders(measured, cancel=True)
            mover, moves, owed, cancels = word.session, False, measured is None, False
            continue
        may_move = in_order and mover == word.session and word.pose_is_known and not owed
        moves = moves or may_move
        assert (orders.target is not None) == (may_move and word.verb == "target")
        assert not orders.cancel
        assert (gate.status.armed, gate.status.mover, gate.status.owes_hold) == (moves, mover, owed)


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 0.5), st.booleans()), min_size=1, max_size=30),
    verb=st.sampled_from(("target", "heartbeat")),
)
def test_every_silence_ends_in_exactly_one_hold_at_the_first_pose_that_is_known(
    steps: list[tuple[float, bool]], verb: str
) -> None:
    gate, now_s = held_by(), 5.0
    gate.hear(pack("a", 2, 101.0, verb, THERE), HERE, 100.0, now_s)
    held = 0
    for step_s, pose_is_known in steps:
        now_s += step_s
        orders = gate.tick(HERE if pose_is_known else None, now_s)
        held += orders.target is not None
        assert not (orders.target is not None and not orders.cancel)
        silent = now_s - 5.0 >= TIMEOUT_S
        assert (gate.status.mover == "") == silent
        assert held + gate.status.owes_hold == silent
        assert held or not (silent and pose_is_known)


@given(gaps_s=st.lists(st.floats(0.001, 0.29), max_size=30))
def test_an_arm_that_hears_us_often_enough_is_let_alone(gaps_s: list[float]) -> None:
    gate, now_s = held_by(), 0.0
    for sequence, gap_s in enumerate([0.0, *gaps_s], start=2):
        now_s += gap_s
        assert gate.tick(HERE, now_s) == Orders()
        assert gate.hear(pack("a", sequence, 100.2, "target", THERE), HERE, 100.0, now_s).target is not None
    assert gate.status.dropped == 0


def test_a_hold_while_the_pose_is_unknown_is_owed_and_nothing_passes_until_it_is_done() -> None:
    gate = held_by()
    assert gate.hear(pack("a", 2, 101.0, "hold"), None, 100.0, 0.1) == Orders(None, cancel=True)
    assert gate.status.owes_hold
    assert gate.tick(None, 0.15) == Orders()
    assert gate.hear(pack("a", 3, 101.0, "target", THERE), HERE, 100.0, 0.2) == Orders()
    assert "the measured pose is unknown" in gate.status.why
    assert gate.tick(HERE, 0.25) == Orders(HERE, cancel=True)
    assert gate.tick(HERE, 0.30) == Orders()
    assert not gate.status.owes_hold


@given(seconds=st.floats(0.5, 20.0))
def test_goals_that_come_after_the_hold_are_cancelled_too_until_somebody_says_hold(seconds: float) -> None:
    gate = held_by()
    gate.hear(pack("a", 2, 101.0, "heartbeat"), HERE, 100.0, 0.0)
    moments_s = np.arange(0.4, 0.4 + seconds, 0.02)
    orders = [gate.tick(HERE, moment_s) for moment_s in moments_s.tolist()]
    assert sum(order.target is not None for order in orders) == 1
    cancelled_s = moments_s[[order.cancel for order in orders]]
    assert np.diff(np.append(cancelled_s, moments_s[-1])).max() < STATUS_S + 0.021
    gate.hear(pack("a", 3, 103.0, "hold"), HERE, 100.0, 30.0)
    assert gate.tick(HERE, 31.0) == Orders()


@given(sags_m=st.lists(st.floats(0.0, 0.015), min_size=1, max_size=10))
def test_an_arm_that_hangs_below_where_it_is_held_is_not_told_to_hang_lower(sags_m: list[float]) -> None:
    gate = held_by()
    for sequence, sag_m in enumerate(sags_m, start=2):
        hanging = Pose([0.3, 0.0, 0.5 - sag_m], HERE.quaternion_xyzw)
        assert gate.hear(pack("a", sequence, 101.0, "hold"), hanging, 100.0, 0.1).target == HERE


def test_an_arm_that_a_hand_has_had_is_not_pulled_back_to_where_it_was_held() -> None:
    gate, led = held_by(), Pose([0.3, 0.01, 0.51], HERE.quaternion_xyzw)
    gate.let_go()
    assert gate.hear(pack("a", 2, 101.0, "hold"), led, 100.0, 5.0).target == led


@pytest.mark.parametrize(
    ("moved", "verb"),
    [
        (Pose([0.3, 0.0, 0.46], [1.0, 0.0, 0.0, 0.0]), "hold"),
        (Pose([0.3, 0.0, 0.5], [math.cos(0.06), math.sin(0.06), 0.0, 0.0]), "hold"),
        (Pose([0.3, 0.0, 0.499], [1.0, 0.0, 0.0, 0.0]), "target"),
        (Pose([0.3, 0.0, 0.499], [1.0, 0.0, 0.0, 0.0]), "heartbeat"),
    ],
)
def test_an_arm_that_is_or_was_moved_is_held_where_it_is(moved: Pose, verb: str) -> None:
    gate = held_by()
    gate.hear(pack("a", 2, 101.0, verb, THERE), HERE, 100.0, 0.1)
    assert gate.hear(pack("a", 3, 101.0, "hold"), moved, 100.0, 0.2).target == moved


def test_before_the_first_hold_nothing_passes_also_what_was_recorded_before_a_new_start() -> None:
    gate, recorded = held_by(key=KEY), pack("a", 2, 103.0, "target", THERE, KEY)
    assert gate.hear(recorded, HERE, 100.0, 0.1).target is not None
    assert Gate(TIMEOUT_S, KEY).hear(recorded, HERE, 100.0, 0.2) == Orders()


def test_whoever_holds_takes_the_arm_from_whoever_moved_it() -> None:
    gate = held_by()
    assert gate.hear(pack("a", 2, 101.0, "target", THERE), HERE, 100.0, 0.0).target is not None
    assert gate.hear(pack("b", 1, 101.0, "hold"), HERE, 100.0, 0.01).cancel
    assert gate.hear(pack("a", 3, 101.0, "target", THERE), HERE, 100.0, 0.04) == Orders()
    assert "session b held the arm after session a" in gate.status.why
    assert gate.hear(pack("a", 4, 101.0, "hold"), HERE, 100.0, 0.05).cancel
    assert gate.hear(pack("a", 5, 101.0, "target", THERE), HERE, 100.0, 0.06).target is not None


@given(
    rotation=st.lists(st.floats(-3, 3), min_size=3, max_size=3), at=st.lists(st.floats(-1, 1), min_size=3, max_size=3)
)
def test_a_state_says_the_pose_that_the_robot_has(rotation: list[float], at: list[float]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(rotation).as_matrix(), at
    assert pose_of(matrix.T.ravel().tolist()) == Pose(at, quaternion_xyzw(matrix.tolist()))


@given(place=st.integers(0, 15), value=st.sampled_from((math.nan, math.inf, -7.0)))
def test_a_state_that_holds_no_pose_says_none(place: int, value: float) -> None:
    columns = np.eye(4).ravel().tolist()
    columns[place] = value
    assert (pose_of(columns) is None) == (place not in (12, 13, 14) or not math.isfinite(value))
    assert pose_of([0.0] * 16) is None
    assert pose_of([]) is None
    assert pose_of(np.diag([1.0, 1.0, -1.0, 1.0]).ravel().tolist()) is None


def test_a_gate_that_nobody_has_armed_holds_nothing() -> None:
    assert Gate(TIMEOUT_S).tick(HERE, 1e6) == Orders()
    gate = held_by()
    gate.hear(pack("a", 2, 101.0, "heartbeat"), HERE, 100.0, 0.0)
    gate.hear(pack("a", 3, 101.0, "hold"), HERE, 100.0, 0.1)
    assert gate.tick(HERE, 10.0) == Orders()


def test_a_word_that_was_dropped_while_latched_does_not_pass_later() -> None:
    gate = held_by()
    gate.hear(pack("a", 2, 101.0, "target", THERE), HERE, 100.0, 0.0)
    assert gate.tick(HERE, 0.5).cancel
    late = pack("a", 3, 103.0, "target", THERE)
    assert gate.hear(late, HERE, 100.6, 0.6) == Orders()
    assert "say hold first" in gate.status.why
    assert gate.hear(pack("a", 4, 103.0, "hold"), HERE, 100.7, 0.7).cancel
    assert gate.hear(late, HERE, 100.8, 0.8) == Orders()
    assert "out of order" in gate.status.why
    assert gate.hear(pack("a", 5, 103.0, "target", THERE), HERE, 100.9, 0.9).target is not None


def test_while_one_session_moves_the_arm_another_can_only_hold_it() -> None:
    gate = held_by()
    assert gate.hear(pack("a", 2, 101.0, "target", THERE), HERE, 100.0, 0.0).target is not None
    assert gate.hear(pack("b", 1, 101.0, "target", THERE), HERE, 100.1, 0.1) == Orders()
    assert "session a held the arm after session b" in gate.status.why
    assert gate.hear(pack("b", 2, 101.0, "hold"), HERE, 100.2, 0.2) == Orders(HERE, cancel=True)
    assert gate.hear(pack("b", 3, 101.0, "target", THERE), HERE, 100.25, 0.25).target is not None
    assert gate.hear(pack("a", 3, 101.0, "target", THERE), HERE, 100.3, 0.3) == Orders()


def test_asked_to_end_it_holds_and_lets_nothing_through() -> None:
    gate = held_by()
    assert gate.hold("held: the watchdog was asked to end", HERE, 0.0) == Orders(HERE, cancel=True)
    assert gate.hear(pack("a", 2, 101.0, "target", THERE), HERE, 100.0, 0.0).target is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 4000,
        "x" * 4097,
        '{"session": "a", "sequence": 1, "verb": "target"}',
        json.dumps({"session": "a", "sequence": "1", "expires_s": 101, "verb": "hold"}),
        json.dumps({"session": "a", "sequence": True, "expires_s": 101, "verb": "hold"}),
        json.dumps({"session": ["a"], "sequence": 1, "expires_s": 101, "verb": "hold"}),
        json.dumps({"session": "a", "sequence": 1, "expires_s": 10**400, "verb": "hold"}),
        json.dumps({"session": "a", "sequence": 1, "expires_s": 101, "verb": "go"}),
        json.dumps({"session": "a", "sequence": 1, "expires_s": 101, "verb": "target"}),
        *(
            json.dumps(
                {
                    "session": "a",
                    "sequence": 1,
                    "expires_s": 101,
                    "verb": "target",
                    "position_m": position,
                    "quaternion_xyzw": quaternion,
                }
            )
            for position, quaternion in (
                ([0, 0], [0, 0, 0, 1]),
                ([0, 0, math.nan], [0, 0, 0, 1]),
                ([0, 0, 10**400], [0, 0, 0, 1]),
                ([0, 0, 0], [0, 0, 0, 1.1]),
                ([0, 0, 0], [0, 0, 1]),
                ([0, 0, 0], [0, 0, 0, math.nan]),
                ("abc", "abcd"),
            )
        ),
    ],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_words_without_sense_are_dropped_and_said(text: str, key: bytes | None) -> None:
    gate = Gate(TIMEOUT_S, key)
    assert gate.hear(text, HERE, 100.0, 0.0) == Orders()
    assert (gate.status.armed, gate.status.dropped) == (False, 1)
    assert gate.status.why.startswith("dropped: ")
    assert len(gate.status.why) <= 200


def test_many_sessions_do_not_fill_the_memory() -> None:
    gate = Gate(TIMEOUT_S)
    for number in range(1000):
        gate.hear(pack(f"session {number}", 1, 101.0, "hold"), HERE, 100.0, 0.0)
    assert len(gate._heard) <= 64
    assert gate.hear(pack("session 999", 1, 101.0, "hold"), HERE, 100.0, 0.0) == Orders()


def test_a_gate_does_not_show_its_secret() -> None:
    assert "computers" not in repr(Gate(TIMEOUT_S, KEY))


@given(
    name=st.sampled_from(("session", "sequence", "expires_s", "verb", "position_m", "quaternion_xyzw")),
    value=st.sampled_from(("b", 2, 101.5, "heartbeat", [0.4, 0.1, 0.46], [0.0, 1.0, 0.0, 0.0])),
)
def test_a_signed_word_cannot_be_changed(name: str, value: object) -> None:
    word = json.loads(pack("a", 3, 101.0, "target", THERE, KEY))
    same = word[name] == value
    word[name] = value
    orders = held_by(key=KEY).hear(json.dumps(word), HERE, 100.0, 0.0)
    assert (orders.target is not None) == same


@given(rotation=st.lists(st.floats(-4, 4), min_size=3, max_size=3), flip=st.sampled_from((1.0, math.pi)))
def test_quaternions_agree_with_scipy(rotation: list[float], flip: float) -> None:
    vector = np.array(rotation)
    if flip == math.pi:  # half turns are where a naive formula divides by nothing
        vector = vector / max(np.linalg.norm(vector), 1e-9) * math.pi
    expected = Rotation.from_rotvec(vector)
    found = quaternion_xyzw(expected.as_matrix().tolist())
    assert found[3] >= 0
    assert np.isclose(np.linalg.norm(found), 1)
    assert (Rotation.from_quat(found).inv() * expected).magnitude() < 1e-7


def test_a_target_says_the_pose_that_was_packed() -> None:
    target = held_by().hear(pack("a", 2, 101.0, "target", THERE), HERE, 100.0, 0.0).target
    assert target == Pose([0.4, 0.1, 0.45], [1.0, 0.0, 0.0, 0.0])


def test_its_defaults_are_those_of_the_panda() -> None:
    flags, config = watchdog.parse([]), load([str(ROBOTS / "franka_ros.yaml")])
    assert (flags.state, flags.target, flags.frame) == (
        config.topics.state,
        config.topics.target,
        config.arm.base_frame,
    )
    assert flags.cancel == [config.actions.trajectory, config.actions.move_group]
    assert (flags.command, flags.status) == (TopicsConfig.command, TopicsConfig.watchdog)
    assert (flags.timeout, flags.key) == (WatchdogConfig.timeout_s, None)


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        *(("--timeout", value, "0.05 to 2 seconds") for value in ("-1", "0", "nan", "inf", "60", "soon")),
        ("--key-file", "/nowhere/key", "head -c 32 /dev/urandom"),
    ],
)
def test_a_flag_that_cannot_be_is_refused_in_a_line_before_ros_is_asked_for(
    flag: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        watchdog.parse([f"{flag}={value}"])
    assert said in capsys.readouterr().err


def test_without_ros_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rospy", None)
    monkeypatch.setattr(sys, "argv", ["watchdog.py"])
    with pytest.raises(SystemExit, match=r"rospy.*setup\.bash, or apt-get install python3-rospy"):
        watchdog.main()


@pytest.mark.parametrize("seconds", [math.inf, 30.0])
def test_a_timeout_that_lets_an_arm_move_on_and_on_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"watchdog\.timeout_s is"):
        WatchdogConfig(timeout_s=seconds)


def test_it_reads_a_secret_and_refuses_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    assert read_key(str(file)) == b"secret"
    file.write_text(" \n")
    with pytest.raises(ValueError, match="is empty; a secret is expected"):
        read_key(str(file))


def test_it_runs_on_an_old_computer_without_us() -> None:
    """ROS 1's last release has Python 3.8."""
    tree = ast.parse(Path(watchdog.__file__).read_text(), feature_version=(3, 8))
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert not any(name.startswith(("gnfactor", "numpy", "torch")) for name in imported)
