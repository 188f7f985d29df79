"""One training run, from the store to the last checkpoint."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import seed_everything
from rich.console import Console

from data.dataset import load_split
from data.module import DemonstrationModule
from data.store import Store
from gnfactor.checkpoint import check_continuable, read_info
from gnfactor.config import Config, to_yaml
from gnfactor.errors import ConfigError
from gnfactor.model import Policy
from gnfactor.training.learner import Learner
from gnfactor.training.trainer import is_first_process, make_trainer, resume_point


def train(config: Config) -> Path:
    """Train as configured, from the beginning or from the run's last checkpoint; returns the run folder.

    Raises:
        GNFactorError: the configuration, the store or the checkpoint cannot be used; nothing was trained.
    """
    if config.data.store is None:
        raise ConfigError("data.store is not set; it is the path of the store to learn from: data.store=PATH")
    console = Console(quiet=not is_first_process())
    point = resume_point(config)
    if point is not None:
        check_continuable(point, config)
    split = load_split(Store.open(config.data.store), config.data, config.policy.cameras, progress=is_first_process())
    console.print(f"{len(split.training)} samples to learn from, {len(split.validation)} held out", highlight=False)

    seed_everything(config.train.seed, verbose=False)
    policy = Policy(config.policy)
    if point is None:  # else the checkpoint brings its instructions, and no text encoder is needed
        policy.instructions.learn(split.instructions())
    trainer = make_trainer(config, console, from_step=0 if point is None else read_info(point).step)
    run_dir = Path(config.run_dir)
    if is_first_process():
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    trainer.fit(Learner(policy, config), datamodule=DemonstrationModule(split, config), ckpt_path=point)
    return run_dir
