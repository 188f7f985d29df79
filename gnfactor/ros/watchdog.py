"""Runs on the robot's computer: `python3 watchdog.py --help`. Holds the arm where it is when we fall silent.

It is a gate. Whoever moves the robot sends all targets, heartbeats and holds to one topic (`pack`); the gate passes
targets on to the controller while they are in order, and when a word is missing for too long it commands the measured
pose, cancels running goals, and lets no target through until somebody says hold. This file needs Python 3.8 and rospy,
and nothing of ours: copy it there alone. Seconds of messages are the clock's; silence is measured on a steady one.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import math
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from operator import mul
from pathlib import Path
from typing import Any, Literal

COMMAND, STATUS = "/gnfactor/command", "/gnfactor/watchdog"
TICK_S = 0.02
STATUS_S = 0.05
POSE_LIFE_S = 0.3
"""A measured pose that is older is not known any more; to command it could make the arm jump."""
MAX_LIFE_S = 5.0
"""A message that expires later than this from now comes from a clock that is wrong."""
MAX_TIMEOUT_S = 2.0
SAG_M, SAG_RAD = 0.03, 0.1
"""An arm that was held and hangs this far below stays told to be where it was: else each hold would let it sink."""
_CONTROLLED = 2
"""FrankaState's robot_mode while a controller has the arm."""
_LONGEST_WORD, _LONGEST_WHY, _SESSIONS_KEPT = 4096, 200, 64


@dataclass(frozen=True)
class Pose:
    """Of the end effector in the frame of the base."""

    position_m: Sequence[float]
    quaternion_xyzw: Sequence[float]


@dataclass(frozen=True)
class Orders:
    """What is to be published now."""

    target: Pose | None = None
    cancel: bool = False
    """Whether running goals are to be cancelled."""


@dataclass
class Status:
    """What the watchdog says of itself, `stamp_s` of its clock apart."""

    session: str = ""
    sequence: int = 0
    """Of the last word that was heard, of that session."""
    mover: str = ""
    """The session that said hold last; no other may move the arm. Empty: none, until one says hold."""
    armed: bool = False
    owes_hold: bool = False
    """The measured pose was not known when it was to be held: that is made up for as soon as it is."""
    why: str = "just started"
    """Of the last hold that nobody asked for, or of the last word that was dropped."""
    held: str = ""
    """Of the last hold that nobody asked for, whatever was dropped since."""
    dropped: int = 0
    timeout_s: float = 0.0
    target: str = ""
    frame: str = ""
    cancel: list[str] = field(default_factory=list)
    """How it was started: whoever moves the arm can see whether that is what has to be watched."""


@dataclass
class Gate:
    """Is told what comes and how time passes; says what to publish."""

    timeout_s: float
    key: bytes | None = field(default=None, repr=False)
    status: Status = field(default_factory=Status)
    _heard: dict[str, int] = field(default_factory=dict)
    _last_word_s: float = -math.inf
    _cancel_again_s: float = math.inf
    _held: Pose | None = None
    """Where the arm was told to stay; None since it may have moved."""

    def __post_init__(self) -> None:
        self.status.timeout_s = self.timeout_s

    def hear(self, text: str, measured: Pose | None, clock_s: float, steady_s: float) -> Orders:
        """A word of whoever moves the robot: dropped where anything about it is in doubt, else obeyed.

        Args:
            text: as `pack` made it.
            measured: pose of the end effector, None where it is not known.
            clock_s: on the clock by which words expire.
            steady_s: on a clock that nobody sets.
        """
        try:
            word = _unpack(text, self.key)
            self._check_order(word, clock_s)
            self._remember(word)
            if word["verb"] != "hold":
                self._check_gate(word, measured)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            self.status.dropped += 1
            self.status.why = f"dropped: {error}"[:_LONGEST_WHY]
            return Orders()
        self.status.session, self.status.sequence = word["session"], word["sequence"]
        self._last_word_s = steady_s
        if word["verb"] == "hold":
            self.status.mover, self._cancel_again_s = word["session"], math.inf
            return self._hold(measured)
        self.status.armed, self._held = True, None
        return Orders(Pose(word["position_m"], word["quaternion_xyzw"]) if word["verb"] == "target" else None)

    def tick(self, measured: Pose | None, steady_s: float) -> Orders:
        """Time passes: an arm that moves without a word for too long is held, and a hold that is owed is done.

        As long as nobody has said hold since, goals are cancelled again and again: one may come after the first.
        """
        silent_s = steady_s - self._last_word_s
        if self.status.armed and silent_s >= self.timeout_s:
            return self.hold(f"held: silent for {silent_s:.2f} s", measured, steady_s)
        if self.status.owes_hold and measured is not None:
            return self._hold(measured)
        if steady_s < self._cancel_again_s:
            return Orders()
        self._cancel_again_s = steady_s + STATUS_S
        return Orders(cancel=True)

    def hold(self, why: str, measured: Pose | None, steady_s: float) -> Orders:
        """Hold without having been told to; from then on no target passes."""
        self.status.mover, self._cancel_again_s = "", steady_s + STATUS_S
        self.status.why = (
            why if measured else why + "; the measured pose is unknown: goals are cancelled, the rest owed"
        )
        self.status.held = self.status.why
        return self._hold(measured)

    def let_go(self) -> None:
        """No controller moves the arm now: a hand, a reflex or a stop has it, and where it was held counts no more."""
        self._held = None

    def _hold(self, measured: Pose | None) -> Orders:
        """Where it is told to stay already, or else where it is; a pose that is not known is waited for."""
        self.status.armed, self.status.owes_hold = False, measured is None
        if measured is not None and not (self._held is not None and _is_near(self._held, measured)):
            self._held = measured
        return Orders(None if measured is None else self._held, cancel=True)

    def _remember(self, word: dict[str, Any]) -> None:
        self._heard.pop(word["session"], None)
        self._heard[word["session"]] = word["sequence"]
        if len(self._heard) > _SESSIONS_KEPT:
            del self._heard[next(iter(self._heard))]

    def _check_order(self, word: dict[str, Any], clock_s: float) -> None:
        left_s = word["expires_s"] - clock_s
        if not 0 < left_s <= MAX_LIFE_S:
            hint = "are the clocks of the two computers the same?"
            raise ValueError(f"it expires {left_s:.2f} s from now, 0 to {MAX_LIFE_S:.0f} are expected: {hint}")
        before = self._heard.get(word["session"], 0)
        if word["sequence"] <= before:
            raise ValueError(f"its sequence is {word['sequence']} and {before} has been heard: out of order or again")

    def _check_gate(self, word: dict[str, Any], measured: Pose | None) -> None:
        if not self.status.mover:
            raise ValueError("the arm was held because of silence, or nobody has held it yet; say hold first")
        if word["session"] != self.status.mover:
            raise ValueError(
                f"session {self.status.mover} held the arm after session {word['session']}; say hold first"
            )
        if measured is None or self.status.owes_hold:
            raise ValueError("the measured pose is unknown, so that the arm could not be held")


def pack(
    session: str,
    sequence: int,
    expires_s: float,
    verb: Literal["target", "heartbeat", "hold"],
    base_from_ee: Sequence[Sequence[float]] | None = None,
    key: bytes | None = None,
) -> str:
    """A word for the gate.

    Args:
        session: of this run; sequences are counted within it, from 1.
        sequence: above all before it.
        expires_s: on the robot's clock; from then on it is dropped.
        verb: "target" moves the arm, "heartbeat" says that it may go on moving, "hold" ends a motion.
        base_from_ee: 4x4, of a target; in the robot's own end effector frame.
        key: with which to sign it.
    """
    word: dict[str, Any] = {"session": session, "sequence": sequence, "expires_s": expires_s, "verb": verb}
    if base_from_ee is not None:
        word["position_m"] = [float(row[3]) for row in base_from_ee[:3]]
        word["quaternion_xyzw"] = quaternion_xyzw(base_from_ee)
    if key is not None:
        word["signature"] = _sign(word, key)
    return json.dumps(word)


def quaternion_xyzw(rotation: Sequence[Sequence[float]]) -> list[float]:
    """Unit quaternion of a rotation matrix (or of a pose's), w not negative."""
    (a, b, c), (d, e, f), (g, h, i) = (row[:3] for row in rotation[:3])
    # Each row is the quaternion times four of its components: the longest is the most exact.
    rows = (
        (1 + a - e - i, b + d, c + g, h - f),
        (b + d, 1 - a + e - i, f + h, c - g),
        (c + g, f + h, 1 - a - e + i, d - b),
        (h - f, c - g, d - b, 1 + a + e + i),
    )
    longest = max(rows, key=lambda row: sum(value * value for value in row))
    length = math.copysign(math.sqrt(sum(value * value for value in longest)), longest[3])
    return [float(value / length) for value in longest]


def read_key(path: str) -> bytes:
    """The secret in a file, without white space around it."""
    key = Path(path).read_bytes().strip()
    if not key:
        raise ValueError(f"{path} is empty; a secret is expected, the same on both computers")
    return key


def _sign(word: dict[str, Any], key: bytes) -> str:
    unsigned = {name: value for name, value in word.items() if name != "signature"}
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _unpack(text: str, key: bytes | None) -> dict[str, Any]:
    """Fields of a word that is whole and rightly signed; one of the errors that `hear` expects where it is not."""
    if len(text) > _LONGEST_WORD:
        raise ValueError(f"it has {len(text)} characters; no word of ours has more than {_LONGEST_WORD}")
    word: dict[str, Any] = json.loads(text)
    if type(word) is not dict:
        raise ValueError("it is no JSON object")
    if key is not None and not hmac.compare_digest(_sign(word, key), str(word.get("signature", ""))):
        raise ValueError("it is not signed with this watchdog's key")
    if type(word["session"]) is not str or type(word["sequence"]) is not int:
        raise ValueError("session has to be a text and sequence a whole number")
    if word["verb"] not in ("target", "heartbeat", "hold") or not math.isfinite(word["expires_s"]):
        raise ValueError(f"verb is {word['verb']!r} and expires_s {word['expires_s']!r}")
    if word["verb"] == "target":
        length = math.sqrt(sum(value * value for value in word["quaternion_xyzw"]))
        counts = len(word["position_m"]), len(word["quaternion_xyzw"])
        if counts != (3, 4) or not all(map(math.isfinite, word["position_m"])) or not abs(length - 1) < 1e-3:
            raise ValueError(f"it is no pose: {word['position_m']}, {word['quaternion_xyzw']}")
    return word


def pose_of(columns: Sequence[float]) -> Pose | None:
    """Of a 4x4 matrix column by column, as in FrankaState; None where it is no rigid transform."""
    if len(columns) != 16 or not all(map(math.isfinite, columns)):
        return None
    rows = [columns[row::4] for row in range(4)]
    (a, b, c), (d, e, f), (g, h, i) = turn = [row[:3] for row in rows[:3]]
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    products = [sum(map(mul, turn[m], turn[n])) - (m == n) for m in range(3) for n in range(3)]
    off = max(abs(value) for value in [*products, *rows[3][:3], rows[3][3] - 1])
    if off > 1e-3 or determinant < 0:
        return None
    return Pose([float(row[3]) for row in rows[:3]], quaternion_xyzw(rows))


def _is_near(a: Pose, b: Pose) -> bool:
    """Whether one may hang from the other."""
    cosine = abs(sum(map(mul, a.quaternion_xyzw, b.quaternion_xyzw)))
    return math.dist(a.position_m, b.position_m) <= SAG_M and cosine >= math.cos(SAG_RAD / 2)


class Node:
    """The gate between topics."""

    def __init__(self, gate: Gate, flags: argparse.Namespace) -> None:
        self._rospy, self._dynamic = import_module("rospy"), import_module("genpy.dynamic")
        self._std, self._geometry = import_module("std_msgs.msg"), import_module("geometry_msgs.msg")
        goal_id = import_module("actionlib_msgs.msg").GoalID
        self._gate, self._frame, self._lock = gate, flags.frame, threading.RLock()
        self._measured, self._measured_s = None, -math.inf
        self._classes: dict[str, Any] = {}
        publish = self._rospy.Publisher
        self._target = publish(flags.target, self._geometry.PoseStamped, queue_size=1, tcp_nodelay=True)
        self._cancels = [publish(f"{name}/cancel", goal_id, queue_size=1) for name in flags.cancel]
        self._status = publish(flags.status, self._std.String, queue_size=1, tcp_nodelay=True)
        self._rospy.on_shutdown(self._end)
        self._rospy.Subscriber(flags.state, self._rospy.AnyMsg, self._on_state, queue_size=1, tcp_nodelay=True)
        self._rospy.Subscriber(flags.command, self._std.String, self._on_command, tcp_nodelay=True)

    def run(self, over: threading.Event) -> None:
        """Watch until that is set or ROS shuts down."""
        said_s = -math.inf
        while not self._rospy.is_shutdown() and not over.wait(TICK_S):
            with self._lock:
                self._publish(self._gate.tick(self._pose(), time.monotonic()))
                if time.monotonic() - said_s >= STATUS_S:
                    self._say()
                    said_s = time.monotonic()
        self._rospy.signal_shutdown("asked to end")

    def _on_command(self, message: Any) -> None:
        with self._lock:
            was_armed = self._gate.status.armed
            orders = self._gate.hear(message.data, self._pose(), self._rospy.get_time(), time.monotonic())
            self._publish(orders)
            if orders.cancel or self._gate.status.armed != was_armed:
                self._say()

    def _on_state(self, message: Any) -> None:
        """The robot's own state, by the definition that comes with it."""
        header = message._connection_header
        if header["md5sum"] not in self._classes:
            classes = self._dynamic.generate_dynamic(header["type"], header["message_definition"])
            self._classes[header["md5sum"]] = classes[header["type"]]
        state = self._classes[header["md5sum"]]().deserialize(message._buff)
        pose, age_s = pose_of(state.O_T_EE), self._rospy.get_time() - state.header.stamp.to_sec()
        if pose is None or age_s < -POSE_LIFE_S:  # what came before ages until it is not known any more
            return
        with self._lock:
            self._measured, self._measured_s = pose, time.monotonic() - max(age_s, 0.0)
            if state.robot_mode != _CONTROLLED:
                self._gate.let_go()

    def _pose(self) -> Pose | None:
        return self._measured if time.monotonic() - self._measured_s < POSE_LIFE_S else None

    def _publish(self, orders: Orders) -> None:
        if orders.target is not None:
            message = self._geometry.PoseStamped()
            message.header.frame_id, message.header.stamp = self._frame, self._rospy.Time.now()
            message.pose.position = self._geometry.Point(*orders.target.position_m)
            message.pose.orientation = self._geometry.Quaternion(*orders.target.quaternion_xyzw)
            self._target.publish(message)
        if orders.cancel:
            for publisher in self._cancels:
                publisher.publish()

    def _say(self) -> None:
        status = {"stamp_s": self._rospy.get_time(), **asdict(self._gate.status)}
        self._status.publish(json.dumps(status))

    def _end(self) -> None:
        """ROS shuts down, and topics are still there: hold, and let the messages leave."""
        with self._lock:
            self._publish(self._gate.hold("held: the watchdog was asked to end", self._pose(), time.monotonic()))
            self._say()
        time.sleep(0.2)


def parse(args: list[str] | None = None) -> argparse.Namespace:
    """Flags; the defaults are franka_ros's names."""
    parser = argparse.ArgumentParser(description="Holds the arm when whoever moves it falls silent.")
    controllers = ["/position_joint_trajectory_controller/follow_joint_trajectory", "/move_group"]
    parser.add_argument("--state", default="/franka_state_controller/franka_states", help="with O_T_EE")
    parser.add_argument("--target", default="/cartesian_impedance_example_controller/equilibrium_pose")
    parser.add_argument("--cancel", nargs="*", default=controllers, help="actions whose goals end when it holds")
    parser.add_argument("--frame", default="panda_link0", help="of the poses")
    parser.add_argument("--command", default=COMMAND, help="topic of our words")
    parser.add_argument("--status", default=STATUS, help="topic of what it says of itself")
    parser.add_argument("--timeout", type=_timeout_s, default=0.3, help="seconds of silence until it holds")
    parser.add_argument(
        "--key-file",
        dest="key",
        type=_key,
        metavar="FILE",
        help="secret that signs our words; without one, none is asked for",
    )
    return parser.parse_args(args)


def _timeout_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.05 <= seconds <= MAX_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"{text}; 0.05 to {MAX_TIMEOUT_S:.0f} seconds are expected")
    return seconds


def _key(path: str) -> bytes:
    try:
        return read_key(path)
    except (OSError, ValueError) as error:
        make = "`head -c 32 /dev/urandom | base64 > FILE` makes a secret, for both computers"
        raise argparse.ArgumentTypeError(f"{error}; {make}") from error


def main() -> None:
    """Watch until a signal or ROS ends it."""
    flags = parse()
    try:
        rospy = import_module("rospy")
    except ImportError as error:
        raise SystemExit(f"{error}: source ROS's setup.bash, or apt-get install python3-rospy (Debian 12)") from error
    rospy.init_node("gnfactor_watchdog", disable_signals=True)
    over = threading.Event()

    def end(number: int, frame: object) -> None:  # noqa: ARG001 (what Python hands to it)
        over.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    status = Status(target=flags.target, frame=flags.frame, cancel=flags.cancel)
    node = Node(Gate(flags.timeout, flags.key, status), flags)
    print("watching", flush=True)
    node.run(over)


if __name__ == "__main__":
    main()
