"""`python -m data.holdout RUN`: how far a trained policy is from demonstrations that it never saw.

Beside every error stands that of the simplest baseline: always going to the mean training keyframe. A policy that
does not beat it on every keyframe has learned nothing from the pictures, and the exit status says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from data.dataset import SampleSet, Split, load_split
from data.store import Store
from gnfactor.agent import Agent
from gnfactor.batch import collate
from gnfactor.checkpoint import LoadedPolicy, load_policy
from gnfactor.errors import ConfigError, GNFactorError
from gnfactor.scene import ARM
from gnfactor.training.metrics import ErrorSummary, by_keyframe, keyframe_errors

Position = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Comparison:
    """A policy and the baseline on one keyframe of one task."""

    task: str
    keyframe: int
    """Keyframes that came before it."""
    policy: ErrorSummary
    baseline_m: float | None
    """None where no training episode has so many keyframes: then nothing says how good the policy's error is."""

    @property
    def is_better(self) -> bool:
        """The policy is nearer than the mean training keyframe."""
        return self.baseline_m is not None and self.policy.translation_m < self.baseline_m


def compare(loaded: LoadedPolicy, split: Split) -> list[Comparison]:
    """Policy and baseline on every keyframe of the held-out episodes.

    Raises:
        ConfigError: no episode was held out.
    """
    held_out = split.validation
    if not held_out.items:
        raise ConfigError("the run held no episode out; train it with data.validation_episodes=1 or more")
    agent, policy = Agent(loaded.policy), loaded.config.policy
    errors = [
        error
        for sample in (held_out[index] for index in range(len(held_out)))
        for error in keyframe_errors(
            agent.act([sample.observation], [sample.instruction]),
            collate([sample], policy.cameras, policy.image_size),
        )
    ]
    means = {key: np.mean(positions, 0) for key, positions in keyframe_positions(split.training).items()}
    baseline = {
        key: float(np.mean([np.linalg.norm(position - means[key]) for position in positions]))
        for key, positions in keyframe_positions(held_out).items()
        if key in means
    }
    return [
        Comparison(task, keyframe, summary, baseline.get((task, keyframe)))
        for (task, keyframe), summary in by_keyframe(errors).items()
    ]


def keyframe_positions(samples: SampleSet) -> Mapping[tuple[str, int], Sequence[Position]]:
    """Gripper positions (m) at each keyframe of each task, one for every episode that has it."""
    positions: dict[tuple[str, int], list[Position]] = {}
    for moments in samples.moments:
        for number, frame in enumerate(moments.info.keyframes):
            pose = moments.observations[frame].arms[ARM].world_from_gripper
            positions.setdefault((moments.info.task, number), []).append(pose[:3, 3])
    return positions


def table(comparisons: Sequence[Comparison]) -> Table:
    """The comparison as a person reads it."""
    result = Table(title="Held-out demonstrations", caption="baseline: always the mean training keyframe")
    for name in ("task", "key", "n", "mm", "baseline", "deg", "grip", "coll", ""):
        result.add_column(name, justify="left" if name == "task" else "right")
    for row in comparisons:
        result.add_row(
            row.task,
            str(row.keyframe + 1),
            str(row.policy.count),
            f"{1000 * row.policy.translation_m:.0f}",
            "no baseline" if row.baseline_m is None else f"{1000 * row.baseline_m:.0f}",
            f"{row.policy.rotation_deg:.1f}",
            f"{row.policy.gripper_accuracy:.0%}",
            f"{row.policy.collision_accuracy:.0%}",
            "better" if row.is_better else "FAILED",
        )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: better than the baseline everywhere; 1: not; 2: it could not be told."""
    parser = argparse.ArgumentParser(prog="python -m data.holdout", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder or checkpoint folder")
    parser.add_argument("--select", choices=["last", "validation"], default="last", help="which checkpoint of a run")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        loaded = load_policy(options.run, options.select)
        if loaded.config.data.store is None:
            raise ConfigError(f"{loaded.path}/config.yaml names no data.store")
        data = loaded.config.data
        store, policy = Store.open(loaded.config.data.store, data.cache), loaded.config.policy
        trained_on = loaded.info.trained_on
        split = load_split(store, loaded.config.data, policy.cameras, policy.grid.box, again=trained_on)
        comparisons = compare(loaded, split)
    except GNFactorError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    console.print(table(comparisons))
    failed = [row for row in comparisons if not row.is_better]
    console.print(
        f"step {loaded.info.step}: "
        + (f"FAILED on {len(failed)} of {len(comparisons)} keyframes" if failed else "better on every keyframe")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
