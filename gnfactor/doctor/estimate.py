"""What training by a configuration takes of a machine, counted where it can be and estimated where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from gnfactor.config import Config
from gnfactor.doctor.needs import Needs
from gnfactor.model import Policy, PolicyConfig

NUMBER = 4
"""Bytes of a number in 32 bits."""
BASE_BYTES = 600 * 2**20
"""What Python with torch takes, and the buffers that do not grow with the configuration."""
VOXEL_COPIES = 9
"""So many numbers per voxel and channel at full resolution are alive at once in a training step."""
LATENT_COPIES = 40
"""The same per block of the Perceiver and number of its latents, or of its inputs."""
ATTENTION_COPIES = 3
"""The same per pair of a question and what it attends to, where attention drops out weights."""
SAMPLE_COPIES = 1.2
"""The same per sample along a ray, number of its width and layer of the field."""
WITHOUT_MODEL = ("none", "segmentation")
"""Teachers that are no network."""


def needs_of(config: Config) -> Needs:
    """What training by a configuration, and evaluating as it says, needs."""
    parameters = parameter_count(config.policy)
    views, field = config.data.views, config.policy.field
    teacher = views.teacher.name if field is not None and field.loss.feature > 0 else "none"
    return Needs(
        extras=_extras(config, teacher),
        env=config.evaluate.env,
        renderer=config.evaluate.renderer or "ray",
        accelerator=config.train.accelerator,
        devices=config.train.devices,
        parameters=parameters,
        memory_bytes=memory_bytes(config, parameters),
        disk_bytes=disk_bytes(config, parameters),
        run_dir=config.run_dir,
        store=config.data.store,
        text_encoder=config.policy.language.encoder,
        text_weights=config.policy.language.weights,
        teacher=teacher,
        teacher_weights=views.teacher.weights,
    )


def parameter_count(config: PolicyConfig) -> int:
    """Numbers that training changes."""
    with torch.device("meta"), _WithoutDraws():
        return sum(weight.numel() for weight in Policy(config).parameters())


class _WithoutDraws(TorchFunctionMode):
    """Draws nothing: on "meta" there is nothing to fill, and the first draw there makes torch import for a second."""

    @override
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return torch.empty(*args, **named) if func is torch.randn else func(*args, **named)


def _extras(config: Config, teacher: str) -> dict[str, str]:
    """Extra of the package -> what needs it."""
    extras = {"train": "training"}
    if config.evaluate.env == "tabletop":
        extras["sim"] = "evaluate.env=tabletop"
    if config.policy.language.encoder == "clip":
        extras["clip"] = "policy.language.encoder=clip"
    if teacher not in WITHOUT_MODEL:
        extras["diffusion"] = f"data.views.teacher.name={teacher}"
    return extras


def memory_bytes(config: Config, parameters: int) -> int:
    """Memory of one training process, estimated.

    Weights, gradients, two moments and the average are counted. What lies between the layers is estimated from where
    most of it lies: volumes at full resolution, the Perceiver's latents and attention, the field's samples; the
    factors were fitted to steps measured on a CPU, which they meet within a third (tests/test_doctor.py). On a GPU
    attention takes less, and so do numbers in 16 bits. Demonstrations in memory and a teacher are not counted.
    """
    held = parameters * (4 + (config.optim.ema_decay is not None))
    numbers = config.train.batch_size * (_volume_numbers(config.policy) + _field_numbers(config))
    return round(BASE_BYTES + NUMBER * (held + numbers))


def _volume_numbers(policy: PolicyConfig) -> int:
    """Numbers between the layers of encoder and head, for one scene."""
    voxels = policy.grid.size**3
    if policy.head is None:
        return VOXEL_COPIES * voxels * policy.encoder.widths[0]
    network, perceiver = policy.head.network, policy.head.network.perceiver
    inputs = (policy.grid.size // network.patch) ** 3 + policy.language.tokens
    latents = perceiver.latents * perceiver.latent_width * (perceiver.depth + 1) + inputs * 2 * network.width
    within = perceiver.latent_heads * perceiver.latents**2 * perceiver.depth
    across = 2 * perceiver.cross_heads * perceiver.latents * inputs
    attention = ATTENTION_COPIES * (within + across) if perceiver.dropout else 0
    return VOXEL_COPIES * voxels * network.voxels_width + LATENT_COPIES * latents + attention


def _field_numbers(config: Config) -> float:
    """Numbers between the layers of the field, for one scene."""
    field, views = config.policy.field, config.data.views
    if field is None:
        return 0.0
    sampling, network = field.sampling, field.network
    samples = views.per_step * views.rays * (sampling.coarse + sampling.importance + sampling.guided)
    return SAMPLE_COPIES * samples * (network.width * (2 * network.blocks + 1) + network.features)


def disk_bytes(config: Config, parameters: int) -> int:
    """Checkpoints that stay: the policy to act with; weights and two moments to resume with."""
    train = config.train
    made = max(train.steps // train.checkpoint_every, 1)
    kept = made if train.keep is None else min(train.keep + 1, made)
    return kept * NUMBER * parameters * (4 + (config.optim.ema_decay is not None))
