"""Weights of foundation models, and what lies in caches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gnfactor.doctor.finding import Finding, lacking
from gnfactor.doctor.needs import Needs

OPENAI = ("timm/resnet50_clip.openai",)
"""On the hub: the weights of CLIP's RN50 that are taken where none are named."""
FEATURES = ".features"
"""Folder of a store with the features of teachers; `data.feature_cache` writes it."""


def hub_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where models of the Hugging Face hub are kept."""
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"])
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]) / "hub"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface" / "hub"


def hub_models(folder: Path) -> list[str]:
    """Names (owner/model) of the models in the hub's cache."""
    kept = (path.name for path in folder.glob("models--*--*") if any(path.glob("snapshots/*/*")))
    return sorted(name.removeprefix("models--").replace("--", "/", 1) for name in kept)


def cache(environ: Mapping[str, str], home: Path) -> Finding:
    """Models that need no network."""
    folder = hub_folder(environ, home)
    models = hub_models(folder)
    listed = ", ".join(models[:5]) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
    offline = " (HF_HUB_OFFLINE is set: nothing is downloaded)" if environ.get("HF_HUB_OFFLINE") else ""
    return Finding("hub cache", "ok", f"{folder}: {listed or 'empty'}{offline}")


def text_encoder(needs: Needs, environ: Mapping[str, str], home: Path) -> Finding:
    """Weights of what reads the instructions."""
    if needs.text_encoder != "clip":
        return Finding("text encoder", "ok", f"{needs.text_encoder} needs no weights")
    if needs.text_weights is not None:
        return _named("text encoder", "policy.language.weights", needs.text_weights, environ, home)
    kept = [name for name in OPENAI if name in hub_models(hub_folder(environ, home))]
    old = home / ".cache" / "clip" / "RN50.pt"
    if kept or old.is_file():
        return Finding("text encoder", "ok", f"CLIP RN50 from {kept[0] if kept else old}")
    remedy = "policy.language.weights=PATH on a machine without a network, or policy.language.encoder=hashing"
    return Finding("text encoder", "note", "CLIP RN50 will be downloaded when it is first used", remedy)


def teacher(needs: Needs, environ: Mapping[str, str], home: Path) -> Finding:
    """Weights of the model whose features are distilled."""
    if needs.teacher == "none":
        return Finding("teacher", "ok", "no features are distilled")
    if needs.teacher == "segmentation":
        return Finding("teacher", "ok", "segmentation needs no weights")
    if needs.teacher_weights is None:
        found, key = f"no weights are named for {needs.teacher}", "data.views.teacher.weights"
        remedy = (
            f"{key}=PATH or a model on the hub; or policy.field.loss.feature=0 with {key.rpartition('.')[0]}.name=none"
        )
        return lacking("teacher", f"data.views.teacher.name={needs.teacher}", found, remedy)
    return _named("teacher", "data.views.teacher.weights", needs.teacher_weights, environ, home)


def store(needs: Needs, here: Path) -> Finding:
    """The demonstrations to learn from; `here` is the current folder."""
    make = "data.convert (recordings) or data.collect (built-in world) makes one"
    if needs.store is None:
        return Finding("store", "note", "none is set", f"data.store=PATH; {make}")
    if "://" in needs.store:
        return Finding("store", "note", f"{needs.store} was not looked at")
    folder = here / needs.store
    if not folder.is_dir():
        return Finding("store", "note", f"{folder} is not there yet", make)
    caches = [path for path in (folder / FEATURES).glob("*") if (path / "about.json").is_file()]
    features = f"; {len(caches)} caches of features" if caches else ""
    return Finding("store", "ok", f"{folder}{features}")


def _named(subject: str, key: str, weights: str, environ: Mapping[str, str], home: Path) -> Finding:
    """Weights that a configuration names: a path, or a model on the hub."""
    if Path(weights).expanduser().exists():
        return Finding(subject, "ok", weights)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", weights) is None:
        return Finding(subject, "problem", f"there is no {weights}", f"{key}=PATH or a model on the hub (owner/name)")
    if weights in hub_models(hub_folder(environ, home)):
        return Finding(subject, "ok", f"{weights}, from the hub's cache")
    if environ.get("HF_HUB_OFFLINE"):
        found = f"{weights} is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
        return Finding(subject, "problem", found, "unset HF_HUB_OFFLINE once, or copy the cache from elsewhere")
    return Finding(subject, "note", f"{weights} will be downloaded from the hub", f"{key}=PATH without a network")
