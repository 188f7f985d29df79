"""reach_and_drag: which square is meant, how the stick gets the cube there, and what counts as there."""

from __future__ import annotations

import dataclasses
import itertools
import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.colors import COLORS
from gnfactor.envs.tabletop.placement import Place
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.tasks.base import holding
from gnfactor.envs.tabletop.tasks.reach_and_drag import CUBE, STICK, TARGET_M, Layout
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.scene import ARM, TABLE_HEIGHT_M
from tests.test_tasks import act, act_as_in, compiled, sample, seeds

TASK = TASKS["reach_and_drag"]
NAMES = list(COLORS)
EXPECTED_PLACES = [
    (0.3151, -0.3243, 0.0014),
    (0.4161, 0.1617, 0.3212),
    (0.1516, -0.1273, 0.6956),
    (0.1689, 0.3049, 0.5204),
    (0.0285, -0.0084, 0.3388),
    (0.0754, 0.1372, 0.5274),
]


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    """A world without cameras: these tests look at the state only."""
    return TabletopEnv(cameras=())


def cube_stands_at(layout: Layout, square: Place, aside_m: float = 0.0, lifted_m: float = 0.0) -> bool:
    """Whether the goal holds with the cube moved there: off the square's middle along its x, above the table."""
    model, data = compiled("reach_and_drag", layout)
    shift = aside_m * np.array((math.cos(square.yaw), math.sin(square.yaw)))
    position = (square.x_m + shift[0], square.y_m + shift[1], TABLE_HEIGHT_M + lifted_m)
    data.joint(int(model.body(CUBE).jntadr[0])).qpos[:3] = position
    mujoco.mj_forward(model, data)
    return TASK.goal(layout, model, data).reached()


# What is asked for, and where it lies


def test_every_sentence_names_its_colour_alone() -> None:
    assert TASK.variation_count == 20
    for variation, color in enumerate(NAMES):
        for sentence in TASK.instructions(variation):
            assert [word for word in sentence.split() if word in COLORS] == [color]


@given(seed=seeds, variation=st.integers(0, 19))
@settings(max_examples=10, deadline=None)
def test_the_other_squares_have_the_fifth_sixth_and_seventh_next_colours(seed: int, variation: int) -> None:
    layout: Layout = sample("reach_and_drag", variation, seed)
    wanted = [NAMES[variation], *(NAMES[(variation + step) % 20] for step in (5, 6, 7))]
    assert list(layout.colors) == wanted
    assert len(layout.squares) == 4


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_squares_do_not_overlap_and_the_cube_is_on_none(seed: int) -> None:
    layout: Layout = sample("reach_and_drag", 0, seed)
    spots = [(square.x_m, square.y_m) for square in layout.squares]
    assert min(math.dist(a, b) for a, b in itertools.combinations(spots, 2)) > TARGET_M * math.sqrt(2)
    assert min(math.dist((layout.cube.x_m, layout.cube.y_m), spot) for spot in spots) >= 0.1
    assert max(x for x, _ in spots) < layout.cube.x_m


def test_things_lie_over_at_least_30_by_40_centimetres() -> None:
    layouts = [sample("reach_and_drag", seed % 20, seed) for seed in range(30)]
    places = [place for layout in layouts for place in (layout.stick, layout.cube, *layout.squares)]
    assert np.ptp([place.x_m for place in places]) > 0.3
    assert np.ptp([place.y_m for place in places]) > 0.4
    assert np.ptp([layout.squares[0].x_m for layout in layouts]) > 0.15
    assert np.ptp([layout.squares[0].y_m for layout in layouts]) > 0.3


def test_a_scene_is_the_same_on_every_machine() -> None:
    """Numbers to 0.1 mm, as sampled when this test was written."""
    layout: Layout = sample("reach_and_drag", 1, 1234)
    places = [layout.stick, layout.cube, *layout.squares]
    assert [tuple(round(value, 4) for value in dataclasses.astuple(place)) for place in places] == EXPECTED_PLACES


# How it is done


@given(seed=seeds)
@settings(max_examples=8, deadline=None)
def test_the_stick_ends_square_behind_the_middle_of_the_cube_on_its_target(seed: int) -> None:
    layout: Layout = sample("reach_and_drag", 3, seed)
    model, data = compiled("reach_and_drag", layout)
    mujoco.mj_kinematics(model, data)
    poses = [waypoint.target.world_from_gripper for waypoint in TASK.waypoints(layout, data)]
    on_stick = np.linalg.solve(poses[1], np.array((*data.body(STICK).xpos, 1.0)))
    cube, target = data.geom(CUBE).xpos[:2], np.array((layout.squares[0].x_m, layout.squares[0].y_m))
    ahead = (target - cube) / np.linalg.norm(target - cube)
    for pose, centre, behind_m in ((poses[4], cube, 0.08), (poses[5], target, 0.04)):
        middle = (pose @ on_stick)[:2]
        along = -pose[:2, 0]
        # A right angle, and never with the hand on the cube's other side.
        assert along[0] * ahead[1] - along[1] * ahead[0] == pytest.approx(1)
        # 85 mm along the stick from its middle.
        assert middle + 0.085 * along + behind_m * ahead == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize(("variation", "seed"), [(0, 61), (19, 63)])
def test_the_expert_drags_the_cube_onto_the_square_with_its_last_waypoint(
    env: TabletopEnv, variation: int, seed: int
) -> None:
    steps = act_as_in(env, SeededScene("reach_and_drag", variation, seed))
    assert [step.refused for step in steps] == [None] * 6
    assert [step.success for step in steps] == [False] * 5 + [True]
    assert holding(env.model, env.data)
    target = env.layout.squares[0]
    assert math.dist(env.data.geom(CUBE).xpos[:2], (target.x_m, target.y_m)) < 0.02
    assert env.data.geom(CUBE).xpos[2] == pytest.approx(TABLE_HEIGHT_M + 0.03, abs=0.002)


def test_without_the_stick_the_same_motions_leave_the_cube_where_it_is(env: TabletopEnv) -> None:
    env.reset(SeededScene("reach_and_drag", 5, 64))
    start = env.data.geom(CUBE).xpos.copy()
    targets = [waypoint.target for waypoint in TASK.waypoints(env.layout, env.data)]
    with_open_gripper = [ArmTarget(target.world_from_gripper, True, target.ignore_collisions) for target in targets]
    steps = [env.step(Action({ARM: target})) for target in with_open_gripper]
    assert not any(step.success for step in steps)
    assert env.data.geom(CUBE).xpos == pytest.approx(start, abs=0.001)


# What counts


def test_dragging_to_another_square_is_no_success(env: TabletopEnv) -> None:
    scene = SeededScene("reach_and_drag", 2, 65)
    env.reset(scene)
    first, second, *others = env.layout.squares
    swapped = (second, first, *others)
    steps = act_as_in(env, scene, squares=swapped)
    assert not any(step.success for step in steps)
    assert TASK.goal(dataclasses.replace(env.layout, squares=swapped), env.model, env.data).reached()


@pytest.mark.parametrize(
    ("aside_m", "lifted_m", "done"),
    [(0.0, 0.0, True), (0.049, 0.0, True), (0.051, 0.0, False), (0.0, 0.02, False), (0.0, 0.0005, True)],
)
def test_the_cube_has_to_lie_on_the_named_square(aside_m: float, lifted_m: float, done: bool) -> None:
    layout: Layout = sample("reach_and_drag", 4, 7)
    assert cube_stands_at(layout, layout.squares[0], aside_m, lifted_m) is done


@pytest.mark.parametrize("index", [1, 2, 3])
def test_no_other_square_counts(index: int) -> None:
    layout: Layout = sample("reach_and_drag", 4, 7)
    assert not cube_stands_at(layout, layout.squares[index])


def test_the_keyframes_of_another_scene_do_not_bring_the_cube_there(env: TabletopEnv) -> None:
    env.reset(SeededScene("reach_and_drag", 6, 70))
    remembered = list(TASK.waypoints(env.layout, env.data))
    env.reset(SeededScene("reach_and_drag", 6, 71))
    assert not any(step.success for step in act(env, remembered))
