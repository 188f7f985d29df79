"""What a policy makes of one scene, as heat over its voxels: where it wants to go, and what speaks for going there.

The first is the softmax of the voxels' logits. The second is Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2) of the
largest logit with respect to the encoder's volume, in three dimensions as GNFactor (CoRL 2023) shows it. Beside it is
HiResCAM (Draelos and Carin 2020, eq. 4), which does not average gradients over the volume: where a choice hangs on a
few of many voxels, the average says little. Captum and pytorch-grad-cam have both, but as hooks on modules that map
tensors to tensors; a policy takes a scene, and the formulas are a few lines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gnfactor.actions import Box, position_from_voxel
from gnfactor.batch import Inputs, stack_observations, to_device
from gnfactor.errors import ConfigError
from gnfactor.head import Encoded, VoxelHead
from gnfactor.model import Policy
from gnfactor.scene import Observation
from gnfactor.voxels import grid_from_views
from perceiver.q_head import best_voxel


@dataclass(frozen=True, eq=False)
class Decision:
    """Where a policy would go in one scene, and its reasons; voxels divide `box`."""

    box: Box
    value: Float[np.ndarray, "x y z"]
    """Softmax of the voxels' logits: sums to 1."""
    grad_cam: Float[np.ndarray, "x y z"]
    """What speaks for the chosen voxel, 0 to 1; 0 everywhere where nothing does."""
    hires_cam: Float[np.ndarray, "x y z"]
    """The same by gradients that were not averaged."""
    colour: UInt8[np.ndarray, "x y z 3"]
    """Mean colour of the points in each voxel; black where there are none."""
    occupied: Bool[np.ndarray, "x y z"]
    voxel: tuple[int, int, int]
    """The chosen one."""
    position_m: Float[np.ndarray, "3"]
    """Its centre in the world."""


def decide(policy: Policy, observation: Observation, instruction: str) -> Decision:
    """What `policy`, in evaluation mode, makes of an observation.

    Grad-CAM's backward pass takes memory as a training step with one scene does, parameters' gradients left out.

    Raises:
        ConfigError: the policy has no action head.
        ObservationError: a camera is absent or of another size, or a number is not finite.
    """
    head = action_head(policy)
    config, device = policy.config, next(policy.parameters()).device
    inputs = stack_observations([observation], [instruction], config.cameras, config.image_size)
    inputs = to_device(inputs, device)
    with torch.no_grad():
        encoded = policy.encode(inputs)
    with torch.enable_grad():
        encoded = _watched(encoded)
        logits = head.q_values(encoded).translation
        score, features = logits.flatten(1).amax(1), encoded.volume.features
        averaged, local = grad_cam(score, features), hires_cam(score, features)
    logits = logits.detach()
    voxel = best_voxel(logits)
    colour, occupied = _seen_voxels(inputs, policy)
    x, y, z = voxel[0].tolist()
    return Decision(
        box=config.grid.box,
        value=value_heat(logits)[0].cpu().numpy(),
        grad_cam=averaged[0].cpu().numpy(),
        hires_cam=local[0].cpu().numpy(),
        colour=colour,
        occupied=occupied,
        voxel=(x, y, z),
        position_m=position_from_voxel(voxel[0], config.grid.box, config.grid.size).double().cpu().numpy(),
    )


def action_head(policy: Policy) -> VoxelHead:
    """The policy's action head.

    Raises:
        ConfigError: it has none.
    """
    head: VoxelHead | None = policy.head
    if head is None:
        raise ConfigError(
            "the policy has no action head (policy.head is null): it chooses no action that could be explained; take "
            "a checkpoint that was trained with one"
        )
    return head


def value_heat(logits: Float[Tensor, "batch x y z"]) -> Float[Tensor, "batch x y z"]:
    """Each voxel's share in the policy's choice: the softmax over all voxels of a scene, in float64."""
    return logits.double().flatten(1).softmax(1).view_as(logits)


def grad_cam(
    score: Float[Tensor, "batch"], features: Float[Tensor, "batch channels x y z"]
) -> Float[Tensor, "batch x y z"]:
    """What in `features` speaks for each scene's `score`, 0 to 1 (its largest value in a scene is 1, or all are 0).

    A channel weighs as much as the mean gradient of the score over its voxels; a voxel's heat is the weighted sum of
    its channels where that is positive.

    Give it a volume's stored features, before its affine map g = W f + b. The gradients there are W^T times those after
    the map, so that the weighted sum is the same but for the constant (mean gradient) . b at every voxel, empty ones
    included: it says nothing about the scene, and would only shift where the rectification cuts. The stored features
    are also what rectified layers left, 0 for "nothing here", as the maps for which Grad-CAM was made; and they are all
    that there is, since the map adds no information.
    """
    weights = _gradient(score, features).mean((2, 3, 4))
    return _rectified(torch.einsum("bc,bcxyz->bxyz", weights, features.detach()))


def hires_cam(
    score: Float[Tensor, "batch"], features: Float[Tensor, "batch channels x y z"]
) -> Float[Tensor, "batch x y z"]:
    """What in `features` speaks for each scene's `score`, 0 to 1: each voxel by its own gradient.

    A voxel's heat is the sum over its channels of gradient times feature where that is positive: the share of the score
    that it brings, if the score is linear in the features.
    """
    return _rectified((_gradient(score, features) * features.detach()).sum(1))


def _gradient(score: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(score.sum(), features, materialize_grads=True, retain_graph=True)[0]


def _rectified(heat: Float[Tensor, "batch x y z"]) -> Float[Tensor, "batch x y z"]:
    """Its positive part over the largest value in a scene."""
    positive = heat.relu()
    return positive / positive.amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)


def _watched(encoded: Encoded) -> Encoded:
    """The same, with a volume whose gradients can be asked for."""
    features = encoded.volume.features.detach().requires_grad_()
    return replace(encoded, volume=replace(encoded.volume, features=features))


def _seen_voxels(inputs: Inputs, policy: Policy) -> tuple[UInt8[np.ndarray, "x y z 3"], Bool[np.ndarray, "x y z"]]:
    """Colour of each voxel, and whether there is anything in it."""
    (grid,) = grid_from_views(inputs.views, replace(policy.config.grid, channels=("rgb", "occupancy"))).cpu().numpy()
    occupied = grid[3] > 0
    colour = np.where(occupied[..., None], np.round((np.moveaxis(grid[:3], 0, -1) + 1) * 127.5), 0)
    return colour.astype(np.uint8), occupied
