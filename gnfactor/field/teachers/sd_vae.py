"""What GNFactor's released code distils: a layer in the decoder of Stable Diffusion's autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnfactor.errors import ConfigError
from gnfactor.field.teachers.base import DTYPES, Pictures, resize
from gnfactor.field.teachers.taps import Tap, tapped
from gnfactor.field.teachers.weights import Source, find_weights, library, load_model, revision_of

SOURCE = Source(
    teacher="sd_vae",
    parts={"vae": "AutoencoderKL"},
    others=(),
    hub="CompVis/stable-diffusion-v1-4 (CreativeML OpenRAIL-M; it has the autoencoder of the released code)",
)
TAP = Tap("up_blocks.1.resnets.1", "output")
"""In the released code's words the input of block 5 of the decoder, whose residual blocks it counts from the latent and
from 0: there are three per level, so 5 is the last (index 2) of the second level, and what goes into it is what comes
out of the one before it (index 1). 512 channels at twice the latent's resolution."""
IMAGE_SIZE = 512
"""As released."""


class SdVae:
    """Decoder features of the clean latent: there is no noise, no U-Net and no text in it, whatever the paper says.

    The picture is resized, encoded to the mean of its latent and decoded up to `TAP`.
    """

    name = "sd_vae"

    def __init__(self, weights: str | None, image_size: int | None, dtype: str, device: torch.device) -> None:
        """Load the autoencoder.

        Raises:
            ConfigError: there are no such weights.
            MissingExtraError: diffusers is not installed.
        """
        vae, files = load_model(
            find_weights(weights, SOURCE), "vae", SOURCE, library("diffusers", "AutoencoderKL"), low_cpu_mem_usage=False
        )
        if len(vae.decoder.up_blocks) < 2 or len(vae.decoder.up_blocks[1].resnets) < 2:
            raise ConfigError(f"the autoencoder in '{weights}' has no layer {TAP.module}; take Stable Diffusion's")
        self._vae = vae.to(device=device, dtype=DTYPES[dtype])
        self._cell = latent_cell(vae)
        self._image_size = image_size or IMAGE_SIZE
        self.channels = int(vae.decoder.get_submodule(TAP.module).out_channels)
        self.stride = self._cell / 2
        self.revision = revision_of(files, {"teacher": self.name, "image_size": self._image_size, "dtype": dtype})

    @torch.no_grad()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "batch channels rows columns"]:
        """Features of each picture; one cell per pixel for pictures of 128 pixels and the released image size."""
        vae = self._vae
        picture = resize(pictures.rgb.to(vae.device), self._image_size, self._cell) * 2 - 1
        latent = vae.encode(picture.to(vae.dtype)).latent_dist.mean
        (features,) = tapped(vae.decoder, [TAP], lambda: vae.decode(latent))
        return features.float()


def latent_cell(vae: Any) -> int:
    """Pixels per cell of the latent: 8 for Stable Diffusion."""
    return 2 ** (len(vae.config.block_out_channels) - 1)
