"""RLBench's environment on recorded episodes that answer as RLBench does, in each of its dialects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.build import ENVIRONMENTS
from gnfactor.envs.base import Env, LiveScene, SeededScene, StoredScene
from gnfactor.envs.check import check_env
from gnfactor.envs.rlbench.convert import action_from
from gnfactor.errors import ConfigError, SceneError, SimulatorError
from gnfactor.geometry import pose_from, rotation_from_quaternion
from gnfactor.rollout import rollout
from gnfactor.scene import ARM, ArmState
from tests.replay_rlbench.dialects import DIALECTS, NO_PATH, OUTSIDE
from tests.replay_rlbench.expert import Expert, target
from tests.replay_rlbench.modules import install, make, scenes, uninstall
from tests.replay_rlbench.recorded import CAMERAS, pictures, read_episodes
from tests.replay_rlbench.simulator import TASK, Trouble, World

DRAWN = SeededScene(TASK, 1, 10**9)


@pytest.fixture(autouse=True)
def _cleared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("COPPELIASIM_ROOT", "DISPLAY"):
        monkeypatch.setenv(name, "")
    yield
    uninstall()


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


def arm(env: Env) -> ArmState:
    return env.reset(DRAWN).observation.arms[ARM]


def moved(state: ArmState, by_m: tuple[float, float, float], *, ignore_collisions: bool = False) -> Action:
    pose = state.world_from_gripper.copy()
    pose[:3, 3] += by_m
    return Action({ARM: ArmTarget(pose, gripper_open=True, ignore_collisions=ignore_collisions)})


def test_the_dialect_is_told_by_signatures(real_episodes: Path, dialect: str) -> None:
    install(dialect, real_episodes)
    from gnfactor.envs.rlbench import api

    found = api.dialect()
    expected = {
        "upstream": ("upstream", 8, False, True),
        "peract_fork": ("peract", 9, True, False),
        "gnfactor_fork": ("gnfactor", 9, True, False),
    }[dialect]
    told = (found.action_length, found.flag_in_action, found.replays_placements)
    assert (found.name, *told) == expected


def test_it_keeps_the_promises_of_the_contract(real_episodes: Path, dialect: str) -> None:
    install(dialect, real_episodes)
    verdicts = check_env(lambda: make(CAMERAS, (128, 128)), DRAWN)
    assert [str(verdict) for verdict in verdicts if verdict.passed is False] == []
    unpromised = [verdict.name for verdict in verdicts if verdict.passed is None]
    assert unpromised == ["scenes repeat", "scenes repeat in another process"]


@given(
    st.lists(st.floats(-1, 1), min_size=7, max_size=7).filter(lambda numbers: np.linalg.norm(numbers[3:]) > 0.1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_an_action_says_where_to_go_in_rlbenchs_terms(
    numbers: list[float], opened: bool, ignore: bool, flagged: bool
) -> None:
    place, quaternion = (torch.tensor(part, dtype=torch.float64) for part in (numbers[:3], numbers[3:]))
    pose = pose_from(rotation_from_quaternion(quaternion), place)
    vector = action_from(ArmTarget(pose.numpy(), opened, ignore), with_collision_flag=flagged)
    assert len(vector) == (9 if flagged else 8)
    assert np.linalg.norm(vector[3:7]) == pytest.approx(1, abs=1e-9)
    again = pose_from(rotation_from_quaternion(torch.from_numpy(vector[3:7])), torch.from_numpy(vector[:3]))
    torch.testing.assert_close(again, pose)
    assert vector[7:].tolist() == [float(opened), float(ignore)][: 2 if flagged else 1]


def test_actions_are_handed_over_in_the_dialects_format(real_episodes: Path, dialect: str) -> None:
    world = install(dialect, real_episodes)
    env = make()
    recorded = read_episodes(real_episodes)[1].frames[30]
    env.reset(DRAWN)
    for ignore in (True, False):
        step = env.step(Action({ARM: target(recorded, ignore_collisions=ignore)}))
        assert step.refused is None
        given_over = world.actions[-1]
        assert given_over.shape == ((8,) if dialect == "upstream" else (9,))
        np.testing.assert_allclose(given_over[:3], np.array(recorded["gripper_pose"])[:3], atol=1e-12)
        same = np.abs(
            given_over[3:7] @ np.array(recorded["gripper_pose"])[3:]
        )  # a quaternion and its opposite turn alike
        assert same == pytest.approx(1, abs=1e-6)
        assert given_over[7] == 1
        assert world.planned[-1]["ignore_collisions"] == ignore


def test_stored_scenes_are_restored_and_described_by_the_reset_that_made_them(
    real_episodes: Path, dialect: str
) -> None:
    world = install(dialect, real_episodes)
    env = make()
    for scene, recorded in zip(scenes(real_episodes), read_episodes(real_episodes), strict=True):
        draws = world.draws
        start = env.reset(scene)
        assert world.draws == draws + 1
        assert start.instructions == tuple(recorded.descriptions)
        rgb, _ = pictures(recorded, 0, "front", (32, 32))
        np.testing.assert_array_equal(start.observation.views["front"].rgb, rgb)
        step = env.step(moved(start.observation.arms[ARM], (0.0, 0.0, 0.0)))
        np.testing.assert_array_equal(step.observation.views["front"].rgb, rgb)


def test_upstream_places_as_often_as_the_recorder_did(real_episodes: Path, dialect: str) -> None:
    world = install(dialect, real_episodes)
    env = make()
    scene = scenes(real_episodes)[0]
    env.reset(StoredScene(scene.task, scene.variation, scene.demonstration, scene.random_state, 4))
    env.reset(scene)
    assert world.placements == ([4, None] if dialect == "upstream" else [None, None])


def test_the_same_seed_draws_the_same_places(real_episodes: Path) -> None:
    install("peract_fork", real_episodes)
    env = make()
    first, second = (env.reset(SeededScene(TASK, 2, 5)).observation.views["front"].rgb for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_planning_ignored_is_collidable_again(real_episodes: Path, dialect: str) -> None:
    world = install(dialect, real_episodes)
    env = make()
    state = arm(env)
    for by_m in ((0.0, 0.0, 0.02), (0.9, 0.0, 0.2)):  # carried out, and refused
        env.step(moved(state, by_m))
        assert False in world.pyrep.shapes[0].switched
        assert [shape.is_collidable() for shape in world.pyrep.shapes] == [True, True, False]


@pytest.mark.parametrize(
    ("trouble", "by_m", "reason"),
    [
        (Trouble(), (0.0, 0.0, 5.0), f"outside the workspace: {OUTSIDE}"),
        (Trouble(), (0.6, 0.6, 0.2), f"planning failed: {NO_PATH}"),
        (Trouble("arm", "InvalidActionError"), (0.0, 0.0, 0.01), "planning failed: no luck at the arm"),
        (Trouble("arm", "ConfigurationPathError"), (0.0, 0.0, 0.01), "planning failed: no luck at the arm"),
        (Trouble("arm", "ConfigurationError"), (0.0, 0.0, 0.01), "planning failed: no luck at the arm"),
        (Trouble("arm", "IKError"), (0.0, 0.0, 0.01), "unreachable: no luck at the arm"),
    ],
    ids=str,
)
def test_what_cannot_be_carried_out_is_refused_with_its_reason(
    real_episodes: Path, trouble: Trouble, by_m: tuple[float, float, float], reason: str
) -> None:
    install("gnfactor_fork", real_episodes, trouble)
    env = make()
    state = arm(env)
    step = env.step(moved(state, by_m))
    assert (step.refused, step.success, step.observation.step) == (reason, False, 1)
    np.testing.assert_allclose(step.observation.arms[ARM].world_from_gripper, state.world_from_gripper, atol=1e-12)


@pytest.mark.parametrize("error", ["RuntimeError", "PyRepError"])
def test_a_failure_of_the_simulator_ends_the_episode_with_its_reason(real_episodes: Path, error: str) -> None:
    install("peract_fork", real_episodes, Trouble("arm", error))
    episode = rollout(make(), Expert(real_episodes), DRAWN, 5)
    assert (episode.ending, episode.steps) == ("crashed", 1)
    assert episode.reason == f"simulator error at action 1: {error}: no luck at the arm"


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        (Trouble("reset", "TaskEnvironmentError"), SceneError, "cannot make the scene of 'open_drawer', variation 1"),
        (Trouble("reset", "WaypointError"), SceneError, "no luck at the reset"),
        (
            Trouble("reset", "RuntimeError"),
            SimulatorError,
            "while it made the scene of 'open_drawer', variation 1: R",
        ),
        (Trouble("launch", "PyRepError"), SimulatorError, "CoppeliaSim does not start"),
    ],
    ids=str,
)
def test_a_scene_that_cannot_be_made_says_why(
    real_episodes: Path, trouble: Trouble, kind: type[Exception], said: str
) -> None:
    install("upstream", real_episodes, trouble)
    env = make()
    with pytest.raises(kind, match=said):
        env.reset(DRAWN)
    with pytest.raises(SceneError, match="reset"):
        env.step(Action({}))
    env.close()


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (SeededScene(TASK, 3, 1), "only 3 variations"),
        (SeededScene("fly", 0, 1), "no task 'fly'"),
        (SeededScene(TASK, 0, 1, "lighting"), "cannot change 'lighting'"),
        (LiveScene("open the drawer"), "LiveScene"),
    ],
)
def test_scenes_that_it_does_not_have_are_refused(
    real_episodes: Path, scene: SeededScene | LiveScene, said: str
) -> None:
    install("peract_fork", real_episodes)
    with pytest.raises(SceneError, match=said):
        make().reset(scene)


def test_the_recorded_keyframes_succeed_in_the_recorded_scene(real_episodes: Path, dialect: str) -> None:
    world = install(dialect, real_episodes)
    env = make()
    for scene in scenes(real_episodes):
        episode = rollout(env, Expert(real_episodes), scene, 25)
        assert (episode.ending, episode.steps, episode.success) == ("success", 3, True)
    assert {len(action) for action in world.actions} == ({8} if dialect == "upstream" else {9})


def test_success_after_rlbench_gave_the_episode_up_is_none(real_episodes: Path) -> None:
    world = install("peract_fork", real_episodes)
    env, expert = make(), Expert(real_episodes)
    start = env.reset(scenes(real_episodes)[0])
    world.gave_up = True
    observation, successes = start.observation, []
    for _ in range(3):
        step = env.step(expert.act([observation], start.instructions[:1])[0])
        observation = step.observation
        successes.append(step.success)
    assert successes == [False, False, False]


def test_time_is_that_of_the_simulation(real_episodes: Path) -> None:
    install("peract_fork", real_episodes)
    env = make()
    state = arm(env)
    times = [env.step(moved(state, (0.0, 0.0, z))).observation.time_s for z in (0.01, 0.02, 5.0)]
    assert times == pytest.approx([0.15, 0.3, 0.3])
    assert env.reset(DRAWN).observation.time_s == 0


@pytest.mark.parametrize(("cameras", "renderer"), [(("front", "side"), "opengl"), (("front",), "ray")])
def test_what_rlbench_has_not_is_refused(real_episodes: Path, cameras: tuple[str, ...], renderer: str) -> None:
    install("upstream", real_episodes)
    with pytest.raises(ConfigError, match=r"side|ray"):
        ENVIRONMENTS["rlbench"].make(cameras, (32, 32), renderer)


def test_tasks_and_variations_are_listed_without_a_simulator(real_episodes: Path) -> None:
    install("peract_fork", real_episodes)
    counts = ENVIRONMENTS["rlbench"].variation_counts()
    assert list(counts) == [TASK]
    assert counts[TASK] == 3
    with pytest.raises(KeyError):
        counts["fly"]


def test_the_world_is_unused_until_the_first_scene(real_episodes: Path) -> None:
    world: World = install("upstream", real_episodes, Trouble("launch", "PyRepError"))
    make().close()
    assert world.draws == 0
