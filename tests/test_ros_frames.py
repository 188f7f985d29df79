from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.errors import RobotError
from gnfactor.kinematics import along, between
from gnfactor.ros.sensing.frames import KEPT, FrameTree
from gnfactor.ros.sensing.stamps import newest_pair
from tests.robot_messages import as_rospy, transform
from tests.strategies import poses

generations = st.sampled_from([1, 2])
stamps = st.lists(st.floats(0, 1), max_size=6)


@given(generations, st.lists(poses(), min_size=1, max_size=4), st.integers(0, 4))
def test_a_chain_is_the_product_of_its_links_in_both_directions(ros: int, links: list[Tensor], fork: int) -> None:
    tree, expected = FrameTree(), np.eye(4)
    for i, link in enumerate(links):
        tree.add([transform(ros, 1.0, f"/f{i}", f"f{i + 1}", link.numpy())], fixed=i % 2 == 0)
        expected = expected @ link.numpy()
    last = f"f{len(links)}"
    np.testing.assert_allclose(tree.pose("f0", last, 1.0, 0.1), expected, atol=1e-9)
    np.testing.assert_allclose(tree.pose(last, "f0", 1.0, 0.1), np.linalg.inv(expected), atol=1e-9)
    middle = f"f{min(fork, len(links))}"
    np.testing.assert_allclose(
        tree.pose("f0", middle, 1.0, 0.1) @ tree.pose(middle, last, 1.0, 0.1), expected, atol=1e-9
    )


@given(poses(), poses())
def test_two_frames_under_one_parent_see_each_other(first: Tensor, second: Tensor) -> None:
    tree = FrameTree()
    tree.add([transform(1, 0.0, "world", "base", first.numpy())], fixed=True)
    tree.add([transform(1, 0.0, "world", "camera", second.numpy())], fixed=True)
    expected = np.linalg.inv(first.numpy()) @ second.numpy()
    np.testing.assert_allclose(tree.pose("base", "camera", 5.0, 0.1), expected, atol=1e-9)


@given(poses(), poses(), st.floats(0, 1), st.booleans())
def test_a_frame_that_moves_is_on_its_way_between_two_times(
    start: Tensor, end: Tensor, share: float, backwards: bool
) -> None:
    messages = [
        as_rospy(transform(1, time_s, "base", "hand", pose.numpy())) for time_s, pose in ((10.0, start), (12.0, end))
    ]
    tree = FrameTree()
    for message in reversed(messages) if backwards else messages:
        tree.add([message], fixed=False)
    distance_m, turn_rad = between(
        tree.pose("base", "hand", 10 + 2 * share, 0.1), along(start.numpy(), end.numpy(), share)
    )
    assert distance_m < 1e-6
    assert turn_rad < 1e-5 or abs(turn_rad - np.pi) < 1e-5 or between(start.numpy(), end.numpy())[1] > np.pi - 1e-3


def test_beyond_its_times_a_frame_stays_for_a_moment_only() -> None:
    tree, pose = FrameTree(), np.eye(4)
    tree.add([transform(1, 10.0, "base", "hand", pose)], fixed=False)
    for time_s in (9.95, 10.05):
        np.testing.assert_array_equal(tree.pose("base", "hand", time_s, 0.1), pose)
    for time_s in (9.8, 10.2):
        with pytest.raises(RobotError, match=r"'hand' [+-]0.200 s from .* at most 0.1 s"):
            tree.pose("base", "hand", time_s, 0.1)


def test_a_fixed_frame_is_known_at_all_times() -> None:
    tree, pose = FrameTree(), np.diag([-1.0, -1, 1, 1])
    tree.add([transform(2, 10.0, "base", "camera", pose)], fixed=True)
    np.testing.assert_allclose(tree.pose("base", "camera", 1e6, 0.1), pose, atol=1e-12)


def test_what_moves_above_the_meeting_point_does_not_matter() -> None:
    tree = FrameTree()
    tree.add([transform(1, 0.0, "base", "camera", np.eye(4))], fixed=True)
    tree.add([transform(1, 0.0, "map", "base", np.eye(4))], fixed=False)
    np.testing.assert_array_equal(tree.pose("base", "camera", 100.0, 0.1), np.eye(4))


def test_no_way_and_a_circle_are_said() -> None:
    tree = FrameTree()
    assert not tree.connects("base", "camera")
    with pytest.raises(RobotError, match=r"no way from 'base' to 'camera'; .* none yet"):
        tree.pose("base", "camera", 0.0, 0.1)
    for parent, child in (("a", "b"), ("b", "a")):
        tree.add([transform(1, 0.0, parent, child, np.eye(4))], fixed=True)
    with pytest.raises(RobotError, match="in a circle, b under a under b"):
        tree.pose("a", "b", 0.0, 0.1)


def test_a_pose_that_is_none_is_refused_with_its_frame() -> None:
    tree = FrameTree()
    message = as_rospy(transform(1, 0.0, "base", "camera", np.eye(4)))
    message.transform.rotation.w = float("nan")
    tree.add([message], fixed=True)
    with pytest.raises(RobotError, match=r"pose of 'camera' .* length 1 are expected"):
        tree.pose("base", "camera", 0.0, 0.1)


def test_only_the_newest_times_are_kept() -> None:
    tree = FrameTree()
    for i in range(KEPT + 100):
        tree.add([transform(1, 0.02 * i, "base", "hand", np.eye(4))], fixed=False)
    with pytest.raises(RobotError, match="'hand'"):
        tree.pose("base", "hand", 0.0, 0.1)


@given(stamps, stamps, st.floats(0, 0.3))
def test_the_newest_pair_is_found_as_by_looking_at_all(first: list[float], second: list[float], slop_s: float) -> None:
    found = newest_pair(first, second, slop_s)
    allowed = [(i, j) for i in range(len(first)) for j in range(len(second)) if abs(first[i] - second[j]) <= slop_s]
    assert (found is None) == (not allowed)
    if found is not None:
        assert found in allowed
        oldest = min(first[found[0]], second[found[1]])
        assert all(min(first[i], second[j]) <= oldest for i, j in allowed)


def test_of_pairs_as_new_the_nearest_wins() -> None:
    assert newest_pair([1.0, 2.0], [1.9, 2.0, 2.01], 0.1) == (1, 1)
