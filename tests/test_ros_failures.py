"""What breaks in the middle of a motion, how soon the arm is still then, and who says why.

Each is done to real parts: a master, a simulated Franka and the watchdog as processes on one computer, the bridge as
a process on another, which is a network namespace at the other end of a cable (where there is none, both are one). The
arm's speed is the simulation's own, 100 times a second. GNFACTOR_ROS_REPORT names a file to which a line of JSON is
added for each failure.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.ros.presence import require_ros

require_ros()

from gnfactor.ros.journal import Ended, Event, Failed, Judged  # noqa: E402
from gnfactor.ros.log.reader import Recording  # noqa: E402
from tests.ros.bridge_process import Bridge  # noqa: E402
from tests.ros.cable import why_no_cable  # noqa: E402
from tests.ros.cell import Cell, cell  # noqa: E402
from tests.ros.standstill import STILL_FOR_S, STILL_M_S, Standstill  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    # Debian's rospy was written for older Pythons, and leaves its sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

IN_MOTION_M_S = 0.05
"""Of the 0.1 m/s that the arm comes to in the middle of a way; less where other processes slow the bridge down."""
WAY_S = 8.0
"""Longest time that a whole motion of these tests takes, its settling included."""


@dataclass(frozen=True)
class Failure:
    """Something that breaks while the bridge goes on, and says why the arm stopped."""

    limit_s: float
    """Within this the arm is still."""
    why: str
    """Pattern of the bridge's reason."""
    inject: Callable[[Cell], object]
    mend: Callable[[Cell], object]


def switched(name: str, broken: bool = True) -> tuple[Callable[[Cell], object], Callable[[Cell], object]]:
    return lambda cell: cell.client.switch(name, broken), lambda cell: cell.client.switch(name, not broken)


def release_stop(cell: Cell) -> None:
    cell.client.switch("user_stop", False)
    cell.client.recover()


FAILURES = {
    "stale state": Failure(1.5, r"the state is \d+\.\d+ s old", *switched("stale_states")),
    "silent state": Failure(2.0, r"the state is \d+\.\d+ s old|silent|state", *switched("silent_state")),
    "reflex": Failure(
        1.5, "mode is REFLEX", lambda cell: cell.client.trigger("force_reflex"), lambda cell: cell.client.recover()
    ),
    "user stop": Failure(1.5, "mode is USER_STOPPED", lambda cell: cell.client.switch("user_stop", True), release_stop),
    "killed watchdog": Failure(2.5, "watchdog", lambda cell: cell.watchdog.kill(), lambda cell: cell.start_watchdog()),
    # The guard looks at pictures before a motion and nobody does in it: the motion ends as planned, and is the last.
    "stale pictures": Failure(WAY_S, r"picture.*old", *switched("stale_pictures")),
    "killed camera": Failure(WAY_S, r"picture|camera|/camera", *switched("camera", broken=False)),
}
SILENT_S, HUNG_S, CABLE_S, CTRL_C_S, MASTER_S = 2.0, 2.0, 2.0, 1.5, 2.5
"""Limits of the failures that have a test of their own."""
BACK_S = 15.0
"""Within this a connection that is there again can be used."""


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with cell(tmp_path_factory.mktemp("ros")) as made:
        yield made


class Bridges:
    """One bridge for each way to move, as long as it lives; `expected` is what their logs have to say in the end."""

    def __init__(self, robot: Cell, stack: ExitStack) -> None:
        self._robot, self._stack = robot, stack
        self.expected: list[tuple[Path, str]] = []
        self._alive: dict[str, Bridge] = {}

    def get(self, executor: str) -> Bridge:
        if executor not in self._alive or not self._alive[executor].is_alive:
            started = self._robot.bridge(f"executor.name={executor}")
            self._alive[executor] = self._stack.enter_context(started)
        return self._alive[executor]


@pytest.fixture(scope="module")
def bridges(robot: Cell) -> Iterator[Bridges]:
    with ExitStack() as stack:
        yield Bridges(robot, stack)


def set_in_motion(robot: Cell, bridge: Bridge) -> None:
    """The arm is in the middle of a way of the bridge's."""
    robot.client.stage("open_drawer", 0, 0)
    bridge.ask("sweep", max_steps=20)
    moving = robot.client.wait(lambda: robot.truth.speed_m_s() > IN_MOTION_M_S, 15.0)
    assert moving, f"the arm does not move; the bridge said:\n{bridge.last_words()}"


def works(robot: Cell, bridge: Bridge) -> None:
    """The bridge moves the arm when it is asked anew."""
    robot.client.stage("open_drawer", 0, 0)
    bridge.ask("nudge", max_steps=1)
    step = bridge.wait_for("step", WAY_S)
    assert (step["refused"], step["blocked"]) == (None, None), step
    bridge.wait_for("episode", WAY_S)


def works_within(robot: Cell, bridge: Bridge, seconds: float) -> None:
    """The bridge comes to know that the robot is there again; until then it refuses, and says so."""
    end = time.monotonic() + seconds
    while True:
        bridge.ask("nudge", max_steps=1)
        episode = bridge.wait_for("episode", WAY_S)["episode"]
        if episode["ending"] == "max_steps" and episode["reason"] is None:
            return
        assert time.monotonic() < end, episode


def stopped_within(robot: Cell, moment_s: float, limit_s: float) -> Standstill:
    stopped = robot.truth.standstill(moment_s, limit_s + 3 * STILL_FOR_S)
    assert stopped is not None, f"the arm still moves at {robot.truth.speed_m_s() * 1000:.1f} mm/s"
    assert 0 < stopped.after_s <= limit_s, stopped
    return stopped


def report(failure: str, executor: str, limit_s: float, stopped: Standstill, why: str) -> None:
    line = {"failure": failure, "executor": executor, "limit_s": limit_s, **asdict(stopped), "why": why}
    if "GNFACTOR_ROS_REPORT" in os.environ:
        with Path(os.environ["GNFACTOR_ROS_REPORT"]).open("a") as file:
            file.write(json.dumps(line) + "\n")


def test_a_refusal_moves_nothing(robot: Cell, bridges: Bridges) -> None:
    bridge = bridges.get("impedance")
    robot.client.stage("open_drawer", 0, 0)
    began_s = time.time()
    bridge.ask("leap", max_steps=2)
    episode = bridge.wait_for("episode", 10.0)["episode"]
    assert episode["ending"] == "refused"
    assert re.search(r"the gripper at the target .* below", episode["reason"])
    bridges.expected.append((bridge.log, episode["reason"]))
    time.sleep(STILL_FOR_S)
    assert robot.truth.peak_m_s(began_s) < STILL_M_S
    report("refusal", "impedance", 0.0, Standstill(0.0, 0.0), episode["reason"])


@pytest.mark.parametrize(
    ("executor", "name"),
    [*(("impedance", name) for name in FAILURES), ("trajectory", "stale state"), ("trajectory", "user stop")],
)
def test_the_arm_is_still_in_time_and_the_bridge_says_why(
    robot: Cell, bridges: Bridges, executor: str, name: str
) -> None:
    failure, bridge = FAILURES[name], bridges.get(executor)
    set_in_motion(robot, bridge)
    moment_s = time.time()
    try:
        happened = failure.inject(robot)
        moment_s = float(happened) if isinstance(happened, str) else moment_s  # a service says when it did it
        stopped_within(robot, moment_s, failure.limit_s)
        episode = bridge.wait_for("episode", WAY_S)
        time.sleep(STILL_FOR_S)
        stopped = robot.truth.settled(moment_s)
    finally:
        failure.mend(robot)
    assert re.search(failure.why, str(episode["episode"]["reason"])), episode
    bridges.expected.append((bridge.log, episode["episode"]["reason"]))
    assert stopped.after_s <= failure.limit_s, "it moved again while the bridge ended"
    report(name, executor, failure.limit_s, stopped, episode["episode"]["reason"])


@pytest.mark.parametrize("executor", ["impedance", "trajectory"])
def test_a_hung_bridge_is_stopped_by_the_watchdog_and_goes_on_when_asked_anew(
    robot: Cell, bridges: Bridges, executor: str
) -> None:
    bridge = bridges.get(executor)
    set_in_motion(robot, bridge)
    moment_s = time.time()
    bridge.kill(signal.SIGSTOP)
    try:
        stopped, watchdog_says = stopped_within(robot, moment_s, HUNG_S), robot.watchdog_says()
        assert "held: silent for" in watchdog_says
    finally:
        bridge.kill(signal.SIGCONT)
    episode = bridge.wait_for("episode", WAY_S)["episode"]
    assert episode["ending"] in ("crashed", "lost"), "it went on by itself"
    assert re.search("said nothing for|watchdog|state has not come", episode["reason"]), episode
    time.sleep(STILL_FOR_S)
    assert robot.truth.peak_m_s(moment_s + stopped.after_s) < STILL_M_S, "it moved when the bridge woke up"
    bridges.expected.append((bridge.log, episode["reason"]))
    report("hung bridge", executor, HUNG_S, stopped, f"{watchdog_says}; the bridge, when it woke: {episode['reason']}")
    works(robot, bridge)


def test_a_pulled_cable_stops_the_arm_and_the_bridge_works_again_when_it_is_plugged_in(
    robot: Cell, bridges: Bridges
) -> None:
    if robot.cable is None:
        pytest.skip(str(why_no_cable()))
    bridge = bridges.get("impedance")
    set_in_motion(robot, bridge)
    moment_s = time.time()
    robot.cable.pull()
    try:
        stopped, watchdog_says = stopped_within(robot, moment_s, CABLE_S), robot.watchdog_says()
        episode = bridge.wait_for("episode", WAY_S)["episode"]
    finally:
        robot.cable.plug()
    assert "held: silent for" in watchdog_says
    bridges.expected.append((bridge.log, episode["reason"]))
    report("lost connection", "impedance", CABLE_S, stopped, f"{watchdog_says}; the bridge: {episode['reason']}")
    time.sleep(STILL_FOR_S)
    assert robot.truth.peak_m_s(moment_s + stopped.after_s) < STILL_M_S, "it moved when the cable was back"
    works_within(robot, bridge, BACK_S)


def test_ctrl_c_stops_the_arm_before_the_bridge_ends(robot: Cell, bridges: Bridges) -> None:
    bridge = bridges.get("impedance")
    set_in_motion(robot, bridge)
    moment_s = time.time()
    bridge.kill(signal.SIGINT)
    stopped = stopped_within(robot, moment_s, CTRL_C_S)
    ended = bridge.wait_for("ended", 10.0)["ended"]
    assert ended == "the operator's Ctrl-C"
    bridges.expected.append((bridge.log, ended))
    assert bridge.process.wait(10.0) == 130
    report("the operator's Ctrl-C", "impedance", CTRL_C_S, stopped, ended)


def test_a_killed_bridge_is_stopped_by_the_watchdog(robot: Cell, bridges: Bridges) -> None:
    bridge = bridges.get("impedance")
    set_in_motion(robot, bridge)
    moment_s = time.time()
    bridge.kill(signal.SIGKILL)
    stopped = stopped_within(robot, moment_s, SILENT_S)
    assert "held: silent for" in robot.watchdog_says()
    report("killed bridge", "impedance", SILENT_S, stopped, robot.watchdog_says())


def test_a_killed_master_ends_the_motion(robot: Cell, bridges: Bridges) -> None:
    """After all others: nobody of these finds another master."""
    bridge = bridges.get("trajectory")
    set_in_motion(robot, bridge)
    moment_s = time.time()
    robot.master.kill()
    stopped = stopped_within(robot, moment_s, MASTER_S)
    episode = bridge.wait_for("episode", WAY_S)["episode"]
    assert "master" in episode["reason"]
    bridges.expected.append((bridge.log, episode["reason"]))
    report("killed master", "trajectory", MASTER_S, stopped, episode["reason"])


def test_the_logs_say_why(bridges: Bridges) -> None:
    """Of everything above, whatever became of the process that wrote them."""
    time.sleep(1.0)
    logs = {path for path, _ in bridges.expected}
    said = {path: [reason for noted in Recording(path).events() for reason in reasons(noted.event)] for path in logs}
    assert bridges.expected
    for path, reason in bridges.expected:
        for part in reason.split("; then: "):
            assert any(part in line for line in said[path]), part


def reasons(event: Event) -> list[str]:
    """Why something was not done or ended, as an event has it."""
    found = {Ended: ("refused", "blocked"), Judged: ("reason",), Failed: ("complaint",)}.get(type(event), ())
    return [getattr(event, name) for name in found if getattr(event, name) is not None]
