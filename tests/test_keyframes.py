"""Keyframes: the published rule by hand numbers, by laws, and on real episodes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.demos import ReadOptions, read_recording
from data.keyframes import (
    KEYFRAME_RULES,
    fixed_interval_keyframes,
    may_be_published_keyframe,
    published_keyframes,
)
from data.recordings import find_recordings

REAL = {0: (70, 85, 124), 1: (64, 77, 107), 2: (62, 75, 104), 3: (68, 81, 113), 4: (65, 80, 117)}


def keyframes(gripper: str, speed: str) -> tuple[int, ...]:
    """The published rule on one character per frame: o(pen) or c(losed); s(till) or m(oving)."""
    velocities = np.array([[0.0] * 6 + [0.1 if letter == "s" else -0.11] for letter in speed])
    return published_keyframes(np.array([letter == "o" for letter in gripper]), velocities)


@st.composite
def episodes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(2, 60))
    flips = draw(st.sets(st.integers(0, count - 1), max_size=4))
    gripper_open = np.array([sum(flip <= frame for flip in flips) % 2 == 0 for frame in range(count)])
    still = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    velocities = np.where(np.array(still)[:, None], 0.02, 0.7) * np.linspace(-1, 1, 7)
    return gripper_open, velocities


@given(episodes())
def test_every_keyframe_but_the_last_could_be_told_when_it_was_seen(episode: tuple[np.ndarray, np.ndarray]) -> None:
    gripper_open, velocities = episode
    for frame in published_keyframes(gripper_open, velocities)[:-1]:
        assert may_be_published_keyframe(bool(gripper_open[frame]), bool(gripper_open[frame - 1]), velocities[frame])


def test_a_frame_that_moves_with_the_gripper_as_before_is_none_and_need_not_be_looked_at() -> None:
    assert not may_be_published_keyframe(True, True, np.full(7, 0.11))
    assert may_be_published_keyframe(True, True, np.full(7, -0.1))
    assert may_be_published_keyframe(False, True, np.full(7, 0.11))


def test_a_robot_that_only_moves_has_one_keyframe_at_the_end() -> None:
    assert keyframes("oooooooo", "mmmmmmmm") == (7,)


def test_a_change_of_the_gripper_is_a_keyframe() -> None:
    assert keyframes("oooocccc", "mmmmmmmm") == (4, 7)


def test_a_stop_is_a_keyframe_and_the_next_four_frames_are_none() -> None:
    assert keyframes("oooooooooooo", "mmmssssssmmm") == (3, 8, 11)
    assert keyframes("oooooooooooo", "mmmsssssmmmm") == (3, 11)


def test_a_stop_next_to_a_change_of_the_gripper_is_none() -> None:
    assert keyframes("ooooccccccc", "mmmsssmmmmm") == (4, 10)
    assert keyframes("ooooccccccc", "mmmssssmmmm") == (4, 6, 10)


def test_the_last_frames_but_one_are_no_stops() -> None:
    assert keyframes("oooooooo", "mmmmmmss") == (7,)
    assert keyframes("oooooooo", "mmmmmsss") == (5, 7)


def test_of_two_neighbours_at_the_end_the_last_stays() -> None:
    assert keyframes("ooooooooc", "mmmmmmmmm") == (8,)
    assert keyframes("oooooooco", "mmmmmmmmm") == (8,)
    assert keyframes("oococoooo", "mmmmmmmmm") == (2, 3, 4, 5, 8)


def test_near_the_start_the_frames_before_are_taken_from_the_end() -> None:
    assert keyframes("oooooooooo", "msmmmmmmmm") == (1, 9)
    assert keyframes("oooooooccc", "msmmmmmmmm") == (7, 9), "frame -1 is the last one, where the gripper is closed"


def test_a_stop_at_the_very_start_is_no_keyframe_but_rests_the_rule() -> None:
    assert keyframes("oooooooooo", "ssssssmmmm") == (5, 9)


@given(episodes(), st.sampled_from(sorted(KEYFRAME_RULES)))
def test_keyframes_increase_from_one_to_the_last_frame(episode: tuple[np.ndarray, np.ndarray], rule: str) -> None:
    found = KEYFRAME_RULES[rule](*episode)
    assert list(found) == sorted(set(found))
    assert found[0] >= 1
    assert found[-1] == len(episode[0]) - 1


@given(episodes())
def test_published_keyframes_are_changes_or_stops_and_miss_no_change(episode: tuple[np.ndarray, np.ndarray]) -> None:
    gripper_open, velocities = episode
    found = published_keyframes(*episode)
    changes = {frame for frame in range(1, len(gripper_open)) if gripper_open[frame] != gripper_open[frame - 1]}
    last = len(gripper_open) - 1
    assert len(found) < 2 or found[-1] - found[-2] > 1
    assert changes - {last - 1} <= set(found)
    stops = [frame for frame in found if frame not in changes and frame != last]
    assert all((np.abs(velocities[frame]) <= 0.1).all() for frame in stops)
    assert all(later - earlier > 4 for earlier, later in pairwise(stops))


def test_fixed_intervals_give_about_twenty() -> None:
    nothing = np.zeros((100, 7))
    assert fixed_interval_keyframes(np.ones(100, bool), nothing) == (*range(5, 100, 5), 99)
    assert fixed_interval_keyframes(np.ones(3, bool), nothing[:3]) == (1, 2)


@pytest.mark.parametrize("rule", sorted(KEYFRAME_RULES))
def test_a_single_frame_has_no_keyframe(rule: str) -> None:
    assert KEYFRAME_RULES[rule](np.ones(1, bool), np.zeros((1, 7))) == ()


@pytest.mark.parametrize("episode", REAL)
def test_real_episodes_give_the_published_indices(real_episodes: Path, episode: int) -> None:
    recording = find_recordings(real_episodes).recordings[episode]
    assert read_recording(recording, ReadOptions(cameras=("front",))).keyframes == REAL[episode]
