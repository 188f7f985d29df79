"""Evaluations: which scenes, what is refused, and the same numbers every time; eval.py from end to end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import eval as door
from gnfactor import config as settings_of
from gnfactor.actions import Action
from gnfactor.build import Environment, environment
from gnfactor.checkpoint import CheckpointInfo, TrainedOn, checkpoint_path, write_checkpoint
from gnfactor.envs.base import EVALUATION_SEEDS, TRAINING_SEEDS, Env, SeededScene
from gnfactor.errors import ConfigError, MissingExtraError, ObservationError
from gnfactor.evaluation.evaluate import evaluate, evaluation_scenes
from gnfactor.evaluation.report import Report
from gnfactor.evaluation.settings import EvaluateConfig, Eyes
from gnfactor.model import Policy
from gnfactor.scene import Observation
from tests.fake_env import TASKS, FakeEnv, PointPolicy, go_to

EYES = Eyes(("overhead",), (32, 32))
QUIET = Console(quiet=True)


def make_discs(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> Env:
    return FakeEnv(tuple(cameras), image_size, renderer, crash_on=crash_sometimes)


def crash_sometimes(scene: SeededScene) -> bool:
    return scene.task == "tap" and scene.seed % 2 == 0


def count_discs() -> dict[str, int]:
    return TASKS


DISCS = Environment(make_discs, count_discs, renderers=("ray",), film_camera="overhead")


def run(config: EvaluateConfig, folder: Path | None = None) -> Report:
    return evaluate(PointPolicy(), EYES, config, folder=folder, console=QUIET, world=DISCS)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 60))
def test_scenes_are_unseen_repeatable_and_cover_all_variations(seed: int, count: int, episodes: int) -> None:
    config = EvaluateConfig(tasks=("a", "b"), episodes=episodes, seed=seed)
    scenes = evaluation_scenes(config, {"a": count, "b": 3})
    assert scenes == evaluation_scenes(config, {"a": count, "b": 3})
    assert all(scene.seed in EVALUATION_SEEDS and scene.seed not in TRAINING_SEEDS for scene in scenes)
    assert len({scene.seed for scene in scenes}) == 2 * episodes
    drawn = Counter(scene.variation for scene in scenes if scene.task == "a")
    assert set(drawn) <= set(range(count))
    assert max(drawn.values()) - min(drawn.get(variation, 0) for variation in range(count)) <= 1


def test_more_episodes_continue_the_same_list_and_tasks_do_not_disturb_each_other() -> None:
    few = evaluation_scenes(EvaluateConfig(tasks=("a",), episodes=7), {"a": 5})
    many = evaluation_scenes(EvaluateConfig(tasks=("b", "a"), episodes=20), {"a": 5, "b": 2})
    assert [scene for scene in many if scene.task == "a"][:7] == few


def test_the_scenes_of_seed_0_are_those_of_every_machine() -> None:
    first, second = evaluation_scenes(EvaluateConfig(tasks=("open_drawer",), episodes=2), {"open_drawer": 3})
    assert first == SeededScene("open_drawer", 2, 1765114304)
    assert second == SeededScene("open_drawer", 1, 1022684225)


def test_an_evaluation_counts_successes_crashes_and_controls_and_films_one_of_each(tmp_path: Path) -> None:
    config = EvaluateConfig(
        tasks=("touch", "tap"),
        episodes=4,
        max_steps=2,
        controls=("empty_scene", "other_instruction"),
        videos=True,
    )
    report = run(config, tmp_path)
    touch, tap = report.score.tasks
    assert (touch.task, touch.successes, touch.episodes) == ("touch", 4, 4)
    crashed = sum(episode.seed % 2 == 0 for episode in report.episodes if episode.task == "tap")
    assert tap.successes == 4 - crashed
    assert 0 < crashed < 4
    assert {episode.ending for episode in report.episodes if not episode.success} == {"crashed"}
    assert report.void_controls == ("empty_scene", "other_instruction")
    assert {control.endings["crashed"] for control in report.controls.values()} == {crashed}
    assert [(video.task, video.success) for video in report.videos] == [("touch", True), ("tap", True)]
    assert all((tmp_path / video.path).is_file() for video in report.videos)
    assert report.protocol.cameras == ("overhead",)


def test_a_policy_that_looks_and_listens_fails_in_controls_of_which_no_episode_crashes() -> None:
    report = run(
        EvaluateConfig(tasks=("touch",), episodes=4, max_steps=2, controls=("empty_scene", "other_instruction"))
    )
    assert report.score.mean == 1
    assert report.void_controls == ()
    for name, control in report.controls.items():
        assert control.mean == 0
        assert {episode.ending for episode in report.control_episodes[name]} == {"max_steps"}
    main, other = report.episodes, report.control_episodes["other_instruction"]
    assert all(one.instruction != two.instruction for one, two in zip(main, other, strict=True))


class Wavering(PointPolicy):
    """Does well in the first episodes and badly ever after, or the other way round."""

    def __init__(self, well: int, *, first: bool) -> None:
        super().__init__()
        self._left, self._first = well, first

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        self._left -= len(observations)
        if (self._left >= 0) == self._first:
            return super().act(observations, instructions)
        return [go_to(np.array([0.2, 0.0, 1.0])) for _ in observations]


@pytest.mark.parametrize("first", [True, False], ids=["worse", "better"])
def test_a_video_is_called_after_what_was_filmed(tmp_path: Path, first: bool) -> None:
    config = EvaluateConfig(tasks=("touch",), episodes=1, max_steps=1, videos=True)
    report = evaluate(Wavering(1, first=first), EYES, config, folder=tmp_path, console=QUIET, world=DISCS)
    assert report.score.mean == first
    path = f"videos/touch_{'failure' if first else 'success'}.webm"
    assert [(video.success, video.path) for video in report.videos] == [(not first, path)]
    assert [file.name for file in (tmp_path / "videos").iterdir()] == [Path(path).name]


def test_a_video_that_cannot_be_made_is_missed_aloud(tmp_path: Path) -> None:
    (tmp_path / "videos").write_text("not a folder")
    console = Console(record=True, quiet=False, width=300)
    config = EvaluateConfig(tasks=("touch",), episodes=1, max_steps=1, videos=True)
    report = evaluate(PointPolicy(), EYES, config, folder=tmp_path, console=console, world=DISCS)
    assert (report.videos, report.score.mean) == ((), 1)
    (line,) = [line for line in console.export_text().splitlines() if "no video" in line]
    assert "no video touch_seed" in line
    assert "cannot write the video" in line


def test_results_do_not_depend_on_the_number_of_processes() -> None:
    config = EvaluateConfig(tasks=("touch",), episodes=4, max_steps=2)
    one, three = (run(replace(config, processes=count)) for count in (1, 3))
    assert asdict(one)["episodes"] == asdict(three)["episodes"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"tasks": None}, ConfigError, "touch, tap"),
        ({"tasks": ("touhc",)}, ConfigError, "touch, tap"),
        ({"renderer": "gl"}, ConfigError, "known are: ray"),
        ({"cameras": ("front",)}, ObservationError, "trained with"),
        ({"image_size": (64, 64)}, ObservationError, "trained on"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_anything_runs(
    change: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(replace(EvaluateConfig(tasks=("touch",)), **change))


def test_the_trained_cameras_may_be_named() -> None:
    config = EvaluateConfig(tasks=("touch",), episodes=1, cameras=("overhead",), image_size=(32, 32))
    assert run(config).score.mean == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"episodes": 0}, "evaluate.episodes"),
        ({"seed": -1}, "evaluate.seed"),
        ({"controls": ("blindfold",)}, "empty_scene, other_instruction"),
        ({"tasks": ()}, "evaluate.tasks"),
        ({"tasks": ("a", "a")}, "evaluate.tasks"),
    ],
)
def test_nonsense_in_the_configuration_is_refused_with_its_key(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EvaluateConfig(**change)  # type: ignore[arg-type]


def test_an_unknown_environment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="tabletop"):
        environment("coppelia")


def test_a_missing_simulator_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gnfactor.envs.tabletop.tasks", None)
    with pytest.raises(MissingExtraError, match=r"gnfactor\[sim\]"):
        environment("tabletop").variation_counts()


TINY = """\
policy:
  cameras: [overhead]
  image_size: [16, 16]
  grid: {size: 8}
  encoder: {widths: [4, 8], channels: 8, norm: group}
  language: {encoder: hashing, width: 8, tokens: 16}
  head:
    network:
      width: 8
      patch: 2
      perceiver: {latents: 4, latent_width: 8, depth: 1, latent_heads: 2, latent_head_width: 4, cross_head_width: 4}
      hidden: [8]
      rotation_bins: 8
data: {tasks: [push_buttons]}
evaluate: {episodes: 2, max_steps: 2}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one checkpoint of a tiny policy that has learned nothing."""
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "tiny.yaml").write_text(TINY)
    config = settings_of.load([str(run_dir / "tiny.yaml")])
    policy = Policy(config.policy)
    info = CheckpointInfo(step=7, instructions=(), averaged=False, validation=None)
    write_checkpoint(checkpoint_path(run_dir, 7), config, info, policy.state_dict(), {})
    (run_dir / "metrics.csv").write_text("step,loss/total\n1,2.0\n7,1.0\n")
    return run_dir


def test_eval_builds_everything_from_the_checkpoint_and_leaves_a_report(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mujoco", exc_type=ImportError)
    assert door.main([str(trained), "controls=[empty_scene,other_instruction]"]) == 0
    folder = trained / "evaluations" / "step=00000007-tabletop-seed0"
    assert {"report.json", "report.md", "training.png"} <= {path.name for path in folder.iterdir()}
    report = json.loads((folder / "report.json").read_text())
    assert report["subject"]["step"] == 7
    assert report["subject"]["selected_by"] == "the last by step"
    assert [task["task"] for task in report["score"]["tasks"]] == ["push_buttons"]
    assert len(report["episodes"]) == 2
    for episodes in report["control_episodes"].values():
        assert [episode["ending"] for episode in episodes if episode["ending"] == "crashed"] == []
    assert (set(report["control_episodes"]), report["void_controls"]) == ({"empty_scene", "other_instruction"}, [])
    assert "push_buttons" in capsys.readouterr().out


def test_eval_takes_a_checkpoint_folder_bare_keys_and_another_folder(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("mujoco", exc_type=ImportError)
    args = ["tasks=[open_drawer]", "evaluate.episodes=1", "max_steps=1", f"run_dir={tmp_path}", "processes=1"]
    assert door.main([str(checkpoint_path(trained, 7)), *args]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["subject"]["selected_by"] == "named by its folder"
    assert [episode["task"] for episode in report["episodes"]] == ["open_drawer"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["episdoes=3"], "did you mean 'episodes'"),
        (["policy.cameras=[front]"], "was fixed when the policy was trained"),
        (["cameras=[front]"], "trained with"),
        (["image_size=[64,64]"], "trained on"),
        (["select=validation"], "validated"),
        (["select=best"], "last, validation"),
        (["tasks=[fly]"], "open_drawer"),
        (["env=rlbnech"], "tabletop"),
        (["benchmark=tabletop99"], "no benchmark 'tabletop99'; known are: "),
        (["benchmark=tabletop3"], "tabletop3.cameras is ['front'], but the policy was trained with ['overhead']"),
        (["benchmark=tabletop3", "episodes=3"], "'episodes' is fixed by the benchmark 'tabletop3'"),
        (["max_steps=3", "evaluate.benchmark=tabletop3"], "'max_steps' is fixed by the benchmark 'tabletop3'"),
        (["extra"], "one checkpoint is expected"),
    ],
)
def test_eval_explains_a_mistake_in_one_line_and_exits_with_2(
    trained: Path, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([str(trained), *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def checkpoint_of(trained: Path, path: Path, trained_on: TrainedOn) -> str:
    """A checkpoint whose configuration names no tasks, and says itself what it was trained on."""
    config = settings_of.override(settings_of.load([str(trained / "tiny.yaml")]), ["data.tasks=null"])
    info = CheckpointInfo(1, (), averaged=False, validation=None, trained_on=trained_on)
    write_checkpoint(path, config, info, Policy(config.policy).state_dict(), {})
    return str(path)


def test_eval_takes_the_tasks_that_the_checkpoint_was_trained_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_of(trained, tmp_path / "step=1", TrainedOn(("lift",), "mujoco-ray", (), ()))
    assert door.main([path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "names 'lift'; known are: close_jar" in line


@pytest.mark.parametrize(("learned_from", "renderer"), [("rlbench", "ray"), ("mujoco-ray", "gl"), ("mujoco-gl", "ray")])
def test_eval_warns_of_pictures_unlike_those_of_the_training(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], learned_from: str, renderer: str
) -> None:
    path = checkpoint_of(trained, tmp_path / "step=1", TrainedOn(("lift",), learned_from, (), ()))
    assert door.main([path, f"renderer={renderer}"]) == 2  # for its task, after the warning
    warning, _ = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the policy learned from pictures by '{learned_from}'")
    assert f"'mujoco-{renderer}'" in warning


def test_eval_runs_a_benchmark_by_name(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco", exc_type=ImportError)
    from gnfactor.envs import benchmark

    listed = benchmark.read_manifest("tabletop3")
    conditions = replace(listed.conditions, cameras=("overhead",), image_size=(16, 16), episodes=1, max_steps=1)
    of_one_task = {
        role: tuple(one for one in listed.scenes[role] if one.scene.task == "open_drawer")[:1]
        for role in benchmark.ROLES
    }
    small = replace(listed, name="small", conditions=conditions, scenes=of_one_task)
    (tmp_path / "small.json").write_text(benchmark.manifest_to_text(small))
    monkeypatch.setattr(benchmark, "MANIFESTS", tmp_path)
    learned = (*(scene.name for scene in small.of("training")), "open_drawer/variation0/seed7")
    path = checkpoint_of(trained, tmp_path / "step=1", TrainedOn(("open_drawer",), "mujoco-ray", learned, ()))
    assert door.main([path, "benchmark=small", "processes=1", "explain=false"]) == 0
    report = json.loads((tmp_path / "evaluations" / "step=1-small" / "report.json").read_text())
    assert report["protocol"]["benchmark"] == {"name": "small", "digest": small.digest}
    (episode,) = report["episodes"]
    (scene,) = small.of("evaluation")
    assert (episode["task"], episode["variation"], episode["seed"]) == (scene.task, scene.variation, scene.seed)
    expected = "2 demonstrations, 1 of them among the 1 training demonstrations of small"
    assert report["subject"]["demonstrations"] == expected
    said = capsys.readouterr().out
    for part in ("benchmark small", small.digest, "open_drawer", "95% interval", "mean"):
        assert part in said


def test_eval_without_a_checkpoint_there_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_eval_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main(["--help"]) == 0
    assert "episodes=25" in capsys.readouterr().out
    assert door.main([]) == 2
