"""Signals that end a run: all of them as Ctrl-C does, and none while the robot is told to hold."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, the request to end, the terminal that closes."""


@contextmanager
def signals_interrupt() -> Generator[None]:
    """Every signal that ends a run raises KeyboardInterrupt, so that the way out is the same."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(_SIGNALS, interrupt):
        yield


@contextmanager
def uninterrupted() -> Generator[None]:
    """None of these signals has an effect: whoever presses Ctrl-C twice does not stop the stopping."""
    with _handled(_SIGNALS, signal.SIG_IGN):
        yield


@contextmanager
def _handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None] | signal.Handlers
) -> Generator[None]:
    """Signals handled so; outside of the main thread, where none arrives, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
