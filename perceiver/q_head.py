"""The Q-head: volume, instruction and robot state -> values of the next keyframe's action."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from perceiver.conv3d import Convolution, FiLM, activate, convolve, dense, patchify, pool, upsample_convolve
from perceiver.perceiver_io import PerceiverConfig, PerceiverIO
from perceiver.volume import Volume

POOL_AT_ONCE = 2**25
"""Elements of an expanded volume that are pooled at once; more are streamed and computed again in the backward."""


@dataclass(frozen=True)
class QHeadConfig:
    """Sizes and options of the Q-head; the defaults are GNFactor's (PerAct: width 64, hidden (256, 64))."""

    width: int = 128
    """Channels of the patches and of the volume decoded from them; the Perceiver's sequence is twice as wide."""
    voxel_width: int | None = None
    """Channels of the decoded volume at full resolution, where they cost most; absent: the same as width."""
    patch: int = 5
    """Voxels per side of the cubes that become the Perceiver's inputs."""
    perceiver: PerceiverConfig = field(default_factory=PerceiverConfig)
    rotation: str = "bins"
    """bins: logits of three Euler angles; regression: two columns of the rotation matrix."""
    rotation_bins: int = 72
    """Bins per angle (rotation: bins)."""
    pool: str = "global"
    """What rotation, gripper and collision are read from. global: soft-argmax and maximum of three volumes, as
    published; local: features at the chosen voxel, the state and the condition."""
    skip: bool = True
    """Show the encoder's volume to the last convolution, beside the Perceiver's."""
    hidden: tuple[int, ...] = (256, 128)
    """Hidden widths of the layers that read rotation, gripper and collision."""
    condition: bool = False
    """Modulate the decoded volumes by the condition vector."""
    widen_kernel: int = 5
    """Kernel of the decoder's convolution of patches."""
    upsample_kernel: int = 5
    """Kernel of the decoder's convolution after upsampling; 1 is by far the cheapest."""
    final_kernel: int = 3
    """Kernel of the last convolution before the translation's."""
    translation_kernel: int = 3
    """Kernel of the convolution that gives the voxels' logits."""

    @property
    def voxels_width(self) -> int:
        """Channels at full resolution."""
        return self.voxel_width or self.width

    def __post_init__(self) -> None:
        for name, known in (("rotation", ("bins", "regression")), ("pool", ("global", "local"))):
            if getattr(self, name) not in known:
                raise ValueError(f"q_head.{name} is '{getattr(self, name)}'; known: {', '.join(known)}")
        for name in ("width", "patch", "voxels_width", "rotation_bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"q_head.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("widen_kernel", "upsample_kernel", "final_kernel", "translation_kernel"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise ValueError(f"q_head.{name} is {getattr(self, name)}; it must be odd")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"q_head.hidden is {list(self.hidden)}; it needs one or more positive widths")


@dataclass(frozen=True)
class InputSizes:
    """Sizes of what the head is given, set by the rest of the policy."""

    channels: int
    """Of the volume, after its map."""
    rank: int
    """Of the volume, before its map."""
    token_width: int
    """Width of a word's features."""
    token_count: int
    """Largest number of words."""
    state_width: int = 4
    """Numbers that describe the robot's state."""
    condition_width: int = 0
    """Width of the condition vector; 0 where there is none."""


@dataclass(frozen=True, eq=False)
class QValues:
    """Values of every choice for the next keyframe, in fp32."""

    translation: Float[Tensor, "batch x y z"]
    """Logits of the voxels."""
    rotation: Float[Tensor, "batch 3 choices"]
    """bins: logits of the bins of the Euler angles x, y, z. regression (choices = 2): the first two columns of the
    rotation matrix before they are made orthonormal, (batch, row, column) (Zhou et al. 2019)."""
    gripper: Float[Tensor, "batch 2"]
    """Logits of closed, open."""
    collision: Float[Tensor, "batch 2"]
    """Logits of avoiding, ignoring collisions."""


class QHead(nn.Module):
    """PerAct's and GNFactor's action head: a Perceiver over patches and words, decoded back to voxels."""

    def __init__(self, config: QHeadConfig, size: tuple[int, int, int], inputs: InputSizes) -> None:
        """A head for volumes of `size` voxels along x, y, z, which are multiples of the patch.

        Raises:
            ValueError: the size is no multiple of the patch, or a condition is wanted and not there.
        """
        super().__init__()
        if any(voxels % config.patch for voxels in size):
            raise ValueError(f"q_head.patch is {config.patch}, which does not divide the grid's size {list(size)}")
        if config.condition and inputs.condition_width < 1:
            raise ValueError("q_head.condition is true but the policy has no condition vector; switch one of them")
        width = config.width
        self.config, self.size, self.token_count = config, size, inputs.token_count
        self.cells = tuple(voxels // config.patch for voxels in size)
        self.patches = Convolution(inputs.channels, width, config.patch)
        self.words = nn.Linear(inputs.token_width, 2 * width)
        self.state = dense(inputs.state_width, width)
        self.positions = nn.Parameter(torch.randn(inputs.token_count + prod(self.cells), 2 * width))
        self.perceiver = PerceiverIO(config.perceiver, 2 * width)
        self.cell_film = FiLM(inputs.condition_width, 2 * width) if config.condition else None
        voxel_width = config.voxels_width
        self.widen = Convolution(2 * width, width, config.widen_kernel)
        self.upsample = Convolution(width, voxel_width, config.upsample_kernel)
        self.final = Convolution(voxel_width + inputs.channels * config.skip, voxel_width, config.final_kernel)
        self.final_film = FiLM(inputs.condition_width, voxel_width) if config.condition else None
        self.translation = Convolution(voxel_width, 1, config.translation_kernel, activated=False)
        if config.pool == "global":
            groups = (4 * inputs.channels, 8 * width, 4 * voxel_width)
            self.group_norms = nn.ModuleList()
        else:
            groups = (27 * voxel_width, 27 * inputs.rank, width, 2 * width, 2 * width, inputs.state_width)
            groups += (inputs.condition_width,) if inputs.condition_width else ()
            self.group_norms = nn.ModuleList(nn.LayerNorm(group) for group in groups)
        choices = 3 * (config.rotation_bins if config.rotation == "bins" else 2)
        widths = (sum(groups), *config.hidden)
        self.dense = nn.ModuleList(dense(before, after) for before, after in pairwise(widths))
        self.values = dense(widths[-1], choices + 4, activated=False)

    def forward(
        self,
        volume: Volume,
        tokens: Float[Tensor, "batch words token_width"],
        state: Float[Tensor, "batch state_width"],
        *,
        token_mask: Bool[Tensor, "batch words"] | None = None,
        condition: Float[Tensor, "batch condition_width"] | None = None,
        at: Int[Tensor, "batch 3"] | None = None,
    ) -> QValues:
        """Values of all actions.

        Args:
            volume: the encoder's volume.
            tokens: features of the instruction's words.
            state: the robot's state.
            token_mask: True where there is a word; all of them where absent.
            condition: the condition vector, for the options that use one.
            at: voxel at which the other choices are read (pool: local); the best voxel where absent.
        """
        patches = self.patch(volume)
        cells = self.attend(patches, tokens, state, token_mask)
        if self.cell_film is not None:
            assert condition is not None
            cells = self.cell_film(cells, condition)
        decoded = self.decode(volume, cells, condition)
        translation = self.score(decoded)
        if self.config.pool == "global":
            features = torch.cat((pool_volume(volume), pool(cells), pool_volume(Volume(decoded))), 1)
        else:
            voxel = best_voxel(translation) if at is None else at
            features = self.look(volume, decoded, patches, cells, voxel, state, condition)
        return self.read_values(translation, features)

    def patch(self, volume: Volume) -> Float[Tensor, "batch width gx gy gz"]:
        """One vector per patch of the volume."""
        weight, bias = volume.fold(self.patches.weight)
        return activate(patchify(volume.features, weight, self.patches.bias + bias))

    def attend(
        self,
        patches: Float[Tensor, "batch width gx gy gz"],
        tokens: Float[Tensor, "batch words token_width"],
        state: Float[Tensor, "batch state_width"],
        token_mask: Bool[Tensor, "batch words"] | None,
    ) -> Float[Tensor, "batch double gx gy gz"]:
        """What instruction and scene mean to each patch."""
        count = tokens.shape[1]
        scene = patches.flatten(2).transpose(1, 2)
        robot = activate(self.state(state))[:, None].expand(-1, scene.shape[1], -1)
        scene = torch.cat((scene, robot), -1) + self.positions[self.token_count :]
        words = self.words(tokens) + self.positions[:count]
        mask = None
        if token_mask is not None:
            mask = torch.cat((token_mask, token_mask.new_ones(scene.shape[:2])), 1)
        decoded = self.perceiver(torch.cat((words, scene), 1), scene, mask)
        return decoded.transpose(1, 2).unflatten(2, self.cells)

    def decode(
        self, volume: Volume, cells: Float[Tensor, "batch double gx gy gz"], condition: Tensor | None
    ) -> Float[Tensor, "batch voxel_width x y z"]:
        """The patches' vectors brought back to voxels, beside the encoder's own."""
        decoded = upsample_convolve(
            activate(self.widen(cells)), self.upsample.weight, self.upsample.bias, self.config.patch
        )
        decoded = activate(decoded)
        weight, bias = self.final.weight, self.final.bias
        if self.config.skip:
            skip_weight, skip_bias = volume.fold(weight[:, : volume.channels])
            weight, bias = torch.cat((skip_weight, weight[:, volume.channels :]), 1), bias + skip_bias
            decoded = torch.cat((volume.features.to(decoded.dtype), decoded), 1)
        decoded = convolve(decoded, weight, bias)
        if self.final_film is not None:
            assert condition is not None
            decoded = self.final_film(decoded, condition)
        return activate(decoded)

    def score(self, decoded: Float[Tensor, "batch voxel_width x y z"]) -> Float[Tensor, "batch x y z"]:
        """Logits of the voxels, in fp32."""
        with torch.autocast(decoded.device.type, enabled=False):
            return self.translation(decoded.float()).squeeze(1)

    def look(
        self,
        volume: Volume,
        decoded: Float[Tensor, "batch voxel_width x y z"],
        patches: Float[Tensor, "batch width gx gy gz"],
        cells: Float[Tensor, "batch double gx gy gz"],
        voxel: Int[Tensor, "batch 3"],
        state: Float[Tensor, "batch state_width"],
        condition: Float[Tensor, "batch condition_width"] | None,
    ) -> Float[Tensor, "batch features"]:
        """What there is at one voxel and around it, the scene's strongest features, the state and the condition."""
        cell = voxel // self.config.patch
        groups = [
            crop(decoded, voxel, 1),
            crop(volume.features, voxel, 1),
            crop(patches, cell, 0),
            crop(cells, cell, 0),
            cells.amax((2, 3, 4)),
            state,
            *(() if condition is None else (condition,)),
        ]
        return torch.cat([norm(group.float()) for norm, group in zip(self.group_norms, groups, strict=True)], 1)

    def read_values(
        self, translation: Float[Tensor, "batch x y z"], features: Float[Tensor, "batch features"]
    ) -> QValues:
        """The other choices' values, read from features in fp32."""
        with torch.autocast(features.device.type, enabled=False):
            for layer in self.dense:
                features = activate(layer(features))
            values = self.values(features)
        return QValues(
            translation=translation,
            rotation=values[:, :-4].unflatten(1, (3, -1)),
            gripper=values[:, -4:-2],
            collision=values[:, -2:],
        )


def best_voxel(logits: Float[Tensor, "batch x y z"]) -> Int[Tensor, "batch 3"]:
    """Index of the largest logit."""
    return torch.stack(torch.unravel_index(logits.flatten(1).argmax(1), logits.shape[1:]), 1)


def crop(
    features: Float[Tensor, "batch channels x y z"], center: Int[Tensor, "batch 3"], radius: int
) -> Float[Tensor, "batch features"]:
    """Features of the (2 radius + 1)^3 voxels around a voxel, border voxels continued outwards."""
    size = torch.tensor(features.shape[2:], device=center.device)
    offset = torch.arange(-radius, radius + 1, device=center.device)
    offsets = torch.cartesian_prod(offset, offset, offset)
    x, y, z = (center[:, None] + offsets).clamp(min=0).minimum(size - 1).unbind(-1)
    rows = torch.arange(features.shape[0], device=center.device)[:, None]
    return features[rows, :, x, y, z].flatten(1)


def pool_volume(volume: Volume) -> Float[Tensor, "batch four_channels"]:
    """`pool` of the expanded volume, in fp32; a large one is expanded a few channels at a time."""
    step = max(1, POOL_AT_ONCE // volume.features[:, 0].numel())

    def pool_channels(start: int, features: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            part = Volume(features.float(), weight, bias).expand_channels(start, start + step)
            return pool(part)

    parameters = volume.features, volume.weight, volume.bias
    if step >= volume.channels:
        return pool_channels(0, *parameters)
    parts: list[Tensor] = [
        checkpoint(pool_channels, start, *parameters, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
        for start in range(0, volume.channels, step)
    ]
    triplets, maxima = zip(*(part.tensor_split([3 * part.shape[1] // 4], 1) for part in parts), strict=True)
    return torch.cat((*triplets, *maxima), 1)
