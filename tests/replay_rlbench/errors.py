"""The exceptions of RLBench and PyRep by name."""

from __future__ import annotations


def _named(*names: str) -> dict[str, type[Exception]]:
    return {name: type(name, (Exception,), {}) for name in names}


RLBENCH = _named(
    "BoundaryError", "WaypointError", "NoWaypointsError", "DemoError", "InvalidActionError", "TaskEnvironmentError"
)
PYREP = _named("PyRepError", "ConfigurationError", "ConfigurationPathError", "IKError")
ALL = {**RLBENCH, **PYREP, "RuntimeError": RuntimeError}
