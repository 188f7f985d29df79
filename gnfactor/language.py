"""From an instruction to numbers: text encoders, the table of trained instructions, and what a step attends to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from PIL import ImageColor
from torch import Tensor, nn

from gnfactor.errors import ConfigError, GNFactorError, MissingExtraError, ObservationError


@dataclass(frozen=True)
class LanguageConfig:
    """How instructions become tokens."""

    encoder: str = "clip"
    """"clip": CLIP's RN50 text tower, as published (extra `clip`). "hashing": a fixed random vector per word."""
    weights: str | None = None
    """For clip: a weights file of RN50, a folder in open_clip's format, or a model on the hub; null downloads
    OpenAI's weights."""
    width: int = 512
    """Numbers per token; CLIP's RN50 has 512."""
    tokens: int = 77
    """Longest instruction in tokens; CLIP has 77."""
    color_words: bool = False
    """For hashing: tell the policy what colour words mean, as red, green and blue of CSS's named colours."""
    attend_padding: bool = True
    """Let the Perceiver see the padding behind an instruction too, as published."""

    def __post_init__(self) -> None:
        if self.encoder not in TEXT_ENCODERS:
            raise ConfigError(f"language encoder '{self.encoder}' is unknown; known are {sorted(TEXT_ENCODERS)}")
        if self.width < 1 or self.tokens < 1:
            raise ConfigError(f"language width {self.width} and tokens {self.tokens} must both be at least 1")
        if self.color_words and (self.encoder != "hashing" or self.width < 4):
            raise ConfigError("language.color_words is for encoder: hashing with a width of at least 4")


class TextTokens(NamedTuple):
    """Texts as sequences of vectors."""

    features: Float[Tensor, "texts tokens width"]
    mask: Bool[Tensor, "texts tokens"]
    """True where there is a token, False where there is padding; every text has at least one token."""


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that turns texts into tokens; the same text always gives the same tokens."""

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int:
        """Numbers per token."""
        ...

    def encode(self, texts: Sequence[str]) -> TextTokens:
        """Tokens of each text, on the CPU, in float32. Raises ObservationError for a text that cannot be encoded."""
        ...


class HashingEncoder:
    """A fixed random vector per word; needs no weights and is the same on every machine.

    It knows no meaning. Two words are the same or strangers: "grey" and "gray", "drawer" and "drawers" have
    nothing in common, and a word that was never trained carries no information at all. Upper and lower case and
    punctuation are the same to it.

    With `color_words` it knows one thing: the first three numbers of a word are red, green and blue, -2 to 2, if CSS
    has a colour of that name, and 0 otherwise. Which pixels look like that is still for the policy to learn.
    """

    name = "hashing"

    def __init__(self, config: LanguageConfig) -> None:
        self.width = config.width
        self.tokens = config.tokens
        self._color_words = config.color_words

    def encode(self, texts: Sequence[str]) -> TextTokens:
        features = torch.zeros(len(texts), self.tokens, self.width)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", text.lower())
            _check_length(text, len(words), self.tokens)
            features[row, : len(words)] = torch.stack([self._vector(word) for word in words])
            mask[row, : len(words)] = True
        return TextTokens(features, mask)

    def _vector(self, word: str) -> Float[Tensor, "width"]:
        vector = word_vector(word, self.width)
        return torch.cat((_color_of(word), vector[3:])) if self._color_words else vector


def _color_of(word: str) -> Float[Tensor, "3"]:
    """Red, green and blue of a CSS colour, -2 to 2; 0 for any other word."""
    if word not in ImageColor.colormap:
        return torch.zeros(3)
    return torch.tensor(ImageColor.getrgb(word)[:3]) * (4 / 255) - 2


@lru_cache(maxsize=4096)
def word_vector(word: str, width: int) -> Float[Tensor, "width"]:
    """Normal numbers of mean 0 and variance 1 that depend on the word alone.

    NumPy promises never to change the stream of its legacy RandomState (NEP 19), so checkpoints stay readable.
    """
    digest = hashlib.blake2b(word.encode(), digest_size=16).digest()
    return torch.from_numpy(np.random.RandomState(np.frombuffer(digest, "<u4")).standard_normal(width)).float()


class ClipEncoder:
    """Text tower of CLIP RN50: token features after the final layer norm, without projection, as published."""

    name = "clip"

    def __init__(self, config: LanguageConfig) -> None:
        """Load the model.

        Raises:
            MissingExtraError: open_clip is not installed, or its torchvision does not fit the installed torch.
            ConfigError: the weights cannot be loaded, or have another width than `config.width`.
        """
        model, self._tokenize = _load_clip(config.weights)
        self._model = model
        self.width = int(model.ln_final.normalized_shape[0])
        self.tokens = int(model.context_length)
        if (self.width, self.tokens) != (config.width, config.tokens):
            raise ConfigError(
                f"language width {config.width} and tokens {config.tokens} do not fit the CLIP model, which gives "
                f"{self.tokens} tokens of {self.width}; set language.width={self.width} language.tokens={self.tokens}"
            )

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> TextTokens:
        lengths = [len(self._tokenize.encode(text)) for text in texts]
        for text, length in zip(texts, lengths, strict=True):
            _check_length(text, length, self.tokens - 2)
        model = self._model
        embedded = model.token_embedding(self._tokenize(list(texts), self.tokens)) + model.positional_embedding
        features = model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask))
        with_ends = torch.tensor(lengths)[:, None] + 2
        return TextTokens(features.float(), torch.arange(self.tokens) < with_ends)


def _load_clip(weights: str | None) -> tuple[Any, Any]:
    """Model and tokenizer of open_clip, the model in evaluation mode on the CPU."""
    try:
        import open_clip  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "open_clip", "pip install gnfactor[clip]") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise MissingExtraError(
            "torchvision, built for this torch,",
            "pip install --force-reinstall --no-deps torchvision --index-url https://download.pytorch.org/whl/cpu "
            "(PyPI's wheel of torchvision is made for CUDA and does not import beside a CPU build of torch)",
        ) from error
    name, pretrained = "RN50-quickgelu", weights or "openai"
    if weights is not None and Path(weights).is_dir():
        name, pretrained = f"local-dir:{weights}", None
    elif weights is not None and not Path(weights).is_file():
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", weights):
            raise ConfigError(
                f"language weights '{weights}': no such file or folder, and no name of a model on the hub"
            )
        name, pretrained = f"hf-hub:{weights}", None
    try:
        model = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"language weights '{weights or 'openai'}' cannot be loaded: {error}; give a weights file of RN50, a "
            "folder with open_clip_config.json and weights, or the name of a CLIP model on the Hugging Face hub"
        ) from error
    return model.eval().requires_grad_(requires_grad=False), tokenizer


def _check_length(text: str, length: int, most: int) -> None:
    if not 1 <= length <= most:
        raise ObservationError(
            f"the instruction '{text[:80]}' has {length} tokens; between 1 and {most} can be encoded"
        )


TEXT_ENCODERS: dict[str, Callable[[LanguageConfig], TextEncoder]] = {"clip": ClipEncoder, "hashing": HashingEncoder}


class InstructionTable(nn.Module):
    """Instructions that a policy knows, with their tokens; it travels inside the checkpoint.

    A policy follows the instructions of its table without the text encoder and its weights. The state dict holds
    tensors only: `features`, `mask`, and the texts as UTF-8 JSON. It loads into a table of any length.
    """

    features: Float[Tensor, "texts tokens width"]
    mask: Bool[Tensor, "texts tokens"]

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.texts: list[str] = []
        self.register_buffer("features", torch.zeros(0, config.tokens, config.width))
        self.register_buffer("mask", torch.zeros(0, config.tokens, dtype=torch.bool))
        self._encoder: TextEncoder | None = None
        self._strangers: dict[str, TextTokens] = {}

    def learn(self, texts: Sequence[str], encoder: TextEncoder | None = None) -> None:
        """Add the texts that are not known yet.

        Without an encoder the configured one is loaded, which raises MissingExtraError or ConfigError where it
        cannot be.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self.texts]
        for start in range(0, len(new), 256):
            chunk = new[start : start + 256]
            tokens = (encoder or self._load_encoder()).encode(chunk)
            self.features = torch.cat((self.features, tokens.features.to(self.features)))
            self.mask = torch.cat((self.mask, tokens.mask.to(self.mask.device)))
            self.texts.extend(chunk)

    def lookup(self, instructions: Sequence[str]) -> TextTokens:
        """Tokens of each instruction, on the table's device.

        An instruction that was never learned is encoded now.

        Raises:
            ObservationError: it was never learned and the text encoder is not available.
        """
        known = {text: row for row, text in enumerate(self.texts)}
        rows = [known.get(text, -1) for text in instructions]
        if all(row >= 0 for row in rows):
            chosen = torch.tensor(rows).to(self.features.device, non_blocking=True)
            return TextTokens(self.features[chosen], self.mask[chosen])
        tokens = [
            self._encode_stranger(text) if row < 0 else TextTokens(self.features[row], self.mask[row])
            for text, row in zip(instructions, rows, strict=True)
        ]
        return TextTokens(torch.stack([one.features for one in tokens]), torch.stack([one.mask for one in tokens]))

    def _encode_stranger(self, text: str) -> TextTokens:
        if text not in self._strangers:
            try:
                encoder = self._load_encoder()
            except GNFactorError as error:
                shown = "; ".join(f"'{known}'" for known in self.texts[:5])
                more = f" and {len(self.texts) - 5} more" if len(self.texts) > 5 else ""
                raise ObservationError(
                    f"the instruction '{text[:80]}' was not trained and its text encoder cannot be loaded ({error}); "
                    f"this policy knows {shown or 'no instruction'}{more}"
                ) from error
            if len(self._strangers) >= 256:
                self._strangers.clear()
            tokens = encoder.encode([text])
            self._strangers[text] = TextTokens(tokens.features[0], tokens.mask[0])
        tokens = self._strangers[text]
        return TextTokens(tokens.features.to(self.features), tokens.mask.to(self.mask.device))

    def _load_encoder(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = TEXT_ENCODERS[self.config.encoder](self.config)
        return self._encoder

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(json.dumps(self.texts).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        self.texts = json.loads(bytes(state.tolist()))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("features", "mask"):
            stored = state_dict.get(prefix + name)
            if stored is not None and stored.shape[1:] == getattr(self, name).shape[1:]:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@dataclass(frozen=True)
class ConditionConfig:
    """Size of the vector that stands for "what to do now"."""

    width: int = 128
    heads: int = 4
    in_place: int = 16
    """Numbers of each word that are seen in the word's place, beside what attention gathers."""

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise ConfigError(f"condition width {self.width} must be a positive multiple of heads {self.heads}")
        if self.in_place < 1:
            raise ConfigError(f"condition in_place is {self.in_place}; it must be at least 1")


class Conditioner(nn.Module):
    """One vector from the instruction, the step and the robot's state; it serves to modulate a network.

    The step asks, the tokens answer: at step 2 of "push the maroon button, then push the green button" the
    attention can rest on the second colour. Since attention begins by spreading over all words, in which any one of
    them is lost, a few numbers of every word in its place go along too.
    """

    def __init__(
        self, config: ConditionConfig, language: LanguageConfig, state_width: int, episode_length: int
    ) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.token = nn.Linear(language.width, width)
        self.place = nn.Parameter(torch.empty(language.tokens, width).normal_())
        self.step = nn.Embedding(episode_length, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.attended_norm = nn.LayerNorm(width)
        self.in_place = nn.Linear(language.width, config.in_place)
        inputs = 2 * width + config.in_place * language.tokens + state_width
        self.mlp = nn.Sequential(nn.Linear(inputs, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens token_width"],
        mask: Bool[Tensor, "batch tokens"],
        step: Int[Tensor, "batch"],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch width"]:
        """The condition; steps beyond the episode length count as its last."""
        words = self.token(tokens)
        asked = self.step(step.clamp(max=self.step.num_embeddings - 1))
        query = self.query(asked).unflatten(-1, (self.heads, 1, -1))
        key, value = self.key_value(words + self.place).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None]).flatten(1)
        in_place = (self.in_place(tokens) * mask[..., None]).flatten(1)
        said = (self.attended_norm(attended), in_place)
        return self.mlp(torch.cat((*said, asked, state.to(attended.dtype)), -1))
