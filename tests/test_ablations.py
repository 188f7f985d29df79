"""Each switch of the field, set by configuration alone, switches off what it names and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gnfactor.batch import Batch
from gnfactor.config import load
from gnfactor.field.network import FieldNetwork
from gnfactor.model import Policy
from tests.strategies import random_batch, random_rays
from tests.synthetic import TINY

FIELD = """\
policy:
  cameras: [front, wrist]
  field:
    network: {width: 12, blocks: 2, place_blocks: 2, features: 4}
    sampling: {coarse: 6, importance: 3, guided: 3}
    loss: {total: 1.0, colour: 1.0, feature: 0.5, depth: 0.25}
"""
FEATURES = 4
HEAD = {"translation", "rotation", "gripper", "collision"}
FIELD_TERMS = {"field/colour", "field/feature", "field/depth"}
ROWS = {"colour": slice(0, 3), "density": slice(3, 4), "feature": slice(4, None)}
"""Rows of the network's last layer."""


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "field.yaml").write_text(FIELD)
    return [str(tmp_path / "tiny.yaml"), str(tmp_path / "field.yaml")]


def made(args: list[str], *overrides: str) -> Policy:
    """The policy that the command line describes, always from the same seed, no layer of it at zero."""
    torch.manual_seed(0)
    policy = Policy(load([*args, *overrides]).policy)
    if policy.field is not None:
        torch.manual_seed(1)
        for block in policy.field.network.blocks:  # they begin as nothing, which hides what lies before them
            torch.nn.init.normal_(block.second.weight, std=0.3)
        with torch.no_grad():
            policy.field.network.outward.bias[3] = 2.0  # so that there is something everywhere
    return policy


def batch_for(policy: Policy) -> Batch:
    generator = torch.Generator().manual_seed(2)
    box = policy.config.grid.box
    batch = replace(random_batch(2, box, generator), rays=random_rays(2, 2, 6, box, generator, FEATURES))
    policy.instructions.learn(batch.inputs.instructions)
    return batch


def losses(policy: Policy) -> dict[str, Tensor]:
    """Terms of the same batch with the same random numbers, and their gradients in the parameters."""
    batch = batch_for(policy)
    torch.manual_seed(3)
    terms = policy.loss(batch, torch.Generator().manual_seed(4))
    terms["total"].backward()
    return {name: term.detach() for name, term in terms.items()}


def last_layer(policy: Policy) -> FieldNetwork:
    assert policy.field is not None
    return policy.field.network


def reached(policy: Policy) -> set[str]:
    """Which rows of the field's last layer got a gradient."""
    gradient = last_layer(policy).outward.weight.grad
    assert gradient is not None
    return {name for name, rows in ROWS.items() if gradient[rows].any()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], names: set[str]) -> None:
    for name in names:
        assert torch.equal(found[name], expected[name]), name


def test_all_on_every_term_is_there_and_reaches_its_rows(base: list[str]) -> None:
    policy = made(base)
    assert losses(policy).keys() == HEAD | FIELD_TERMS | {"total"}
    assert reached(policy) == set(ROWS)


def test_no_field_leaves_the_policy_bit_for_bit_what_it_is_without_one(base: list[str]) -> None:
    without, never, with_field = (
        made(base, "policy.field=null"),
        made([base[0], "policy.cameras=[front,wrist]"]),
        made(base),
    )
    assert without.config == never.config
    terms = losses(without)
    assert terms.keys() == HEAD | {"total"}
    assert_equal(terms, losses(never), HEAD | {"total"})
    assert_equal(terms, losses(with_field), HEAD)
    own = dict(without.named_parameters())
    assert own.keys() == {name for name, _ in with_field.named_parameters() if not name.startswith("field.")}
    for name, parameter in own.items():
        assert torch.equal(parameter, with_field.get_parameter(name)), name
        other = never.get_parameter(name).grad
        assert (parameter.grad is None) == (other is None)
        assert parameter.grad is None or torch.equal(parameter.grad, other), name


def test_the_field_teaches_the_encoder(base: list[str]) -> None:
    with_field, without = made(base), made(base, "policy.field=null")
    losses(with_field)
    losses(without)
    for (name, one), other in zip(with_field.encoder.named_parameters(), without.encoder.parameters(), strict=True):
        assert not torch.equal(one.grad, other.grad), name


def test_a_field_alone_has_the_fields_terms_and_no_action(base: list[str]) -> None:
    alone = made(base, "policy.head=null")
    alone.load_state_dict({name: value for name, value in made(base).state_dict().items() if name[:5] != "head."})
    terms = losses(alone)
    assert terms.keys() == FIELD_TERMS | {"total"}
    assert_equal(terms, losses(made(base)), FIELD_TERMS)


@pytest.mark.parametrize(
    ("switch", "silent"),
    [("colour", {"colour"}), ("feature", {"feature"}), ("depth", set[str]())],
)
def test_a_weight_of_zero_takes_its_term_away(switch: str, silent: set[str], base: list[str]) -> None:
    whole, policy = made(base), made(base, f"policy.field.loss.{switch}=0")
    before, after = losses(whole), losses(policy)
    assert before.keys() - after.keys() == {f"field/{switch}"}
    assert_equal(after, before, HEAD | FIELD_TERMS - {f"field/{switch}"})
    assert reached(policy) == set(ROWS) - silent
    assert set(ROWS) - reached(policy) == silent


@pytest.mark.parametrize(("switch", "silent"), [("colour", slice(0, 3)), ("feature", slice(3, None))])
def test_a_term_that_is_off_teaches_the_learned_background_nothing(switch: str, silent: slice, base: list[str]) -> None:
    policy = made(base, "policy.field.background=learned", f"policy.field.loss.{switch}=0")
    losses(policy)
    assert policy.field is not None
    assert policy.field.background is not None
    (*_, last) = (weight.grad for name, weight in policy.field.background.named_parameters() if name.endswith("weight"))
    assert last is not None
    assert not last[silent].any()
    assert last.any()


def test_with_depth_alone_only_density_is_learned(base: list[str]) -> None:
    policy = made(base, "policy.field.loss.colour=0", "policy.field.loss.feature=0")
    assert losses(policy).keys() == HEAD | {"field/depth", "total"}
    assert reached(policy) == {"density"}


def test_without_features_the_network_needs_none(base: list[str]) -> None:
    policy = made(base, "policy.field.loss.feature=0", "policy.field.network.features=0")
    assert losses(policy).keys() == HEAD | {"field/colour", "field/depth", "total"}
    assert last_layer(policy).outward.weight.shape[0] == 4


@pytest.mark.parametrize("name", ["colour", "feature", "depth"])
def test_a_weight_scales_its_term_and_no_other(name: str, base: list[str]) -> None:
    weight = {"colour": 1.0, "feature": 0.5, "depth": 0.25}[name]
    before, after = losses(made(base)), losses(made(base, f"policy.field.loss.{name}={2 * weight}"))
    assert torch.equal(after[f"field/{name}"], 2 * before[f"field/{name}"])
    assert_equal(after, before, HEAD | FIELD_TERMS - {f"field/{name}"})


def test_the_total_weight_scales_all_of_the_fields_terms_and_none_of_the_heads(base: list[str]) -> None:
    before, after = losses(made(base)), losses(made(base, "policy.field.loss.total=2.0"))
    for name in FIELD_TERMS:
        assert torch.equal(after[name], 2 * before[name])
    assert_equal(after, before, HEAD)


def test_the_coarse_passs_weight_adds_its_errors_to_the_fine_ones(base: list[str]) -> None:
    none, half, whole = (losses(made(base, f"policy.field.loss.coarse={weight}")) for weight in (0.0, 0.5, 1.0))
    for name in FIELD_TERMS:
        assert none[name] < half[name] < whole[name]
        torch.testing.assert_close(half[name], (none[name] + whole[name]) / 2)
    assert_equal(none, whole, HEAD)
    assert_equal(losses(made(base)), whole, FIELD_TERMS)  # what is published


def asked(policy: Policy) -> list[Tensor]:
    """Where the field's network was asked, (batch, rays, samples, 3) each time."""
    positions: list[Tensor] = []
    handle = last_layer(policy).register_forward_pre_hook(lambda _, given: positions.append(given[0].detach()))
    losses(policy)
    handle.remove()
    return positions


def test_without_guided_samples_the_others_stay_where_they_are(base: list[str]) -> None:
    whole, without = asked(made(base)), asked(made(base, "policy.field.sampling.guided=0"))
    assert [points.shape[-2] for points in whole] == [6, 6]
    assert [points.shape[-2] for points in without] == [6, 3]
    assert torch.equal(whole[0], without[0])
    assert torch.equal(whole[1][..., :3, :], without[1])
    assert_equal(losses(made(base, "policy.field.sampling.guided=0")), losses(made(base)), HEAD)


def test_without_any_further_samples_the_field_is_asked_once_and_the_head_stays(base: list[str]) -> None:
    off = ("policy.field.sampling.guided=0", "policy.field.sampling.importance=0")
    assert [points.shape[-2] for points in asked(made(base, *off))] == [6]
    assert_equal(losses(made(base, *off)), losses(made(base)), HEAD)


def test_guiding_by_the_measured_depth_moves_the_guided_samples_alone(base: list[str]) -> None:
    rendered, measured = asked(made(base)), asked(made(base, "policy.field.sampling.guide=measured"))
    assert torch.equal(rendered[0], measured[0])
    assert torch.equal(rendered[1][..., :3, :], measured[1][..., :3, :])
    assert not torch.isclose(rendered[1][..., 3:, :], measured[1][..., 3:, :]).all(-1).any()


def test_without_the_skip_connection_the_field_and_the_encoder_are_the_same(base: list[str]) -> None:
    whole, without = made(base), made(base, "policy.head.network.skip=false")
    narrowed = "head.network.final.weight"
    channels = without.encoder.channels
    assert whole.get_parameter(narrowed).shape[1] == without.get_parameter(narrowed).shape[1] + channels
    kept = {name: value for name, value in whole.state_dict().items() if name != narrowed}
    without.load_state_dict(kept | {narrowed: whole.state_dict()[narrowed][:, channels:]})
    before, after = losses(whole), losses(without)
    assert after.keys() == before.keys()
    assert_equal(after, before, FIELD_TERMS)
    assert not torch.equal(after["translation"], before["translation"])


def test_more_views_of_a_scene_are_more_rays_of_the_same_kind(base: list[str]) -> None:
    """The number of views per step is the batch's own: two of the same view weigh as much as one."""
    policy = made(base)
    batch = batch_for(policy)
    assert batch.rays is not None
    twice = {
        name: value[:, :1].repeat_interleave(2, 1) if isinstance(value, Tensor) else value
        for name, value in vars(batch.rays).items()
    }
    once = {name: value[:, :1] for name, value in vars(batch.rays).items()}
    one, two = (policy.loss(replace(batch, rays=replace(batch.rays, **views))) for views in (once, twice))
    for name in FIELD_TERMS:
        torch.testing.assert_close(one[name], two[name])
