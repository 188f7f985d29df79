"""Small made-up demonstrations: a coloured square above the table is where the gripper has to go."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.store import Store, episode_name
from gnfactor.batch import Sample
from gnfactor.demonstration import Demonstration
from gnfactor.scene import ARM, ArmState, Camera, Observation, View

TASKS = ("push", "lift")
SIZE = 16
"""Pixels along each side of a picture."""


def make_demonstration(
    task: str = "push",
    seed: int = 0,
    frames: int = 25,
    keyframes: tuple[int, ...] = (12, 24),
    rig: int = 0,
    rig_frames: tuple[int, ...] = (0, 10, 12, 20, 24),
) -> Demonstration:
    """An episode whose keyframes are where the square is, seen by one camera from above, and by a rig of cameras."""
    draws = np.random.default_rng((len(task), seed))
    goals = draws.uniform((0.0, -0.3, 0.8), (0.4, 0.3, 1.0), (len(keyframes), 3))
    poses = np.tile(np.diag((1.0, -1.0, -1.0, 1.0)), (frames, 1, 1))
    poses[:, :3, 3] = (0.2, 0.0, 1.3)
    begin = 0
    for goal, keyframe in zip(goals, keyframes, strict=True):
        for frame in range(begin + 1, keyframe + 1):
            share = (frame - begin) / (keyframe - begin)
            poses[frame, :3, 3] = (1 - share) * poses[begin, :3, 3] + share * goal
        begin = keyframe
    reached = np.cumsum(np.isin(np.arange(frames), keyframes))
    return Demonstration(
        task=task,
        variation=seed % 2,
        seed=seed,
        instructions=(f"{task} the square", f"please {task} it"),
        renderer="synthetic",
        observations=tuple(
            Observation(
                step=int(reached[frame]),
                time_s=0.05 * frame,
                views={"front": _view(goals[min(reached[frame], len(goals) - 1)])},
                arms={ARM: _arm(poses[frame], bool(reached[frame] % 2 == 0))},
            )
            for frame in range(frames)
        ),
        # only the motion into the second keyframe ignores collisions
        ignore_collisions=tuple(bool(len(keyframes) > 1 and keyframes[0] < f <= keyframes[1]) for f in range(frames)),
        keyframes=keyframes,
        target_views={
            frame: {f"rig{k}": _view(goals[min(reached[frame], len(goals) - 1)], 0.1 * (k + 1)) for k in range(rig)}
            for frame in (rig_frames if rig else ())
        },
        labels={1: "square1"} if rig else {},
    )


def sample_from(demonstration: Demonstration, frame: int, keyframe: int, instruction: str) -> Sample:
    """The sample that starts at `frame` and should reach `keyframe` (frame indices)."""
    return Sample(
        observation=demonstration.observations[frame],
        instruction=instruction,
        target=demonstration.observations[keyframe],
        ignore_collisions=demonstration.ignore_collisions[keyframe],
        task=demonstration.task,
    )


def make_store(path: Path, episodes: int = 3, tasks: tuple[str, ...] = TASKS, **kwargs: object) -> Path:
    """A store of made-up episodes."""
    store = Store.create(path)
    for task in tasks:
        for seed in range(episodes):
            demonstration = make_demonstration(task, seed, **kwargs)  # type: ignore[arg-type]
            store.write(demonstration, episode_name(task, demonstration.variation, f"seed{seed}"))
    store.finish()
    return path


def _arm(pose: np.ndarray, gripper_open: bool) -> ArmState:
    return ArmState(
        world_from_gripper=pose,
        gripper_open=gripper_open,
        finger_positions_m=np.full(2, 0.04 if gripper_open else 0.0),
        joint_positions=np.zeros(7),
        joint_velocities=np.zeros(7),
    )


def _view(goal: np.ndarray, aside_m: float = 0.0) -> View:
    """From 2 m straight above (0.2, aside): a table at 0.75 m and a red square at the goal, labelled 1 if aside."""
    focal, height_m = 24.0, 2.0
    world_from_camera = np.array([[0, -1, 0, 0.2], [-1, 0, 0, aside_m], [0, 0, -1, height_m], [0, 0, 0, 1.0]])
    intrinsics = np.array([[focal, 0, 7.5], [0, focal, 7.5], [0, 0, 1]])
    rgb = np.full((SIZE, SIZE, 3), 90, np.uint8)
    depth_m = np.full((SIZE, SIZE), height_m - 0.75, np.float32)
    away = height_m - goal[2]
    u, v = np.clip(
        np.round([7.5 - focal * (goal[1] - aside_m) / away, 7.5 - focal * (goal[0] - 0.2) / away]).astype(int), 0, 14
    )
    rgb[v : v + 2, u : u + 2] = (255, 0, 0)
    depth_m[v : v + 2, u : u + 2] = away
    labels = (rgb[..., 0] == 255).astype(np.int32) if aside_m else None
    return View(Camera(intrinsics, world_from_camera, SIZE, SIZE), rgb, depth_m, labels)


TINY = """\
policy:
  image_size: [16, 16]
  grid: {size: 8}
  encoder: {widths: [4, 8], channels: 8, norm: group}
  language: {encoder: hashing, width: 8, tokens: 4}
  head:
    network:
      width: 8
      patch: 2
      perceiver: {latents: 4, latent_width: 8, depth: 1, latent_heads: 2, latent_head_width: 4, cross_head_width: 4}
      hidden: [8]
      rotation_bins: 8
optim: {name: adamw, lr: 1e-2}
data: {validation_episodes: 1}
train: {steps: 6, batch_size: 2, log_every: 1, validate_every: 2, checkpoint_every: 2, accelerator: cpu}
"""
TINY_FIELD = """\
policy:
  field:
    network: {width: 8, blocks: 1, place_blocks: 1, features: 4}
    sampling: {coarse: 4, importance: 2, guided: 2}
    loss: {total: 1.0, feature: 0.5, depth: 0.5}
data:
  views:
    held_out: [rig1]
    rays: 6
    pixels: 40
    measured: 4
    teacher: {name: segmentation, channels: 4}
    projection: none
    channels: 4
"""
"""On top of TINY: a field that learns from a store with a rig."""
"""Settings of a policy that trains in a blink."""
