"""Text encoders, the table of instructions inside a policy, and attention that follows the steps."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gnfactor.errors import ConfigError, MissingExtraError, ObservationError
from gnfactor.language import (
    ClipEncoder,
    ConditionConfig,
    Conditioner,
    HashingEncoder,
    InstructionTable,
    LanguageConfig,
    TextTokens,
)

SMALL = LanguageConfig(encoder="hashing", width=32, tokens=12)
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
sentences = st.lists(words, min_size=1, max_size=12).map(" ".join)


def same(first: TextTokens, second: TextTokens) -> bool:
    return torch.equal(first.features, second.features) and torch.equal(first.mask, second.mask)


@given(st.lists(sentences, min_size=1, max_size=4))
def test_hashing_gives_every_word_one_token_in_order_and_nothing_else(texts: list[str]) -> None:
    tokens = HashingEncoder(SMALL).encode(texts)
    assert tokens.features.shape == (len(texts), 12, 32)
    assert tokens.mask.sum(1).tolist() == [len(text.split()) for text in texts]
    assert (tokens.features[~tokens.mask] == 0).all()
    for row, text in enumerate(texts):
        for column, word in enumerate(text.split()):
            assert torch.equal(tokens.features[row, column], HashingEncoder(SMALL).encode([word]).features[0, 0])


def test_colour_words_say_their_colour_and_other_words_say_none() -> None:
    encoder = HashingEncoder(replace(SMALL, color_words=True))
    blue, button = encoder.encode(["blue button"]).features[0, :2]
    assert blue[:3].tolist() == [-2.0, -2.0, 2.0]
    assert button[:3].tolist() == [0.0, 0.0, 0.0]
    plain = HashingEncoder(SMALL).encode(["blue button"]).features[0, :2]
    assert torch.equal(torch.stack((blue, button))[:, 3:], plain[:, 3:])
    with pytest.raises(ConfigError, match="color_words"):
        LanguageConfig(encoder="clip", color_words=True)


def test_hashing_is_the_same_on_every_machine() -> None:
    features = HashingEncoder(LanguageConfig(encoder="hashing", width=4, tokens=1)).encode(["maroon"]).features
    expected = torch.tensor([0.5685, -2.6257, 0.0736, 0.5551])
    torch.testing.assert_close(features[0, 0], expected, rtol=0, atol=1e-4)


def test_hashed_words_are_strangers_of_unit_variance() -> None:
    texts = [f"word{number}" for number in range(200)]
    vectors = HashingEncoder(LanguageConfig(encoder="hashing", width=256, tokens=1)).encode(texts).features[:, 0]
    assert vectors.std().item() == pytest.approx(1, abs=0.02)
    alike = F.cosine_similarity(vectors[:, None], vectors[None], dim=-1) - torch.eye(200)
    assert alike.abs().max() < 0.4


def test_hashing_ignores_case_and_punctuation() -> None:
    encoder = HashingEncoder(SMALL)
    assert same(encoder.encode(["Push the RED button, then stop!"]), encoder.encode(["push the red button then stop"]))


@pytest.mark.parametrize("text", ["", " ,. ", " ".join(["very"] * 13)])
def test_an_instruction_that_is_empty_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ObservationError, match="between 1 and 12"):
        HashingEncoder(SMALL).encode([text])


class CountingEncoder(HashingEncoder):
    """Knows how often it was asked."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__(config)
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> TextTokens:
        self.asked.extend(texts)
        return super().encode(texts)


def test_the_table_learns_each_text_once_and_answers_in_the_order_asked() -> None:
    table, encoder = InstructionTable(SMALL), CountingEncoder(SMALL)
    table.learn(["open the drawer", "push red", "open the drawer"], encoder)
    table.learn(["push red", "slide it"], encoder)
    assert encoder.asked == table.texts == ["open the drawer", "push red", "slide it"]
    asked = ["slide it", "open the drawer", "slide it"]
    assert same(table.lookup(asked), HashingEncoder(SMALL).encode(asked))
    assert len(encoder.asked) == 3


def test_the_table_learns_more_texts_than_it_encodes_at_once() -> None:
    texts = [f"push button {number}" for number in range(300)]
    table = InstructionTable(SMALL)
    table.learn(texts)
    assert same(table.lookup(texts), HashingEncoder(SMALL).encode(texts))


def test_an_unknown_instruction_is_encoded_but_not_learned() -> None:
    table = InstructionTable(SMALL)
    table.learn(["open the drawer"])
    asked = ["close it", "open the drawer", "close it"]
    assert same(table.lookup(asked), HashingEncoder(SMALL).encode(asked))
    assert table.texts == ["open the drawer"]
    assert len(table.features) == 1


def test_the_table_travels_through_a_file_of_tensors_into_a_table_of_another_length(tmp_path: Path) -> None:
    table = InstructionTable(SMALL)
    table.learn(["open the drawer", "drücke den Knopf", "push red"])
    save_file(table.state_dict(), tmp_path / "table.safetensors")
    restored = InstructionTable(SMALL)
    restored.learn(["something else"])
    restored.load_state_dict(load_file(tmp_path / "table.safetensors"))
    assert restored.texts == table.texts
    assert same(restored.lookup(table.texts), table.lookup(table.texts))


def test_a_table_of_another_width_is_not_loaded() -> None:
    table = InstructionTable(SMALL)
    table.learn(["push red"])
    other = InstructionTable(LanguageConfig(encoder="hashing", width=8, tokens=12))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(table.state_dict())


def test_without_the_encoder_known_instructions_work_and_unknown_ones_name_the_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    table = InstructionTable(LanguageConfig(encoder="clip", width=32, tokens=12))
    table.learn([f"push button {number}" for number in range(8)], HashingEncoder(SMALL))
    assert table.lookup(["push button 3"]).features.shape == (1, 12, 32)
    with pytest.raises(ObservationError, match=r"'juggle' was not trained.*gnfactor\[clip\].*push button 0.*3 more"):
        table.lookup(["juggle"])


def test_clip_without_open_clip_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"pip install gnfactor\[clip\]"):
        ClipEncoder(LanguageConfig())


def test_clip_beside_a_torchvision_for_another_torch_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "open_clip.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.delitem(sys.modules, "open_clip", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"torchvision.*whl/cpu"):
        ClipEncoder(LanguageConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"encoder": "bert"}, r"bert.*clip.*hashing"), ({"width": 0}, "width"), ({"tokens": 0}, "tokens")],
)
def test_nonsense_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LanguageConfig(**changes)


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    """The real open_clip; operators that PyPI's torchvision lacks beside a CPU torch are declared here alone."""
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("open_clip is not installed (pip install gnfactor[clip])")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("open_clip")
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            for operator in ("nms", "qnms"):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", schema)
            return importlib.import_module("open_clip")


@pytest.fixture(scope="module")
def clip_folder(open_clip: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP of the real class with random weights, in open_clip's own format."""
    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    model_cfg = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    model = open_clip.CLIP(**model_cfg)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}}))
    return folder


def clip_config(folder: Path) -> LanguageConfig:
    return LanguageConfig(encoder="clip", weights=str(folder), width=32, tokens=16)


def test_clip_tokens_lead_to_the_sentence_vector_of_the_real_model(open_clip: ModuleType, clip_folder: Path) -> None:
    texts = ["push the maroon button", "open the top drawer"]
    tokens = ClipEncoder(clip_config(clip_folder)).encode(texts)
    assert tokens.features.shape == (2, 16, 32)
    assert tokens.mask.sum(1).tolist() == [6, 6]
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    with torch.no_grad():
        sentence = model.encode_text(open_clip.get_tokenizer(f"local-dir:{clip_folder}")(texts))
    last = tokens.mask.sum(1) - 1
    torch.testing.assert_close(tokens.features[[0, 1], last] @ model.text_projection.detach(), sentence)


@pytest.mark.usefixtures("open_clip")
def test_clip_encodes_a_text_the_same_alone_and_in_company(clip_folder: Path) -> None:
    encoder = ClipEncoder(clip_config(clip_folder))
    together = encoder.encode(["push red", "open the drawer"])
    torch.testing.assert_close(together.features[:1], encoder.encode(["push red"]).features)


@pytest.mark.usefixtures("open_clip")
def test_clip_of_another_size_than_configured_is_refused_with_the_right_one(clip_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"language.width=32 language.tokens=16"):
        ClipEncoder(LanguageConfig(weights=str(clip_folder)))


@pytest.mark.usefixtures("open_clip")
def test_clip_refuses_a_text_that_it_would_have_to_cut(clip_folder: Path) -> None:
    with pytest.raises(ObservationError, match="between 1 and 14"):
        ClipEncoder(clip_config(clip_folder)).encode([" ".join(["very"] * 15)])


@pytest.mark.usefixtures("open_clip")
def test_clip_weights_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights.*open_clip_config.json"):
        ClipEncoder(LanguageConfig(weights=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"weights.*absent.pt.*no such file"):
        ClipEncoder(LanguageConfig(weights=str(tmp_path / "absent.pt")))


@pytest.mark.usefixtures("open_clip")
def test_clip_never_runs_on_random_weights(clip_folder: Path) -> None:
    stored = clip_folder / "open_clip_model.safetensors"
    hidden = stored.rename(clip_folder / "elsewhere")
    try:
        with pytest.raises(ConfigError, match="weights"):
            ClipEncoder(clip_config(clip_folder))
    finally:
        hidden.rename(stored)


def conditioner(state_width: int = 4, episode_length: int = 5) -> Conditioner:
    torch.manual_seed(3)
    return Conditioner(ConditionConfig(width=32, heads=4), SMALL, state_width, episode_length)


def test_the_condition_ignores_padding() -> None:
    module = conditioner()
    tokens = HashingEncoder(SMALL).encode(["push the red button", "stop"])
    state, step = torch.randn(2, 4), torch.tensor([0, 1])
    noisy = torch.where(tokens.mask[..., None], tokens.features, torch.full_like(tokens.features, 7.0))
    expected = module(tokens.features, tokens.mask, step, state)
    torch.testing.assert_close(module(noisy, tokens.mask, step, state), expected)


def test_the_condition_knows_the_order_of_words_the_step_and_the_state() -> None:
    module = conditioner()
    tokens = HashingEncoder(SMALL).encode(["red then blue", "blue then red"])
    state = torch.zeros(2, 4)
    first = module(tokens.features, tokens.mask, torch.tensor([1, 1]), state)
    assert not torch.allclose(first[0], first[1], atol=1e-3)
    assert not torch.allclose(module(tokens.features, tokens.mask, torch.tensor([2, 2]), state), first, atol=1e-3)
    assert not torch.allclose(module(tokens.features, tokens.mask, torch.tensor([1, 1]), state + 1), first, atol=1e-3)


def test_steps_beyond_the_episode_count_as_its_last() -> None:
    module = conditioner(episode_length=5)
    tokens = HashingEncoder(SMALL).encode(["push red", "push red"])
    condition = module(tokens.features, tokens.mask, torch.tensor([4, 40]), torch.zeros(2, 4))
    assert torch.equal(condition[0], condition[1])


def test_it_learns_to_look_at_the_colour_whose_turn_it_is() -> None:
    colours = ["red", "maroon", "lime", "green", "blue", "navy"]
    pairs = [(first, second) for first in range(6) for second in range(6) if first != second]
    texts = [f"push the {colours[one]} button then push the {colours[two]} button" for one, two in pairs]
    tokens = HashingEncoder(SMALL).encode(texts)
    answers = torch.tensor(pairs)
    torch.manual_seed(4)
    module, reader = conditioner(), nn.Linear(32, 6)
    optimizer = torch.optim.AdamW([*module.parameters(), *reader.parameters()], lr=3e-3)
    # A quarter of the pairs are never trained on: a table of sentences would fail on them.
    unseen = torch.arange(len(pairs)) % 4 == 0

    def logits(rows: Tensor, step: Tensor) -> Tensor:
        return reader(module(tokens.features[rows], tokens.mask[rows], step, torch.zeros(len(rows), 4)))

    trained = (~unseen).nonzero()[:, 0]
    for _ in range(150):
        step = torch.randint(0, 2, (len(trained),))
        loss = F.cross_entropy(logits(trained, step), answers[trained, step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = unseen.nonzero()[:, 0].repeat(2)
    step = torch.arange(2).repeat_interleave(len(rows) // 2)
    right = logits(rows, step).argmax(1) == answers[rows, step]
    assert right.float().mean() >= 0.9


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"width 10.*heads 4"):
        ConditionConfig(width=10, heads=4)
