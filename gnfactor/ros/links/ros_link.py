"""What every way to a robot through ROS has in common: when a command is sent, dropped or refused, and what a hold is.

A transport carries it out: it knows topics and actions, and neither watchdog nor order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from gnfactor.errors import RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, Progress, RobotState, RobotView
from gnfactor.ros.links.goals import Goal, grip_goal, plan_goal, trajectory_goal
from gnfactor.ros.links.voice import Voice
from gnfactor.ros.sensing.sensors import Sensors

Role = Literal["move", "grasp", "stop", "recovery", "trajectory", "plan"]
ENDED_BY_HOLD: tuple[Role, ...] = ("trajectory", "plan", "move", "grasp")
SILENT_S = 1.0
"""A robot whose state has not come for so long is lost."""
FRESH_S = 0.3
"""A measured pose that came longer ago is not commanded: the arm may be elsewhere by now."""
_POLL_S = 0.005


@dataclass(frozen=True)
class GoalState:
    """How the goal that was sent last stands."""

    status: Literal["running", "done", "failed"]
    message: str = ""


@runtime_checkable
class RobotAction(Protocol):
    """One action of the robot; one goal at a time."""

    def start(self, goal: Goal) -> None:
        """Send a goal. Raises RobotError where nobody is there to take it."""
        ...

    def cancel(self) -> None:
        """End what is under way. Raises RobotError where the robot cannot be reached."""
        ...

    def state(self) -> GoalState: ...


@runtime_checkable
class Transport(Protocol):
    """Carries messages to one robot and back."""

    @property
    def sensors(self) -> Sensors:
        """Where messages of cameras, joints and tf arrive."""
        ...

    @property
    def actions(self) -> Mapping[Role, RobotAction]: ...

    @property
    def connections(self) -> int:
        """How often it has connected; whatever was under way when this changed is in doubt."""
        ...

    def start(self, hear_watchdog: Callable[[str], None]) -> None:
        """Connect, and begin to hand on what the watchdog says."""
        ...

    def now_s(self) -> float:
        """The robot's clock."""
        ...

    def loss(self) -> str | None:
        """Why no command reaches the robot, if so."""
        ...

    def hint(self) -> str:
        """What the other side complained about lately; empty: nothing."""
        ...

    def say(self, word: str) -> None:
        """Send a text to `topics.command`. Raises RobotError where the robot cannot be reached."""
        ...

    def pull(self, base_from_ee: Float[np.ndarray, "4 4"]) -> None:
        """Give the controller a target. Raises RobotError where the robot cannot be reached."""
        ...

    def stop_fingers(self) -> None:
        """Have the fingers stay where they are. Raises RobotError where the robot cannot be reached."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class RosLink:
    """RobotLink over a transport."""

    def __init__(self, config: RobotConfig, transport: Transport) -> None:
        """Connect, and wait until everything that is needed has spoken; commands nothing.

        Raises:
            ConfigError: a file that is named cannot be used.
            RobotError: something has not come within link.timeout_s.
        """
        self._config, self._transport, self._began_s = config, transport, time.monotonic()
        self._voice = Voice(config, transport.say, transport.now_s) if config.watchdog.required else None
        self._last_sequence = 0
        self._job: tuple[int, RobotAction] | None = None
        self._moves, self._has_commanded, self._is_closed = False, False, False
        try:
            transport.start(self._voice.take if self._voice is not None else lambda _: None)
            self._held_connection = transport.connections
            self._wait_for_all()
        except BaseException:
            transport.close()
            raise

    def now_s(self) -> float:
        self._check_reach()
        return self._transport.now_s()

    def wait(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        while True:
            self._check_reach()
            self._beat()
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, 1 / self._config.watchdog.heartbeat_hz))

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        end_s = time.monotonic() + max_age_s
        while True:
            self._check_reach()
            views = self._transport.sensors.views(self._transport.now_s(), max_age_s)
            if views is not None:
                return views
            if time.monotonic() > end_s:
                blindness = self._transport.sensors.blindness(self._transport.now_s(), max_age_s)
                raise RobotError(f"no new pictures: {blindness}{self._transport.hint()}")
            time.sleep(_POLL_S)

    def state(self) -> RobotState:
        self._check_reach()
        self._beat()
        return self._transport.sensors.state()

    def stream(self, target: PoseTarget) -> None:
        self._check_may_move()
        if not self._takes(target.sequence, target.expires_s):
            return
        self._moves = self._has_commanded = True
        if self._voice is not None:
            self._voice.target(target)
        else:
            self._pull(target.base_from_gripper)

    def start_trajectory(self, trajectory: JointTrajectory) -> None:
        self._start("trajectory", trajectory, lambda: trajectory_goal(self._config, trajectory))

    def start_plan(self, request: PlanRequest) -> None:
        self._start("plan", request, lambda: plan_goal(self._config, request))

    def start_grip(self, command: GripCommand) -> None:
        self._start("grasp" if command.grasp else "move", command, lambda: grip_goal(command))

    def progress(self) -> Progress:
        """As in RobotLink; a motion that the watchdog has held, or does not watch any more, is lost, not only failed.

        Raises:
            RobotError: so that whoever asks does not go on to the next motion by itself.
        """
        self._check_reach()
        self._beat()
        if self._job is None:
            return Progress(0, "done")
        sequence, action = self._job
        if self._voice is not None and self._moves:
            complaint = self._voice.silence() or self._voice.latch()
            if complaint is not None:
                raise RobotError(complaint)
        found = action.state()
        return Progress(sequence, found.status, found.message)

    def hold(self) -> None:
        """End goals and have the watchdog hold; without one, or without its answer, send the measured pose ourselves.

        Raises:
            RobotError: the robot may not have heard it; all was tried nevertheless, unless we never commanded anything
                and a watchdog that is required is not there.
        """
        if self._is_closed:
            raise RobotError("this link is closed")
        if not self._has_commanded:
            self._wait_for_watchdog()
        connection, self._has_commanded = self._transport.connections, True
        self._moves, self._held_connection = False, 0
        complaints = [self._attempt(self._end_goals), self._attempt(self._hold_pose), self._transport.loss()]
        complaint = next((said for said in reversed(complaints) if said is not None), None)
        if complaint is not None:
            raise RobotError(complaint)
        self._held_connection = connection

    def recover(self) -> None:
        """As in RobotLink. Holds before and after, so that no old target waits for the arm.

        Raises:
            RobotError: the robot cannot be reached, or has not recovered within link.timeout_s.
        """
        self.hold()
        action, end_s = self._transport.actions["recovery"], time.monotonic() + self._config.link.timeout_s
        action.start({})
        while (found := action.state()).status == "running":
            if time.monotonic() > end_s:
                raise RobotError(f"the recovery has not ended within {self._config.link.timeout_s} s")
            time.sleep(_POLL_S)
        if found.status == "failed":
            raise RobotError(f"the robot has not recovered: {found.message}")
        self.hold()

    def close(self) -> None:
        """Hold, then release everything; one that never commanded anything leaves without a word."""
        if self._is_closed:
            return
        try:
            if self._has_commanded:
                self.hold()
        finally:
            self._is_closed = True
            self._transport.close()

    def _start(
        self, role: Role, command: JointTrajectory | PlanRequest | GripCommand, make: Callable[[], Goal]
    ) -> None:
        self._check_may_move()
        if not self._takes(command.sequence, command.expires_s):
            return
        action = self._transport.actions.get(role)
        if action is None:
            raise RobotError(f"this robot is not set up for '{role}': executor.name is {self._config.executor.name}")
        goal = make()
        self._moves = self._has_commanded = True
        if self._voice is not None:
            self._voice.arm()
        action.start(goal)
        self._job = (command.sequence, action)

    @staticmethod
    def _attempt(step: Callable[[], None]) -> str | None:
        """Do one part of a hold; why it failed, so that the others are done all the same, whatever went wrong."""
        try:
            step()
        except RobotError as error:
            return str(error)
        except Exception as error:
            return f"a part of the hold has failed: {error!r}"
        return None

    def _hold_pose(self) -> None:
        """By the watchdog; without one, or without its answer, by the measured pose."""
        topic = self._config.topics.target
        if self._voice is None:
            if topic is not None:
                self._pull_to_measured()
            return
        complaint = self._voice.hold()
        if complaint is not None:
            instead = self._attempt(self._pull_to_measured) or f"the measured pose was sent to {topic} directly"
            raise RobotError(f"{complaint}; {instead}")

    def _end_goals(self) -> None:
        """Franka's gripper does not heed cancellations: moving fingers are stopped."""
        actions, last = self._transport.actions, None if self._job is None else self._job[1]
        fingers_move = last in (actions["move"], actions["grasp"]) and last.state().status == "running"
        for role in ENDED_BY_HOLD:
            if role in actions:
                actions[role].cancel()
        if fingers_move:
            self._transport.stop_fingers()

    def _takes(self, sequence: int, expires_s: float) -> bool:
        """Whether a command is neither late nor out of order."""
        if self._transport.now_s() >= expires_s or sequence <= self._last_sequence:
            return False
        self._last_sequence = sequence
        return True

    def _beat(self) -> None:
        """Say that we are there, while something moves; a program that hung finds its motion lost when it wakes."""
        if self._voice is None or not self._moves:
            return
        quiet_s, allowed_s = self._voice.quiet_s(), self._config.watchdog.timeout_s
        if quiet_s > allowed_s:
            raise RobotError(
                f"this program said nothing for {quiet_s:.2f} s while the arm moved; after {allowed_s} s "
                "(watchdog.timeout_s) the watchdog holds it"
            )
        self._voice.heartbeat()

    def _check_reach(self) -> None:
        complaint = "this link is closed" if self._is_closed else self._transport.loss()
        if complaint is not None:
            self._held_connection = 0
            raise RobotError(complaint)

    def _check_may_move(self) -> None:
        self._check_reach()
        if self._held_connection != self._transport.connections:
            raise RobotError("the robot was lost, or not held when that was asked for; hold before the next motion")
        self._wait_for_watchdog()
        if self._voice is not None and (complaint := self._voice.misfit() or self._voice.latch()) is not None:
            raise RobotError(complaint)

    def _wait_for_watchdog(self) -> None:
        """Until it speaks; at the beginning it may take as long as all others."""
        while self._voice is not None and (complaint := self._voice.silence()) is not None:
            if time.monotonic() - self._began_s > self._config.link.timeout_s:
                self._held_connection = 0
                raise RobotError(complaint)
            self._check_reach()
            time.sleep(_POLL_S)

    def _pull(self, base_from_gripper: Float[np.ndarray, "4 4"]) -> None:
        if self._config.topics.target is None:
            raise RobotError("topics.target is null: this robot takes no stream of poses")
        self._transport.pull(base_from_gripper @ np.linalg.inv(self._config.arm.ee_from_gripper.matrix))

    def _pull_to_measured(self) -> None:
        """Command the measured pose. Raises RobotError where it is not known, or cannot be commanded."""
        sensors = self._transport.sensors
        state = sensors.state()
        age_s = max(sensors.silence_s(self._config.topics.state), abs(self._transport.now_s() - state.stamp_s))
        if not age_s <= FRESH_S:
            raise RobotError("the measured pose is not known any more; goals are cancelled only")
        self._pull(state.base_from_gripper)

    def _wait_for_all(self) -> None:
        end_s = self._began_s + self._config.link.timeout_s
        sensors = self._transport.sensors
        while (missing := sensors.missing()) or sensors.adrift():
            self._check_reach()
            if time.monotonic() > end_s:
                silent = f"nothing has come on {', '.join(missing)}"
                raise RobotError(
                    f"after {self._config.link.timeout_s} s (link.timeout_s), "
                    f"{silent if missing else '; '.join(sensors.adrift())}"
                    f"{self._transport.hint()}: start the robot's software, or correct these names"
                )
            time.sleep(_POLL_S)
