from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import Draw, Split, TaskUniformBatches, load_split
from data.episode import EpisodeInfo
from data.pairs import keyframe_pairs, stored_pairs, training_pairs, used_frames
from data.store import Store
from gnfactor.actions import Box
from gnfactor.batch import Sample, collate
from gnfactor.config import DataConfig
from gnfactor.demonstration import some_frames
from gnfactor.envs.base import EVALUATION_SEEDS
from gnfactor.errors import ConfigError, DataError
from gnfactor.scene import ARM
from tests.made_up import assert_same
from tests.synthetic import SIZE, make_demonstration, make_store

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))


@st.composite
def episodes(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A number of frames, and keyframes of which the last frame is one."""
    frames = draw(st.integers(2, 60))
    inner = draw(st.sets(st.integers(1, frames - 1), max_size=8))
    return frames, sorted({*inner, frames - 1})


def published_replay(frames: int, keyframes: list[int], every: int) -> Counter[tuple[int, int]]:
    """The published procedure in plain words: after every start, the rest of the keyframes again."""
    counts: Counter[tuple[int, int]] = Counter()
    for start in range(0, frames - 1, every):
        here = start
        for keyframe in keyframes:
            if keyframe > start:
                counts[here, keyframe] += 1
                here = keyframe
    return counts


@given(episodes(), st.integers(1, 12))
def test_published_weights_are_how_often_the_published_replay_holds_a_pair(
    episode: tuple[int, list[int]], every: int
) -> None:
    frames, keyframes = episode
    pairs = training_pairs(frames, keyframes, every, "published")
    expected = published_replay(frames, keyframes, every)
    assert {(pair.frame, pair.keyframe): pair.weight for pair in pairs if pair.weight} == dict(expected)


def test_the_example_of_the_published_duplication() -> None:
    # 150 frames with 6 evenly spaced keyframes: 54 entries, of which 20 are distinct
    keyframes = [24, 49, 74, 99, 124, 149]
    published = training_pairs(150, keyframes, 10, "published")
    assert (sum(pair.weight for pair in published), len(published)) == (54, 20)


@given(episodes(), st.integers(1, 12))
def test_distinct_pairs_lead_from_every_start_and_keyframe_to_the_next_keyframe(
    episode: tuple[int, list[int]], every: int
) -> None:
    frames, keyframes = episode
    pairs = training_pairs(frames, keyframes, every)
    starts = {*range(0, frames - 1, every), *keyframes[:-1]}
    assert [pair.frame for pair in pairs] == sorted(starts)
    for pair in pairs:
        assert pair.keyframe == min(keyframe for keyframe in keyframes if keyframe > pair.frame)
        assert pair.weight == 1


def test_the_keyframe_weight_is_that_of_pairs_that_start_at_a_keyframe() -> None:
    pairs = training_pairs(21, [7, 10, 20], 10, keyframe_weight=3.0)
    assert [tuple(pair) for pair in pairs] == [(0, 7, 1), (7, 10, 3), (10, 20, 3)]


def test_an_episode_of_keyframes_only_gives_all_of_its_steps() -> None:
    pairs = training_pairs(5, [1, 2, 3, 4], 10)
    assert [tuple(pair) for pair in pairs] == [(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 4, 1)]
    assert pairs == keyframe_pairs([1, 2, 3, 4])


def info_of(frames: int, keyframes: list[int], numbers: tuple[int, ...] = ()) -> EpisodeInfo:
    return EpisodeInfo(
        *("push/variation0/episode0", "push", 0, None, "rlbench", ("push it",)),
        *(frames, tuple(keyframes), ("right",), ()),
        frame_numbers=numbers,
    )


@given(episodes(), st.integers(1, 12), st.integers(1, 3), st.sampled_from(["distinct", "published"]))
def test_used_frames_alone_give_the_pairs_of_the_whole_recording(
    episode: tuple[int, list[int]], every: int, times: int, counting: Literal["distinct", "published"]
) -> None:
    frames, keyframes = episode
    kept = used_frames(frames, keyframes, every)
    assert {*kept} == {*range(0, frames - 1, every), *keyframes}
    part = info_of(len(kept), [kept.index(frame) for frame in keyframes], kept)
    whole = stored_pairs(info_of(frames, keyframes), every * times, counting)
    assert whole == training_pairs(frames, keyframes, every * times, counting)
    assert [
        (kept[pair.frame], kept[pair.keyframe], pair.weight) for pair in stored_pairs(part, every * times, counting)
    ] == [tuple(pair) for pair in whole]


def test_a_start_that_was_not_kept_is_refused() -> None:
    kept = used_frames(31, [17, 30], 10)
    assert kept == (0, 10, 17, 20, 30)
    with pytest.raises(
        ConfigError, match=r"data\.start_every is 15, but frame 15 .* frames 0, 10, 17, 20, 30 .*multiple"
    ):
        stored_pairs(info_of(5, [2, 4], kept), 15)


def test_a_store_of_used_frames_trains_like_the_whole(tmp_path: Path) -> None:
    whole = make_demonstration("push", 1, frames=35, keyframes=(12, 34), rig=2, rig_frames=(0, 10, 12, 15, 20))
    part = some_frames(whole, used_frames(35, whole.keyframes, 10))
    assert (part.keyframes, part.frame_numbers) == ((2, 5), (0, 10, 12, 20, 30, 34))
    assert [*part.target_views] == [0, 1, 2, 3]
    samples: list[list[Sample]] = []
    for name, demonstration in (("whole", whole), ("part", part)):
        store = Store.create(tmp_path / name)
        store.write(demonstration, "push/variation1/seed1")
        assert_same(store.read("push/variation1/seed1", target_views=None), demonstration)
        training = split_of(store, validation_episodes=0).training
        samples.append([training[index] for index in range(len(training))])
    for one, other in zip(*samples, strict=True):
        assert (one.observation.time_s, one.observation.step) == (other.observation.time_s, other.observation.step)
        assert (one.target.time_s, one.ignore_collisions) == (other.target.time_s, other.ignore_collisions)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(make_store(tmp_path_factory.mktemp("stores") / "demo", episodes=3))


def split_of(store: Store, **kwargs: object) -> Split:
    config = DataConfig(**{"validation_episodes": 1, **kwargs})  # type: ignore[arg-type]
    return load_split(store, config, ("front",), BOX, progress=False)


def test_samples_are_the_moments_of_the_demonstrations(store: Store) -> None:
    split = split_of(store)
    assert len(split.training) == 2 * 2 * 4  # frames 0, 10, 12, 20 of two episodes of two tasks
    position = split.training.items.index((0, (10, 12, 1.0)))
    sample = split.training[position]
    moments = split.training.moments[0]
    original = make_demonstration(moments.info.task, moments.info.seed or 0)
    np.testing.assert_array_equal(sample.observation.views["front"].rgb, original.observations[10].views["front"].rgb)
    np.testing.assert_allclose(
        sample.target.arms[ARM].world_from_gripper, original.observations[12].arms[ARM].world_from_gripper
    )
    assert sample.task == moments.info.task


def test_the_step_counts_keyframes_and_the_flag_is_that_of_the_motion_to_the_target(store: Store) -> None:
    split = split_of(store)
    seen = {
        (pair.frame, split.training[index].observation.step, split.training[index].ignore_collisions)
        for index, (episode, pair) in enumerate(split.training.items)
    }
    # Only the motion after frame 12 ignores collisions: frame 12 itself was reached without, its sample says with.
    assert seen == {(0, 0, False), (10, 0, False), (12, 1, True), (20, 1, True)}


def test_frames_that_nothing_uses_are_not_read(store: Store) -> None:
    split = split_of(store)
    assert set(split.training.moments[0].observations) == {0, 10, 12, 20, 24}
    assert set(split.validation.moments[0].observations) == {0, 12, 24}


def test_whole_episodes_are_held_out_the_same_ones_each_time(store: Store) -> None:
    split = split_of(store)
    held_out = [moments.info.name for moments in split.validation.moments]
    assert [name.rpartition("/")[2] for name in held_out] == ["seed2", "seed2"]
    assert not {moments.info.name for moments in split.training.moments} & set(held_out)
    assert [moments.info.name for moments in split_of(store).validation.moments] == held_out
    assert len(split.validation) == 2 * 2  # two keyframes of each held-out episode


def test_a_wording_is_drawn_only_where_asked_for(store: Store) -> None:
    first, every = split_of(store), split_of(store, instruction="any")
    assert {first.training[Draw(0, wording)].instruction for wording in range(5)} == {"lift the square"}
    assert {every.training[Draw(0, wording)].instruction for wording in range(5)} == {
        "lift the square",
        "please lift it",
    }
    assert first.instructions() == ("lift the square", "please lift it", "please push it", "push the square")


def test_samples_make_a_batch(store: Store) -> None:
    split = split_of(store)
    batch = collate([split.training[0], split.training[5]], ("front",), (SIZE, SIZE))
    assert batch.inputs.views.rgb.shape == (2, 1, 3, SIZE, SIZE)


def test_what_the_store_does_not_have_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.tasks names \['fly'\].*lift.*push"):
        split_of(store, tasks=("fly",))
    with pytest.raises(ConfigError, match=r"data.validation_episodes is 3.*only 3 episodes"):
        split_of(store, validation_episodes=3)
    with pytest.raises(DataError, match="cameras"):
        load_split(store, DataConfig(), ("wrist",), BOX, progress=False)
    with pytest.raises(DataError, match="holds no episodes"):
        split_of(Store.create(tmp_path / "empty"))


def test_a_demonstration_of_an_evaluation_scene_is_not_learned_from(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    for seed in (1, EVALUATION_SEEDS.start):
        store.write(make_demonstration("push", seed), f"push/variation0/seed{seed}")
    with pytest.raises(DataError, match=r"push/variation0/seed1000000000.*for evaluation scenes"):
        split_of(store, validation_episodes=0)
    assert len(split_of(store, validation_episodes=1).training.moments) == 1  # held out, it teaches nothing


def test_a_keyframe_that_no_voxel_holds_is_refused(store: Store) -> None:
    first = split_of(store).training.moments[0]
    x = float(first.observations[12].arms[ARM].world_from_gripper[0, 3])
    words = rf"first at frame 12 of '{first.info.name}': \[{round(x, 3)},.*not between.*policy\.grid\.lower"
    with pytest.raises(DataError, match=words):
        load_split(store, DataConfig(), ("front",), Box((x + 0.01, -0.5, 0.6), (0.7, 0.5, 1.6)), progress=False)
    load_split(store, DataConfig(), ("front",), BOX, progress=False)


def test_a_weight_for_a_misspelt_task_is_refused_and_one_for_an_absent_task_is_not(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"data.task_weights names 'pussh'.*did you mean 'push'"):
        split_of(store, task_weights={"pussh": 2.0})
    split_of(store, tasks=("push",), task_weights={"lift": 2.0, "open_drawer": 2.0})


def test_a_split_can_be_had_again_after_the_store_has_grown(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path / "store", episodes=3))
    first = split_of(store)
    trained_on = first.trained_on()
    assert (trained_on.tasks, trained_on.renderer) == (("lift", "push"), "synthetic")
    assert trained_on.held_out == ("lift/variation0/seed2", "push/variation0/seed2")
    Store.create(store.path).write(make_demonstration("push", 7), "push/variation1/seed7")
    assert split_of(store).trained_on() != trained_on
    config = DataConfig(validation_episodes=1)
    again = load_split(store, config, ("front",), BOX, again=trained_on, progress=False)
    assert again.trained_on() == trained_on
    shutil.rmtree(store.path / "push/variation0/seed2")
    with pytest.raises(DataError, match="no longer has the episode 'push/variation0/seed2'"):
        load_split(store, config, ("front",), BOX, again=trained_on, progress=False)


def test_tasks_can_be_chosen(store: Store) -> None:
    split = split_of(store, tasks=("push",))
    assert {split.training[index].task for index in range(len(split.training))} == {"push"}


class Stub:
    """Stands for a SampleSet: three tasks of unequal size."""

    def by_task(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        sizes = {"a": range(2), "b": range(2, 10), "c": range(10, 40)}
        weights = {"a": np.array([1.0, 3.0]), "b": np.ones(8), "c": np.ones(30)}
        return {task: (np.array(indices), weights[task]) for task, indices in sizes.items()}


def batches(size: int, seed: int = 0, **kwargs: int) -> TaskUniformBatches:
    return TaskUniformBatches(Stub(), size, seed, **kwargs)  # type: ignore[arg-type]


def task_of(index: int) -> str:
    return "a" if index < 2 else "b" if index < 10 else "c"


@given(st.integers(1, 9), st.integers(0, 2**31), st.integers(0, 10**9))
def test_processes_share_the_batch_that_one_alone_would_see(size: int, seed: int, number: int) -> None:
    whole = batches(2 * size, seed).batch(number)
    parts = [batches(size, seed, rank=rank, world=2).batch(number) for rank in (0, 1)]
    assert parts[0] + parts[1] == whole


@given(st.integers(1, 9), st.integers(0, 2**31), st.integers(0, 50))
def test_a_batch_depends_on_the_seed_and_its_number_alone(size: int, seed: int, number: int) -> None:
    endless, continued = iter(batches(size, seed)), iter(batches(size, seed, start=number))
    for _ in range(number):
        next(endless)
    assert next(endless) == next(continued) == batches(size, seed).batch(number)


@given(st.integers(1, 20), st.integers(0, 10**6))
def test_no_task_comes_twice_more_often_than_another(size: int, number: int) -> None:
    counts = Counter(task_of(draw.sample) for draw in batches(size).batch(number))
    shares = [counts[task] for task in "abc"]
    assert sum(shares) == size
    assert max(shares) - min(shares) <= 1


def test_tasks_are_equally_likely_and_samples_as_likely_as_their_weights() -> None:
    counts: Counter[int] = Counter()
    for number in range(4000):
        counts.update(draw.sample for draw in batches(1).batch(number))
    per_task = Counter({task: sum(n for index, n in counts.items() if task_of(index) == task) for task in "abc"})
    for task in "abc":
        assert abs(per_task[task] / 4000 - 1 / 3) < 0.03
    assert abs(counts[1] / per_task["a"] - 0.75) < 0.04
    assert set(counts) == set(range(40))


def test_another_seed_gives_other_batches() -> None:
    assert [batches(4, 0).batch(n) for n in range(5)] != [batches(4, 1).batch(n) for n in range(5)]


def test_the_loader_hands_out_whole_samples(store: Store) -> None:
    from torch.utils.data import DataLoader

    split = split_of(store)
    loader = DataLoader(
        split.training, batch_sampler=TaskUniformBatches(split.training, 3, seed=0), collate_fn=lambda samples: samples
    )
    first = next(iter(loader))
    assert len(first) == 3
    assert all(isinstance(sample, Sample) for sample in first)
