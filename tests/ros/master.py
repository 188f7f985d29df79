"""A rosmaster and a Franka as processes of their own, on the loopback interface, until a block ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
_PYTHON = "/usr/bin/python3"
"""Debian's own: it finds ROS 1 by itself, and nothing of ours."""
_PROGRAM = (_PYTHON, "/usr/bin/rosmaster")
_READY_S, _END_S = 30.0, 5.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens at."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        return bound.getsockname()[1]


def environment(port: int, folder: Path, address: str = LOOPBACK, master_at: str = LOOPBACK) -> dict[str, str]:
    """Variables of a process at `address` that talks to the master at `port`; ROS's own log files go to `folder`."""
    return {
        **os.environ,
        "ROS_MASTER_URI": f"http://{master_at}:{port}",
        "ROS_IP": address,
        "ROS_LOG_DIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def master(port: int, folder: Path, *, address: str = LOOPBACK) -> Iterator[subprocess.Popen[bytes]]:
    """A real master, from when it answers until the block ends."""
    command = (*_PROGRAM, "--core", "-p", str(port))
    with process(command, _alone(port, folder, address), folder / "rosmaster.txt") as started:
        wait_until_ready(lambda: _answers(port), started, folder / "rosmaster.txt")
        yield started


@contextmanager
def franka(port: int, folder: Path, *options: str, address: str = LOOPBACK) -> Iterator[subprocess.Popen[bytes]]:
    """The simulated Franka, from when it runs until the block ends; `options` are those of `franka_node`."""
    variables, log = environment(port, folder, address), folder / "franka.txt"
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), variables.get("PYTHONPATH")]))
    log.unlink(missing_ok=True)
    with process((sys.executable, "-m", "tests.ros.franka_node", *options), variables, log) as started:
        wait_until_ready(lambda: "ready" in log.read_text(), started, log)
        yield started


@contextmanager
def watchdog(port: int, folder: Path, *options: str, address: str = LOOPBACK) -> Iterator[subprocess.Popen[bytes]]:
    """Our watchdog, alone as on a robot's computer, from when it watches until the block ends."""
    log = folder / "watchdog.txt"
    log.unlink(missing_ok=True)
    program = shutil.copy(REPOSITORY / "gnfactor/ros/watchdog.py", folder)
    with process((_PYTHON, program, *options), _alone(port, folder, address), log) as started:
        wait_until_ready(lambda: "watching" in log.read_text(), started, log)
        yield started


def _alone(port: int, folder: Path, address: str) -> dict[str, str]:
    """Variables of a process under Debian's Python: what ours is told to find is not for it."""
    return {name: value for name, value in environment(port, folder, address).items() if name != "PYTHONPATH"}


@contextmanager
def process(command: Sequence[str], variables: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is asked to end, and then made to, when the block ends; what it prints goes to `log`."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            env=dict(variables),
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(_END_S)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def wait_until_ready(is_ready: Callable[[], bool], started: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY_S
    while not is_ready():
        if started.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{started.args} has not become ready; it printed:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        with xmlrpc.client.ServerProxy(f"http://{LOOPBACK}:{port}") as proxy:
            return proxy.getUri("/test")[0] == 1
    except OSError:
        return False


def listening_addresses(pid: int) -> list[str]:
    """Addresses at which a process accepts connections (IPv4 as text, IPv6 as the kernel writes it)."""
    sockets = {path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                address = local.partition(":")[0]
                found.append(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address)
    return found
