"""The simulator's own labels as features: a teacher that needs no weights. It is not a foundation model."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gnfactor.errors import DataError
from gnfactor.field.teachers.base import Pictures
from gnfactor.field.teachers.weights import revision_of
from gnfactor.language import word_vector


class Segmentation:
    """A fixed unit vector per class of object, zeros for the background.

    It tells the field what a simulator knows and no camera does: which pixels belong to things of one name. Classes are
    the same or strangers, as words are to the hashing text encoder: a drawer is no more like a door than like a button,
    and nothing is learned from pictures of the world. Real recordings, which have no labels, cannot use it.
    """

    name = "segmentation"
    stride = 1.0

    def __init__(self, channels: int, device: torch.device) -> None:
        self.channels = channels
        self.revision = revision_of({}, {"teacher": self.name, "channels": channels})
        self._device = device

    def __call__(self, pictures: Pictures) -> Float[Tensor, "batch channels height width"]:
        """Features of every pixel.

        Raises:
            DataError: the pictures have no labels.
        """
        if pictures.labels is None:
            raise DataError(
                "the teacher 'segmentation' learns from the simulator's labels, and these pictures have none; record "
                "them with segmentation (the built-in world does) or choose another teacher"
            )
        present, place = pictures.labels.unique(return_inverse=True)
        vectors = [self._vector(int(label), pictures.label_names.get(int(label))) for label in present]
        features = torch.stack(vectors)[place.cpu()]
        return features.movedim(-1, 1).contiguous().to(self._device)

    def _vector(self, label: int, name: str | None) -> Float[Tensor, "channels"]:
        if label == 0:
            return torch.zeros(self.channels)
        return class_vector(f"label{label}" if name is None else class_name(name), self.channels)


def class_name(label_name: str) -> str:
    """What kind of thing a label is called after: the name without the number that tells it from its like.

    "button_2", "button2" and "Button#2" are all a "button". A name of digits alone stays what it is.
    """
    kind = re.sub(r"[\W_]*\d+$", "", label_name).lower()
    return kind or label_name


def class_vector(kind: str, channels: int) -> Float[Tensor, "channels"]:
    """Unit vector that depends on the word alone, the same on every machine."""
    return F.normalize(word_vector(kind, channels), dim=0)
