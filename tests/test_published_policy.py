"""The published networks' weights give the published outputs; every published key has its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gnfactor.encoder import EncoderConfig, build_encoder
from gnfactor.errors import CheckpointError
from gnfactor.field.network import FieldNetwork, FieldNetworkConfig
from gnfactor.published import load_field_weights, load_policy_weights, our_name
from perceiver.perceiver_io import PerceiverConfig
from perceiver.q_head import InputSizes, QHead, QHeadConfig

KINDS = {"gnfactor": "unet", "peract": "pointwise"}

FIELD_KEYS = (
    "_neural_renderer.module.nerf_model.code._freqs",
    "_neural_renderer.module.nerf_model.mlp_fine.lin_in.bias",
)


def small(name: str) -> tuple[nn.Module, QHead]:
    encoder = build_encoder(EncoderConfig(kind=KINDS[name], channels=16), inputs=10)
    perceiver = PerceiverConfig(
        latents=32, latent_width=48, depth=2, latent_heads=4, latent_head_width=16, cross_head_width=16
    )
    config = QHeadConfig(width=16, hidden=(256, 16), perceiver=perceiver)
    return encoder.eval(), QHead(config, (20, 20, 20), InputSizes(16, encoder.rank, 512, 77)).eval()


def full(name: str) -> tuple[nn.Module, QHead]:
    """Full size, on a device that holds shapes only."""
    width = {"gnfactor": 128, "peract": 64}[name]
    with torch.device("meta"):
        encoder = build_encoder(EncoderConfig(kind=KINDS[name], channels=width), inputs=10)
        config = QHeadConfig(width=width, hidden=(256, width))
        return encoder, QHead(config, (100, 100, 100), InputSizes(width, encoder.rank, 512, 77))


def weights(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix("weights/"): tensor for key, tensor in tensors.items() if key.startswith("weights/")}


@pytest.mark.parametrize("name", KINDS)
def test_published_weights_give_the_published_outputs(name: str, published: Path) -> None:
    tensors = load_file(published / f"{name}_small.safetensors")
    encoder, head = small(name)
    load_policy_weights(encoder, head, weights(tensors))
    with torch.no_grad():
        volume = encoder(tensors["input/voxels"])
        q = head(volume, tensors["input/language_tokens"], tensors["input/proprioception"])
    outputs = {
        "translation_logits": q.translation[:, None],
        "rotation_logits": q.rotation,
        "gripper_logits": q.gripper,
        "collision_logits": q.collision,
    }
    if name == "gnfactor":
        outputs["volume"] = volume.expand()
    assert outputs.keys() == {key.removeprefix("output/") for key in tensors if key.startswith("output/")}
    for key, output in outputs.items():
        torch.testing.assert_close(output, tensors[f"output/{key}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "count"), [("gnfactor", 41_769_613), ("peract", 33_240_669)])
def test_full_size_networks_have_the_published_number_of_parameters(name: str, count: int) -> None:
    assert sum(parameter.numel() for module in full(name) for parameter in module.parameters()) == count


@pytest.mark.parametrize("prefix", ["", "_qnet.", "_qnet.module."])
@pytest.mark.parametrize("name", KINDS)
def test_every_published_key_is_used_or_ignored_by_name(name: str, prefix: str, published: Path) -> None:
    lines = (published / f"{name}_state_dict.tsv").read_text().splitlines()[1:]
    shapes = {key: [int(n) for n in shape.split("x") if n] for key, shape in (line.split("\t") for line in lines)}
    with torch.device("meta"):
        kinds = {key: torch.int64 if key.endswith("num_batches_tracked") else torch.float32 for key in shapes}
        tensors = {prefix + key: torch.empty(shape, dtype=kinds[key]) for key, shape in shapes.items()}
        tensors |= {key: torch.empty(1) for key in ("_voxelizer._index_grid", *FIELD_KEYS)}
    load_policy_weights(*full(name), tensors)
    ignored = {key for key in shapes if our_name(key) is None}
    assert ignored == {f"{pool}.pos_{axis}" for pool in ("ss0", "ss1", "ss_final") for axis in "xyz"}
    kept = [our_name(key) for key in shapes if key not in ignored]
    assert len(set(kept)) == len(kept)


def test_weights_of_another_network_are_refused() -> None:
    encoder, head = small("peract")
    with pytest.raises(CheckpointError, match=r"'backbone.weight' is in neither"):
        load_policy_weights(encoder, head, {"backbone.weight": torch.zeros(1)})


def test_missing_left_over_and_misshapen_weights_are_named(published: Path) -> None:
    tensors = weights(load_file(published / "peract_small.safetensors"))
    encoder, head = small("peract")
    without = {key: tensor for key, tensor in tensors.items() if key != "latents"}
    with pytest.raises(CheckpointError, match=r"lacks head.perceiver.latents;"):
        load_policy_weights(encoder, head, without)
    with pytest.raises(CheckpointError, match=r"no place for .*: encoder.map.bias;"):
        load_policy_weights(encoder, head, tensors | {"encoder_3d.conv_out.bias": torch.zeros(16)})
    with pytest.raises(CheckpointError, match=r"shapes of head.perceiver.latents \(\[1, 48\], the model's \[32, 48\]"):
        load_policy_weights(encoder, head, tensors | {"latents": torch.zeros(1, 48)})


def field_tensors(published: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Made-up weights under every key of the released field, at full size, among some of a policy network's."""
    generator = torch.Generator().manual_seed(0)
    lines = (published / "field_state_dict.tsv").read_text().splitlines()[1:]
    tensors: dict[str, torch.Tensor] = {"_qnet.latents": torch.zeros(2048, 512)}
    for key, shape in (line.split("\t") for line in lines):
        twin = f"{prefix}nerf_model.{key.replace('mlp_fine', 'mlp_coarse')}"
        made = torch.randn([int(n) for n in shape.split("x")], generator=generator)
        tensors[f"{prefix}nerf_model.{key}"] = tensors.get(twin, made)
    frequencies = 1.5 * 2.0 ** torch.arange(6)
    tensors[f"{prefix}nerf_model.code._freqs"] = frequencies.repeat_interleave(2).view(1, 12, 1)
    return tensors


@pytest.mark.parametrize("prefix", ["_neural_renderer.", "_neural_renderer.module."])
def test_every_weight_of_the_released_field_has_its_place_in_ours(prefix: str, published: Path) -> None:
    network = FieldNetwork(FieldNetworkConfig(), channels=128)
    tensors = field_tensors(published, prefix)
    load_field_weights(network, tensors)
    before = f"{prefix}nerf_model.mlp_fine."
    assert torch.equal(network.inward.weight, tensors[f"{before}lin_in.weight"])
    assert torch.equal(network.place[2].bias, tensors[f"{before}lin_z.2.bias"])
    assert torch.equal(network.blocks[4].first.weight, tensors[f"{before}blocks.4.fc_0.weight"])
    assert torch.equal(network.blocks[4].second.bias, tensors[f"{before}blocks.4.fc_1.bias"])
    assert torch.equal(network.outward.weight, tensors[f"{before}lin_out.weight"])


def test_a_field_that_is_not_the_released_one_is_refused(published: Path) -> None:
    network = FieldNetwork(FieldNetworkConfig(), channels=128)
    prefix = "_neural_renderer.nerf_model."
    tensors = field_tensors(published, "_neural_renderer.")
    other = tensors | {f"{prefix}mlp_fine.lin_in.bias": torch.ones(512)}
    with pytest.raises(CheckpointError, match=r"coarse and fine field, .* differ in inward.bias"):
        load_field_weights(network, other)
    with pytest.raises(CheckpointError, match=r"'.*mlp_fine.scale_z.0.bias' is not in GNFactor's"):
        load_field_weights(network, tensors | {f"{prefix}mlp_fine.scale_z.0.bias": torch.ones(512)})
    with pytest.raises(CheckpointError, match=r"lacks blocks.0.first.bias"):
        load_field_weights(network, {"_qnet.latents": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"shapes of inward.weight \(\[512, 42\], the model's \[512, 39\]"):
        load_field_weights(FieldNetwork(FieldNetworkConfig(directions=False), channels=128), tensors)
