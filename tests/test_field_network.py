"""The field's network is the published one, and its parts do what they are named for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from gnfactor.errors import ConfigError
from gnfactor.field.network import DENSITIES, FieldNetwork, FieldNetworkConfig, encode_position
from gnfactor.published import load_field_weights
from tests.strategies import generators

SMALL = FieldNetworkConfig(width=16, features=5)
CHANNELS = 6


def made(config: FieldNetworkConfig) -> FieldNetwork:
    torch.manual_seed(0)
    return FieldNetwork(config, CHANNELS)


def points(count: int = 11) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn((count, 3), generator=generator), dim=-1)
    return torch.rand((count, 3), generator=generator), direction, torch.randn((count, CHANNELS), generator=generator)


def test_published_weights_give_the_published_outputs(published: Path) -> None:
    tensors = load_file(published / "pieces.safetensors")
    network = FieldNetwork(FieldNetworkConfig(width=32, features=12), channels=8)
    before = "field/weights/"
    weights = {key.removeprefix(before): tensor for key, tensor in tensors.items() if key.startswith(before)}
    copies = ("mlp_coarse", "mlp_fine")  # one network, saved twice
    released = {f"_neural_renderer.nerf_model.{copy}.{key}": t for copy in copies for key, t in weights.items()}
    load_field_weights(network, released)
    raw = network(tensors["field/canonical_xyz"], tensors["field/directions"], tensors["field/latent"])
    largest = tensors["field/raw_output"].abs().max().item()
    torch.testing.assert_close(raw, tensors["field/raw_output"], rtol=0, atol=1e-5 * largest)
    encoded = encode_position(tensors["field/canonical_xyz"], 6, 1.5)
    torch.testing.assert_close(encoded, tensors["field/encoding"], rtol=0, atol=1e-5)


def test_the_default_has_the_published_number_of_parameters() -> None:
    network = FieldNetwork(FieldNetworkConfig(), channels=128)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_111_428


@given(generators(), st.integers(0, 4), st.sampled_from([0.5, 1.5, 3.14]))
def test_the_encoding_agrees_with_plain_loops(generator: torch.Generator, octaves: int, lowest: float) -> None:
    position = torch.rand(3, generator=generator)
    expected = position.tolist()
    for octave in range(octaves):
        angle = [lowest * 2**octave * value for value in position.tolist()]
        expected += torch.tensor(angle).sin().tolist() + torch.tensor(angle).cos().tolist()
    torch.testing.assert_close(encode_position(position, octaves, lowest), torch.tensor(expected), rtol=0, atol=1e-5)


def test_a_new_network_passes_its_input_through_the_blocks_unchanged() -> None:
    network = made(SMALL)
    position, direction, place = points()
    inward = network.inward(torch.cat((encode_position(position, 6, 1.5), direction), -1))
    passed = inward + sum(layer(place) for layer in network.place)
    torch.testing.assert_close(network(position, direction, place), network.outward(passed.relu()))


def test_without_directions_all_sides_look_the_same() -> None:
    position, direction, place = points()
    for directions in (True, False):
        network = made(replace(SMALL, directions=directions))
        same = torch.equal(network(position, direction, place), network(position, -direction, place))
        assert same is not directions


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_densities_and_colours_in_single_precision(density: str, dtype: torch.dtype) -> None:
    raw = 50 * torch.randn((40, 9), generator=torch.Generator().manual_seed(2)).to(dtype)
    values = made(replace(SMALL, density=density)).values(raw)
    assert {part.dtype for part in (values.density, values.colour, values.feature)} == {torch.float32}
    assert (values.density >= 0).all()
    assert values.density.isfinite().all()
    assert ((values.colour >= 0) & (values.colour <= 1)).all()
    assert torch.equal(values.feature, raw[:, 4:].float())


def test_a_field_without_features_has_none() -> None:
    network = made(replace(SMALL, features=0))
    assert network.values(network(*points())).feature.shape == (11, 0)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"density": "sigmoid"}, "density is 'sigmoid'; known: relu"),
        ({"width": 0}, "width"),
        ({"blocks": 0}, "blocks"),
        ({"place_blocks": 0}, "place_blocks"),
        ({"place_blocks": 6}, "more than blocks"),
        ({"features": -1}, "features"),
        ({"frequencies": -1}, "frequencies"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        replace(SMALL, **changes)
