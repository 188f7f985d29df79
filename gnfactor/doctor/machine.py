"""Python, torch, graphics cards, memory and disk."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from gnfactor.doctor.finding import Finding, lacking
from gnfactor.doctor.needs import Needs, Torch
from gnfactor.doctor.packages import Declared, misfits

NVIDIA_DRIVER = Path("proc/driver/nvidia/version")
MEMINFO = Path("proc/meminfo")
CGROUP_LIMITS = (Path("sys/fs/cgroup/memory.max"), Path("sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit stands, by version of the kernel's control groups."""
GIB = 2**30


def python(declared: Declared) -> Finding:
    """The running Python."""
    version = platform.python_version()
    if misfits(version, declared.python):
        wanted = declared.python
        return Finding("Python", "problem", f"{version}; {wanted} is expected", "make env PYTHON=python3.11")
    return Finding("Python", "ok", f"{version}, {sys.executable}")


def torch(found: Torch | None, complaint: str, declared: Declared) -> Finding:
    """The installed torch."""
    install = "make env (or pip install torch by exact version first, see docs/install.md)"
    if found is None:
        return Finding("torch", "problem", f"cannot be imported: {complaint}", install)
    built = "CPU build" if found.cuda is None else f"for CUDA {found.cuda}"
    wanted = next((need.specifier for need in declared.core if need.name == "torch"), "")
    if misfits(found.version, wanted):
        return Finding("torch", "problem", f"{found.version} ({built}); {wanted} is expected", install)
    return Finding("torch", "ok", f"{found.version} ({built})")


def graphics(found: Torch | None, needs: Needs | None, root: Path) -> Finding:
    """Graphics cards that torch can use; `root` is where /proc lies."""
    cards = () if found is None else found.cards
    wanted = 0 if needs is None or needs.accelerator != "cuda" else needs.devices
    if cards and len(cards) >= wanted:
        return Finding("CUDA", "ok", ", ".join(f"{name} ({_gib(size)})" for name, size in cards))
    needed = f"train.accelerator=cuda with train.devices={wanted}" if wanted else ""
    if cards:
        return lacking("CUDA", needed, f"{len(cards)} graphics card(s)", f"train.devices={len(cards)}")
    if not (root / NVIDIA_DRIVER).exists():
        remedy = "train.accelerator=auto" if needed else ""
        return lacking("CUDA", needed, "no NVIDIA driver: torch computes on the CPU", remedy)
    why = "torch is a CPU build" if found is not None and found.cuda is None else "torch cannot use its card"
    remedy = "install torch's build for CUDA that fits the driver (nvidia-smi names both), see docs/install.md"
    return lacking("CUDA", needed, f"there is an NVIDIA driver, but {why}", remedy)


def memory(found: Torch | None, needs: Needs | None, root: Path) -> Finding:
    """Memory where training would happen, against what it needs; `root` is where /proc and /sys lie."""
    total, free = host_memory(root)
    here = f"{_gib(free)} of {_gib(total)} free"
    if needs is None:
        return Finding("memory", "ok", here)
    cards = () if found is None else found.cards
    if cards and needs.accelerator != "cpu":
        total = free = min(size for _, size in cards[: needs.devices])
        processes, here = 1, f"{_gib(total)} on the graphics card"
    else:
        processes = needs.devices
    need = processes * needs.memory_bytes
    counted = f"{here}; training needs about {_gib(need)} (an estimate; {needs.parameters:,} parameters)"
    remedy = "train.batch_size=1 with train.accumulate, fewer data.views.rays, or a smaller policy.grid.size"
    if need > total:
        return Finding("memory", "problem", counted, remedy)
    return (
        Finding("memory", "note", counted, f"end other programs, or {remedy}")
        if need > free
        else Finding("memory", "ok", counted)
    )


def disk(needs: Needs | None, here: Path) -> Finding:
    """Room for what a run leaves; `here` is the current folder."""
    run_dir = here if needs is None else here / needs.run_dir
    place = next(folder for folder in (run_dir, *run_dir.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needs is None:
        return Finding("disk", "ok", f"{_gib(free)} free in {place}")
    counted = f"{_gib(free)} free in {place}; the checkpoints that stay need about {_gib(needs.disk_bytes)}"
    if needs.disk_bytes > free:
        return Finding("disk", "problem", counted, "make room, set run_dir elsewhere, or keep fewer: train.keep=1")
    return Finding("disk", "ok", counted)


def host_memory(root: Path) -> tuple[int, int]:
    """Bytes in all and free, no more than a container may use."""
    lines = (line.split() for line in (root / MEMINFO).read_text(encoding="ascii").splitlines())
    kib: Mapping[str, int] = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
    total, free = 1024 * kib["MemTotal"], 1024 * kib["MemAvailable"]
    for path in CGROUP_LIMITS:
        limit = (root / path).read_text(encoding="ascii").strip() if (root / path).is_file() else "max"
        if limit.isdigit():
            total, free = min(total, int(limit)), min(free, int(limit))
    return total, free


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
