"""What a rig of views to learn from costs: seconds and bytes on disk per recorded frame, by task.

    python -m tests.benchmarks.rig [--rig arc:20] [--episodes 3] [--size 128] [--machine NAME]

Appends one line per task to results/rig.json. Processor time of one thread is taken, so that other work on the machine
counts little; it is the difference between episodes recorded with the rig and without.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import mujoco

from data.store import Store
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.rig import RigConfig, parse_rig, rig_text
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.world import TabletopEnv

RESULTS = Path(__file__).parent / "results" / "rig.json"


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rig", default="arc:20")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    arguments = parser.parse_args()
    rig = parse_rig(arguments.rig)
    if rig is None:
        parser.error("--rig none has no cost to measure")
    RESULTS.parent.mkdir(exist_ok=True)
    for task in TASKS:
        row = {
            "machine": arguments.machine,
            "mujoco": mujoco.__version__,
            "rig": rig_text(rig),
            "size": arguments.size,
            **measure(task, rig, arguments.size, arguments.episodes),
        }
        line = json.dumps(row)
        print(line)
        with RESULTS.open("a") as stream:
            stream.write(line + "\n")


def measure(task: str, rig: RigConfig, size: int, episodes: int) -> dict[str, str | int | float]:
    """Over some episodes of a task, keyframes and start only; a frame is all views of the rig at one moment."""
    env = TabletopEnv(image_size=(size, size))
    frames, extra_s, stored_bytes, plain_bytes = 0, 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(folder)
        for seed in islice(_seeds_that_work(env, task), episodes):
            scene = SeededScene(task, 0, seed)
            without, with_rig = timed(env, scene, None), timed(env, scene, rig)
            frames += len(with_rig[0].target_views)
            extra_s += with_rig[1] - without[1]
            store.write(with_rig[0], f"{task}/{seed}")
            stored_bytes += sum(
                path.stat().st_size for path in Path(folder, task, str(seed), "targets").rglob("*") if path.is_file()
            )
            plain_bytes += len(with_rig[0].target_views) * rig.views * size * size * (3 + 2 + 2)
    return {
        "task": task,
        "frames": frames,
        "frames_per_second": round(frames / extra_s, 2),
        "views_per_second": round(frames * rig.views / extra_s, 1),
        "kilobytes_per_frame": round(stored_bytes / frames / 1e3, 1),
        "bytes_per_view": round(stored_bytes / frames / rig.views),
        "compression": round(plain_bytes / stored_bytes, 1),
    }


def timed(env: TabletopEnv, scene: SeededScene, rig: RigConfig | None) -> tuple[Demonstration, float]:
    """The demonstration and the processor time it took."""
    start = time.process_time()
    demonstration = env.record(scene, rig=rig)
    seconds = time.process_time() - start
    assert isinstance(demonstration, Demonstration)
    return demonstration, seconds


def _seeds_that_work(env: TabletopEnv, task: str) -> Iterator[int]:
    """Seeds whose scene the expert masters."""
    return (seed for seed in count() if isinstance(env.record(SeededScene(task, 0, seed)), Demonstration))


if __name__ == "__main__":
    main()
