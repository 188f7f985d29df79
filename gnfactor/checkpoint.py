"""Checkpoints: one folder each, tensors in safetensors, all else in JSON and YAML. Nothing in it can run code.

    checkpoints/step=00001000/
        checkpoint.json     format, step, validation errors, instructions, what it was trained on
        config.yaml         the whole configuration, without interpolations
        model.safetensors   the policy to act with: averaged weights if the run averages them
        state.json          what resuming needs besides: loop, schedule, random generators...
        state.safetensors   ...and its tensors: optimiser, training weights

A folder is written beside its place and renamed, so that it is whole or absent.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gnfactor.config import Config, from_yaml, to_yaml
from gnfactor.errors import CheckpointError, ConfigError
from gnfactor.model import Policy
from gnfactor.training.metrics import ErrorSummary

FORMAT = "gnfactor-checkpoint"
VERSION = 1
FOLDER = "checkpoints"
_YAML_END = "...\n"
"""YAML's own mark for the end of a document."""
_NAME = re.compile(r"step=(\d+)")
_OF_THE_PROCESS = ("workers", "keep", "log_every", "validate_every", "checkpoint_every", "accelerator", "strategy")
_WITHOUT_EFFECT = ("run_dir", "resume", "evaluate.", "data.cache.", *(f"train.{name}" for name in _OF_THE_PROCESS))
"""Keys that change none of a run's weights."""


@dataclass(frozen=True)
class TrainedOn:
    """Which demonstrations a policy has learned from, and which it was kept from."""

    tasks: tuple[str, ...]
    renderer: str
    """What made the pictures; see `gnfactor.demonstration.Demonstration.renderer`."""
    training: tuple[str, ...]
    """Names of the episodes in the store; none where they are not known, as of imported weights."""
    held_out: tuple[str, ...]
    """Names of those that only validation saw."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself."""

    step: int
    """Optimiser steps done."""
    instructions: tuple[str, ...]
    """Texts whose embeddings the policy carries."""
    averaged: bool
    """The policy's weights are the moving average of the training weights."""
    validation: ErrorSummary | None
    """Errors on held-out episodes when last validated at this very step."""
    trained_on: TrainedOn | None = None
    """None where the policy did not learn from a store."""


@dataclass(frozen=True, eq=False)
class LoadedPolicy:
    """A policy as it was trained, on the CPU and in evaluation mode."""

    policy: Policy
    config: Config
    info: CheckpointInfo
    path: Path
    """Folder of the checkpoint."""


def checkpoint_path(run_dir: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` steps."""
    return run_dir / FOLDER / f"step={step:08d}"


def checkpoints(run_dir: Path) -> list[Path]:
    """Folders of a run's checkpoints, by step."""
    folder = run_dir / FOLDER
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.partition("=")[2]))


def select_checkpoint(path: Path, select: Literal["last", "validation"] = "last") -> Path:
    """The folder meant by `path`: a checkpoint itself, or one of a run's by rule.

    Args:
        path: checkpoint folder or run folder.
        select: "last" by step, or the least mean translation error by "validation".

    Raises:
        CheckpointError: there is none.
    """
    if (path / "checkpoint.json").is_file():
        return path
    found = checkpoints(path)
    if not found:
        raise CheckpointError(f"{path} is neither a checkpoint nor a run with {FOLDER}/step=... in it")
    if select == "last":
        return found[-1]
    errors = {folder: read_info(folder).validation for folder in found}
    validated = {folder: error.translation_m for folder, error in errors.items() if error is not None}
    if not validated:
        raise CheckpointError(
            f"no checkpoint in {path} was validated, so that none can be chosen by validation; train with "
            "data.validation_episodes of 1 or more and a train.validate_every that divides train.checkpoint_every, "
            "or take the last"
        )
    return min(validated, key=lambda folder: validated[folder])


def write_checkpoint(
    path: Path, config: Config, info: CheckpointInfo, weights: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
        path: folder to make; replaced if there is one.
        config: configuration of the run.
        info: what the checkpoint says about itself.
        weights: state of the policy to act with.
        state: what resuming needs: nested dicts, lists and tuples of tensors and plain values.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _fill(partial, config, info, weights, state)
    except BaseException:  # whatever it was, half a checkpoint is of no use and takes room
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        partial.rename(path)
        shutil.rmtree(old)
    else:
        partial.rename(path)
    _sync(path.parent)


def _fill(
    folder: Path, config: Config, info: CheckpointInfo, weights: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    tree, tensors = _pack(state)
    header = {"format": FORMAT, "version": VERSION, **asdict(info)}
    _write_text(folder / "checkpoint.json", json.dumps(header, indent=2, ensure_ascii=False))
    _write_text(folder / "config.yaml", to_yaml(config) + _YAML_END)
    _write_text(folder / "state.json", json.dumps(tree))
    _write_tensors(folder / "model.safetensors", weights)
    _write_tensors(folder / "state.safetensors", tensors)


def read_info(path: Path) -> CheckpointInfo:
    """What the checkpoint in a folder says about itself.

    Raises:
        CheckpointError: the folder is not a whole checkpoint of ours.
    """
    header = _read_json(path / "checkpoint.json")
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this project: checkpoint.json does not say '{FORMAT}'")
    if header.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {header.get('version')}; this program reads version {VERSION}: use the "
            "release that wrote it"
        )
    try:
        validation, trained_on = header["validation"], header.get("trained_on")
        return CheckpointInfo(
            step=int(header["step"]),
            instructions=tuple(str(text) for text in header["instructions"]),
            averaged=bool(header["averaged"]),
            validation=None if validation is None else ErrorSummary(**validation),
            trained_on=None if trained_on is None else _trained_on(**trained_on),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path / 'checkpoint.json'} lacks or garbles {error}; it was not written by us"
        ) from error


def _trained_on(tasks: Sequence[str], renderer: str, training: Sequence[str], held_out: Sequence[str]) -> TrainedOn:
    return TrainedOn(tuple(tasks), renderer, tuple(training), tuple(held_out))


def read_config(path: Path) -> Config:
    """Configuration of a checkpoint.

    Raises:
        CheckpointError: it is missing, or is not a configuration of ours.
    """
    file = path / "config.yaml"
    text = _read_text(file)
    if not text.endswith(_YAML_END):  # keys that were cut off would silently become defaults
        raise CheckpointError(f"{file} is cut short: it does not end with '...'; take another checkpoint")
    try:
        return from_yaml(text)
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error


def check_continuable(path: Path, config: Config) -> None:
    """Refuse to continue from a checkpoint as another run than it was: the result would be neither's.

    Only keys that change no weight may differ; so may the number of steps, to a larger one, under a constant schedule.

    Raises:
        CheckpointError: names the keys that differ, with both values.
    """
    before, now = _flat(asdict(read_config(path))), _flat(asdict(config))
    names = sorted(name for name in {*before, *now} if not name.startswith(_WITHOUT_EFFECT))
    changed = [name for name in names if before.get(name) != now.get(name)]
    if "train.steps" in changed and config.optim.schedule == "constant" and now["train.steps"] > before["train.steps"]:
        changed.remove("train.steps")
    if changed:
        differences = ", ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in changed)
        raise CheckpointError(
            f"{path} belongs to a run with other settings: {differences}; set them as they were, or start a new run in "
            "another run_dir"
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(cast("Mapping[str, Any]", value), f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def read_weights(path: Path) -> dict[str, Tensor]:
    """State of the policy in a checkpoint."""
    return _read_tensors(path / "model.safetensors")


def read_state(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` was given to resume with."""
    tree, tensors = _read_json(path / "state.json"), _read_tensors(path / "state.safetensors")
    try:
        return cast("dict[str, Any]", _unpack(tree, tensors))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / 'state.json'} does not match state.safetensors ({error})") from error


def load_policy(path: Path, select: Literal["last", "validation"] = "last") -> LoadedPolicy:
    """The policy of a checkpoint, rebuilt from what the checkpoint holds alone.

    Args:
        path: checkpoint folder or run folder.
        select: which checkpoint of a run; see `select_checkpoint`.

    Raises:
        CheckpointError: there is none, or it is damaged, or its weights do not fit its configuration.
    """
    folder = select_checkpoint(Path(path), select)
    info, config, weights = read_info(folder), read_config(folder), read_weights(folder)
    policy = Policy(config.policy)
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the weights in {folder} do not fit its config.yaml: {reason}") from error
    return LoadedPolicy(policy.eval().requires_grad_(requires_grad=False), config, info, folder)


def _pack(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """JSON of a tree, and its tensors by the names that stand for them there.

    Plain values and lists stay as they are; tensors, dicts (whose keys may be numbers) and tuples become an object
    with the one key that says which.
    """
    tensors: dict[str, Tensor] = {}

    def pack(value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Tensor):
            name = f"{len(tensors):06d}"
            tensors[name] = value
            return {"tensor": name}
        if isinstance(value, dict):
            return {"dict": [[pack(key), pack(inner)] for key, inner in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [pack(inner) for inner in value]}
        if isinstance(value, list):
            return [pack(inner) for inner in value]
        raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")

    return pack(dict(tree)), tensors


def _unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_unpack(inner, tensors) for inner in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "tuple":
        return tuple(_unpack(inner, tensors) for inner in value)
    return {_unpack(key, tensors): _unpack(inner, tensors) for key, inner in value}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Each gets memory of its own: safetensors refuses tensors that share some, such as tied weights.
    separate = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(separate, path)
    _sync(path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the checkpoint is not whole")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); take another checkpoint") from error


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; the checkpoint is not whole") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is damaged ({error}); take another checkpoint") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is damaged ({error}); take another checkpoint") from error


def _sync(path: Path) -> None:
    """Have the disk really hold a file or a folder's entries before anything relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
