from __future__ import annotations

import pytest

from gnfactor.envs.base import LiveScene
from gnfactor.envs.check import check_env
from gnfactor.ros.robot_env import RobotEnv
from gnfactor.ros.rosbridge_link import RosbridgeLink
from tests.rosbridge_lab import config_of, lab


@pytest.mark.parametrize(("ros", "executor"), [(1, "impedance"), (2, "trajectory")])
def test_a_robot_behind_a_bridge_keeps_every_promise_of_an_environment(ros: int, executor: str) -> None:
    # A slow machine, or one that does something else too, is not what is tested here.
    with lab(config_of(ros, executor, "watchdog.timeout_s=2", "executor.command_life_s=2")) as (config, _, _):
        verdicts = check_env(lambda: RobotEnv(RosbridgeLink(config), config), LiveScene("press the button"))
    assert not [str(verdict) for verdict in verdicts if verdict.passed is False]
