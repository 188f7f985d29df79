"""Training of a policy as a LightningModule: one step, the optimiser, the averaged weights, what resuming needs."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from gnfactor.augment import augment
from gnfactor.batch import Batch
from gnfactor.checkpoint import CheckpointInfo, TrainedOn
from gnfactor.config import Config
from gnfactor.model import Policy
from gnfactor.training.metrics import ErrorSummary
from gnfactor.training.optim import Ema, build_optimizer, build_schedule

_AUGMENTATION, _LAYERS, _RAYS = range(3)
"""What a step draws random numbers for; each purpose has a stream of its own."""


class Learner(LightningModule):
    """Minimises the policy's loss on augmented batches.

    Every random choice of a step is drawn from generators seeded by (seed, batch, process), so that a step depends on
    nothing but the weights, the batch and its number.
    """

    def __init__(self, policy: Policy, config: Config, trained_on: TrainedOn | None = None) -> None:
        """`trained_on` is for the checkpoints to say which demonstrations they come from."""
        super().__init__()
        self.policy = policy
        self.config = config
        self._trained_on = trained_on
        self.average = None if config.optim.ema_decay is None else Ema(policy, config.optim.ema_decay)
        self.validation: ErrorSummary | None = None
        """Errors on held-out episodes, where the present weights have been measured."""
        self._position = 0
        """Which of the step's accumulated batches is the present one."""
        self._sums: dict[str, Tensor] = {}
        self._random_states: dict[str, Any] | None = None
        if config.train.precision == "bf16":
            for weight in policy.parameters():
                if weight.dim() == 5:  # convolutions in reduced precision are fast in this layout only
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)

    @property
    def step_is_complete(self) -> bool:
        """The weights have just changed: the present batch was the last that its step accumulates."""
        return self._position == self.config.train.accumulate - 1

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        accumulate = self.config.train.accumulate
        self._position = batch_idx % accumulate
        number = self.trainer.global_step * accumulate + self._position
        box = self.policy.config.grid.box
        batch = augment(batch, box, self.config.augment, self._generator(number, _AUGMENTATION))
        with self._seeded_layers(number):
            terms = self.policy.loss(batch, self._generator(number, _RAYS))
        if self._position == 0:
            self._sums = {name: torch.zeros_like(term) for name, term in terms.items()}
        self._sums = {name: self._sums[name] + term.detach() for name, term in terms.items()}
        return {"loss": terms["total"]}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.validation = None
        if self.average is not None:
            self.average.update(self.policy)

    def step_losses(self) -> dict[str, Tensor]:
        """Terms of the present step's loss in this process, means over the accumulated batches."""
        return {name: total / (self._position + 1) for name, total in self._sums.items()}

    def on_train_start(self) -> None:
        if self._random_states is not None and self.global_rank == 0:
            restore_random_states(self._random_states)
        if self.average is not None:
            self.average.average = {name: value.to(self.device) for name, value in self.average.average.items()}
        for optimizer in self.trainer.optimizers:
            _match_layout(optimizer)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.policy, self.config.optim)
        schedule = build_schedule(optimizer, self.config.optim, self.config.train.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @contextmanager
    def acting(self) -> Generator[Policy]:
        """The policy as it would act: averaged weights if there are any, evaluation mode, no gradients."""
        was_training = self.policy.training
        self.policy.eval()
        try:
            with torch.no_grad():
                if self.average is None:
                    yield self.policy
                else:
                    with self.average.applied(self.policy):
                        yield self.policy
        finally:
            self.policy.train(was_training)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        with self.acting() as policy:
            weights = {name: value.detach().cpu().clone() for name, value in policy.state_dict().items()}
        checkpoint["policy"] = weights
        checkpoint["info"] = CheckpointInfo(
            step=self.trainer.global_step,
            instructions=tuple(self.policy.instructions.texts),
            averaged=self.average is not None,
            validation=self.validation,
            trained_on=self._trained_on,
        )
        checkpoint["average"] = None if self.average is None else self.average.state_dict()
        checkpoint["random"] = random_states()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validation = cast("CheckpointInfo", checkpoint["info"]).validation
        self._random_states = checkpoint["random"]
        if self.average is not None and checkpoint["average"] is not None:
            self.average.load_state_dict(checkpoint["average"])

    def _generator(self, number: int, purpose: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self._seed(number, purpose))

    def _seed(self, number: int, purpose: int) -> int:
        entropy = (self.config.train.seed, number, self.global_rank, purpose)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))

    @contextmanager
    def _seeded_layers(self, number: int) -> Generator[None]:
        """Dropout draws from torch's global generator: give it the step's seed, and its own state back after it."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self._seed(number, _LAYERS))
            yield


class StepCallback(Callback):
    """Something to do after every optimiser step, however many batches it accumulates."""

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        learner = cast("Learner", pl_module)
        if learner.step_is_complete:
            self.after_step(trainer, learner)

    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        """Called in every process; `trainer.global_step` counts the steps done."""
        raise NotImplementedError


def random_states() -> dict[str, Any]:
    """States of the global generators of Python, NumPy and torch; tensors and plain values only.

    No step depends on them (see `Learner`); they are for whatever else draws from them.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Continue the global generators from `random_states()`."""
    kind, keys, position, has_gauss, gauss = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay an optimiser's state out in memory as its weights are: sums in another order round otherwise."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
