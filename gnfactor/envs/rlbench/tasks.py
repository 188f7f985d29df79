"""RLBench's tasks by name; no simulator is needed to tell what there is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from gnfactor.envs.rlbench import protocols
from gnfactor.envs.rlbench.installation import require_rlbench
from gnfactor.errors import SceneError


def task_class(name: str) -> type[protocols.Task]:
    """The task of this name, such as open_drawer.

    Raises:
        SceneError: the installed RLBench has none.
    """
    from rlbench.utils import (  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        InvalidTaskName,
        name_to_task_class,
    )

    random.seed(0)  # push_buttons of GNFactor's fork shuffles what its variations mean whenever it is loaded
    try:
        found: type[protocols.Task] = name_to_task_class(name)
    except InvalidTaskName as error:
        raise SceneError(
            f"the installed RLBench has no task '{name}' ({error}); two of the published ten are in the forks of "
            "PerAct and GNFactor alone"
        ) from error
    return found


def variation_count(name: str) -> int:
    """How many variations a task has.

    Raises:
        MissingExtraError: RLBench or PyRep is not installed.
        SimulatorError: what they need is missing.
        SceneError: the installed RLBench has no such task.
    """
    require_rlbench()
    return task_class(name)(None, None).variation_count()


def task_names() -> list[str]:
    """Names of all tasks of the installed RLBench, sorted.

    Raises:
        MissingExtraError: RLBench or PyRep is not installed.
        SimulatorError: what they need is missing.
    """
    require_rlbench()
    spec = find_spec("rlbench")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    files = [file for folder in folders for file in Path(folder, "tasks").glob("*.py")]
    return sorted(file.stem for file in files if file.stem != "__init__")


class VariationCounts(Mapping[str, int]):
    """Number of variations by task; a task is loaded when it is asked for, since there are a hundred."""

    def __getitem__(self, name: str) -> int:
        if name not in self:
            raise KeyError(name)
        return variation_count(name)

    def __contains__(self, name: object) -> bool:
        return name in task_names()

    def __iter__(self) -> Iterator[str]:
        return iter(task_names())

    def __len__(self) -> int:
        return len(task_names())
