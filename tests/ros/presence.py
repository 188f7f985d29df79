"""Whether ROS 1 is here: tests that need it are skipped without it, and fail where it was asked for."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

MASTER = Path("/usr/bin/rosmaster")
NEEDED = ("rospy", "actionlib", "tf2_ros")


def require_ros() -> None:
    """To be called by a module of tests before it imports anything of ROS."""
    missing = [name for name in NEEDED if find_spec(name) is None] + ([] if MASTER.is_file() else [str(MASTER)])
    if not missing:
        return
    reason = f"ROS 1 is not here ({', '.join(missing)}): make ros-test installs it and runs this"
    if os.environ.get("GNFACTOR_ROS") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
