"""ROS, by way of which a policy drives a real arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gnfactor.doctor.finding import Finding
from gnfactor.doctor.imports import Attempt

INSTALLED, DEBIAN = Path("opt/ros"), Path("usr/lib/python3/dist-packages/rospy")
"""Where ROS's own packages and Debian's lie."""
PACKAGES = ("rospy", "rclpy")
"""Python's door to ROS 1 and to ROS 2."""


def ros(environ: Mapping[str, str], root: Path, attempts: Mapping[str, Attempt]) -> Finding:
    """Which ROS there is; nothing that is configured needs it.

    Args:
        environ: environment variables.
        root: where /opt and /usr lie.
        attempts: to import what there is of `PACKAGES`, among others.
    """
    sourced = environ.get("ROS_DISTRO", "")
    distributions = sorted(path.name for path in (root / INSTALLED).glob("*") if (path / "setup.bash").is_file())
    for name in (name for name in PACKAGES if name in attempts):
        complaint = attempts[name].result().complaint
        where = f"{name} ({sourced or 'not sourced'})"
        if complaint:
            return Finding("ROS", "note", f"{where} cannot be imported: {complaint}", "source ROS's setup.bash")
        return Finding("ROS", "ok", where)
    if sourced:
        remedy = f"use a Python for which {sourced} has its packages (python3 -m venv --system-site-packages)"
        return Finding("ROS", "note", f"{sourced}, but this Python finds neither rospy nor rclpy", remedy)
    if distributions:
        here = distributions[-1]
        return Finding("ROS", "note", f"{here} is installed, but not sourced", f"source /opt/ros/{here}/setup.bash")
    if (root / DEBIAN).is_dir():
        remedy = "make the environment with python3 -m venv --system-site-packages"
        return Finding("ROS", "note", "Debian's rospy is there, but this Python does not look there", remedy)
    return Finding("ROS", "note", "not found; only a real robot needs it", "install ROS on the computer of the robot")
