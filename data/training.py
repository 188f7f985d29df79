"""One training run, from the store to the last checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import seed_everything
from rich.console import Console

from data.dataset import Split, load_split
from data.features import FeatureSource
from data.module import DemonstrationModule
from data.novel_views import looks, measure
from data.store import Store
from data.view import draw_scene_strip
from gnfactor.checkpoint import TrainedOn, check_continuable, read_info
from gnfactor.config import Config, to_yaml
from gnfactor.errors import CheckpointError, ConfigError, GNFactorError
from gnfactor.evaluation.publish import VIEWS_NAME
from gnfactor.files import write_file
from gnfactor.model import Policy
from gnfactor.training.learner import Learner
from gnfactor.training.trainer import is_first_process, make_trainer, resume_point

FIELD_METRICS = "metrics.json"
"""What the run folder says about a field's renderings of held-out views; the course of training is in metrics.csv."""


def train(config: Config) -> Path:
    """Train as configured, from the beginning or from the run's last checkpoint; returns the run folder.

    Raises:
        GNFactorError: the configuration, the store or the checkpoint cannot be used; nothing was trained.
    """
    if config.data.store is None:
        raise ConfigError("data.store is not set; it is the path of the store to learn from: data.store=PATH")
    _check_features(config)
    _check_eyes(config)
    console = Console(quiet=not is_first_process())
    point = resume_point(config)
    if point is not None:
        check_continuable(point, config)
    policy_config = config.policy
    store = Store.open(config.data.store, config.data.cache)
    features = _feature_source(store, config, console)
    split = load_split(
        store,
        config.data,
        policy_config.cameras,
        policy_config.grid.box,
        field=policy_config.field is not None,
        features=features,
        progress=is_first_process(),
    )
    trained_on = split.trained_on()
    if point is not None:
        _check_demonstrations(point, trained_on)
    if features is not None:
        console.print(
            f"features of {features.from_cache} pictures read, of {features.computed} computed", highlight=False
        )
    console.print(f"{len(split.training)} samples to learn from, {len(split.validation)} held out", highlight=False)

    seed_everything(config.train.seed, verbose=False)
    policy = Policy(policy_config)
    if point is None:  # else the checkpoint brings its instructions, and no text encoder is needed
        policy.instructions.learn(split.instructions())
    trainer = make_trainer(config, console, from_step=0 if point is None else read_info(point).step)
    run_dir = Path(config.run_dir)
    if is_first_process():
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    learner = Learner(policy, config, trained_on)
    trainer.fit(learner, datamodule=DemonstrationModule(split, config), ckpt_path=point)
    if policy_config.field is not None and config.data.views.measured > 0 and is_first_process():
        _look_at_field(learner, config, store, split, console)
    return run_dir


def _look_at_field(learner: Learner, config: Config, store: Store, split: Split, console: Console) -> None:
    """Render held-out views with the weights that the policy would act with, and leave the figures in the run."""
    seen, unseen = ([moments.info for moments in part.moments] for part in (split.training, split.validation))
    with learner.acting() as policy:
        report = measure(policy, config, store, seen, unseen, console, config.data.views.measured)
        console.print(report.table())
        write_file(Path(config.run_dir) / FIELD_METRICS, json.dumps(report.figures(), indent=1) + "\n")
        try:
            shown = next(info for info in (*unseen, *seen) if looks([info], config.data))
            draw_scene_strip(policy, config.data, store, shown, Path(config.run_dir) / VIEWS_NAME)
        except GNFactorError as error:
            console.print(f"no picture of the views: {error}", highlight=False, markup=False)


def _distils(config: Config) -> bool:
    """Whether the run needs a teacher's features."""
    return config.policy.field is not None and config.policy.field.loss.feature > 0


def _check_features(config: Config) -> None:
    """Refuse features that the field cannot learn, before anything long starts."""
    views, field = config.data.views, config.policy.field
    if field is None or not _distils(config):
        return
    if views.teacher.name == "none":
        raise ConfigError(
            f"policy.field.loss.feature is {field.loss.feature}, but data.views.teacher.name is none; name a teacher, "
            "or set policy.field.loss.feature=0"
        )
    if views.channels != field.network.features:
        raise ConfigError(
            f"data.views.channels is {views.channels}, but policy.field.network.features is {field.network.features}; "
            "set the two equal"
        )


def _check_eyes(config: Config) -> None:
    """Refuse to train a policy that could not be evaluated as configured."""
    trained, asked = config.policy, config.evaluate
    if asked.cameras is not None and set(asked.cameras) != set(trained.cameras):
        raise _unlike_evaluation("cameras", trained.cameras, asked.cameras)
    if asked.image_size is not None and tuple(asked.image_size) != tuple(trained.image_size):
        raise _unlike_evaluation("image_size", trained.image_size, asked.image_size)


def _unlike_evaluation(name: str, trained: Sequence[object], asked: Sequence[object]) -> ConfigError:
    wanted = ",".join(map(str, asked))
    return ConfigError(
        f"policy.{name} is {list(trained)}, but evaluate.{name} is {list(asked)}, so that the policy could not be "
        f"evaluated; set policy.{name}=[{wanted}], or evaluate.{name}=null"
    )


def _feature_source(store: Store, config: Config, console: Console) -> FeatureSource | None:
    if not _distils(config):
        return None
    cuda = config.train.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    return FeatureSource(
        store, config.data, device, lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)
    )


def _check_demonstrations(point: Path, now: TrainedOn) -> None:
    """Refuse to continue a run with other demonstrations than it began with."""
    before = read_info(point).trained_on
    if before is None or before == now:
        return
    episodes = {*before.training, *before.held_out} ^ {*now.training, *now.held_out}
    raise CheckpointError(
        f"{point} was trained on {len(before.training)} episodes (and {len(before.held_out)} held out), the store now "
        f"gives {len(now.training)} (and {len(now.held_out)})"
        + (f"; '{min(episodes)}' is only in one of the two" if episodes else "")
        + "; put the store back as it was, or start a new run in another run_dir"
    )
