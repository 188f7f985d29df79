"""Python packages: which ones this program declares, and which are installed."""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

from gnfactor.doctor.finding import Finding, lacking
from gnfactor.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where pyproject.toml lies if this is a checkout."""
Release = tuple[int, ...]
COMPARISONS: dict[str, Callable[[Release, Release], bool]] = {">=": operator.ge, "<": operator.lt, "==": operator.eq}
"""The only ones that pyproject.toml uses; of the version found and the one named."""


@dataclass(frozen=True)
class Requirement:
    """A package and which versions of it will do."""

    name: str
    specifier: str
    """Such as ">=3.10,<4"."""


@dataclass(frozen=True)
class Declared:
    """What this program says that it needs."""

    python: str
    """Specifier of its version."""
    core: tuple[Requirement, ...]
    extras: Mapping[str, tuple[Requirement, ...]]
    tested: Mapping[str, str]
    """Package, in lower case -> the version that it was tested with; empty outside a checkout."""


def declared(checkout: Path = CHECKOUT) -> Declared:
    """What pyproject.toml says, or the installed package's metadata outside a checkout.

    Raises:
        ConfigError: there is neither.
    """
    file = checkout / "pyproject.toml"
    if file.is_file():
        tree: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        project = tree["project"]
        extras = {name: _requirements(texts) for name, texts in project["optional-dependencies"].items()}
        pins = _requirements(tree.get("dependency-groups", {}).get("pinned", []))
        tested = {pin.name.lower(): pin.specifier.removeprefix("==") for pin in pins}
        return Declared(project["requires-python"], _requirements(project["dependencies"]), extras, tested)
    try:
        texts, about = requires("gnfactor") or [], metadata("gnfactor")
    except PackageNotFoundError as error:
        raise ConfigError(
            "gnfactor is neither installed nor run from its checkout; pip install it, or run `make env` there"
        ) from error
    core = [text for text in texts if "extra ==" not in text]
    extras = {
        name: _requirements(text for text in texts if re.search(rf"extra == ['\"]{re.escape(name)}['\"]", text))
        for name in about.get_all("Provides-Extra") or []
    }
    return Declared(str(about["Requires-Python"]), _requirements(core), extras, {})


def misfits(found: str, specifier: str) -> bool:
    """Whether a version is none of those specified."""
    bounds = re.findall(r"(>=|<|==)\s*([\d.]+)", specifier)
    return not all(COMPARISONS[sign](_release(found), _release(wanted)) for sign, wanted in bounds)


def core(declared: Declared) -> Finding:
    """What no part of this program can do without."""
    return _of("packages", declared.core, "everything", "make env, or pip install gnfactor", declared)


def extras(declared: Declared, needed: Mapping[str, str]) -> list[Finding]:
    """What is optional.

    Args:
        declared: what there is to look for.
        needed: extra -> what of the configuration needs it.
    """
    return [
        _of(f"extra {name}", wanted, needed.get(name, ""), _install(name), declared)
        for name, wanted in declared.extras.items()
    ]


def _install(extra: str) -> str:
    return f"pip install 'gnfactor[{extra}]' (in a checkout: .venv/bin/pip install -e '.[{extra}]')"


def installed(name: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _of(subject: str, wanted: Iterable[Requirement], needed: str, remedy: str, declared: Declared) -> Finding:
    there: list[str] = []
    wrong: list[str] = []
    for need in wanted:
        found = installed(need.name)
        tested = declared.tested.get(need.name.lower())
        if found is None:
            wrong.append(f"{need.name} is not installed")
        elif misfits(found, need.specifier):
            wrong.append(f"{need.name} is {found}, {need.specifier} is expected")
        elif tested is not None and found.partition("+")[0] != tested:
            there.append(f"{need.name} {found} (tested: {tested})")
        else:
            there.append(f"{need.name} {found}")
    if wrong:
        return lacking(subject, needed, ", ".join(wrong), remedy)
    return Finding(subject, "ok", ", ".join(there))


def _requirements(texts: Iterable[str]) -> tuple[Requirement, ...]:
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*)", text) for text in texts)
    return tuple(Requirement(match[1], match[2].strip()) for match in found if match)


def _release(version: str) -> Release:
    """Numbers of a version without what follows them: 2.13.0+cpu -> (2, 13); ending zeros count for nothing."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
