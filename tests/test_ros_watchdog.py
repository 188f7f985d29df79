"""The gate on the robot's computer: what never passes it, and that silence ends in a hold. No ROS here."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gnfactor.ros import watchdog
from gnfactor.ros.config import TopicsConfig, WatchdogConfig, load
from gnfactor.ros.watchdog import Gate, Orders, Pose, pack, quaternion_xyzw, read_key
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


@given(words=st.lists(WORDS, max_size=40))
def test_no_target_passes_that_is_latched_expired_again_out_of_order_wrongly_signed_or_of_another(
    words: list[Word],
) -> None:
    gate, now_s = Gate(TIMEOUT_S, KEY), 100.0
    highest, latched, mover = {"a": 0, "b": 0}, False, None
    for word in words:
        now_s += word.after_s
        measured = HERE if word.pose_is_known else None
        if gate.tick(measured, now_s).cancel:
            latched, mover = True, None
        base = THERE if word.verb == "target" else None
        text = pack(word.session, word.sequence, now_s + word.life_s, word.verb, base, word.key)
        orders = gate.hear(text, measured, now_s, now_s)
        in_order = word.key == KEY and 0 < word.life_s < 5 and word.sequence > highest[word.session]
        if in_order:
            highest[word.session] = word.sequence
        if in_order and word.verb == "hold":
            assert orders == Orders(measured, cancel=True)
            latched, mover = False, None
            continue
        may_move = in_order and not latched and word.pose_is_known and mover in (None, word.session)
        mover = word.session if may_move else mover
        assert (orders.target is not None) == (may_move and word.verb == "target")
        assert not orders.cancel
        assert gate.status.armed == (mover is not None)
        assert gate.status.latched == latched


@given(
    steps_s=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=30),
    verb=st.sampled_from(("target", "heartbeat")),
    pose_is_known=st.booleans(),
)
def test_every_silence_ends_in_exactly_one_hold(steps_s: list[float], verb: str, pose_is_known: bool) -> None:
    gate, now_s = Gate(TIMEOUT_S), 5.0
    gate.hear(pack("a", 1, 101.0, verb, THERE), HERE, 100.0, now_s)
    held = 0
    for step_s in steps_s:
        now_s += step_s
        orders = gate.tick(HERE if pose_is_known else None, now_s)
        if orders.cancel:
            assert orders.target == (HERE if pose_is_known else None)
        held += orders.cancel
        assert held == (now_s - 5.0 >= TIMEOUT_S)
    assert gate.status.latched == bool(held)
    assert ("silent for" in gate.status.why) == bool(held)


@given(gaps_s=st.lists(st.floats(0.001, 0.29), max_size=30))
def test_an_arm_that_hears_us_often_enough_is_let_alone(gaps_s: list[float]) -> None:
    gate, now_s = Gate(TIMEOUT_S), 0.0
    for sequence, gap_s in enumerate([0.0, *gaps_s], start=1):
        now_s += gap_s
        assert gate.tick(HERE, now_s) == Orders()
        assert gate.hear(pack("a", sequence, 100.2, "target", THERE), HERE, 100.0, now_s).target is not None
    assert gate.status.dropped == 0


def test_a_gate_that_nobody_has_armed_holds_nothing() -> None:
    gate = Gate(TIMEOUT_S)
    assert gate.tick(HERE, 1e6) == Orders()
    gate.hear(pack("a", 1, 101.0, "heartbeat"), HERE, 100.0, 0.0)
    gate.hear(pack("a", 2, 101.0, "hold"), HERE, 100.0, 0.1)
    assert gate.tick(HERE, 10.0) == Orders()


def test_a_word_that_was_dropped_while_latched_does_not_pass_later() -> None:
    gate = Gate(TIMEOUT_S)
    gate.hear(pack("a", 1, 101.0, "target", THERE), HERE, 100.0, 0.0)
    assert gate.tick(HERE, 0.5).cancel
    late = pack("a", 2, 103.0, "target", THERE)
    assert gate.hear(late, HERE, 100.6, 0.6) == Orders()
    assert "say hold first" in gate.status.why
    assert gate.hear(pack("a", 3, 103.0, "hold"), HERE, 100.7, 0.7).cancel
    assert gate.hear(late, HERE, 100.8, 0.8) == Orders()
    assert "out of order" in gate.status.why
    assert gate.hear(pack("a", 4, 103.0, "target", THERE), HERE, 100.9, 0.9).target is not None


def test_while_one_session_moves_the_arm_another_can_only_hold_it() -> None:
    gate = Gate(TIMEOUT_S)
    assert gate.hear(pack("a", 1, 101.0, "target", THERE), HERE, 100.0, 0.0).target is not None
    assert gate.hear(pack("b", 1, 101.0, "target", THERE), HERE, 100.1, 0.1) == Orders()
    assert "session a moves the arm" in gate.status.why
    assert gate.hear(pack("b", 2, 101.0, "hold"), HERE, 100.2, 0.2) == Orders(HERE, cancel=True)
    assert gate.hear(pack("b", 3, 101.0, "target", THERE), HERE, 100.25, 0.25).target is not None


def test_asked_to_end_it_holds_and_lets_nothing_through() -> None:
    gate = Gate(TIMEOUT_S)
    assert gate.hold("held: the watchdog was asked to end", HERE) == Orders(HERE, cancel=True)
    assert gate.hear(pack("a", 1, 101.0, "target", THERE), HERE, 100.0, 0.0).target is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
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


@given(
    name=st.sampled_from(("session", "sequence", "expires_s", "verb", "position_m", "quaternion_xyzw")),
    value=st.sampled_from(("b", 2, 101.5, "heartbeat", [0.4, 0.1, 0.46], [0.0, 1.0, 0.0, 0.0])),
)
def test_a_signed_word_cannot_be_changed(name: str, value: object) -> None:
    word = json.loads(pack("a", 1, 101.0, "target", THERE, KEY))
    same = word[name] == value
    word[name] = value
    orders = Gate(TIMEOUT_S, KEY).hear(json.dumps(word), HERE, 100.0, 0.0)
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
    target = Gate(TIMEOUT_S).hear(pack("a", 1, 101.0, "target", THERE), HERE, 100.0, 0.0).target
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
    assert (flags.timeout, flags.key_file) == (WatchdogConfig.timeout_s, None)


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
