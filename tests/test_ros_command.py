"""`python -m gnfactor.ros` at a terminal, with a real master, the simulated Franka and the watchdog beside it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.ros.presence import require_ros

require_ros()

from gnfactor.checkpoint import CheckpointInfo, checkpoint_path, write_checkpoint  # noqa: E402
from gnfactor.config import from_yaml  # noqa: E402
from gnfactor.model import Policy  # noqa: E402
from tests.ros.camera_topics import optical_frame  # noqa: E402
from tests.ros.master import (  # noqa: E402
    REPOSITORY,
    environment,
    franka,
    free_port,
    master,
    process,
    wait_until_ready,
    watchdog,
)
from tests.synthetic import TINY  # noqa: E402

pytestmark = pytest.mark.ros
SAID = "push the square"
QUESTION = " > "
LISTENER = """
import rospy
from std_msgs.msg import String
from geometry_msgs.msg import PoseStamped
rospy.init_node("listener")
rospy.Subscriber("/gnfactor/command", String, lambda message: print(message.data, flush=True))
print("ready", flush=True)
rospy.spin()
"""
"""Under Debian's Python: prints all that is said to the watchdog."""


@dataclass(frozen=True)
class Cell:
    """What runs beside the command."""

    folder: Path
    port: int

    def heard(self) -> list[str]:
        """Verbs that the watchdog was told since the listener began."""
        lines = (self.folder / "listener.txt").read_text().splitlines()
        return [json.loads(line)["verb"] for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    folder, port = tmp_path_factory.mktemp("ros"), free_port()
    with master(port, folder), franka(port, folder, "--camera", "front=front"), watchdog(port, folder):
        yield Cell(folder, port)


@pytest.fixture
def heard(cell: Cell) -> Iterator[Cell]:
    variables = {name: value for name, value in environment(cell.port, cell.folder).items() if name != "PYTHONPATH"}
    log = cell.folder / "listener.txt"
    with process(("/usr/bin/python3", "-c", LISTENER), variables, log) as started:
        wait_until_ready(lambda: "ready" in log.read_text(), started, log)
        yield cell


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = from_yaml(TINY)
    policy = Policy(config.policy)
    policy.instructions.learn([SAID])
    path = checkpoint_path(tmp_path_factory.mktemp("run"), 7)
    write_checkpoint(path, config, CheckpointInfo(7, (SAID,), averaged=False, validation=None), policy.state_dict(), {})
    return path


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, started: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process, self._keyboard, self.shown = started, keyboard, ""

    def type(self, text: str) -> None:
        os.write(self._keyboard, text.encode())

    def read(self, until: str | None = None, patience_s: float = 60.0) -> None:
        """What appears, to a text or to the end."""
        end_s, before = time.monotonic() + patience_s, len(self.shown)
        while until is None or until not in self.shown[before:]:
            assert time.monotonic() < end_s, f"waited for {until!r} in vain: {self.shown}"
            if select.select([self._keyboard], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._keyboard, 2**16).decode()
                except OSError:  # the other end is closed
                    assert until is None, f"{until!r} never came: {self.shown}"
                    return


@contextmanager
def command(cell: Cell, checkpoint: Path, out: Path, *options: str) -> Iterator[Terminal]:
    front = {
        "color": "/front/color/image_raw",
        "depth": "/front/aligned_depth_to_color/image_raw",
        "info": "/front/color/camera_info",
        "frame": optical_frame("front"),
    }
    words = [sys.executable, "-m", "gnfactor.ros", str(checkpoint), "--config", "configs/robot/franka_ros.yaml"]
    words += ["--config", "tests/ros/simulated_franka.yaml", f"cameras.front={json.dumps(front)}"]
    words += ["guard.min_workspace_points=100", SAID, "--out", str(out), "--accept-calibration", "a test", *options]
    variables = environment(cell.port, cell.folder)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), variables.get("PYTHONPATH")]))
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, cwd=REPOSITORY, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(started, ours)
    finally:
        started.kill()
        started.wait()
        os.close(ours)


def test_a_dry_run_says_what_it_would_send_and_the_robot_hears_nothing(
    heard: Cell, checkpoint: Path, tmp_path: Path
) -> None:
    with command(heard, checkpoint, tmp_path, "--dry-run") as terminal:
        terminal.read(QUESTION)
        terminal.type("\n")
        terminal.read(QUESTION)
        terminal.type("q\n")
        terminal.read()
        assert terminal.process.wait() == 1
    assert "would send" in terminal.shown
    assert "stopped after 2 actions" in terminal.shown
    assert (tmp_path / "action002.png").is_file()
    assert (tmp_path / "run.mcap").is_file()
    assert heard.heard() == []


def test_ctrl_c_at_the_question_leaves_a_holding_robot(heard: Cell, checkpoint: Path, tmp_path: Path) -> None:
    with command(heard, checkpoint, tmp_path) as terminal:
        terminal.read(QUESTION)
        before = len(heard.heard())
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.read()
        assert terminal.process.wait() == 130
    assert "it was told to hold" in terminal.shown
    assert len(heard.heard()) > before
    assert set(heard.heard()) == {"hold"}
