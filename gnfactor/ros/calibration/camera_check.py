"""How well what a camera shows agrees with where the arm and the table are, in numbers with limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gnfactor.ros.calibration.hand_search import Sighting, find_hand
from gnfactor.ros.calibration.looking import Look
from gnfactor.ros.calibration.marker import marker_error_px
from gnfactor.ros.calibration.table_plane import TablePlane, find_table
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotView

_SAME_M = 0.004
"""Shifts that scatter less than this are the same in every pose."""


@dataclass(frozen=True)
class Finding:
    """One figure of a camera, and whether it may be so."""

    title: str
    value: float | None
    """None: it could not be measured."""
    limit: float
    unit: str
    words: str
    """The figure in its context; what is missing, where there is none."""

    @property
    def passed(self) -> bool:
        return self.value is not None and self.value <= self.limit


@dataclass(frozen=True, eq=False)
class CameraReport:
    """What the check found about one camera."""

    name: str
    findings: tuple[Finding, ...]
    sightings: tuple[Sighting | None, ...]
    """Of the gripper, by pose; None where it was not found."""
    advice: str | None
    """What the shifts have in common."""

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)


def check_camera(name: str, looks: Sequence[Look], config: RobotConfig) -> CameraReport:
    """Hold everything that one camera shows against where it must be.

    - The gripper, by `hand_search`: the shift between depth picture and prediction, its median and its worst.
    - The marker, where one is configured: distance of its corners in the picture.
    - The table's plane, by `table_plane`: its height and tilt in the worst pose.
    - The scale of the depth: by the gripper's depth in all poses, with twice the standard error of their mean; by the
      table, where the gripper need not be seen.

    Args:
        name: of the camera.
        looks: at least one.
        config: says where everything should be, and how far off it may be.
    """
    camera = config.cameras[name]
    sightings: list[Sighting | None] = [None] * len(looks)
    findings: list[Finding] = []
    if camera.sees_gripper:
        sightings = [hand_in(name, look, config) for look in looks]
        findings += _of_gripper(sightings, [look.views[name] for look in looks], config)
    if config.calibration.marker is not None:
        findings.append(_of_marker(name, looks, config))
    if camera.sees_table:
        planes = [find_table(look.views[name], config.guard) for look in looks]
        findings += _of_table(planes, config, with_scale=not camera.sees_gripper)
    if not findings:
        words = "it need see neither gripper nor table, and there is no marker: set sees_gripper or sees_table"
        findings.append(Finding("anything", None, 0.0, "", words))
    return CameraReport(name, tuple(findings), tuple(sightings), _advice(name, looks, sightings))


def hand_in(name: str, look: Look, config: RobotConfig) -> Sighting | None:
    """The gripper as one camera saw it in one pose; None where it was not found."""
    fingers_m = look.state.finger_positions_m
    return find_hand(look.views[name], look.world_from_gripper, fingers_m, config.guard.max_depth_m)


def _of_gripper(
    sightings: Sequence[Sighting | None], views: Sequence[RobotView], config: RobotConfig
) -> Iterator[Finding]:
    limits, found = config.calibration, [sighting for sighting in sightings if sighting is not None]
    in_poses = f"in {len(found)} of {len(sightings)} poses"
    if len(found) < limits.min_sightings:
        words = (
            f"found {in_poses}, {limits.min_sightings} are needed: show it the hand, in front of nothing near; where "
            "it shows it well, pose or depth scale are far off"
        )
        yield Finding("gripper", None, limits.max_gripper_m * 1000, "mm", words)
        return
    errors_mm = [sighting.distance_m * 1000 for sighting in found]
    pairs = [
        sighting.pixels(view.camera) for sighting, view in zip(sightings, views, strict=True) if sighting is not None
    ]
    errors_px = [float(np.linalg.norm(seen - predicted)) for predicted, seen in pairs]
    middle, middle_px = float(np.median(errors_mm)), float(np.median(errors_px))
    yield Finding("gripper", middle, limits.max_gripper_m * 1000, "mm", f"median, {middle_px:.1f} px, found {in_poses}")
    worst = f"worst pose, {max(errors_px):.1f} px"
    yield Finding("gripper, worst", max(errors_mm), limits.max_worst_gripper_m * 1000, "mm", worst)
    yield _of_scale([sighting.depth_ratio for sighting in found], limits.max_scale_error, "the gripper")


def _of_scale(ratios: Sequence[float], limit: float, what: str) -> Finding:
    mean = float(np.mean(ratios))
    half = 2 * float(np.std(ratios, ddof=1)) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    words = f"depth over true depth {mean:.4f} ({mean - half:.4f} to {mean + half:.4f}), by {what}"
    return Finding("depth scale", abs(mean - 1) * 100, limit * 100, "%", words)


def _of_marker(name: str, looks: Sequence[Look], config: RobotConfig) -> Finding:
    marker, limits = config.calibration.marker, config.calibration
    assert marker is not None
    gripper_from_ee = np.linalg.inv(config.arm.ee_from_gripper.matrix)
    errors = [marker_error_px(look.views[name], look.world_from_gripper @ gripper_from_ee, marker) for look in looks]
    seen = [error for error in errors if error is not None]
    in_poses = f"seen in {len(seen)} of {len(errors)} poses"
    value = float(np.median(seen)) if len(seen) >= limits.min_sightings else None
    words = f"median, {in_poses}" if value is not None else f"{in_poses}, {limits.min_sightings} are needed"
    return Finding("marker", value, limits.max_marker_px, "px", words)


def _of_table(planes: Sequence[TablePlane | None], config: RobotConfig, *, with_scale: bool) -> Iterator[Finding]:
    limits, found = config.calibration, [plane for plane in planes if plane is not None]
    if not found:
        words = f"no plane near z = {config.guard.table_height_m:.3f} m: check depth_scale and the camera's pose"
        yield Finding("table height", None, limits.max_table_m * 1000, "mm", words)
        return
    worst = max(found, key=lambda plane: abs(plane.height_error_m))
    where = "above" if worst.height_error_m > 0 else "below"
    seen = f"worst of {len(found)} poses, {worst.share:.0%} of the points near it on its plane"
    error_mm = abs(worst.height_error_m) * 1000
    yield Finding("table height", error_mm, limits.max_table_m * 1000, "mm", f"{where} its place; {seen}")
    tilt = max(plane.tilt_deg for plane in found)
    yield Finding("table tilt", tilt, limits.max_tilt_deg, "deg", "between its plane and the level")
    if with_scale:
        yield _of_scale([plane.depth_ratio for plane in found], limits.max_scale_error, "the table")


def _advice(name: str, looks: Sequence[Look], sightings: Sequence[Sighting | None]) -> str | None:
    """Whether the gripper is seen off by the same way in all poses, and by which."""
    shifts = [
        look.views[name].camera.world_from_camera[:3, :3] @ sighting.shift_m
        for look, sighting in zip(looks, sightings, strict=True)
        if sighting is not None
    ]
    if len(shifts) < 2:
        return None
    mean, scatter_m = np.mean(shifts, axis=0), float(np.std(shifts, axis=0).max())
    words = "(" + ", ".join(f"{value * 1000:+.0f}" for value in mean) + ") mm in the world's x, y, z"
    if scatter_m < _SAME_M:
        return f"the gripper is seen {words} from its place in every pose: so much is the camera's position off"
    return (
        f"the gripper is seen {words} from its place on average, with a scatter of {scatter_m * 1000:.0f} mm between "
        "poses: the camera's direction, arm.world_from_base, arm.ee_from_gripper or the depth scale is off"
    )
