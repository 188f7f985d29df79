"""What a configuration needs of a machine, and what torch says of it: numbers and names that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Needs:
    """Of a training by a configuration, and of the evaluation that it asks for."""

    extras: Mapping[str, str]
    """Extra of the package -> the key and value that needs it."""
    env: str
    """World of the evaluation."""
    renderer: str
    accelerator: str
    """"auto", "cpu" or "cuda"."""
    devices: int
    parameters: int
    memory_bytes: int
    """Of one training process, on the device that it trains on; an estimate."""
    disk_bytes: int
    """Of the checkpoints that stay; an estimate."""
    run_dir: str
    store: str | None
    text_encoder: str
    text_weights: str | None
    teacher: str
    """Whose features are distilled; "none" where none are."""
    teacher_weights: str | None


@dataclass(frozen=True)
class Torch:
    """What torch says of itself and the graphics cards."""

    version: str
    cuda: str | None
    """Version of CUDA that it was built for; None for a CPU build."""
    cards: tuple[tuple[str, int], ...]
    """Name and memory in bytes of each graphics card that it can use."""


@dataclass(frozen=True)
class Answer:
    """What the process that imports torch found out."""

    torch: Torch | None
    complaint: str
    """Why torch cannot be imported; else empty."""
    needs: Needs | None
    """None where no configuration was named."""
    mistake: str
    """Why the configuration cannot be used; else empty."""


def to_json(answer: Answer) -> str:
    """One line."""
    return json.dumps(asdict(answer))


def from_json(text: str) -> Answer:
    """What `to_json` was given."""
    tree: dict[str, Any] = json.loads(text)
    torch, needs = tree["torch"], tree["needs"]
    if torch is not None:
        torch = Torch(torch["version"], torch["cuda"], tuple((name, size) for name, size in torch["cards"]))
    return Answer(torch, tree["complaint"], None if needs is None else Needs(**needs), tree["mistake"])
