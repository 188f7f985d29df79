"""Time every implementation of `upsample_convolve`, forward and backward; the rule of sizes is read off the result.

    python -m tests.benchmarks.upsample [--device cuda] [--machine NAME]

Rows of other devices in results/upsample.json stay. On a CPU one thread's processor time is taken, so that other
work on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from rich.progress import track

from perceiver.conv3d import UPSAMPLE_CONVOLVE

RESULTS = Path(__file__).parent / "results" / "upsample.json"
WIDTHS = ((8, 8), (32, 8), (32, 32), (128, 128))
KERNELS = (1, 3, 5)
SCALES = (2, 4, 5)
SCENES = 2
VOXELS = 2**13
"""Roughly how many output voxels in each of SCENES scenes; torch takes a slow path for a single one on one thread."""


def main() -> None:
    """Measure on one device and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = list(product(WIDTHS, KERNELS, SCALES))
    rows = [measure(*widths, kernel, scale, torch.device(arguments.device)) for widths, kernel, scale in track(cases)]
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored[arguments.device] = {"machine": arguments.machine, "torch": torch.__version__, "rows": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def measure(inputs: int, outputs: int, kernel: int, scale: int, device: torch.device) -> dict[str, object]:
    """Milliseconds of each implementation for one size, forward and backward."""
    cells = round(VOXELS ** (1 / 3) / scale)
    x = torch.randn(SCENES, inputs, cells, cells, cells, device=device).contiguous(memory_format=torch.channels_last_3d)
    weight, bias = torch.randn(outputs, inputs, kernel, kernel, kernel), torch.randn(outputs)
    leaves = [tensor.to(device).requires_grad_() for tensor in (x, weight, bias)]
    names = [name for name in UPSAMPLE_CONVOLVE if kernel == 1 or name != "pointwise"]
    milliseconds = {name: best_of(lambda name=name: _step(name, leaves, scale), device) for name in names}
    size = {"inputs": inputs, "outputs": outputs, "kernel": kernel, "scale": scale, "cells": SCENES * cells**3}
    return {**size, "ms": milliseconds}


def best_of(step: Callable[[], None], device: torch.device, repeats: int = 2) -> float:
    """Shortest time of a few, after one to warm up, in milliseconds."""
    step()
    times: list[float] = []
    for _ in range(repeats):
        start = _now(device)
        step()
        times.append(_now(device) - start)
    return round(1e3 * min(times), 2)


def _step(name: str, leaves: list[torch.Tensor], scale: int) -> None:
    y = UPSAMPLE_CONVOLVE[name](leaves[0], leaves[1], leaves[2], scale)
    torch.autograd.grad(y, leaves, torch.ones_like(y))


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
