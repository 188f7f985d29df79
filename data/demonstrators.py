"""What makes demonstrations: worlds with an expert in them, each with one method, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from data.episode import WORLD_VERSION_KEY
from gnfactor.demonstration import Demonstration, ExpertFailure
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.rig import RigConfig, rig_text
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import WORLD_VERSION, Frames, TabletopEnv
from gnfactor.errors import ConfigError
from gnfactor.scene import CAMERAS


@dataclass(frozen=True)
class Filming:
    """What is kept of a demonstration."""

    frames: Frames = "keyframes"
    cameras: tuple[str, ...] = CAMERAS
    """None where only the outcome counts."""
    image_size: int = 128
    """Width and height, pixels."""
    rig: RigConfig | None = None
    """Further cameras, whose views are there to be learned from; their pictures have the same size."""
    rig_every: int = 10
    """With frames="all": the rig looks at every so many frames, besides the start and the keyframes."""

    def __post_init__(self) -> None:
        for name in ("image_size", "rig_every"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"--{name.replace('_', '-')}: {value} is not a number above 0; give one")

    @property
    def size(self) -> tuple[int, int]:
        """Of pictures: (width, height), pixels."""
        return self.image_size, self.image_size

    @property
    def made_with(self) -> dict[str, str]:
        """What the demonstrations of one store have to have in common."""
        thinned = self.rig is not None and self.frames == "all"
        return {
            "cameras": ",".join(self.cameras),
            "pictures": f"{self.image_size}x{self.image_size}",
            "frames": self.frames,
            "rig": rig_text(self.rig) + (f" every {self.rig_every} frames" if thinned else ""),
        }


class Demonstrator(Protocol):
    """A world with an expert in it, in this process."""

    @property
    def rejected_placements(self) -> int:
        """Layouts put aside before the expert tried the last scene."""
        ...

    def demonstrate(self, scene: SeededScene) -> Demonstration | ExpertFailure:
        """Make a scene and let the expert do its task, once. Raises SceneError if the scene cannot be made."""
        ...

    def close(self) -> None:
        """Release everything; safe to call twice."""
        ...


@dataclass(frozen=True)
class World:
    """A kind of world that demonstrations can be made in."""

    make: Callable[[Filming], Demonstrator]
    variation_counts: Callable[[Sequence[str]], Mapping[str, int]]
    """Numbers of variations of some tasks. Raises ConfigError where there is no such task."""
    check: Callable[[Filming], None]
    """Raises GNFactorError for what cannot be filmed in it."""
    made_with: Callable[[], Mapping[str, str]]
    """What the demonstrations of one store have to have in common, besides how they were filmed."""
    usual_rig: str
    """The rig that looks around where none is named, in the form of `parse_rig`."""
    alone: bool
    """It has to be in a process of its own, and not in that which shows how it goes."""


class TabletopDemonstrator:
    """The scripted expert of the built-in world."""

    def __init__(self, filming: Filming) -> None:
        self._filming = filming
        self._env = TabletopEnv(filming.cameras, filming.size)

    @property
    def rejected_placements(self) -> int:
        return self._env.rejected_placements

    def demonstrate(self, scene: SeededScene) -> Demonstration | ExpertFailure:
        """See `TabletopEnv.record`."""
        filming = self._filming
        return self._env.record(scene, filming.frames, rig=filming.rig, rig_every=filming.rig_every)

    def close(self) -> None:
        self._env.close()


def _tabletop_counts(tasks: Sequence[str]) -> Mapping[str, int]:
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise ConfigError(f"--tasks: there is no task {unknown}; known are {', '.join(TASKS)}")
    return {name: TASKS[name].variation_count for name in tasks}


def _make_rlbench(filming: Filming) -> Demonstrator:
    from data.rlbench_demonstrator import RLBenchDemonstrator  # noqa: PLC0415

    return RLBenchDemonstrator(filming)


def _rlbench_counts(tasks: Sequence[str]) -> Mapping[str, int]:
    from data.rlbench_demonstrator import variation_counts  # noqa: PLC0415

    return variation_counts(tasks)


def _check_rlbench(filming: Filming) -> None:
    from data.rlbench_demonstrator import check  # noqa: PLC0415

    check(filming)


def _rlbench_made_with() -> Mapping[str, str]:
    from data.rlbench_demonstrator import MADE_WITH  # noqa: PLC0415

    return MADE_WITH


WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "tabletop": World(
            make=TabletopDemonstrator,
            variation_counts=_tabletop_counts,
            check=lambda filming: TabletopDemonstrator(filming).close(),
            made_with=lambda: {"renderer": "mujoco-ray", WORLD_VERSION_KEY: str(WORLD_VERSION)},
            usual_rig="none",
            alone=False,
        ),
        "rlbench": World(
            make=_make_rlbench,
            variation_counts=_rlbench_counts,
            check=_check_rlbench,
            made_with=_rlbench_made_with,
            usual_rig="arc",
            alone=True,
        ),
    }
)
"""By the name of the environment."""


def world(name: str) -> World:
    """The world of this name.

    Raises:
        ConfigError: there is none; the message lists those that there are.
    """
    if name not in WORLDS:
        raise ConfigError(f"--env: there is no world '{name}'; known are {', '.join(WORLDS)}")
    return WORLDS[name]
