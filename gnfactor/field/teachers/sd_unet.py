"""What GNFactor's paper distils: features of Stable Diffusion's U-Net, wherever in it one wants them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gnfactor.errors import ConfigError
from gnfactor.field.teachers.base import DTYPES, Pictures, resize
from gnfactor.field.teachers.sd_vae import latent_cell
from gnfactor.field.teachers.taps import Tap, tapped
from gnfactor.field.teachers.weights import Source, fetch, find_weights, library, load_model, revision_of

SOURCE = Source(
    teacher="sd_unet",
    parts={"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "clip_text_model"},
    others=("tokenizer", "scheduler"),
    hub="CompVis/stable-diffusion-v1-4 (CreativeML OpenRAIL-M)",
)
TIMESTEPS = 1000
"""Steps of noise that Stable Diffusion was trained with."""
LEVELS = 4
"""Of Stable Diffusion's U-Net, on the way down and on the way up."""


@dataclass(frozen=True)
class Block:
    """A place of features in a U-Net of four levels."""

    tap: Tap
    halvings: int
    """How often the latent's sides are halved there."""


BLOCKS: dict[str, Block] = {
    **{
        f"odise{3 * level + 2}": Block(Tap(f"up_blocks.{level}.resnets.2", "input"), 3 - level)
        for level in range(LEVELS)
    },
    **{f"dift{level}": Block(Tap(f"up_blocks.{level}", "output"), max(2 - level, 0)) for level in range(LEVELS)},
    **{f"down{level}": Block(Tap(f"down_blocks.{level}", "output"), min(level + 1, 3)) for level in range(1, LEVELS)},
    "mid": Block(Tap("mid_block", "output"), 3),
}
"""ODISE (Xu et al. 2023) counts the three residual blocks of each level on the way up from 0 to 11 and takes the input
of each level's last, skip connection included. DIFT (Tang et al. 2023) takes the output of a level: 1 for meaning, with
timestep 261, and 2 for geometry, with timestep 0. `down` and `mid` are those of Gupta et al. 2024."""


class SdUnet:
    """U-Net features of a picture's latent, clean or with noise, at one timestep.

    By default nothing is added to the latent; CleanDIFT's weights (Stracke et al. 2025) are made for that. With
    `noise_seed` it gets the noise of the timestep, the same for every picture, so that a picture has one answer.
    Several blocks are resized to the largest and joined.
    """

    name = "sd_unet"

    def __init__(
        self,
        weights: str | None,
        unet_weights: str | None,
        blocks: tuple[str, ...],
        timestep: int,
        *,
        noise_seed: int | None,
        prompt: str,
        image_size: int | None,
        dtype: str,
        device: torch.device,
    ) -> None:
        """Load autoencoder and U-Net, encode the prompt, and forget the text encoder.

        Raises:
            ConfigError: there are no such weights.
            MissingExtraError: diffusers or transformers is not installed.
        """
        root = find_weights(weights, SOURCE)
        unet, files = _load(root, "unet", "UNet2DConditionModel")
        if len(unet.up_blocks) != LEVELS or len(unet.up_blocks[0].resnets) <= 2:
            raise ConfigError(f"the U-Net in {root} is not built like Stable Diffusion's, of four levels")
        vae, vae_files = _load(root, "vae", "AutoencoderKL")
        embedding, text_files = encode_prompt(prompt, root)
        files = {**files, **vae_files, **text_files}
        if unet_weights is not None:
            files["unet_weights"] = replace_weights(unet, unet_weights)
        self._unet = unet.to(device=device, dtype=DTYPES[dtype])
        self._vae = vae.to(device=device, dtype=DTYPES[dtype])
        self._prompt = embedding.to(device=device, dtype=DTYPES[dtype])
        self._blocks = [BLOCKS[block] for block in blocks]
        self._timestep, self._noise_seed = timestep, noise_seed
        self._keep, self._blur = noise_shares(root, timestep) if noise_seed is not None else (1.0, 0.0)
        self._image_size = image_size or int(unet.config.sample_size) * latent_cell(vae)
        self._cell = latent_cell(vae) * 2 ** (LEVELS - 1)
        self.channels = sum(block_channels(unet, block) for block in self._blocks)
        self.stride = float(latent_cell(vae) * 2 ** min(block.halvings for block in self._blocks))
        self.revision = revision_of(
            files,
            {
                "teacher": self.name,
                "image_size": self._image_size,
                "dtype": dtype,
                "blocks": blocks,
                "timestep": timestep,
                "noise": [noise_seed, self._keep, self._blur],
                "prompt": prompt,
            },
        )

    @torch.no_grad()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "batch channels rows columns"]:
        """Features of each picture."""
        unet, vae = self._unet, self._vae
        picture = resize(pictures.rgb.to(vae.device), self._image_size, self._cell) * 2 - 1
        latent = vae.encode(picture.to(vae.dtype)).latent_dist.mean * vae.config.scaling_factor
        if self._noise_seed is not None:
            latent = self._keep * latent + self._blur * fixed_noise(latent, self._noise_seed)
        prompt = self._prompt.expand(len(latent), -1, -1)
        taps = [block.tap for block in self._blocks]
        maps = tapped(unet, taps, lambda: unet(latent, self._timestep, encoder_hidden_states=prompt))
        return join([one.float() for one in maps])


def join(maps: list[Float[Tensor, "batch _ _ _"]]) -> Float[Tensor, "batch channels rows columns"]:
    """Maps resized to the largest of them, bilinearly between the centres of cells, one after the other."""
    largest = max((one.shape[-2], one.shape[-1]) for one in maps)
    return torch.cat(
        [
            one if one.shape[-2:] == largest else F.interpolate(one, largest, mode="bilinear", align_corners=False)
            for one in maps
        ],
        dim=1,
    )


def fixed_noise(latent: Float[Tensor, "batch _ _ _"], seed: int) -> Float[Tensor, "batch _ _ _"]:
    """Normal noise for every latent of the batch, one and the same, on any device."""
    noise = torch.randn(latent.shape[1:], generator=torch.Generator().manual_seed(seed))
    return noise.to(latent).expand_as(latent)


def noise_shares(root: Path, timestep: int) -> tuple[float, float]:
    """How much of the latent and how much noise there is at a timestep: sqrt(a) and sqrt(1 - a)."""
    folder = root / "scheduler"
    try:
        scheduler = library("diffusers", "DDPMScheduler").from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"{folder} does not say how noise grows ({reason}): leave noise_seed null, or {SOURCE.remedy}"
        ) from error
    kept = float(scheduler.alphas_cumprod[timestep])
    return kept**0.5, (1 - kept) ** 0.5


def encode_prompt(prompt: str, root: Path) -> tuple[Float[Tensor, "1 tokens width"], dict[str, Path]]:
    """What the model's own text encoder makes of a prompt, cut or filled to its full length, and the files it read."""
    folder = root / "tokenizer"
    try:
        tokenizer = library("transformers", "CLIPTokenizer").from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"the tokenizer in {folder} cannot be read ({reason}): {SOURCE.remedy}") from error
    encoder, files = load_model(root, "text_encoder", SOURCE, library("transformers", "CLIPTextModel"))
    files |= {f"tokenizer/{path.name}": path for path in folder.glob("*") if path.suffix in {".json", ".txt"}}
    length = int(encoder.config.max_position_embeddings)
    tokens = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return encoder(tokens).last_hidden_state.float(), files


def replace_weights(unet: Any, weights: str) -> Path:
    """Put another state dict into a U-Net and return the file that it came from.

    Args:
        unet: a UNet2DConditionModel, changed in place.
        weights: a safetensors file, or owner/name/file.safetensors on the hub.

    Raises:
        ConfigError: there is no such file, or it is not made for this U-Net.
    """
    remedy = (
        "the U-Net of the teacher 'sd_unet': set unet_weights to a safetensors file, or to one on the Hugging Face hub "
        "as owner/name/file.safetensors, such as CompVis/cleandift/cleandift_sd15_unet.safetensors (MIT)"
    )
    path = Path(weights).expanduser()
    if not weights.endswith(".safetensors"):
        raise ConfigError(f"unet_weights '{weights}' is no safetensors file. For {remedy}")
    if not path.is_file():
        owner_name, _, file = weights.rpartition("/")
        if owner_name.count("/") != 1:
            raise ConfigError(f"unet_weights '{weights}': no such file, and no name of one on the hub. For {remedy}")
        path = fetch(owner_name, [file], remedy) / file
    load_file, damaged = library("safetensors.torch", "load_file"), library("safetensors", "SafetensorError")
    try:
        unet.load_state_dict(load_file(path))
    except (OSError, RuntimeError, damaged) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"unet_weights {path} do not fit this U-Net ({reason}). For {remedy}") from error
    return path


def block_channels(unet: Any, block: Block) -> int:
    """Channels of the features at a place."""
    module = unet.get_submodule(block.tap.module)
    return int(module.in_channels if block.tap.side == "input" else module.resnets[-1].out_channels)


def _load(root: Path, part: str, name: str) -> tuple[Any, dict[str, Path]]:
    return load_model(root, part, SOURCE, library("diffusers", name), low_cpu_mem_usage=False)
