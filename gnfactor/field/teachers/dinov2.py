"""DINOv2: self-supervised patch features (Oquab et al. 2023)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gnfactor.field.teachers.base import DTYPES, Pictures, normalize, resize
from gnfactor.field.teachers.weights import Source, find_weights, library, load_model, revision_of

SOURCE = Source(
    teacher="dinov2", parts={"": "dinov2"}, others=(), hub="facebook/dinov2-small or facebook/dinov2-base (Apache-2.0)"
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, as DINOv2 was trained."""


class Dinov2:
    """Patch tokens after the last layer norm; the class token is left out."""

    name = "dinov2"

    def __init__(self, weights: str | None, image_size: int | None, dtype: str, device: torch.device) -> None:
        """Load the model; without an image size, that of its training (518).

        Raises:
            ConfigError: there are no such weights.
            MissingExtraError: transformers is not installed.
        """
        model, files = load_model(find_weights(weights, SOURCE), "", SOURCE, library("transformers", "Dinov2Model"))
        self._model = model.to(device=device, dtype=DTYPES[dtype])
        config = model.config
        self._image_size = image_size or int(config.image_size)
        self._cell = int(config.patch_size)
        self.channels = int(config.hidden_size)
        self.stride = float(self._cell)
        options = {"teacher": self.name, "image_size": self._image_size, "dtype": dtype}
        self.revision = revision_of(files, options)

    @torch.no_grad()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "batch channels rows columns"]:
        """Features of each picture, one cell per patch."""
        model = self._model
        picture = normalize(resize(pictures.rgb.to(model.device), self._image_size, self._cell), MEAN, DEVIATION)
        tokens = model(picture.to(model.dtype)).last_hidden_state[:, 1:]
        rows, columns = (length // self._cell for length in picture.shape[-2:])
        return tokens.float().unflatten(1, (rows, columns)).movedim(-1, 1).contiguous()
