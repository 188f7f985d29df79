"""A robot's cell: master, simulated Franka and watchdog on one computer, bridges on another where there is one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import rospy
from std_msgs.msg import Bool, String

from tests.ros.bridge_process import Bridge, bridge
from tests.ros.cable import ROBOT_AT, WE_ARE_AT, Cable, cable, why_no_cable
from tests.ros.client import STATE, Client
from tests.ros.master import LOOPBACK, environment, franka, free_port, master, watchdog
from tests.ros.truth import Truth

WATCHDOG, SUCCESS = "/gnfactor/watchdog", "/simulation/success"


@dataclass
class Cell:
    """What a test does to the robot's computer; `client` and `truth` listen there."""

    folder: Path
    port: int
    cable: Cable | None
    """None: there is one computer only."""
    master: subprocess.Popen[bytes]
    franka: subprocess.Popen[bytes]
    client: Client
    truth: Truth
    watchdog: subprocess.Popen[bytes] | None = None
    _watching: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def address(self) -> str:
        """Of the robot's computer."""
        return LOOPBACK if self.cable is None else ROBOT_AT

    def start_watchdog(self) -> None:
        """Another one, in the place of one that may be dead."""
        self._watching.close()
        self.watchdog = self._watching.enter_context(watchdog(self.port, self.folder, address=self.address))

    def stop_watchdog(self) -> None:
        self._watching.close()

    def bridge(self, *options: str) -> AbstractContextManager[Bridge]:
        """A bridge on our computer; `options` are overrides of the robot's configuration."""
        spoken = self.folder / f"bridge{next(self._numbers)}.txt"
        if self.cable is None:
            return bridge(environment(self.port, self.folder), spoken, *options)
        variables = environment(self.port, self.folder, WE_ARE_AT, ROBOT_AT)
        return bridge(variables, spoken, *options, prefix=self.cable.prefix)

    def watchdog_says(self) -> str:
        """Why it held last without being told to."""
        return json.loads(self.client.latest[WATCHDOG].data)["held"]


@contextmanager
def cell(folder: Path, *options: str) -> Iterator[Cell]:
    """A whole cell until the block ends; `options` are those of the simulated Franka. One per process: rospy's rule."""
    with ExitStack() as stack:
        wire = stack.enter_context(cable()) if why_no_cable() is None else None
        address, port = LOOPBACK if wire is None else ROBOT_AT, free_port()
        core = stack.enter_context(master(port, folder, address=address))
        arm = stack.enter_context(franka(port, folder, *options, address=address))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment(port, folder, address).items():
            patch.setenv(name, value)
        rospy.init_node("test", disable_signals=True)
        stack.callback(rospy.signal_shutdown, "the tests are over")
        client, truth = Client(), Truth()
        for topic, kind in ((STATE, rospy.AnyMsg), (SUCCESS, Bool), (WATCHDOG, String)):
            client.listen(topic, kind)
        made = Cell(folder, port, wire, core, arm, client, truth)
        stack.callback(made.stop_watchdog)
        made.start_watchdog()
        assert client.wait(lambda: client.latest.keys() >= {STATE, SUCCESS, WATCHDOG}), client.latest.keys()
        yield made
