"""Mistakes in a configuration, told by the key's name: unknown keys and values of the wrong type."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf.errors import OmegaConfBaseException

from gnfactor.errors import ConfigError


def check_keys(tree_type: type, tree: Any, source: str) -> None:
    """Raise ConfigError, with a suggestion, if `tree` (plain containers) has a key that `tree_type` has not."""
    known = list(_all_keys(tree_type))
    for key, group, _ in _entries(tree_type, tree):
        parent, _, name = key.rpartition(".")
        siblings = [item.name for item in fields(group)]
        if name in siblings:
            continue
        where = f"{parent}." if parent else ""
        close = [where + sibling for sibling in difflib.get_close_matches(name, siblings, n=1)]
        elsewhere = [other for other in known if other.rpartition(".")[2] == name]
        meant = " or ".join(f"'{other}'" for other in elsewhere or close)
        hint = f"did you mean {meant}?" if meant else f"known here are: {', '.join(siblings)}"
        raise ConfigError(f"{source} sets '{key}', which does not exist; {hint}")


def nearest_key(tree_type: type, name: str) -> str | None:
    """The dotted key of `tree_type` that looks most like `name`; None where none does."""
    return next(iter(difflib.get_close_matches(name, list(_all_keys(tree_type)), n=1)), None)


def wrong_value(tree_type: type, tree: Any, source: str, merge: Callable[[Any], object]) -> str | None:
    """What is wrong with the first value of `tree` that `merge` refuses, or None if it takes them one by one."""
    for key, kind, value in _values(tree_type, tree):
        if isinstance(value, dict) and (_group(kind) is not None or _named_group(kind) is not None):
            continue
        part = value
        for name in reversed(key.split(".")):
            part = {name: part}
        try:
            merge(part)
        except OmegaConfBaseException:
            found = f"{value!r} ({type(value).__name__})" if value is not None else "null"
            return f"{source} sets '{key}' to {found}; {_expected(kind)} is expected"
    return None


def _entries(group: type, tree: Any) -> Iterator[tuple[str, type, Any]]:
    """Every (dotted key, dataclass it should be a field of, value); groups come before their members."""
    if not isinstance(tree, Mapping):
        return
    hints = _types(group)
    for name, value in tree.items():
        yield str(name), group, value
        inner = _group(hints.get(name))
        if inner is not None:
            for key, owner, member in _entries(inner, value):
                yield f"{name}.{key}", owner, member
        named = _named_group(hints.get(name))
        if named is not None and isinstance(value, Mapping):
            for title, group_value in value.items():
                for key, owner, member in _entries(named, group_value):
                    yield f"{name}.{title}.{key}", owner, member


def _values(tree_type: type, tree: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every (dotted key, type that it should have, value), the titles of named groups included."""
    for key, group, value in _entries(tree_type, tree):
        kind = _types(group)[key.rpartition(".")[2]]
        yield key, kind, value
        named = _named_group(kind)
        if named is not None and isinstance(value, Mapping):
            yield from ((f"{key}.{title}", named, group_value) for title, group_value in value.items())


def _all_keys(group: type) -> Iterator[str]:
    for name, kind in _types(group).items():
        inner = _group(kind)
        yield name
        if inner is not None:
            yield from (f"{name}.{key}" for key in _all_keys(inner))


def _types(group: type) -> dict[str, Any]:
    return get_type_hints(group)


def _group(kind: Any) -> type | None:
    """The dataclass that a type stands for, `X | None` included."""
    for option in _options(kind):
        if isinstance(option, type) and is_dataclass(option):
            return option
    return None


def _named_group(kind: Any) -> type | None:
    """The dataclass that the values of a `dict[str, X]` are, if they are one."""
    if get_origin(kind) is not dict:
        return None
    return _group(get_args(kind)[1])


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _expected(kind: Any) -> str:
    """A type in words."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
    words: list[str] = []
    for option in _options(kind):
        origin, inner = get_origin(option), get_args(option)
        if origin is Literal:
            words.append("one of " + ", ".join(str(value) for value in inner))
        elif origin is tuple and inner[-1] is Ellipsis:
            words.append(f"a list of such values: {_expected(inner[0])}")
        elif origin is tuple:
            words.append(f"a list of {len(inner)} values, each {_expected(inner[0])}")
        elif isinstance(option, type) and is_dataclass(option):
            words.append("a group of keys (" + ", ".join(item.name for item in fields(option)) + ")")
        else:
            words.append(names.get(option, str(option)))
    return " or ".join(words)
