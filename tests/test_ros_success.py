"""Tasks done through ROS: by the built-in world's expert, and by a checkpoint where one is named.

GNFACTOR_ROS_EPISODES is the number of episodes of each task, of GNFACTOR_ROS_CHECKPOINT (folder of a run that learned
the tasks with three cameras of 128 pixels) as well; GNFACTOR_ROS_REPORT names a file to which counts are added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from math import ceil
from pathlib import Path

import pytest

from tests.ros.presence import require_ros

require_ros()

from gnfactor.envs.base import EVALUATION_SEEDS, SeededScene  # noqa: E402
from gnfactor.envs.tabletop.world import find_task  # noqa: E402
from tests.ros.bridge_process import Bridge  # noqa: E402
from tests.ros.cell import Cell, cell  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.timeout(3600),
    # Debian's rospy was written for older Pythons, and leaves its sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TASKS = ("open_drawer", "push_buttons")
CAMERAS = ("front", "left_shoulder", "right_shoulder")
EPISODES = int(os.environ.get("GNFACTOR_ROS_EPISODES", "2"))
CHECKPOINT = os.environ.get("GNFACTOR_ROS_CHECKPOINT")
EXPERT_SHARE = 0.8
MAX_STEPS = {"expert": 20, "checkpoint": 8}
EPISODE_S = 150.0
# As fast as the guard allows: what is shown here is that the way to the arm is whole, not how long a keyframe takes.
# The arm begins as in RLBench, high up: the first way is 0.6 m long.
CELL = ("executor.speed_m_s=0.25", "executor.turn_speed_rad_s=1.0", "guard.max_step_m=0.75")


def camera_overrides(name: str) -> list[str]:
    """Of a camera of the simulation under its own name."""
    topics = {
        "color": f"/{name}/color/image_raw",
        "depth": f"/{name}/aligned_depth_to_color/image_raw",
        "info": f"/{name}/color/camera_info",
        "frame": f"{name}_color_optical_frame",
    }
    return [f"cameras.{name}.{key}={value}" for key, value in topics.items()]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    cameras = CAMERAS if CHECKPOINT else CAMERAS[:1]
    options = [word for name in cameras for word in ("--camera", f"{name}={name}")]
    with cell(tmp_path_factory.mktemp("ros"), *options, "--size", "128", "--camera-hz", "15") as made:
        yield made


@pytest.fixture(scope="module")
def bridge(robot: Cell) -> Iterator[Bridge]:
    cameras = CAMERAS if CHECKPOINT else CAMERAS[:1]
    with ExitStack() as stack:
        overrides = [override for name in cameras for override in camera_overrides(name)]
        yield stack.enter_context(robot.bridge(*CELL, *overrides))


def run_episodes(robot: Cell, bridge: Bridge, task: str, policy: str, max_steps: int) -> list[dict[str, object]]:
    """Episodes of new scenes, one after another."""
    episodes = []
    for number in range(EPISODES):
        scene = SeededScene(task, number % find_task(task, 0).variation_count, EVALUATION_SEEDS[number])
        robot.client.stage(task, scene.variation, scene.seed)
        instruction = json.loads(robot.client.trigger("instructions"))[0]
        bridge.ask(policy, max_steps, instruction)
        episode = bridge.wait_for("episode", EPISODE_S)["episode"]
        episodes.append({"scene": scene.name, **episode})
    return episodes


def count(task: str, policy: str, episodes: list[dict[str, object]]) -> int:
    """Successes; kept in the report, where there is to be one."""
    successes = sum(episode["success"] is True for episode in episodes)
    if "GNFACTOR_ROS_REPORT" in os.environ:
        line = {"task": task, "policy": policy, "successes": successes, "of": len(episodes), "episodes": episodes}
        with Path(os.environ["GNFACTOR_ROS_REPORT"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
    return successes


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_does_the_task_through_ros(robot: Cell, bridge: Bridge, task: str) -> None:
    episodes = run_episodes(robot, bridge, task, "expert", MAX_STEPS["expert"])
    assert count(task, "expert", episodes) >= ceil(EXPERT_SHARE * EPISODES), episodes


@pytest.mark.skipif(CHECKPOINT is None, reason="GNFACTOR_ROS_CHECKPOINT names no checkpoint")
@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_acts_through_ros(robot: Cell, bridge: Bridge, task: str) -> None:
    """It has to do one task of all; how many it does is for the report."""
    episodes = run_episodes(robot, bridge, task, str(CHECKPOINT), MAX_STEPS["checkpoint"])
    assert count(task, str(CHECKPOINT), episodes) >= 1, episodes
