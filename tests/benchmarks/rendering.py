"""Frames per second of RGB, depth and segmentation with the arm, the table and ten objects.

    python -m tests.benchmarks.rendering [--renderer gl] [--size 128] [--machine NAME]

Appends one line to results/rendering.json. Processor time of one thread is taken, so that other work on the machine
counts little.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import mujoco
import numpy as np

from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.rendering import make_renderer
from gnfactor.envs.tabletop.robot import REST_JOINTS, forward_kinematics
from gnfactor.envs.tabletop.scene import base_scene
from gnfactor.scene import CAMERAS

RESULTS = Path(__file__).parent / "results" / "rendering.json"
OBJECTS, ROUNDS = 10, 20


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renderer", default="ray", choices=("ray", "gl"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    arguments = parser.parse_args()
    row = {
        "machine": arguments.machine,
        "mujoco": mujoco.__version__,
        "renderer": arguments.renderer,
        "size": arguments.size,
        "views_per_second": round(measure(arguments.renderer, arguments.size), 1),
    }
    line = json.dumps(row)
    print(line)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as stream:
        stream.write(line + "\n")


def measure(renderer_name: str, size: int) -> float:
    """Views per second of processor time over the five cameras; the best of some rounds."""
    model, data = crowded_scene()
    renderer = make_renderer(model, renderer_name)
    cameras = list(tabletop_cameras(forward_kinematics(REST_JOINTS), (size, size), CAMERAS).values())
    renderer.render(data, cameras)
    seconds: list[float] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        renderer.render(data, cameras)
        seconds.append(time.process_time() - start)
    renderer.close()
    return len(cameras) / min(seconds)


def crowded_scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The base scene with boxes and cylinders on the table."""
    spec = base_scene()
    chance = np.random.default_rng(0)
    kinds = (mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER)
    for index in range(OBJECTS):
        body = spec.worldbody.add_body(name=f"thing{index}", pos=(*chance.uniform((0, -0.4), (0.5, 0.4)), 0.78))
        colour = (*chance.uniform(size=3), 1)
        body.add_geom(type=kinds[index % 2], size=(0.025, 0.025, 0.025), rgba=colour)
    model = spec.compile()
    data = mujoco.MjData(model)
    Arm(model).place_at_rest(model, data)
    return model, data


if __name__ == "__main__":
    main()
