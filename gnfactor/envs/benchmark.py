"""A benchmark: scenes that one can name, and the protocol under which policies are tried in them.

Its manifest, a file in `benchmarks/`, lists every scene to train on, to validate on and to evaluate in, by task,
variation and seed, with a digest of what the scene consists of: whoever makes it again can tell whether it is the same.
One line is one scene, so that people can read it, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from gnfactor.envs.base import SeededScene
from gnfactor.errors import ConfigError, DataError, SceneError

Role = Literal["training", "validation", "evaluation"]
ROLES: tuple[Role, ...] = ("training", "validation", "evaluation")
"""What a scene is for. Demonstrations come from the first two, and are never made of the third."""
MANIFESTS = Path(__file__).with_name("benchmarks")
"""Folder of the manifests."""

_FORMAT = 1
_DIGITS = 16


@dataclass(frozen=True)
class ListedScene:
    """One scene of a manifest."""

    scene: SeededScene
    digest: str
    """Of its description before any physics."""
    settled: tuple[int, ...]
    """Where its movable things came to rest on the machine that made the manifest: x, y, z of each, units of 0.1 mm."""


@dataclass(frozen=True)
class Conditions:
    """How policies are tried in a benchmark."""

    env: str
    renderer: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    """Width and height, pixels."""
    episodes: int
    """Per task."""
    max_steps: int
    """Actions after which an episode has failed."""
    on_refusal: str
    seed: int
    """From which the evaluation scenes were drawn."""


@dataclass(frozen=True)
class Manifest:
    """All that a benchmark is."""

    name: str
    world_version: int
    """Of the world that its scenes were made in; another one may make others."""
    conditions: Conditions
    scenes: Mapping[Role, tuple[ListedScene, ...]]

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order in which they are listed."""
        return tuple(dict.fromkeys(one.scene.task for one in self.scenes["evaluation"]))

    @property
    def digest(self) -> str:
        """Of everything but the places where things came to rest, which may differ a little between machines."""
        tree = _tree(self)
        tree["scenes"] = {role: [_row(one)[:-1] for one in self.scenes[role]] for role in ROLES}
        text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    def of(self, role: Role, tasks: Sequence[str] | None = None) -> list[SeededScene]:
        """The scenes of one role, of some tasks or of all.

        Raises:
            ConfigError: it has no such task.
        """
        unknown = [task for task in tasks or () if task not in self.tasks]
        if unknown:
            raise ConfigError(f"the benchmark '{self.name}' has no task {unknown}; it has {', '.join(self.tasks)}")
        return [one.scene for one in self.scenes[role] if tasks is None or one.scene.task in tasks]

    def refuse_another_world(self, version: int | None) -> None:
        """Raises SceneError if the world is not of the version that the scenes were made in."""
        if version != self.world_version:
            raise SceneError(
                f"the benchmark '{self.name}' was made in version {self.world_version} of its world, here is "
                f"version {version}; install the gnfactor that it came with, or make it anew with "
                "`python -m data.benchmark make`"
            )

    def refuse_other_scenes(self, role: Role, digests: Iterable[str]) -> None:
        """Raises SceneError if `digests`, of the scenes of one role as they are made here, are not those recorded."""
        pairs = zip(self.scenes[role], digests, strict=True)
        other = [one.scene for one, digest in pairs if digest != one.digest]
        if other:
            raise SceneError(
                f"{len(other)} of {len(self.scenes[role])} {role} scenes are not those of the benchmark '{self.name}', "
                f"the first is {other[0].name}; install the gnfactor that it came with, or make it anew with "
                "`python -m data.benchmark make`"
            )


def known_benchmarks() -> list[str]:
    """Names of the benchmarks that there are."""
    return sorted(path.stem for path in MANIFESTS.glob("*.json"))


def manifest_path(name: str) -> Path:
    """Where the manifest of a benchmark is, or would be."""
    return MANIFESTS / f"{name}.json"


def read_manifest(name: str) -> Manifest:
    """The benchmark of this name.

    Raises:
        ConfigError: there is none; the message lists those that there are.
        DataError: its manifest is damaged.
    """
    if name not in known_benchmarks():
        raise ConfigError(f"there is no benchmark '{name}'; known are: {', '.join(known_benchmarks()) or 'none'}")
    path = manifest_path(name)
    manifest = manifest_from_text(path.read_text(encoding="utf-8"), str(path))
    if manifest.name != name:
        raise DataError(f"{path} is the manifest of '{manifest.name}'; give the file that name, or restore it")
    return manifest


def manifest_to_text(manifest: Manifest) -> str:
    """The manifest as JSON, a line for each scene: [task, variation, seed, digest, [settled positions]]."""
    head = json.dumps({**_tree(manifest), "digest": manifest.digest}, indent=1, ensure_ascii=False)
    roles = [
        f'  "{role}": [\n' + ",\n".join(f"   {json.dumps(_row(one))}" for one in manifest.scenes[role]) + "\n  ]"
        for role in ROLES
    ]
    return head.removesuffix("\n}") + ',\n "scenes": {\n' + ",\n".join(roles) + "\n }\n}\n"


def manifest_from_text(text: str, source: str) -> Manifest:
    """What `manifest_to_text` has written.

    Raises:
        DataError: it is something else, or has been changed by hand.
    """
    try:
        tree = cast("dict[str, Any]", json.loads(text))
        if tree["format"] != _FORMAT:
            raise DataError(f"{source} has the format {tree['format']}, {_FORMAT} is expected; take another gnfactor")
        conditions = cast("dict[str, Any]", tree["conditions"])
        width, height = conditions.pop("image_size")
        cameras = tuple(str(camera) for camera in conditions.pop("cameras"))
        manifest = Manifest(
            name=str(tree["name"]),
            world_version=int(tree["world_version"]),
            conditions=Conditions(**conditions, cameras=cameras, image_size=(int(width), int(height))),
            scenes={
                role: tuple(
                    ListedScene(SeededScene(str(task), int(variation), int(seed)), str(digest), tuple(settled))
                    for task, variation, seed, digest, settled in tree["scenes"][role]
                )
                for role in ROLES
            },
        )
        recorded = str(tree["digest"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{source} is no manifest of a benchmark ({type(error).__name__}: {error}); restore it, or make it anew "
            "with `python -m data.benchmark make`"
        ) from error
    if recorded != manifest.digest:
        raise DataError(f"{source} has the digest {recorded}, but its content {manifest.digest}; restore it")
    return manifest


def _tree(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "name": manifest.name,
        "world_version": manifest.world_version,
        "conditions": asdict(manifest.conditions),
    }


def _row(listed: ListedScene) -> list[Any]:
    scene = listed.scene
    return [scene.task, scene.variation, scene.seed, listed.digest, list(listed.settled)]
