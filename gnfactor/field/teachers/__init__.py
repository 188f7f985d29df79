"""Teachers: models whose features of a picture a neural field learns to render. Chosen by name, frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gnfactor.errors import ConfigError
from gnfactor.field.teachers.base import DTYPES, Pictures, Teacher
from gnfactor.field.teachers.clip import Clip
from gnfactor.field.teachers.dinov2 import Dinov2
from gnfactor.field.teachers.sd_unet import BLOCKS, TIMESTEPS, SdUnet
from gnfactor.field.teachers.sd_vae import SdVae
from gnfactor.field.teachers.segmentation import Segmentation

__all__ = ["TEACHERS", "Pictures", "Teacher", "TeacherConfig", "build_teacher"]


@dataclass(frozen=True)
class TeacherConfig:
    """Which features are distilled."""

    name: str = "none"
    """"none"; "segmentation": the simulator's labels, which need no weights and are no foundation model; "sd_vae": what
    the released code distils; "sd_unet": what the paper says; "dinov2"; "clip". All but the first two need weights and
    the extra `diffusion`."""
    weights: str | None = None
    """A local folder, or a model on the Hugging Face hub (owner/name); safetensors only."""
    image_size: int | None = None
    """Pixels of the shorter side of a picture as the model sees it. null: 512 for sd_vae, as released; for the others
    what the model was trained on."""
    dtype: str = "fp32"
    """What the model computes in: "fp32" or "bf16"."""
    channels: int = 16
    """For segmentation: numbers per class. The other teachers have their own."""
    blocks: tuple[str, ...] = ("odise11",)
    """For sd_unet: which features, joined at the size of the largest. odise2, odise5, odise8, odise11: the input of a
    level's last residual block on the way up, as ODISE counts; dift0 to dift3: the output of a level on the way up;
    down1, down2, down3, mid: of a level on the way down and of the middle."""
    timestep: int = 0
    """For sd_unet: how noisy the U-Net believes the picture to be, 0 to 999."""
    noise_seed: int | None = None
    """For sd_unet: really add the noise of `timestep`, drawn with this seed, the same for every picture. null: none."""
    prompt: str = ""
    """For sd_unet: what the picture is said to show."""
    unet_weights: str | None = None
    """For sd_unet: other weights for the same U-Net, such as CleanDIFT's: a safetensors file, or one on the hub
    (CompVis/cleandift/cleandift_sd15_unet.safetensors, MIT)."""

    def __post_init__(self) -> None:
        if self.name not in {"none", *TEACHERS}:
            raise ConfigError(f"data.views.teacher.name is '{self.name}'; known are {sorted({'none', *TEACHERS})}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"data.views.teacher.dtype is '{self.dtype}'; known are {sorted(DTYPES)}")
        strange = [block for block in self.blocks if block not in BLOCKS]
        if strange or not self.blocks:
            raise ConfigError(f"teacher blocks {list(self.blocks)} must be at least one of {list(BLOCKS)}")
        if not 0 <= self.timestep < TIMESTEPS:
            raise ConfigError(f"teacher timestep {self.timestep} must be from 0 to {TIMESTEPS - 1}")
        if self.channels < 1 or (self.image_size is not None and self.image_size < 1):
            raise ConfigError(f"teacher channels {self.channels} and image_size {self.image_size} must be at least 1")


def _segmentation(config: TeacherConfig, device: torch.device) -> Teacher:
    return Segmentation(config.channels, device)


def _sd_vae(config: TeacherConfig, device: torch.device) -> Teacher:
    return SdVae(config.weights, config.image_size, config.dtype, device)


def _sd_unet(config: TeacherConfig, device: torch.device) -> Teacher:
    return SdUnet(
        config.weights,
        config.unet_weights,
        config.blocks,
        config.timestep,
        noise_seed=config.noise_seed,
        prompt=config.prompt,
        image_size=config.image_size,
        dtype=config.dtype,
        device=device,
    )


def _dinov2(config: TeacherConfig, device: torch.device) -> Teacher:
    return Dinov2(config.weights, config.image_size, config.dtype, device)


def _clip(config: TeacherConfig, device: torch.device) -> Teacher:
    return Clip(config.weights, config.image_size, config.dtype, device)


TEACHERS: dict[str, Callable[[TeacherConfig, torch.device], Teacher]] = {
    "segmentation": _segmentation,
    "sd_vae": _sd_vae,
    "sd_unet": _sd_unet,
    "dinov2": _dinov2,
    "clip": _clip,
}


def build_teacher(config: TeacherConfig, device: torch.device) -> Teacher | None:
    """The teacher of a configuration, on a device; None for "none".

    Raises:
        ConfigError: there are no such weights, or the options do not fit the model.
        MissingExtraError: the extra `diffusion` is not installed.
    """
    return None if config.name == "none" else TEACHERS[config.name](config, device)
