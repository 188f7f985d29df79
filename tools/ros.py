"""ROS 1 from Debian, for tests: `python tools/ros.py install|test FOLDER`, or `run FOLDER -- COMMAND...`.

`install` gets Debian's packages where they are missing (this needs Debian 12, apt and root) and fills FOLDER with
links to ROS's Python modules and to nothing else: a virtual environment sees rospy, but none of Debian's other
packages. `run` starts a command that finds them, talks to a master on the loopback interface only and, where the kernel
allows it, sees no other interface at all. `test` runs every file of tests that needs ROS, each in a network of its own:
first those that measure times, alone, then the others by twos. It takes CPython 3.11, for which Debian 12 has compiled
them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

DEBIAN = Path("/usr/lib/python3/dist-packages")
MASTER = Path("/usr/bin/rosmaster")
PACKAGES = (
    *("python3-rospy", "python3-rosmaster", "python3-actionlib", "python3-actionlib-msgs", "python3-tf2-ros"),
    *(
        "python3-tf2-msgs",
        "python3-sensor-msgs",
        "python3-trajectory-msgs",
        "python3-geometry-msgs",
        "python3-std-msgs",
    ),
    *("python3-std-srvs", "python3-rosgraph-msgs", "python3-genpy", "python3-genmsg", "python3-message-filters"),
    *("python3-netifaces", "iproute2"),
)
"""What is asked for; apt adds some eighty others."""
MODULES = (
    *("rospy", "rosgraph", "rosgraph_msgs", "roslib", "roscpp", "genpy", "genmsg", "message_filters", "catkin"),
    *("actionlib", "actionlib_msgs", "tf2_ros", "tf2_py", "tf2_msgs", "sensor_msgs", "trajectory_msgs"),
    *("geometry_msgs", "std_msgs", "std_srvs", "rospkg", "catkin_pkg", "defusedxml"),
)
"""ROS's own, and three that only ROS uses. Without their metadata, so that pip does not take them for its own."""
COMPILED = "netifaces"
"""An extension module for CPython 3.11, in one file."""
PYTHON = (3, 11)
TESTS = Path(__file__).resolve().parent.parent / "tests"
TIMED = ("test_ros_failures.py",)
"""Measure how soon an arm is still, which takes a computer that does nothing else."""
_NONE_CHOSEN = 5
"""Status of pytest where all tests of a file have other marks."""
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def main(args: Sequence[str]) -> int:
    """Install, or run a command; the exit status is 2 where that cannot be done here."""
    match args:
        case ["install", folder]:
            return install(Path(folder))
        case ["test", folder]:
            return test(Path(folder), "ros and not slow")
        case ["test", folder, "--all"]:
            return test(Path(folder), "ros")
        case ["run", folder, "--", *command] if command:
            return run(Path(folder), command)
        case _:
            print(
                "usage: python tools/ros.py install FOLDER | test FOLDER [--all] | run FOLDER -- COMMAND",
                file=sys.stderr,
            )
            return 2


def install(folder: Path) -> int:
    """Make `folder` complete; takes no time where it is."""
    if sys.version_info[:2] != PYTHON or platform.python_implementation() != "CPython":
        return _refused(
            f"this is {platform.python_implementation()} {platform.python_version()}, and Debian 12 has ROS 1 compiled "
            "for CPython 3.11; make the environment with it: make env PYTHON=python3.11"
        )
    if lacking():
        complaint = _apt()
        if complaint is not None:
            return _refused(complaint)
    link(folder)
    print(f"ready: {folder} has {len(MODULES) + 1} modules of ROS 1")
    return 0


def lacking() -> list[str]:
    """Modules and programs that Debian's packages have not brought yet."""
    names = [name for name in MODULES if not (DEBIAN / name).is_dir()]
    return names + [path.name for path in (MASTER,) if not path.is_file()] + ([COMPILED] if not _compiled() else [])


def link(folder: Path) -> None:
    """Fill a folder with links to ROS's modules; what else lies there is removed if it is a link."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: DEBIAN / name for name in MODULES} | {path.name: path for path in _compiled()}
    for path in folder.iterdir():
        if path.is_symlink() and wanted.get(path.name) != path.readlink():
            path.unlink()
    for name, target in wanted.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)


def run(folder: Path, command: Sequence[str]) -> int:
    """A command that sees ROS, its exit status; refused where ROS is not complete."""
    if lacking() or not folder.is_dir():
        return _refused(f"ROS 1 is not complete in {folder}; first: python tools/ros.py install {folder}")
    python_path = [str(folder.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ.update(PYTHONPATH=os.pathsep.join(python_path), ROS_IP="127.0.0.1", ROS_PYTHON_VERSION="3")
    if leave_network():
        os.environ["GNFACTOR_ROS_NETWORK"] = "own"
    else:
        print("ROS shares this machine's network, on its loopback interface: a network of its own takes root on Linux")
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and all they start, ignore it
    return subprocess.run(command, check=False).returncode


def test(folder: Path, marks: str) -> int:
    """The tests that need ROS and have these marks; 1 where any has failed."""
    files = [path for path in sorted(TESTS.glob("test_ros_*.py")) if "pytest.mark.ros" in path.read_text("utf-8")]
    timed = [path for path in files if path.name in TIMED]
    began_s = time.monotonic()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
        first = dict(zip(timed, one.map(partial(_test_file, folder, marks), timed), strict=True))
        others = [path for path in files if path not in timed]
        first |= dict(zip(others, two.map(partial(_test_file, folder, marks), others), strict=True))
    again = [path for path, passed in first.items() if not passed]
    for path in again:
        print(f"{path.name} failed; once more, alone: these tests are in real time", flush=True)
    failed = [path for path in again if not _test_file(folder, marks, path)]
    took_s = time.monotonic() - began_s
    print(f"{len(files) - len(failed)} of {len(files)} files of tests with ROS passed in {took_s:.0f} s", end="")
    print(f", {len(again) - len(failed)} of them at the second try" if len(again) > len(failed) else "")
    return 0 if files and not failed else 1


def _test_file(folder: Path, marks: str, path: Path) -> bool:
    """Whether the tests of one file pass; what they print is shown when they are through, never mixed with others'."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", marks, "-p", "no:cacheprovider", str(path)]
    command = [sys.executable, __file__, "run", str(folder), "--", *pytest]
    done = subprocess.run(
        command,
        env={**os.environ, "GNFACTOR_ROS": "required"},
        cwd=TESTS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"{path.name}\n{done.stdout}", flush=True)
    return done.returncode in (0, _NONE_CHOSEN)


def leave_network() -> bool:
    """Put this process into a network of its own that has a loopback interface only; whether that worked."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "unshare") or library.unshare(_CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    return True


def _apt() -> str | None:
    """Install Debian's packages; why that is not possible, or None."""
    apt = shutil.which("apt-get")
    names = " ".join(PACKAGES)
    if apt is None:
        return f"there is no apt-get here; tests with ROS 1 need Debian 12 (or its packages {names} in {DEBIAN})"
    if os.geteuid() != 0:
        return f"installing ROS 1 takes root; have this run: apt-get install --no-install-recommends {names}"
    print("installing Debian's packages of ROS 1 (a minute or two)", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run([apt, "-q", *step], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            return f"apt-get {step[0]} failed:\n{last}\nsee what it complains about; ROS 1 is in Debian 12"
    missing = lacking()
    return (
        f"Debian's packages are installed, but not in them: {', '.join(missing)}; is this Debian 12?"
        if missing
        else None
    )


def _compiled() -> list[Path]:
    return sorted(DEBIAN.glob(f"{COMPILED}.cpython-{PYTHON[0]}{PYTHON[1]}-*.so"))


def _refused(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
