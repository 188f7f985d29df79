"""CLIP: patch features in the space of its sentences (Radford et al. 2021, read densely as Zhou et al. 2022 do)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gnfactor.field.teachers.base import DTYPES, Pictures, normalize, resize
from gnfactor.field.teachers.taps import Tap, tapped
from gnfactor.field.teachers.weights import Source, find_weights, library, load_model, revision_of

SOURCE = Source(teacher="clip", parts={"": "clip"}, others=(), hub="openai/clip-vit-large-patch14 (MIT)")
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that CLIP was trained on."""


class Clip:
    """A vision transformer's patches, each projected as CLIP projects the whole picture.

    In the last layer a patch keeps its own value vector instead of gathering those of others (MaskCLIP, Zhou et al.
    2022, section 3.2): so it says what is there, comparable with the embedding of a sentence, and the map stays sharp.
    Through transformers, which needs no torchvision; ResNets of CLIP, such as the language encoder's, do not load.
    """

    name = "clip"

    def __init__(self, weights: str | None, image_size: int | None, dtype: str, device: torch.device) -> None:
        """Load the model; without an image size, that of its training (224).

        Raises:
            ConfigError: there are no such weights.
            MissingExtraError: transformers is not installed.
        """
        model, files = load_model(find_weights(weights, SOURCE), "", SOURCE, library("transformers", "CLIPModel"))
        self._vision = model.vision_model.to(device=device, dtype=DTYPES[dtype])
        self._project = model.visual_projection.to(device=device, dtype=DTYPES[dtype])
        config = self._vision.config
        self._image_size = image_size or int(config.image_size)
        self._cell = int(config.patch_size)
        self._last = Tap(f"encoder.layers.{config.num_hidden_layers - 1}", "input")
        self.channels = int(self._project.out_features)
        self.stride = float(self._cell)
        options = {"teacher": self.name, "image_size": self._image_size, "dtype": dtype}
        self.revision = revision_of(files, options)

    @torch.no_grad()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "batch channels rows columns"]:
        """Features of each picture, one cell per patch."""
        vision = self._vision
        resized = normalize(resize(pictures.rgb.to(vision.device), self._image_size, self._cell), MEAN, DEVIATION)
        picture = resized.to(vision.dtype)
        (tokens,) = tapped(vision, [self._last], lambda: vision(picture, interpolate_pos_encoding=True))
        layer = vision.get_submodule(self._last.module)
        values = layer.self_attn.v_proj(layer.layer_norm1(tokens[:, 1:]))
        patches = self._project(vision.post_layernorm(layer.self_attn.out_proj(values)))
        rows, columns = (length // self._cell for length in picture.shape[-2:])
        return patches.float().unflatten(1, (rows, columns)).movedim(-1, 1).contiguous()
