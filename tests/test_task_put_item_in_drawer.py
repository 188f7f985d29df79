"""put_item_in_drawer: what it asks for, where things stand, and when the item is in its drawer."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.chest import DRAWERS, HOLLOW_LOWER_M, HOLLOW_UPPER_M, TOP_M, drawer_name
from gnfactor.envs.tabletop.placement import world_from_place
from gnfactor.envs.tabletop.scene import GRASP_PREFIX
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.tasks.put_item_in_drawer import ITEM, ITEM_M, ParcelOnChest, is_inside
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.scene import TABLE_HEIGHT_M
from tests.test_tasks import act, act_as_in, compiled, sample

NAME = "put_item_in_drawer"
TASK = TASKS[NAME]
LAYOUT: ParcelOnChest = sample(NAME, 1, 7)
MODEL, DATA = compiled(NAME, LAYOUT)
ON_THE_FLOOR_M = HOLLOW_LOWER_M[2] + ITEM_M / 2
MIDDLE_M = 0.1


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv(cameras=())


def put_at(drawer: int, point_m: tuple[float, float, float], out_m: float = 0.185) -> None:
    """Let the item float with its middle at a point of a drawer's frame, standing as the chest does."""
    DATA.eq_active[:] = False
    DATA.qpos[MODEL.joint(drawer_name(drawer)).qposadr[0]] = out_m
    mujoco.mj_kinematics(MODEL, DATA)
    body, address = DATA.body(drawer_name(drawer)), int(MODEL.jnt_qposadr[MODEL.body(ITEM).jntadr[0]])
    DATA.qpos[address : address + 3] = body.xpos + body.xmat.reshape(3, 3) @ point_m
    DATA.qpos[address + 3 : address + 7] = body.xquat
    mujoco.mj_kinematics(MODEL, DATA)


def test_every_sentence_names_its_drawer_alone() -> None:
    assert TASK.variation_count == len(DRAWERS) == 3
    for variation, drawer in enumerate(DRAWERS):
        for sentence in TASK.instructions(variation):
            places = sentence.replace("the top of the chest", "the chest").split()
            assert [word for word in places if word in DRAWERS] == [drawer]


@given(variation=st.integers(0, 2), seed=st.integers(0, 10**9 - 1))
@settings(max_examples=100, deadline=None)
def test_the_item_stands_on_the_chest(variation: int, seed: int) -> None:
    layout: ParcelOnChest = sample(NAME, variation, seed)
    assert layout.drawer == variation
    x, y = np.linalg.solve(world_from_place(layout.chest), (layout.item.x_m, layout.item.y_m, TABLE_HEIGHT_M, 1.0))[:2]
    half_diagonal = ITEM_M / np.sqrt(2)
    assert half_diagonal < x < 0.24 - half_diagonal
    assert abs(y) < 0.15 - half_diagonal


def test_chests_stand_over_28_by_40_centimetres() -> None:
    places = [sample(NAME, 0, seed).chest for seed in range(300)]
    assert np.ptp([place.x_m for place in places]) > 0.27
    assert np.ptp([place.y_m for place in places]) > 0.39


@pytest.mark.parametrize("variation", range(3))
def test_the_expert_is_done_at_its_last_waypoint_and_not_before(env: TabletopEnv, variation: int) -> None:
    steps = act_as_in(env, SeededScene(NAME, variation, 61 + variation))
    assert [step.refused for step in steps] == [None] * 9
    assert [step.success for step in steps] == [False] * 8 + [True]
    layout: ParcelOnChest = env.layout
    assert [is_inside(drawer, env.model, env.data) for drawer in range(3)] == [
        drawer == layout.drawer for drawer in range(3)
    ]


def test_the_item_in_another_drawer_is_no_success(env: TabletopEnv) -> None:
    steps = act_as_in(env, SeededScene(NAME, 2, 64), drawer=0)
    assert is_inside(0, env.model, env.data)
    assert not any(step.success for step in steps)


def test_the_waypoints_of_other_scenes_do_not_do(env: TabletopEnv) -> None:
    successes = 0
    for seed in range(70, 73):
        variation = seed % 3
        env.reset(SeededScene(NAME, variation, 100 + seed))
        elsewhere = list(TASK.waypoints(env.layout, env.data))
        env.reset(SeededScene(NAME, variation, seed))
        successes += any(step.success for step in act(env, elsewhere))
    assert successes == 0


@given(
    x=st.floats(-0.05, 0.30),
    y=st.floats(-0.20, 0.20),
    z=st.floats(-0.10, 0.10),
    drawer=st.integers(0, 2),
    out_m=st.floats(0, 0.21),
)
def test_inside_means_between_the_walls_and_below_the_rim(
    x: float, y: float, z: float, drawer: int, out_m: float
) -> None:
    put_at(drawer, (x, y, z), out_m)
    half = ITEM_M / 2
    margins = [
        min(value - half - lower, upper - half - value)
        for value, lower, upper in zip((x, y, z), HOLLOW_LOWER_M, HOLLOW_UPPER_M, strict=True)
    ]
    if abs(min(margins) + 0.002) > 1e-9:
        assert is_inside(drawer, MODEL, DATA) == (min(margins) > -0.002)


@pytest.mark.parametrize(
    ("point_m", "done"),
    [
        ((MIDDLE_M, 0.0, ON_THE_FLOOR_M), True),
        ((MIDDLE_M, 0.0, HOLLOW_UPPER_M[2]), False),  # sticks out over the rim
        ((MIDDLE_M, 0.0, HOLLOW_LOWER_M[2] - ITEM_M), False),  # under the drawer
        ((-0.10, 0.0, ON_THE_FLOOR_M), False),  # in front of the drawer
        ((MIDDLE_M, 0.0, TOP_M), False),  # high above it
    ],
)
def test_the_item_has_to_lie_in_the_drawer(point_m: tuple[float, float, float], done: bool) -> None:
    put_at(1, point_m)
    assert TASK.goal(LAYOUT, MODEL, DATA).reached() is done


@pytest.mark.parametrize("drawer", [0, 2])
def test_lying_in_a_drawer_that_was_not_named_is_no_success(drawer: int) -> None:
    put_at(drawer, (MIDDLE_M, 0.0, ON_THE_FLOOR_M))
    assert is_inside(drawer, MODEL, DATA)
    assert not TASK.goal(LAYOUT, MODEL, DATA).reached()


def test_an_item_that_is_still_held_is_no_success() -> None:
    put_at(1, (MIDDLE_M, 0.0, ON_THE_FLOOR_M))
    DATA.eq_active[MODEL.equality(GRASP_PREFIX + ITEM).id] = True
    assert is_inside(1, MODEL, DATA)
    assert not TASK.goal(LAYOUT, MODEL, DATA).reached()
