"""Whether RLBench can be used on this machine, and what to do where it cannot."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from gnfactor.errors import MissingExtraError, SimulatorError

GUIDE = "docs/rlbench.md"
SOURCES = {
    "pyrep": "https://github.com/stepjam/PyRep",
    "rlbench": "https://github.com/MohitShridhar/RLBench, or one of the others in " + GUIDE,
}
"""Where the packages come from; PyPI has neither of them."""


def require_rlbench() -> None:
    """Make sure that RLBench, PyRep and CoppeliaSim's libraries can be imported.

    Raises:
        MissingExtraError: RLBench or PyRep is not installed.
        SimulatorError: they are, but something that they need is not, or they are not what they should be.
    """
    for package, source in SOURCES.items():
        if find_spec(package) is None:
            raise MissingExtraError(package, f"pip install from its repository ({source}), never from PyPI")
    _require_coppeliasim()
    pyrep = _imported("pyrep")
    if not hasattr(pyrep, "PyRep"):
        raise SimulatorError(
            f"the installed package 'pyrep' ({pyrep.__file__}) is an unrelated program of the same name from PyPI; "
            f"remove it (pip uninstall pyrep) and install PyRep from {SOURCES['pyrep']}"
        )
    _imported("rlbench")


def _require_coppeliasim() -> None:
    root = os.environ.get("COPPELIASIM_ROOT")
    if not root or not Path(root).is_dir():
        found = f"is '{root}', which is not a folder" if root else "is not set"
        raise SimulatorError(
            f"COPPELIASIM_ROOT {found}; set it to the folder of CoppeliaSim 4.1, and LD_LIBRARY_PATH and "
            f"QT_QPA_PLATFORM_PLUGIN_PATH too, see {GUIDE}"
        )


def _imported(package: str) -> ModuleType:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, f"pip install {error.name or package}") from error
    except (ImportError, OSError) as error:  # a shared library that is not found, or a version that is refused
        raise SimulatorError(
            f"'{package}' is installed but cannot be imported ({error}); LD_LIBRARY_PATH has to contain "
            f"$COPPELIASIM_ROOT when Python starts, and the versions have to fit, see {GUIDE}"
        ) from error
