"""What the commands of this package share: how they read their arguments and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable
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


def run(command: Callable[[Console], int], interrupted: str) -> int:
    """Run a command and return its exit status; a mistake of the user is one line on standard error and status 2.

    Args:
        command: what to do; is told where to print what is not a result.
        interrupted: said when the user interrupts it.
    """
    console = Console(stderr=True)
    try:
        return command(console)
    except GNFactorError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return WRONG_USE
    except KeyboardInterrupt:
        console.print(interrupted, soft_wrap=True)
        return INTERRUPTED
