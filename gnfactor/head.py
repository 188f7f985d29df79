"""Action heads: a head owns its loss and its decoding, and sees only what the encoder made.

The first head is the published one: a PerceiverIO Q-function over voxels (PerAct, CoRL 2022, section 3.3;
GNFactor, CoRL 2023, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gnfactor.actions import (
    Action,
    ArmTarget,
    bins_from_rotation,
    position_from_voxel,
    rotation_from_bins,
    voxel_from_position,
)
from gnfactor.batch import Targets
from gnfactor.errors import ConfigError
from gnfactor.geometry import pose_from, rotation_from_columns
from gnfactor.scene import ARM
from gnfactor.voxels import GridConfig
from perceiver.q_head import InputSizes, QHead, QHeadConfig, QValues, best_voxel
from perceiver.volume import Volume


@dataclass(frozen=True, eq=False)
class Encoded:
    """A scene as the encoder leaves it: all that an action head may use."""

    volume: Volume
    tokens: Float[Tensor, "batch tokens width"]
    token_mask: Bool[Tensor, "batch tokens"] | None
    """None: all tokens count, padding too, as published."""
    state: Float[Tensor, "batch state"]
    condition: Float[Tensor, "batch condition"] | None


@dataclass(frozen=True)
class LossConfig:
    """Weight of each term of the behaviour-cloning loss; 1 as published."""

    translation: float = 1.0
    rotation: float = 1.0
    gripper: float = 1.0
    collision: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not 0 <= weight < float("inf"):
                raise ConfigError(f"policy.head.loss.{name} is {weight}; a finite weight of at least 0 is expected")


@dataclass(frozen=True)
class HeadConfig:
    """The voxel Q-head and its loss."""

    network: QHeadConfig = field(default_factory=QHeadConfig)
    loss: LossConfig = field(default_factory=LossConfig)


class VoxelHead(nn.Module):
    """Chooses the best voxel, rotation, gripper and collision flag of the next keyframe."""

    def __init__(self, config: HeadConfig, grid: GridConfig, inputs: InputSizes) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        self.network = QHead(config.network, (grid.size, grid.size, grid.size), inputs)

    def loss(self, encoded: Encoded, targets: Targets) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of the behaviour-cloning loss: cross-entropy per choice, mean over the batch.

        With `rotation: regression` the rotation's term is the squared error of its first two columns.
        """
        voxel = voxel_from_position(targets.world_from_gripper[:, :3, 3], self.grid.box, self.grid.size)
        q = self.q_values(encoded, voxel)
        weights = self.config.loss
        return {
            "translation": weights.translation * F.cross_entropy(q.translation.flatten(1), self._flat(voxel)),
            "rotation": weights.rotation * self._rotation_loss(q.rotation, targets.world_from_gripper[:, :3, :3]),
            "gripper": weights.gripper * F.cross_entropy(q.gripper, targets.gripper_open.long()),
            "collision": weights.collision * F.cross_entropy(q.collision, targets.ignore_collisions.long()),
        }

    def choose(self, encoded: Encoded) -> Targets:
        """The best next keyframe of each scene: independent maxima, as published."""
        q = self.q_values(encoded)
        position = position_from_voxel(best_voxel(q.translation), self.grid.box, self.grid.size)
        return Targets(
            world_from_gripper=pose_from(self._rotation(q.rotation), position),
            gripper_open=q.gripper.argmax(1).bool(),
            ignore_collisions=q.collision.argmax(1).bool(),
        )

    def q_values(self, encoded: Encoded, at: Int[Tensor, "batch 3"] | None = None) -> QValues:
        """Values of all choices; with `pool: local` the others than the voxel's are read at `at`, or at the best."""
        return self.network(
            encoded.volume,
            encoded.tokens,
            encoded.state,
            token_mask=encoded.token_mask,
            condition=encoded.condition,
            at=at,
        )

    def _flat(self, voxel: Int[Tensor, "batch 3"]) -> Int[Tensor, "batch"]:
        size = self.grid.size
        return (voxel[:, 0] * size + voxel[:, 1]) * size + voxel[:, 2]

    def _rotation_loss(self, predicted: Tensor, rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, ""]:
        network = self.config.network
        if network.rotation == "regression":
            return F.mse_loss(predicted, rotation[..., :2])
        bins = bins_from_rotation(rotation, network.rotation_bins)
        return 3 * F.cross_entropy(predicted.flatten(0, 1), bins.flatten())

    def _rotation(self, predicted: Tensor) -> Float[Tensor, "batch 3 3"]:
        if self.config.network.rotation == "regression":
            return rotation_from_columns(predicted)
        return rotation_from_bins(predicted.argmax(-1), self.config.network.rotation_bins)


def actions_from(targets: Targets) -> list[Action]:
    """Chosen keyframes as the actions an environment takes."""
    poses = targets.world_from_gripper.detach().double().cpu().numpy()
    choices = zip(poses, targets.gripper_open.tolist(), targets.ignore_collisions.tolist(), strict=True)
    return [Action({ARM: ArmTarget(pose, gripper_open, ignore)}) for pose, gripper_open, ignore in choices]
