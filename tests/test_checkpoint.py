from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.batch import collate
from gnfactor.checkpoint import (
    CheckpointInfo,
    TrainedOn,
    check_continuable,
    checkpoint_path,
    checkpoints,
    load_policy,
    read_config,
    read_info,
    read_state,
    select_checkpoint,
    write_checkpoint,
)
from gnfactor.config import Config, from_yaml, override
from gnfactor.errors import CheckpointError
from gnfactor.model import Policy
from gnfactor.training.metrics import ErrorSummary
from tests.synthetic import SIZE, TINY, make_demonstration, sample_from

TRAINED_ON = TrainedOn(("push",), "synthetic", ("push/variation0/seed0",), ("push/variation1/seed1",))
INFO = CheckpointInfo(7, ("push the square",), averaged=False, validation=None, trained_on=TRAINED_ON)


def errors(translation_m: float) -> ErrorSummary:
    return ErrorSummary(4, translation_m, 10.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def config() -> Config:
    return from_yaml(TINY)


@pytest.fixture
def policy(config: Config) -> Policy:
    torch.manual_seed(0)
    policy = Policy(config.policy)
    policy.instructions.learn(["push the square"])
    return policy


@pytest.fixture
def folder(tmp_path: Path, config: Config, policy: Policy) -> Path:
    path = checkpoint_path(tmp_path, 7)
    write_checkpoint(path, config, INFO, policy.state_dict(), {"step": 7})
    return path


def same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and (left == right or (left != left and right != right))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TENSORS = st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(torch.tensor)
TREES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests survive no power cut, and so need not wait for the disk."""
    monkeypatch.setattr("gnfactor.checkpoint.os.fsync", lambda handle: None)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), TREES, max_size=3))
def test_any_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("run") / "step=1"
    write_checkpoint(path, Config(), INFO, {}, state)
    assert same(read_state(path), state)
    shutil.rmtree(path.parent)


def test_what_is_neither_tensor_nor_plain_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not PosixPath"):
        write_checkpoint(tmp_path / "step=1", Config(), INFO, {}, {"where": tmp_path})


def test_tensors_that_share_memory_are_stored(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    write_checkpoint(tmp_path / "step=1", Config(), INFO, {}, {"a": weight, "b": weight, "c": weight.T})
    state = read_state(tmp_path / "step=1")
    assert torch.equal(state["a"], weight)
    assert torch.equal(state["c"], weight.T)


def test_a_checkpoint_is_safetensors_json_and_yaml_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.json",
        "config.yaml",
        "model.safetensors",
        "state.json",
        "state.safetensors",
    ]
    assert json.loads((folder / "checkpoint.json").read_text())["instructions"] == ["push the square"]


def test_the_loaded_policy_acts_as_the_saved_one(folder: Path, policy: Policy, config: Config) -> None:
    loaded = load_policy(folder)
    demonstration = make_demonstration("push", 0)
    batch = collate([sample_from(demonstration, 0, 12, "push the square")], ("front",), (SIZE, SIZE))
    (before,), (after,) = policy.eval().act(batch.inputs), loaded.policy.act(batch.inputs)
    assert (before.arms["right"].world_from_gripper == after.arms["right"].world_from_gripper).all()
    assert loaded.config == config
    assert loaded.info == INFO
    assert not loaded.policy.training


def test_trained_instructions_need_no_text_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_policy(folder)
    monkeypatch.setattr("gnfactor.language.TEXT_ENCODERS", {})
    assert loaded.policy.instructions.lookup(["push the square"]).mask.any()


def test_last_means_by_step_and_validation_the_least_translation_error(tmp_path: Path, config: Config) -> None:
    for step, validation in ((9, 0.3), (100, 0.1), (1000, 0.2), (20000000, None)):
        info = replace(INFO, step=step, validation=None if validation is None else errors(validation))
        write_checkpoint(checkpoint_path(tmp_path, step), config, info, {}, {})
    assert [read_info(path).step for path in checkpoints(tmp_path)] == [9, 100, 1000, 20000000]
    assert read_info(select_checkpoint(tmp_path)).step == 20000000
    assert read_info(select_checkpoint(tmp_path, "validation")).step == 100
    assert select_checkpoint(checkpoint_path(tmp_path, 9)) == checkpoint_path(tmp_path, 9)


def test_no_checkpoint_and_no_validated_checkpoint_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run"):
        select_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"data\.validation_episodes"):
        select_checkpoint(folder.parent.parent, "validation")


@pytest.mark.parametrize("name", ["checkpoint.json", "config.yaml", "model.safetensors"])
def test_a_checkpoint_that_lacks_a_file_or_has_it_cut_short_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-1], b"\xff\xfe\x00"):
        (folder / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=str(folder)):
            load_policy(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError):
        load_policy(folder)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_damaged_resume_state_is_refused(folder: Path, name: str) -> None:
    write_checkpoint(folder, read_config(folder), INFO, {}, {"value": torch.ones(3)})
    whole = (folder / name).read_bytes()
    for content in (whole[: len(whole) // 2], b'{"tensor": "elsewhere"}', b'{"a": 1, "b": 2}'):
        (folder / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            read_state(folder)


def test_foreign_and_newer_checkpoints_are_refused(folder: Path) -> None:
    header = json.loads((folder / "checkpoint.json").read_text())
    for change, words in (({"format": "other"}, "not a checkpoint of this project"), ({"version": 2}, "version 2")):
        (folder / "checkpoint.json").write_text(json.dumps({**header, **change}))
        with pytest.raises(CheckpointError, match=words):
            read_info(folder)
    (folder / "checkpoint.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
        read_info(folder)


def test_weights_that_do_not_fit_the_configuration_are_refused(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("channels: 8", "channels: 16"))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_policy(folder)


def test_an_interpolation_in_a_checkpoint_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = (folder / "config.yaml").read_text().replace("run_dir: runs/train", "run_dir: ${oc.env:SECRET}")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(CheckpointError, match="never an interpolation"):
        load_policy(folder)


def test_what_a_killed_writer_leaves_is_no_checkpoint_and_is_written_over(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_path(tmp_path, 3)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gnfactor.checkpoint._write_tensors", killed)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(path, config, INFO, {}, {})
    assert checkpoints(tmp_path) == []
    write_checkpoint(path, config, INFO, {}, {})
    assert checkpoints(tmp_path) == [path]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_of_the_same_step_is_replaced(folder: Path, config: Config) -> None:
    write_checkpoint(folder, config, replace(INFO, instructions=("other",)), {}, {})
    assert read_info(folder).instructions == ("other",)
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "overrides",
    [
        ["run_dir=elsewhere", "resume=true", "evaluate.episodes=3"],
        ["data.cache.folder=elsewhere", "data.cache.gigabytes=1"],
        ["train.workers=2", "train.keep=1", "train.log_every=7", "train.validate_every=7", "train.checkpoint_every=7"],
        ["train.accelerator=auto", "train.strategy=ddp"],
        ["train.steps=7"],
    ],
)
def test_a_run_is_continued_with_changes_that_leave_its_weights_alone(
    folder: Path, config: Config, overrides: list[str]
) -> None:
    check_continuable(folder, override(config, overrides))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["policy.head.loss.rotation=2"], r"policy\.head\.loss\.rotation was 1\.0, is 2\.0"),
        (["optim.lr=0.5", "train.seed=1"], r"optim\.lr was 0\.01, is 0\.5, train\.seed was 0, is 1;"),
        (["augment.yaw_deg=1"], r"augment\.yaw_deg was"),
        (["data.store=other"], r"data\.store was None, is other"),
        (["data.task_weights={push: 2}"], r"data\.task_weights\.push was None, is 2\.0"),
        (["train.batch_size=3"], r"train\.batch_size was 2, is 3"),
        (["train.accumulate=3"], r"train\.accumulate was 1, is 3"),
        (["train.precision=bf16"], r"train\.precision was 32, is bf16"),
        (["train.devices=2", "train.batch_size=1"], r"train\.devices was 1, is 2"),
        (["train.nodes=2"], r"train\.nodes was 1, is 2"),
        (["train.steps=5"], r"train\.steps was 6, is 5"),
    ],
)
def test_continuing_as_another_run_is_refused_with_both_values(
    folder: Path, config: Config, overrides: list[str], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        check_continuable(folder, override(config, overrides))


def test_more_steps_under_a_schedule_that_depends_on_them_are_another_run(tmp_path: Path, config: Config) -> None:
    config = override(config, ["optim.schedule=cosine"])
    path = checkpoint_path(tmp_path, 7)
    write_checkpoint(path, config, INFO, {}, {})
    check_continuable(path, config)
    with pytest.raises(CheckpointError, match=r"train\.steps was 6, is 8"):
        check_continuable(path, override(config, ["train.steps=8"]))
