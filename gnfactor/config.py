"""One configuration tree, merged from YAML files and the command line, checked, and frozen.

OmegaConf stops below: `load` returns plain frozen dataclasses, and every component gets only its own part. A default
stands once, beside the component that it configures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from omegaconf import OmegaConf

from gnfactor.augment import AugmentConfig
from gnfactor.config_tree import load_tree, override_tree, tree_from_yaml
from gnfactor.errors import ConfigError
from gnfactor.evaluation.settings import EvaluateConfig
from gnfactor.field.teachers import TeacherConfig
from gnfactor.model import PolicyConfig
from gnfactor.training.optim import OptimConfig

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}
"""Our names for Lightning's."""


@dataclass(frozen=True)
class ViewsConfig:
    """Which views a neural field learns from, and how much of them; not read where there is no field."""

    names: tuple[str, ...] | None = None
    """Null: the views that are stored to be learned from (the rig), or the recorded cameras where a frame has none."""
    held_out: tuple[str, ...] = ()
    """Never learned from, so that the field can be measured on them."""
    count: int | None = None
    """So many of these views, evenly spread over them in stored order; null: all."""
    per_step: int = 1
    """Views drawn for each sample of a batch."""
    rays: int = 512
    """Pixels drawn of each of them."""
    surface_share: float | None = None
    """Share of the pixels drawn whose measured surface lies in the policy's box, where there is most to learn; null:
    any pixel is as likely, as published."""
    detail_share: float | None = None
    """Share of those that shows a place where the picture's colours change: edges, texture, small things. Null: any
    surface is as likely, so that most rays see a large plain table."""
    pixels: int | None = 2048
    """Pixels of each picture that are kept in memory, drawn once by the picture's own bytes; null: all."""
    measured: int = 60
    """Pictures of seen and of unseen scenes each, through held-out views, that are rendered after training to measure
    the field; 0: none."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """Whose features are distilled at these pixels; `python -m data.features` computes them once for all runs."""
    projection: Literal["none", "pca", "random"] = "pca"
    """How the teacher's features become `channels` numbers. pca: the directions in which they differ most, from their
    mean; random: fixed random directions; none: they stay what they are."""
    channels: int = 32
    """Numbers per pixel after the projection; equal to policy.field.network.features."""
    dtype: Literal["fp16", "fp32"] = "fp16"
    """How features are kept, in memory and on the disk."""

    def __post_init__(self) -> None:
        if self.names is not None and (not self.names or len(set(self.names)) != len(self.names)):
            raise ConfigError(
                f"data.views.names is {list(self.names)}; name at least one view, each once, or null for all"
            )
        for name in ("per_step", "rays", "channels"):
            _at_least(f"data.views.{name}", getattr(self, name), 1)
        _at_least("data.views.measured", self.measured, 0)
        for name in ("surface_share", "detail_share"):
            share: float | None = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"data.views.{name} is {share}; 0 to 1 is expected, or null")
        if self.detail_share is not None and self.surface_share is None:
            raise ConfigError("data.views.detail_share is a share of data.views.surface_share; set that one, too")
        if self.count is not None:
            _at_least("data.views.count", self.count, self.per_step)
        if self.pixels is not None and self.pixels < self.rays:
            raise ConfigError(
                f"data.views.pixels is {self.pixels}, but data.views.rays draws {self.rays} of them; keep at least as "
                "many as are drawn"
            )


@dataclass(frozen=True)
class CacheConfig:
    """What is kept on the local disk of a store behind a URL; not read for a store in a folder."""

    folder: str | None = None
    """Null: gnfactor/stores in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache). Processes may share it."""
    gigabytes: float = 20.0
    """About the most that it holds (1e9 bytes each); what was not read for longest makes room. 0: keep nothing."""

    def __post_init__(self) -> None:
        if not 0 <= self.gigabytes < float("inf"):
            raise ConfigError(f"data.cache.gigabytes is {self.gigabytes}; a number of at least 0 is expected")


@dataclass(frozen=True)
class DataConfig:
    """Which demonstrations are learned from, and which moments of them."""

    store: str | None = None
    """Folder of the store, or a URL such as s3://bucket/store or https://host/store; training needs one."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    tasks: tuple[str, ...] | None = None
    """Null: every task in the store."""
    task_weights: dict[str, float] = field(default_factory=dict[str, float])
    """How much likelier than the others a task is drawn; 1 where it is not named, so that all are as likely."""
    start_every: int = 10
    """Every so many frames an episode gives a sample that leads to the next keyframe, besides its keyframes."""
    pairs: Literal["distinct", "published"] = "distinct"
    """Weight of a sample that starts at a keyframe: "distinct" takes `keyframe_weight`; "published" counts it once
    for every earlier start, as the published replay does, which favours the ends of long episodes."""
    keyframe_weight: float = 1.0
    """How much likelier than any other sample of its task one that starts at a keyframe is drawn."""
    instruction: Literal["first", "any"] = "first"
    """"first": the episode's default wording; "any": one of its wordings, drawn for each sample."""
    validation_episodes: int = 0
    """The last so many episodes of each task are held out; not read with a benchmark."""
    benchmark: str | None = None
    """Learn from exactly the training scenes of this benchmark and hold out its validation scenes, whatever else the
    store has; null: learn from all that it has."""
    views: ViewsConfig = field(default_factory=ViewsConfig)

    def __post_init__(self) -> None:
        if self.tasks is not None and (not self.tasks or len(set(self.tasks)) != len(self.tasks)):
            raise ConfigError(f"data.tasks is {list(self.tasks)}; name at least one task, each once, or null for all")
        _at_least("data.start_every", self.start_every, 1)
        _at_least("data.validation_episodes", self.validation_episodes, 0)
        for task, weight in self.task_weights.items():
            if not 0 < weight < float("inf"):
                raise ConfigError(f"data.task_weights.{task} is {weight}; a positive number is expected")
        if not 0 < self.keyframe_weight < float("inf"):
            raise ConfigError(f"data.keyframe_weight is {self.keyframe_weight}; a positive number is expected")
        if self.pairs == "published" and self.keyframe_weight != 1:
            raise ConfigError(
                f"data.keyframe_weight is {self.keyframe_weight}, but data.pairs is published and sets the weights "
                "itself; remove one of the two"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How long, how much at once, on what, and how often to look."""

    steps: int = 100_000
    """Optimiser steps in all."""
    batch_size: int = 2
    """Samples per process and forward pass."""
    accumulate: int = 1
    """Forward passes per optimiser step."""
    precision: str = "32"
    """"32" bits, or "bf16": automatic mixed precision; weights stay in 32 bits."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    """Processes per machine, one device each."""
    nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    """auto: ddp as soon as there is more than one process (gloo on a CPU, NCCL on CUDA)."""
    workers: int = 0
    """Processes that put batches together; demonstrations are in memory, so that 0 is often fastest."""
    seed: int = 0
    log_every: int = 50
    """Steps between two rows of metrics.csv."""
    validate_every: int = 1000
    checkpoint_every: int = 1000
    keep: int | None = 3
    """Newest checkpoints that stay, besides the best by validation; null: all."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "devices", "nodes", "log_every"):
            _at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("validate_every", "checkpoint_every"):
            _at_least(f"train.{name}", getattr(self, name), 1)
        _at_least("train.workers", self.workers, 0)
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"train.seed is {self.seed}; a whole number from 0 to {2**32 - 1} is expected")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"train.precision is '{self.precision}'; known are {', '.join(PRECISIONS)}")
        if self.keep is not None:
            _at_least("train.keep", self.keep, 1)


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    run_dir: str = "runs/train"
    """Folder for everything that a run leaves."""
    resume: bool = False
    """Continue the run in `run_dir` from its last checkpoint, or start it where there is none yet."""


_OF_THE_MACHINE = ("run_dir", "resume")
"""Keys that say where a run happens, not what it is."""


def load(args: Sequence[str]) -> Config:
    """The configuration that `CONFIG.yaml... key=value...` describes; later files and overrides win.

    Raises:
        ConfigError: a file is missing or is not YAML, a key is unknown, a value has the wrong type or makes no sense.
    """
    return load_tree(Config, args)


def override(config: Config, overrides: Sequence[str]) -> Config:
    """A configuration with some values changed by `key=value`.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type or makes no sense.
    """
    return override_tree(config, overrides)


def to_yaml(config: Config) -> str:
    """The whole tree as YAML, defaults included, so that it means the same whatever the defaults become."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def from_yaml(text: str) -> Config:
    """The configuration in a checkpoint; a text from elsewhere, so nothing in it is interpolated.

    Raises:
        ConfigError: it is not YAML, has other keys or types than ours, or holds an interpolation.
    """
    return tree_from_yaml(Config, text, "the checkpoint")


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits that are equal where two runs mean the same, wherever they happen."""
    tree = {key: value for key, value in asdict(config).items() if key not in _OF_THE_MACHINE}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{key} is {value}; at least {least} is expected")
