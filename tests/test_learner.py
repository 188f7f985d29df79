from __future__ import annotations

import csv
import io
import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from safetensors.torch import load_file

from data.store import Store
from data.training import train
from gnfactor.actions import Action, ArmTarget
from gnfactor.batch import Batch, collate
from gnfactor.checkpoint import (
    CheckpointInfo,
    checkpoint_path,
    checkpoints,
    load_policy,
    read_info,
    read_state,
    write_checkpoint,
)
from gnfactor.config import Config, from_yaml, override
from gnfactor.errors import CheckpointError, ConfigError
from gnfactor.model import Policy
from gnfactor.scene import ARM
from gnfactor.training.learner import Learner, random_states, restore_random_states
from gnfactor.training.metrics import ErrorSummary, by_keyframe, keyframe_errors, summarise
from gnfactor.training.progress import TrainingProgress
from gnfactor.training.run_log import RunLog, read_metrics
from gnfactor.training.trainer import Checkpoints, make_trainer, resume_point
from tests.gradient_worker import gradients
from tests.synthetic import SIZE, TINY, make_demonstration, make_store, sample_from
from tests.training_worker import drawn_batches

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("stores") / "demo", episodes=3)


@pytest.fixture
def config(store: Path, tmp_path: Path) -> Config:
    tiny = from_yaml(TINY)
    return replace(tiny, data=replace(tiny.data, store=str(store)), run_dir=str(tmp_path / "run"))


def losses(run_dir: str | Path) -> list[dict[str, str]]:
    with (Path(run_dir) / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def with_train(config: Config, **changes: object) -> Config:
    return replace(config, train=replace(config.train, **changes))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_run_whatever_else_draws_from_the_global_generators(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = losses(train(config))

    class Meddler(Learner):
        def training_step(self, batch: Batch, batch_idx: int) -> dict[str, object]:
            torch.rand(100)
            return super().training_step(batch, batch_idx)

    monkeypatch.setattr("data.training.Learner", Meddler)
    assert losses(train(replace(config, run_dir=str(tmp_path / "disturbed")))) == calm


def test_another_seed_gives_another_run(config: Config, tmp_path: Path) -> None:
    first = losses(train(with_train(config, steps=1)))
    assert losses(train(with_train(replace(config, run_dir=str(tmp_path / "other")), steps=1, seed=1))) != first


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim": {"name": "lamb", "schedule": "cosine", "warmup_steps": 2, "ema_decay": 0.9, "clip_norm": 1.0}},
        {"train": {"accumulate": 2, "validate_every": 3, "precision": "bf16"}},
    ],
    ids=["plain", "everything that has a state", "accumulating in bf16"],
)
def test_a_continued_run_has_the_losses_of_the_uninterrupted_one(
    config: Config, changes: dict[str, dict[str, object]]
) -> None:
    for group, values in changes.items():
        config = replace(config, **{group: replace(getattr(config, group), **values)})
    run_dir = train(config)
    whole = losses(run_dir)
    final = load_file(checkpoint_path(run_dir, 6) / "model.safetensors")
    for path in checkpoints(run_dir)[1:]:  # as if killed after the first checkpoint, some rows later
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    with (run_dir / "metrics.csv").open("a") as file:
        file.write("4,1.2")  # a row that the kill cut short
    train(replace(config, resume=True))
    assert losses(run_dir) == whole
    assert {name: value.tolist() for name, value in final.items()} == {
        name: value.tolist() for name, value in load_file(checkpoint_path(run_dir, 6) / "model.safetensors").items()
    }


def test_a_finished_run_stays_as_it_is_and_can_be_prolonged(config: Config) -> None:
    run_dir = train(config)
    train(replace(config, resume=True))  # is at its end already
    assert len({row["step"] for row in losses(run_dir)}) == 6
    train(with_train(replace(config, resume=True), steps=8))
    assert [row["step"] for row in losses(run_dir) if row["loss/total"]] == [str(step) for step in range(1, 9)]
    assert read_info(checkpoints(run_dir)[-1]).step == 8


def test_a_run_is_continued_only_when_asked_and_only_with_the_same_policy(config: Config) -> None:
    assert resume_point(replace(config, resume=True)) is None
    train(config)
    with pytest.raises(ConfigError, match=r"already holds a run .*resume=true"):
        train(config)
    with pytest.raises(CheckpointError, match=r"optim\.lr was"):
        train(replace(config, resume=True, optim=replace(config.optim, lr=1.0)))


def test_a_run_is_not_continued_with_demonstrations_that_came_later(config: Config, tmp_path: Path) -> None:
    config = with_train(replace(config, data=replace(config.data, store=str(tmp_path / "store"))), steps=1)
    store = make_store(tmp_path / "store", episodes=2)
    run_dir = train(config)
    trained_on = read_info(checkpoints(run_dir)[-1]).trained_on
    assert trained_on is not None
    assert trained_on.held_out == ("lift/variation1/seed1", "push/variation1/seed1")
    Store.create(store).write(make_demonstration("push", 5), "push/variation1/seed5")
    with pytest.raises(CheckpointError, match=r"on 2 episodes.*now gives 3.*'push/variation1/seed5' is only in one"):
        train(replace(config, resume=True))


def test_the_averaged_weights_are_those_that_act(config: Config) -> None:
    run_dir = train(replace(config, optim=replace(config.optim, ema_decay=0.9)))
    path = checkpoints(run_dir)[-1]
    assert read_info(path).averaged
    acting, own = load_policy(run_dir).policy.state_dict(), read_state(path)["state_dict"]
    learned = [name for name, value in acting.items() if value.is_floating_point() and "instructions" not in name]
    assert all(not torch.equal(acting[name], own[f"policy.{name}"]) for name in learned)


def test_acting_leaves_the_learner_as_it_was(config: Config) -> None:
    policy = Policy(config.policy)
    learner = Learner(policy, replace(config, optim=replace(config.optim, ema_decay=0.9)))
    assert learner.average is not None
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 1
    before = {name: value.clone() for name, value in policy.named_parameters()}
    with learner.acting() as acting:
        assert not acting.training
        assert not torch.is_grad_enabled()
        assert all(not torch.equal(weight, before[name]) for name, weight in acting.named_parameters())
    assert policy.training
    assert all(torch.equal(weight, before[name]) for name, weight in policy.named_parameters())


def test_training_makes_the_loss_fall(config: Config) -> None:
    changed = replace(config, augment=replace(config.augment, enabled=False))
    run_dir = train(with_train(changed, steps=40, batch_size=4, validate_every=40, checkpoint_every=40))
    totals = [float(row["loss/total"]) for row in losses(run_dir) if row["loss/total"]]
    assert np.mean(totals[-5:]) < 0.75 * np.mean(totals[:5])


def test_the_schedule_counts_optimiser_steps(config: Config) -> None:
    config = replace(config, optim=replace(config.optim, lr=1.0, warmup_steps=3, name="adamw"))
    run_dir = train(with_train(config, accumulate=3, steps=4))
    rates = [float(row["learning_rate"]) for row in losses(run_dir) if row["learning_rate"]]
    assert rates == pytest.approx([0.5, 0.75, 1.0, 1.0])  # the rates of the steps that follow the rows


def test_the_best_by_validation_stays_besides_the_newest(tmp_path: Path) -> None:
    for step, error in ((1, 0.3), (2, 0.1), (3, 0.2), (4, None), (5, 0.4)):
        validation = None if error is None else ErrorSummary(1, error, 0.0, 1.0, 1.0)
        write_checkpoint(checkpoint_path(tmp_path, step), Config(), CheckpointInfo(step, (), False, validation), {}, {})
    Checkpoints(tmp_path, every=1, keep=2).remove_old()
    assert [read_info(path).step for path in checkpoints(tmp_path)] == [2, 4, 5]


def test_devices_that_are_not_there_are_refused(config: Config) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ConfigError, match=r"train\.devices.*accelerator=cpu"):
        make_trainer(with_train(config, accelerator="cuda"), Console(), 0)


def test_processes_that_cannot_share_batch_statistics_are_refused(config: Config) -> None:
    two = with_train(config, devices=2)
    with pytest.raises(ConfigError, match=r"policy\.encoder\.norm is batch, and 2 processes on CPUs.*norm=group"):
        train(override(two, ["policy.encoder.norm=batch"]))
    assert not Path(two.run_dir).exists()
    for changes in (["policy.encoder.kind=pointwise", "policy.encoder.norm=batch"], ["train.devices=1"], []):
        make_trainer(override(two, changes), Console(), 0)


def test_bf16_trains(config: Config) -> None:
    run_dir = train(with_train(config, precision="bf16", steps=2))
    assert all(np.isfinite(float(row["loss/total"])) for row in losses(run_dir) if row["loss/total"])


def test_global_generators_continue_where_they_were() -> None:
    kept = random_states()
    json.dumps([kept["python"], kept["numpy"][0], kept["numpy"][2:]])  # nothing but plain values beside the tensors
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    restore_random_states(kept)
    assert [random.random(), float(np.random.rand()), float(torch.rand(()))] == drawn


def test_a_continued_log_drops_what_will_be_written_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path, from_step=0)
    for step in (1, 2, 3):
        log.log_metrics({"loss": step / 2}, step)
    log.log_metrics({"error": 0.25}, 3)
    log.finalize("success")
    again = RunLog(tmp_path, from_step=2)
    again.log_metrics({"loss": 9.0}, 3)
    again.finalize("success")
    assert read_metrics(tmp_path) == [
        {"step": "1", "loss": "0.5"},
        {"step": "2", "loss": "1.0"},
        {"step": "3", "loss": "9.0"},
    ]


class StillTrainer(Trainer):
    """Knows how many steps were done, and nothing else."""

    steps_done = 0

    def __init__(self) -> None:
        pass

    @property
    def global_step(self) -> int:
        return self.steps_done


class StillLearner(Learner):
    """Has a loss, and nothing else."""

    def __init__(self) -> None:
        LightningModule.__init__(self)

    def step_losses(self) -> dict[str, torch.Tensor]:
        return {"total": torch.tensor(1.25)}


def test_a_terminal_shows_a_bar_with_losses_and_the_time_left() -> None:
    screen = io.StringIO()
    progress = TrainingProgress(Console(file=screen, force_terminal=True, width=120), steps=10)
    trainer, learner = StillTrainer(), StillLearner()
    progress.on_train_start(trainer, learner)
    for trainer.steps_done in range(1, 11):
        progress.after_step(trainer, learner)
    progress.teardown(trainer, learner, "fit")
    shown = screen.getvalue()
    assert "10/10" in shown
    assert "total 1.250" in shown
    assert "left" in shown


def test_errors_of_actions_are_measured_against_the_demonstration() -> None:
    demonstration = make_demonstration("push", 0)
    batch = collate(
        [sample_from(demonstration, frame, keyframe, "push") for frame, keyframe in ((0, 12), (12, 24))],
        ("front",),
        (SIZE, SIZE),
    )
    right = demonstration.observations[12].arms[ARM].world_from_gripper
    wrong = demonstration.observations[24].arms[ARM].world_from_gripper.copy()
    wrong[:3, 3] += (0.03, 0.04, 0.0)
    wrong[:3, :3] = wrong[:3, :3] @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    actions = [
        Action({ARM: ArmTarget(right, gripper_open=False, ignore_collisions=False)}),
        Action({ARM: ArmTarget(wrong, gripper_open=True, ignore_collisions=False)}),
    ]
    first, second = keyframe_errors(actions, batch)
    assert (first.keyframe, second.keyframe) == (0, 1)
    assert (first.translation_m, first.rotation_deg) == pytest.approx((0, 0), abs=1e-3)
    assert (second.translation_m, second.rotation_deg) == pytest.approx((0.05, 90), rel=1e-4)
    assert (first.gripper_right, first.collision_right) == (True, True)
    assert (second.gripper_right, second.collision_right) == (True, False)
    assert summarise([first, second]).translation_m == pytest.approx(0.025, rel=1e-3)
    assert list(by_keyframe([second, first])) == [("push", 0), ("push", 1)]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_two_processes_give_the_gradient_of_one_with_both_batches(store: Path, tmp_path: Path) -> None:
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gradient_worker", str(rank), "2", port, str(store), str(tmp_path / "two")],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    one = gradients(store)
    assert [process.wait(250) for process in started] == [0, 0]
    two = load_file(tmp_path / "two")
    assert two.keys() == one.keys()
    assert any(value.abs().max() > 0.01 for value in one.values())
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


def test_two_processes_draw_together_what_one_with_twice_the_batch_draws(store: Path, tmp_path: Path) -> None:
    setting = ["train.steps=3", "train.accumulate=2", "data.task_weights={push: 2}"]
    together = {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, "-m", "tests.training_worker", str(store), str(tmp_path / "two")]
    started = [
        subprocess.Popen(
            [*command, str(tmp_path / f"drawn{rank}"), *setting, "train.devices=2", "train.batch_size=3"],
            cwd=REPOSITORY,
            env={**os.environ, **together, "OMP_NUM_THREADS": "1", "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    alone = drawn_batches(store, tmp_path / "one", *setting, "train.batch_size=6")
    assert [process.wait(250) for process in started] == [0, 0]
    first, second = (load_file(tmp_path / f"drawn{rank}") for rank in (0, 1))
    assert len(alone) == 2 * 6
    assert first.keys() == second.keys() == alone.keys()
    for name, whole in alone.items():
        assert torch.equal(torch.cat((first[name], second[name])), whole)
