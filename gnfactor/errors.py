"""The errors that a user can cause. Every message says what was found, what was expected and what to do.

GNFactorError
|- ConfigError         a key, a value or a combination of values in a configuration
|- DataError           a file, folder or store that is damaged or not what it should be
|- CheckpointError     a checkpoint that is damaged, foreign or does not fit the configuration
|- ObservationError    an observation that cannot be used: wrong camera, wrong size, non-finite numbers
|- SceneError          an environment that cannot make the scene asked for
|- SimulatorError      a simulator that is not set up, or that failed
|- RobotError          a robot that cannot be reached, or that does not do what it is asked
`- MissingExtraError   an optional package that is not installed
"""

from __future__ import annotations


class GNFactorError(Exception):
    """Root of all errors caused from outside; a door prints it as one line and exits with status 2."""


class ConfigError(GNFactorError):
    """A configuration that cannot be used; names the key."""


class DataError(GNFactorError):
    """A file, folder or store that is damaged or not what was expected; names the path."""


class CheckpointError(GNFactorError):
    """A checkpoint that cannot be read or does not fit."""


class ObservationError(GNFactorError):
    """An observation that a policy cannot use."""


class SceneError(GNFactorError):
    """A scene that an environment cannot make."""


class SimulatorError(GNFactorError):
    """A simulator that is not set up on this machine, cannot be started, or failed in the middle of something."""


class RobotError(GNFactorError):
    """A robot that cannot be reached, or that does not do what it is asked; names what is missing."""


class MissingExtraError(GNFactorError):
    """An optional package is not installed; the message says how to get it."""

    def __init__(self, package: str, install: str) -> None:
        super().__init__(f"the package '{package}' is needed here and is not installed; get it with: {install}")
        self.package, self.install = package, install

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """So that it can be raised again in another process."""
        return MissingExtraError, (self.package, self.install)
