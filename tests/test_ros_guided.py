"""An arm guided by hand, over a real master: its calibration is checked, its demonstration recorded and learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.ros.presence import require_ros

require_ros()

import train  # noqa: E402
from data import record  # noqa: E402
from data.store import Store  # noqa: E402
from gnfactor.envs.tabletop.robot import BASE_POSITION_M  # noqa: E402
from gnfactor.kinematics import rotation_of  # noqa: E402
from gnfactor.ros import calibrate  # noqa: E402
from gnfactor.scene import ARM  # noqa: E402
from tests.ros.bridge_process import ROBOT  # noqa: E402
from tests.ros.cell import Cell, cell  # noqa: E402
from tests.ros.client import Client  # noqa: E402
from tests.synthetic import TINY  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    # Debian's rospy was written for older Pythons, and leaves its sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OFFSETS = (
    ((0.0, 0.0, -0.20), (0.0, 0.0, 0.0)),
    ((0.05, 0.06, -0.24), (0.2, 0.0, 0.2)),
    ((0.0, -0.06, -0.22), (0.0, 0.2, -0.2)),
)
"""From the arm's rest: along the world's axes (m), and turned about them (rad)."""


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A simulated Franka that lets itself be guided, before a chest of drawers."""
    with cell(tmp_path_factory.mktemp("ros"), "--camera", "camera=front", "--size", "192") as made:
        made.client.stage("open_drawer", 0, 0)
        made.client.switch("guide", True)
        yield made


class Hand:
    """Leads the arm to one pose after the other before each Enter of a script of keys; a dot is Enter."""

    def __init__(self, client: Client, keys: str, poses: Sequence[np.ndarray]) -> None:
        self._client, self._keys, self._poses = client, iter(keys), iter(poses)
        self.stood: list[np.ndarray] = []

    def __call__(self, question: str) -> str:
        key = next(self._keys)
        if key == ".":
            assert self._client.lead(next(self._poses)) < 0.01, "the hand does not bring the arm there"
            self.stood.append(self._client.pose())
            return ""
        return key


def poses(rest: np.ndarray) -> list[np.ndarray]:
    """`base_from_gripper` of places in the middle of the workspace."""
    found = []
    for offset, turn in OFFSETS:
        pose = rest.copy()
        pose[:3, :3] = rotation_of(np.array(turn)) @ rest[:3, :3]
        pose[:3, 3] += offset
        found.append(pose)
    return found


def robot_files(folder: Path) -> list[str]:
    return [*(word for file in ROBOT for word in ("--config", file)), f"calibration.folder={folder / 'records'}"]


def test_a_calibration_is_checked_and_a_demonstration_recorded_from_which_training_learns(
    robot: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = poses(robot.client.pose())
    monkeypatch.setattr(calibrate, "typed", Hand(robot.client, "...", places))
    options = ["--check", "--poses", "3", "--out", str(tmp_path / "check"), *robot_files(tmp_path)]
    assert calibrate.main(options) == 0, capsys.readouterr().err
    hand = Hand(robot.client, "..cy.d", places)
    monkeypatch.setattr(record, "typed", hand)
    store, what = tmp_path / "store", ["--task", "open_drawer", "--instruction", "open the drawer"]
    assert record.main([str(store), *what, "--image-size", "16", *robot_files(tmp_path)]) == 0, capsys.readouterr().err
    kept = Store.open(store).read("open_drawer/variation0/episode0")
    found = [seen.arms[ARM] for seen in kept.observations]
    for arm, stood in zip(found, hand.stood, strict=True):
        assert np.allclose(arm.world_from_gripper[:3, 3] - BASE_POSITION_M, stood[:3, 3], atol=0.003)
    assert [arm.gripper_open for arm in found] == [True, True, False]
    (tmp_path / "tiny.yaml").write_text(TINY)
    overrides = [f"data.store={store}", f"run_dir={tmp_path / 'run'}", "train.steps=2", "train.checkpoint_every=2"]
    assert train.main([str(tmp_path / "tiny.yaml"), *overrides, "data.validation_episodes=0"]) == 0
