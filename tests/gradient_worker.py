"""Gradient of one batch in one of several processes: `python -m tests.gradient_worker RANK WORLD PORT STORE OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data.dataset import TaskUniformBatches, load_split
from data.store import Store
from gnfactor.batch import Batch, collate
from gnfactor.config import from_yaml
from gnfactor.model import Policy
from tests.synthetic import SIZE, TINY

TOTAL = 6
"""Samples of all processes together."""


class Loss(nn.Module):
    """The policy's loss as a forward pass, which is what DistributedDataParallel hooks into."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> Tensor:
        return self.policy.loss(batch)["total"]


def gradients(store: Path, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """Gradient of every weight; without dropout, so that it is a function of the batch."""
    config = from_yaml(TINY)
    split = load_split(Store.open(store), config.data, ("front",), config.policy.grid.box, progress=False)
    torch.manual_seed(0)
    policy = Policy(config.policy).eval()
    policy.instructions.learn(split.instructions())
    loss = Loss(policy)
    parallel = DistributedDataParallel(loss) if world > 1 else loss
    draws = TaskUniformBatches(split.training, TOTAL // world, seed=5, rank=rank, world=world).batch(3)
    parallel(collate([split.training[draw] for draw in draws], ("front",), (SIZE, SIZE))).backward()
    return {name: weight.grad for name, weight in policy.named_parameters() if weight.grad is not None}


def main(rank: int, world: int, port: str, store: Path, out: Path) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    found = gradients(store, rank, world)
    if rank == 0:
        save_file(found, out)
    torch.distributed.barrier()  # whoever leaves first would pull the other's connection from under its threads
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]))
