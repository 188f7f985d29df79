"""What the field costs in the joint step: a training step of a configuration with its field, over one without.

    python -m tests.benchmarks.joint [--config configs/quickstart.yaml] [--device cuda] [--machine NAME]

A step is augmentation, forward, backward, clipping and the optimiser's own step, on a batch of the configuration's size
with its cameras, rays and samples; pictures are made up. Steps with and without the field take turns, so that other
work on the machine falls on both; times are medians. Rows of other devices in results/joint.json stay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gnfactor.augment import augment
from gnfactor.batch import Batch, Inputs, Targets, Views, to_device
from gnfactor.config import Config, load
from gnfactor.model import Policy
from gnfactor.training.optim import build_optimizer
from tests.strategies import random_rays

RESULTS = Path(__file__).parent / "results" / "joint.json"


def main() -> None:
    """Measure on one device, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    joint, alone = load([arguments.config]), load([arguments.config, "policy.field=null"])
    device = torch.device(arguments.device)
    batch = to_device(made_up(joint), device)
    steps = {"joint": stepper(joint, batch, device), "alone": stepper(alone, batch, device)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(-2, arguments.repeats):  # the first two warm up
        for name, step in steps.items():
            began = time.perf_counter()
            step(repeat + 2)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - began)
    row = {
        "machine": arguments.machine if device.type == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "config": arguments.config,
        "batch": joint.train.batch_size,
        "rays": joint.data.views.per_step * joint.data.views.rays,
        **{f"{name}_seconds": round(statistics.median(times), 4) for name, times in seconds.items()},
        "ratio": round(statistics.median(seconds["joint"]) / statistics.median(seconds["alone"]), 3),
    }
    print(json.dumps(row, indent=1))
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored[arguments.device] = row
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def stepper(config: Config, batch: Batch, device: torch.device) -> Callable[[int], None]:
    """One training step of a new policy, as `gnfactor.training.learner` takes it, by its number."""
    torch.manual_seed(0)
    policy = Policy(config.policy)
    policy.instructions.learn(list(batch.inputs.instructions))
    policy.to(device).train()
    optimizer = build_optimizer(policy, config.optim)

    def step(number: int) -> None:
        generator = torch.Generator(device).manual_seed(number)
        moved = augment(batch, config.policy.grid.box, config.augment, generator)
        optimizer.zero_grad()
        policy.loss(moved, generator)["total"].backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.optim.clip_norm or 1.0)
        optimizer.step()

    return step


def made_up(config: Config) -> Batch:
    """A batch of the configuration's sizes with noise for pictures."""
    policy, views = config.policy, config.data.views
    count, cameras, (width, height) = config.train.batch_size, len(policy.cameras), policy.image_size
    generator = torch.Generator().manual_seed(0)
    features = 0 if policy.field is None else policy.field.network.features
    box = policy.grid.box
    seen = random_rays(count, cameras, 1, box, generator, 0)
    pose = torch.eye(4).repeat(count, 1, 1)
    pose[:, :3, 3] = (torch.tensor(box.lower) + torch.tensor(box.upper)) / 2
    noise = torch.rand(count, cameras, 3, height, width, generator=generator)
    inputs = Inputs(
        views=Views(
            rgb=(255 * noise).byte(),
            depth_m=1 + noise[:, :, 0],
            intrinsics=seen.intrinsics,
            world_from_camera=seen.world_from_camera,
        ),
        world_from_gripper=pose,
        gripper=torch.zeros(count, 3),
        step=torch.zeros(count, dtype=torch.long),
        instructions=("open the top drawer",) * count,
    )
    targets = Targets(pose, torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool))
    rays = random_rays(count, views.per_step, views.rays, box, generator, features)
    return Batch(inputs, targets, ("open_drawer",) * count, rays)


if __name__ == "__main__":
    main()
