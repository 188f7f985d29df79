"""What all commands share: how they read their arguments and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from rich.console import Console

from gnfactor.errors import ConfigError, GNFactorError

WRONG_USE, INTERRUPTED = 2, 130
"""Exit statuses."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError where argparse would print its usage and end the process."""
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def run(command: Callable[[Console], int], interrupted: str, remedy: str | None = None) -> int:
    """Run a command and return its exit status; a mistake of the user is one line on standard error and status 2.

    Args:
        command: what to do; is told where to print what is not a result.
        interrupted: said when the user interrupts it.
        remedy: what to do where a file or folder refuses; None: such errors are the command's own to explain.
    """
    console = Console(stderr=True)
    try:
        return command(console)
    except GNFactorError as error:
        _complain(console, f"{error}")
        return WRONG_USE
    except OSError as error:
        if remedy is None:
            raise
        _complain(console, f"{error}; {remedy}")
        return WRONG_USE
    except KeyboardInterrupt:
        console.print(interrupted, soft_wrap=True)
        return INTERRUPTED


def run_by_usage(
    usage: str, args: Sequence[str], command: Callable[[Console], int], interrupted: str, remedy: str | None = None
) -> int:
    """`run`, or print how the command is used: with status 0 if that was asked for, with 2 if nothing was said."""
    if not args or "--help" in args or "-h" in args:
        print(usage, end="")
        return 0 if args else WRONG_USE
    return run(command, interrupted, remedy)


def _complain(console: Console, what: str) -> None:
    console.print(f"error: {what}", style="red", markup=False, highlight=False, soft_wrap=True)
