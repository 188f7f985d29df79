"""RLBench's cameras as ours, measured on recorded episodes: pixels, depth and poses of one world."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from gnfactor.envs.rlbench.convert import metric_depth, observation_from
from gnfactor.geometry import project, unproject
from gnfactor.scene import View
from tests.replay_rlbench.modules import install, make, scenes, uninstall

FIXED = ("front", "left_shoulder", "right_shoulder", "overhead")


@pytest.fixture(autouse=True)
def _cleared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("COPPELIASIM_ROOT", "DISPLAY"):
        monkeypatch.setenv(name, "")
    yield
    uninstall()


def matrices(view: View) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(view.camera.intrinsics), torch.from_numpy(view.camera.world_from_camera)


def world_points(view: View) -> torch.Tensor:
    points = unproject(torch.from_numpy(view.depth_m).double(), *matrices(view))
    return points[torch.from_numpy(view.depth_m > 0)]


def gaps_m(points: torch.Tensor, other: View) -> np.ndarray:
    """Of points that `other` has in its picture: how far beyond the surface there; negative: before it."""
    camera = other.camera
    pixels, depth = project(points, *matrices(other))
    column, row = pixels.round().long().numpy().T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height) & (depth.numpy() > 0)
    surface = other.depth_m[row[inside], column[inside]]
    return (depth.numpy()[inside] - surface)[surface > 0]


def test_cameras_agree_on_where_things_are(real_episodes: Path) -> None:
    world = install("peract_fork", real_episodes)
    env = make(FIXED, (128, 128))
    gaps: dict[tuple[str, str], list[np.ndarray]] = {pair: [] for pair in permutations(FIXED, 2)}
    for scene, episode in zip(scenes(real_episodes), world.episodes, strict=True):
        env.reset(scene)
        for world.frame in range(0, len(episode.frames), 5):
            views = observation_from(world.observe(), FIXED, step=0, time_s=0.0).views
            points = {name: world_points(view) for name, view in views.items()}
            for (first, second), found in gaps.items():
                found.append(gaps_m(points[first], views[second]))
    for pair, found in gaps.items():
        every = np.concatenate(found)
        seen = every[every < 0.02]  # nothing hides it from the other camera
        assert np.median(np.abs(seen)) < 0.006, pair
        assert len(seen) > 0.25 * len(every), pair
        assert (every < -0.01).mean() < 0.06, pair


@pytest.mark.parametrize("image_size", [(64, 64), (128, 64), (32, 64)])
def test_any_size_sees_the_same_points(real_episodes: Path, image_size: tuple[int, int]) -> None:
    install("upstream", real_episodes)
    scene = scenes(real_episodes)[0]
    full = make(FIXED, (128, 128)).reset(scene).observation.views["front"]
    small = make(FIXED, image_size).reset(scene).observation.views["front"]
    assert (small.camera.width, small.camera.height) == image_size
    distance = torch.cdist(world_points(small)[::7], world_points(full)).min(1).values
    assert distance.max() < 1e-5


def test_depth_is_metres_between_the_planes_and_nothing_beyond() -> None:
    depth_m = metric_depth(np.array([[0.0, 0.5, 1.0]], np.float32), near_m=0.01, far_m=4.5)
    np.testing.assert_allclose(depth_m, [[0.01, 2.255, 0.0]], rtol=1e-6)
