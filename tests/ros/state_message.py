"""The state that the simulated Franka publishes, under franka_ros's name and with those of its fields that we fill.

The real message has some forty fields. A client that takes the definition from the wire, as ours does, reads either;
one that brings franka_msgs of its own is refused by ROS here, since the checksums differ.
"""

from __future__ import annotations

import genpy.dynamic
from std_msgs.msg import Header

MODES = {"idle": 1, "move": 2, "guiding": 3, "reflex": 4, "user stop": 5}
"""Of `robot_mode`."""
_TEXT = f"""Header header
float64[7] q
float64[7] dq
float64[16] O_T_EE
uint8 robot_mode
franka_msgs/Errors current_errors
{"=" * 80}
MSG: std_msgs/Header
{Header._full_text}
{"=" * 80}
MSG: franka_msgs/Errors
bool joint_reflex
bool cartesian_reflex
"""
_CLASSES = genpy.dynamic.generate_dynamic("franka_msgs/FrankaState", _TEXT)
FrankaState = _CLASSES["franka_msgs/FrankaState"]
