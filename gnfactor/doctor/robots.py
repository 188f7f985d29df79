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
WITHOUT = "or do without ROS here: the extra robot has the link through rosbridge, and the log of a run and its replay"
OVERLAY = "in a checkout with CPython 3.11: python tools/ros.py install .ros, then PYTHONPATH=$PWD/.ros"
"""Links to ROS's modules alone. A virtual environment with all of the system's packages would see Debian's others, too,
and pip would count them as installed."""


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
        remedy = f"install {sourced}'s rospy or rclpy, and use the version of Python that it is made for; {WITHOUT}"
        return Finding("ROS", "note", f"{sourced}, but this Python finds neither rospy nor rclpy", remedy)
    if distributions:
        here = distributions[-1]
        return Finding("ROS", "note", f"{here} is installed, but not sourced", f"source /opt/ros/{here}/setup.bash")
    if (root / DEBIAN).is_dir():
        found = "Debian's rospy is there, but this Python does not look there"
        return Finding("ROS", "note", found, f"{OVERLAY}; {WITHOUT}")
    remedy = f"install ROS on the computer of the robot, {WITHOUT}"
    return Finding("ROS", "note", "not found; only a real robot needs it", remedy)
