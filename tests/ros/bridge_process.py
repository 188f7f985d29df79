"""The bridge as seen by a test: a process that is asked for episodes and says what happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ros.master import REPOSITORY, wait_until_ready

ROBOT = (str(REPOSITORY / "configs/robot/franka_ros.yaml"), str(REPOSITORY / "tests/ros/simulated_franka.yaml"))
_END_S = 5.0


class Bridge:
    """One process of `tests.ros.bridge`."""

    def __init__(self, process: subprocess.Popen[bytes], spoken: Path, log: Path) -> None:
        self.process, self._spoken, self.log = process, spoken, log
        self._heard = 0

    def ask(self, policy: str, max_steps: int, instruction: str = "do it") -> None:
        """For an episode; what was said before is forgotten."""
        self._heard = len(self._lines())
        request = {"policy": policy, "max_steps": max_steps, "instruction": instruction}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def said(self, word: str) -> dict[str, Any] | None:
        """The first line with that word since an episode was asked for."""
        return next((line for line in self._lines()[self._heard :] if word in line), None)

    def steps(self) -> list[dict[str, Any]]:
        """What was said of each action of this episode."""
        return [line for line in self._lines()[self._heard :] if "step" in line]

    def wait_for(self, word: str, seconds: float) -> dict[str, Any]:
        """The first line with that word since an episode was asked for, which has to come within that time."""
        end = time.monotonic() + seconds
        while (line := self.said(word)) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"no '{word}' of the bridge in {seconds} s; it said:\n{self.last_words()}")
            time.sleep(0.01)
        return line

    def last_words(self) -> str:
        """The end of all that it printed."""
        return self._spoken.read_text()[-3000:]

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def _lines(self) -> list[dict[str, Any]]:
        text = self._spoken.read_text()
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line) for line in whole if line.startswith('{"')]


@contextmanager
def bridge(variables: Mapping[str, str], spoken: Path, *options: str, prefix: Sequence[str] = ()) -> Iterator[Bridge]:
    """A bridge from when it is ready until the block ends; its log lies beside the file `spoken`.

    Args:
        variables: of its environment.
        spoken: file of what it prints.
        options: robot's files and overrides, after `ROBOT`.
        prefix: of the command, to start it somewhere else.
    """
    python_path = os.pathsep.join(filter(None, [str(REPOSITORY), variables.get("PYTHONPATH")]))
    log = spoken.with_suffix(".mcap")
    with spoken.open("wb") as output:
        process = subprocess.Popen(
            (*prefix, sys.executable, "-m", "tests.ros.bridge", str(log), *ROBOT, *options),
            env={**variables, "PYTHONPATH": python_path},
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            started = Bridge(process, spoken, log)
            wait_until_ready(lambda: started.said("ready") is not None, process, spoken)
            yield started
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
