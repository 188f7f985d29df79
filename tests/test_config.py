from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gnfactor.config import Config, DataConfig, TrainConfig, config_hash, from_yaml, load, to_yaml
from gnfactor.errors import ConfigError


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "method.yaml").write_text("train: {steps: 10, batch_size: 3}\noptim: {lr: 1e-3}\n")
    (tmp_path / "task.yaml").write_text("data: {tasks: [open_drawer]}\ntrain: {steps: 20}\n")
    (tmp_path / "condition.yaml").write_text("policy: {condition: {width: 64}}\n")
    return tmp_path


def test_no_arguments_give_the_defaults() -> None:
    assert load([]) == Config()


def test_later_files_win_and_overrides_win_over_files(files: Path) -> None:
    config = load([str(files / "method.yaml"), str(files / "task.yaml"), "train.batch_size=4"])
    assert (config.train.steps, config.train.batch_size, config.optim.lr) == (20, 4, 1e-3)
    assert config.data.tasks == ("open_drawer",)


def test_the_result_is_made_of_frozen_dataclasses_all_the_way_down() -> None:
    def check(value: object) -> None:
        if dataclasses.is_dataclass(value):
            with pytest.raises(dataclasses.FrozenInstanceError):
                value.surely_not_a_field = 1  # type: ignore[union-attr]
            for field in dataclasses.fields(value):
                check(getattr(value, field.name))
        else:
            assert type(value).__module__ == "builtins"

    check(load(["policy.condition.width=64"]))


def test_null_switches_a_group_off_and_a_key_in_it_switches_it_on(files: Path) -> None:
    with_condition = load([str(files / "condition.yaml"), "policy.condition.heads=2"])
    assert with_condition.policy.condition is not None
    assert (with_condition.policy.condition.width, with_condition.policy.condition.heads) == (64, 2)
    assert load([str(files / "condition.yaml"), "policy.condition=null"]).policy.condition is None
    assert load(["train.keep=null"]).train.keep is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.batchsize=3", ["train.batchsize", "did you mean 'train.batch_size'"]),
        ("batch_size=3", ["batch_size", "did you mean 'train.batch_size'"]),
        ("polciy.grid.size=3", ["polciy", "did you mean 'policy'"]),
        ("seed=3", ["'train.seed'", "'evaluate.seed'"]),
        ("data.xyzzy=3", ["data.xyzzy", "known here are", "start_every"]),
        ("train.steps=abc", ["train.steps", "'abc' (str)", "a whole number"]),
        ("train.steps=1.5", ["train.steps", "1.5 (float)", "a whole number"]),
        ("train.steps=null", ["train.steps", "null", "a whole number"]),
        ("resume=perhaps", ["resume", "'perhaps' (str)", "true or false"]),
        ("train=3", ["'train'", "3 (int)", "a group of keys"]),
        ("train=null", ["'train'", "null", "a group of keys"]),
        ("policy.grid.lower=[1,2]", ["policy.grid.lower", "[1, 2] (list)", "a list of 3 values"]),
        ("policy.condition=7", ["policy.condition", "7 (int)", "or null"]),
        ("data.tasks=open_drawer", ["data.tasks", "'open_drawer' (str)", "a list"]),
        ("train.precision=64", ["train.precision is '64'", "32, bf16"]),
        ("train.strategy=fsdp", ["train.strategy", "'fsdp' (str)", "one of auto, ddp"]),
        ("train.steps=0", ["train.steps is 0", "at least 1"]),
        ("data.start_every=0", ["data.start_every is 0", "at least 1"]),
        ("data.keyframe_weight=0", ["data.keyframe_weight is 0", "positive"]),
        ("evaluate.episodes=0", ["evaluate.episodes is 0", "at least 1"]),
        ("train.steps=[1", ["train.steps=[1", "cannot be read"]),
        ("train.steps=${nowhere}", ["train.steps", "nowhere"]),
        ("=3", ["'=3'", "key=value"]),
        ("--steps=3", ["'--steps=3'", "key=value"]),
    ],
)
def test_a_mistake_is_told_by_the_keys_name(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load([override])
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_mistakes_in_a_file_name_the_file(files: Path) -> None:
    for name, text in (("key", "train: {stepz: 3}"), ("type", "train: {steps: many}"), ("syntax", "train: {steps: 3")):
        (files / f"{name}.yaml").write_text(text)
        with pytest.raises(ConfigError, match=f"{name}.yaml"):
            load([str(files / f"{name}.yaml")])
    (files / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="holds a list"):
        load([str(files / "list.yaml")])


def test_a_missing_file_lists_the_files_that_are_there(files: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*methd.yaml.*method\.yaml.*task\.yaml"):
        load([str(files / "methd.yaml")])


def test_precision_may_be_written_with_or_without_quotes(files: Path) -> None:
    (files / "precision.yaml").write_text("train: {precision: 32}\n")
    assert load([str(files / "precision.yaml")]).train.precision == "32"
    assert load(["train.precision=32"]).train.precision == "32"
    assert load(["train.precision=bf16"]).train.precision == "bf16"


def test_an_interpolation_in_a_users_own_file_is_resolved(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORES", "/data")
    assert load(["data.store=${oc.env:STORES}/demo"]).data.store == "/data/demo"


def test_published_pairs_and_a_weight_of_ones_own_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"data\.keyframe_weight"):
        DataConfig(pairs="published", keyframe_weight=2.0)


def test_yaml_and_back_changes_nothing() -> None:
    config = load(["policy.condition.width=64", "data.tasks=[a,b]", "optim.lr=1.23456789e-5", "run_dir=elsewhere"])
    assert from_yaml(to_yaml(config)) == config


def test_a_stored_configuration_is_not_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    for text in ("run_dir: ${oc.env:SECRET}", "data: {tasks: [a, '${run_dir}']}", "policy: ${train}"):
        with pytest.raises(ConfigError, match="never an interpolation") as caught:
            from_yaml(text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["train: {steps: 3", "nonsense: 1", "- 1", "just words", "train: {steps: x}"])
def test_a_stored_configuration_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        from_yaml(text)


def test_the_hash_tells_what_a_run_means_not_where_it_happens() -> None:
    config = Config()
    same = dataclasses.replace(config, run_dir="elsewhere", resume=True)
    other = dataclasses.replace(config, train=TrainConfig(seed=1))
    assert config_hash(config) == config_hash(same) != config_hash(other)
    assert config_hash(from_yaml(to_yaml(config))) == config_hash(config)
    assert len(config_hash(config)) == 12
