"""A trained policy acts: always the same, alone or in company, and only on pictures that it knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from gnfactor.actions import Action
from gnfactor.agent import Agent
from gnfactor.config import Config
from gnfactor.envs.base import SeededScene
from gnfactor.errors import ObservationError
from gnfactor.model import Policy
from gnfactor.scene import ARM, Observation
from tests.fake_env import FakeEnv, with_views
from tests.test_evaluate import TINY


@pytest.fixture(scope="module")
def agent() -> Agent:
    torch.manual_seed(0)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(TINY)))
    assert isinstance(config, Config)
    return Agent(Policy(config.policy))


def look(seed: int) -> Observation:
    return FakeEnv(("overhead",), (16, 16)).reset(SeededScene("touch", 0, seed)).observation


def numbers(action: Action) -> np.ndarray:
    target = action.arms[ARM]
    return np.array([*target.world_from_gripper.ravel(), target.gripper_open, target.ignore_collisions])


def test_an_action_does_not_depend_on_the_company_it_is_asked_in(agent: Agent) -> None:
    observations = [look(seed) for seed in range(5)]
    texts = ["touch the red disc", "touch the blue disc", "touch the red disc", "tap it", "touch the red disc"]
    together = [numbers(action) for action in agent.act(observations, texts)]
    alone = [numbers(agent.act([o], [t])[0]) for o, t in zip(observations, texts, strict=True)]
    backwards = [numbers(action) for action in agent.act(observations[::-1], texts[::-1])][::-1]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)


def test_nobody_asking_gets_no_action(agent: Agent) -> None:
    assert agent.act([], []) == []


def test_acting_leaves_no_gradients_and_does_not_forbid_them_to_others(agent: Agent) -> None:
    agent.act([look(0)], ["touch the red disc"])
    assert all(weight.grad is None for weight in agent.policy.parameters())
    assert torch.is_grad_enabled()
    assert not agent.policy.training


def test_a_missing_camera_is_refused(agent: Agent) -> None:
    observation = FakeEnv(("front",), (16, 16)).reset(SeededScene("touch", 0, 0)).observation
    with pytest.raises(ObservationError, match="overhead"):
        agent.act([observation], ["touch the red disc"])


def test_another_image_size_is_refused(agent: Agent) -> None:
    observation = FakeEnv(("overhead",), (32, 32)).reset(SeededScene("touch", 0, 0)).observation
    with pytest.raises(ObservationError, match="16x16"):
        agent.act([observation], ["touch the red disc"])


def test_a_camera_pose_that_is_not_finite_is_refused(agent: Agent) -> None:
    lost = np.full((4, 4), np.nan)
    observation = with_views(look(0), lambda v: replace(v, camera=replace(v.camera, world_from_camera=lost)))
    with pytest.raises(ObservationError, match="not finite"):
        agent.act([observation], ["touch the red disc"])


def test_a_picture_without_any_depth_still_gets_a_finite_action(agent: Agent) -> None:
    observation = with_views(look(0), lambda v: replace(v, depth_m=np.full_like(v.depth_m, np.nan)))
    (action,) = agent.act([observation], ["touch the red disc"])
    assert np.isfinite(action.arms[ARM].world_from_gripper).all()
