"""Batches for Lightning: training from any step on, held-out demonstrations in order."""

from __future__ import annotations

from functools import partial

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader
from typing_extensions import override

from data.dataset import Split, TaskUniformBatches
from gnfactor.batch import Batch, Sample, collate, to_device
from gnfactor.config import Config


class DemonstrationModule(LightningDataModule):
    """Demonstrations in memory as batches of the size that the configuration says."""

    def __init__(self, split: Split, config: Config) -> None:
        super().__init__()
        self._split = split
        self._config = config
        policy = config.policy
        self._collate = partial(collate, cameras=policy.cameras, image_size=policy.image_size)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches that never end, from the one that the trainer's next step needs on."""
        train = self._config.train
        trainer = self.trainer
        assert trainer is not None
        return DataLoader(
            self._split.training,
            batch_sampler=TaskUniformBatches(
                self._split.training,
                train.batch_size,
                train.seed,
                start=trainer.global_step * train.accumulate,
                rank=trainer.global_rank,
                world=trainer.world_size,
                task_weights=self._config.data.task_weights,
            ),
            collate_fn=self._collate,
            num_workers=train.workers,
            persistent_workers=train.workers > 0,
            generator=torch.Generator().manual_seed(train.seed),  # or it would draw from the global one
        )

    def held_out_batches(self) -> DataLoader[Sample]:
        """Held-out samples, each once, in order; for `gnfactor.training.trainer.Validation`."""
        return DataLoader(
            self._split.validation,
            batch_size=self._config.train.batch_size,
            collate_fn=self._collate,
            generator=torch.Generator().manual_seed(self._config.train.seed),
        )

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return to_device(batch, device)
