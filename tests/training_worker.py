"""A whole training that notes what it learns from: `python -m tests.training_worker STORE RUN_DIR NOTES KEY=VALUE...`.

Processes that train together are told so as by torchrun: LOCAL_RANK, WORLD_SIZE and MASTER_PORT in the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import data.training
from gnfactor.batch import Batch
from gnfactor.config import from_yaml, override
from gnfactor.training.learner import Learner
from tests.synthetic import TINY


def drawn_batches(store: Path, run_dir: Path, *overrides: str) -> dict[str, Tensor]:
    """Pictures and targets of each of this process's batches, by the batch's number and a name."""
    drawn: dict[str, Tensor] = {}

    class Witness(Learner):
        def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
            drawn[f"{batch_idx:02d} pictures"] = batch.inputs.views.rgb.clone()
            drawn[f"{batch_idx:02d} targets"] = batch.targets.world_from_gripper.clone()
            return super().training_step(batch, batch_idx)

    usual, data.training.Learner = data.training.Learner, Witness
    try:
        data.training.train(override(from_yaml(TINY), [f"data.store={store}", f"run_dir={run_dir}", *overrides]))
    finally:
        data.training.Learner = usual
    return drawn


if __name__ == "__main__":
    drawn = drawn_batches(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[4:])
    save_file(drawn, sys.argv[3])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
