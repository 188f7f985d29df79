"""pytorch3d: an optional raymarcher chosen by name, and an oracle where it is installed.

Where it is not, a made-up `pytorch3d.renderer` stands in its place. It was written from the documented formula: a walk
along each ray with opacities from 0 to 1, and nothing of ours in it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.batch import RayTargets
from gnfactor.config import load
from gnfactor.errors import ConfigError, MissingExtraError
from gnfactor.field.compositing import COMPOSITING, composite_by_pytorch3d
from gnfactor.field.network import FieldNetworkConfig
from gnfactor.field.neural_field import FieldConfig, FieldLossConfig, NeuralField
from gnfactor.field.rays import Span
from gnfactor.field.render import Background, FieldValues, Rendered, composite
from gnfactor.field.sampling import SamplingConfig
from gnfactor.geometry import (
    euler_from_rotation,
    quaternion_from_rotation,
    rotation_angle_deg,
    rotation_from_columns,
    rotation_from_euler,
    rotation_from_quaternion,
)
from perceiver.volume import Volume
from tests.strategies import generators, quaternions, random_rays, rotations

FEATURES = 3
PARTS = ("colour", "feature", "distance_m", "opacity")
laws = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""What the fixtures below put in place is the same for every example."""


class MadeUpRaymarcher:
    """One ray sample after the other: what is left of the ray, times the sample's opacity, goes into the sum."""

    def __call__(self, rays_densities: Tensor, rays_features: Tensor, eps: float = 1e-10) -> Tensor:
        assert rays_densities.shape == (*rays_features.shape[:-1], 1)
        left = torch.ones_like(rays_densities[..., 0, :])
        total = torch.zeros_like(rays_features[..., 0, :])
        for opacity, feature in zip(rays_densities.unbind(-2), rays_features.unbind(-2), strict=True):
            assert ((opacity >= 0) & (opacity <= 1)).all()
            total = total + left * opacity * feature
            left = left * (1 + eps - opacity)
        return torch.cat((total, 1 - (1 - rays_densities).prod(-2)), -1)


@pytest.fixture(params=["made up", "installed"])
def raymarcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pytorch3d.renderer`, made up or real."""
    if request.param == "installed":
        pytest.importorskip("pytorch3d", reason="pytorch3d is not installed (docs/install.md)")
        return
    package, renderer = ModuleType("pytorch3d"), ModuleType("pytorch3d.renderer")
    renderer.EmissionAbsorptionRaymarcher = MadeUpRaymarcher  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "pytorch3d", package)
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", renderer)


@pytest.fixture
def transforms() -> SimpleNamespace:
    """pytorch3d's conversions of rotations; quaternions have the real part first."""
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed (docs/install.md)")
    from pytorch3d import transforms  # pyright: ignore[reportMissingImports]

    return SimpleNamespace(**{name: getattr(transforms, name) for name in dir(transforms)})


def samples(
    generator: torch.Generator, magnitude: float = 1.0, dtype: torch.dtype = torch.float64
) -> tuple[FieldValues, Tensor, Span, Background]:
    """Four rays with seven samples each, every third sample of no density at all."""

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    density = 10**magnitude * drawn(4, 7)
    density[:, ::3] = 0
    values = FieldValues(density, drawn(4, 7, 3), drawn(4, 7, FEATURES))
    distance_m = (0.5 + drawn(4, 7)).sort(-1).values
    span = Span(torch.full((4,), 0.5, dtype=dtype), torch.full((4,), 1.6, dtype=dtype))
    return values, distance_m, span, Background(drawn(4, 3), drawn(4, FEATURES))


def agree(found: Rendered, expected: Rendered, atol: float) -> None:
    for part in PARTS:
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), rtol=0, atol=atol)


@pytest.mark.usefixtures("raymarcher")
@laws
@given(generators(), st.floats(-3, 6))
def test_both_ways_of_compositing_agree_from_thin_air_to_stone(generator: torch.Generator, magnitude: float) -> None:
    given_ = samples(generator, magnitude)
    found, weight = composite_by_pytorch3d(*given_)
    expected, expected_weight = composite(*given_)
    agree(found, expected, 1e-12)
    assert torch.equal(weight, expected_weight)


@pytest.mark.usefixtures("raymarcher")
@laws
@given(generators(), st.floats(-2, 2))
def test_both_ways_of_compositing_have_the_same_gradients(generator: torch.Generator, magnitude: float) -> None:
    values, distance_m, span, behind = samples(generator, magnitude)
    leaves = (values.density, values.colour, values.feature, behind.colour, behind.feature)

    def gradients(by: Callable[..., tuple[Rendered, Tensor]]) -> list[Tensor]:
        fresh = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        rendered, weight = by(FieldValues(*fresh[:3]), distance_m, span, Background(*fresh[3:]))
        assert weight.requires_grad == (by is composite)
        asked = torch.Generator().manual_seed(0)
        total = torch.zeros((), dtype=torch.float64)
        for part in (getattr(rendered, name) for name in PARTS):
            total = total + (part * torch.randn(part.shape, generator=asked, dtype=part.dtype)).sum()
        total.backward()
        return [leaf.grad for leaf in fresh if leaf.grad is not None]

    for found, expected in zip(gradients(composite_by_pytorch3d), gradients(composite), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("raymarcher")
def test_a_wall_of_infinite_density_has_finite_gradients() -> None:
    values, distance_m, span, behind = samples(torch.Generator().manual_seed(0), dtype=torch.float32)
    density = values.density.clone()
    density[:, 2] = 1e9  # stops the whole ray in single precision
    density.requires_grad_()
    rendered, _ = composite_by_pytorch3d(replace(values, density=density), distance_m, span, behind)
    torch.testing.assert_close(rendered.opacity, torch.ones(4))
    sum(getattr(rendered, part).sum() for part in PARTS).backward()
    assert density.grad is not None
    assert density.grad.isfinite().all()


@pytest.mark.usefixtures("raymarcher")
@pytest.mark.parametrize("autocast", [False, True])
def test_pytorch3d_gets_single_precision_at_least(autocast: bool) -> None:
    values, distance_m, span, behind = samples(torch.Generator().manual_seed(1), dtype=torch.float32)
    rough = FieldValues(values.density.bfloat16(), values.colour.bfloat16(), values.feature.bfloat16())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, _ = composite_by_pytorch3d(rough, distance_m, span, behind)
    assert found.colour.dtype == torch.float32
    agree(found, composite(rough, distance_m, span, behind)[0], 1e-6)


def field(compositing: str) -> NeuralField:
    torch.manual_seed(0)
    return NeuralField(
        FieldConfig(
            network=FieldNetworkConfig(width=8, features=FEATURES, blocks=1, place_blocks=1),
            sampling=SamplingConfig(coarse=6, importance=3, guided=3),
            loss=FieldLossConfig(total=1.0, feature=0.1, depth=0.5),
            compositing=compositing,
        ),
        BOX,
        4,
    )


BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))


def scene_with_views() -> tuple[Volume, RayTargets]:
    generator = torch.Generator().manual_seed(3)
    volume = Volume(torch.randn((1, 4, 3, 3, 3), generator=generator), None, None)
    return volume, random_rays(1, 2, 8, BOX, generator, FEATURES)


@pytest.mark.usefixtures("raymarcher")
def test_a_field_has_the_same_loss_and_pictures_by_either() -> None:
    volume, views = scene_with_views()
    losses = [field(name).loss(volume, views) for name in COMPOSITING]
    assert list(losses[0]) == ["field/colour", "field/feature", "field/depth"]
    for name, term in losses[0].items():
        torch.testing.assert_close(losses[1][name], term, rtol=1e-5, atol=1e-6)
    shown = [
        field(name).render_view(volume, views.intrinsics[0, 0], views.world_from_camera[0, 0], 4, 3)
        for name in COMPOSITING
    ]
    for part in ("colour", "depth_m", "feature", "opacity"):
        torch.testing.assert_close(getattr(shown[1], part), getattr(shown[0], part), rtol=1e-5, atol=1e-5)


def test_without_pytorch3d_only_the_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.delitem(sys.modules, "pytorch3d.renderer", raising=False)
    built = field("pytorch3d")  # a policy that acts needs no picture
    volume, views = scene_with_views()
    with pytest.raises(
        MissingExtraError, match=r"'pytorch3d' is needed .* --no-build-isolation 'git\+https://.*@\w{40}"
    ):
        built.loss(volume, views)
    field("ours").loss(volume, views)


def test_a_pytorch3d_without_its_compiled_part_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = ModuleType("pytorch3d")
    package.__path__ = [str(tmp_path)]
    (tmp_path / "renderer.py").write_text("from pytorch3d import _C\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "pytorch3d", package)
    monkeypatch.delitem(sys.modules, "pytorch3d.renderer", raising=False)
    with pytest.raises(ConfigError, match=r"installed but cannot be imported .*_C.* policy\.field\.compositing=ours"):
        composite_by_pytorch3d(*samples(torch.Generator().manual_seed(0)))


def test_it_is_chosen_in_the_configuration() -> None:
    assert FieldConfig().compositing == "ours"
    chosen = load(["policy.field.compositing=pytorch3d"]).policy.field
    assert chosen is not None
    assert chosen.compositing == "pytorch3d"
    with pytest.raises(ConfigError, match=r"policy\.field\.compositing is 'nerfacc'; known: ours, pytorch3d"):
        FieldConfig(compositing="nerfacc")


@laws
@given(quaternions())
def test_quaternions_agree_with_pytorch3d(transforms: SimpleNamespace, quaternion_xyzw: Tensor) -> None:
    rotation = transforms.quaternion_to_matrix(quaternion_xyzw.roll(1, -1))
    torch.testing.assert_close(rotation_from_quaternion(quaternion_xyzw), rotation, rtol=0, atol=1e-12)
    found = quaternion_from_rotation(rotation)
    expected = transforms.matrix_to_quaternion(rotation).roll(-1, -1)
    assert min((found - expected).norm(), (found + expected).norm()) < 1e-7  # half turns have two quaternions


@laws
@given(generators())
def test_euler_angles_agree_with_pytorch3d(transforms: SimpleNamespace, generator: torch.Generator) -> None:
    """Ours turn about the fixed x, y, z axes, which is Z, then Y, then X about the axes that turn along."""
    limits = torch.tensor([math.pi, 1.5, math.pi], dtype=torch.float64)  # short of gimbal lock
    angles = limits * (2 * torch.rand((5, 3), generator=generator, dtype=torch.float64) - 1)
    rotation = transforms.euler_angles_to_matrix(angles.flip(-1), "ZYX")
    torch.testing.assert_close(rotation_from_euler(angles), rotation, rtol=0, atol=1e-12)
    expected = transforms.matrix_to_euler_angles(rotation, "ZYX").flip(-1)
    torch.testing.assert_close(euler_from_rotation(rotation), expected, rtol=0, atol=1e-9)


@laws
@given(generators())
def test_two_columns_agree_with_pytorch3ds_six_numbers(transforms: SimpleNamespace, generator: torch.Generator) -> None:
    """Its six numbers are two rows."""
    six = torch.randn((5, 6), generator=generator, dtype=torch.float64)
    found = rotation_from_columns(six.view(5, 2, 3).mT)
    torch.testing.assert_close(found.mT, transforms.rotation_6d_to_matrix(six), rtol=0, atol=1e-9)


@laws
@given(rotations(), rotations())
def test_the_angle_between_rotations_is_the_length_of_pytorch3ds_axis_angle(
    transforms: SimpleNamespace, first: Tensor, second: Tensor
) -> None:
    between = transforms.matrix_to_axis_angle(first.mT @ second).norm()
    assert math.isclose(rotation_angle_deg(first, second).item(), math.degrees(between.item()), abs_tol=1e-4)
