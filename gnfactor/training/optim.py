"""How weights change: optimisers, the learning rate over time, and the running average of weights."""

# The lists of tensors behind torch's own optimisers have no public name yet.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gnfactor.errors import ConfigError


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule and averaging; the defaults are the published ones."""

    name: str = "lamb"
    """"lamb" or "adamw"."""
    lr: float = 5e-4
    weight_decay: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    warmup_steps: int = 0
    """Steps over which the learning rate grows linearly from near 0."""
    schedule: str = "constant"
    """"constant", or "cosine": falls to 0 at the last step."""
    clip_norm: float | None = None
    """Largest norm of all gradients together; None does not clip."""
    ema_decay: float | None = None
    """Evaluate with a running average of the weights; None does not average. A usual value is 0.999."""

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ConfigError(f"optim name '{self.name}' is unknown; known are {sorted(OPTIMIZERS)}")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"optim schedule '{self.schedule}' is unknown; known are {sorted(SCHEDULES)}")
        for key, value in (("lr", self.lr), ("eps", self.eps)):
            if not 0 < value < math.inf:
                raise ConfigError(f"optim {key} is {value}; it must be above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"optim weight_decay is {self.weight_decay}; it must not be negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optim betas are {list(self.betas)}; each must lie in 0 to 1, without 1")
        if self.warmup_steps < 0:
            raise ConfigError(f"optim warmup_steps is {self.warmup_steps}; it must not be negative")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ConfigError(f"optim clip_norm is {self.clip_norm}; it must be above 0, or null for no clipping")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"optim ema_decay is {self.ema_decay}; it must lie between 0 and 1, or null for none")


class Lamb(Optimizer):
    """Layer-wise adaptive moments (You et al. 2020) exactly as PerAct and GNFactor train with.

    For each tensor: m, v = moving means of the gradient and its square, without bias correction;
    u = m / (sqrt(v) + eps) + weight_decay w; w <- w - lr min(|w|, 10) / |u| u, where the ratio is 1 if either
    norm is 0. It differs from other programs' Lamb in the missing correction and in the limit on |w|.
    Works on lists of tensors and never waits for the device.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with the gradients at hand; parameters without one stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in cast("list[Tensor]", group["params"]) if weight.grad is not None]
            if weights:
                self._step_group(weights, group)
        return loss

    def _step_group(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        beta_mean, beta_square = group["betas"]
        gradients = [cast("Tensor", weight.grad) for weight in weights]
        for weight in weights:
            if weight not in self.state:
                self.state[weight] = {"mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
        means = [cast("Tensor", self.state[weight]["mean"]) for weight in weights]
        squares = [cast("Tensor", self.state[weight]["square"]) for weight in weights]
        torch._foreach_mul_(means, beta_mean)
        torch._foreach_add_(means, gradients, alpha=1 - beta_mean)
        torch._foreach_mul_(squares, beta_square)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta_square)

        updates = torch._foreach_sqrt(squares)
        torch._foreach_add_(updates, group["eps"])
        updates = torch._foreach_div(means, updates)
        if group["weight_decay"] != 0:
            torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        torch._foreach_mul_(updates, _trust_ratios(weights, updates))
        torch._foreach_add_(weights, updates, alpha=-group["lr"])


def _trust_ratios(weights: list[Tensor], updates: tuple[Tensor, ...]) -> list[Tensor]:
    """min(|w|, 10) / |u| of each tensor, 1 where either norm is 0."""
    ratios: list[Tensor] = []
    for weight_norm, update_norm in zip(torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True):
        limited = weight_norm.clamp(max=10)
        either_zero = (limited == 0) | (update_norm == 0)
        ratios.append(torch.where(either_zero, torch.ones_like(limited), limited / update_norm))
    return ratios


def build_optimizer(module: nn.Module, config: OptimConfig) -> Optimizer:
    """Optimiser over all parameters of the module that learn."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    return OPTIMIZERS[config.name](weights, config)


def schedule_factor(step: int, config: OptimConfig, total_steps: int) -> float:
    """Factor on the learning rate of optimiser step `step` (0 is the first) of `total_steps`."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    span = max(total_steps - config.warmup_steps, 1)
    return SCHEDULES[config.schedule](min((step - config.warmup_steps) / span, 1.0))


def build_schedule(optimizer: Optimizer, config: OptimConfig, total_steps: int) -> LambdaLR:
    """Schedule to be stepped once after every optimiser step."""
    return LambdaLR(optimizer, lambda step: schedule_factor(step, config, total_steps))


class Ema:
    """Running average of a module's weights, for evaluation.

    Averaged are the floating-point parameters, and the running statistics of batch norm, which have to fit the
    averaged weights. All else that a module holds (counters, tables) has no average and stays what it is. The n-th
    update uses decay min(decay, (n + 1) / (n + 10)), so that the random weights of the beginning are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: value.detach().clone() for name, value in _averaged(module)}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the module's present weights into the average."""
        decay = min(self.decay, (self.updates + 1) / (self.updates + 10))
        self.updates += 1
        present = dict(_averaged(module))
        averages = [self.average[name] for name in present]
        torch._foreach_lerp_(averages, list(present.values()), 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Generator[None, None, None]:
        """The module has the averaged weights inside the block and its own again after it."""
        own = {name: value.detach().clone() for name, value in _averaged(module)}
        _copy_into(module, self.average)
        try:
            yield
        finally:
            _copy_into(module, own)

    def state_dict(self) -> dict[str, Tensor]:
        """All of it as tensors."""
        averages = {f"average.{name}": value for name, value in self.average.items()}
        return {"updates": torch.tensor(self.updates), **averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict()` of an average over the same module."""
        self.updates = int(state["updates"])
        for name, average in self.average.items():
            average.copy_(state[f"average.{name}"])


def _averaged(module: nn.Module) -> Generator[tuple[str, Tensor], None, None]:
    for name, weight in module.named_parameters():
        if weight.is_floating_point():
            yield name, weight
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            yield name, buffer


@torch.no_grad()
def _copy_into(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, weight in _averaged(module):
        weight.copy_(values[name])


def _lamb(weights: Sequence[Tensor], config: OptimConfig) -> Optimizer:
    return Lamb(weights, config.lr, config.betas, config.eps, config.weight_decay)


def _adamw(weights: Sequence[Tensor], config: OptimConfig) -> Optimizer:
    betas = (config.betas[0], config.betas[1])
    return AdamW(weights, lr=config.lr, betas=betas, eps=config.eps, weight_decay=config.weight_decay)


def _constant(progress: float) -> float:  # noqa: ARG001
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


OPTIMIZERS = {"lamb": _lamb, "adamw": _adamw}
SCHEDULES = {"constant": _constant, "cosine": _cosine}
