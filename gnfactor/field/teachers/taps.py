"""Features from the inside of a model: what passes through its named places in a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """A place in a model."""

    module: str
    """Dotted path of a submodule."""
    side: Literal["input", "output"]
    """Its first input, or its first output."""


class _SeenError(Exception):
    """All taps have given their tensor; the rest of the forward pass would be thrown away."""


def tapped(model: nn.Module, taps: Sequence[Tap], forward: Callable[[], Any]) -> list[Tensor]:
    """What the taps see first when `forward` runs the model, which is cut off as soon as each has seen something."""
    seen: dict[Tap, Tensor] = {}

    def keep(tap: Tap, value: Tensor | tuple[Any, ...]) -> None:
        seen.setdefault(tap, value[0] if isinstance(value, tuple) else value)
        if len(seen) == len(set(taps)):
            raise _SeenError

    def see_input(tap: Tap) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, inputs: keep(tap, inputs)

    def see_output(tap: Tap) -> Callable[[nn.Module, object, Tensor | tuple[Any, ...]], None]:
        return lambda _module, _inputs, output: keep(tap, output)

    with ExitStack() as hooks:
        for tap in taps:
            module = model.get_submodule(tap.module)
            if tap.side == "input":
                handle = module.register_forward_pre_hook(see_input(tap))
            else:
                handle = module.register_forward_hook(see_output(tap))
            hooks.callback(handle.remove)
        with suppress(_SeenError):
            forward()
    return [seen[tap] for tap in taps]
