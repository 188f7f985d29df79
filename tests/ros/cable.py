"""A computer of our own beside the robot's, at the other end of a network cable that can be pulled.

It is a network namespace, and takes one of its own for the robot's computer as well: `tools/ros.py run` makes that
where it may, and says so in the variable OWN_NETWORK.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OWN_NETWORK = "GNFACTOR_ROS_NETWORK"
ROBOT_AT, WE_ARE_AT = "10.77.0.1", "10.77.0.2"
_NEEDED = ("ip", "nsenter", "unshare")


@dataclass(frozen=True)
class Cable:
    """Between the two computers; plugged in at first."""

    prefix: tuple[str, ...]
    """Of a command that is to run on our computer."""

    def pull(self) -> None:
        _run(*self.prefix, "ip", "link", "set", "bridge0", "down")

    def plug(self) -> None:
        _run(*self.prefix, "ip", "link", "set", "bridge0", "up")


def why_no_cable() -> str | None:
    """What there is no cable for, or None."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        return f"a cable takes {', '.join(missing)}, which are not here (Debian's iproute2 and util-linux)"
    if os.environ.get(OWN_NETWORK) != "own":
        return "a cable takes a network of our own, which tools/ros.py run makes as root; this machine's is not touched"
    return None


@contextmanager
def cable() -> Iterator[Cable]:
    """A cable and a computer at its end, until the block ends."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        plugged = Cable(("nsenter", f"--net=/proc/{holder.pid}/ns/net"))
        _wait_for_namespace(holder)
        _run("ip", "link", "add", "robot0", "type", "veth", "peer", "name", "bridge0", "netns", str(holder.pid))
        _run("ip", "address", "add", f"{ROBOT_AT}/24", "dev", "robot0")
        _run("ip", "link", "set", "robot0", "up")
        _run(*plugged.prefix, "ip", "link", "set", "lo", "up")
        _run(*plugged.prefix, "ip", "address", "add", f"{WE_ARE_AT}/24", "dev", "bridge0")
        plugged.plug()
        yield plugged
    finally:
        holder.kill()
        holder.wait()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def _wait_for_namespace(holder: subprocess.Popen[bytes]) -> None:
    """Until the process has left our network."""
    ours = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{holder.pid}/ns/net").readlink() == ours:
        if holder.poll() is not None:
            raise RuntimeError("unshare --net could not make another network")
