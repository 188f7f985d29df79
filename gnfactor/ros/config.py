"""Every name, frame, limit and rate of one robot and its cell, from YAML files and `key=value`.

What differs between robots has no default and must be in a file: `configs/robot/` has one for each generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from gnfactor.config_tree import load_tree
from gnfactor.errors import ConfigError
from gnfactor.geometry import pose_from, rotation_from_quaternion
from gnfactor.kinematics import ArmModel
from gnfactor.ros.watchdog import MAX_TIMEOUT_S
from gnfactor.scene import TABLE_HEIGHT_M

ExecutorName = Literal["impedance", "trajectory", "moveit"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PoseConfig:
    """A rigid transform."""

    translation_m: Triple
    quaternion_xyzw: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        length = float(np.linalg.norm(self.quaternion_xyzw))
        if not abs(length - 1) <= 1e-3:  # so that a length that is no number is not let through
            raise ConfigError(f"quaternion_xyzw {list(self.quaternion_xyzw)} has length {length:.4f}; 1 is expected")
        if not np.isfinite(self.translation_m).all():
            raise ConfigError(f"translation_m {list(self.translation_m)} must be finite")

    @property
    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """As a 4x4 matrix."""
        rotation = rotation_from_quaternion(torch.tensor(self.quaternion_xyzw, dtype=torch.float64))
        return pose_from(rotation, torch.tensor(self.translation_m, dtype=torch.float64)).numpy()


@dataclass(frozen=True)
class ArmConfig:
    """One generation of arm, and where it stands."""

    name: str
    base_frame: str
    ee_frame: str
    """Whose pose the robot reports and takes."""
    joint_names: tuple[str, ...]
    finger_joint_names: tuple[str, ...]
    joint_lower: tuple[float, ...]
    """rad."""
    joint_upper: tuple[float, ...]
    joint_speed: tuple[float, ...]
    """Highest, of the arm itself (rad/s)."""
    speed_m_s: float
    """Highest of the gripper, of the arm itself."""
    turn_speed_rad_s: float
    world_from_base: PoseConfig
    """The policy's world: the table top at the height that it was trained with."""
    flange_from_gripper: PoseConfig
    """Of our gripper frame: between the finger tips, z out of the gripper, y along the fingers' motion."""
    ee_from_gripper: PoseConfig
    """From the frame that the robot reports to ours."""

    def __post_init__(self) -> None:
        for name in ("joint_names", "joint_lower", "joint_upper", "joint_speed"):
            count = len(getattr(self, name))
            if count != 7:
                raise ConfigError(f"arm.{name} has {count} values; 7 are expected, one for each joint")
        if len(self.finger_joint_names) != 2:
            raise ConfigError(f"arm.finger_joint_names is {list(self.finger_joint_names)}; two names are expected")
        for i, (low, high) in enumerate(zip(self.joint_lower, self.joint_upper, strict=True), start=1):
            if not -np.inf < low < high < np.inf:
                raise ConfigError(
                    f"arm: joint {i} goes from {low} to {high} rad; finite, and lower below upper, expected"
                )
        if not all(0 < speed < np.inf for speed in self.joint_speed):
            raise ConfigError(f"arm.joint_speed is {list(self.joint_speed)}; positive numbers are expected")
        _all_positive("arm", self, ("speed_m_s", "turn_speed_rad_s"))

    def model(self, margin_rad: float = 0.0) -> ArmModel:
        """Its kinematics, with every joint kept this far from its limits."""
        return ArmModel(
            world_from_base=self.world_from_base.matrix,
            flange_from_gripper=self.flange_from_gripper.matrix,
            joint_lower=np.array(self.joint_lower) + margin_rad,
            joint_upper=np.array(self.joint_upper) - margin_rad,
        )


@dataclass(frozen=True)
class TopicsConfig:
    """Names of topics that are not a camera's."""

    joint_states: str
    state: str
    """The robot's own state: mode, errors, measured pose."""
    tf: str
    target: str | None
    """Where a Cartesian impedance controller takes its target; null: there is none."""
    tf_static: str = "/tf_static"
    finger_states: str | None = None
    """Null: the fingers are among `joint_states`."""
    command: str = "/gnfactor/command"
    """Where the watchdog on the robot's computer takes our targets, holds and heartbeats."""
    watchdog: str = "/gnfactor/watchdog"
    """Where it says how it is."""


@dataclass(frozen=True)
class ActionsConfig:
    """Names of actions; null: the robot has none."""

    trajectory: str | None
    grip_move: str
    grip_grasp: str
    grip_homing: str
    grip_stop: str
    recovery: str
    move_group: str | None = None
    planning_group: str = "panda_arm"
    contact_objects: tuple[str, ...] = ()
    """Objects of MoveIt's planning scene that the arm may touch where the policy accepts contact."""


@dataclass(frozen=True)
class CameraConfig:
    """One RGB-D camera: colour and depth registered to each other, one set of intrinsics."""

    color: str
    depth: str
    info: str
    frame: str
    """The optical frame: x right, y down, z forward."""
    extrinsics: Literal["tf", "file"] = "tf"
    calibration: str | None = None
    """YAML file with the pose, where `extrinsics` is file."""
    depth_scale: float = 0.001
    """Metres per unit of a depth picture of whole numbers; pictures of floats are metres."""
    sees_table: bool = True
    """Whether the table's plane must be found in its depth."""
    sees_gripper: bool = True
    """Whether the hand must be found in its depth when the calibration is checked; a camera on the wrist is too near to
    it for most sensors."""
    max_gap_s: float = 0.02
    """How far apart in time a picture of colour and one of depth may be, to be one view."""
    max_tf_gap_s: float = 0.1
    """How far from the picture's time tf may know a frame that moves."""
    rectified: bool = False
    """Whether the pictures are free of distortion although the camera is not; its info's P holds then, not K."""
    max_distortion_px: float = 1.0
    """By how much distortion may move a pixel, to be left out."""

    def __post_init__(self) -> None:
        if (self.extrinsics == "file") != (self.calibration is not None):
            raise ConfigError(
                f"a camera has extrinsics {self.extrinsics} and calibration {self.calibration or 'null'}; a file is "
                "named exactly where extrinsics is file"
            )
        _all_positive("cameras", self, ("depth_scale", "max_gap_s", "max_tf_gap_s", "max_distortion_px"))


@dataclass(frozen=True)
class GuardConfig:
    """What is refused. Heights and boxes are in the policy's world (m)."""

    box_lower: Triple = (-0.25, -0.5, 0.70)
    """The whole gripper, fingers included, stays in this box."""
    box_upper: Triple = (0.7, 0.5, 1.6)
    min_height_m: float = TABLE_HEIGHT_M + 0.003
    """No part of the gripper, nor of the arm from its elbow on, comes lower."""
    start_tolerance_m: float = 0.02
    """So far outside may the measured gripper be and still be moved back; it never gets farther out."""
    hand_lower: Triple = (-0.035, -0.105, -0.115)
    """Box about the hand, in the gripper's frame."""
    hand_upper: Triple = (0.035, 0.105, -0.045)
    fingers_lower: Triple = (-0.012, -0.056, -0.055)
    """Box about the open fingers, in the gripper's frame."""
    fingers_upper: Triple = (0.012, 0.056, 0.003)
    max_step_m: float = 0.5
    max_turn_rad: float = 2.8
    max_speed_m_s: float = 0.25
    """No executor may be configured to be faster."""
    max_turn_speed_rad_s: float = 1.0
    speed_tolerance: float = 1.5
    """How many times these speeds the gripper may be measured to have: controllers overshoot, and sensors are noisy."""
    joint_margin_rad: float = 0.05
    """How far from its limits every joint stays."""
    max_image_age_s: float = 0.5
    max_state_age_s: float = 0.2
    max_future_s: float = 0.05
    """How far ahead of the robot's clock a stamp may be: two clocks are never the same."""
    max_depth_m: float = 3.0
    """Readings from here on are the sensor's end of range and count as none."""
    min_reading_share: float = 0.2
    """Of every camera's pixels."""
    min_workspace_points: int = 500
    """Points in the box, of all cameras together."""
    table_height_m: float = TABLE_HEIGHT_M
    table_tolerance_m: float = 0.02
    min_table_share: float = 0.1
    """Of a camera's points over the box's floor plan, those that lie on the table's plane."""

    def __post_init__(self) -> None:
        for name in ("box", "hand", "fingers"):
            lower: Triple = getattr(self, f"{name}_lower")
            upper: Triple = getattr(self, f"{name}_upper")
            if not all(-np.inf < low < high < np.inf for low, high in zip(lower, upper, strict=True)):
                raise ConfigError(
                    f"guard.{name}_lower {list(lower)} must be below guard.{name}_upper {list(upper)}, and both finite"
                )
        shares = ("min_reading_share", "min_table_share")
        tuples = [item.name for item in fields(self) if item.name.endswith(("lower", "upper"))]
        heights = ("min_height_m", "table_height_m", "joint_margin_rad", "start_tolerance_m")
        positive = [item.name for item in fields(self) if item.name not in (*tuples, *heights)]
        _all_positive("guard", self, positive)
        for name in shares:
            if getattr(self, name) > 1:
                raise ConfigError(f"guard.{name} is {getattr(self, name)}; a share up to 1 is expected")
        for name in ("joint_margin_rad", "start_tolerance_m"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"guard.{name} is {getattr(self, name)}; at least 0 and below 1 is expected")
        if not np.isfinite([self.min_height_m, self.table_height_m]).all():
            raise ConfigError("guard.min_height_m and guard.table_height_m must be finite")


@dataclass(frozen=True)
class GripperConfig:
    """How the fingers open and close."""

    open_width_m: float = 0.08
    speed_m_s: float = 0.05
    force_n: float = 20.0
    tolerance_m: float = 0.08
    """Wide, since a policy that only knows open and closed cannot know how thick a thing is."""
    empty_width_m: float = 0.002
    """Fingers that closed to less than this hold nothing; not an error, but said."""
    timeout_s: float = 6.0

    def __post_init__(self) -> None:
        _all_positive("executor.gripper", self, [item.name for item in fields(self)])


@dataclass(frozen=True)
class ExecutorConfig:
    """How the arm is moved, how fast, and when that is given up."""

    name: ExecutorName = "impedance"
    """impedance: stream of targets on a straight line; trajectory: one joint trajectory along a straight line; moveit:
    MoveIt plans and moves, around obstacles unless the policy accepts contact."""
    speed_m_s: float = 0.1
    turn_speed_rad_s: float = 0.5
    joint_speed_rad_s: float = 0.5
    joint_acceleration_rad_s2: float = 1.0
    planner_speed_share: float = 0.1
    """Of the arm's own limits, for MoveIt."""
    planning_time_s: float = 5.0
    """How long MoveIt may think."""
    rate_hz: float = 30.0
    """How often targets are sent and the state is looked at."""
    command_life_s: float = 0.3
    """How long one target of a stream is valid."""
    max_lag_m: float = 0.08
    """How far the measured gripper may be behind its target."""
    max_lag_rad: float = 0.5
    arrived_m: float = 0.01
    arrived_rad: float = 0.05
    settle_s: float = 2.0
    """How long the arm may take to come that near after the last target."""
    timeout_s: float = 30.0
    """Of a whole motion."""
    gripper: GripperConfig = field(default_factory=GripperConfig)

    def __post_init__(self) -> None:
        _all_positive("executor", self, [item.name for item in fields(self) if item.name not in ("name", "gripper")])
        if self.command_life_s < 1 / self.rate_hz:
            raise ConfigError(
                f"executor.command_life_s is {self.command_life_s}, less than the {1 / self.rate_hz:.3f} s between two "
                "targets; every target would expire before the next one comes"
            )


@dataclass(frozen=True)
class LinkConfig:
    """How the robot is reached."""

    type: Literal["rospy", "rosbridge", "replay"] = "rospy"
    uri: str | None = None
    """Of the ROS master, the bridge (ws:// or wss://) or the file to replay; null: as the environment says."""
    tls_ca: str | None = None
    """Certificate file by which a bridge at wss:// is known; null: the system's."""
    token_file: str | None = None
    """File with the secret that the bridge asks for; the secret itself never stands in a configuration."""
    auth: Literal["rosauth", "bearer"] = "rosauth"
    """How a bridge is shown that we know the secret: rosauth, as the bridge of ROS 1 checks it, or bearer, the secret
    itself in the request's header, for a proxy before the bridge."""
    max_clock_error_s: float = 0.05
    """How well the clock of a robot behind a bridge must be known; half the time of asking for it."""
    timeout_s: float = 5.0
    """How long the first state, pictures and services may take to appear."""

    def __post_init__(self) -> None:
        _all_positive("link", self, ("timeout_s", "max_clock_error_s"))


@dataclass(frozen=True)
class WatchdogConfig:
    """The node on the robot's computer that holds the arm when we fall silent."""

    required: bool = True
    """Nothing moves without it. False, for a robot that cannot have it: targets go to the controller directly, and a
    lost connection leaves the arm on its way to the last of them."""
    timeout_s: float = 0.3
    """How long a moving arm may be without a word of ours."""
    heartbeat_hz: float = 20.0
    key_file: str | None = None
    """File with the secret that signs our commands, the same on both computers; null: they are not signed."""

    def __post_init__(self) -> None:
        _all_positive("watchdog", self, ("timeout_s", "heartbeat_hz"))
        if not self.timeout_s <= MAX_TIMEOUT_S:
            raise ConfigError(
                f"watchdog.timeout_s is {self.timeout_s}; at most {MAX_TIMEOUT_S} s are allowed: so long does an arm "
                "move of which nobody speaks"
            )
        if self.timeout_s < 2 / self.heartbeat_hz:
            raise ConfigError(
                f"watchdog.timeout_s is {self.timeout_s}, less than two heartbeats at {self.heartbeat_hz} Hz; one that "
                "is late would stop the arm"
            )


@dataclass(frozen=True)
class MarkerConfig:
    """A printed ArUco marker that the gripper carries."""

    dictionary: str
    """OpenCV's name of its family, such as DICT_4X4_50."""
    id: int
    size_m: float
    """Of the black square's side."""
    ee_from_marker: PoseConfig
    """Origin in the middle of the square; x to the right and y up as one reads it, z out of the paper."""

    def __post_init__(self) -> None:
        _all_positive("calibration.marker", self, ("size_m",))


@dataclass(frozen=True)
class CalibrationConfig:
    """When a calibration passes, and for how long it holds."""

    poses: int = 5
    """In which the gripper is looked at."""
    min_sightings: int = 3
    """Of these, those in which each camera must find it."""
    max_gripper_m: float = 0.008
    """Between the gripper as seen and as predicted, in the middle of all poses; a policy's voxel is 0.01."""
    max_worst_gripper_m: float = 0.016
    """The same in the worst pose."""
    max_marker_px: float = 3.0
    max_table_m: float = 0.008
    """Between the table's plane and guard.table_height_m."""
    max_tilt_deg: float = 0.8
    max_scale_error: float = 0.02
    """Of the depth: 0.02 lets pass what is 2 % too long or too short."""
    max_moved_m: float = 0.005
    """How far a camera may have moved since it was checked."""
    max_turned_deg: float = 0.5
    folder: str | None = None
    """Where the records of passed checks are; null: gnfactor/calibrations in the user's folder for data."""
    marker: MarkerConfig | None = None

    def __post_init__(self) -> None:
        _all_positive(
            "calibration", self, [item.name for item in fields(self) if item.name not in ("folder", "marker")]
        )
        if self.min_sightings > self.poses:
            raise ConfigError(
                f"calibration.min_sightings is {self.min_sightings}, more than the {self.poses} of calibration.poses; "
                "lower it"
            )


@dataclass(frozen=True)
class LogConfig:
    """What a run leaves."""

    folder: str = "runs/robot"
    images: bool = True
    """Whether pictures are kept; without them a run cannot be replayed."""


@dataclass(frozen=True)
class RobotConfig:
    """Everything about one robot and its cell."""

    ros: Literal[1, 2]
    """Which generation of ROS: messages differ, not only names."""
    arm: ArmConfig
    topics: TopicsConfig
    actions: ActionsConfig
    cameras: dict[str, CameraConfig]
    """By the name that the policy knows them by."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ConfigError("cameras is empty; name at least one, as in 'cameras: {front: {color: ...}}'")
        needs = {
            "impedance": ("topics.target", self.topics.target),
            "trajectory": ("actions.trajectory", self.actions.trajectory),
            "moveit": ("actions.move_group", self.actions.move_group),
        }
        key, value = needs[self.executor.name]
        if value is None:
            raise ConfigError(f"executor.name is {self.executor.name}, which needs {key}, and that is null")
        limits = (
            ("executor.speed_m_s", self.executor.speed_m_s, "guard.max_speed_m_s", self.guard.max_speed_m_s),
            ("guard.max_speed_m_s", self.guard.max_speed_m_s, "arm.speed_m_s", self.arm.speed_m_s),
            (
                "executor.turn_speed_rad_s",
                self.executor.turn_speed_rad_s,
                "guard.max_turn_speed_rad_s",
                self.guard.max_turn_speed_rad_s,
            ),
            (
                "guard.max_turn_speed_rad_s",
                self.guard.max_turn_speed_rad_s,
                "arm.turn_speed_rad_s",
                self.arm.turn_speed_rad_s,
            ),
            (
                "executor.joint_speed_rad_s",
                self.executor.joint_speed_rad_s,
                "the least of arm.joint_speed",
                min(self.arm.joint_speed),
            ),
            ("executor.planner_speed_share", self.executor.planner_speed_share, "the whole", 1.0),
        )
        if self.executor.name == "moveit":  # the other ways to move are as fast as executor.speed_m_s
            planned = self.executor.planner_speed_share * np.array([self.arm.speed_m_s, self.arm.turn_speed_rad_s])
            limits += (
                (
                    "executor.planner_speed_share of arm.speed_m_s",
                    float(planned[0]),
                    "guard.max_speed_m_s",
                    self.guard.max_speed_m_s,
                ),
                (
                    "executor.planner_speed_share of arm.turn_speed_rad_s",
                    float(planned[1]),
                    "guard.max_turn_speed_rad_s",
                    self.guard.max_turn_speed_rad_s,
                ),
            )
        for name, found, limit_name, limit in limits:
            if found > limit:
                raise ConfigError(f"{name} is {found}, more than {limit_name}, {limit}; lower it")


def load(args: Sequence[str]) -> RobotConfig:
    """The robot that `ROBOT.yaml... key=value...` describe; later files and overrides win.

    Raises:
        ConfigError: a file is missing or is not YAML, a key is unknown or missing, a value has the wrong type or makes
            no sense.
    """
    return load_tree(RobotConfig, args)


def _all_positive(group: str, config: Any, names: Sequence[str]) -> None:
    for name in names:
        value: float = getattr(config, name)
        if not 0 < value < float("inf"):
            raise ConfigError(f"{group}.{name} is {value}; a positive number is expected")
