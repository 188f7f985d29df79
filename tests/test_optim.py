"""Optimisers against the published numbers and plain loops; schedules and averages by their laws."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from gnfactor.errors import ConfigError
from gnfactor.training.optim import Ema, Lamb, OptimConfig, build_optimizer, build_schedule, schedule_factor
from tests.strategies import generators


def test_five_steps_of_lamb_equal_the_published_ones(published: Path) -> None:
    tensors = load_file(published / "pieces.safetensors")
    weights = [nn.Parameter(tensors[f"lamb/start_{index}"].clone()) for index in range(3)]
    optimizer = Lamb(weights, lr=5e-4, weight_decay=1e-6)
    for step in range(5):
        for index, weight in enumerate(weights):
            weight.grad = tensors[f"lamb/grad_{step}_{index}"].clone()
        optimizer.step()
    for index, weight in enumerate(weights):
        torch.testing.assert_close(weight.detach(), tensors[f"lamb/after_5_steps_{index}"], rtol=0, atol=1e-7)


def lamb_by_loop(weights: list[Tensor], gradients: list[list[Tensor]], lr: float, decay: float) -> list[Tensor]:
    """One number at a time, in Python floats."""
    results: list[Tensor] = []
    for weight, history in zip(weights, zip(*gradients, strict=True), strict=True):
        values = weight.flatten().tolist()
        mean, square = [0.0] * len(values), [0.0] * len(values)
        for gradient in history:
            for place, slope in enumerate(gradient.flatten().tolist()):
                mean[place] = 0.9 * mean[place] + 0.1 * slope
                square[place] = 0.999 * square[place] + 0.001 * slope * slope
            terms = zip(mean, square, values, strict=True)
            update = [m / (math.sqrt(s) + 1e-6) + decay * v for m, s, v in terms]
            size, change = min(math.hypot(*values), 10.0), math.hypot(*update)
            ratio = 1.0 if size == 0 or change == 0 else size / change
            values = [v - lr * ratio * u for v, u in zip(values, update, strict=True)]
        results.append(torch.tensor(values).view_as(weight))
    return results


@given(generators(), st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 1.0, 100.0]))
def test_lamb_agrees_with_a_loop_over_numbers(generator: torch.Generator, decay: float, scale: float) -> None:
    start = [scale * torch.randn(shape, generator=generator) for shape in ((3, 2), (4,), (1,))]
    gradients = [[torch.randn(weight.shape, generator=generator) for weight in start] for _ in range(3)]
    weights = [nn.Parameter(weight.clone()) for weight in start]
    optimizer = Lamb(weights, lr=0.01, weight_decay=decay)
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient
        optimizer.step()
    for weight, expected in zip(weights, lamb_by_loop(start, gradients, 0.01, decay), strict=True):
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-5)


def test_lamb_leaves_a_parameter_without_gradient_alone_and_survives_a_zero_gradient() -> None:
    still, zero = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    zero.grad = torch.zeros(2)
    optimizer = Lamb([still, zero], lr=0.1)
    optimizer.step()
    assert still.tolist() == zero.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["lamb", "adamw"])
def test_an_optimizer_continues_from_its_state_as_if_never_stopped(name: str) -> None:
    config = OptimConfig(name=name, lr=0.01, weight_decay=0.1)

    def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            module(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    straight = nn.Linear(3, 2)
    stopped = nn.Linear(3, 2)
    stopped.load_state_dict(straight.state_dict())
    train(straight, build_optimizer(straight, config), 6)
    first = build_optimizer(stopped, config)
    train(stopped, first, 3)
    second = build_optimizer(stopped, config)
    second.load_state_dict(first.state_dict())
    train(stopped, second, 3)
    assert torch.equal(straight.weight, stopped.weight)


@pytest.mark.parametrize("name", ["lamb", "adamw"])
def test_an_optimizer_finds_the_bottom_of_a_bowl(name: str) -> None:
    torch.manual_seed(1)
    module = nn.Linear(4, 1, bias=False)
    optimizer = build_optimizer(module, OptimConfig(name=name, lr=0.05))
    schedule = build_schedule(optimizer, OptimConfig(schedule="cosine", warmup_steps=10), 300)
    goal = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    for _ in range(300):
        optimizer.zero_grad()
        (module.weight - goal).square().sum().backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(module.weight.detach(), goal, rtol=0, atol=0.05)


def test_frozen_parameters_are_not_optimised() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(requires_grad=False)
    assert sum(len(group["params"]) for group in build_optimizer(module, OptimConfig()).param_groups) == 1


@given(st.integers(0, 50), st.integers(60, 500), st.sampled_from(["constant", "cosine"]))
def test_the_learning_rate_rises_to_its_full_height_once_and_then_never_rises(
    warmup: int, total: int, schedule: str
) -> None:
    config = OptimConfig(warmup_steps=warmup, schedule=schedule)
    factors = [schedule_factor(step, config, total) for step in range(total + 1)]
    assert all(0 < factor <= 1 for factor in factors[:-1])
    assert factors[: warmup + 1] == sorted(set(factors[: warmup + 1]))
    assert factors[warmup] == 1
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[-1] == pytest.approx(0 if schedule == "cosine" else 1)
    assert schedule_factor(10 * total, config, total) == pytest.approx(factors[-1])


def test_the_schedule_reaches_the_optimizer() -> None:
    optimizer = build_optimizer(nn.Linear(1, 1), OptimConfig(lr=0.1))
    config = OptimConfig(warmup_steps=4, schedule="cosine")
    schedule = build_schedule(optimizer, config, 20)
    for step in range(20):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * schedule_factor(step, config, 20))
        optimizer.step()
        schedule.step()


def normalised() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def wander(module: nn.Module) -> None:
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight))
    module(torch.randn(8, 3))


def test_the_average_of_weights_that_stay_is_the_weights() -> None:
    module = normalised()
    ema = Ema(module, 0.9)
    for _ in range(5):
        ema.update(module)
    for name, value in module.named_parameters():
        torch.testing.assert_close(ema.average[name], value.detach())


def test_the_average_follows_its_recurrence() -> None:
    module = nn.Linear(1, 1, bias=False)
    ema = Ema(module, 0.3)
    expected = module.weight.item()
    for number in range(1, 8):
        with torch.no_grad():
            module.weight.fill_(number)
        ema.update(module)
        decay = min(0.3, number / (number + 9))
        expected = decay * expected + (1 - decay) * number
        assert ema.average["weight"].item() == pytest.approx(expected)


def test_running_statistics_are_averaged_and_counters_are_not() -> None:
    assert set(Ema(normalised(), 0.9).average) == {
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
    }


def test_the_average_is_applied_inside_the_block_only_even_after_an_error() -> None:
    module = normalised()
    ema = Ema(module, 0.9)
    wander(module)
    ema.update(module)
    wander(module)
    own = {name: value.clone() for name, value in module.state_dict().items()}
    inside: dict[str, Tensor] = {}

    def look_and_fail() -> None:
        with ema.applied(module):
            inside.update({name: value.clone() for name, value in module.state_dict().items()})
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        look_and_fail()
    assert torch.equal(inside["0.weight"], ema.average["0.weight"])
    assert torch.equal(inside["1.running_var"], ema.average["1.running_var"])
    assert not torch.equal(inside["0.weight"], own["0.weight"])
    for name, value in module.state_dict().items():
        assert torch.equal(value, own[name]), name


def test_an_average_continues_from_its_state() -> None:
    module = normalised()
    straight = Ema(module, 0.9)
    wander(module)
    straight.update(module)
    continued = Ema(normalised(), 0.9)
    continued.load_state_dict(straight.state_dict())
    wander(module)
    straight.update(module)
    continued.update(module)
    assert all(isinstance(value, Tensor) for value in straight.state_dict().values())
    for name, value in straight.state_dict().items():
        assert torch.equal(value, continued.state_dict()[name]), name


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"name": "sgd"}, r"name.*adamw.*lamb"),
        ({"schedule": "linear"}, r"schedule.*constant.*cosine"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"eps": -1.0}, "eps"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"ema_decay": 1.0}, "ema_decay"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        replace(OptimConfig(), **changes)
