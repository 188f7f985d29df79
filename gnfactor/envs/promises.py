"""What every environment promises, each promise as a function that raises `BrokenPromiseError` where it is broken.

The arm moves by a few centimetres at most. `gnfactor.envs.check` says which promise is tested when.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import Env, Scene, SeededScene, Step
from gnfactor.errors import SceneError
from gnfactor.geometry import project, unproject
from gnfactor.scene import ARM, WORKSPACE_LOWER_M, WORKSPACE_UPPER_M, ArmState, Observation, View

MakeEnv = Callable[[], Env]
"""Makes the environment to test; must be picklable where the environment declares that it is seeded."""

NUDGE_M = 0.02
ARRIVED_M, ARRIVED_DEG = 0.01, 3.0
SAME_SURFACE_M = 0.02
AROUND_WORKSPACE_M = 0.3


class BrokenPromiseError(AssertionError):
    """A promise of the contract that the environment did not keep."""


@contextmanager
def opened(make_env: MakeEnv) -> Generator[Env]:
    """A fresh environment that is closed at the end."""
    env = make_env()
    try:
        yield env
    finally:
        env.close()


def start_is_complete(make_env: MakeEnv, scene: Scene) -> None:
    """An episode starts at step 0 with instructions, views and the arm's state."""
    with opened(make_env) as env:
        start = env.reset(scene)
        _require(len(start.instructions) > 0 and all(text.strip() for text in start.instructions), "no instruction")
        observation = start.observation
        _require(observation.step == 0, f"the first observation has step {observation.step}, not 0")
        _require(np.isfinite(observation.time_s) and observation.time_s >= 0, f"time is {observation.time_s} s")
        _require(len(observation.views) > 0, "no camera")
        _require(ARM in observation.arms, f"arms are {sorted(observation.arms)}; '{ARM}' is missing")
        arm = observation.arms[ARM]
        _require(arm.finger_positions_m.shape == (2,), f"finger positions have shape {arm.finger_positions_m.shape}")
        _require(
            bool(np.all((arm.finger_positions_m > -0.005) & (arm.finger_positions_m < 0.045))),
            f"finger positions are {arm.finger_positions_m} m; each is expected in 0 to 0.04",
        )
        for name in ("joint_positions", "joint_velocities"):
            joints = cast("np.ndarray", getattr(arm, name))
            _require(joints.shape == (7,) and bool(np.isfinite(joints).all()), f"{name} are {joints}")
        _require(bool((np.abs(arm.joint_positions) < 2 * np.pi).all()), "joint positions are not radians")


def poses_are_rigid(make_env: MakeEnv, scene: Scene) -> None:
    """Poses of gripper and cameras are rigid transforms, in metres near the workspace."""
    with opened(make_env) as env:
        observation = env.reset(scene).observation
        poses = {f"camera '{name}'": view.camera.world_from_camera for name, view in observation.views.items()}
        gripper = observation.arms[ARM].world_from_gripper
        for name, pose in {**poses, "the gripper": gripper}.items():
            _require(pose.shape == (4, 4) and bool(np.isfinite(pose).all()), f"the pose of {name} is {pose}")
            rotation = pose[:3, :3]
            error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
            _require(error < 1e-4, f"the rotation of {name} is off orthonormal by {error:.1e}")
            _require(np.linalg.det(rotation) > 0, f"the rotation of {name} is a reflection")
            _require(bool(np.allclose(pose[3], (0, 0, 0, 1))), f"the last row of the pose of {name} is {pose[3]}")
            distance = float(np.linalg.norm(pose[:3, 3] - _workspace_centre()))
            _require(distance < 5, f"{name} is {distance:.1f} m from the workspace's centre; are these metres?")
        _require(_in_workspace(gripper[:3, 3]), f"the gripper at {gripper[:3, 3]} m is not in the workspace")


def pictures_fit_their_cameras(make_env: MakeEnv, scene: Scene) -> None:
    """Pictures have their camera's size and types; intrinsics are OpenCV's."""
    with opened(make_env) as env:
        for name, view in env.reset(scene).observation.views.items():
            size = (view.camera.height, view.camera.width)
            _require(view.rgb.shape == (*size, 3), f"'{name}': rgb {view.rgb.shape} for a camera of {size}")
            _require(view.rgb.dtype == np.uint8, f"'{name}': rgb is {view.rgb.dtype}, not uint8")
            _require(view.depth_m.shape == size, f"'{name}': depth {view.depth_m.shape} for a camera of {size}")
            _require(np.issubdtype(view.depth_m.dtype, np.floating), f"'{name}': depth is {view.depth_m.dtype}")
            if view.segmentation is not None:
                _require(view.segmentation.shape == size, f"'{name}': segmentation {view.segmentation.shape}")
            k = view.camera.intrinsics
            _require(
                k.shape == (3, 3) and k[0, 0] > 0 and k[1, 1] > 0, f"'{name}': focal lengths must be positive: {k}"
            )
            inside = 0 <= k[0, 2] <= view.camera.width and 0 <= k[1, 2] <= view.camera.height
            _require(inside, f"'{name}': principal point {k[:2, 2]} outside the picture")


def depth_is_metric(make_env: MakeEnv, scene: Scene) -> None:
    """Depth is metres or no reading, and every camera sees points around the workspace."""
    with opened(make_env) as env:
        for name, view in env.reset(scene).observation.views.items():
            finite = view.depth_m[np.isfinite(view.depth_m)]
            _require(bool((finite >= 0).all()), f"'{name}': depth goes down to {finite.min(initial=0)} m")
            points = _points(view)
            share = len(points) / view.depth_m.size
            _require(share > 0.05, f"'{name}': only {share:.0%} of the pixels have a depth")
            lower, upper = np.array(WORKSPACE_LOWER_M), np.array(WORKSPACE_UPPER_M)
            near = ((points > lower - AROUND_WORKSPACE_M) & (points < upper + AROUND_WORKSPACE_M)).all(-1).mean()
            _require(near > 0.1, f"'{name}': only {near:.0%} of its points lie around the workspace")


def cameras_agree(make_env: MakeEnv, scene: Scene) -> None:
    """No camera sees a surface where another one looks through: same frame, depth along the optical axis."""
    with opened(make_env) as env:
        views = env.reset(scene).observation.views
        for first, view in views.items():
            for second, other in views.items():
                share = _share_in_front(view, other) if first != second else 0.0
                _require(
                    share < 0.1,
                    f"{share:.0%} of what '{first}' sees floats more than {SAME_SURFACE_M * 100:.0f} cm before what "
                    f"'{second}' sees; is depth along the optical axis, and are the poses in OpenCV's convention?",
                )


def steps_advance(make_env: MakeEnv, scene: Scene) -> None:
    """Step index and time advance with every action, the step index by one."""
    with opened(make_env) as env:
        before = env.reset(scene).observation
        for index in (1, 2):
            step = env.step(_stay(before))
            after = step.observation
            _require(after.step == index, f"after action {index} the observation has step {after.step}")
            _require(after.time_s > before.time_s, f"time went from {before.time_s} to {after.time_s} s")
            _require(sorted(after.views) == sorted(before.views), "the set of cameras changed within an episode")
            before = after


def success_is_known(make_env: MakeEnv, scene: Scene) -> None:
    """Success is True or False after every action."""
    with opened(make_env) as env:
        step = env.step(_stay(env.reset(scene).observation))
        _require(isinstance(step.success, bool), f"success is {step.success!r}, though it is declared to be known")


def targets_are_reached(make_env: MakeEnv, scene: Scene) -> None:
    """Actions and observations share a frame: a target 2 cm higher is reached, or refused with a reason."""
    with opened(make_env) as env:
        start = env.reset(scene).observation
        up = start.arms[ARM].world_from_gripper.copy()
        up[2, 3] += NUDGE_M
        step = env.step(_action(start.arms[ARM], up))
        if step.refused is None:
            _require_close(up, step.observation.arms[ARM].world_from_gripper)
        else:
            _require_reason(step)


def gripper_obeys(make_env: MakeEnv, scene: Scene) -> None:
    """The gripper opens and closes as told."""
    with opened(make_env) as env:
        observation = env.reset(scene).observation
        for wanted in (False, True):
            target = ArmTarget(observation.arms[ARM].world_from_gripper, wanted, ignore_collisions=False)
            observation = env.step(Action({ARM: target})).observation
            arm = observation.arms[ARM]
            _require(arm.gripper_open == wanted, f"told open={wanted}, the gripper says open={arm.gripper_open}")
            _require(
                bool((arm.finger_positions_m > 0.03).all()) == wanted,
                f"told open={wanted}, the fingers stand at {arm.finger_positions_m} m",
            )


def absurd_targets_are_refused(make_env: MakeEnv, scene: Scene) -> None:
    """A target that no arm can reach is refused with a reason, counted as a step, and moves nothing."""
    with opened(make_env) as env:
        before = env.reset(scene).observation
        resting = before.arms[ARM].world_from_gripper
        for name, pose in _absurd_poses(resting).items():
            step = env.step(_action(before.arms[ARM], pose))
            _require(step.refused is not None, f"{name} was not refused")
            _require_reason(step)
            after = step.observation
            _require(after.step == before.step + 1, f"{name}: step went from {before.step} to {after.step}")
            _require(after.time_s >= before.time_s, f"{name}: time went back to {after.time_s} s")
            _require_close(resting, after.arms[ARM].world_from_gripper)
            before = after
        step = env.step(_stay(before))
        _require(step.refused is None, f"after refusals the arm does not even stay where it is: {step.refused}")


def observations_are_kept(make_env: MakeEnv, scene: Scene) -> None:
    """An observation is a picture of its moment: later actions do not change it."""
    with opened(make_env) as env:
        start = env.reset(scene).observation
        before = _digest(start)
        up = start.arms[ARM].world_from_gripper.copy()
        up[2, 3] += NUDGE_M
        env.step(_action(start.arms[ARM], up))
        _require(_digest(start) == before, "the first observation changed when the arm moved")


def unknown_scenes_are_refused(make_env: MakeEnv, scene: Scene) -> None:
    """A scene that cannot be made raises SceneError and does no harm."""
    with opened(make_env) as env:
        try:
            env.reset(SeededScene(task="no such task", variation=0, seed=0))
        except SceneError as error:
            _require(bool(str(error)), "SceneError without a message")
        else:
            raise BrokenPromiseError("a scene of the task 'no such task' was made")
        env.hold()
        env.reset(scene)


def holds_at_any_time(make_env: MakeEnv, scene: Scene) -> None:
    """`hold` is safe before, during and after an episode, also after an exception, and the next episode works."""
    with opened(make_env) as env:
        env.hold()
        start = env.reset(scene)
        env.hold()
        try:
            env.step(cast("Action", object()))
        except Exception:
            env.hold()
        else:
            raise BrokenPromiseError("something that is not an action was carried out")
        env.hold()
        _require(env.reset(scene).observation.step == 0, "after an exception a reset does not begin a new episode")
        env.step(_stay(start.observation))
        env.hold()


def closes_twice(make_env: MakeEnv, scene: Scene) -> None:
    """`close` may be called twice, after an episode and without one."""
    idle = make_env()
    idle.close()
    idle.close()
    env = make_env()
    env.reset(scene)
    env.close()
    env.close()


def scenes_repeat(make_env: MakeEnv, scene: Scene) -> None:
    """The same scene gives the same pictures and the same behaviour, whatever happened in between."""
    with opened(make_env) as env:
        first = _trace(env, scene)
        second = _trace(env, scene)
        _require(first == second, f"the same scene came out differently the second time: {first} and {second}")


def scenes_repeat_in_another_process(make_env: MakeEnv, scene: Scene) -> None:
    """The same scene gives the same pictures and the same behaviour in another process."""
    with opened(make_env) as env:
        here = _trace(env, scene)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(_trace_of_new, make_env, scene).result()
    _require(here == there, f"another process made another scene: {here} here, {there} there")


def _require(kept: bool | np.bool_, complaint: str) -> None:
    if not kept:
        raise BrokenPromiseError(complaint)


def _require_reason(step: Step) -> None:
    _require(bool(step.refused and step.refused.strip()), "a refusal without a reason")


def _require_close(expected: np.ndarray, found: np.ndarray) -> None:
    distance = float(np.linalg.norm(found[:3, 3] - expected[:3, 3]))
    cosine = (np.trace(found[:3, :3].T @ expected[:3, :3]) - 1) / 2
    angle_deg = float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    _require(
        distance < ARRIVED_M and angle_deg < ARRIVED_DEG,
        f"the gripper is {distance * 1000:.1f} mm and {angle_deg:.1f} degrees from where it should be",
    )


def _action(arm: ArmState, world_from_gripper: np.ndarray) -> Action:
    return Action({ARM: ArmTarget(world_from_gripper, arm.gripper_open, ignore_collisions=False)})


def _stay(observation: Observation) -> Action:
    arm = observation.arms[ARM]
    return _action(arm, arm.world_from_gripper)


def _absurd_poses(resting: np.ndarray) -> Mapping[str, np.ndarray]:
    poses = {name: resting.copy() for name in ("a target of NaN", "a target at infinity", "a target 10 m away")}
    poses["a target of NaN"][0, 3] = np.nan
    poses["a target at infinity"][2, 3] = np.inf
    poses["a target 10 m away"][0, 3] += 10
    shear = resting.copy()
    shear[:3, 0] = shear[:3, 1]
    return {**poses, "a target without a rotation": shear}


def _workspace_centre() -> np.ndarray:
    return (np.array(WORKSPACE_LOWER_M) + np.array(WORKSPACE_UPPER_M)) / 2


def _in_workspace(point: np.ndarray) -> bool:
    return bool(((point > WORKSPACE_LOWER_M) & (point < WORKSPACE_UPPER_M)).all())


def _has_reading(depth_m: np.ndarray) -> np.ndarray:
    return np.isfinite(depth_m) & (depth_m > 0)


def _points(view: View) -> np.ndarray:
    """World points (m) of the pixels that have a reading."""
    known = _has_reading(view.depth_m)
    depth = torch.from_numpy(np.where(known, view.depth_m, 0.0).astype(np.float64))
    camera = view.camera
    points = unproject(depth, _double(camera.intrinsics), _double(camera.world_from_camera)).numpy()
    return points[known]


def _share_in_front(view: View, other: View) -> float:
    """Share of `view`'s points, of those that fall into `other`'s picture, that lie before what `other` sees there."""
    points = torch.from_numpy(_points(view))
    camera = other.camera
    pixels, depth = project(points, _double(camera.intrinsics), _double(camera.world_from_camera))
    column, row = pixels.round().nan_to_num(nan=-1, posinf=-1, neginf=-1).clamp(-1, 1e6).long().numpy().T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height) & (depth.numpy() > 0)
    surface = other.depth_m[row[inside], column[inside]]
    known = _has_reading(surface)
    if known.sum() < 50:
        return 0.0
    return float((depth.numpy()[inside][known] < surface[known] - SAME_SURFACE_M).mean())


def _double(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float64))


def _trace(env: Env, scene: Scene) -> tuple[str, ...]:
    """Digests of the start, and of what follows moving up, closing the gripper and an impossible target."""
    start = env.reset(scene)
    arm = start.observation.arms[ARM]
    up, away = arm.world_from_gripper.copy(), arm.world_from_gripper.copy()
    up[2, 3] += NUDGE_M
    away[0, 3] += 10
    actions = (_action(arm, up), Action({ARM: ArmTarget(up, False, ignore_collisions=True)}), _action(arm, away))
    said = hashlib.sha256("\n".join(start.instructions).encode()).hexdigest()[:12]
    return (said, _digest(start.observation), *(_digest(env.step(action).observation) for action in actions))


def _trace_of_new(make_env: MakeEnv, scene: Scene) -> tuple[str, ...]:
    with opened(make_env) as env:
        return _trace(env, scene)


def _digest(value: Any) -> str:
    """Short fingerprint of everything in an observation, bit for bit."""
    digest = hashlib.sha256()
    _feed(digest.update, value)
    return digest.hexdigest()[:12]


def _feed(update: Callable[[bytes], object], value: Any) -> None:
    if isinstance(value, np.ndarray):
        update(str((value.dtype, value.shape)).encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(cast("Mapping[str, Any]", value)):
            update(key.encode())
            _feed(update, value[key])
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            _feed(update, getattr(value, name))
    else:
        update(repr(value).encode())
