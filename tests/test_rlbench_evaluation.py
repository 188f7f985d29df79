"""Evaluation in RLBench on its replay: drawn and stored scenes, processes that die, and eval.py from end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

import eval as door
from data.stored_scenes import read_scenes
from gnfactor import build
from gnfactor.build import Environment
from gnfactor.checkpoint import CheckpointInfo, TrainedOn, checkpoint_path, write_checkpoint
from gnfactor.config import load
from gnfactor.errors import ConfigError, DataError
from gnfactor.evaluation.comparison import read_outcomes
from gnfactor.evaluation.evaluate import evaluate
from gnfactor.evaluation.publish import write_report
from gnfactor.evaluation.report import Report
from gnfactor.evaluation.settings import EvaluateConfig, Eyes
from gnfactor.model import Policy
from tests.replay_rlbench.dialects import DIALECTS
from tests.replay_rlbench.expert import Expert
from tests.replay_rlbench.modules import install, make_replay, uninstall
from tests.replay_rlbench.simulator import TASK, Trouble
from tests.test_evaluate import TINY

EYES = Eyes(("front",), (32, 32))
QUIET = Console(quiet=True)
BASE = EvaluateConfig(env="rlbench", tasks=(TASK,), episodes=3, max_steps=4)


@pytest.fixture(autouse=True)
def _cleared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("COPPELIASIM_ROOT", "DISPLAY"):
        monkeypatch.setenv(name, "")
    yield
    uninstall()


def replayed(root: Path, dialect: str, trouble: Trouble | None = None) -> Environment:
    """RLBench as eval.py knows it, on the replay here and in the processes of the simulators."""
    install(dialect, root)
    return replace(build.ENVIRONMENTS["rlbench"], make=partial(make_replay, dialect, root, trouble))


def run(root: Path, dialect: str, config: EvaluateConfig, trouble: Trouble | None = None) -> Report:
    stored = None if config.demos is None else read_scenes(Path(config.demos), [TASK], config.episodes)
    world = replayed(root, dialect, trouble)
    return evaluate(Expert(root), EYES, config, console=QUIET, world=world, stored=stored)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_simulators_serve_one_policy_in_stored_scenes(real_episodes: Path, dialect: str, tmp_path: Path) -> None:
    report = run(real_episodes, dialect, replace(BASE, demos=str(real_episodes), episodes=5))
    assert [(one.ending, one.steps, one.seed) for one in report.episodes] == [("success", 3, None)] * 5
    names = [f"{TASK}/all_variations/episodes/episode{number}" for number in range(5)]
    assert [one.demonstration for one in report.episodes] == names
    assert (report.protocol.scene_seeds, report.protocol.renderer) == (None, "opengl")
    assert "for you to know" in report.protocol.seeds_are_unseen
    write_report(report, tmp_path)
    assert f"scenes: those of the recordings in {real_episodes}" in (tmp_path / "report.md").read_text()
    assert len(read_outcomes(tmp_path).successes) == 5


def test_drawn_scenes_are_reported_as_what_they_are(real_episodes: Path) -> None:
    report = run(real_episodes, "peract_fork", BASE)
    assert report.score.mean == 1
    assert sorted({one.variation for one in report.episodes}) == [0, 1, 2]
    assert all(one.demonstration is None and one.seed is not None for one in report.episodes)
    assert "does not determine a scene" in report.protocol.seeds_are_unseen


def test_a_simulator_that_dies_is_replaced_and_its_episode_repeated_once(real_episodes: Path, tmp_path: Path) -> None:
    report = run(real_episodes, "upstream", BASE, Trouble("death", marker=tmp_path / "died"))
    assert [one.ending for one in report.episodes] == ["success"] * 3
    assert sum(one.repeated for one in report.episodes) == 1


@pytest.mark.parametrize(
    ("trouble", "ending", "reason"),
    [
        (Trouble("arm", "InvalidActionError"), "refused", "planning failed: no luck at the arm"),
        (Trouble("arm", "RuntimeError"), "crashed", "simulator error at action 1: RuntimeError: no luck at the arm"),
        (Trouble("launch", "PyRepError"), "crashed", "CoppeliaSim does not start (PyRepError: no luck at the launch)"),
    ],
    ids=str,
)
def test_one_failing_call_ends_one_episode_and_never_the_run(
    real_episodes: Path, tmp_path: Path, trouble: Trouble, ending: str, reason: str
) -> None:
    once = replace(trouble, marker=tmp_path / "happened")
    report = run(real_episodes, "gnfactor_fork", replace(BASE, processes=1), once)
    first, *others = report.episodes
    assert (first.ending, first.success) == (ending, False)
    assert first.reason is not None
    assert " ".join(first.reason.split()) == reason
    assert [one.ending for one in others] == ["success"] * 2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a tiny policy that has learned nothing, of the front camera."""
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "tiny.yaml").write_text(TINY.replace("overhead", "front").replace("[16, 16]", "[32, 32]"))
    config = load([str(run_dir / "tiny.yaml"), "evaluate.renderer=ray"])
    info = CheckpointInfo(1, (), averaged=False, validation=None, trained_on=TrainedOn((TASK,), "rlbench", (), ()))
    write_checkpoint(checkpoint_path(run_dir, 1), config, info, Policy(config.policy).state_dict(), {})
    return run_dir


def test_eval_runs_rlbench_by_name(
    real_episodes: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(build.ENVIRONMENTS, "rlbench", replayed(real_episodes, "peract_fork"))
    args = ["env=rlbench", f"tasks=[{TASK}]", "episodes=2", f"demos={real_episodes}", "processes=1", "explain=false"]
    assert door.main([str(checkpoint), *args]) == 0
    folder = checkpoint / "evaluations" / "step=00000001-rlbench-rlbench"
    report = json.loads((folder / "report.json").read_text())
    assert report["protocol"]["env"] == "rlbench"
    assert {one["instruction"] for one in report["episodes"]} == {"open the top drawer", "open the middle drawer"}
    assert {one["ending"] for one in report["episodes"]} <= {"refused", "max_steps"}
    assert "look different" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["demos=nowhere"], "nowhere is not a folder"),
        (["demos={root}", "episodes=6"], "has 5 recordings of open_drawer, and 6 are asked for"),
        (["demos={root}", "tasks=[close_jar]"], "has no episode of ['close_jar']"),
        (["demos={root}", "perturb=[lighting]"], "evaluate.demos and evaluate.perturb do not go together"),
        (["demos={root}", "controls=[other_instruction]"], "evaluate.demos and evaluate.controls do not go together"),
        (["demos={root}", "benchmark=tabletop3"], "evaluate.demos and evaluate.benchmark do not go together"),
        (["demos={root}", "env=tabletop", "episodes=1"], "the environment 'tabletop' cannot restore stored scenes"),
        (["videos=true"], "the environment 'rlbench' cannot be filmed"),
        (["controls=[empty_scene]"], "the environment 'rlbench' cannot picture an empty scene"),
        (["perturb=[lighting]"], "nothing does in 'rlbench'"),
        (["renderer=ray"], "known are: opengl, opengl3"),
        (["tasks=[fly]"], "names 'fly'; known are: open_drawer"),
    ],
)
def test_eval_explains_what_does_not_fit_together(
    real_episodes: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    said: str,
) -> None:
    monkeypatch.setitem(build.ENVIRONMENTS, "rlbench", replayed(real_episodes, "peract_fork"))
    args = [arg.format(root=real_episodes) for arg in args]
    assert door.main([str(checkpoint), "env=rlbench", *args]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_without_rlbench_eval_says_what_to_install(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uninstall()
    assert door.main([str(checkpoint), "env=rlbench"]) == 2
    assert "from its repository" in capsys.readouterr().err


def test_stored_scenes_are_told_apart_and_complete(real_episodes: Path) -> None:
    found = read_scenes(real_episodes, [TASK], 5)
    assert [scene.variation for scene in found] == [2, 1, 0, 0, 2]
    assert len({scene.random_state for scene in found}) == 5
    assert all(len(scene.random_state.words) == 624 and scene.placement_attempts is None for scene in found)


def test_a_recording_that_does_not_say_how_its_scene_was_made_is_refused(
    real_episodes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data import stored_scenes

    whole = stored_scenes.load_pickle

    def without_state(path: Path) -> object:
        loaded = whole(path)
        if isinstance(loaded, stored_scenes.RecordedDemo):
            loaded.fields["random_seed"] = None
        return loaded

    monkeypatch.setattr(stored_scenes, "load_pickle", without_state)
    with pytest.raises(DataError, match="does not say in which state"):
        read_scenes(real_episodes, [TASK], 1)


def test_scenes_that_nobody_read_are_not_evaluated(real_episodes: Path) -> None:
    world = replayed(real_episodes, "upstream")
    with pytest.raises(ConfigError, match=r"eval\.py reads such scenes"):
        evaluate(Expert(real_episodes), EYES, replace(BASE, demos="somewhere"), console=QUIET, world=world)
