"""A Franka under its controllers, in MuJoCo and without ROS: one call of `step` is one step of physics.

The controller that follows a pose is soft as that of franka_ros and has the same low-pass filter on its target, but its
springs are at the joints, behind inverse kinematics. The reflex is an emulation: it trips where a target lies far from
the gripper, which on the real robot shows as a torque or a velocity that is too high.
"""

from __future__ import annotations

from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float

from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.grasp import Grasp
from gnfactor.envs.tabletop.inverse_kinematics import InverseKinematics
from gnfactor.envs.tabletop.robot import FINGER_OPEN_M, JOINT_LOWER, JOINT_UPPER, SERVO_LAG_S

Mode = Literal["idle", "move", "guiding", "reflex", "user stop"]
REFLEX_M = 0.12
"""A target farther than this from the gripper trips the reflex."""
_BRAKED: tuple[Mode, ...] = ("idle", "reflex", "user stop")
MAX_JOINT_SPEED = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
"""rad/s; a trajectory that is faster anywhere is not begun."""
_FILTER_PER_MS = 0.005
_STIFFNESS = np.array([600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0])
_DAMPING = np.array([50.0, 50.0, 50.0, 40.0, 20.0, 15.0, 5.0])
"""Of the joints' springs, Nm/rad, and their dampers, Nms/rad."""
_CONTROL_STEPS, _IK_ITERATIONS = 5, 4
_MISS_M, _MISS_RAD = 0.002, 0.02
"""A target that inverse kinematics misses by more is out of reach."""
_STARTS_AT_RAD = 0.05
_STILL_M_S = 0.002


class Panda:
    """The arm and gripper of one model, under one controller at a time."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, softness: float = 1.0) -> None:
        """`softness` divides the stiffness of the controller that follows a pose."""
        self._model, self._data = model, data
        self.arm = Arm(model)
        self._grasp = Grasp(model, self.arm)
        self._stiffness, self._damping = _STIFFNESS / softness, _DAMPING / np.sqrt(softness)
        self._kinematics = InverseKinematics()
        self._steps = 0
        self._servo_stiffness = model.actuator_gainprm[self.arm.servos, 0]
        self._servo_damping = -model.actuator_biasprm[self.arm.servos, 2]
        self._smoothing = 1 - (1 - _FILTER_PER_MS) ** (1000 * _CONTROL_STEPS * model.opt.timestep)
        self.mode: Mode = "move"
        self.reason = ""
        """Why the arm is in a mode in which no controller moves it."""
        self._fingers_to_m, self._finger_speed_m_s = FINGER_OPEN_M, 0.0
        self._closes_on_things = False
        self._path: Float[np.ndarray, "steps 7"] | None = None
        self._path_step = 0
        self._last_tip_m = np.zeros(3)
        self.velocity_m_s = np.zeros(3)
        """Of the gripper, over the last step."""
        self._rest_here()

    @property
    def world_from_gripper(self) -> Float[np.ndarray, "4 4"]:
        return self.arm.tip_pose(self._data)

    @property
    def joints(self) -> Float[np.ndarray, "7"]:
        """Positions as the built-in world counts them (rad)."""
        return self._data.qpos[self.arm.qpos].copy()

    @property
    def joint_speeds(self) -> Float[np.ndarray, "7"]:
        return self._data.qvel[self.arm.dofs].copy()

    @property
    def width_m(self) -> float:
        """Distance between the fingers."""
        return float(self._data.qpos[self.arm.finger_qpos].sum())

    @property
    def has_reached_width(self) -> bool:
        """Whether the fingers have been sent all the way and have stopped, there or at something between them."""
        sent = np.abs(self._data.ctrl[self.arm.finger_servos] - self._fingers_to_m).max() < 1e-6
        return bool(sent and np.abs(self._data.qvel[self.arm.finger_dofs]).max() < _STILL_M_S)

    @property
    def follows_path(self) -> bool:
        return self._path is not None

    def track(self, world_from_gripper: Float[np.ndarray, "4 4"]) -> None:
        """Let the springs pull the gripper there; one that is far away trips the reflex. Heard in mode move only."""
        if self.mode != "move":
            return
        distance = float(np.linalg.norm(world_from_gripper[:3, 3] - self.world_from_gripper[:3, 3]))
        if not distance <= REFLEX_M:
            self.trip(f"the target is {1000 * distance:.0f} mm away")
            return
        if self._path is not None:
            self._rest_here()
        self._target = world_from_gripper.copy()

    def trip(self, reason: str) -> None:
        """Stop in a reflex: brakes, until `recover`."""
        self._brake("reflex", reason)

    def press_stop(self) -> None:
        """Somebody presses the stop: brakes, until it is released and then recovered from."""
        self._brake("user stop", "the stop is pressed")

    def release_stop(self) -> None:
        """The stop is released; the arm stays braked until `recover`."""
        if self.mode == "user stop":
            self._brake("idle", "the stop was released")

    def recover(self) -> None:
        """End a reflex, or what a stop left; the arm stays where it is. A pressed stop is stronger."""
        if self.mode in ("reflex", "idle"):
            self._control("move")

    def give_to_hand(self) -> None:
        """Somebody holds the guiding buttons: no controller moves the arm, `lead` does."""
        if self.mode == "move":
            self._control("guiding", "it is guided by hand")

    def take_from_hand(self) -> None:
        """The guiding buttons are let go; the controller holds the arm where it is."""
        if self.mode == "guiding":
            self._control("move")

    def lead(self, world_from_gripper: Float[np.ndarray, "4 4"]) -> None:
        """A hand pulls the gripper there, as softly as the controller would; heard while it is guided only."""
        if self.mode == "guiding":
            self._target = world_from_gripper.copy()

    def stop(self) -> None:
        """End a trajectory; the springs hold the arm where it is."""
        self._rest_here()

    def follow(self, times_s: Float[np.ndarray, "points"], positions: Float[np.ndarray, "points 7"]) -> str | None:
        """Begin a trajectory in joint space; why it is refused, or None."""
        if self.mode != "move":
            return f"the arm is in mode {self.mode}: {self.reason}"
        if not (len(times_s) and np.isfinite(positions).all() and (np.diff(times_s, prepend=0.0) >= 0).all()):
            return "a trajectory needs points with finite positions and times that do not go back"
        if ((positions < JOINT_LOWER) | (positions > JOINT_UPPER)).any():
            return "the trajectory leaves the limits of a joint"
        if times_s[0] == 0 and np.abs(positions[0] - self.joints).max() > _STARTS_AT_RAD:
            return "the trajectory does not begin where the arm is"
        known_s = np.concatenate(([0.0], times_s)) if times_s[0] > 0 else times_s
        known = np.concatenate((self.joints[None], positions)) if times_s[0] > 0 else positions
        at = np.arange(self._model.opt.timestep, known_s[-1] + self._model.opt.timestep, self._model.opt.timestep)
        path = np.stack([np.interp(at, known_s, column) for column in known.T], 1)
        speeds = np.abs(np.diff(path, axis=0)).max(0, initial=0.0) / self._model.opt.timestep
        if (speeds > MAX_JOINT_SPEED).any():
            return f"the trajectory is too fast: a joint would turn at {speeds.max():.2f} rad/s"
        self._path, self._path_step = path, 0
        return None

    def move_fingers(self, width_m: float, speed_m_s: float, grasp: bool) -> None:
        """Bring the fingers to a distance, at a speed of the two towards each other; `grasp` holds what they meet.

        Fingers that do not grasp let go.
        """
        if not grasp:
            self._grasp.release(self._data)
        self._fingers_to_m = float(np.clip(width_m / 2, 0, FINGER_OPEN_M))
        self._finger_speed_m_s, self._closes_on_things = max(speed_m_s, 0.0) / 2, grasp

    def stop_fingers(self) -> None:
        self._fingers_to_m = float(self._data.qpos[self.arm.finger_qpos].mean())
        self._data.ctrl[self.arm.finger_servos] = self._fingers_to_m
        self._finger_speed_m_s = 0.0

    def step(self) -> None:
        """One step of physics."""
        self._drive_fingers()
        self._data.ctrl[self.arm.servos] = self._servo_targets()
        mujoco.mj_step(self._model, self._data)
        if self._closes_on_things:
            self._grasp.take(self._data)
        tip_m = self._data.site_xpos[self.arm.tip_site].copy()
        self.velocity_m_s = (tip_m - self._last_tip_m) / self._model.opt.timestep
        self._last_tip_m = tip_m

    def _servo_targets(self) -> Float[np.ndarray, "7"]:
        if self.mode in _BRAKED:
            return self._brake_at
        if self._path is None:
            return self._by_impedance()
        here = self._path[self._path_step]
        self._path_step += 1
        if self._path_step < len(self._path):
            speed = (self._path[self._path_step] - here) / self._model.opt.timestep
            return here + SERVO_LAG_S * speed
        self._rest_here(here)
        return here

    def _by_impedance(self) -> Float[np.ndarray, "7"]:
        """Targets at which the servos give the torques of the joints' springs and dampers."""
        if self._steps % _CONTROL_STEPS == 0:
            self._smooth_target()
            self._command_next()
        self._steps += 1
        joints, speeds = self._data.qpos[self.arm.qpos], self._data.qvel[self.arm.dofs]
        spring = self._stiffness * (self._commanded - joints)
        torque = spring + self._damping * (self._commanded_speeds - speeds)
        return joints + (torque + self._servo_damping * speeds) / self._servo_stiffness

    def _command_next(self) -> None:
        """Joint positions for the smoothed target, as far as joints turn in this time; as before out of reach."""
        attempt = self._kinematics.search(self._smoothed, self._commanded, _IK_ITERATIONS)
        is_in_reach = attempt.miss_m < _MISS_M and attempt.miss_rad < _MISS_RAD
        time_s = _CONTROL_STEPS * self._model.opt.timestep
        wanted = (attempt.joints - self._commanded) / time_s if is_in_reach else np.zeros(7)
        fastest = np.array(MAX_JOINT_SPEED)
        self._commanded_speeds = np.clip(wanted, -fastest, fastest)
        self._commanded = self._commanded + self._commanded_speeds * time_s

    def _smooth_target(self) -> None:
        """Bring what the springs pull towards a little nearer to what was asked for."""
        smoothed, target = self._smoothed, self._target
        smoothed[:3, 3] += self._smoothing * (target[:3, 3] - smoothed[:3, 3])
        turn, vector, quaternion = np.empty(9), np.empty(3), np.empty(4)
        mujoco.mju_mat2Quat(quaternion, (target[:3, :3] @ smoothed[:3, :3].T).ravel())
        mujoco.mju_quat2Vel(vector, quaternion, 1.0)
        angle = float(np.linalg.norm(vector))
        mujoco.mju_axisAngle2Quat(quaternion, vector / max(angle, 1e-12), self._smoothing * angle)
        mujoco.mju_quat2Mat(turn, quaternion)
        smoothed[:3, :3] = turn.reshape(3, 3) @ smoothed[:3, :3]

    def _drive_fingers(self) -> None:
        servos = self._data.ctrl[self.arm.finger_servos]
        step = self._finger_speed_m_s * self._model.opt.timestep
        self._data.ctrl[self.arm.finger_servos] = servos + np.clip(self._fingers_to_m - servos, -step, step)

    def _brake(self, mode: Mode, reason: str) -> None:
        self._control(mode, reason)
        self._brake_at = self.joints

    def _control(self, mode: Mode, reason: str = "") -> None:
        """Another mode, from where the arm is."""
        self._rest_here()
        self.mode, self.reason = mode, reason

    def _rest_here(self, joints: Float[np.ndarray, "7"] | None = None) -> None:
        """Let the springs hold the arm where it is, or at joint positions near by."""
        self._path = None
        self._commanded, self._commanded_speeds = self.joints if joints is None else joints, np.zeros(7)
        self._target = self._kinematics.tip_pose(self._commanded)
        self._smoothed = self._target.copy()
