"""Benchmarks: manifests, the digests of scenes, and everything that takes scenes from a manifest."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from data.benchmark import check, demonstration_scene, is_same, main
from data.collect import CollectConfig, jobs_of
from data.dataset import choose_split
from data.store import Store, episode_name
from gnfactor.build import Environment
from gnfactor.config import DataConfig, load
from gnfactor.envs import benchmark
from gnfactor.envs.base import EVALUATION_SEEDS, TRAINING_SEEDS, SeededScene
from gnfactor.envs.benchmark import (
    ROLES,
    Conditions,
    ListedScene,
    Manifest,
    Role,
    known_benchmarks,
    manifest_from_text,
    manifest_to_text,
    read_manifest,
)
from gnfactor.envs.tabletop.description import movable_positions, scene_digest
from gnfactor.envs.tabletop.placement import Place, scene_generator
from gnfactor.envs.tabletop.scene import base_scene
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import WORLD_VERSION, TabletopEnv
from gnfactor.errors import ConfigError, DataError, ObservationError, SceneError
from gnfactor.evaluation.evaluate import evaluate, evaluation_scenes
from gnfactor.evaluation.publish import markdown, print_report
from gnfactor.evaluation.report import NamedScenes
from gnfactor.evaluation.settings import EvaluateConfig, Eyes
from tests.fake_env import TASKS as DISC_TASKS
from tests.fake_env import FakeEnv, PointPolicy
from tests.synthetic import make_demonstration

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "tasks"
QUIET = Console(quiet=True)

rows = st.tuples(
    st.text("abcdefgh_", min_size=1, max_size=8),
    st.integers(0, 59),
    st.integers(0, 2 * 10**9),
    st.text("0123456789abcdef", min_size=12, max_size=12),
    st.lists(st.integers(-9999, 20000), max_size=6),
)
"""Task, variation, seed, digest and settled positions of a scene."""
lists_of_rows = st.tuples(*[st.lists(rows, min_size=1, max_size=3)] * len(ROLES))


def listed(row: tuple[str, int, int, str, list[int]]) -> ListedScene:
    task, variation, seed, digest, settled = row
    return ListedScene(SeededScene(task, variation, seed), digest, tuple(settled))


def manifest_of(lists: tuple[list[Any], ...], max_steps: int = 25) -> Manifest:
    conditions = Conditions("world", "ray", ("front", "wrist"), (128, 96), 25, max_steps, "end", 3)
    scenes: dict[Role, tuple[ListedScene, ...]] = {
        role: tuple(listed(row) for row in of_role) for role, of_role in zip(ROLES, lists, strict=True)
    }
    return Manifest("mine", 2, conditions, scenes)


# Manifests


@given(lists=lists_of_rows)
@settings(max_examples=30, deadline=None)
def test_a_manifest_is_read_back_as_it_was_written_a_line_for_each_scene(lists: tuple[list[Any], ...]) -> None:
    manifest = manifest_of(lists)
    text = manifest_to_text(manifest)
    assert manifest_from_text(text, "here") == manifest
    lines = [json.loads(line.rstrip(",")) for line in text.splitlines() if line.startswith("   [")]
    assert lines == [list(row) for of_role in lists for row in of_role]


@given(lists=lists_of_rows, other=rows, role=st.integers(0, len(ROLES) - 1))
@settings(max_examples=30, deadline=None)
def test_its_digest_stands_for_scenes_and_conditions_but_not_for_where_things_come_to_rest(
    lists: tuple[list[Any], ...], other: Any, role: int
) -> None:
    manifest = manifest_of(lists)
    moved = tuple([(*row[:4], [7]) for row in of_role] for of_role in lists)
    longer = tuple([*of_role, other] if number == role else of_role for number, of_role in enumerate(lists))
    assert manifest_of(moved).digest == manifest.digest
    assert manifest_of(longer).digest != manifest.digest
    assert manifest_of(lists, max_steps=26).digest != manifest.digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"seed": 3', '"seed": 4'), "but its content"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2, 1 is expected"),
        (lambda text: text.replace("training", "trainnig"), "is no manifest"),
        (lambda text: text[:-9], "is no manifest"),
        (lambda text: "[]", "is no manifest"),
    ],
)
def test_a_manifest_that_was_changed_is_refused_with_its_name(change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as refusal:
        manifest_from_text(change(manifest_to_text(discs("touch"))), "lists/mine.json")
    assert "lists/mine.json" in str(refusal.value)


def test_an_unknown_benchmark_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no benchmark 'tabletop4'; known are: .*tabletop3"):
        read_manifest("tabletop4")


# The manifests that are there


@pytest.mark.parametrize("name", known_benchmarks())
def test_a_manifest_says_what_its_configuration_says(name: str) -> None:
    manifest, config = read_manifest(name), load([str(CONFIGS / f"{name}.yaml")])
    assert (manifest.name, manifest.world_version) == (name, WORLD_VERSION)
    assert manifest.tasks == config.data.tasks
    assert config.data.benchmark == name
    for field in dataclasses.fields(Conditions):
        assert getattr(manifest.conditions, field.name) == getattr(config.evaluate, field.name)
    assert (manifest.conditions.cameras, manifest.conditions.image_size) == (("front",), (128, 128))
    assert manifest.conditions.max_steps == 25


@pytest.mark.parametrize("name", known_benchmarks())
def test_every_task_has_as_many_scenes_of_each_role_and_none_is_listed_twice(name: str) -> None:
    manifest = read_manifest(name)
    for task in manifest.tasks:
        assert [len(manifest.of(role, [task])) for role in ROLES] == [20, 5, 25]
    every = [scene for role in ROLES for scene in manifest.of(role)]
    assert len(set(every)) == len(every) == 50 * len(manifest.tasks)
    assert {scene.seed in EVALUATION_SEEDS for scene in manifest.of("evaluation")} == {True}
    assert {scene.seed in TRAINING_SEEDS for role in ROLES[:2] for scene in manifest.of(role)} == {True}


@pytest.mark.parametrize("name", known_benchmarks())
def test_the_evaluation_scenes_are_those_that_anyone_draws_from_the_seed(name: str) -> None:
    manifest = read_manifest(name)
    config = EvaluateConfig(tasks=manifest.tasks, episodes=25, seed=manifest.conditions.seed)
    counts = {task: TASKS[task].variation_count for task in manifest.tasks}
    assert manifest.of("evaluation") == evaluation_scenes(config, counts)


def some_scenes() -> list[ListedScene]:
    """One of each role and task of every manifest."""
    manifests = [read_manifest(name) for name in known_benchmarks()]
    return [
        next(one for one in manifest.scenes[role] if one.scene.task == task)
        for manifest in manifests
        for role in ROLES
        for task in manifest.tasks
    ]


@pytest.mark.parametrize("one", some_scenes(), ids=lambda one: one.scene.name)
def test_a_scene_made_again_has_its_digest_and_comes_to_rest_within_a_millimetre(one: ListedScene) -> None:
    assert is_same(check(one))


# Digests of scenes


def model_of(task: str, layout: Any) -> mujoco.MjModel:
    spec = base_scene()
    TASKS[task].build(layout, spec)
    return spec.compile()


def with_place_moved(layout: Any, field: str, by_m: float) -> Any:
    places: Any = getattr(layout, field)
    if isinstance(places, Place):
        return replace(layout, **{field: replace(places, x_m=places.x_m + by_m)})
    return replace(layout, **{field: (replace(places[0], x_m=places[0].x_m + by_m), *places[1:])})


@pytest.mark.parametrize(
    ("task", "field"),
    [("open_drawer", "place"), ("push_buttons", "places"), ("slide_block_to_color_target", "block")],
)
def test_a_digest_notices_a_fifth_of_a_millimetre_but_not_the_last_bits(task: str, field: str) -> None:
    layout = TASKS[task].sample(1, scene_generator(task, 1, 5))
    digest = scene_digest(model_of(task, layout))
    assert scene_digest(model_of(task, with_place_moved(layout, field, 1e-14))) == digest
    assert scene_digest(model_of(task, with_place_moved(layout, field, 2e-4))) != digest


@pytest.mark.parametrize(
    "change",
    [
        lambda model, geom: model.geom_rgba.__setitem__((geom, 0), 0.123),
        lambda model, geom: model.geom_size.__setitem__((geom, 0), 0.0123),
        lambda model, geom: model.geom_type.__setitem__(geom, int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)),
        lambda model, geom: model.geom_quat.__setitem__(geom, (math.cos(0.1), 0, 0, math.sin(0.1))),
        lambda model, geom: model.body_pos.__setitem__((model.geom_bodyid[geom], 2), 0.9),
        lambda model, geom: model.jnt_range.__setitem__((-1, 0), -0.5),
    ],
    ids=["colour", "size", "shape", "turn", "place", "joint"],
)
def test_a_digest_notices_every_kind_of_change(change: Any) -> None:
    model = model_of("push_buttons", TASKS["push_buttons"].sample(0, scene_generator("push_buttons", 0, 3)))
    before = scene_digest(model)
    change(model, int(model.geom("cap/1").id))
    assert scene_digest(model) != before


def test_a_quaternion_and_its_negative_are_the_same_turn() -> None:
    model = model_of("push_buttons", TASKS["push_buttons"].sample(0, scene_generator("push_buttons", 0, 3)))
    before = scene_digest(model)
    model.body_quat[:] *= -1
    assert scene_digest(model) == before


def test_a_digest_is_of_the_scene_that_a_reset_makes_and_leaves_the_present_one_alone() -> None:
    env = TabletopEnv(cameras=())
    scenes = [SeededScene("open_drawer", 1, 4), SeededScene("slide_block_to_color_target", 1, 4)]
    env.reset(scenes[1])
    positions = env.positions
    assert len(positions) == 3
    assert positions[2] == pytest.approx(7500, abs=2)
    digests = [env.digest(scene) for scene in scenes]
    assert digests == [env.digest(scene) for scene in scenes]
    assert len(set(digests)) == 2
    assert env.positions == positions
    assert movable_positions(env.model, env.data) == positions
    env.reset(scenes[0])
    assert scene_digest(env.model) == digests[0]
    assert len(env.positions) == 9  # three drawers


# The command


ONE_TASK = """\
data: {tasks: [slide_block_to_color_target]}
evaluate: {env: tabletop, cameras: [overhead], image_size: [16, 16], episodes: 2, max_steps: 1}
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of manifests of one's own."""
    folder = tmp_path / "benchmarks"
    monkeypatch.setattr(benchmark, "MANIFESTS", folder)
    return folder


def test_the_command_makes_a_manifest_and_verifies_it(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(ONE_TASK)
    assert main(["make", str(tmp_path / "mine.yaml"), "--training", "1", "--validation", "1"]) == 0
    text = (shelf / "mine.json").read_text()
    manifest = read_manifest("mine")
    assert [len(manifest.scenes[role]) for role in ROLES] == [1, 1, 2]
    assert manifest.digest in capsys.readouterr().err
    assert main(["verify", "mine"]) == 0
    first = manifest.scenes["evaluation"][0]
    for other in (replace(first, digest="0" * 12), replace(first, settled=(first.settled[0] + 11, *first.settled[1:]))):
        scenes = {**manifest.scenes, "evaluation": (other, *manifest.scenes["evaluation"][1:])}
        (shelf / "mine.json").write_text(manifest_to_text(replace(manifest, scenes=scenes)))
        capsys.readouterr()
        assert main(["verify", "mine"]) == 1
        assert f"{first.scene.name}: m" in capsys.readouterr().err  # made of other things, moved by
    (shelf / "yours.json").write_text(text)
    with pytest.raises(DataError, match=r"yours\.json is the manifest of 'mine'; give the file that name"):
        read_manifest("yours")
    (shelf / "mine.json").write_text(text.replace('"world_version": ', '"world_version": 9'))
    assert main(["verify", "mine"]) == 2


def test_scenes_to_learn_from_cover_the_variations_evenly_and_stay_the_same() -> None:
    scenes = [demonstration_scene("open_drawer", 0, "training", index, 0) for index in range(20)]
    assert sorted(scene.variation for scene in scenes).count(0) in (6, 7)
    assert {scene.seed in TRAINING_SEEDS for scene in scenes} == {True}
    others = [demonstration_scene("open_drawer", 0, "validation", index, 0) for index in range(20)]
    again = [demonstration_scene("open_drawer", 0, "training", index, 1) for index in range(20)]
    assert len({*scenes, *others, *again}) == 60
    assert [scene.variation for scene in again] == [scene.variation for scene in scenes]


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("data: {tasks: [open_drawer]}", [], "needs data.tasks, evaluate.cameras"),
        (ONE_TASK.replace("slide_block_to_color_target", "fold_laundry"), [], "fold_laundry"),
        (ONE_TASK.replace("tabletop", "rlbench"), [], "only scenes of 'tabletop' can be listed"),
        (ONE_TASK.replace("overhead", "periscope"), [], "periscope"),
        (ONE_TASK, ["--training", "0"], "--training"),
        (ONE_TASK, ["--workers", "0"], "--workers"),
    ],
)
def test_a_plan_that_leaves_something_open_is_refused(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], said: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["make", str(tmp_path / "mine.yaml"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not shelf.exists()


# What takes its scenes from a manifest


def discs(*tasks: str, digest: str = "abcdef012345") -> Manifest:
    """A benchmark of the world of discs: three scenes of each role and task, which draw no such seeds themselves."""
    seeds: dict[Role, int] = {"training": 5, "validation": 105, "evaluation": 10**9 + 5}
    scenes = {
        role: tuple(
            ListedScene(SeededScene(task, index % 3, first + index), digest, ()) for task in tasks for index in range(3)
        )
        for role, first in seeds.items()
    }
    conditions = Conditions("discs", "ray", ("overhead",), (32, 32), 3, 2, "end", 3)
    return Manifest("discs2", 4, conditions, scenes)


def make_discs(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> FakeEnv:
    return FakeEnv(tuple(cameras), image_size, renderer)


def a_digest(scenes: Sequence[SeededScene]) -> list[str]:
    return ["abcdef012345" for _ in scenes]


DISCS = Environment(make_discs, lambda: DISC_TASKS, ("ray",), "overhead", version=lambda: 4, digests=a_digest)
EYES = Eyes(("overhead",), (32, 32))


def test_an_evaluation_takes_exactly_the_scenes_and_the_protocol_of_its_benchmark() -> None:
    manifest = discs("tap", "touch")
    config = EvaluateConfig(benchmark="discs2", tasks=("touch",), episodes=9, max_steps=7, seed=8, processes=1)
    report = evaluate(PointPolicy(), EYES, config, console=QUIET, world=DISCS, manifest=manifest)
    episodes = [SeededScene(one.task, one.variation, one.seed) for one in report.episodes]
    assert episodes == manifest.of("evaluation")
    assert report.protocol.benchmark == NamedScenes("discs2", manifest.digest)
    assert (report.protocol.max_steps, report.protocol.episodes_per_task, report.protocol.seed) == (2, 3, 3)
    assert (report.protocol.env, report.protocol.world_version) == ("discs", 4)
    console = Console(record=True, width=120, quiet=False)
    print_report(report, console)
    for page in (console.export_text(), markdown(report)):
        for said in ("discs2", manifest.digest, "at most 2 actions", "overhead, 32x32", "in version 4"):
            assert said in page


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (replace(DISCS, digests=lambda scenes: ["0" * 12, *a_digest(scenes)[1:]]), "1 of 3 evaluation scenes are not"),
        (replace(DISCS, version=lambda: 5), "made in version 4 of its world, here is version 5"),
    ],
)
def test_scenes_that_are_made_otherwise_here_are_refused(world: Environment, said: str) -> None:
    config = EvaluateConfig(benchmark="discs2")
    with pytest.raises(SceneError, match=said):
        evaluate(PointPolicy(), EYES, config, console=QUIET, world=world, manifest=discs("touch"))


def test_a_world_that_cannot_tell_its_scenes_has_no_benchmarks() -> None:
    config = EvaluateConfig(benchmark="discs2")
    with pytest.raises(ConfigError, match="cannot tell"):
        evaluate(PointPolicy(), EYES, config, world=replace(DISCS, digests=None), manifest=discs("touch"))


def test_a_policy_with_other_cameras_is_told_whose_they_are() -> None:
    config = EvaluateConfig(benchmark="discs2")
    with pytest.raises(ObservationError, match=r"discs2\.cameras .* evaluate without the benchmark"):
        evaluate(PointPolicy(), Eyes(("front",), (32, 32)), config, world=DISCS, manifest=discs("touch"))


def test_a_training_takes_exactly_the_benchmarks_demonstrations(shelf: Path, tmp_path: Path) -> None:
    manifest = discs("tap", "touch")
    shelf.mkdir()
    (shelf / "discs2.json").write_text(manifest_to_text(manifest))
    store = Store.create(tmp_path / "store")
    wanted = [scene for role in ROLES[:2] for scene in manifest.of(role)]
    for scene in [*wanted[::-1], SeededScene("touch", 0, 999)]:
        demonstration = replace(make_demonstration(scene.task, scene.seed), variation=scene.variation)
        store.write(demonstration, scene.name)
        assert scene.name == episode_name(scene.task, scene.variation, f"seed{scene.seed}")
    config = DataConfig(benchmark="discs2", validation_episodes=2)
    training, validation = choose_split(store, config)
    assert [info.name for info in training] == [scene.name for scene in manifest.of("training")]
    assert [info.name for info in validation] == [scene.name for scene in manifest.of("validation")]
    of_touch, _ = choose_split(store, replace(config, tasks=("touch",)))
    assert [info.name for info in of_touch] == [scene.name for scene in manifest.of("training", ["touch"])]
    more, _ = choose_split(store, replace(config, benchmark=None))
    assert len(more) == 13 - 2 * 2


def test_a_store_without_the_benchmarks_demonstrations_or_from_another_world_is_refused(
    shelf: Path, tmp_path: Path
) -> None:
    shelf.mkdir()
    (shelf / "discs2.json").write_text(manifest_to_text(discs("touch")))
    store = Store.create(tmp_path / "store")
    for number, scene in enumerate(scene for role in ROLES[:2] for scene in discs("touch").of(role)):
        if number == 5:
            with pytest.raises(DataError, match=r"lacks 1 demonstrations .* --benchmark discs2"):
                choose_split(store, DataConfig(benchmark="discs2"))
        demonstration = replace(make_demonstration(scene.task, scene.seed), variation=scene.variation)
        store.write(demonstration, scene.name, {"version of the tabletop world": "3"})
    with pytest.raises(SceneError, match="here is version 3"):
        choose_split(store, DataConfig(benchmark="discs2"))


def test_collecting_a_benchmark_tries_its_demonstrations_once_each_and_no_other_scenes(tmp_path: Path) -> None:
    manifest = read_manifest("tabletop3")
    config = CollectConfig(tmp_path, ("push_buttons", "open_drawer"), 1, 0, benchmark="tabletop3")
    scenes = [job.scenes for job in jobs_of(config)]
    assert {len(tried) for tried in scenes} == {1}
    listed = [scene for role in ROLES[:2] for scene in manifest.of(role, config.tasks)]
    assert [scene for (scene,) in scenes] == listed
    assert len(listed) == 50
    measured = [scene for job in jobs_of(replace(config, report_only=True)) for scene in job.scenes]
    assert measured == manifest.of("evaluation", config.tasks)


def test_the_manifest_is_json_for_everyone() -> None:
    tree = json.loads((benchmark.MANIFESTS / "tabletop3.json").read_text())
    task, variation, seed, digest, settled = tree["scenes"]["training"][0]
    assert (task, tree["digest"]) == ("open_drawer", read_manifest("tabletop3").digest)
    assert {type(variation), type(seed), *map(type, settled)} == {int}
    assert len(digest) == 12
