"""From YAML files and `key=value` to a tree of frozen dataclasses; OmegaConf stops here.

A mistake ends in a ConfigError that names the file and the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gnfactor.config_keys import check_keys, nearest_key, wrong_value
from gnfactor.errors import ConfigError

Tree = TypeVar("Tree")


def load_tree(tree_type: type[Tree], args: Sequence[str]) -> Tree:
    """What `FILE.yaml... key=value...` describe; later files and overrides win.

    Raises:
        ConfigError: a file is missing or is not YAML, a key is unknown, a value has the wrong type or makes no sense.
    """
    files = [arg for arg in args if "=" not in arg]
    overrides = [arg for arg in args if "=" in arg]
    merged = OmegaConf.structured(tree_type)
    for file in files:
        merged = _merge(tree_type, merged, _read(Path(file)), file)
    return _instance(tree_type, _overridden(tree_type, merged, overrides))


def override_tree(tree: Tree, overrides: Sequence[str]) -> Tree:
    """A tree with some values changed by `key=value`.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type or makes no sense.
    """
    return _instance(type(tree), _overridden(type(tree), OmegaConf.structured(tree), overrides))


def tree_from_yaml(tree_type: type[Tree], text: str, source: str) -> Tree:
    """The tree in a text from elsewhere, in which nothing is interpolated.

    Raises:
        ConfigError: it is not YAML, has other keys or types than ours, or holds an interpolation.
    """
    try:
        tree = OmegaConf.create(text)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"the configuration cannot be read: {_first_line(error)}") from error
    if not isinstance(tree, DictConfig):
        raise ConfigError("the configuration is a list; keys with values are expected")
    _refuse_interpolations(OmegaConf.to_container(tree, resolve=False), "")
    return _instance(tree_type, _merge(tree_type, OmegaConf.structured(tree_type), tree, source))


def _overridden(tree_type: type, tree: DictConfig, overrides: Sequence[str]) -> DictConfig:
    for text in overrides:
        tree = _merge(tree_type, tree, _parse_override(tree_type, text), "the command line")
    return tree


def _read(path: Path) -> DictConfig:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = sorted(str(found) for found in folder.rglob("*.yaml")) if path.parent != Path() else []
        there = ", ".join(near or sorted(str(found) for found in Path("configs").rglob("*.yaml"))) or "none"
        raise ConfigError(f"there is no configuration file {path}; the YAML files there are: {there}")
    try:
        tree = OmegaConf.load(path)
    except (OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not the YAML that is expected: {_first_line(error)}") from error
    if not isinstance(tree, DictConfig):
        raise ConfigError(f"{path} holds a list; keys with values are expected, as in 'train: {{steps: 1000}}'")
    return tree


def _parse_override(tree_type: type, override: str) -> DictConfig:
    key, _, value = override.partition("=")
    if not key or not all(part.isidentifier() for part in key.split(".")):
        near = nearest_key(tree_type, key)
        hint = "key=value is expected: train.steps=1000" if near is None else f"did you mean {near}={value}?"
        raise ConfigError(f"'{override}' is neither a file nor an override; {hint}")
    try:
        return OmegaConf.from_dotlist([override])
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"the override '{override}' cannot be read: {_first_line(error)}") from error


def _merge(tree_type: type, base: DictConfig, tree: Any, source: str) -> DictConfig:
    plain = OmegaConf.to_container(tree, resolve=False)
    check_keys(tree_type, plain, source)
    try:
        return cast("DictConfig", OmegaConf.merge(base, tree))
    except OmegaConfBaseException as error:
        message = wrong_value(tree_type, plain, source, lambda part: OmegaConf.merge(base, part))
        raise ConfigError(message or f"{source}: {_first_line(error)}") from error


def _instance(tree_type: type[Tree], merged: DictConfig) -> Tree:  # noqa: ARG001 (says what comes out)
    try:
        return cast("Tree", OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'the configuration'} cannot be used: {_first_line(error)}") from error
    except ValueError as error:  # from `perceiver`, which knows nothing of our errors
        raise ConfigError(str(error)) from error


def _refuse_interpolations(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_interpolations(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _refuse_interpolations(inner, f"{key}[{index}]")
    elif isinstance(value, str) and "${" in value:
        raise ConfigError(f"{key} is {value!r}; a stored configuration holds plain values, never an interpolation")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
