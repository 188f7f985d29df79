from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnfactor.config import Config, config_hash, from_yaml, load, to_yaml
from gnfactor.field.neural_field import FieldConfig
from gnfactor.model import Policy
from gnfactor.training.optim import build_optimizer

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
METHODS = sorted(CONFIGS.glob("*.yaml"))
TASKS = sorted((CONFIGS / "tasks").glob("*.yaml"))


def parameters(config: Config) -> int:
    with torch.device("meta"):
        policy = Policy(config.policy)
    return sum(weight.numel() for weight in policy.parameters())


@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
def test_every_method_builds(method: Path) -> None:
    config = load([str(method)])
    with torch.device("meta"):
        build_optimizer(Policy(config.policy), config.optim)
    assert from_yaml(to_yaml(config)) == config


@pytest.mark.parametrize("task", TASKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
def test_every_task_file_joins_every_method(method: Path, task: Path) -> None:
    alone, joined = load([str(method)]), load([str(method), str(task)])
    assert joined.data.tasks
    assert (joined.policy, joined.augment, joined.optim, joined.train) == (
        alone.policy,
        alone.augment,
        alone.optim,
        alone.train,
    )


@pytest.mark.parametrize(("method", "count"), [("gnfactor", 41_769_613), ("peract", 33_240_669)])
def test_the_published_methods_have_the_published_number_of_parameters(method: str, count: int) -> None:
    assert parameters(load([str(CONFIGS / f"{method}.yaml"), "policy.field=null"])) == count


def test_the_published_field_has_the_published_number_of_parameters() -> None:
    published = [str(CONFIGS / "gnfactor.yaml")]
    assert parameters(load(published)) - parameters(load([*published, "policy.field=null"])) == 3_111_428


def test_the_defaults_are_the_published_gnfactor() -> None:
    published = load([str(CONFIGS / "gnfactor.yaml")])
    assert published.policy == replace(Config().policy, field=FieldConfig())
    for part in ("augment", "optim"):
        assert getattr(published, part) == getattr(Config(), part)


def test_peract_has_no_field() -> None:
    assert load([str(CONFIGS / "peract.yaml")]).policy.field is None


def test_methods_differ_in_what_they_mean() -> None:
    assert len({config_hash(load([str(method)])) for method in METHODS}) == len(METHODS)


def test_the_ten_tasks_are_ten() -> None:
    assert len(set(load([str(CONFIGS / "tasks/rlbench10.yaml")]).data.tasks or ())) == 10
