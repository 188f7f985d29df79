"""Lightning's Trainer as this project uses it: folders as checkpoints, validation before them, quiet."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from typing_extensions import override

from gnfactor.batch import Batch, to_device
from gnfactor.checkpoint import (
    CheckpointInfo,
    checkpoint_path,
    checkpoints,
    read_info,
    read_state,
    read_weights,
    select_checkpoint,
    write_checkpoint,
)
from gnfactor.config import PRECISIONS, Config
from gnfactor.errors import ConfigError
from gnfactor.training.learner import Learner, StepCallback
from gnfactor.training.metrics import KeyframeError, by_keyframe, keyframe_errors, summarise
from gnfactor.training.progress import TrainingProgress, print_errors
from gnfactor.training.run_log import RunLog


class FolderCheckpointIO(CheckpointIO):
    """Lightning's checkpoints as our folders: no pickle."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any | None = None) -> None:
        state = dict(checkpoint)
        info = cast("CheckpointInfo", state.pop("info"))
        weights = state.pop("policy")
        if not info.averaged:  # then the training weights are the policy's, and stand in model.safetensors alone
            state.pop("state_dict")
        write_checkpoint(Path(path), self._config, info, weights, state)

    @override
    def load_checkpoint(
        self, path: Path | str, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        folder = Path(path)
        info, weights, state = read_info(folder), read_weights(folder), read_state(folder)
        if not info.averaged:
            state["state_dict"] = {f"policy.{name}": value for name, value in weights.items()}
        return {**state, "info": info, "policy": weights}

    @override
    def remove_checkpoint(self, path: Path | str) -> None:
        shutil.rmtree(path)


class Validation(StepCallback):
    """Measures the policy's actions on held-out demonstrations, with the weights that it would act with.

    This runs before the step's checkpoint is written, which Lightning's own validation would follow: so a checkpoint
    holds the errors of its own weights, and a resumed run neither repeats nor misses one.
    """

    def __init__(self, every: int, console: Console) -> None:
        super().__init__()
        self._every = every
        self._console = console

    @override
    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        due = trainer.global_step % self._every == 0 or trainer.global_step == trainer.max_steps
        if due and trainer.is_global_zero:
            errors = validate(learner, cast("Any", trainer).datamodule.held_out_batches())
            if errors:
                self._report(trainer, learner, errors)

    def _report(self, trainer: Trainer, learner: Learner, errors: list[KeyframeError]) -> None:
        learner.validation = summarise(errors)
        print_errors(self._console, trainer.global_step, by_keyframe(errors))
        groups = {"": errors}
        for error in errors:
            groups.setdefault(f"{error.task}/keyframe{error.keyframe}/", []).append(error)
        numbers: dict[str, float] = {}
        for group, members in sorted(groups.items()):
            summary = vars(summarise(members))
            numbers |= {f"validation/{group}{name}": value for name, value in summary.items() if name != "count"}
        cast("RunLog", trainer.logger).log_metrics(numbers, trainer.global_step)


class Losses(StepCallback):
    """Writes the loss terms and the learning rate to the run's log."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self._every = every

    @override
    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        if trainer.global_step % self._every:
            return
        terms = learner.step_losses()
        means = trainer.strategy.reduce(torch.stack(list(terms.values())), reduce_op="mean")
        numbers = {f"loss/{name}": float(value) for name, value in zip(terms, means, strict=True)}
        numbers["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        cast("RunLog", trainer.logger).log_metrics(numbers, trainer.global_step)


class Checkpoints(StepCallback):
    """Saves every so many steps and at the end, and keeps the newest few and the best by validation."""

    def __init__(self, run_dir: Path, every: int, keep: int | None) -> None:
        super().__init__()
        self._run_dir = run_dir
        self._every = every
        self._keep = keep

    @override
    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        step = trainer.global_step
        if step % self._every and step != trainer.max_steps:
            return
        trainer.save_checkpoint(checkpoint_path(self._run_dir, step))
        if trainer.is_global_zero:
            self.remove_old()

    def remove_old(self) -> None:
        """Delete all checkpoints but the newest few and the best."""
        if self._keep is None:
            return
        found = checkpoints(self._run_dir)
        kept = set(found[-self._keep :])
        if any(read_info(path).validation is not None for path in found):
            kept.add(select_checkpoint(self._run_dir, "validation"))
        for path in found:
            if path not in kept:
                shutil.rmtree(path)


def validate(learner: Learner, batches: Iterable[Batch]) -> list[KeyframeError]:
    """Errors of the policy's actions on every sample of `batches`."""
    errors: list[KeyframeError] = []
    with learner.acting() as policy, learner.trainer.precision_plugin.forward_context():
        for batch in batches:
            errors += keyframe_errors(policy.act(to_device(batch, learner.device).inputs), batch)
    return errors


def make_trainer(config: Config, console: Console, from_step: int) -> Trainer:
    """A Trainer for a whole run.

    Args:
        config: the run's configuration.
        console: where progress and errors on held-out demonstrations are shown.
        from_step: 0, or the step of the checkpoint from which the run continues.

    Raises:
        ConfigError: the devices are not there, or cannot train this policy together.
    """
    train, run_dir = config.train, Path(config.run_dir)
    quieten_lightning()
    cuda = torch.cuda.is_available() if train.accelerator == "auto" else train.accelerator == "cuda"
    if cuda and torch.cuda.device_count() < train.devices:
        raise ConfigError(
            f"train.devices is {train.devices}, but this machine shows {torch.cuda.device_count()} CUDA devices; ask "
            "for fewer, or set train.accelerator=cpu"
        )
    processes = train.devices * train.nodes
    encoder = config.policy.encoder
    if processes > 1 and not cuda and encoder.kind == "unet" and encoder.norm == "batch":
        raise ConfigError(
            f"policy.encoder.norm is batch, and {processes} processes on CPUs cannot share a batch's statistics "
            "(torch synchronises them on CUDA only); set policy.encoder.norm=group, or train on CUDA or in one process"
        )
    distributed = processes > 1 or train.strategy == "ddp"
    return Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=train.devices,
        num_nodes=train.nodes,
        strategy=DDPStrategy(process_group_backend="nccl" if cuda else "gloo") if distributed else "auto",
        sync_batchnorm=distributed and cuda,
        precision=cast("Any", PRECISIONS[train.precision]),
        max_steps=train.steps,
        max_epochs=-1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        accumulate_grad_batches=train.accumulate,
        gradient_clip_val=config.optim.clip_norm,
        use_distributed_sampler=False,
        logger=RunLog(run_dir, from_step),
        log_every_n_steps=train.log_every,
        plugins=[FolderCheckpointIO(config)],
        callbacks=[
            Losses(train.log_every),
            *([] if config.policy.head is None else [Validation(train.validate_every, console)]),
            Checkpoints(run_dir, train.checkpoint_every, train.keep),
            TrainingProgress(console, train.steps),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run_dir,
    )


def resume_point(config: Config) -> Path | None:
    """The checkpoint from which a run continues, or None if it begins.

    Raises:
        ConfigError: the run folder already holds a run that is not to be continued.
    """
    run_dir = Path(config.run_dir)
    found = checkpoints(run_dir)
    if not found:
        return None
    if not config.resume:
        raise ConfigError(
            f"{run_dir} already holds a run ({found[-1].name}); continue it with resume=true or choose another run_dir"
        )
    return found[-1]


def is_first_process() -> bool:
    """Whether this process is the one that talks and writes; known before any Trainer exists."""
    return getattr(rank_zero_only, "rank", 0) == 0


def quieten_lightning() -> None:
    """Silence what Lightning says on every normal run: devices it found, tips, and advice we have decided upon."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Batches come from memory, so that more workers are no gain.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning 2.6 asks torch 2.13 in a way that torch has renamed.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*", category=FutureWarning)
