"""Perturbed scenes: each changes what it names and nothing else, the same every time; what a report says of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

import data.perturbations as sheet
from gnfactor.build import Environment, environment
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import PERTURBATION_TITLES, Env, Scene, SeededScene, Start
from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.colors import COLORS, UNSEEN_COLORS
from gnfactor.envs.tabletop.perturbations import (
    DISTRACTOR_PREFIX,
    PERTURBATIONS,
    UNPERTURBED,
    Drawn,
    Elsewhere,
    Resized,
    perturbation_generator,
    perturbations_of,
)
from gnfactor.envs.tabletop.placement import Place, Region, scene_generator
from gnfactor.envs.tabletop.scene import base_scene
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import ConfigError, SceneError
from gnfactor.evaluation.controls import CONTROLS
from gnfactor.evaluation.evaluate import evaluate
from gnfactor.evaluation.publish import markdown, print_report, write_report
from gnfactor.evaluation.report import Report, Subject
from gnfactor.evaluation.settings import EvaluateConfig, Eyes
from gnfactor.scene import ARM, TABLE_HEIGHT_M, Observation, View
from tests.fake_env import TASKS as DISC_TASKS
from tests.fake_env import FakeEnv, PointPolicy, with_views, world_points

SLIDE = "slide_block_to_color_target"
PLAIN = SeededScene(SLIDE, 2, 61)
"""A scene that every perturbation suits."""
EYES = ("front", "overhead", "wrist")
seeds = st.integers(0, 10**9 - 1)


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv(EYES, (32, 32))


@pytest.fixture(scope="module")
def blind() -> TabletopEnv:
    """A world without cameras."""
    return TabletopEnv(cameras=())


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """All that can be told of a scene at its start."""

    layout: Any
    state: np.ndarray
    start: Start

    def array(self, name: str) -> np.ndarray:
        views = self.start.observation.views.values()
        return np.stack([_part(view, name) for view in views])


def _part(view: View, name: str) -> np.ndarray:
    if name == "cameras":
        return np.concatenate([view.camera.world_from_camera, np.pad(view.camera.intrinsics, ((0, 0), (0, 1)))])
    return np.asarray(getattr(view, name))


def look(env: TabletopEnv, scene: SeededScene) -> Seen:
    start = env.reset(scene)
    return Seen(env.layout, np.concatenate([env.data.qpos, env.data.qvel]), start)


@pytest.fixture(scope="module")
def plain(env: TabletopEnv) -> Seen:
    return look(env, PLAIN)


@pytest.fixture(scope="module")
def perturbed(env: TabletopEnv) -> dict[str, Seen]:
    """The scene under each perturbation."""
    return {name: look(env, replace(PLAIN, perturbation=name)) for name in PERTURBATIONS}


# Names


def test_every_perturbation_has_one_name_everywhere() -> None:
    assert set(PERTURBATIONS) == set(PERTURBATION_TITLES)
    assert not set(PERTURBATIONS) & set(CONTROLS)
    assert perturbations_of(TASKS[SLIDE]) == tuple(PERTURBATIONS)
    assert environment("tabletop").perturbations() == {name: perturbations_of(task) for name, task in TASKS.items()}


@pytest.mark.parametrize("name", ["larger", "fog"])
def test_a_perturbation_that_does_not_suit_is_refused_with_those_that_do(blind: TabletopEnv, name: str) -> None:
    with pytest.raises(SceneError, match=f"open_drawer cannot be perturbed by '{name}'; it can by distractors, new_c"):
        blind.reset(SeededScene("open_drawer", 0, 0, name))


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_declares_for_perturbations_is_there(blind: TabletopEnv, name: str) -> None:
    task = TASKS[name]
    blind.reset(SeededScene(name, 0, 0))
    for body in task.resizable:
        assert blind.model.jnt_type[blind.model.body(body).jntadr[0]] == mujoco.mjtJoint.mjJNT_FREE
    assert all(blind.model.body(body).geomnum[0] > 0 for body in task.recolorable)
    assert isinstance(getattr(task, "region", None), Region | None)


# What changes


@pytest.mark.parametrize("name", TASKS)
def test_an_unperturbed_scene_is_what_its_task_builds(env: TabletopEnv, name: str) -> None:
    """Layout, model, cameras and words, bit for bit."""
    task, scene = TASKS[name], SeededScene(name, 1, 5)
    start = env.reset(scene)
    rng = scene_generator(name, 1, 5)
    layouts = [task.sample(1, rng) for _ in range(env.rejected_placements + 1)]
    assert layouts[-1] == env.layout
    spec = base_scene()
    task.build(env.layout, spec)
    expected = spec.compile()
    for field in ("geom_pos", "geom_size", "geom_rgba", "geom_group", "body_pos", "body_mass", "light_dir"):
        assert np.array_equal(getattr(env.model, field), getattr(expected, field))
    assert start.instructions == task.instructions(1)
    arm = start.observation.arms[ARM]
    for camera_name, camera in tabletop_cameras(arm.world_from_gripper, (32, 32), EYES).items():
        seen = start.observation.views[camera_name].camera
        assert np.array_equal(seen.world_from_camera, camera.world_from_camera)
        assert np.array_equal(seen.intrinsics, camera.intrinsics)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbed_scene_is_the_same_every_time(env: TabletopEnv, perturbed: dict[str, Seen], name: str) -> None:
    first, again = perturbed[name], look(env, replace(PLAIN, perturbation=name))
    assert first.layout == again.layout
    assert first.start.instructions == again.start.instructions
    for part in ("rgb", "depth_m", "segmentation", "cameras"):
        assert np.array_equal(first.array(part), again.array(part))
    assert np.array_equal(first.state, again.state)


def test_every_scene_and_every_perturbation_draws_its_own() -> None:
    scenes = [replace(PLAIN, perturbation=name, seed=seed) for name in ("table", "lighting") for seed in (61, 62)]
    drawn = [perturbation_generator(scene, of).random() for scene in scenes for of in ("", "front", "wrist")]
    assert len(set(drawn)) == len(drawn)


CHANGES = {
    "distractors": {"rgb", "depth_m", "segmentation"},
    "larger": {"rgb", "depth_m", "segmentation"},
    "smaller": {"rgb", "depth_m", "segmentation"},
    "new_color": {"rgb"},
    "new_position": {"layout", "state", "rgb", "depth_m", "segmentation"},
    "table": {"rgb"},
    "background": {"rgb"},
    "lighting": {"rgb"},
    "camera_pose": {"rgb", "depth_m", "segmentation", "cameras"},
    "camera_pose_stale": {"rgb", "depth_m", "segmentation"},
    "field_of_view": {"rgb", "depth_m", "segmentation", "cameras"},
    "field_of_view_stale": {"rgb", "depth_m", "segmentation"},
    "paraphrase": {"words"},
}
SOLID = ("distractors", "larger", "smaller")
"""Perturbations that the physics feels; with others the state is the same bit for bit."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_perturbation_changes_what_it_names_and_nothing_else(
    plain: Seen, perturbed: dict[str, Seen], name: str
) -> None:
    seen = perturbed[name]
    positions = seen.state[: len(plain.state) // 2], plain.state[: len(plain.state) // 2]
    same_state = np.allclose(*positions, atol=1e-4) if name in SOLID else np.array_equal(seen.state, plain.state)
    changed = {
        "layout": seen.layout != plain.layout,
        "state": not same_state,
        "words": seen.start.instructions != plain.start.instructions,
        "rgb": not np.array_equal(seen.array("rgb"), plain.array("rgb")),
        "depth_m": not np.allclose(seen.array("depth_m"), plain.array("depth_m"), atol=1e-5),
        "segmentation": not np.array_equal(seen.array("segmentation"), plain.array("segmentation")),
        "cameras": not np.array_equal(seen.array("cameras"), plain.array("cameras")),
    }
    assert {part for part, differs in changed.items() if differs} == CHANGES[name]
    assert set(CHANGES) == set(PERTURBATIONS)


@pytest.mark.parametrize("name", ["camera_pose", "field_of_view"])
@pytest.mark.parametrize("camera", ["overhead", "wrist"])
def test_points_seen_lie_on_the_table_if_and_only_if_the_calibration_is_known(
    env: TabletopEnv, name: str, camera: str
) -> None:
    for known, perturbation in ((True, name), (False, f"{name}_stale")):
        view = env.reset(replace(PLAIN, perturbation=perturbation)).observation.views[camera]
        assert view.segmentation is not None
        heights = world_points(view)[view.segmentation == env.model.body("table").id][:, 2]
        assert len(heights) > 100
        if known:
            assert heights == pytest.approx(TABLE_HEIGHT_M, abs=1e-4)
        else:
            assert np.abs(heights - TABLE_HEIGHT_M).max() > 0.004


def test_a_camera_keeps_its_displacement_while_it_moves_with_the_hand(env: TabletopEnv) -> None:
    scene = replace(PLAIN, perturbation="camera_pose")
    demonstration = env.record(scene)
    assert isinstance(demonstration, Demonstration)
    mounts = [
        np.linalg.inv(one.arms[ARM].world_from_gripper) @ one.views["wrist"].camera.world_from_camera
        for one in demonstration.observations
    ]
    assert len(mounts) == 3
    assert mounts[1:] == [pytest.approx(mounts[0], abs=1e-9)] * 2


def test_the_wrist_camera_is_never_moved_into_the_hand() -> None:
    env = TabletopEnv(("wrist",), (8, 8))
    for seed in range(8):
        view = env.reset(replace(PLAIN, seed=seed, perturbation="camera_pose")).observation.views["wrist"]
        assert view.segmentation is not None
        assert np.mean(view.segmentation == env.model.body("panda").id) < 0.4


PLACES: dict[str, Callable[[Any], tuple[Place, ...]]] = {
    "open_drawer": lambda chest: (chest.place,),
    "push_buttons": lambda buttons: buttons.places,
    SLIDE: lambda layout: (layout.place,),
}


@given(seed=seeds, name=st.sampled_from(sorted(PLACES)))
@settings(max_examples=40, deadline=None)
def test_another_position_lies_outside_the_training_region_and_close_by(seed: int, name: str) -> None:
    task = TASKS[name]
    rng = perturbation_generator(SeededScene(name, 1, seed, "new_position"))
    layout = task.sample(1, rng)
    moved = Elsewhere(width_m=0.08).arranged(task, layout, rng)
    for place in PLACES[name](moved.sample(1, rng)):
        outside = [
            max(lower - value, value - upper, 0.0)
            for value, (lower, upper) in zip((place.x_m, place.y_m), (task.region.x_m, task.region.y_m), strict=True)
        ]
        assert 0 < max(outside) <= 0.08
    assert moved is not task
    assert moved.region != task.region


@pytest.mark.parametrize("name", TASKS)
def test_in_another_position_everything_looks_as_it_did(blind: TabletopEnv, name: str) -> None:
    for seed in range(5):
        scene = SeededScene(name, seed % TASKS[name].variation_count, seed)
        plain, moved = (
            blind._set(TASKS[name], scene, PERTURBATIONS[kind] if kind else UNPERTURBED).layout
            for kind in (None, "new_position")
        )
        for field in dataclasses.fields(plain):
            one, other = getattr(plain, field.name), getattr(moved, field.name)
            if "Place" not in repr(one):
                assert one == other, (seed, field.name)
        assert plain != moved


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", TASKS)
def test_distractors_stand_still_clear_of_everything_and_have_no_colour_that_is_named(
    blind: TabletopEnv, name: str, seed: int
) -> None:
    start = blind.reset(SeededScene(name, seed % TASKS[name].variation_count, seed, "distractors"))
    model, data = blind.model, blind.data
    mine = [body for body in range(model.nbody) if model.body(body).name.startswith(DISTRACTOR_PREFIX)]
    assert len(mine) == 3
    heights = data.xpos[mine, 2] - TABLE_HEIGHT_M
    assert np.abs(heights).max() < 1e-3
    geoms = np.flatnonzero(np.isin(model.geom_bodyid, mine))
    others = [
        geom
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] not in mine and model.body_rootid[model.geom_bodyid[geom]] > model.body("panda").id
    ]
    assert others
    gaps = [mujoco.mj_geomDistance(model, data, int(a), b, 1.0, None) for a in geoms for b in others]
    assert min(gaps) > 0.025
    named = [COLORS[word] for word in start.instructions[0].replace(",", "").split() if word in COLORS]
    for color in model.geom_rgba[geoms, :3]:
        assert all(math.dist(color, one) > 0.1 for one in named)


def test_unseen_colours_are_far_from_those_of_the_tasks() -> None:
    assert min(math.dist(new, known) for new in UNSEEN_COLORS.values() for known in COLORS.values()) > 0.3


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.recolorable])
def test_another_colour_is_one_that_no_training_scene_has(blind: TabletopEnv, name: str) -> None:
    blind.reset(SeededScene(name, 0, 3, "new_color"))
    (body, *_) = TASKS[name].recolorable
    painted = blind.model.geom_rgba[blind.model.geom_bodyid == blind.model.body(body).id, :3]
    assert len(np.unique(painted, axis=0)) == 1
    assert min(math.dist(painted[0], rgb) for rgb in UNSEEN_COLORS.values()) < 1e-6


class Brick(Task[Place]):
    """A free body whose frame is in its middle, with a smaller box of given mass on top."""

    name = "lift_brick"
    variation_count = 1
    resizable = ("brick",)

    def instructions(self, variation: int) -> tuple[str, ...]:
        return ("lift the brick",)

    def sample(self, variation: int, rng: np.random.Generator) -> Place:
        return Place(0.3, 0.0, 0.5)

    def build(self, layout: Place, spec: mujoco.MjSpec) -> None:
        brick = stand(spec, "brick", layout)
        brick.pos = brick.pos + np.array((0.0, 0.0, 0.02))
        brick.add_freejoint()
        add_box(brick, (0.0, 0.0, 0.0), (0.06, 0.04, 0.04), (1.0, 0.0, 0.0))
        add_box(brick, (0.0, 0.01, 0.03), (0.02, 0.02, 0.02), (1.0, 0.0, 0.0)).mass = 0.1

    def goal(self, layout: Place, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        return Momentary(lambda: False)

    def waypoints(self, layout: Place, data: mujoco.MjData) -> Iterator[Waypoint]:
        return iter(())


@pytest.mark.parametrize("factor", [1.25, 0.8])
def test_a_resized_body_stands_where_it_stood_and_is_of_the_same_material(factor: float) -> None:
    """A box of 1000 kg/m3 and one of 0.1 kg, by hand: volume and mass grow with the cube, the ground stays below."""
    task = Brick()
    layout, spec = task.sample(0, np.random.default_rng()), base_scene()
    task.build(layout, spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    Arm(model).place_at_rest(model, data)
    Resized(factor).alter(task, Drawn("", model, data, ()), spec, np.random.default_rng())
    resized = spec.compile()
    big, small = (np.flatnonzero(resized.geom_bodyid == resized.body("brick").id)).tolist()
    assert 2 * resized.geom_size[big] == pytest.approx(factor * np.array((0.06, 0.04, 0.04)))
    assert resized.geom_pos[small] == pytest.approx(factor * np.array((0.0, 0.01, 0.03)))
    assert resized.body("brick").pos == pytest.approx((0.3, 0.0, TABLE_HEIGHT_M + factor * 0.02))
    assert resized.body("brick").mass[0] == pytest.approx(factor**3 * (0.06 * 0.04 * 0.04 * 1000 + 0.1))


def test_a_paraphrase_is_another_sentence_for_the_same(blind: TabletopEnv) -> None:
    told: set[str] = set()
    for seed in range(8):
        start = blind.reset(SeededScene("open_drawer", 1, seed, "paraphrase"))
        default, *_ = known = TASKS["open_drawer"].instructions(1)
        assert start.instructions[0] != default
        assert sorted(start.instructions) == sorted(known)
        told.add(start.instructions[0])
    assert len(told) == 2


@pytest.mark.parametrize(
    "scene",
    [
        SeededScene(SLIDE, 1, 71, "larger"),
        SeededScene(SLIDE, 3, 72, "smaller"),
        SeededScene(SLIDE, 0, 73, "new_position"),
        SeededScene("push_buttons", 1, 74, "distractors"),
        SeededScene("open_drawer", 2, 75, "new_position"),
        SeededScene("stack_blocks", 2, 75, "larger"),
        SeededScene("stack_blocks", 0, 77, "new_position"),
        SeededScene("put_item_in_drawer", 0, 78, "larger"),
        SeededScene("meat_off_grill", 1, 79, "smaller"),
        SeededScene("sweep_to_dustpan_of_size", 1, 80, "smaller"),
        SeededScene("reach_and_drag", 4, 81, "new_position"),
    ],
    ids=lambda scene: f"{scene.task} {scene.perturbation}",
)
def test_the_expert_still_succeeds(blind: TabletopEnv, scene: SeededScene) -> None:
    assert isinstance(blind.record(scene), Demonstration)


def test_an_empty_picture_of_a_perturbed_scene_is_taken_by_the_same_cameras(env: TabletopEnv) -> None:
    observation = env.reset(replace(PLAIN, perturbation="camera_pose_stale")).observation
    for name, view in env.empty_views(observation).items():
        seen = observation.views[name]
        assert view.camera is seen.camera
        assert seen.segmentation is not None
        arm = seen.segmentation == env.model.body("panda").id
        assert np.array_equal(view.rgb[arm], seen.rgb[arm])


# Evaluations


class Dimmed(FakeEnv):
    """A world of discs that knows two perturbations: pictures in the dark, and one that it cannot carry out."""

    def reset(self, scene: Scene) -> Start:
        assert isinstance(scene, SeededScene)
        if scene.perturbation == "table":
            raise SceneError("the carpenter is ill")
        start = super().reset(scene)
        return replace(start, observation=darkened(start.observation)) if scene.perturbation else start


def darkened(observation: Observation) -> Observation:
    return with_views(observation, lambda view: replace(view, rgb=view.rgb // 2))


def make_dimmed(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> Env:
    return Dimmed(tuple(cameras), image_size, renderer)


def count_discs() -> dict[str, int]:
    return DISC_TASKS


def perturb_discs() -> dict[str, tuple[str, ...]]:
    return {"touch": ("lighting", "table"), "tap": ("lighting",)}


DISCS = Environment(make_dimmed, count_discs, ("ray",), "overhead", perturbations=perturb_discs)


def run(config: EvaluateConfig) -> Report:
    return evaluate(PointPolicy(), Eyes(("overhead",), (32, 32)), config, console=Console(quiet=True), world=DISCS)


@pytest.fixture(scope="module")
def report() -> Report:
    perturb = ("lighting", "table")
    return run(EvaluateConfig(tasks=("touch",), episodes=2, max_steps=1, processes=1, perturb=perturb))


def test_an_evaluation_runs_the_same_scenes_perturbed(report: Report) -> None:
    assert (report.score.mean, report.perturbations["lighting"].mean) == (1, 0)
    for episodes in report.perturbation_episodes.values():
        scenes = [(episode.task, episode.variation, episode.seed) for episode in episodes]
        assert scenes == [(episode.task, episode.variation, episode.seed) for episode in report.episodes]
    assert report.perturbations["lighting"].endings["max_steps"] == 2
    assert report.perturbations["table"].endings["crashed"] == 2
    assert report.controls == {}


def test_a_report_shows_success_under_each_perturbation_beside_the_unperturbed(report: Report, tmp_path: Path) -> None:
    page = markdown(report)
    assert "| changed | touch | mean | 95% interval | mean without |" in page
    assert "| none | 100.0% | 100.0% | 34.2% to 100.0% | 100.0% |" in page
    assert "| lighting: other lights | 0.0% | 0.0% | 0.0% to 65.8% | 100.0% |" in page
    assert "| VOID, episodes crashed: table: another table top | 0.0% |" in page
    assert "| perturbation: lighting | 0 | 2 | 0 | 0 |" in page
    assert "2 x touch, perturbation 'table': the carpenter is ill" in page
    assert "## Controls" not in page
    console = Console(record=True, width=120, quiet=False)
    print_report(report, console)
    assert "perturbation: lighting" in console.export_text()
    write_report(report, tmp_path)
    assert '"perturbations": {\n    "lighting": {' in (tmp_path / "report.json").read_text()
    assert "## Perturbations" not in markdown(replace(report, perturbations={}, perturbation_episodes={}))


@pytest.mark.parametrize(
    ("encoder", "wordings", "said", "unsaid"),
    [
        ("hashing", "first", "Paraphrases measure nothing here", "the training used too"),
        ("clip", "any", "the training used too", "measure nothing"),
        ("clip", "first", "in other words", "araphrases "),
    ],
)
def test_a_report_says_when_paraphrases_measure_nothing(
    report: Report, encoder: str, wordings: str, said: str, unsaid: str
) -> None:
    subject = Subject("runs/demo", 7, "the last by step", "0123", text_encoder=encoder, wordings=wordings)
    page = markdown(replace(report, subject=subject, perturbations={"paraphrase": report.score}))
    assert said in page
    assert unsaid not in page


def test_a_perturbation_is_measured_in_the_tasks_that_it_suits() -> None:
    found = run(EvaluateConfig(tasks=("touch", "tap"), episodes=2, max_steps=1, processes=1, perturb=("table",)))
    assert {episode.task for episode in found.episodes} == {"touch", "tap"}
    assert [episode.task for episode in found.perturbation_episodes["table"]] == ["touch", "touch"]
    tap = next(task.rate for task in found.score.tasks if task.task == "tap")
    page = markdown(found)
    assert f"| none | 100.0% | {tap:.1%} | {(1 + tap) / 2:.1%} |" in page
    assert "table: another table top | 0.0% |  | 0.0% | 0.0% to 65.8% | 100.0% |" in page
    assert "A task without a figure cannot be changed so" in page


def test_a_perturbation_that_suits_no_task_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="'table', which suits none of tap; these suit some: lighting"):
        run(EvaluateConfig(tasks=("tap",), perturb=("lighting", "table")))
    with pytest.raises(ConfigError, match="nothing does in 'tabletop'"):
        evaluate(
            PointPolicy(),
            Eyes(("overhead",), (32, 32)),
            EvaluateConfig(tasks=("touch",), perturb=("lighting",)),
            world=replace(DISCS, perturbations=dict),
        )
    with pytest.raises(ConfigError, match=r"evaluate\.perturb names 'fog'; known are: distractors, larger"):
        EvaluateConfig(perturb=("fog",))


# Pictures


def test_the_sheet_shows_every_perturbation_that_suits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "_SIZE", 48)
    out = tmp_path / "deep" / "sheet.png"
    assert sheet.main([str(out), "--task", "push_buttons", "--seed", "3"]) == 0
    with Image.open(out) as picture:
        assert picture.width > 6 * 48
        assert picture.height > 4 * 48
    assert "sheet.png written" in capsys.readouterr().out
    assert sheet.main([str(tmp_path / "sheet.jpg")]) == 2
    assert "has to end in .png" in capsys.readouterr().err
