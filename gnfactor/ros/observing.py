"""From what a robot's link hands on to what policies and stores know."""

from __future__ import annotations

from collections.abc import Mapping

from gnfactor.resizing import fit_view
from gnfactor.ros.commands import is_open
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotState, RobotView
from gnfactor.scene import ARM, ArmState, Observation, View


def observation_from(
    seen: Mapping[str, RobotView],
    state: RobotState,
    step: int,
    time_s: float,
    config: RobotConfig,
    image_size: tuple[int, int] | None,
) -> Observation:
    """One moment of a robot.

    Args:
        seen: by every camera.
        state: of the arm at that time.
        step: actions taken since the episode began; in demonstrations, keyframes reached.
        time_s: since the episode began.
        config: of the robot.
        image_size: width and height to which pictures are cut and made smaller; None: they stay as they are.

    Raises:
        ObservationError: a camera's picture is smaller than that.
    """
    arm = ArmState(
        world_from_gripper=config.arm.world_from_base.matrix @ state.base_from_gripper,
        gripper_open=is_open(state, config),
        finger_positions_m=state.finger_positions_m,
        joint_positions=state.joint_positions,
        joint_velocities=state.joint_velocities,
    )
    views = {name: View(view.camera, view.rgb, view.depth_m) for name, view in seen.items()}
    if image_size is not None:
        views = {name: fit_view(name, view, image_size) for name, view in views.items()}
    return Observation(step, time_s, views, {ARM: arm})
