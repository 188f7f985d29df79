"""Train a policy on demonstrations: python train.py CONFIG.yaml... [key=value...]."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from gnfactor.command import run_by_usage
from gnfactor.config import Config, load, to_yaml
from gnfactor.errors import MissingExtraError

USAGE = """\
usage: python train.py CONFIG.yaml... [key=value...]

Trains a policy on the demonstrations of a store. Files are merged in order, then overrides: usually a method file,
a task file, and where things are.

  python train.py configs/gnfactor.yaml configs/tasks/rlbench10.yaml data.store=data/stores/rlbench run_dir=runs/first

The run folder receives config.yaml (everything that was set), metrics.csv, tensorboard/ and
checkpoints/step=.../ . The same command with resume=true continues a run after an interruption, with the losses that
it would have had without.

Often overridden:
  train.steps=20000             optimiser steps in all
  train.batch_size=8            samples per process and forward pass
  train.accumulate=4            forward passes per optimiser step
  train.precision=bf16          automatic mixed precision
  train.devices=2               processes, one device each
  data.store=s3://bucket/store  a store elsewhere, read through a cache on this disk (data.cache)
  data.validation_episodes=2    episodes of each task held out; their errors are printed
  train.seed=1

All keys with their meaning stand in gnfactor/config.py and beside the components that they configure; this prints
their values after merging:
  python train.py CONFIG.yaml... [key=value...] --print
"""


def main(args: Sequence[str]) -> int:
    """Run the command line; returns the exit status: 0, or 2 for a mistake that the message explains."""

    def command(console: Console) -> int:  # noqa: ARG001 (training has bars of its own)
        config = load([arg for arg in args if arg != "--print"])
        if "--print" in args:
            print(to_yaml(config), end="")
        else:
            _train(config)
        return 0

    interrupted = "interrupted; the same command with resume=true goes on from the last checkpoint"
    return run_by_usage(USAGE, args, command, interrupted, "make room, or choose another run_dir")


def _train(config: Config) -> None:
    """Train; a polite request to end (SIGTERM) counts as an interruption."""
    try:
        from lightning.pytorch.utilities.exceptions import SIGTERMException  # noqa: PLC0415

        from data.training import train  # noqa: PLC0415  # --help and a typo need not wait for it
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "lightning", "pip install 'gnfactor[train]'") from error
    try:
        train(config)
    except SIGTERMException as error:
        raise KeyboardInterrupt from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
