"""A run on a robot: what the operator says is done, and whatever happens the robot is told to hold at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gnfactor.actions import Action, ArmTarget
from gnfactor.errors import ConfigError, DataError, GNFactorError, ObservationError, RobotError
from gnfactor.kinematics import between
from gnfactor.rollout import Episode
from gnfactor.ros.journal import Asked, Began, Decided, Ended, Event, Failed, Judged, Seen
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, RobotMode
from gnfactor.ros.links.listening_link import ListeningLink
from gnfactor.ros.session import operator
from gnfactor.ros.session.interruption import signals_interrupt, uninterrupted
from gnfactor.ros.session.session import Order, Terminal, act
from gnfactor.scene import ARM, Observation
from tests.fake_robot import IMAGE_SIZE, FakeRobot, robot_config

COMMANDS = (PoseTarget, JointTrajectory, PlanRequest, GripCommand)


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, event: Event) -> None:
        self.events.append(event)

    def of(self, *kinds: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]


class Moving:
    """A policy that moves the gripper from where it is by given steps, one after the other."""

    def __init__(self, *steps: tuple[float, float, float], gripper_open: bool = True) -> None:
        self._steps, self._open = steps, gripper_open
        self.shown: list[Observation] = []

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        (observation,) = observations
        self.shown.append(observation)
        pose = observation.arms[ARM].world_from_gripper.copy()
        pose[:3, 3] += self._steps[min(len(self.shown), len(self._steps)) - 1]
        return [Action({ARM: ArmTarget(pose, self._open, ignore_collisions=False)})]

    def reset(self, index: int) -> None:
        pass


class Answers:
    """A terminal at which these answers are given; then it is gone."""

    def __init__(self, *answers: str | BaseException) -> None:
        self._answers = chain(answers, repeat(operator.STOP))
        self.questions: list[str] = []
        self.lines: list[str] = []
        self.on_question: Callable[[], None] = lambda: None

    def ask(self, question: str) -> str:
        self.questions.append(question)
        self.on_question()
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    @property
    def terminal(self) -> Terminal:
        return Terminal(self.lines.append, self.ask)


def perform(
    robot: FakeRobot,
    policy: Moving,
    answers: Answers,
    folder: Path,
    journal: Kept | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    **how: object,
) -> Episode:
    order = Order(Path("nowhere"), "press the button", robot.config, folder, **how)  # type: ignore[arg-type]
    return act(robot, policy, image_size, order, answers.terminal, journal or Kept())


def robot_for(*overrides: str, **faults: object) -> FakeRobot:
    return FakeRobot(robot_config(*overrides), **faults)  # type: ignore[arg-type]


def moved(robot: FakeRobot) -> bool:
    return any(isinstance(command, COMMANDS) for command in robot.record)


DOWN = (0.0, 0.0, -0.05)


@pytest.fixture(autouse=True)
def small_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a run here; only tests about pictures need it."""
    if "picture" not in request.node.name:
        monkeypatch.setattr(operator, "draw_plan", lambda *_: np.zeros((2, 2, 3), np.uint8))


def test_yes_moves_and_done_ends_the_run(tmp_path: Path) -> None:
    robot, answers, journal = robot_for(), Answers("y", "d"), Kept()
    start = robot.pose
    episode = perform(robot, Moving(DOWN), answers, tmp_path, journal)
    assert (episode.ending, episode.steps, episode.success) == ("done", 2, None)
    assert between(robot.pose, start)[0] == pytest.approx(0.05, abs=0.01)
    assert robot.holding
    assert [type(event) for event in journal.of(Began, Decided, Judged, Asked, Ended)] == [
        *(Began, Decided, Judged, Asked, Judged, Ended),
        *(Decided, Judged, Asked, Ended),
    ]
    assert [event.ended for event in journal.of(Ended)] == [None, "done"]  # type: ignore[union-attr]
    assert "arrived" in answers.said


def test_no_moves_nothing_and_the_policy_is_asked_again(tmp_path: Path) -> None:
    robot, answers, policy = robot_for(), Answers("n", "N ", "", "maybe", "q"), Moving(DOWN)
    episode = perform(robot, policy, answers, tmp_path)
    assert (episode.ending, episode.steps, episode.reason) == ("stopped", 3, "the operator stopped it")
    assert len(policy.shown) == 3
    assert not moved(robot)
    assert robot.holding
    assert "'maybe' is none of the answers" in answers.said


def test_first_asks_once_and_never_not_at_all(tmp_path: Path) -> None:
    first, never = Answers("n", "y"), Answers()
    assert perform(robot_for(), Moving(DOWN), first, tmp_path, confirm="first", max_steps=4).ending == "max_steps"
    assert len(first.questions) == 2
    robot = robot_for()
    assert perform(robot, Moving(DOWN), never, tmp_path, confirm="never", max_steps=2).ending == "max_steps"
    assert not never.questions
    assert moved(robot)
    assert "action 2: the guard allows it" in never.said


def test_a_yes_to_a_motion_that_the_second_look_refuses_is_no_yes_to_the_next_one(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("y", "y")

    def change() -> None:
        robot.mode = RobotMode.USER_STOPPED if len(answers.questions) == 1 else RobotMode.MOVE

    answers.on_question = change
    policy = Moving(DOWN)
    robot.on_state = lambda seen: setattr(seen, "mode", RobotMode.MOVE) if len(policy.shown) > 1 else None
    perform(robot, policy, answers, tmp_path, confirm="first", max_steps=3)
    assert "it was agreed to, but by now" in answers.said
    assert len(answers.questions) == 2, "the second motion is asked about, the third is not"
    assert moved(robot)


def test_a_policy_that_changes_nothing_is_done(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("y")
    episode = perform(robot, Moving(DOWN, (0.0, 0.002, 0.0)), answers, tmp_path)
    assert (episode.ending, episode.steps) == ("done", 2)
    assert len(answers.questions) == 1
    closing = Answers("n")
    assert perform(robot_for(), Moving((0.0, 0.0, 0.0), gripper_open=False), closing, tmp_path).ending == "stopped"


def test_what_the_guard_refuses_is_said_and_cannot_be_agreed_to(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("y", "n", "q")
    episode = perform(robot, Moving((0.0, 0.0, -0.6)), answers, tmp_path)
    assert "at most 0.5 m are allowed" in answers.said or "below the" in answers.said
    assert not any("y: do it" in question for question in answers.questions)
    assert episode.ending == "stopped"
    assert not moved(robot)


def test_refusals_with_nobody_to_ask_end_the_run(tmp_path: Path) -> None:
    robot = robot_for()
    episode = perform(robot, Moving((0.0, 0.0, -0.6)), Answers(), tmp_path, confirm="never")
    assert (episode.ending, episode.steps) == ("stopped", 3)
    assert (episode.reason or "").startswith("too many refusals in a row, the last: the")
    assert not moved(robot)


def test_a_reflex_is_recovered_from_on_the_operators_word_alone(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("n", "r", "y", "d")
    robot.mode = RobotMode.REFLEX
    assert perform(robot, Moving(DOWN), answers, tmp_path).ending == "done"
    assert "r: recover" in answers.questions[0]
    assert robot.record.index("recover") > 1
    assert robot.record.count("recover") == 1
    assert moved(robot)
    alone = robot_for()
    alone.mode = RobotMode.REFLEX
    perform(alone, Moving(DOWN), Answers(), tmp_path, confirm="never")
    assert "recover" not in alone.record
    assert "r: recover" not in Answers().questions


def test_a_recovery_that_fails_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("r", "q")
    robot.mode = RobotMode.REFLEX

    def fail() -> None:
        raise RobotError("it is still in contact")

    robot.recover = fail  # type: ignore[method-assign]
    assert perform(robot, Moving(DOWN), answers, tmp_path).ending == "stopped"
    assert "the robot did not recover: it is still in contact" in answers.said


def test_an_arm_that_moved_while_the_operator_thought_is_not_commanded(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("y", "q")

    def push() -> None:
        robot.joints = robot.joints + 0.05

    answers.on_question = push
    perform(robot, Moving(DOWN), answers, tmp_path)
    assert "since the question was asked" in answers.said
    assert not moved(robot)


def test_a_camera_that_died_while_the_operator_thought_is_asked_again(tmp_path: Path) -> None:
    robot, answers = robot_for(), Answers("y", "q")
    answers.on_question = lambda: setattr(robot, "alter_view", lambda view: replace(view, stamp_s=view.stamp_s - 9))
    perform(robot, Moving(DOWN), answers, tmp_path)
    assert "agreed to, but by now: the picture of 'front' is 9" in answers.said
    assert not moved(robot)


def test_every_action_leaves_a_picture_and_the_latest_is_known(tmp_path: Path) -> None:
    answers = Answers("y", "q")
    perform(robot_for(), Moving(DOWN, (0.0, 0.0, -0.7)), answers, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["action001.png", "action002.png", "latest.png"]
    assert (tmp_path / "latest.png").read_bytes() == (tmp_path / "action002.png").read_bytes()
    borders = [np.array(Image.open(tmp_path / name))[0, 0] for name in names[:2]]
    assert borders[0][1] > borders[0][0]  # green: allowed
    assert borders[1][0] > borders[1][1]  # red: refused


def test_a_picture_that_cannot_be_written_moves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    robot, answers = robot_for(), Answers("y")
    episode = perform(robot, Moving(DOWN), answers, tmp_path / "file")
    assert episode.ending == "crashed"
    assert "cannot write the picture" in (episode.reason or "")
    assert not moved(robot)
    assert robot.holding


def test_the_policy_sees_its_own_size_and_the_guard_the_robots(tmp_path: Path) -> None:
    policy = Moving(DOWN)
    journal = Kept()
    perform(robot_for(), policy, Answers("q"), tmp_path, journal, image_size=(32, 24))
    assert {view.rgb.shape for view in policy.shown[0].views.values()} == {(24, 32, 3)}
    (seen,) = journal.of(Seen)
    assert seen.observation is policy.shown[0]  # type: ignore[union-attr]
    episode = perform(robot_for(), policy, Answers("q"), tmp_path, image_size=(128, 128))
    assert (episode.ending, episode.steps) == ("crashed", 0)
    assert "let the camera give pictures that are not smaller" in (episode.reason or "")


class Mute(FakeRobot):
    """A robot to which nothing may be said."""

    def _heard(self, *said: object) -> None:
        raise AssertionError(f"the robot was told {said}")

    stream = start_trajectory = start_plan = start_grip = hold = recover = _heard  # type: ignore[assignment]

    def close(self) -> None:
        self.record.append("close")


@pytest.mark.parametrize("name", ["impedance", "trajectory", "moveit"])
@pytest.mark.parametrize("confirm", ["each", "first", "never"])
def test_a_dry_run_says_what_it_would_send_and_sends_nothing(name: str, confirm: str, tmp_path: Path) -> None:
    robot, answers = Mute(robot_config(f"executor.name={name}")), Answers("", "d")
    policy = Moving(DOWN, (0.0, 0.1, -0.1), gripper_open=False)
    episode = perform(robot, policy, answers, tmp_path, confirm=confirm, dry_run=True, max_steps=2)
    assert episode.ending == ("max_steps" if confirm == "never" else "done")
    assert robot.record == ["close"]
    assert "would send" in answers.said
    assert "/franka_gripper/grasp: close" in answers.said
    expected = {
        "impedance": "targets to /gnfactor/command",
        "trajectory": "one trajectory to /position_joint",
        "moveit": "one request to /move_group",
    }
    assert expected[name] in answers.said


def test_a_dry_run_of_a_robot_in_reflex_does_not_recover_it(tmp_path: Path) -> None:
    robot, answers = Mute(robot_config()), Answers("r", "", "q")
    robot.mode = RobotMode.REFLEX
    assert perform(robot, Moving(DOWN), answers, tmp_path, dry_run=True).ending == "stopped"
    assert "REFUSED: the robot's mode is REFLEX" in answers.said


def test_a_link_that_only_listens_refuses_to_send() -> None:
    link = ListeningLink(Mute(robot_config()))
    link.hold()
    with pytest.raises(RobotError, match="target 3 was not sent: this is a dry run"):
        link.stream(PoseTarget(3, 1.0, np.eye(4)))
    with pytest.raises(RobotError, match="dry run"):
        link.recover()


keys = st.sampled_from(["y", "n", "d", "q", "r", "", "yes", "Y"])
faults = st.sampled_from(
    [
        RobotError("the bridge is gone"),
        KeyboardInterrupt(),
        ValueError("a mistake of ours"),
        RobotMode.REFLEX,
        RobotMode.USER_STOPPED,
        "freeze",
        "stuck",
    ]
)
steps = st.tuples(*[st.floats(-0.6, 0.6)] * 3) | st.tuples(*[st.floats(-0.05, 0.05)] * 3) | st.just((np.nan, 0.0, 0.0))


@settings(max_examples=20)
@given(st.data())
def test_whatever_is_answered_and_whatever_fails_the_last_word_is_hold(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count, fault, answers = data.draw(st.integers(1, 60)), data.draw(faults), Answers(*data.draw(st.lists(keys)))

    def on_state(robot: FakeRobot) -> None:
        nonlocal count
        count -= 1
        if count != 0:
            return
        if isinstance(fault, BaseException):
            raise fault
        if isinstance(fault, RobotMode):
            robot.mode = fault
        else:
            robot.frozen, robot.follows = fault == "freeze", fault != "stuck"

    name, confirm = (
        data.draw(st.sampled_from(["impedance", "trajectory", "moveit"])),
        data.draw(st.sampled_from(["each", "first", "never"])),
    )
    policy = Moving(*data.draw(st.lists(steps, min_size=1, max_size=3)), gripper_open=data.draw(st.booleans()))
    robot, journal = robot_for(f"executor.name={name}", on_state=on_state), Kept()
    with suppress(GNFactorError, KeyboardInterrupt, ValueError):
        perform(robot, policy, answers, tmp_path_factory.mktemp("run"), journal, confirm=confirm, max_steps=3)
    assert robot.record[-2:] == ["hold", "close"]
    assert robot.holding
    agreed = [event for event in journal.of(Asked) if event.answer == "y"]  # type: ignore[union-attr]
    if confirm != "never" and not agreed:
        assert not moved(robot)
    if "r" not in [event.answer for event in journal.of(Asked)]:  # type: ignore[union-attr]
        assert "recover" not in robot.record


def test_ctrl_c_at_the_question_holds_and_goes_on(tmp_path: Path) -> None:
    robot, journal = robot_for(), Kept()
    with pytest.raises(KeyboardInterrupt):
        perform(robot, Moving(DOWN), Answers("y", KeyboardInterrupt()), tmp_path, journal)
    assert robot.holding
    assert journal.events[-1] == Failed("interrupted by Ctrl-C, or by a signal to end")


def test_a_policy_that_fails_ends_the_run_in_a_hold_and_the_log_says_why(tmp_path: Path) -> None:
    class Failing(Moving):
        def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
            raise ObservationError("it sees nothing")

    robot, journal = robot_for(), Kept()
    with pytest.raises(ObservationError):
        perform(robot, Failing(DOWN), Answers(), tmp_path, journal)
    assert robot.holding
    assert journal.events[-1] == Failed("it sees nothing")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_a_run_and_none_disturbs_its_end(number: int) -> None:
    before = signal.getsignal(number)
    with signals_interrupt():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        with uninterrupted():
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("link_lost", [kind("nobody answers") for kind in (RobotError, TypeError, KeyError)])
def test_a_hold_that_does_not_arrive_is_said_aloud(tmp_path: Path, link_lost: Exception) -> None:
    robot, answers = robot_for(), Answers("q")

    def fail() -> None:
        raise link_lost

    def lose() -> None:
        robot.hold = robot.close = fail  # type: ignore[method-assign]

    answers.on_question = lose
    with pytest.raises(type(link_lost), match="nobody answers"):
        perform(robot, Moving(DOWN), answers, tmp_path)
    said = next(line for line in answers.said.splitlines() if "THE ROBOT COULD NOT BE TOLD TO HOLD" in line)
    assert "nobody answers" in said


def test_orders_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="instruction is empty"):
        Order(tmp_path, "  ", robot_config(), tmp_path)
    with pytest.raises(ConfigError, match="at least 1"):
        Order(tmp_path, "go", robot_config(), tmp_path, max_steps=0)


def test_a_journal_that_fails_ends_the_run_in_a_hold(tmp_path: Path) -> None:
    class Full(Kept):
        def note(self, event: Event) -> None:
            super().note(event)
            if isinstance(event, Asked):
                raise DataError("the disk is full")

    robot = robot_for()
    episode = perform(robot, Moving(DOWN), Answers("y"), tmp_path, Full())
    assert episode.reason == "the disk is full"
    assert not moved(robot)
    assert robot.holding
