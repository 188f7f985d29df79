"""Links to robots behind a bridge, for as long as a block lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import PoseTarget
from gnfactor.ros.rosbridge_link import RosbridgeLink
from tests.bridged_robot import Robot, bridge_config
from tests.rosbridge_server import Bridge

EXACT = "executor.arrived_m=0.004"


def config_of(ros: int, executor: str, *overrides: str) -> RobotConfig:
    target = ["topics.target=/target_pose"] if ros == 2 and executor == "impedance" else []
    return bridge_config(ros, f"executor.name={executor}", EXACT, *target, *overrides)


@contextmanager
def lab(config: RobotConfig, **bridge: Any) -> Iterator[tuple[RobotConfig, Robot, Bridge]]:
    """A robot behind a bridge, and the configuration that names it."""
    robot = Robot(config)
    try:
        server = Bridge(robot, **bridge)
        try:
            yield replace(config, link=replace(config.link, uri=server.uri)), robot, server
        finally:
            server.kill()
    finally:
        robot.close()


@contextmanager
def linked(config: RobotConfig, **bridge: Any) -> Iterator[tuple[RosbridgeLink, Robot, Bridge]]:
    """A link to such a robot, held once."""
    with lab(config, **bridge) as (named, robot, server):
        link = RosbridgeLink(named)
        try:
            link.hold()
            yield link, robot, server
        finally:
            link.close()


def wait_until(is_so: Callable[[], bool], seconds: float = 5.0) -> float:
    """Seconds until something is so."""
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < seconds, "it never came"
        time.sleep(0.002)
    return time.monotonic() - began_s


def target_of(link: RosbridgeLink, sequence: int, lift_m: float = 0.0, life_s: float = 0.5) -> PoseTarget:
    pose = link.state().base_from_gripper
    pose[2, 3] += lift_m
    return PoseTarget(sequence, link.now_s() + life_s, pose)
