"""The policy: views and an instruction in, the next keyframe out.

views -> voxel grid -> encoder -> `Volume` -> action head. With the published settings this is PerAct (pointwise
encoder) or the policy of GNFactor (3D U-Net), whose volume the neural field also learns from.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as made_by

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnfactor.actions import Action
from gnfactor.batch import Batch, Inputs
from gnfactor.cells import CellConfig, CellNetwork
from gnfactor.encoder import EncoderConfig, build_encoder
from gnfactor.errors import ConfigError
from gnfactor.field.neural_field import FieldConfig, NeuralField
from gnfactor.head import Encoded, HeadConfig, VoxelHead, actions_from
from gnfactor.language import ConditionConfig, Conditioner, InstructionTable, LanguageConfig
from gnfactor.proprioception import PUBLISHED_STATE, robot_state, state_width
from gnfactor.scene import CAMERAS
from gnfactor.voxels import GridConfig, grid_from_views
from perceiver.q_head import InputSizes


@dataclass(frozen=True)
class PolicyConfig:
    """One policy; every default is the published GNFactor's, whose field is `FieldConfig()`."""

    cameras: tuple[str, ...] = ("front",)
    image_size: tuple[int, int] = (128, 128)
    """Width and height in pixels of every camera."""
    episode_length: int = 25
    """Most keyframes in an episode; the time input runs from 1 to -1 over it, in training and in evaluation."""
    proprioception: tuple[str, ...] = PUBLISHED_STATE
    grid: GridConfig = made_by(default_factory=GridConfig)
    encoder: EncoderConfig = made_by(default_factory=EncoderConfig)
    language: LanguageConfig = made_by(default_factory=LanguageConfig)
    condition: ConditionConfig | None = None
    """Language and time as a vector that modulates the networks (FiLM), besides the tokens; null as published."""
    cells: CellConfig | None = None
    """A network for each occupied voxel, modulated by the condition, before the encoder; null as published."""
    head: HeadConfig | None = made_by(default_factory=HeadConfig)
    """Null: no actions, for a field trained alone."""
    field: FieldConfig | None = None
    """The neural feature field that the volume is also trained by; null: behaviour cloning alone, as PerAct."""

    def __post_init__(self) -> None:
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"policy.cameras is {list(self.cameras)}; name at least one camera, each once: {CAMERAS}")
        if self.episode_length < 2:
            raise ConfigError(f"policy.episode_length is {self.episode_length}; at least 2 is expected")
        if not self.proprioception or state_width(self.proprioception) < 1:
            raise ConfigError(f"policy.proprioception is empty; published is {list(PUBLISHED_STATE)}")
        if min(self.image_size) < 1:
            raise ConfigError(
                f"policy.image_size is {list(self.image_size)}; width and height of at least 1 are expected"
            )
        if self.head is None and self.field is None:
            raise ConfigError("policy.head and policy.field are both null; there is nothing to train: set one of them")
        if self.head is not None and self.grid.size % self.head.network.patch:
            raise ConfigError(
                f"policy.head.network.patch is {self.head.network.patch}, which does not divide policy.grid.size "
                f"{self.grid.size}; choose a patch that does"
            )
        if self.cells is not None and (self.condition is None or "occupancy" not in self.grid.channels):
            raise ConfigError(
                "policy.cells needs a policy.condition and the channel 'occupancy' in policy.grid.channels; "
                f"found condition {self.condition} and channels {list(self.grid.channels)}"
            )


class Policy(nn.Module):
    """The trained network with everything it needs to act, its instructions' embeddings included."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.instructions = InstructionTable(config.language)
        states = state_width(config.proprioception)
        condition_width = 0 if config.condition is None else config.condition.width
        self.conditioner = (
            None
            if config.condition is None
            else Conditioner(config.condition, config.language, states, config.episode_length)
        )
        self.cells = None if config.cells is None else CellNetwork(config.cells, config.grid.width, condition_width)
        self.encoder = build_encoder(config.encoder, config.grid.width, condition_width)
        sizes = InputSizes(
            channels=self.encoder.channels,
            rank=self.encoder.rank,
            token_width=config.language.width,
            token_count=config.language.tokens,
            state_width=states,
            condition_width=condition_width,
        )
        self.head = None if config.head is None else VoxelHead(config.head, config.grid, sizes)
        self.field = None if config.field is None else NeuralField(config.field, config.grid.box, self.encoder.channels)

    def encode(self, inputs: Inputs) -> Encoded:
        """What an action head or a field needs of each scene; the inputs are on this module's device."""
        config = self.config
        grid = grid_from_views(inputs.views, config.grid)
        tokens, mask = self.instructions.lookup(inputs.instructions)
        state = robot_state(inputs, config.proprioception, config.episode_length, config.grid.box)
        condition = None if self.conditioner is None else self.conditioner(tokens, mask, inputs.step, state)
        if self.cells is not None:
            assert condition is not None, "PolicyConfig lets no cells be without a condition"
            occupied = grid[:, config.grid.channel("occupancy")].squeeze(1) > 0
            grid = self.cells(grid, occupied, condition)
        seen = None if config.language.attend_padding else mask
        return Encoded(self.encoder(grid, condition), tokens, seen, state, condition)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Float[Tensor, ""]]:
        """Named loss terms of a batch; "total" is their sum.

        `generator` draws the field's samples along the rays; without one they are evenly spaced.

        Raises:
            ConfigError: there is nothing to compare: no action head, and no pixels that the field could learn from.
        """
        encoded = self.encode(batch.inputs)
        terms: dict[str, Tensor] = {}
        if self.head is not None:
            terms |= self.head.loss(encoded, batch.targets)
        if self.field is not None and batch.rays is not None:
            terms |= self.field.loss(encoded.volume, batch.rays, generator)
        if not terms:
            raise ConfigError("this policy is a field alone (policy.head=null), but the batch has no pixels to render")
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def act(self, inputs: Inputs) -> list[Action]:
        """The next keyframe of each scene; gradients flow if the caller lets them.

        Raises:
            ConfigError: the policy was built without an action head.
        """
        if self.head is None:
            raise ConfigError("this policy has no action head (policy.head=null): it was trained as a field alone")
        return actions_from(self.head.choose(self.encode(inputs)))
