"""The built-in world's renderers; CoppeliaSim, PyRep and RLBench with the display that they draw on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path

from gnfactor.doctor.finding import Finding, lacking
from gnfactor.doctor.imports import Attempt, package_folder
from gnfactor.doctor.needs import Needs
from gnfactor.doctor.packages import installed

GUIDE = "see docs/install.md"
PYREP, RLBENCH = "https://github.com/stepjam/PyRep", "https://github.com/stepjam/RLBench (or a fork of it)"
LIBRARIES = ("libcoppeliaSim.so", "libcoppeliaSim.so.1")
GUESSES = ("opt/coppeliasim", "opt/CoppeliaSim*", "root/CoppeliaSim*", "home/*/CoppeliaSim*")
"""Where CoppeliaSim is often unpacked."""


def needed_by(needs: Needs | None) -> str:
    """What of the configuration needs RLBench; empty if nothing does."""
    return "evaluate.env=rlbench" if needs is not None and needs.env == "rlbench" else ""


def renderer(needs: Needs | None) -> Finding:
    """How the built-in world can be drawn."""
    wants_gl = needs is not None and needs.env == "tabletop" and needs.renderer == "gl"
    libraries = [name for name in ("EGL", "OSMesa") if find_library(name)]
    if installed("mujoco") is None:
        needed = f"evaluate.renderer={needs.renderer}" if needs is not None and needs.env == "tabletop" else ""
        return lacking("renderer", needed, "no mujoco, so no built-in world", "pip install 'gnfactor[sim]'")
    if libraries:
        return Finding("renderer", "ok", f"ray (needs no graphics library), gl ({libraries[0]} library found)")
    found = "ray (needs no graphics library); gl finds neither EGL nor OSMesa"
    remedy = "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6), or renderer=ray"
    return lacking("renderer", "evaluate.renderer=gl" if wants_gl else "", found, remedy)


def coppeliasim(needed: str, environ: Mapping[str, str], root: Path) -> Finding:
    """CoppeliaSim, as the environment variables say; `root` is where guesses are looked for."""
    set_to = environ.get("COPPELIASIM_ROOT", "")
    exports = "export COPPELIASIM_ROOT={0} LD_LIBRARY_PATH={0} QT_QPA_PLATFORM_PLUGIN_PATH={0} before Python starts"
    if not set_to:
        guess = next((str(path) for pattern in GUESSES for path in sorted(root.glob(pattern)) if _holds(path)), None)
        if guess is not None:
            found = f"lies in {guess}, but COPPELIASIM_ROOT is not set"
            return lacking("CoppeliaSim", needed, found, exports.format(guess))
        remedy = f"unpack CoppeliaSim 4.1 Edu, if you accept its licence, and set COPPELIASIM_ROOT; {GUIDE}"
        return lacking("CoppeliaSim", needed, "not found: COPPELIASIM_ROOT is not set", remedy)
    if not _holds(Path(set_to)):
        found = f"COPPELIASIM_ROOT is {set_to}, where no {LIBRARIES[0]} lies"
        return lacking("CoppeliaSim", needed, found, f"set it to the unpacked folder of CoppeliaSim 4.1; {GUIDE}")
    unset = [
        name
        for name in ("LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH")
        if Path(set_to) not in [Path(part) for part in environ.get(name, "").split(":") if part]
    ]
    if unset:
        found = f"lies in {set_to}, which is not in {' and '.join(unset)}"
        return lacking("CoppeliaSim", needed, found, exports.format(set_to))
    return Finding("CoppeliaSim", "ok", set_to)


def pyrep(needed: str, attempt: Attempt | None) -> Finding:
    """PyRep, and not PyPI's program of the same name; `attempt` is to import it."""
    folder = package_folder("pyrep")
    install = f"pip install from its repository ({PYREP}), with COPPELIASIM_ROOT set; {GUIDE}"
    if folder is None:
        return lacking("PyRep", needed, "not installed", install)
    if not is_pyrep(folder):
        found = f"{folder} (version {installed('pyrep') or 'unknown'}) is PyPI's unrelated program of the same name"
        return lacking("PyRep", needed, found, f"pip uninstall pyrep, then {install}")
    return _imported("PyRep", needed, f"{installed('pyrep') or folder}", attempt, "CoppeliaSim above")


def rlbench(needed: str, attempt: Attempt | None) -> Finding:
    """RLBench, and which; `attempt` is to import it."""
    folder = package_folder("rlbench")
    install = f"pip install from its repository ({RLBENCH}); {GUIDE}"
    if folder is None:
        return lacking("RLBench", needed, "not installed", install)
    if not is_rlbench(folder):
        found = f"{folder} is not RLBench: it has no task_environment.py"
        return lacking("RLBench", needed, found, f"pip uninstall rlbench, then {install}")
    found = f"{installed('rlbench') or folder}, {dialect(folder)}"
    return _imported("RLBench", needed, found, attempt, "CoppeliaSim and PyRep above")


def display(needed: str, environ: Mapping[str, str], root: Path) -> Finding:
    """Where CoppeliaSim can draw, which needs a display even without a window; `root` is where /tmp lies."""
    name = environ.get("DISPLAY", "")
    number = name.removeprefix(":").partition(".")[0]
    answers = not (name.startswith(":") and number.isdigit()) or (root / f"tmp/.X11-unix/X{number}").exists()
    virtual = shutil.which("Xvfb", path=environ.get("PATH", ""))
    if name and answers:
        return Finding("display", "ok", f"DISPLAY is {name}")
    if virtual is not None and not name:
        return Finding("display", "ok", f"none, but {virtual} makes one")
    if name:
        remedy = "unset DISPLAY to use Xvfb" if virtual else "unset it and apt-get install xvfb, or start that server"
        return lacking("display", needed, f"DISPLAY is {name}, where no X server answers", remedy)
    return lacking("display", needed, "none, and no Xvfb to make one", "apt-get install xvfb, or set DISPLAY")


def is_pyrep(folder: Path) -> bool:
    """Whether this package is CoppeliaSim's PyRep."""
    return (folder / "backend" / "sim.py").is_file() and (folder / "objects").is_dir()


def is_rlbench(folder: Path) -> bool:
    """Whether this package is RLBench or a fork of it."""
    return (folder / "task_environment.py").is_file()


def dialect(folder: Path) -> str:
    """Which RLBench lies in a folder, by what its sources mention."""
    if _mentions(folder / "observation_config.py", "nerf_multi_view"):
        return "GNFactor's fork"
    return "PerAct's fork" if _mentions(folder / "observation_config.py", "record_ignore_collisions") else "upstream"


def _mentions(file: Path, word: str) -> bool:
    return file.is_file() and word in file.read_text(encoding="utf-8", errors="replace")


def _holds(folder: Path) -> bool:
    return any((folder / name).is_file() for name in LIBRARIES)


def _imported(subject: str, needed: str, found: str, attempt: Attempt | None, first: str) -> Finding:
    complaint = "" if attempt is None else attempt.result().complaint
    if complaint:
        return lacking(subject, needed, f"{found}, but it cannot be imported: {complaint}", f"mend {first}; {GUIDE}")
    return Finding(subject, "ok", found)
