"""What is chosen by name and lies in several rooms: environments. Each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gnfactor.envs.base import Capabilities, Env, SeededScene
from gnfactor.errors import ConfigError, MissingExtraError

_DRAWS_SCENES = Capabilities(seeded=True, restores_stored_scenes=False, knows_success=True)


@dataclass(frozen=True)
class Environment:
    """A kind of world."""

    make: Callable[[Sequence[str], tuple[int, int], str], Env]
    """Of camera names, their image size (width, height) and the renderer's name; picklable."""
    variation_counts: Callable[[], Mapping[str, int]]
    """Number of variations of each of its tasks."""
    renderers: tuple[str, ...]
    film_camera: str | None
    """From where people see best what happens; None where it cannot be filmed."""
    version: Callable[[], int] | None = None
    """Raised whenever its scenes, their pictures or how they behave change; None where nobody counts."""
    digests: Callable[[Sequence[SeededScene]], list[str]] | None = None
    """What scenes consist of before anything moves, a digest each; None where the world cannot tell."""
    perturbations: Callable[[], Mapping[str, tuple[str, ...]]] = dict
    """By task: names of what can be changed about its scenes, see `gnfactor.envs.base.PERTURBATION_TITLES`."""
    pictures: Callable[[str], str] = str
    """By a renderer's name: what stored demonstrations say that made their pictures."""
    pictures_empty_scenes: bool = True
    """Whether it can show what its cameras would see without the task's objects."""
    capabilities: Capabilities = _DRAWS_SCENES
    """What its Envs declare."""

    def renderer(self, asked: str | None) -> str:
        """The renderer that was asked for, or the usual one where none was."""
        return self.renderers[0] if asked is None else asked


@contextmanager
def _needing(extra: str) -> Generator[None]:
    """What is imported here comes with an extra of the package."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or extra, f"pip install 'gnfactor[{extra}]'") from error


def _make_tabletop(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> Env:
    with _needing("sim"):
        from gnfactor.envs.tabletop.world import TabletopEnv  # noqa: PLC0415
    return TabletopEnv(tuple(cameras), image_size, renderer)


def _tabletop_variations() -> Mapping[str, int]:
    with _needing("sim"):
        from gnfactor.envs.tabletop.tasks import TASKS  # noqa: PLC0415
    return {name: task.variation_count for name, task in TASKS.items()}


def _tabletop_version() -> int:
    with _needing("sim"):
        from gnfactor.envs.tabletop.world import WORLD_VERSION  # noqa: PLC0415
    return WORLD_VERSION


def _tabletop_digests(scenes: Sequence[SeededScene]) -> list[str]:
    with _needing("sim"):
        from gnfactor.envs.tabletop.world import TabletopEnv  # noqa: PLC0415
    env = TabletopEnv(cameras=())
    return [env.digest(scene) for scene in scenes]


def _tabletop_perturbations() -> Mapping[str, tuple[str, ...]]:
    with _needing("sim"):
        from gnfactor.envs.tabletop.perturbations import perturbations_of  # noqa: PLC0415
        from gnfactor.envs.tabletop.tasks import TASKS  # noqa: PLC0415
    return {name: perturbations_of(task) for name, task in TASKS.items()}


def _tabletop_pictures(renderer: str) -> str:
    return f"mujoco-{renderer}"


def _make_rlbench(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> Env:
    from gnfactor.envs.rlbench.installation import require_rlbench  # noqa: PLC0415

    require_rlbench()
    from gnfactor.envs.rlbench.env import RLBenchEnv  # noqa: PLC0415

    return RLBenchEnv(tuple(cameras), image_size, renderer)


def _rlbench_variations() -> Mapping[str, int]:
    from gnfactor.envs.rlbench.installation import require_rlbench  # noqa: PLC0415
    from gnfactor.envs.rlbench.tasks import VariationCounts  # noqa: PLC0415

    require_rlbench()
    return VariationCounts()


def _rlbench_pictures(renderer: str) -> str:  # noqa: ARG001 (recordings do not say which)
    return "rlbench"


ENVIRONMENTS: dict[str, Environment] = {
    "tabletop": Environment(
        _make_tabletop,
        _tabletop_variations,
        renderers=("ray", "gl"),
        film_camera="spectator",
        version=_tabletop_version,
        digests=_tabletop_digests,
        perturbations=_tabletop_perturbations,
        pictures=_tabletop_pictures,
    ),
    "rlbench": Environment(
        _make_rlbench,
        _rlbench_variations,
        renderers=("opengl", "opengl3"),
        film_camera=None,
        pictures=_rlbench_pictures,
        pictures_empty_scenes=False,
        capabilities=Capabilities(seeded=False, restores_stored_scenes=True, knows_success=True),
    ),
}


def environment(name: str) -> Environment:
    """The environment of this name.

    Raises:
        ConfigError: there is none; the message lists those that there are.
    """
    if name not in ENVIRONMENTS:
        raise ConfigError(f"evaluate.env is '{name}'; known environments are: {', '.join(sorted(ENVIRONMENTS))}")
    return ENVIRONMENTS[name]
