"""Evaluate a checkpoint: python eval.py CHECKPOINT [key=value...]."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gnfactor.command import run_by_usage
from gnfactor.errors import ConfigError

if TYPE_CHECKING:
    from gnfactor.envs.base import StoredScene
    from gnfactor.evaluation.settings import EvaluateConfig

USAGE = """\
usage: python eval.py CHECKPOINT [key=value...]

Runs a trained policy in scenes that it has never seen, and reports how often it succeeds. CHECKPOINT is a run folder
or one of its checkpoints/step=... folders. Everything else comes from the checkpoint.

  python eval.py runs/demo
  python eval.py runs/demo tasks=[open_drawer] episodes=100 videos=true
  python eval.py runs/demo controls=[empty_scene,other_instruction] run_dir=runs/demo-controls
  python eval.py runs/ten benchmark=tabletop10
  python eval.py runs/demo perturb=[distractors,lighting] run_dir=runs/demo-perturbed
  python eval.py runs/rlbench env=rlbench demos=/data/rlbench/test episodes=25

Keys, with evaluate. before them or without:
  benchmark=NAME        exactly the scenes of a benchmark, under its protocol, which sets most other keys
  env=tabletop          the world: tabletop, or rlbench where CoppeliaSim is installed (docs/rlbench.md)
  demos=FOLDER          with env=rlbench: the scenes in which RLBench's demonstrations in FOLDER were recorded
  tasks=[a,b]           else the tasks that it was trained on
  episodes=25           per task
  max_steps=25          actions after which an episode has failed
  seed=0                another seed, other unseen scenes
  processes=2           environments at work at once; results do not depend on it
  select=last           of a run's checkpoints: last (by step), or validation (least error on held-out episodes)
  on_refusal=end        an action that cannot be carried out fails the episode (end) or counts as one (continue)
  controls=[]           the same scenes again with something withheld: empty_scene, other_instruction
  perturb=[]            the same scenes again with one thing changed: distractors, larger, smaller, new_color,
                        new_position, table, background, lighting, camera_pose, camera_pose_stale, field_of_view,
                        field_of_view_stale, paraphrase
  videos=false          film one success and one failure of each task
  explain=true          draw what the policy makes of the first scene of each task: values of voxels, Grad-CAM
  renderer=null         the one that made the training data: ray or gl (tabletop), opengl or opengl3 (rlbench);
                        else the first of them
  device=auto           of the policy: auto, cpu, cuda
and run_dir=PATH        where the report goes; else evaluations/... in the checkpoint's run

Cameras and image size are those of the training; others are refused.
"""


def main(args: Sequence[str]) -> int:
    """Run the command line; returns the exit status: 0, or 2 for a mistake that the message explains."""

    def command(console: Console) -> int:  # noqa: ARG001 (evaluating has a bar of its own)
        _evaluate(args)
        return 0

    remedy = "make room, or choose another run_dir"
    return run_by_usage(USAGE, args, command, "interrupted; no report was written", remedy)


def _evaluate(args: Sequence[str]) -> None:
    paths = [arg for arg in args if not _is_override(arg)]
    if len(paths) != 1:
        raise ConfigError(f"one checkpoint is expected, found {paths or 'none'}; see python eval.py --help")
    overrides, run_dir = _overrides([arg for arg in args if _is_override(arg)])

    from gnfactor.checkpoint import read_config, read_info, select_checkpoint  # noqa: PLC0415 (a typo waits for none)
    from gnfactor.config import override  # noqa: PLC0415
    from gnfactor.evaluation.examine import examine, with_trained_tasks  # noqa: PLC0415

    checkpoint = select_checkpoint(Path(paths[0]))
    trained_on = read_info(checkpoint).trained_on
    trained = read_config(checkpoint)
    if not any(text.startswith("evaluate.renderer=") for text in overrides):
        overrides += _usual_renderer(trained.evaluate, override(trained, overrides).evaluate)
    evaluation = with_trained_tasks(override(trained, overrides), trained_on)
    _refuse_another_protocol(evaluation, overrides)
    if trained_on is not None:
        _warn_of_other_pictures(evaluation, trained_on.renderer)
    examine(Path(paths[0]), evaluation, run_dir, stored=_stored_scenes(evaluation))


def _usual_renderer(trained: EvaluateConfig, evaluation: EvaluateConfig) -> list[str]:
    """Another world than that of the checkpoint draws as it usually does, since it does not know the other's ways."""
    return [] if evaluation.env == trained.env else ["evaluate.renderer=null"]


def _warn_of_other_pictures(evaluation: EvaluateConfig, learned_from: str) -> None:
    """Say it if the policy will see pictures that look unlike those that it was trained on."""
    from gnfactor.build import environment  # noqa: PLC0415

    world = environment(evaluation.env)
    pictures = world.pictures(world.renderer(evaluation.renderer))
    if pictures != learned_from:
        print(
            f"warning: the policy learned from pictures by '{learned_from}' and will now see pictures by "
            f"'{pictures}', which look different; expect fewer successes",
            file=sys.stderr,
        )


def _stored_scenes(evaluation: EvaluateConfig) -> list[StoredScene] | None:
    """The scenes of the recordings that are named for the evaluation, if any are."""
    if evaluation.demos is None:
        return None
    from data.stored_scenes import read_scenes  # noqa: PLC0415

    if not evaluation.tasks:
        raise ConfigError("evaluate.tasks is not set; name the tasks whose recordings evaluate.demos has: tasks=[...]")
    return read_scenes(Path(evaluation.demos), evaluation.tasks, evaluation.episodes)


def _refuse_another_protocol(evaluation: EvaluateConfig, overrides: Sequence[str]) -> None:
    """Raise ConfigError if the command line sets what a benchmark fixes."""
    from gnfactor.evaluation.settings import FIXED_BY_BENCHMARKS  # noqa: PLC0415

    keys = [text.partition("=")[0].removeprefix("evaluate.") for text in overrides]
    fixed = [key for key in keys if key in FIXED_BY_BENCHMARKS]
    if evaluation.benchmark is not None and fixed:
        raise ConfigError(
            f"'{fixed[0]}' is fixed by the benchmark '{evaluation.benchmark}'; leave it out, or evaluate without a "
            "benchmark: benchmark=null"
        )


def _is_override(arg: str) -> bool:
    """Whether an argument is key=value; a checkpoint's own folder has a '=' in its name too."""
    return arg.partition("=")[0].replace(".", "_").isidentifier() and "=" in arg and not Path(arg).is_dir()


def _overrides(args: Sequence[str]) -> tuple[list[str], Path | None]:
    """Overrides with their whole keys, and the folder for the report.

    Raises:
        ConfigError: a key that an evaluation does not have.
    """
    from gnfactor.evaluation.settings import EvaluateConfig  # noqa: PLC0415

    known = [field.name for field in fields(EvaluateConfig)]
    overrides: list[str] = []
    run_dir: Path | None = None
    for arg in args:
        key, _, value = arg.partition("=")
        name = key.removeprefix("evaluate.")
        if key == "run_dir":
            if not value:
                raise ConfigError("run_dir is empty; name the folder for the report: run_dir=PATH")
            run_dir = Path(value)
            run_dir.mkdir(parents=True, exist_ok=True)  # a place that cannot be written to is found out at once
        elif name in known:
            overrides.append(f"evaluate.{name}={value}")
        elif key.startswith(("policy.", "data.", "train.", "optim.", "augment.")):
            raise ConfigError(
                f"'{key}' was fixed when the policy was trained and cannot be changed for an evaluation; "
                f"what can: {', '.join(known)}"
            )
        else:
            close = difflib.get_close_matches(name, [*known, "run_dir"], n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are: {', '.join([*known, 'run_dir'])}"
            raise ConfigError(f"an evaluation has no key '{key}'; {hint}")
    return overrides, run_dir


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
