"""The built-in world as an Env: scenes that repeat, refusals, recordings of the expert, empty pictures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gnfactor.actions import Action, ArmTarget
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import Env, LiveScene, RandomState, SeededScene, StoredScene
from gnfactor.envs.tabletop.placement import gripper_down
from gnfactor.envs.tabletop.rig import RigConfig
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.errors import SceneError
from gnfactor.scene import ARM, CAMERAS, Observation

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL = (32, 24)
BUTTONS = SeededScene("push_buttons", 0, 41)
"""One button to push: the shortest episode."""


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv(image_size=SMALL)


@pytest.fixture(scope="module")
def film(env: TabletopEnv) -> Demonstration:
    """The expert at 20 Hz."""
    return recorded(env, "all")


@pytest.fixture(scope="module")
def keyframes(env: TabletopEnv) -> Demonstration:
    """The same, keyframes only."""
    return recorded(env, "keyframes")


def recorded(env: TabletopEnv, frames: str) -> Demonstration:
    demonstration = env.record(BUTTONS, "all" if frames == "all" else "keyframes")
    assert isinstance(demonstration, Demonstration)
    return demonstration


def action(pose: np.ndarray) -> Action:
    return Action({ARM: ArmTarget(pose, gripper_open=True, ignore_collisions=False)})


def digest(demonstration: Demonstration) -> str:
    """Of everything that was seen and felt."""
    total = hashlib.sha256()
    for observation in demonstration.observations:
        arm = observation.arms[ARM]
        for array in (arm.world_from_gripper, arm.joint_positions, arm.joint_velocities, arm.finger_positions_m):
            total.update(np.ascontiguousarray(array).tobytes())
        for view in observation.views.values():
            assert view.segmentation is not None
            for array in (view.rgb, view.depth_m, view.segmentation, view.camera.world_from_camera):
                total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def test_it_is_an_env(env: TabletopEnv) -> None:
    assert isinstance(env, Env)
    assert env.capabilities.seeded
    assert env.capabilities.knows_success
    assert not env.capabilities.restores_stored_scenes


DIGESTS = """
import json
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.rig import RigConfig
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import TabletopEnv
from tests.test_world import SMALL, digest
env = TabletopEnv(("front", "wrist"), SMALL)
print(json.dumps([digest(env.record(SeededScene(task, 0, 42))) for task in TASKS]))
"""


def test_two_processes_see_and_do_the_same() -> None:
    """Scene, pictures and the expert's trajectory, bit for bit, in every task; one of the two in another order."""
    programs = (DIGESTS, DIGESTS.replace("for task in TASKS", "for task in reversed(TASKS)"))
    running = [
        subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE)
        for program in programs
    ]
    forwards, backwards = (json.loads(process.communicate()[0]) for process in running)
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == len(TASKS)


def test_each_seed_and_each_variation_looks_different(env: TabletopEnv) -> None:
    scenes = [SeededScene("push_buttons", variation, seed) for variation, seed in ((0, 1), (0, 2), (3, 1))]
    pictures = [env.reset(scene).observation.views["front"].rgb for scene in scenes]
    assert all((first != second).any() for first, second in pairwise(pictures))


@pytest.mark.parametrize("name", TASKS)
def test_every_start_is_at_rest_and_says_the_goal(env: TabletopEnv, name: str) -> None:
    start = env.reset(SeededScene(name, 1, 5))
    arm = start.observation.arms[ARM]
    assert start.instructions == TASKS[name].instructions(1)
    assert (start.observation.step, start.observation.time_s) == (0, 0.0)
    assert list(start.observation.views) == list(CAMERAS)
    assert arm.gripper_open
    assert np.abs(arm.joint_velocities).max() < 0.05
    assert env.rejected_placements >= 0


@pytest.mark.parametrize(
    ("scene", "complaint"),
    [
        (SeededScene("fold_laundry", 0, 0), "has no task 'fold_laundry'; it has close_jar"),
        (SeededScene("open_drawer", 3, 0), "variations 0 to 2, not 3"),
        (SeededScene("open_drawer", -1, 0), "variations 0 to 2, not -1"),
        (StoredScene("open_drawer", 0, "somewhere", RandomState((), 0, 0, 0.0), None), "StoredScene"),
        (LiveScene("open the drawer"), "LiveScene"),
    ],
    ids=repr,
)
def test_a_scene_it_cannot_make_is_refused(
    env: TabletopEnv, scene: SeededScene | StoredScene | LiveScene, complaint: str
) -> None:
    with pytest.raises(SceneError, match=complaint):
        env.reset(scene)


def test_an_unknown_camera_is_refused_at_once() -> None:
    with pytest.raises(SceneError, match="periscope"):
        TabletopEnv(cameras=("front", "periscope"))


def test_acting_before_the_first_scene_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        TabletopEnv().step(action(np.eye(4)))


NOWHERE = gripper_down(np.array((0.3, 0.0, 0.9)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (np.where(np.eye(4) == 1, np.nan, NOWHERE), "not finite"),
        (NOWHERE * 2, "not a rotation"),
        (NOWHERE @ np.diag((1.0, 1.0, -1.0, 1.0)), "not a rotation"),
        (gripper_down(np.array((0.3, 0.0, 9.0))), "workspace"),
        (gripper_down(np.array((0.3, 0.0, 0.5))), "workspace"),
        (gripper_down(np.array((0.69, 0.49, 1.5))), "reach"),
    ],
    ids=["nan", "stretched", "mirrored", "sky", "below the table", "too far"],
)
def test_a_refused_action_counts_and_moves_nothing(env: TabletopEnv, change: np.ndarray, reason: str) -> None:
    before = env.reset(BUTTONS).observation
    step = env.step(action(change))
    assert step.refused is not None
    assert reason in step.refused
    assert step.success is False
    assert step.observation.step == 1
    assert np.array_equal(step.observation.arms[ARM].joint_positions, before.arms[ARM].joint_positions)
    assert env.step(action(NOWHERE)).refused is None


def test_it_holds_and_closes_at_any_time() -> None:
    env = TabletopEnv(cameras=())
    env.hold()
    env.close()
    env.reset(BUTTONS)
    env.hold()
    env.close()
    env.close()
    assert env.reset(BUTTONS).observation.step == 0


# Recordings


def test_keyframes_alone_are_the_start_and_the_end_of_every_action(keyframes: Demonstration) -> None:
    count = len(keyframes.observations)
    assert keyframes.keyframes == tuple(range(1, count))
    assert [observation.step for observation in keyframes.observations] == list(range(count))
    assert keyframes.ignore_collisions == (False, False, True)
    assert [observation.arms[ARM].gripper_open for observation in keyframes.observations] == [True, False, False]
    assert (keyframes.task, keyframes.variation, keyframes.seed) == (BUTTONS.task, BUTTONS.variation, BUTTONS.seed)
    assert keyframes.renderer == "mujoco-ray"


def test_filming_changes_nothing_about_the_keyframes(film: Demonstration, keyframes: Demonstration) -> None:
    for frame, expected in zip((0, *film.keyframes), keyframes.observations, strict=True):
        assert np.array_equal(film.observations[frame].arms[ARM].joint_positions, expected.arms[ARM].joint_positions)
        assert np.array_equal(film.observations[frame].views["wrist"].rgb, expected.views["wrist"].rgb)
        assert film.observations[frame].time_s == expected.time_s


def test_a_film_has_20_frames_a_second(film: Demonstration) -> None:
    gaps = np.diff([observation.time_s for observation in film.observations])
    ends = np.isin(np.arange(1, len(film.observations)), film.keyframes)
    assert gaps[~ends] == pytest.approx(0.05)
    assert (gaps[ends] > 0).all()
    assert (gaps[ends] < 0.05 + 1e-6).all()
    assert film.keyframes[-1] == len(film.observations) - 1


def test_a_film_counts_keyframes_and_says_how_it_moved(film: Demonstration) -> None:
    first, last = film.keyframes
    steps = [observation.step for observation in film.observations]
    assert steps == [0] * first + [1] * (last - first) + [2]
    assert film.ignore_collisions == (False,) * (first + 1) + (True,) * (last - first)


def test_recorded_velocities_are_those_of_the_joints(film: Demonstration) -> None:
    """Mean velocity between frames against central recorded one, where the arm moves and has been moving."""
    arms = [observation.arms[ARM] for observation in film.observations[: film.keyframes[0]]]
    positions = np.stack([arm.joint_positions for arm in arms])
    velocities = np.stack([arm.joint_velocities for arm in arms])
    measured = (positions[2:] - positions[:-2]) / 0.1
    assert np.abs(velocities).max() > 0.5
    assert np.abs(measured - velocities[1:-1]).max() < 0.2 * np.abs(velocities).max()
    assert np.abs(film.observations[-1].arms[ARM].joint_velocities).max() < 0.05


RIG = RigConfig(views=3)


@pytest.fixture(scope="module")
def rigged(env: TabletopEnv) -> Demonstration:
    """The expert at 20 Hz before a rig that looks at every seventh frame."""
    demonstration = env.record(BUTTONS, "all", rig=RIG, rig_every=7)
    assert isinstance(demonstration, Demonstration)
    return demonstration


def test_a_rig_changes_nothing_about_the_demonstration(rigged: Demonstration, film: Demonstration) -> None:
    assert digest(rigged) == digest(film)
    assert rigged.keyframes == film.keyframes
    assert film.target_views == {}


def test_a_rig_looks_at_the_start_at_keyframes_and_every_so_many_frames(
    env: TabletopEnv, rigged: Demonstration
) -> None:
    expected = sorted({*range(0, len(rigged.observations), 7), *rigged.keyframes})
    assert list(rigged.target_views) == expected
    assert all(list(views) == ["rig0", "rig1", "rig2"] for views in rigged.target_views.values())
    keyframes = env.record(BUTTONS, rig=RIG)
    assert isinstance(keyframes, Demonstration)
    assert list(keyframes.target_views) == [0, *keyframes.keyframes]
    for frame, views in keyframes.target_views.items():
        whole = rigged.target_views[(0, *rigged.keyframes)[frame]]
        for name, view in views.items():
            assert np.array_equal(view.rgb, whole[name].rgb)


def test_a_rig_sees_the_moment_of_its_frame(env: TabletopEnv) -> None:
    """A rig whose one camera stands where the front camera does sees what that one sees."""
    demonstration = env.record(BUTTONS, "all", rig=RigConfig(views=1, from_deg=0.0, to_deg=0.0, field_deg=40.0))
    assert isinstance(demonstration, Demonstration)
    for frame, views in demonstration.target_views.items():
        front = demonstration.observations[frame].views["front"]
        assert np.array_equal(views["rig0"].rgb, front.rgb)
        assert np.array_equal(views["rig0"].depth_m, front.depth_m)


def test_labels_have_the_names_of_the_things_on_the_table(env: TabletopEnv, keyframes: Demonstration) -> None:
    assert keyframes.labels == {1: "table", 2: "panda", **{n: keyframes.labels[n] for n in keyframes.labels if n > 2}}
    assert {"plate/0", "plate/1", "plate/2"} <= set(keyframes.labels.values())
    assert 0 not in keyframes.labels
    env.reset(BUTTONS)
    assert {keyframes.labels.get(env.model.body(name).id) for name in ("table", "plate/1")} == {"table", "plate/1"}
    for observation in keyframes.observations:
        for view in observation.views.values():
            assert set(np.unique(view.segmentation).tolist()) <= {0, *keyframes.labels}


# Pictures of nothing


def objects_seen(env: TabletopEnv, observation: Observation) -> set[str]:
    labels = np.unique([view.segmentation for view in observation.views.values() if view.segmentation is not None])
    return {env.model.body(int(label)).name for label in labels}


def test_empty_views_show_the_arm_over_an_empty_table(env: TabletopEnv, keyframes: Demonstration) -> None:
    env.reset(BUTTONS)
    observation = keyframes.observations[1]
    assert {"plate/0", "plate/1", "plate/2"} <= objects_seen(env, observation)
    empty = env.empty_views(observation)
    assert list(empty) == list(observation.views)
    for name, view in empty.items():
        seen = observation.views[name]
        assert view.camera is seen.camera
        assert view.segmentation is not None
        assert seen.segmentation is not None
        room = {int(env.model.body(body).id) for body in ("world", "panda", "table")}
        assert set(np.unique(view.segmentation).tolist()) <= room
        arm = seen.segmentation == env.model.body("panda").id
        assert np.array_equal(view.depth_m[arm], seen.depth_m[arm])
        assert np.array_equal(view.rgb[arm], seen.rgb[arm])


def test_looking_at_the_empty_scene_leaves_the_full_one(env: TabletopEnv) -> None:
    before = env.reset(BUTTONS).observation
    env.empty_views(before)
    after = env.step(action(before.arms[ARM].world_from_gripper)).observation
    assert objects_seen(env, after) == objects_seen(env, before)
