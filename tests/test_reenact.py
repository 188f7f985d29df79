"""Recordings reenacted on the replay of RLBench: restored scenes succeed, others are recognised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data import reenact
from gnfactor.scene import Camera, View
from tests.replay_rlbench.dialects import DIALECTS
from tests.replay_rlbench.modules import install, uninstall
from tests.replay_rlbench.simulator import Trouble, World


@pytest.fixture(autouse=True)
def _cleared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("COPPELIASIM_ROOT", "DISPLAY"):
        monkeypatch.setenv(name, "")
    yield
    uninstall()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_recordings_are_reenacted_in_their_scenes(
    real_episodes: Path, dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(dialect, real_episodes)
    assert reenact.main([str(real_episodes), "--episodes", "2"]) == 0
    first, second, total = capsys.readouterr().out.splitlines()
    name = "open_drawer/all_variations/episodes/episode"
    assert first == f"{name}0: the recorded scene (0.0% of the pixels differ), success after 3 actions"
    assert second.startswith(f"{name}1: the recorded scene")
    assert total == "2 of 2 scenes restored, 2 of 2 reenactments successful"


def test_another_scene_is_recognised(
    real_episodes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = install("peract_fork", real_episodes)
    draw = World.draw

    def other(world: World, variation: int) -> list[str]:
        draw(world, variation)
        world.episode = world.episodes[3]
        return list(world.episode.descriptions)

    monkeypatch.setattr(World, "draw", other)
    assert reenact.main([str(real_episodes), "--tasks", "open_drawer", "--episodes", "1"]) == 1
    said = capsys.readouterr()
    assert "episode0: ANOTHER SCENE (" in said.out
    assert "told 'open the bottom drawer'" in said.out
    assert "0 of 1 scenes restored" in said.out
    assert world.draws == 1


def test_a_simulator_that_does_not_start_is_told(real_episodes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install("upstream", real_episodes, Trouble("launch", "PyRepError"))
    assert reenact.main([str(real_episodes), "--episodes", "1"]) == 1
    assert "failed: CoppeliaSim does not start" in capsys.readouterr().out


def test_without_rlbench_the_command_says_what_to_install(
    real_episodes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reenact.main([str(real_episodes), "--episodes", "1"]) == 2
    assert "from its repository" in capsys.readouterr().err


def test_surfaces_elsewhere_are_counted_by_hand() -> None:
    def view(depth_m: np.ndarray) -> View:
        return View(Camera(np.eye(3), np.eye(4), 2, 2), np.zeros((2, 2, 3), np.uint8), depth_m)

    recorded = view(np.full((2, 2), 1.0))
    assert reenact.share_elsewhere(view(np.array([[1.0, 1.009], [0.98, 0.0]])), recorded) == 0.5
