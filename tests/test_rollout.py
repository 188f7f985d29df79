"""Episodes: one environment here, many in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gnfactor.actions import Action, ArmTarget
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import Scene, SeededScene, Start, Step
from gnfactor.errors import ConfigError, MissingExtraError, ObservationError, RobotError, SceneError
from gnfactor.evaluation.controls import EmptyScene, OtherInstruction
from gnfactor.evaluation.film import Film, film, outcome
from gnfactor.evaluation.serving import Job, Venue, serve
from gnfactor.rollout import Episode, rollout
from gnfactor.scene import ARM, Observation
from tests.fake_env import TASKS, FakeEnv, PointPolicy, go_to

SCENE = SeededScene("touch", 0, 10**9)


class Fixed:
    """Does the same thing whatever it sees."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.resets: list[int] = []

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        return [self.action for _ in observations]

    def reset(self, index: int) -> None:
        self.resets.append(index)


class Held(FakeEnv):
    """Remembers that it was told to hold."""

    held = 0

    def hold(self) -> None:
        self.held += 1


AWAY = go_to(np.array([0.2, 0.0, 1.0]))
FAR = go_to(np.array([9.0, 0.0, 1.0]))


def test_a_policy_that_reaches_the_goal_succeeds_at_once() -> None:
    env = Held()
    assert rollout(env, PointPolicy(), SCENE, 5) == Episode(SCENE, "touch the red disc", True, 1, "success")
    assert env.held == 1


def test_an_episode_without_success_ends_at_its_bound() -> None:
    assert rollout(FakeEnv(), Fixed(AWAY), SCENE, 3) == Episode(SCENE, "touch the red disc", False, 3, "max_steps")


def test_a_refusal_ends_the_episode_or_is_counted_as_told() -> None:
    ended = rollout(FakeEnv(), Fixed(FAR), SCENE, 3, on_refusal="end")
    assert (ended.steps, ended.ending, ended.success) == (1, "refused", False)
    assert "outside the workspace" in (ended.reason or "")
    went_on = rollout(FakeEnv(), Fixed(FAR), SCENE, 3, on_refusal="continue")
    assert (went_on.steps, went_on.ending, went_on.success) == (3, "max_steps", False)
    assert went_on.reason == ended.reason


def test_a_crash_of_the_environment_is_a_failed_episode_with_its_reason_and_the_arm_holds() -> None:
    env = Held(crash_on=lambda scene: True)
    episode = rollout(env, Fixed(AWAY), SCENE, 3)
    assert (episode.success, episode.ending, episode.steps) == (False, "crashed", 1)
    assert episode.reason is not None
    assert episode.reason.startswith("RuntimeError: the gears have jammed (fake_env.py:")
    assert env.held == 1


def test_a_scene_that_cannot_be_made_is_a_failed_episode() -> None:
    episode = rollout(FakeEnv(), Fixed(AWAY), SeededScene("fly", 0, 0), 3)
    assert (episode.ending, episode.steps) == ("crashed", 0)
    assert "touch" in (episode.reason or "")


@pytest.mark.parametrize("error", [ObservationError("no such camera"), KeyboardInterrupt()])
def test_an_exception_of_the_policy_goes_on_but_the_arm_holds_first(error: BaseException) -> None:
    class Raising(Fixed):
        def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
            raise error

    env = Held()
    with pytest.raises(type(error)):
        rollout(env, Raising(AWAY), SCENE, 3)
    assert env.held == 1


@pytest.mark.parametrize("said", ["the arm does not answer", "outside the workspace"])
def test_a_hold_that_fails_says_also_why_the_episode_had_ended(said: str) -> None:
    class Unheld(FakeEnv):
        def hold(self) -> None:
            raise RobotError(said)

    with pytest.raises(RobotError, match="outside the workspace") as caught:
        rollout(Unheld(), Fixed(FAR), SCENE, 3)
    assert str(caught.value).count(said) == 1
    with pytest.raises(RobotError, match=f"^{said}$"):
        rollout(Unheld(), PointPolicy(), SCENE, 5)


def jobs_for(count: int, control: str | None = None, max_steps: int = 3) -> list[Job]:
    scenes = [SeededScene(list(TASKS)[i % 2], i % 3, 10**9 + i) for i in range(count)]
    return [Job(scene, max_steps, "end", control) for scene in scenes]


def venue(**options: object) -> Venue:
    return Venue(partial(FakeEnv, cameras=("overhead",), **options), TASKS)


def test_results_do_not_depend_on_the_number_of_processes() -> None:
    here = [rollout(FakeEnv(("overhead",)), PointPolicy(), job.scene, 3) for job in jobs_for(6)]
    policy = PointPolicy()
    assert serve(jobs_for(6), venue(), policy, processes=3) == here
    assert all(episode.success for episode in here)


def test_controls_withhold_what_they_say() -> None:
    jobs = [*jobs_for(4, "empty_scene"), *jobs_for(4, "other_instruction")]
    assert not any(episode.success for episode in serve(jobs, venue(), PointPolicy(), processes=1))


def test_the_other_instruction_is_another_and_always_the_same() -> None:
    env = OtherInstruction(FakeEnv(), TASKS)
    for variation in range(3):
        for seed in range(4):
            scene = SeededScene("touch", variation, seed)
            own = FakeEnv().reset(scene)
            start = env.reset(scene)
            assert start.instructions[0] not in own.instructions
            assert start.instructions == env.reset(scene).instructions
            np.testing.assert_array_equal(
                start.observation.views["front"].rgb, own.observation.views["front"].rgb
            )  # the scene itself is the one asked for
    with pytest.raises(SceneError, match="only one instruction"):
        OtherInstruction(FakeEnv(), {"touch": 1}).reset(SCENE)


def test_the_empty_scene_shows_the_table_only_and_acts_in_the_real_one() -> None:
    env = EmptyScene(FakeEnv())
    start = env.reset(SCENE)
    assert len(np.unique(start.observation.views["overhead"].rgb.reshape(-1, 3), axis=0)) <= 2
    real = FakeEnv().reset(SCENE).observation
    assert env.step(PointPolicy().act([real], ["the red disc"])[0]).success is True


def crash_on_third(scene: SeededScene) -> bool:
    return scene.seed == 10**9 + 2


def die_on_first(scene: SeededScene) -> bool:
    return scene.seed == 10**9


def test_a_crash_in_one_episode_leaves_the_others_alone() -> None:
    episodes = serve(jobs_for(5), venue(crash_on=crash_on_third), PointPolicy(), processes=2)
    assert [episode.success for episode in episodes] == [True, True, False, True, True]
    assert "jammed" in (episodes[2].reason or "")
    assert not episodes[2].repeated


def test_a_process_that_dies_is_replaced_and_its_episode_repeated(tmp_path: Path) -> None:
    once = venue(die_on=die_on_first, die_once=tmp_path / "died")
    episodes = serve(jobs_for(3), once, PointPolicy(), processes=1)
    assert [(episode.success, episode.repeated) for episode in episodes] == [(True, True), (True, False), (True, False)]


def test_an_episode_that_kills_its_process_twice_has_failed_and_the_run_goes_on() -> None:
    episodes = serve(jobs_for(2), venue(die_on=die_on_first), PointPolicy(), processes=1)
    assert [episode.success for episode in episodes] == [False, True]
    assert episodes[0].reason == "the environment's process ended with exit status 17"
    assert (episodes[0].ending, episodes[0].repeated) == ("crashed", True)


class Sleepy(FakeEnv):
    def step(self, action: Action) -> Step:
        import time

        time.sleep(600)
        return super().step(action)


class Missing(FakeEnv):
    def __init__(self, **options: object) -> None:
        raise MissingExtraError("a simulator", "pip install it")


class Dying(FakeEnv):
    def reset(self, scene: Scene) -> Start:
        import os

        os._exit(3)


def test_a_process_that_falls_silent_is_ended() -> None:
    (episode,) = serve(jobs_for(1), Venue(Sleepy, TASKS), Fixed(AWAY), processes=1, silence_s=3.0)
    assert episode.reason == "the environment's process fell silent and was ended"


def test_an_environment_that_cannot_be_made_stops_the_run() -> None:
    with pytest.raises(MissingExtraError, match="a simulator"):
        serve(jobs_for(2), Venue(Missing, TASKS), PointPolicy(), processes=1)


def test_a_run_in_which_every_process_dies_is_given_up() -> None:
    with pytest.raises(SceneError, match="exit status 3"):
        serve(jobs_for(9), Venue(Dying, TASKS), PointPolicy(), processes=2)


def test_an_observation_that_cannot_be_used_spoils_its_own_episode_only() -> None:
    class Picky(PointPolicy):
        def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
            if any("green" in text for text in instructions):
                raise ObservationError("the gripper's pose is not finite")
            return super().act(observations, instructions)

    episodes = serve(jobs_for(3), venue(), Picky(), processes=3)
    assert [episode.success for episode in episodes] == [True, False, True]
    assert episodes[1].reason == "the gripper's pose is not finite"
    assert (episodes[1].instruction, episodes[1].steps) == ("tap the green disc", 1)


def test_the_policy_hears_of_every_new_episode() -> None:
    policy = Fixed(AWAY)
    serve(jobs_for(3), venue(), policy, processes=1)
    assert policy.resets == [0, 0, 0]


def test_a_filmed_episode_leaves_a_video_and_is_the_same_episode(tmp_path: Path) -> None:
    (job,) = jobs_for(1)
    filmed = Job(job.scene, 3, "end", film=Film(tmp_path / "a.webm", "overhead", (64, 64)))
    assert serve([filmed], venue(), PointPolicy(), 1) == serve([job], venue(), PointPolicy(), 1)
    assert (tmp_path / "a.webm").stat().st_size > 500


def test_an_environment_that_cannot_be_filmed_says_so(tmp_path: Path) -> None:
    job = Job(SCENE, 3, "end", film=Film(tmp_path / "a.webm", "overhead"))
    with pytest.raises(ConfigError, match="videos=false"):
        serve([job], Venue(Unfilmable, TASKS), PointPolicy(), 1)


class Unfilmable:
    def __init__(self) -> None:
        self._env = FakeEnv()
        self.capabilities = self._env.capabilities
        self.reset, self.step, self.hold, self.close = (
            self._env.reset,
            self._env.step,
            self._env.hold,
            self._env.close,
        )


def test_outcomes_are_told_in_words() -> None:
    assert outcome(Episode(SCENE, "", True, 1, "success")) == "success after 1 action"
    assert outcome(Episode(SCENE, "", False, 25, "max_steps")) == "no success in 25 actions"
    assert outcome(Episode(SCENE, "", False, 2, "refused", "too far")) == "failed: action 2 was refused: too far"


class Replay:
    """Goes where a demonstration went."""

    def __init__(self, demonstration: Demonstration) -> None:
        self._demonstration = demonstration

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        return [self._action(self._demonstration.keyframes[observation.step]) for observation in observations]

    def reset(self, index: int) -> None:
        pass

    def _action(self, frame: int) -> Action:
        arm = self._demonstration.observations[frame].arms[ARM]
        ignoring = self._demonstration.ignore_collisions[frame]
        return Action({ARM: ArmTarget(arm.world_from_gripper, arm.gripper_open, ignoring)})


def test_a_demonstration_of_the_tabletop_replayed_in_its_scene_succeeds_watched_or_not(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", exc_type=ImportError)
    from gnfactor.envs.tabletop.world import TabletopEnv

    env = TabletopEnv(("front",), (16, 16))
    scene = SeededScene("push_buttons", 0, 5)
    demonstration = env.record(scene)
    assert isinstance(demonstration, Demonstration)
    policy = Replay(demonstration)
    plain = rollout(env, policy, scene, len(demonstration.keyframes))
    filmed = film(env, Film(tmp_path / "a.webm", "front", (32, 32)), lambda: rollout(env, policy, scene, 10))
    env.close()
    assert plain.success
    assert filmed == plain
    assert (tmp_path / "a.webm").is_file()
