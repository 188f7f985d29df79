"""What RLBench's exceptions mean: an action that cannot be carried out, a scene that cannot be made, or a failure."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pyrep.errors import (  # pyright: ignore[reportMissingImports]
    ConfigurationError,
    ConfigurationPathError,
    IKError,
)
from rlbench.backend.exceptions import (  # pyright: ignore[reportMissingImports]
    BoundaryError,
    InvalidActionError,
    TaskEnvironmentError,
    WaypointError,
)

from gnfactor.errors import GNFactorError, SceneError, SimulatorError


def refusal(error: Exception) -> str | None:
    """Why an action was not carried out, or None where the error is no refusal but a failure of the simulator.

    RLBench raises one error for a target outside of the workspace and for one to which no path is found.
    """
    said = " ".join(str(error).split())
    if isinstance(error, IKError):
        return f"unreachable: {said}"
    if isinstance(error, (ConfigurationPathError, ConfigurationError)):
        return f"planning failed: {said}"
    if isinstance(error, InvalidActionError):
        return f"outside the workspace: {said}" if "outside of workspace" in said else f"planning failed: {said}"
    return None


@contextmanager
def making_scene(what: str) -> Generator[None]:
    """Where RLBench makes a scene; its errors leave as ours.

    Raises:
        SceneError: the scene cannot be made.
        SimulatorError: the simulator failed.
    """
    try:
        yield
    except GNFactorError:
        raise
    except (TaskEnvironmentError, BoundaryError, WaypointError) as error:
        raise SceneError(f"RLBench cannot make the scene of {what}: {_said(error)}") from error
    except Exception as error:
        raise failure(error, f"while it made the scene of {what}") from error


def failure(error: Exception, when: str) -> SimulatorError:
    """An error of the simulator as one of ours, which says when it happened."""
    return SimulatorError(f"simulator error {when}: {type(error).__name__}: {_said(error)}")


def _said(error: Exception) -> str:
    """The error's message and that of its cause, in one line."""
    messages = [str(part) for part in (error, error.__cause__) if part is not None]
    return " ".join("; ".join(message for message in messages if message).split())
