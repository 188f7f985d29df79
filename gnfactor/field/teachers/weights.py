"""Where weights come from: a folder or the Hugging Face hub, safetensors only, checked and hashed before use."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnfactor.errors import ConfigError, MissingExtraError

FORMULA = 1
"""Raise it when a teacher computes something else from the same weights and options: caches then know."""
WEIGHT_FILES = ("diffusion_pytorch_model", "model")
"""Stems under which diffusers and transformers keep a model's weights."""
HUB_FILES = (
    *("config.json", "scheduler_config.json", "tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json"),
    *(f"{stem}.safetensors" for stem in WEIGHT_FILES),
    *(f"{stem}-*-of-*.safetensors" for stem in WEIGHT_FILES),
    *(f"{stem}.safetensors.index.json" for stem in WEIGHT_FILES),
)
"""What is fetched of a model: neither pickles nor second copies in half precision."""
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}


@dataclass(frozen=True)
class Source:
    """What a teacher needs, in which folders, and where it can be had."""

    teacher: str
    parts: Mapping[str, str]
    """Folder -> class that its config.json must name. A teacher of one part also takes that folder itself."""
    others: tuple[str, ...]
    """Folders without weights that are read too."""
    hub: str
    """Recommended model on the hub, with its licence."""

    @property
    def layout(self) -> str:
        """The folder that is expected, in words."""
        *_, only = self.parts
        if len(self.parts) == 1:
            return f"a folder with config.json and *.safetensors of one {self.parts[only]}"
        return f"a diffusers folder with {', '.join((*self.parts, *self.others))} in it, weights as *.safetensors"

    @property
    def remedy(self) -> str:
        """Both ways to get weights."""
        return f"set weights to {self.layout}, or to a model on the Hugging Face hub such as {self.hub}"


def library(name: str, attribute: str) -> Any:
    """Something out of diffusers, transformers or huggingface_hub, imported when it is needed.

    Raises:
        MissingExtraError: the package is not installed, or a torchvision that does not fit torch stands in its way.
    """
    try:
        return getattr(importlib.import_module(name), attribute)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or name, "pip install 'gnfactor[diffusion]'") from error
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        raise MissingExtraError(
            "torchvision, built for this torch,", f"pip uninstall torchvision ({name} does without it, not with this)"
        ) from error


def find_weights(weights: str | None, source: Source) -> Path:
    """Folder of a model, fetched from the hub if `weights` names no folder.

    Raises:
        ConfigError: there are no such weights, here or on the hub.
    """
    if weights is None:
        raise ConfigError(f"the teacher '{source.teacher}' needs weights and none are set: {source.remedy}")
    path = Path(weights).expanduser()
    if path.is_file():
        raise ConfigError(f"the teacher '{source.teacher}' needs a folder and {path} is a file: {source.remedy}")
    if path.is_dir():
        return path
    folders = [f"{part}/" for part in (*source.parts, *source.others) if part]
    if len(source.parts) == 1:
        folders.append("")
    wanted = [folder + name for folder in folders for name in HUB_FILES]
    return fetch(weights, wanted, f"the teacher '{source.teacher}': {source.remedy}")


def fetch(repository: str, files: Sequence[str], remedy: str) -> Path:
    """Folder with the files of a repository on the hub, downloaded or from its cache.

    Raises:
        ConfigError: the repository cannot be had.
    """
    download = library("huggingface_hub", "snapshot_download")
    hub_error = library("huggingface_hub.errors", "HfHubHTTPError")
    try:
        return Path(download(repository, allow_patterns=list(files)))
    except (OSError, ValueError, hub_error) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"weights '{repository}': no such folder here, and the Hugging Face hub does not give a model of that "
            f"name ({reason}). For {remedy}"
        ) from error


def part_folder(root: Path, part: str, source: Source) -> Path:
    """Folder of one part of a model, checked as far as it can be without reading its weights.

    Raises:
        ConfigError: it is not there, of another class, or has no safetensors.
    """
    folder = root if len(source.parts) == 1 and not (root / part).is_dir() else root / part
    config = folder / "config.json"
    if not config.is_file():
        raise ConfigError(f"the teacher '{source.teacher}' finds no {config}: {source.remedy}")
    try:
        said = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{config} is no JSON ({error}): copy or download it again") from error
    found = said.get("_class_name") or said.get("model_type")
    if found != source.parts[part]:
        raise ConfigError(
            f"the teacher '{source.teacher}' needs a {source.parts[part]} and {config} is of a {found}: {source.remedy}"
        )
    if not weight_files(folder):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        why = (
            f"only pickled weights ({', '.join(pickles)}), which can run any program when they are read; "
            "convert them to safetensors"
            if pickles
            else f"no weights, expected {' or '.join(f'{stem}.safetensors' for stem in WEIGHT_FILES)}"
        )
        raise ConfigError(f"{folder} has {why}. For the teacher '{source.teacher}': {source.remedy}")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Files that hold the weights of the model in a folder, in one piece or in shards."""
    for stem in WEIGHT_FILES:
        found = sorted(folder.glob(f"{stem}.safetensors")) or sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
        if found:
            return found
    return []


def load_model(root: Path, part: str, source: Source, model_class: Any, **options: Any) -> tuple[Any, dict[str, Path]]:
    """Model of one part, in evaluation mode, without gradients, on the CPU; and the files that decide what it computes.

    Args:
        root: what `find_weights` gave.
        part: one of the source's parts.
        source: what its teacher needs.
        model_class: a class of diffusers or transformers.
        options: for `from_pretrained`.

    Raises:
        ConfigError: a file is missing, damaged, or does not hold this model's weights, all of them.
    """
    folder = part_folder(root, part, source)
    safetensor_error = library("safetensors", "SafetensorError")
    try:
        model, report = model_class.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, safetensor_error) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the weights in {folder} cannot be read ({reason}): copy or download them again") from error
    absent = sorted([*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])])
    if absent:
        raise ConfigError(
            f"the weights in {folder} lack {len(absent)} of the model's tensors, the first is {absent[0]}: they are "
            "another model's, or cut short; copy or download them again"
        )
    files = {f"{part}/{path.name}": path for path in (folder / "config.json", *weight_files(folder))}
    return model.eval().requires_grad_(requires_grad=False), files


def revision_of(files: Mapping[str, Path], options: Mapping[str, object]) -> str:
    """Short hash of files' contents under the names given, and of options that JSON can write."""
    digest = hashlib.sha256(json.dumps({"formula": FORMULA, **options}, sort_keys=True).encode())
    for name in sorted(files):
        with files[name].open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()[:16]
