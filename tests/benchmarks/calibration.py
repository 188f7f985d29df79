"""What the check of a calibration notices: wrong poses of a camera and wrong scales of its depth, known to be so.

    python -m tests.benchmarks.calibration [--draws 5] [--poses 5] [--machine NAME]

The built-in world's arm is seen by its camera "front" (256 x 256), with and without noise as of a depth sensor (0.3 %
of the squared distance, a tenth of the pixels without a reading). The camera is then believed to stand elsewhere, in
drawn directions. Appends one line per kind and size of error to results/calibration.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gnfactor.kinematics import rotation_of
from gnfactor.ros.calibration.camera_check import CameraReport, check_camera
from gnfactor.ros.link import RobotView
from tests.hand_world import displaced, hand_config, right_looks, with_views

RESULTS = Path(__file__).parent / "results" / "calibration.json"
CASES: Sequence[tuple[float, float, float]] = (
    *((mm, 0.0, 1.0) for mm in (0.0, 5.0, 10.0, 20.0, 40.0)),
    *((0.0, deg, 1.0) for deg in (1.0, 2.0, 3.0, 4.0, 5.0)),
    *((0.0, 0.0, scale) for scale in (0.99, 1.01, 1.02, 1.03, 1.05)),
)
"""Millimetres, degrees, and the scale of the depth."""
CAMERA, NOISE, HOLES = "front", 0.003, 0.1


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--poses", type=int, default=5)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    arguments = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    for noisy in (False, True):
        for case in CASES:
            row = {
                "machine": arguments.machine,
                "noisy": noisy,
                **measure(case, noisy, arguments.draws, arguments.poses),
            }
            line = json.dumps(row)
            print(line, flush=True)
            with RESULTS.open("a") as stream:
                stream.write(line + "\n")


def measure(case: tuple[float, float, float], noisy: bool, draws: int, poses: int) -> dict[str, float | str]:
    """Of one error, in so many directions: how often it passes, and what is measured."""
    mm, deg, scale = case
    began_s, reports = time.process_time(), list[CameraReport]()
    for seed in range(draws):
        spoil = spoiler(mm / 1000, deg, scale, noisy, np.random.default_rng(seed))
        reports.append(check_camera(CAMERA, [with_views(look, spoil) for look in right_looks(poses)], hand_config()))
    return {
        "error_mm": mm,
        "error_deg": deg,
        "scale": scale,
        "passed": f"{sum(report.passed for report in reports)} of {draws}",
        "gripper_mm": middle(reports, "gripper"),
        "table_height_mm": middle(reports, "table height"),
        "table_tilt_deg": middle(reports, "table tilt"),
        "scale_error_percent": middle(reports, "depth scale"),
        "seconds_per_check": round((time.process_time() - began_s) / draws, 2),
    }


def middle(reports: Sequence[CameraReport], title: str) -> float:
    """Median of a figure over the reports that have it."""
    found = [finding.value for report in reports for finding in report.findings if finding.title == title]
    known = [value for value in found if value is not None]
    return round(float(np.median(known)), 2) if known else float("nan")


def spoiler(
    distance_m: float, turn_deg: float, scale: float, noisy: bool, chance: np.random.Generator
) -> Callable[[RobotView], RobotView]:
    """Makes the same mistake in every view: the camera is moved, and turned where it stands."""
    offset, axis = (vector / np.linalg.norm(vector) for vector in chance.normal(size=(2, 3)))
    stand = right_looks(1)[0].views[CAMERA].camera.world_from_camera[:3, 3]
    wrong = np.eye(4)
    wrong[:3, :3] = rotation_of(np.deg2rad(turn_deg) * axis)
    wrong[:3, 3] = stand - wrong[:3, :3] @ stand + distance_m * offset

    def spoil(view: RobotView) -> RobotView:
        depth_m = view.depth_m * scale
        if noisy:
            depth_m = depth_m + chance.normal(0, NOISE, depth_m.shape) * depth_m**2
            depth_m[chance.random(depth_m.shape) < HOLES] = 0
        return displaced(replace(view, depth_m=depth_m.astype(np.float32)), wrong)

    return spoil


if __name__ == "__main__":
    main()
