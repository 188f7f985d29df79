"""Make the virtual environment: `python tools/env.py .venv`. Needs Python 3.11 or 3.12 and a pip index, nothing else.

Versions stand in pyproject.toml alone ([dependency-groups] pinned). torch goes in first, by exact version: PyPI's
Linux build brings gigabytes of CUDA packages, so where there is no NVIDIA driver a CPU build is taken if any
configured source has one. TORCH_INDEX=URL adds a source.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from pins import pins

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "sim,train,diffusion,robot,dev"


def main() -> int:
    """Create or complete the environment named on the command line."""
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        print(f"Python 3.11 or 3.12 is needed, this is {platform.python_version()}; try: make env PYTHON=python3.11")
        return 2
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").absolute()
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"creating {folder}", flush=True)
        venv.create(folder, with_pip=True)
    tested = pins("pinned")
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(tested) + "\n")
    build = install_torch(python, next(pin for pin in tested if pin.startswith("torch==")))
    print(f"installing the rest ({EXTRAS})", flush=True)
    editable = f"{ROOT}[{EXTRAS}]"
    if pip(python, "install", "-c", str(constraints), "-e", editable) != 0:
        print("pip failed: see its last lines above; if it cannot reach an index, set PIP_INDEX_URL and try again")
        return 1
    print(f"ready: {folder} with {build}", flush=True)
    return 0


def install_torch(python: Path, pin: str) -> str:
    """Install torch and say which build it is."""
    installed = torch_version(python)
    wanted = pin.removeprefix("torch==")
    if installed is None or installed.split("+")[0] != wanted:
        index = os.environ.get("TORCH_INDEX", "")
        source = ["--extra-index-url", index] if index else []
        is_cpu_enough = platform.system() == "Linux" and platform.machine() == "x86_64" and not has_nvidia_driver()
        if is_cpu_enough:
            print(f"no NVIDIA driver here: looking for a CPU build of torch {wanted}", flush=True)
        cpu_try = ["install", "--timeout", "15", "--retries", "0", *source, f"{pin}+cpu"]
        if not is_cpu_enough or pip(python, *cpu_try, may_fail=True) != 0:
            print(f"installing torch {wanted} as the package index has it (on Linux: with CUDA, large)", flush=True)
            if pip(python, "install", *source, pin) != 0:
                sys.exit("torch could not be installed: see pip's last lines above")
        installed = torch_version(python)
    kind = "CPU build" if installed and installed.endswith("+cpu") else "the index's default build"
    return f"torch {installed} ({kind})"


def has_nvidia_driver() -> bool:
    """Whether the kernel module is loaded or nvidia-smi finds a card."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True, check=False).returncode == 0


def torch_version(python: Path) -> str | None:
    """Version of torch in the environment, None if it is not there."""
    question = "from importlib.metadata import version; print(version('torch'))"
    answer = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def pip(python: Path, *arguments: str, may_fail: bool = False) -> int:
    """Run pip in the environment, with its own progress bars, and return its exit status."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, stderr=subprocess.DEVNULL if may_fail else None, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
