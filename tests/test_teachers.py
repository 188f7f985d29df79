"""Teachers: features as made by hand from the same models, declared as they are, and weights that are refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gnfactor.errors import ConfigError, DataError, MissingExtraError
from gnfactor.field.teachers import TEACHERS, Pictures, Teacher, TeacherConfig, build_teacher, weights
from gnfactor.field.teachers.base import resize
from gnfactor.field.teachers.sd_unet import BLOCKS, noise_shares
from gnfactor.field.teachers.segmentation import Segmentation, class_name, class_vector
from gnfactor.field.teachers.taps import Tap, tapped

CPU = torch.device("cpu")
FOUNDATION = ("sd_vae", "sd_unet", "dinov2", "clip")
SIDE = {"sd_vae": 32, "sd_unet": 64, "dinov2": 28, "clip": 32}
"""Picture sizes at which the tiny models run."""


PART = {"sd_vae": "vae", "sd_unet": "unet", "dinov2": "", "clip": ""}
"""Folder of the model whose features are taken."""


def rewrite(file: Path, tensors: dict[str, Tensor]) -> None:
    """Other tensors in a file that may be mapped into memory."""
    save_file(tensors, file.with_suffix(".new"), metadata={"format": "pt"})
    file.with_suffix(".new").replace(file)


def pictures(count: int = 2, height: int = 24, width: int = 24, seed: int = 0) -> Pictures:
    rgb = np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return Pictures(rgb=torch.from_numpy(rgb))


def labelled(labels: list[list[int]], names: dict[int, str]) -> Pictures:
    place = torch.tensor([labels])
    return Pictures(torch.zeros(1, 3, *place.shape[1:], dtype=torch.uint8), place, names)


# --- segmentation -----------------------------------------------------------------------------------------------------


@given(st.from_regex(r"[a-z]+(_[a-z]+)?", fullmatch=True), st.sampled_from(["", "_1", "12", "#3", "_0", " 4"]))
def test_things_of_one_kind_share_a_name(kind: str, number: str) -> None:
    assert class_name(kind + number) == kind


@given(st.lists(st.integers(0, 5), min_size=4, max_size=4), st.integers(2, 40))
def test_segmentation_gives_each_pixel_its_classs_unit_vector_and_the_background_zeros(
    labels: list[int], channels: int
) -> None:
    names = {1: "button_0", 2: "button_1", 3: "drawer", 4: "Panda_link0"}
    features = Segmentation(channels, CPU)(labelled([labels[:2], labels[2:]], names))
    assert features.shape == (1, channels, 2, 2)
    words = {1: "button", 2: "button", 3: "drawer", 4: "panda_link", 5: "label5"}
    for label, feature in zip(labels, features[0].flatten(1).T, strict=True):
        expected = class_vector(words[label], channels) if label else torch.zeros(channels)
        assert torch.equal(feature, expected)
        assert feature.norm().item() == pytest.approx(1 if label else 0, abs=1e-5)


def test_labels_without_a_name_are_strangers_to_each_other() -> None:
    first, second = Segmentation(16, CPU)(labelled([[7, 8]], {}))[0, :, 0].T
    assert not torch.equal(first, second)


def test_segmentation_without_labels_says_so() -> None:
    with pytest.raises(DataError, match="labels"):
        Segmentation(16, CPU)(pictures())


def test_a_class_is_the_same_on_every_machine() -> None:
    torch.testing.assert_close(
        class_vector("maroon", 4),
        F.normalize(torch.tensor([0.5685, -2.6257, 0.0736, 0.5551]), dim=0),
        rtol=0,
        atol=1e-4,
    )


# --- what all share ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 14]), st.integers(1, 4))
def test_resizing_keeps_the_shorter_side_and_whole_cells(height: int, width: int, cell: int, cells: int) -> None:
    resized = resize(pictures(1, height, width).rgb, cells * cell, cell)
    assert min(resized.shape[-2:]) == cells * cell
    assert all(length % cell == 0 for length in resized.shape[-2:])
    assert abs(max(resized.shape[-2:]) - cells * cell * max(height, width) / min(height, width)) <= cell / 2


def test_resizing_to_the_same_size_changes_nothing() -> None:
    rgb = pictures(1, 16, 24).rgb
    torch.testing.assert_close(resize(rgb, 16, 8), rgb / 255, rtol=0, atol=1e-6)


def test_an_image_size_between_two_cells_is_refused_with_one_that_fits() -> None:
    with pytest.raises(ConfigError, match=r"image_size 30 .*28"):
        resize(pictures().rgb, 30, 14)


def test_taps_cut_a_forward_pass_off_and_leave_no_hook() -> None:
    class Never(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise AssertionError("nobody asked for this")

    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Never())
    given_ = torch.randn(4, 2)
    after, before = tapped(model, [Tap("1", "output"), Tap("1", "input")], lambda: model(given_))
    assert torch.equal(before, model[0](given_))
    assert torch.equal(after, before.relu())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_no_teacher_is_none() -> None:
    assert build_teacher(TeacherConfig(), CPU) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "dino"}, r"dino.*clip.*dinov2.*none.*sd_unet.*sd_vae.*segmentation"),
        ({"dtype": "fp8"}, r"fp8.*bf16.*fp32"),
        ({"blocks": ("up1",)}, r"up1.*odise2.*dift0.*mid"),
        ({"blocks": ()}, "at least one"),
        ({"timestep": 1000}, "999"),
        ({"channels": 0}, "channels 0"),
        ({"image_size": 0}, "image_size 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TeacherConfig(**options)


# --- foundation models: tiny ones of the real classes, random weights, saved and loaded -------------------------------


def _save_vae(folder: Path) -> None:
    import diffusers

    diffusers.AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=2,
        latent_channels=4,
    ).save_pretrained(folder)


def _save_unet(folder: Path) -> None:
    import diffusers

    diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 8, 12, 16),
        layers_per_block=2,
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=2,
    ).save_pretrained(folder)


def _save_text_encoder(folder: Path) -> None:
    import transformers

    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b"]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer/vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / "tokenizer")
    transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            hidden_size=12,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            vocab_size=len(words),
            max_position_embeddings=6,
            bos_token_id=0,
            eos_token_id=1,
        )
    ).save_pretrained(folder / "text_encoder")


def _save_clip(folder: Path) -> None:
    import transformers

    tiny = {"hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**tiny, "vocab_size": 8, "max_position_embeddings": 6, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={**text, "projection_dim": 10},
        vision_config={**tiny, "image_size": 32, "patch_size": 8, "projection_dim": 10},
        projection_dim=10,
    )
    transformers.CLIPModel(config).save_pretrained(folder)


def _save_dinov2(folder: Path) -> None:
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one tiny model for each teacher, named after it, in the layout of the originals."""
    pytest.importorskip("diffusers", reason="diffusers is not installed (pip install 'gnfactor[diffusion]')")
    import diffusers

    folder = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _save_vae(folder / "sd_unet/vae")
        _save_unet(folder / "sd_unet/unet")
        _save_text_encoder(folder / "sd_unet")
        _save_clip(folder / "clip")
        _save_dinov2(folder / "dinov2")
    diffusers.PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "sd_unet/scheduler"
    )
    (folder / "sd_vae").symlink_to(folder / "sd_unet")
    return folder


def config_of(models: Path, name: str, **options: Any) -> TeacherConfig:
    return replace(TeacherConfig(name=name, weights=str(models / name), image_size=SIDE.get(name)), **options)


kept = lru_cache(lambda config: build_teacher(config, CPU))
"""Teachers of weights that stay as they are."""


def built(models: Path, name: str, **options: Any) -> Teacher:
    config = config_of(models, name, **options)
    teacher = build_teacher(config, CPU) if {"weights", "unet_weights"} & options.keys() else kept(config)
    assert isinstance(teacher, Teacher)
    return teacher


@pytest.mark.parametrize("name", FOUNDATION)
def test_channels_and_stride_are_as_declared(models: Path, name: str) -> None:
    teacher = built(models, name)
    features = teacher(pictures())
    cells = SIDE[name] / teacher.stride
    assert teacher.name == name
    assert features.shape == (2, teacher.channels, cells, cells)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert features.std() > 0


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_picture_has_the_same_features_in_any_company(models: Path, name: str) -> None:
    teacher = built(models, name)
    both = pictures(2)
    alone = torch.cat([teacher(Pictures(both.rgb[:1])), teacher(Pictures(both.rgb[1:]))])
    torch.testing.assert_close(teacher(both), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FOUNDATION)
def test_pictures_need_not_be_square(models: Path, name: str) -> None:
    rows, columns = built(models, name)(pictures(1, 24, 48)).shape[-2:]
    assert columns == 2 * rows


@pytest.mark.parametrize("name", FOUNDATION)
def test_half_precision_gives_nearly_the_same(models: Path, name: str) -> None:
    exact, near = (built(models, name, dtype=dtype)(pictures()) for dtype in ("fp32", "bf16"))
    assert near.dtype == torch.float32
    assert F.cosine_similarity(exact.flatten(1), near.flatten(1)).min() > 0.99


@pytest.mark.gpu
@pytest.mark.parametrize("name", FOUNDATION)
def test_a_gpu_gives_the_same(models: Path, name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")
    teacher = build_teacher(config_of(models, name), torch.device("cuda"))
    assert teacher is not None
    torch.testing.assert_close(teacher(pictures()).cpu(), built(models, name)(pictures()), rtol=1e-2, atol=1e-2)


def by_hand_sd_vae(folder: Path, rgb: Tensor) -> Tensor:
    import diffusers

    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae").eval()
    mean, _ = vae.quant_conv(vae.encoder(rgb * 2 - 1)).chunk(2, 1)
    features = vae.decoder.mid_block(vae.decoder.conv_in(vae.post_quant_conv(mean)))
    features = vae.decoder.up_blocks[0](features)
    for block in (0, 1):
        features = vae.decoder.up_blocks[1].resnets[block](features, None)
    return features


def by_hand_dinov2(folder: Path, rgb: Tensor) -> Tensor:
    import transformers

    model = transformers.Dinov2Model.from_pretrained(folder).eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    tokens = model.embeddings((rgb - mean[:, None, None]) / deviation[:, None, None])
    for layer in model.encoder.layer:
        tokens = layer(tokens)
    return model.layernorm(tokens)[:, 1:].mT.unflatten(2, (2, 2))


def by_hand_clip(folder: Path, rgb: Tensor) -> Tensor:
    """Attention of the last layer in which every patch sees itself alone, without residual and MLP."""
    import transformers

    model = transformers.CLIPVisionModelWithProjection.from_pretrained(folder, config=_vision_config(folder)).eval()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    vision = model.vision_model
    tokens = vision.pre_layrnorm(vision.embeddings((rgb - mean[:, None, None]) / deviation[:, None, None]))
    first, last = vision.encoder.layers
    normed = last.layer_norm1(first(tokens, None))
    only_itself = torch.full((17, 17), -torch.inf).fill_diagonal_(0.0).expand(len(rgb), 1, 17, 17)
    attended, _ = last.self_attn(normed, attention_mask=only_itself)
    return model.visual_projection(vision.post_layernorm(attended))[:, 1:].mT.unflatten(2, (4, 4))


def _vision_config(folder: Path) -> Any:
    import transformers

    return transformers.CLIPVisionConfig(**json.loads((folder / "config.json").read_text())["vision_config"])


def by_hand_sd_unet(folder: Path, rgb: Tensor) -> Tensor:
    """The whole U-Net; its last residual block gets what the attention before it gives and the very first skip."""
    import diffusers

    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae").eval()
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    skips: list[Tensor] = []
    unet.down_blocks[0].resnets[0].register_forward_pre_hook(lambda _module, inputs: skips.append(inputs[0]))
    seen: list[Tensor] = []
    unet.up_blocks[3].attentions[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    latent = vae.encode(rgb * 2 - 1).latent_dist.mode() * 0.18215
    unet(latent, 0, encoder_hidden_states=empty_prompt(folder).expand(len(rgb), -1, -1))
    return torch.cat((seen[0], skips[0]), 1)


def empty_prompt(folder: Path) -> Tensor:
    import transformers

    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    return encoder(torch.tensor([[0, 1, 1, 1, 1, 1]])).last_hidden_state


BY_HAND: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "sd_vae": by_hand_sd_vae,
    "sd_unet": by_hand_sd_unet,
    "dinov2": by_hand_dinov2,
    "clip": by_hand_clip,
}


@pytest.mark.parametrize("name", FOUNDATION)
@torch.no_grad()
def test_features_are_those_of_a_forward_pass_by_hand(models: Path, name: str) -> None:
    shown = pictures()
    resized = F.interpolate(shown.rgb / 255, (SIDE[name],) * 2, mode="bilinear", antialias=True)
    torch.testing.assert_close(built(models, name)(shown), BY_HAND[name](models / name, resized), rtol=1e-4, atol=1e-5)


# --- Stable Diffusion's U-Net -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_has_the_size_that_it_declares(models: Path, block: str) -> None:
    teacher = built(models, "sd_unet", blocks=(block,))
    cells = 64 / teacher.stride
    assert teacher(pictures(1)).shape == (1, teacher.channels, cells, cells)


def test_blocks_are_joined_in_order_at_the_size_of_the_largest(models: Path) -> None:
    mid, dift = (built(models, "sd_unet", blocks=(block,))(pictures(1)) for block in ("mid", "dift1"))
    both = built(models, "sd_unet", blocks=("mid", "dift1"))
    enlarged = F.interpolate(mid, dift.shape[-2:], mode="bilinear")
    torch.testing.assert_close(both(pictures(1)), torch.cat((enlarged, dift), 1))
    assert both.stride == built(models, "sd_unet", blocks=("dift1",)).stride


def test_noise_has_the_published_strength_and_repeats(models: Path) -> None:
    options = {"blocks": ("dift1",), "timestep": 261, "noise_seed": 3}
    features = [built(models, "sd_unet", **options)(pictures(1)) for _ in range(2)]
    clean = built(models, "sd_unet", **{**options, "noise_seed": None})(pictures(1))
    other = built(models, "sd_unet", **{**options, "noise_seed": 4})(pictures(1))
    assert torch.equal(*features)
    assert not torch.equal(features[0], clean)
    assert not torch.equal(features[0], other)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = float(np.prod(1 - betas[:262]))
    assert noise_shares(models / "sd_unet", 261) == pytest.approx((kept**0.5, (1 - kept) ** 0.5), rel=1e-4)


def test_noise_is_the_same_for_every_picture_of_a_batch(models: Path) -> None:
    teacher = built(models, "sd_unet", timestep=500, noise_seed=3)
    twice = Pictures(pictures(1).rgb.expand(2, -1, -1, -1))
    first, second = teacher(twice)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_prompt_is_heard(models: Path) -> None:
    silent, told = (built(models, "sd_unet", prompt=prompt)(pictures(1)) for prompt in ("", "a b"))
    assert not torch.allclose(silent, told, rtol=1e-4, atol=1e-5)


def test_another_state_dict_of_the_same_unet_loads(models: Path, tmp_path: Path) -> None:
    original = load_file(models / "sd_unet/unet/diffusion_pytorch_model.safetensors")
    save_file({name: value * 0.5 for name, value in original.items()}, tmp_path / "clean.safetensors")
    changed = built(models, "sd_unet", unet_weights=str(tmp_path / "clean.safetensors"))
    plain = built(models, "sd_unet")
    assert changed.revision != plain.revision
    assert not torch.equal(changed(pictures(1)), plain(pictures(1)))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("clean.ckpt", r"clean.ckpt.*safetensors.*CompVis/cleandift"),
        ("nowhere.safetensors", r"no such file.*CompVis/cleandift"),
        ("other.safetensors", r"other.safetensors do not fit"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(models: Path, tmp_path: Path, file: str, said: str) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=said):
        built(models, "sd_unet", unet_weights=str(tmp_path / file))


# --- revisions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_revision_follows_the_weights_and_not_the_folder(models: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(models / name, tmp_path / "copy")
    here, moved = built(models, name), built(models, name, weights=str(copy))
    assert here.revision == moved.revision
    file = next((copy / PART[name]).glob("*.safetensors"))
    rewrite(file, {key: value + 1 for key, value in load_file(file).items()})
    assert built(models, name, weights=str(copy)).revision != here.revision


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dinov2", {"image_size": 56}),
        ("dinov2", {"dtype": "bf16"}),
        ("sd_unet", {"blocks": ("mid",)}),
        ("sd_unet", {"timestep": 1}),
        ("sd_unet", {"noise_seed": 1}),
        ("sd_unet", {"prompt": "a"}),
        ("segmentation", {"channels": 8}),
    ],
)
def test_a_revision_follows_every_option(models: Path, name: str, options: dict[str, Any]) -> None:
    assert built(models, name).revision != built(models, name, **options).revision


def test_revisions_of_all_teachers_differ(models: Path) -> None:
    assert len({built(models, name).revision for name in TEACHERS}) == len(TEACHERS)


# --- weights that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOUNDATION)
def test_without_weights_one_line_names_both_ways(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}'.*folder.*Hugging Face hub such as \S+/\S+ .*\(") as caught:
        build_teacher(TeacherConfig(name=name), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_hub_out_of_reach_is_one_line_that_names_both_ways(
    models: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = weights.library("huggingface_hub", "snapshot_download")

    def unreachable(repository: str, allow_patterns: list[str]) -> str:
        return hub(repository, allow_patterns=allow_patterns, cache_dir=tmp_path, endpoint="http://127.0.0.1:9")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(
        ConfigError, match=r"'owner/model'.*no such folder.*hub.*folder.*Hugging Face hub such"
    ) as caught:
        build_teacher(TeacherConfig(name=name, weights="owner/model"), CPU)
    assert "\n" not in str(caught.value)


def fake_hub(repositories: dict[str, Path], cache: Path) -> Callable[..., str]:
    """A hub that copies the files asked for out of folders."""

    def download(repository: str, allow_patterns: list[str]) -> str:
        root = repositories[repository]
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (cache / repository / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, cache / repository / name)
        return str(cache / repository)

    return download


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_model_on_the_hub_is_the_same_as_in_a_folder(
    models: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(models / name, tmp_path / "repository")
    unwanted_files = ("all.safetensors", "vae/model.fp16.safetensors", "unet/diffusion_pytorch_model.bin")
    for unwanted in unwanted_files:
        (tmp_path / "repository" / unwanted).parent.mkdir(exist_ok=True)
        (tmp_path / "repository" / unwanted).write_bytes(b"large")
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", fake_hub({"owner/model": tmp_path / "repository"}, tmp_path / "cache")
    )
    assert built(models, name, weights="owner/model").revision == built(models, name).revision
    fetched = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert not fetched & {Path(unwanted).name for unwanted in unwanted_files}


def test_a_state_dict_on_the_hub_is_fetched_by_its_file_name(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "repository").mkdir()
    shutil.copy(models / "sd_unet/unet/diffusion_pytorch_model.safetensors", tmp_path / "repository/clean.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", fake_hub({"owner/model": tmp_path / "repository"}, tmp_path / "cache")
    )
    changed = built(models, "sd_unet", unet_weights="owner/model/clean.safetensors")
    assert torch.equal(changed(pictures(1)), built(models, "sd_unet")(pictures(1)))


@pytest.mark.parametrize("name", FOUNDATION)
def test_damaged_folders_are_refused_by_what_is_wrong_with_them(models: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(models / name, tmp_path / "copy") / PART[name]
    config, (file,) = folder / "config.json", list(folder.glob("*.safetensors"))

    def refused(said: str) -> None:
        with pytest.raises(ConfigError, match=said) as caught:
            built(models, name, weights=str(tmp_path / "copy"))
        assert "\n" not in str(caught.value)

    whole, tensors = file.read_bytes(), load_file(file)
    file.unlink()  # others may have it mapped
    file.write_bytes(whole[: len(whole) // 2])
    refused("cannot be read")
    rewrite(file, dict(list(tensors.items())[1:]))
    refused("lack 1 of")
    file.rename(folder / "pytorch_model.bin")
    refused(r"pickled weights \(pytorch_model.bin\).*safetensors")
    (folder / "pytorch_model.bin").unlink()
    refused("no weights, expected")
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "_class_name": "Other", "model_type": "other"}))
    refused(r"needs a \w+ and .*config.json is of a [Oo]ther")
    config.write_text("{")
    refused("no JSON")
    config.unlink()
    refused(r"finds no .*config.json")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"model.ckpt is a file"):
        build_teacher(TeacherConfig(name="dinov2", weights=str(tmp_path / "model.ckpt")), CPU)


def test_an_image_size_that_does_not_fit_is_refused_at_the_first_picture(models: Path) -> None:
    with pytest.raises(ConfigError, match=r"image_size 50.*cells of 14"):
        built(models, "dinov2", image_size=50)(pictures())


@pytest.mark.parametrize(("name", "package"), [("sd_vae", "diffusers"), ("clip", "transformers")])
def test_without_the_extra_the_error_says_how_to_get_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gnfactor\[diffusion\]'"):
        build_teacher(TeacherConfig(name=name, weights=str(tmp_path)), CPU)


def test_a_torchvision_for_another_torch_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "diffusers.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.delitem(sys.modules, "diffusers", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match="torchvision"):
        build_teacher(TeacherConfig(name="sd_vae", weights=str(tmp_path)), CPU)
