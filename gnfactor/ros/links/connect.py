"""From a configuration to the link that it names; each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotLink

LINKS: Mapping[str, tuple[str, str]] = {
    "rospy": ("gnfactor.ros.links.rospy_link", "RospyLink"),
    "rosbridge": ("gnfactor.ros.links.rosbridge_link", "RosbridgeLink"),
    "replay": ("gnfactor.ros.links.replay_link", "ReplayLink"),
}
"""Module and class by `link.type`: each needs packages that the others do not."""


def connect(config: RobotConfig) -> RobotLink:
    """The link to the robot; it stays open until its `close`.

    Raises:
        MissingExtraError: what the link is made of is not installed.
        ConfigError: the configuration cannot be used with it.
        RobotError: the robot cannot be reached.
    """
    module, name = LINKS[config.link.type]
    return getattr(import_module(module), name)(config)
