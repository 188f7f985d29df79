"""meat_off_grill: what is asked for, where things lie, and when the meat is on the plate."""

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
from gnfactor.envs.tabletop.placement import Place, half_turn_yaw, place_within, world_from_place
from gnfactor.envs.tabletop.scene import GRASP_PREFIX
from gnfactor.envs.tabletop.tasks.base import touching
from gnfactor.envs.tabletop.tasks.meat_off_grill import (
    GRATE,
    GRATE_M,
    MEATS,
    PLATE_HEIGHT_M,
    PLATE_RADIUS_M,
    Layout,
    MeatOffGrill,
)
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.scene import TABLE_HEIGHT_M

TASK = MeatOffGrill()
SEEDS = st.integers(0, 10**9 - 1)


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv(cameras=())


def seen_from(frame: Place, place: Place) -> tuple[float, float]:
    """x and y of a place in the frame of another."""
    x, y = np.linalg.solve(world_from_place(frame), (place.x_m, place.y_m, TABLE_HEIGHT_M, 1.0))[:2]
    return float(x), float(y)


# What is asked for


def test_every_sentence_names_one_meat() -> None:
    assert TASK.variation_count == len(MEATS) == 2
    for variation, meat in enumerate(MEATS):
        for sentence in TASK.instructions(variation):
            assert [word for word in sentence.split() if word in MEATS] == [meat]
    assert TASK.instructions(1)[0] == "take the steak off the grill"


# Where things lie


@given(seed=SEEDS, variation=st.integers(0, 1))
@settings(max_examples=50, deadline=None)
def test_both_pieces_lie_on_the_grate_and_the_plate_beside_the_grill(seed: int, variation: int) -> None:
    layout: Layout = sample(TASK.name, variation, seed)
    assert layout.meat == variation
    spots = [seen_from(layout.grill, piece) for piece in layout.pieces]
    assert all(abs(x) < 0.09 and abs(y) < 0.02 for x, y in spots)
    assert abs(spots[0][0] - spots[1][0]) > 0.11
    x, y = seen_from(layout.grill, layout.plate)
    assert abs(x) <= 0.051
    assert y + PLATE_RADIUS_M < -0.13  # the grate ends at -0.10


def test_scenes_differ_in_all_that_is_drawn() -> None:
    layouts: list[Layout] = [sample(TASK.name, 0, seed) for seed in range(100)]
    for places in ([s.pieces[0] for s in layouts], [s.plate for s in layouts]):
        assert np.ptp([place.x_m for place in places]) > 0.30
        assert np.ptp([place.y_m for place in places]) > 0.40
    chicken_first = [seen_from(s.grill, s.pieces[0])[0] < 0 for s in layouts]
    plate_on_the_right = [math.cos(s.grill.yaw) > 0 for s in layouts]
    for by_chance in (chicken_first, plate_on_the_right):
        assert 30 < sum(by_chance) < 70


def test_the_same_scene_for_ever() -> None:
    layout: Layout = sample(TASK.name, 1, 1234)
    places = (layout.grill, layout.plate, *layout.pieces)
    assert [tuple(round(value, 4) for value in dataclasses.astuple(place)) for place in places] == [
        (0.2073, 0.1369, -0.1549),
        (0.2157, -0.0921, -0.1549),
        (0.1290, 0.1542, -0.0042),
        (0.2680, 0.1298, 0.1760),
    ]


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_place_within_another_is_found_again(seed: int) -> None:
    frame, place = (Place(*np.random.default_rng(seed + i).uniform(-1, 1, 3).tolist()) for i in range(2))
    placed = place_within(frame, place)
    assert seen_from(frame, placed) == pytest.approx((place.x_m, place.y_m))
    assert placed.yaw == pytest.approx(frame.yaw + place.yaw)


@given(yaw=st.floats(-10, 10))
def test_half_a_turn_changes_nothing_about_an_oblong(yaw: float) -> None:
    small = half_turn_yaw(yaw)
    assert abs(small) <= math.pi / 2 + 1e-9
    assert (yaw - small) / math.pi == pytest.approx(round((yaw - small) / math.pi), abs=1e-6)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_pieces_lie_still_on_the_grate_and_look_different_from_the_front(seed: int) -> None:
    env = TabletopEnv(cameras=("front",))
    view = env.reset(SeededScene(TASK.name, 0, seed)).observation.views["front"]
    looks: list[np.ndarray] = []
    for meat in MEATS:
        assert touching(env.model, env.data, int(env.model.geom(GRATE).id), int(env.model.geom(meat).id))
        assert view.segmentation is not None
        seen = view.rgb[view.segmentation == env.model.body(meat).id]
        assert len(seen) >= 25
        looks.append(np.median(seen, axis=0) / 255)
    assert np.linalg.norm(looks[0] - looks[1]) > 0.3


# When it is done


@pytest.mark.parametrize(("variation", "seed"), [(0, 5), (1, 2)])
def test_the_expert_is_done_at_its_last_waypoint_and_not_before(env: TabletopEnv, variation: int, seed: int) -> None:
    steps = act_as_in(env, SeededScene(TASK.name, variation, seed))
    assert [step.refused for step in steps] == [None] * 5
    assert [step.success for step in steps] == [False] * 4 + [True]


def test_the_other_piece_is_no_success(env: TabletopEnv) -> None:
    steps = act_as_in(env, SeededScene(TASK.name, 0, 21), meat=1)
    assert not any(step.success for step in steps)
    other = TASK.goal(dataclasses.replace(env.layout, meat=1), env.model, env.data)
    assert other.reached()


def test_meat_held_on_the_plate_is_no_success(env: TabletopEnv) -> None:
    env.reset(SeededScene(TASK.name, 1, 22))
    *before, last = TASK.waypoints(env.layout, env.data)
    held = dataclasses.replace(last, target=dataclasses.replace(last.target, gripper_open=False))
    assert [step.success for step in act(env, [*before, held, last])] == [False] * 5 + [True]


def test_meat_dropped_beside_the_plate_is_no_success(env: TabletopEnv) -> None:
    env.reset(SeededScene(TASK.name, 0, 23))
    *before, last = TASK.waypoints(env.layout, env.data)
    beside = last.target.world_from_gripper.copy()
    beside[:3, 3] -= 0.13 * np.array((math.cos(env.layout.grill.yaw), math.sin(env.layout.grill.yaw), 0.0))
    moved = dataclasses.replace(last, target=dataclasses.replace(last.target, world_from_gripper=beside))
    steps = act(env, [*before, moved])
    assert [step.refused for step in steps] == [None] * 5
    assert not any(step.success for step in steps)


@pytest.mark.parametrize("seed", [11, 12])
def test_what_the_expert_did_elsewhere_does_not_serve_here(env: TabletopEnv, seed: int) -> None:
    env.reset(SeededScene(TASK.name, 0, seed + 100))
    elsewhere = list(TASK.waypoints(env.layout, env.data))
    env.reset(SeededScene(TASK.name, 0, seed))
    assert not any(step.success for step in act(env, elsewhere))


class Judged:
    """A scene whose pieces are put where a test wants them."""

    def __init__(self, variation: int) -> None:
        self.layout: Layout = sample(TASK.name, variation, 7)
        self.model, self.data = compiled(TASK.name, self.layout)

    def put(self, meat: str, aside_m: float, height_m: float) -> None:
        """A piece at a distance from the plate's middle, its lower side so high above the table."""
        place = self.layout.plate
        self.data.joint(int(self.model.body(meat).jntadr[0])).qpos[:3] = (
            *(place.x_m + aside_m, place.y_m),
            TABLE_HEIGHT_M + height_m,
        )

    def done(self) -> bool:
        mujoco.mj_forward(self.model, self.data)
        return TASK.goal(self.layout, self.model, self.data).reached()


@pytest.mark.parametrize(
    ("aside_m", "height_m", "done"),
    [
        (0.0, PLATE_HEIGHT_M, True),
        (0.079, PLATE_HEIGHT_M, True),
        (0.081, PLATE_HEIGHT_M, False),
        (0.0, PLATE_HEIGHT_M + 0.0005, True),
        (0.0, PLATE_HEIGHT_M + 0.002, False),
        (0.0, GRATE_M, False),
        (0.15, 0.0, False),
    ],
)
@pytest.mark.parametrize("variation", [0, 1])
def test_the_meat_has_to_lie_on_the_plate(variation: int, aside_m: float, height_m: float, done: bool) -> None:
    scene = Judged(variation)
    scene.put(MEATS[variation], aside_m, height_m)
    assert scene.done() is done


def test_the_meat_has_to_lie_still_and_nothing_to_be_held() -> None:
    scene = Judged(1)
    assert not scene.done()
    scene.put("steak", 0.0, PLATE_HEIGHT_M)
    assert scene.done()
    dof = int(scene.model.body_dofadr[scene.model.body("steak").id])
    for speed, still in itertools.product((0.1, -0.1), range(6)):
        scene.data.qvel[dof + still] = speed
        assert not scene.done()
        scene.data.qvel[dof + still] = 0
    for meat in MEATS:
        scene.data.eq_active[scene.model.equality(GRASP_PREFIX + meat).id] = True
        assert not scene.done()
        scene.data.eq_active[scene.model.equality(GRASP_PREFIX + meat).id] = False
    assert scene.done()
