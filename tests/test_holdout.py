from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from data import holdout
from data.dataset import load_split
from data.store import Store
from gnfactor.actions import Action, ArmTarget
from gnfactor.checkpoint import CheckpointInfo, TrainedOn, checkpoint_path, write_checkpoint
from gnfactor.config import Config, from_yaml, override
from gnfactor.model import Policy
from gnfactor.scene import ARM, Observation
from tests.synthetic import TINY, make_demonstration

FIRST, SECOND, HELD_OUT = (f"push/variation0/seed{seed}" for seed in (0, 1, 2))


class Oracle:
    """Stands for the agent: goes a given distance past where the held-out episode's keyframes are."""

    def __init__(self, miss_m: Sequence[float], keyframes: tuple[int, ...]) -> None:
        demonstration = make_demonstration("push", 2, keyframes=keyframes)
        self._goals = [demonstration.observations[frame].arms[ARM].world_from_gripper for frame in keyframes]
        self._miss_m = miss_m

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        poses = [self._goals[seen.step].copy() for seen in observations]
        for pose, seen in zip(poses, observations, strict=True):
            pose[0, 3] += self._miss_m[seen.step]
        return [Action({ARM: ArmTarget(pose, gripper_open=True, ignore_collisions=False)}) for pose in poses]


def make_run(folder: Path, held_out_keyframes: tuple[int, ...] = (12, 24)) -> Path:
    """A store of two training episodes and a held-out one, and a checkpoint that was trained on it."""
    store = Store.create(folder / "store")
    for seed, name in enumerate((FIRST, SECOND, HELD_OUT)):
        keyframes = held_out_keyframes if name == HELD_OUT else (12, 24)
        store.write(make_demonstration("push", seed, keyframes=keyframes), name)
    config = override(from_yaml(TINY), [f"data.store={folder / 'store'}"])
    write(folder, config, TrainedOn(("push",), "synthetic", (FIRST, SECOND), (HELD_OUT,)))
    return folder


def write(run_dir: Path, config: Config, trained_on: TrainedOn) -> None:
    info = CheckpointInfo(3, (), averaged=False, validation=None, trained_on=trained_on)
    write_checkpoint(checkpoint_path(run_dir, 3), config, info, Policy(config.policy).state_dict(), {})


def acting(monkeypatch: pytest.MonkeyPatch, oracle: Oracle) -> None:
    make: Callable[[Policy], Oracle] = lambda policy: oracle  # noqa: E731
    monkeypatch.setattr(holdout, "Agent", make)


def test_better_than_the_mean_keyframe_everywhere_is_status_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    acting(monkeypatch, Oracle((0.0, 0.001), (12, 24)))
    assert holdout.main([str(make_run(tmp_path))]) == 0
    assert "step 3: better on every keyframe" in capsys.readouterr().out


def test_one_keyframe_worse_than_the_mean_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    acting(monkeypatch, Oracle((0.0, 2.0), (12, 24)))
    assert holdout.main([str(make_run(tmp_path))]) == 1
    said = capsys.readouterr().out
    assert "FAILED on 1 of 2 keyframes" in said
    assert "2000" in said


def test_a_keyframe_without_a_baseline_has_failed_however_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # else the table breaks the words
    acting(monkeypatch, Oracle((0.0, 0.0, 0.0), (6, 12, 24)))
    assert holdout.main([str(make_run(tmp_path, held_out_keyframes=(6, 12, 24)))]) == 1
    said = capsys.readouterr().out
    assert "no baseline" in said
    assert "FAILED on 1 of 3 keyframes" in said


def test_the_baseline_is_the_mean_of_the_training_keyframes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = Oracle((0.0, 0.0), (12, 24))
    acting(monkeypatch, oracle)
    loaded = holdout.load_policy(make_run(tmp_path))
    policy = loaded.config.policy
    store = Store.open(tmp_path / "store")
    split = load_split(store, loaded.config.data, policy.cameras, policy.grid.box, progress=False)
    goals = [
        [make_demonstration("push", seed).observations[frame].arms[ARM].world_from_gripper[:3, 3] for frame in (12, 24)]
        for seed in range(3)
    ]
    expected = [float(np.linalg.norm((goals[0][n] + goals[1][n]) / 2 - goals[2][n])) for n in (0, 1)]
    assert [row.baseline_m for row in holdout.compare(loaded, split)] == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_told_is_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert holdout.main([str(tmp_path / "nowhere")]) == 2
    config = override(from_yaml(TINY), [f"data.store={make_run(tmp_path) / 'store'}"])
    write(tmp_path, config, TrainedOn(("push",), "synthetic", (FIRST, SECOND), ()))
    assert holdout.main([str(tmp_path)]) == 2
    assert "the run held no episode out" in capsys.readouterr().out


def test_episodes_that_came_after_the_training_are_not_taken_for_held_out_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    Store.create(tmp_path / "store").write(make_demonstration("push", 9), "push/variation1/seed9")
    acting(monkeypatch, Oracle((0.0, 0.0), (12, 24)))
    assert holdout.main([str(run)]) == 0
