"""The log of a run: all that is noted is read back, in order, also after the worst."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from gnfactor.envs.base import LiveScene
from gnfactor.errors import DataError, MissingExtraError, RobotError
from gnfactor.rollout import rollout
from gnfactor.ros.journal import (
    Began,
    Commanded,
    Event,
    Failed,
    Looked,
    Progressed,
    Seen,
    Stated,
)
from gnfactor.ros.link import (
    GripCommand,
    Progress,
    RobotLink,
    RobotMode,
)
from gnfactor.ros.links.journalled_link import JournalledLink
from gnfactor.ros.log import writer as run_log
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.log.writer import RunLog
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.scene import Camera, Observation, View
from tests.fake_robot import FakeRobot, robot_config
from tests.made_up_events import MAKERS, Maker, same
from tests.recorded_run import INSTRUCTION, Wanderer, header, record, robot_for, written

REPOSITORY = Path(__file__).resolve().parent.parent


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(MAKERS)), max_size=30), st.integers(0, 2**31), st.lists(st.text(), max_size=3))
def test_whatever_is_noted_is_read_back_bit_for_bit_and_in_order(
    tmp_path: Path, kinds: list[str], seed: int, texts: list[str]
) -> None:
    path, maker = tmp_path / "run.mcap", Maker(seed, texts)
    path.unlink(missing_ok=True)
    with np.errstate(over="ignore", invalid="ignore"):
        noted = [MAKERS[kind](maker) for kind in kinds]
    read = written(path, noted)
    assert len(read) == len(noted)
    assert all(same(a, b) for a, b in zip(read, noted, strict=True))


def test_an_event_keeps_its_place_in_time(tmp_path: Path) -> None:
    times_s = iter([5.0, 7.25, 6.0, 8.0])  # the second but last goes back: stamps do not
    with RunLog(tmp_path / "run.mcap", header(), lambda: next(times_s)) as log:
        for text in "abc":
            log.note(Began(text))
    assert [one.time_s for one in Recording(tmp_path / "run.mcap").events()] == [7.25, 7.25, 8.0]


def test_a_clock_that_is_lost_with_the_robot_does_not_stop_the_log(tmp_path: Path) -> None:
    def clock() -> float:
        if list(ticks) and ticks.pop():
            return 3.0
        raise RobotError("the bridge is gone")

    ticks = [1.0, 1.0]
    with RunLog(tmp_path / "run.mcap", header(), clock) as log:
        log.note(Began("press it"))
        log.note(Failed("the bridge is gone"))
    first, second = Recording(tmp_path / "run.mcap").events()
    assert first.time_s <= second.time_s < first.time_s + 5
    assert second.event == Failed("the bridge is gone")


def test_the_head_says_under_what_the_run_took_place(tmp_path: Path) -> None:
    head = header(checkpoint="runs/a", weights_sha256="ab" * 32, seed=3, calibration="front 2026-11-20", dry_run=True)
    RunLog(tmp_path / "run.mcap", head).close()
    assert Recording(tmp_path / "run.mcap").header == head
    assert head.versions["mcap"]


def test_without_pictures_everything_else_is_kept(tmp_path: Path) -> None:
    maker = Maker(0, [])
    seen = replace(maker.observation(), views={"front": maker.view()}, time_s=1.0)
    (read,) = written(tmp_path / "run.mcap", [Seen(seen)], "log.images=false")
    assert isinstance(read, Seen)
    assert same(read.observation, replace(seen, views={}))


def test_states_are_kept_at_a_limited_rate_but_all_that_say_something_new(tmp_path: Path) -> None:
    robot, time_s = FakeRobot(robot_config()), [10.0]
    calm = robot.state()
    reflex = replace(calm, mode=RobotMode.REFLEX)
    with RunLog(tmp_path / "run.mcap", header(), lambda: time_s[0]) as log:
        for _ in range(1000):  # one second, at 1 kHz
            log.note(Stated(calm))
            time_s[0] += 1e-3
        log.note(Stated(reflex))
        log.note(Stated(calm))
        log.note(Looked({}))
        log.note(Stated(calm))
    read = [one.event for one in Recording(tmp_path / "run.mcap").events()]
    states = [event.state.mode for event in read if isinstance(event, Stated)]
    assert 30 <= len(states) - 3 <= 40
    assert states[-3:] == [RobotMode.REFLEX, RobotMode.MOVE, RobotMode.MOVE]


class Broken:
    """A journal that can keep nothing."""

    def note(self, event: Event) -> None:
        raise DataError("the disk is full")


def test_a_hold_reaches_the_robot_whatever_becomes_of_the_log() -> None:
    robot = FakeRobot(robot_config())
    link = JournalledLink(robot, Broken())
    link.hold()
    assert robot.record == ["hold"]
    with pytest.raises(DataError, match="the disk is full"):
        link.recover()
    assert robot.record == ["hold"]
    link.close()
    assert robot.record[-1] == "close"


@pytest.mark.parametrize("executor", ["impedance", "trajectory", "moveit"])
def test_a_log_that_fails_on_the_way_ends_in_a_hold_where_the_arm_is(executor: str) -> None:
    class Failing:
        def note(self, event: Event) -> None:
            if isinstance(event, Commanded):
                raise DataError("the disk is full")

    robot = robot_for(executor)
    env = RobotEnv(JournalledLink(robot, Failing()), robot.config, journal=Failing())
    episode = rollout(env, Wanderer(), LiveScene(INSTRUCTION), 3)
    assert (episode.ending, episode.reason) == ("crashed", "the disk is full")
    assert set(robot.record) == {"hold"}


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, event: Event) -> None:
        self.events.append(event)


def test_a_journalled_link_lets_everything_through_and_notes_it() -> None:
    journal, robot = Kept(), FakeRobot(robot_config("executor.name=trajectory"))
    link = JournalledLink(robot, journal)
    assert isinstance(link, RobotLink)
    command = GripCommand(1, 200.0, 0.0, 0.05, 20.0, True, 0.08)
    assert link.now_s() == robot.now_s()
    seen = link.observe(0.5)
    link.start_grip(command)
    answers = [link.progress(), link.progress()]
    link.wait(1.0)
    answers.append(link.progress())
    state = link.state()
    link.hold()
    assert answers == [Progress(1, "running"), Progress(1, "running"), Progress(1, "done")]
    looked, commanded, running, done, stated, held = journal.events
    assert looked == Looked({name: view.stamp_s for name, view in seen.items()})
    assert isinstance(commanded, Commanded)
    assert (commanded.command, commanded.verb) == (command, "start_grip")
    assert (running, done) == (Progressed(answers[0]), Progressed(answers[2]))
    assert isinstance(stated, Stated)
    assert stated.state is state
    assert isinstance(held, Commanded)
    assert held.verb == "hold"


def test_a_failure_of_the_robot_is_noted_and_goes_on() -> None:
    journal = Kept()

    def lost(robot: FakeRobot) -> None:
        raise RobotError("the bridge is gone")

    link = JournalledLink(FakeRobot(robot_config(), on_state=lost), journal)
    with pytest.raises(RobotError, match="the bridge is gone"):
        link.state()
    assert journal.events == [Failed("RobotError: the bridge is gone")]


def test_a_log_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    RunLog(path, header()).close()
    with pytest.raises(DataError, match="cannot be made: File exists"):
        RunLog(path, header())


def test_viewers_find_pictures_calibrations_and_poses_under_schemas_that_they_know(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    record(path, robot_for("impedance"), Wanderer(), steps=1)
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    schemas = {channel.topic: summary.schemas[channel.schema_id].name for channel in summary.channels.values()}
    assert schemas["/observation/front/color"] == "foxglove.CompressedImage"
    assert schemas["/observation/front/depth"] == "foxglove.RawImage"
    assert schemas["/observation/front/camera"] == "foxglove.CameraCalibration"
    assert schemas["/gripper"] == "foxglove.PoseInFrame"
    assert schemas["/tf"] == "foxglove.FrameTransform"
    for schema in summary.schemas.values():
        assert schema.encoding == "jsonschema"
        assert json.loads(schema.data)["type"] == "object"
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema is not None
            extra = json.loads(message.data).keys() - json.loads(schema.data)["properties"].keys()
            assert not extra, channel.topic


def test_without_the_package_the_extra_is_named_and_no_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(MissingExtraError, match=r"gnfactor\[robot\]"):
        RunLog(tmp_path / "run.mcap", header())
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_slow_ends_the_run_before_memory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "_MOST_WAITING_BYTES", 100_000)
    large = View(Camera(np.eye(3), np.eye(4), 200, 200), np.zeros((200, 200, 3), np.uint8), np.zeros((200, 200)))
    log = RunLog(tmp_path / "run.mcap", header())
    log.note(Began("press it"))
    with pytest.raises(DataError, match="written too slowly: 0 MiB wait; take a faster disk"):
        log.note(Seen(Observation(0, 0.0, {"front": large}, {})))
    with pytest.raises(DataError, match="written too slowly"):
        log.note(Began("press it again"))
    with pytest.raises(DataError, match="written too slowly"):
        log.close()
    assert [one.event for one in Recording(tmp_path / "run.mcap").events()] == [Began("press it")]
