"""Under what a run on a robot took place: everything that is the same from its beginning to its end."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import gnfactor
from gnfactor.config_tree import tree_from_yaml
from gnfactor.errors import CheckpointError, ConfigError, DataError
from gnfactor.ros.config import RobotConfig

FORMAT, VERSION = "gnfactor-run", "1"
_WEIGHTS = "model.safetensors"
_NAMED = ("torch", "numpy", "mcap", "websockets", "rosbags")
"""Packages whose versions are worth keeping."""


def installed_versions() -> dict[str, str]:
    """Versions of this program and of what it stands on, as far as it is installed."""
    versions = {"gnfactor": gnfactor.__version__, "python": platform.python_version()}
    for name in _NAMED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def weights_sha256(checkpoint: Path) -> str:
    """Digest of the weights in a checkpoint's folder, as 64 hexadecimal digits.

    Raises:
        CheckpointError: they cannot be read.
    """
    try:
        with (checkpoint / _WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{checkpoint / _WEIGHTS} cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """What stands at the beginning of a log."""

    config: RobotConfig
    instruction: str
    confirm: str
    """Whether and when the operator is asked."""
    started: str
    """Date and time, ISO 8601."""
    dry_run: bool = False
    """Nothing was sent to the robot."""
    checkpoint: str | None = None
    """Folder of the checkpoint; None: no trained policy acted."""
    weights_sha256: str | None = None
    seed: int | None = None
    calibration: str | None = None
    """The check of the calibration that was accepted, or by which name none was asked for."""
    versions: Mapping[str, str] = field(default_factory=installed_versions)


def header_to_texts(header: RunHeader) -> dict[str, str]:
    """As names and texts; what is None is left out."""
    others = {item.name: getattr(header, item.name) for item in fields(header) if item.name != "config"}
    texts = {name: json.dumps(value if name != "versions" else dict(value)) for name, value in others.items()}
    config = OmegaConf.to_yaml(OmegaConf.structured(header.config))
    return {"format": FORMAT, "version": VERSION, "config": config, **texts}


def header_from_texts(texts: Mapping[str, str], source: Path) -> RunHeader:
    """The header that `header_to_texts` made these of.

    Raises:
        DataError: they are not such texts, or of another version.
    """
    if texts.get("format") != FORMAT:
        raise DataError(
            f"{source} is no log of a run on a robot: it does not say '{FORMAT}'; name a file by gnfactor.ros"
        )
    if texts.get("version") != VERSION:
        raise DataError(
            f"{source} has format version {texts.get('version')}; this program reads version {VERSION}: use the "
            "release that wrote it"
        )
    try:
        config = tree_from_yaml(RobotConfig, texts["config"], str(source))
        others = {item.name: json.loads(texts[item.name]) for item in fields(RunHeader) if item.name != "config"}
        for name, value in others.items():
            _check_kind(name, value)
        return RunHeader(config=config, **others)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"the head of {source} is damaged or foreign: {error}") from error


def _check_kind(name: str, value: Any) -> None:
    required = {"instruction": str, "confirm": str, "started": str, "dry_run": bool, "versions": dict}
    kind = required.get(name, int | None if name == "seed" else str | None)
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}")
