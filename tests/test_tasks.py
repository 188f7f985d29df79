"""Tasks of the built-in world: what they ask for, where things stand, and when they are done."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import SeededScene, Step
from gnfactor.envs.tabletop.colors import COLORS
from gnfactor.envs.tabletop.placement import Region, quarter_turn_yaw, sample_places_apart, scene_generator
from gnfactor.envs.tabletop.scene import base_scene
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.tasks.base import Waypoint
from gnfactor.envs.tabletop.tasks.push_buttons import (
    BUTTONS,
    COLORS_TO_PUSH,
    PLATE_COLORS,
    PRESSED_RGB,
    Buttons,
    PressedInOrder,
    cap_name,
)
from gnfactor.envs.tabletop.tasks.slide_block_to_color_target import BLOCK, TARGET_M, TARGETS, Layout, target_place
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import SceneError
from gnfactor.scene import ARM, TABLE_HEIGHT_M

seeds = st.integers(0, 10**9 - 1)

EXPECTED_FIRST = (("gray",), ("teal", "azure"), ("rose", "blue", "teal"))
EXPECTED_PLACES = [
    (0.5629, 0.1822, -0.0259),
    (0.3432, 0.1254, 0.0),
    (0.1709, 0.0489, 0.0),
    (0.3916, -0.0886, 0.0),
    (0.2437, 0.0106, -0.375),
    (0.25, 0.0086, -0.375),
]
EXPECTED_COLORS = ("teal", "azure", "blue")


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    """A world without cameras: these tests look at the state only."""
    return TabletopEnv(cameras=())


def sample(task: str, variation: int, seed: int) -> Any:
    return TASKS[task].sample(variation, scene_generator(task, variation, seed))


def act(env: TabletopEnv, waypoints: Iterable[Waypoint]) -> list[Step]:
    """Every waypoint as an action."""
    return [env.step(Action({ARM: waypoint.target})) for waypoint in waypoints]


def act_as_in(env: TabletopEnv, scene: SeededScene, **changes: object) -> list[Step]:
    """Do in a scene what the expert would do if it were laid out with some changes."""
    env.reset(scene)
    return act(env, TASKS[scene.task].waypoints(dataclasses.replace(env.layout, **changes), env.data))


def compiled(task: str, layout: object) -> tuple[mujoco.MjModel, mujoco.MjData]:
    spec = base_scene()
    TASKS[task].build(layout, spec)
    model = spec.compile()
    return model, mujoco.MjData(model)


# What is asked for


def test_there_are_166_variations_in_ten_tasks() -> None:
    assert {name: task.variation_count for name, task in TASKS.items()} == {
        "close_jar": 20,
        "meat_off_grill": 2,
        "open_drawer": 3,
        "push_buttons": 50,
        "put_item_in_drawer": 3,
        "reach_and_drag": 20,
        "slide_block_to_color_target": 4,
        "stack_blocks": 60,
        "sweep_to_dustpan_of_size": 2,
        "turn_tap": 2,
    }


@pytest.mark.parametrize("name", TASKS)
def test_every_sentence_means_one_variation(name: str) -> None:
    task = TASKS[name]
    said = [sentence for variation in range(task.variation_count) for sentence in task.instructions(variation)]
    assert len(set(said)) == len(said) >= 3 * task.variation_count


def test_sentences_name_the_colours_in_the_order_to_push() -> None:
    task = TASKS["push_buttons"]
    for variation, colors in enumerate(COLORS_TO_PUSH):
        assert len(colors) == len(set(colors)) == 1 + variation % 3
        for sentence in task.instructions(variation):
            assert [word for word in sentence.replace(",", "").split() if word in COLORS] == list(colors)


def test_every_plate_colour_is_named_five_or_six_times() -> None:
    named = Counter(color for colors in COLORS_TO_PUSH for color in colors)
    assert len(PLATE_COLORS) == 18
    assert set(named) == set(PLATE_COLORS)
    assert set(named.values()) == {5, 6}


def test_variations_are_the_same_for_ever() -> None:
    assert COLORS_TO_PUSH[:3] == EXPECTED_FIRST
    assert len(set(COLORS_TO_PUSH)) == 50


def test_colours_are_far_enough_apart_to_tell() -> None:
    gaps = [math.dist(a, b) for a, b in itertools.combinations((*COLORS.values(), TARGETS["pink"]), 2)]
    assert min(gaps) > 0.3
    assert min(math.dist(PRESSED_RGB, COLORS[name]) for name in PLATE_COLORS) > 0.3


# Where things stand


@pytest.mark.parametrize("name", TASKS)
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_scene_follows_from_three_numbers(name: str, seed: int) -> None:
    assert sample(name, 1, seed) == sample(name, 1, seed)
    assert sample(name, 1, seed) != sample(name, 1, seed + 1)
    assert sample(name, 1, seed) != sample(name, 0, seed)


def test_scenes_are_the_same_on_every_machine() -> None:
    """Numbers to 0.1 mm, as sampled when this test was written."""
    names = ("open_drawer", "push_buttons", "slide_block_to_color_target")
    chest, buttons, layout = (sample(name, 1, 1234) for name in names)
    numbers = [chest.place, *buttons.places, layout.place, layout.block]
    assert [tuple(round(value, 4) for value in dataclasses.astuple(place)) for place in numbers] == EXPECTED_PLACES
    assert buttons.colors == EXPECTED_COLORS


def test_objects_stand_over_at_least_30_by_40_centimetres() -> None:
    chests = [sample("open_drawer", 0, seed).place for seed in range(300)]
    buttons = [place for seed in range(100) for place in sample("push_buttons", 0, seed).places]
    slides = [sample("slide_block_to_color_target", seed % 4, seed) for seed in range(200)]
    on_table = [place for s in slides for place in (s.block, target_place(s, s.target))]
    for places in (chests, buttons, on_table):
        assert np.ptp([place.x_m for place in places]) > 0.29
        assert np.ptp([place.y_m for place in places]) > 0.39
    assert max(abs(place.yaw) for place in chests) == pytest.approx(math.radians(22), abs=0.01)


@given(seed=seeds, variation=st.integers(0, 49))
@settings(max_examples=30, deadline=None)
def test_three_buttons_of_different_colours_stand_apart(seed: int, variation: int) -> None:
    buttons: Buttons = sample("push_buttons", variation, seed)
    assert buttons.colors[: buttons.to_push] == COLORS_TO_PUSH[variation]
    assert len(set(buttons.colors)) == len(buttons.places) == BUTTONS
    gaps = [math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) for a, b in itertools.combinations(buttons.places, 2)]
    assert min(gaps) >= 0.12


def test_a_table_that_is_too_full_is_reported() -> None:
    with pytest.raises(SceneError, match="found no room for 3 objects"):
        sample_places_apart(Region((0.0, 0.1), (0.0, 0.1), 0.0), 3, 0.2, np.random.default_rng(0))


@given(yaw=st.floats(-10, 10))
def test_a_quarter_turn_changes_nothing_about_a_square(yaw: float) -> None:
    small = quarter_turn_yaw(yaw)
    assert abs(small) <= math.pi / 4 + 1e-9
    assert (yaw - small) / (math.pi / 2) == pytest.approx(round((yaw - small) / (math.pi / 2)), abs=1e-6)


# When they are done

EXPERTS = [
    SeededScene("open_drawer", 0, 21),
    SeededScene("open_drawer", 2, 22),
    SeededScene("push_buttons", 0, 23),
    SeededScene("push_buttons", 5, 24),
    SeededScene("slide_block_to_color_target", 1, 25),
    SeededScene("slide_block_to_color_target", 2, 26),
]


@pytest.mark.parametrize("scene", EXPERTS, ids=lambda scene: f"{scene.task} {scene.variation}")
def test_the_expert_is_done_at_its_last_waypoint_and_not_before(env: TabletopEnv, scene: SeededScene) -> None:
    steps = act_as_in(env, scene)
    assert [step.refused for step in steps] == [None] * len(steps)
    assert [step.success for step in steps] == [False] * (len(steps) - 1) + [True]


@pytest.mark.parametrize("name", TASKS)
def test_doing_nothing_is_no_success(env: TabletopEnv, name: str) -> None:
    arm = env.reset(SeededScene(name, 0, 31)).observation.arms[ARM]
    stay = Action({ARM: ArmTarget(arm.world_from_gripper, gripper_open=True, ignore_collisions=False)})
    assert [env.step(stay).success for _ in range(3)] == [False] * 3


def test_opening_another_drawer_is_no_success(env: TabletopEnv) -> None:
    steps = act_as_in(env, SeededScene("open_drawer", 1, 32), drawer=2)
    assert env.data.joint("drawer/top").qpos[0] > 0.15
    assert [step.success for step in steps] == [False] * 3


def test_a_drawer_that_is_not_far_enough_out_is_no_success() -> None:
    model, data = compiled("open_drawer", sample("open_drawer", 1, 0))
    goal = TASKS["open_drawer"].goal(sample("open_drawer", 1, 0), model, data)
    for out_m, done in ((0.0, False), (0.149, False), (0.151, True)):
        data.joint("drawer/middle").qpos[0] = out_m
        assert goal.reached() is done


def test_pushing_in_another_order_is_no_success_and_stays_so(env: TabletopEnv) -> None:
    env.reset(SeededScene("push_buttons", 1, 33))
    waypoints = list(TASKS["push_buttons"].waypoints(dataclasses.replace(env.layout, to_push=BUTTONS), env.data))
    first, second = waypoints[0:2], waypoints[2:4]
    steps = act(env, second + first)
    assert [step.refused for step in steps] == [None] * 4
    assert [step.success for step in steps] == [False] * 4


def test_a_button_that_was_not_named_spoils_the_rest(env: TabletopEnv) -> None:
    env.reset(SeededScene("push_buttons", 0, 35))
    waypoints = list(TASKS["push_buttons"].waypoints(dataclasses.replace(env.layout, to_push=BUTTONS), env.data))
    steps = act(env, waypoints[0:4])
    assert [step.success for step in steps] == [False, True, True, False]


@given(presses=st.lists(st.integers(0, BUTTONS - 1), max_size=6), to_push=st.integers(1, BUTTONS))
@settings(max_examples=60, deadline=None)
def test_buttons_count_by_the_order_of_their_first_press(presses: list[int], to_push: int) -> None:
    model, data = PLAIN_BUTTONS
    model.geom_rgba[:] = PLAIN_COLOURS
    goal = PressedInOrder(to_push, model, data)
    for press in presses:
        data.qpos[:] = 0
        data.joint(cap_name(press)).qpos[0] = -0.0031
        goal.observe()
    firsts = list(dict.fromkeys(presses))
    assert goal.reached() == (firsts == list(range(to_push)))
    green = [bool(np.allclose(model.geom(cap_name(index)).rgba[:3], PRESSED_RGB)) for index in range(BUTTONS)]
    assert green == [index in firsts for index in range(BUTTONS)]


def test_a_light_touch_is_no_press() -> None:
    model, data = PLAIN_BUTTONS
    goal = PressedInOrder(1, model, data)
    data.qpos[:] = 0
    data.joint(cap_name(0)).qpos[0] = -0.0029
    goal.observe()
    assert not goal.reached()


def test_sliding_to_another_target_is_no_success(env: TabletopEnv) -> None:
    scene = SeededScene("slide_block_to_color_target", 0, 34)
    steps = act_as_in(env, scene, target=2)
    assert [step.success for step in steps] == [False, False]
    other = TASKS[scene.task].goal(dataclasses.replace(env.layout, target=2), env.model, env.data)
    assert other.reached()


@pytest.mark.parametrize(
    ("aside_m", "lifted_m", "done"),
    [(0.0, 0.0, True), (0.059, 0.0, True), (0.061, 0.0, False), (0.0, 0.02, False), (0.0, 0.0005, True)],
)
def test_the_block_has_to_lie_on_the_target(aside_m: float, lifted_m: float, done: bool) -> None:
    layout: Layout = sample("slide_block_to_color_target", 3, 7)
    model, data = compiled("slide_block_to_color_target", layout)
    place = target_place(layout, 3)
    ahead = np.array((math.cos(place.yaw), math.sin(place.yaw)))
    data.joint(int(model.body(BLOCK).jntadr[0])).qpos[:3] = (
        *(np.array((place.x_m, place.y_m)) + aside_m * ahead),
        TABLE_HEIGHT_M + lifted_m,
    )
    mujoco.mj_forward(model, data)
    assert TASKS["slide_block_to_color_target"].goal(layout, model, data).reached() is done
    assert TARGET_M == 0.12


def test_every_task_adds_its_own_bodies_only() -> None:
    room = {body.name for body in base_scene().bodies}
    for name in TASKS:
        model, _ = compiled(name, sample(name, 0, 0))
        names = {model.body(index).name for index in range(model.nbody)}
        assert room < names


PLAIN_BUTTONS = compiled("push_buttons", sample("push_buttons", 0, 0))
PLAIN_COLOURS = PLAIN_BUTTONS[0].geom_rgba.copy()
