"""Moving the built-in arm: laws of its parts, and what `move_to` and `set_gripper` do in a small world."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gnfactor import trajectory
from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.grasp import Grasp
from gnfactor.envs.tabletop.inverse_kinematics import InverseKinematics, distinct_solutions
from gnfactor.envs.tabletop.motion import Mover
from gnfactor.envs.tabletop.planning import PlanningBudget, edge_is_free, path_is_free, plan
from gnfactor.envs.tabletop.robot import JOINT_LOWER, JOINT_UPPER, REST_JOINTS, forward_kinematics
from gnfactor.envs.tabletop.scene import base_scene, make_graspable

fractions = st.lists(st.floats(0.05, 0.95), min_size=7, max_size=7).map(np.array)
postures = fractions.map(lambda share: JOINT_LOWER + share * (JOINT_UPPER - JOINT_LOWER))


@cache
def kinematics() -> InverseKinematics:
    return InverseKinematics()


def pointing_down(x: float, y: float, z: float, yaw: float = 0.0) -> np.ndarray:
    """Gripper downwards as at rest, turned by `yaw` about the world's z."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([-1.0, 1.0, -1.0])
    pose[:3, 3] = x, y, z
    return pose


@dataclass
class Room:
    """The base scene with a graspable block, a loose bar that cannot be grasped, and possibly a wall."""

    wall: bool = False
    steps: int = 0
    touched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        spec = base_scene()
        for name, place, half_size in (
            ("block", (0.3, 0.2, 0.775), (0.02, 0.02, 0.025)),
            ("bar", (0.3, -0.2, 0.775), (0.02, 0.02, 0.025)),
        ):
            body = spec.worldbody.add_body(name=name, pos=place)
            body.add_freejoint()
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=half_size, mass=0.1)
        make_graspable(spec, "block")
        if self.wall:
            wall = spec.worldbody.add_body(name="wall_body", pos=(0.3, 0.0, 0.85))
            wall.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.15, 0.02, 0.1))
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        Arm(self.model).place_at_rest(self.model, self.data)
        self.mover = Mover(self.model, self.data, self.look)

    def look(self) -> None:
        """Count steps and remember what the arm touched."""
        self.steps += 1
        for pair in self.data.contact.geom[: self.data.ncon]:
            names = [self.model.body(int(self.model.geom_bodyid[geom])).name for geom in pair]
            robots = [name.startswith("panda") for name in names]
            if any(robots) and not all(robots):
                self.touched.add(names[robots.index(False)])

    @property
    def tip(self) -> np.ndarray:
        return self.arm.world_from_gripper

    @property
    def arm(self) -> ArmState:
        return Arm(self.model).state(self.model, self.data)

    @property
    def held(self) -> str | None:
        body = Grasp(self.model, Arm(self.model)).held_body(self.data)
        return None if body is None else self.model.body(body).name

    def place(self, body: str) -> np.ndarray:
        return self.data.body(body).xpos.copy()


@settings(max_examples=15, deadline=None)
@given(postures, st.integers(0, 1000))
def test_inverse_kinematics_finds_postures_that_reach_the_pose(joints: np.ndarray, seed: int) -> None:
    pose = forward_kinematics(joints)
    near = joints + np.random.default_rng(seed).uniform(-0.3, 0.3, 7)
    solutions = list(distinct_solutions(kinematics().attempts(pose, near)))
    assert solutions
    for solution in solutions:
        assert (solution >= JOINT_LOWER).all()
        assert (solution <= JOINT_UPPER).all()
        np.testing.assert_allclose(forward_kinematics(solution)[:3, 3], pose[:3, 3], atol=2e-4)
        np.testing.assert_allclose(forward_kinematics(solution)[:3, :3], pose[:3, :3], atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.15, 0.5), st.floats(-0.35, 0.35), st.floats(0.76, 1.1), st.floats(-0.7, 0.7))
def test_a_followed_line_is_straight_and_turns_evenly(x: float, y: float, z: float, yaw: float) -> None:
    start, target = REST_JOINTS, pointing_down(x, y, z, yaw)
    path = kinematics().follow_line(start, target)
    assume(path is not None)
    assert path is not None
    tips = np.stack([forward_kinematics(joints)[:3, 3] for joints in path])
    expected = np.linspace(tips[0], target[:3, 3], len(path))
    np.testing.assert_allclose(tips, expected, atol=3e-4)
    turns = [np.linalg.norm(forward_kinematics(b)[:3, :3] - forward_kinematics(a)[:3, :3]) for a, b in pairwise(path)]
    assert max(turns) - min(turns) < 6e-3


paths = st.lists(postures, min_size=2, max_size=5).map(np.stack)


@settings(max_examples=60, deadline=None)
@given(paths)
def test_trajectories_keep_the_limits_and_visit_the_whole_path(path: np.ndarray) -> None:
    timestep = 0.002
    timed = trajectory.time_path(path, timestep)
    positions = np.concatenate((path[:1], timed.positions))
    speeds = np.diff(positions, axis=0) / timestep
    assert np.abs(speeds).max() <= trajectory.MAX_JOINT_SPEED * 1.01
    accelerations = np.diff(speeds, axis=0, prepend=0, append=0) / timestep
    # Corners are points: a sample before and after one may differ by more, for one time step.
    assert np.quantile(np.abs(accelerations).max(1), 0.9) <= trajectory.MAX_JOINT_ACCELERATION * 1.1
    np.testing.assert_allclose(timed.positions[-1], path[-1], atol=1e-9)
    np.testing.assert_array_equal(timed.velocities[-1], 0)
    for point in path:
        assert np.abs(positions - point).max(1).min() < 0.01


def test_a_single_joint_takes_the_time_of_a_trapezoid() -> None:
    speed, acceleration, distance = trajectory.MAX_JOINT_SPEED, trajectory.MAX_JOINT_ACCELERATION, 1.2
    path = np.zeros((2, 7))
    path[1, 0] = distance
    timed = trajectory.time_path(path, 0.002)
    assert abs(len(timed.positions) * 0.002 - (distance / speed + speed / acceleration)) < 0.03


def test_the_tips_speed_can_be_limited() -> None:
    path = np.linspace(REST_JOINTS, REST_JOINTS + 0.5, 20)
    tips = np.stack([forward_kinematics(joints)[:3, 3] for joints in path])
    timed = trajectory.time_path(path, 0.002, tips, 0.2)
    moved = np.stack([forward_kinematics(joints)[:3, 3] for joints in timed.positions])
    assert np.linalg.norm(np.diff(moved, axis=0), axis=1).max() / 0.002 < 0.21


def slit(joints: np.ndarray) -> bool:
    """A wall across joint 1 that can be passed only where joint 2 is large."""
    return bool(abs(joints[0]) > 0.2 or joints[1] > 0.8)


def behind(joints: np.ndarray, first: float) -> np.ndarray:
    changed = joints.copy()
    changed[0] = first
    return changed


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_leads_through_the_slit(seed: int) -> None:
    start, goal = behind(REST_JOINTS, -1.0), behind(REST_JOINTS, 1.0)
    assert not edge_is_free(start, goal, slit)
    path = plan(start, [goal], slit, PlanningBudget(), seed)
    assert path is not None
    np.testing.assert_array_equal(path[[0, -1]], [start, goal])
    assert path_is_free(path, slit)
    np.testing.assert_array_equal(path, plan(start, [goal], slit, PlanningBudget(), seed))


def test_a_plan_that_does_not_exist_ends_within_its_budget() -> None:
    asked = 0

    def split(joints: np.ndarray) -> bool:
        nonlocal asked
        asked += 1
        return bool(abs(joints[0]) > 0.2)

    start, goal = behind(REST_JOINTS, -1.0), behind(REST_JOINTS, 1.0)
    assert plan(start, [goal], split, PlanningBudget(collision_checks=2000)) is None
    assert asked < 2300


@pytest.mark.parametrize("ignore_collisions", [False, True])
@pytest.mark.parametrize(
    "target", [pointing_down(0.3, 0.0, 0.8), pointing_down(0.1, -0.3, 1.0, 0.6), pointing_down(0.45, 0.2, 0.9, -0.8)]
)
def test_move_to_arrives_and_comes_to_rest(target: np.ndarray, ignore_collisions: bool) -> None:
    room = Room()
    motion = room.mover.move_to(target, ignore_collisions)
    assert motion.reached
    assert motion.refused is None
    assert np.linalg.norm(room.tip[:3, 3] - target[:3, 3]) < 2e-3
    np.testing.assert_allclose(room.tip[:3, :3], target[:3, :3], atol=0.01)
    assert np.abs(room.data.qvel).max() < 0.02
    assert room.steps > 0


@pytest.mark.parametrize(
    ("target", "ignore_collisions", "reason"),
    [
        (pointing_down(0.3, 0.0, 0.74), True, "outside the workspace: z = 0.740"),
        (pointing_down(0.3, 0.6, 0.9), False, "outside the workspace: y"),
        (np.full((4, 4), np.nan), True, "not finite"),
        (pointing_down(0.68, 0.45, 1.4), True, "cannot reach"),
        (pointing_down(0.68, 0.45, 1.4), False, "cannot reach"),
        (pointing_down(0.3, 0.0, 0.85), False, "in collision: .* mm inside wall_body"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason_and_moves_nothing(
    target: np.ndarray, ignore_collisions: bool, reason: str
) -> None:
    room = Room(wall=True)
    before = room.data.qpos.copy()
    motion = room.mover.move_to(target, ignore_collisions)
    assert not motion.reached
    assert motion.refused is not None
    assert np.array_equal(before, room.data.qpos)
    assert room.steps == 0
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(motion.refused)


def test_a_target_behind_a_wall_is_reached_around_it_or_blocked_when_collisions_are_ignored() -> None:
    one_side, other_side = pointing_down(0.3, 0.11, 0.8, np.pi / 2), pointing_down(0.3, -0.11, 0.8, np.pi / 2)
    room = Room(wall=True)
    assert room.mover.move_to(one_side, False).reached
    room.touched.clear()
    assert room.mover.move_to(other_side, False).reached
    assert "wall_body" not in room.touched
    assert room.mover.move_to(one_side, False).reached
    motion = room.mover.move_to(other_side, True)
    assert "wall_body" in room.touched
    assert not motion.reached
    assert motion.refused is None
    assert motion.blocked is not None


def test_no_path_is_a_refusal_too() -> None:
    room = Room(wall=True)
    assert room.mover.move_to(pointing_down(0.3, 0.11, 0.8, np.pi / 2), False).reached
    walled_in = Mover(room.model, room.data, budget=PlanningBudget(collision_checks=5, iterations=3))
    motion = walled_in.move_to(pointing_down(0.3, -0.11, 0.8, np.pi / 2), False)
    assert motion.refused is not None
    assert "no path" in motion.refused


def lift(room: Room, body: str, height: float = 0.95) -> None:
    x, y, z = room.place(body)
    assert room.mover.move_to(pointing_down(x, y, z + 0.1), False).reached
    assert room.mover.move_to(pointing_down(x, y, z), True).reached
    room.mover.set_gripper(open=False)
    room.mover.move_to(pointing_down(x, y, height), True)


def test_a_grasped_block_is_held_firmly_and_let_go() -> None:
    room = Room()
    lift(room, "block")
    assert room.held == "block"
    assert not room.arm.gripper_open
    held_at = np.linalg.solve(room.tip, np.append(room.place("block"), 1))[:3]
    for x, y, yaw in ((0.2, -0.2, 0.8), (0.45, 0.1, -0.5), (0.15, 0.3, 0.0)):
        assert room.mover.move_to(pointing_down(x, y, 0.95, yaw), False).reached
    moved = np.linalg.solve(room.tip, np.append(room.place("block"), 1))[:3]
    assert np.linalg.norm(moved - held_at) < 1e-3
    room.mover.set_gripper(open=True)
    room.mover.settle()
    assert room.held is None
    assert room.arm.gripper_open
    assert room.place("block")[2] < 0.8


def test_only_what_was_declared_graspable_is_welded() -> None:
    room = Room()
    lift(room, "bar")
    assert room.held is None


def test_a_held_block_moves_along_in_the_plan_and_is_no_obstacle() -> None:
    room = Room(wall=True)
    lift(room, "block", 1.05)
    above_wall = pointing_down(0.3, 0.0, 0.965)
    motion = room.mover.move_to(above_wall, False)
    assert motion.refused is not None
    assert "block" in motion.refused
    room.mover.set_gripper(open=True)
    room.mover.settle()
    assert room.mover.move_to(above_wall, False).reached


def test_a_contact_may_be_left_but_not_deepened() -> None:
    room = Room()
    x, y, _ = room.place("bar")
    pressing = pointing_down(x, y, 0.79)
    room.mover.set_gripper(open=False)
    assert room.mover.move_to(pointing_down(x, y, 0.83), False).reached
    room.mover.move_to(pressing, True)
    assert "bar" in room.touched
    assert "collision" in str(room.mover.move_to(pointing_down(x, y, 0.77), False).refused)
    assert room.mover.move_to(pointing_down(x, y, 0.95), False).reached


def test_something_asleep_wakes_when_it_is_pushed() -> None:
    room = Room()
    room.mover.settle(1.0)
    x, y, z = room.place("bar")
    room.mover.set_gripper(open=False)
    assert room.mover.move_to(pointing_down(x - 0.08, y, z), False).reached
    assert room.mover.move_to(pointing_down(x + 0.05, y, z), True).reached
    assert room.place("bar")[0] > x + 0.05


def test_hold_keeps_the_arm_where_it_is() -> None:
    room = Room()
    room.mover.move_to(pointing_down(0.3, 0.0, 0.9), False)
    room.data.ctrl[:7] += 0.4
    room.mover.hold()
    room.mover.settle()
    assert np.linalg.norm(room.tip[:3, 3] - (0.3, 0, 0.9)) < 2e-3


SCRIPT = """
import hashlib, sys
sys.path.insert(0, "tests")
from test_motion import Room, lift, pointing_down
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.rendering import make_renderer
room = Room(wall=True)
lift(room, "block", 1.05)
room.mover.move_to(pointing_down(0.3, -0.2, 1.0), False)
cameras = list(tabletop_cameras(room.tip, (64, 64), ("front", "wrist")).values())
views = make_renderer(room.model).render(room.data, cameras)
bytes_ = room.data.qpos.tobytes() + b"".join(v.rgb.tobytes() + v.depth_m.tobytes() for v in views)
print(room.steps, hashlib.sha256(bytes_).hexdigest())
"""


def test_two_processes_do_exactly_the_same() -> None:
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", SCRIPT]
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0] for process in both)
    assert int(first.split()[0]) > 100
    assert first == second
