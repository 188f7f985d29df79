"""Rays per second of the neural field, and the ratio to a plain formulation of the same mathematics in the same run.

    python -m tests.benchmarks.field [--device cuda] [--machine NAME] [--threads 2] [--grid 64] [--rays 128]

Measured are a training step (loss and gradients in the volume, its map and the network) at the published sizes, and
pictures of 128 pixels a side, of which a few rows are rendered. Plain means: all 128 channels at every voxel, all 96
samples of the second pass asked anew, 4096 points at a time. Both must give the same loss and the same picture.
Also measured is looking up 28,000 points of volumes of several ranks, forward and backward, by both samplers.

Times are medians; plain and fast take turns, so that other work on the machine falls on both. On a CPU the ratio is
that of processor time, which other work changes less than the time on the clock; both are written down. The plain step
at the published sizes takes about 7 GB; --grid and --rays make it smaller. Rows of other devices in
results/field.json stay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.batch import RayTargets
from gnfactor.field.neural_field import FieldConfig, NeuralField
from gnfactor.field.rays import Rays, Span
from gnfactor.field.render import Field, FieldValues, Passes, render
from gnfactor.field.sampling import SamplingConfig
from perceiver.volume import SAMPLERS, Volume, sample
from tests.strategies import random_rays

RESULTS = Path(__file__).parent / "results" / "field.json"
BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
CHANNELS, RANK, POINTS_AT_ONCE, PICTURE, LOOKUPS = 128, 8, 4096, 128, 28_000


class PlainField(NeuralField):
    """The same field, looked up and rendered as one would first write it."""

    def render(
        self,
        volume: Volume,
        rays: Rays,
        span: Span,
        sampling: SamplingConfig,
        generator: torch.Generator | None = None,
        measured_m: Tensor | None = None,
    ) -> Passes:
        behind = self._behind(rays)
        return render(self.of(volume), rays, span, sampling, behind, generator, measured_m, method="reference")

    def of(self, volume: Volume) -> Field:
        expanded = Volume(volume.expand())
        lower, upper = self.box.bounds(volume.features)

        def values(points: Tensor, direction: Tensor) -> FieldValues:
            position = ((points - lower) / (upper - lower)).reshape(-1, 3)
            towards = direction[..., None, :].expand_as(points).reshape(-1, 3)
            raw = [
                self.network(some, onward, sample(expanded, some[None], "reference")[0])
                for some, onward in zip(position.split(POINTS_AT_ONCE), towards.split(POINTS_AT_ONCE), strict=True)
            ]
            return self.network.values(torch.cat(raw).view(*points.shape[:-1], -1))

        return values


def main() -> None:
    """Measure on one device, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--grid", type=int, default=100, help="voxels along each side of the volume")
    parser.add_argument("--rays", type=int, default=512, help="of a training step")
    parser.add_argument("--rows", type=int, default=4, help="of a picture")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    row = {
        "machine": arguments.machine if device.type == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "threads": arguments.threads,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "grid": arguments.grid,
        "step": measure_step(arguments.grid, arguments.rays, arguments.repeats, device),
        "picture": measure_picture(arguments.grid, arguments.rows, arguments.repeats, device),
        "samplers": {rank: measure_samplers(rank, arguments.grid, arguments.repeats, device) for rank in (8, 16, 32)},
    }
    print(json.dumps(row, indent=1))
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored[arguments.device] = row
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def measure_step(grid: int, rays: int, repeats: int, device: torch.device) -> dict[str, float]:
    """Loss and gradients of one scene and view."""
    fields, volume = made(grid, device)
    targets = made_rays(rays, device)
    leaves = [leaf for leaf in (volume.features, volume.weight, volume.bias) if leaf is not None]

    def step(field: NeuralField) -> Tensor:
        loss = torch.stack(list(field.loss(volume, targets).values())).sum()
        torch.autograd.grad(loss, [*leaves, *field.parameters()])
        return loss.detach()

    return compared(fields, step, rays, repeats, device)


def measure_picture(grid: int, rows: int, repeats: int, device: torch.device) -> dict[str, float]:
    """The middle rows of a picture whose rays all cross the workspace."""
    fields, volume = made(grid, device)
    camera = made_rays(1, device)
    intrinsics = camera.intrinsics[0, 0].clone()
    intrinsics[:2] *= PICTURE / 16
    v, u = torch.meshgrid(torch.arange(rows) + (PICTURE - rows) // 2, torch.arange(PICTURE), indexing="ij")
    pixel = torch.stack((u, v), -1).view(-1, 2).float().to(device)

    def picture(field: NeuralField) -> Tensor:
        return field.render_pixels(volume, pixel, intrinsics, camera.world_from_camera[0, 0]).colour

    result = compared(fields, picture, len(pixel), repeats, device)
    return {**result, "rows": rows, "pictures_per_second": result["fast_rays_per_second"] / PICTURE**2}


def measure_samplers(rank: int, grid: int, repeats: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of looking up points and of their gradient in the volume, by each sampler."""
    torch.manual_seed(0)
    features = torch.randn(1, rank, grid, grid, grid).to(device).requires_grad_()
    position = torch.rand(1, LOOKUPS, 3).to(device)
    seconds: dict[str, list[float]] = {method: [] for method in SAMPLERS}
    for repeat in range(-1, 3 * repeats):
        for method, times in seconds.items():
            began = _now(device)
            torch.autograd.grad(sample(Volume(features), position, method).square().sum(), features)
            if repeat >= 0:
                times.append(_now(device) - began)
    return {f"{method}_ms": round(1000 * statistics.median(times), 2) for method, times in seconds.items()}


def made(grid: int, device: torch.device) -> tuple[dict[str, NeuralField], Volume]:
    """Both formulations with the same weights, and a volume of rank 8 with its map, all asking for gradients."""
    torch.manual_seed(0)
    config = FieldConfig()
    fields: dict[str, NeuralField] = {"fast": NeuralField(config, BOX, CHANNELS)}
    fields["plain"] = PlainField(config, BOX, CHANNELS)
    fields["plain"].load_state_dict(fields["fast"].state_dict())
    shapes = ((1, RANK, grid, grid, grid), (CHANNELS, RANK), (CHANNELS,))
    tensors = [torch.randn(shape).to(device).requires_grad_() for shape in shapes]
    return {name: field.to(device) for name, field in fields.items()}, Volume(*tensors)


def made_rays(count: int, device: torch.device) -> RayTargets:
    """One view's pixels with features of the published width."""
    made_up = random_rays(1, 1, count, BOX, torch.Generator().manual_seed(0), FieldConfig().network.features)
    moved = {name: value.to(device) for name, value in vars(made_up).items()}
    return replace(made_up, **moved)


def compared(
    fields: dict[str, NeuralField],
    work: Callable[[NeuralField], Tensor],
    rays: int,
    repeats: int,
    device: torch.device,
) -> dict[str, float]:
    """Rays per second of both formulations, and plain's time over fast's; their results must agree."""
    clock: dict[str, list[float]] = {name: [] for name in fields}
    processor: dict[str, list[float]] = {name: [] for name in fields}
    for repeat in track(range(-1, repeats)):  # the first time warms up
        results = {}
        for name, field in fields.items():
            start, began = _now(device), time.process_time()
            results[name] = work(field)
            if repeat >= 0:
                clock[name].append(_now(device) - start)
                processor[name].append(time.process_time() - began)
        torch.testing.assert_close(results["fast"], results["plain"], rtol=1e-3, atol=1e-3)
    seconds = {name: statistics.median(times) for name, times in clock.items()}
    counted = {name: statistics.median(times) for name, times in processor.items()}
    judged = counted if device.type == "cpu" else seconds
    return {
        "rays": rays,
        "fast_rays_per_second": round(rays / seconds["fast"], 2),
        "plain_rays_per_second": round(rays / seconds["plain"], 2),
        **{f"{name}_seconds": round(value, 4) for name, value in seconds.items()},
        **{f"{name}_processor_seconds": round(value, 4) for name, value in counted.items()},
        "ratio": round(judged["plain"] / judged["fast"], 2),
    }


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
