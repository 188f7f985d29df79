"""stack_blocks: what is asked for, where things lie, and when a tower is one."""

from __future__ import annotations

import dataclasses
import itertools
import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tasks import act, act_as_in, compiled, sample

from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.colors import COLORS
from gnfactor.envs.tabletop.placement import Region, raised, scatter_places
from gnfactor.envs.tabletop.scene import GRASP_PREFIX
from gnfactor.envs.tabletop.tasks.stack_blocks import (
    BLOCK_M,
    BLOCKS_PER_COLOR,
    HEIGHTS,
    PLATE_HEIGHT_M,
    PLATE_M,
    Layout,
    StackBlocks,
    block_name,
)
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import SceneError
from gnfactor.scene import TABLE_HEIGHT_M

TASK = StackBlocks()
VARIATIONS = st.integers(0, TASK.variation_count - 1)
ON_PLATE_M = TABLE_HEIGHT_M + PLATE_HEIGHT_M


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv(cameras=())


class Judged:
    """A scene whose blocks are put where a test wants them."""

    def __init__(self, variation: int, seed: int = 0) -> None:
        self.layout: Layout = sample(TASK.name, variation, seed)
        self.model, self.data = compiled(TASK.name, self.layout)
        mujoco.mj_forward(self.model, self.data)
        self._start = self.data.qpos.copy()

    def clear(self) -> None:
        self.data.qpos[:] = self._start

    def put(self, index: int, level: int, aside_m: float = 0.0, lifted_m: float = 0.0) -> None:
        """A block over the plate, square to it, as the one of number `level` from below."""
        yaw = self.layout.plate.yaw
        x, y = self.layout.plate.x_m + aside_m * math.cos(yaw), self.layout.plate.y_m + aside_m * math.sin(yaw)
        height_m = ON_PLATE_M + level * BLOCK_M + lifted_m
        pose = (x, y, height_m, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))
        self.data.joint(int(self.model.body(block_name(index)).jntadr[0])).qpos[:] = pose

    def done(self) -> bool:
        mujoco.mj_forward(self.model, self.data)
        return TASK.goal(self.layout, self.model, self.data).reached()


# What is asked for


def test_every_colour_is_asked_for_in_towers_of_two_three_and_four() -> None:
    assert TASK.variation_count == 60
    asked = [TASK.instructions(variation) for variation in range(60)]
    assert asked[0][0] == "stack 2 red blocks"
    assert asked[59][0] == "stack 4 white blocks"
    for sentences, (color, count) in zip(asked, itertools.product(COLORS, HEIGHTS), strict=True):
        for sentence in sentences:
            assert [word for word in sentence.split() if word in COLORS or word.isdigit()] == [str(count), color]


# Where things lie


@given(seed=st.integers(0, 10**9 - 1), variation=VARIATIONS)
@settings(max_examples=30, deadline=None)
def test_four_blocks_of_each_of_two_colours_lie_apart(seed: int, variation: int) -> None:
    layout: Layout = sample(TASK.name, variation, seed)
    color, count = list(COLORS)[variation // 3], 2 + variation % 3
    assert (layout.colors[0], layout.to_stack) == (color, count)
    assert layout.colors[1] in COLORS.keys() - {color}
    assert len(layout.blocks) == 2 * BLOCKS_PER_COLOR
    gaps = [math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) for a, b in itertools.combinations(layout.blocks, 2)]
    assert min(gaps) > math.sqrt(2) * BLOCK_M + 0.035  # corner to corner, with a finger between
    to_plate = [math.dist((layout.plate.x_m, layout.plate.y_m), (block.x_m, block.y_m)) for block in layout.blocks]
    assert min(to_plate) > (PLATE_M + BLOCK_M) / math.sqrt(2)


def test_things_lie_over_40_by_56_centimetres() -> None:
    layouts: list[Layout] = [sample(TASK.name, seed % 60, seed) for seed in range(60)]
    for places in ([layout.plate for layout in layouts], [block for layout in layouts for block in layout.blocks]):
        assert np.ptp([place.x_m for place in places]) > 0.35
        assert np.ptp([place.y_m for place in places]) > 0.50


def test_the_same_scene_for_ever() -> None:
    layout: Layout = sample(TASK.name, 7, 1234)
    places = (layout.plate, layout.blocks[7])
    numbers = [tuple(round(value, 4) for value in dataclasses.astuple(place)) for place in places]
    assert numbers == [(0.1745, -0.0265, 0.6525), (0.1597, -0.2682, -0.1553)]
    assert layout.colors == ("lime", "purple")


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 9), distance_m=st.floats(0, 0.12))
def test_scattered_places_keep_their_distance_and_stay_in_the_region(seed: int, count: int, distance_m: float) -> None:
    region = Region((0.0, 0.5), (-0.4, 0.4), 10.0)
    places = scatter_places(region, count, distance_m, np.random.default_rng(seed))
    assert len(places) == count
    assert all(0 <= p.x_m <= 0.5 and abs(p.y_m) <= 0.4 and abs(p.yaw) <= math.radians(10) for p in places)
    for a, b in itertools.combinations(places, 2):
        assert math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) >= distance_m


def test_a_table_that_is_too_full_is_reported() -> None:
    with pytest.raises(SceneError, match=r"no room for 3 objects 0\.2 m apart .* only for 1 in"):
        scatter_places(Region((0.0, 0.1), (0.0, 0.1), 0.0), 3, 0.2, np.random.default_rng(0))


# When it is done


@pytest.mark.parametrize(("variation", "seed"), [(0, 1), (59, 3)])
def test_the_expert_is_done_at_its_last_waypoint_and_not_before(env: TabletopEnv, variation: int, seed: int) -> None:
    steps = act_as_in(env, SeededScene(TASK.name, variation, seed))
    assert [step.refused for step in steps] == [None] * len(steps)
    assert [step.success for step in steps] == [False] * (len(steps) - 1) + [True]
    assert len(steps) == 5 * (2 + variation % 3) - 1 <= 25


def test_one_block_too_few_is_no_success(env: TabletopEnv) -> None:
    steps = act_as_in(env, SeededScene(TASK.name, 31, 5), to_stack=2)
    assert [step.success for step in steps] == [False] * 9
    asked_for_two = TASK.goal(dataclasses.replace(env.layout, to_stack=2), env.model, env.data)
    assert asked_for_two.reached()


def test_a_block_dropped_beside_the_tower_is_no_success(env: TabletopEnv) -> None:
    env.reset(SeededScene(TASK.name, 3, 6))
    waypoints = list(TASK.waypoints(env.layout, env.data))
    target = waypoints[-1].target
    beside = raised(target.world_from_gripper, 0.01)
    beside[:2, 3] += 0.06 * beside[:2, 0]  # along the fingers, which are square to the tower
    waypoints[-1] = dataclasses.replace(waypoints[-1], target=dataclasses.replace(target, world_from_gripper=beside))
    steps = act(env, waypoints)
    assert [step.refused for step in steps] == [None] * 9
    assert not any(step.success for step in steps)
    lies_m = sorted(env.data.geom(block_name(index)).xpos[2] for index in range(BLOCKS_PER_COLOR))
    assert lies_m[-1] < ON_PLATE_M + BLOCK_M


def test_what_the_expert_did_elsewhere_builds_no_tower(env: TabletopEnv) -> None:
    env.reset(SeededScene(TASK.name, 0, 111))
    elsewhere = list(TASK.waypoints(env.layout, env.data))
    env.reset(SeededScene(TASK.name, 0, 11))
    assert not any(step.success for step in act(env, elsewhere))


TOWERS = {count: Judged(9 + HEIGHTS.index(count)) for count in HEIGHTS}


@given(order=st.permutations(range(2 * BLOCKS_PER_COLOR)), piled=st.integers(0, 5), to_stack=st.sampled_from(HEIGHTS))
def test_only_blocks_of_the_colour_count_and_only_up_from_the_plate(
    order: list[int], piled: int, to_stack: int
) -> None:
    tower = TOWERS[to_stack]
    tower.clear()
    count, unbroken = 0, True
    for level, index in enumerate(order[:piled]):
        tower.put(index, level)
        unbroken = unbroken and index < BLOCKS_PER_COLOR
        count += unbroken
    assert tower.done() == (count >= to_stack)


@pytest.mark.parametrize(
    ("aside_m", "lifted_m", "done"),
    [
        (0.0, 0.0, True),
        (0.024, 0.0, True),
        (0.026, 0.0, False),  # its middle is no longer over the block below
        (0.0, 0.0005, True),
        (0.0, 0.004, False),  # held above
        (0.051, -BLOCK_M, False),  # side by side on the plate
        (0.10, -BLOCK_M - PLATE_HEIGHT_M, False),  # on the table
        (0.0, -0.01, False),  # not a place where a block can be
    ],
)
def test_the_second_block_has_to_stand_on_the_first(aside_m: float, lifted_m: float, done: bool) -> None:
    tower = TOWERS[2]
    tower.clear()
    tower.put(0, 0)
    tower.put(1, 1, aside_m, lifted_m)
    assert tower.done() is done


@pytest.mark.parametrize(("aside_m", "lifted_m", "done"), [(0.049, 0, True), (0.051, 0, False), (0, 0.01, False)])
def test_the_lowest_block_has_to_stand_on_the_plate(aside_m: float, lifted_m: float, done: bool) -> None:
    tower = TOWERS[2]
    tower.clear()
    for index in range(2):
        tower.put(index, index, aside_m, lifted_m)
    assert tower.done() is done


def test_a_tower_on_the_table_is_no_success() -> None:
    tower = TOWERS[2]
    tower.clear()
    for index in range(2):
        tower.put(index, index, 0.15, -PLATE_HEIGHT_M)
    assert not tower.done()


def test_a_tower_has_to_stand_still_and_nothing_to_be_held() -> None:
    tower = Judged(9)
    for index in range(2):
        tower.put(index, index)
    assert tower.done()
    dof = int(tower.model.body_dofadr[tower.model.body(block_name(1)).id])
    tower.data.qvel[dof] = 0.1
    assert not tower.done()
    tower.data.qvel[dof] = 0
    assert tower.done()
    tower.data.eq_active[tower.model.equality(GRASP_PREFIX + block_name(7)).id] = True
    assert not tower.done()
