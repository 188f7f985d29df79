"""Volume rendering of callable fields: what any of them must obey."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.field.rays import Rays, Span, clip_to_box, rays_through
from gnfactor.field.render import Background, FieldValues, Rendered, composite, ray_weights, render, spacing
from gnfactor.field.sampling import SamplingConfig
from gnfactor.geometry import compose, inverse_pose, rotation_angle_deg, transform_points
from tests.strategies import generators, looking_at, poses

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
FEATURES = 4
PARTS = ("colour", "feature", "distance_m", "opacity")


def nothing(rays: Rays) -> Background:
    return Background(torch.zeros_like(rays.origin), rays.origin.new_zeros(*rays.cosine.shape, FEATURES))


def rays_of_a_view(generator: torch.Generator, count: int = 30, dtype: torch.dtype = torch.float32) -> Rays:
    """Rays of one camera in front of the box, through pixels anywhere in its picture."""
    intrinsics = torch.tensor([[40.0, 0, 7.5], [0, 50.0, 7.5], [0, 0, 1]], dtype=dtype)
    eye = torch.tensor([1.7, 0.4, 1.9], dtype=dtype) + 0.2 * torch.randn(3, generator=generator, dtype=dtype)
    pose = looking_at(eye, torch.tensor([0.2, 0.0, 1.0], dtype=dtype))
    return rays_through(15 * torch.rand((count, 2), generator=generator, dtype=dtype), intrinsics, pose)


def smooth(points: Tensor, direction: Tensor) -> FieldValues:
    """Any field: density, colour and feature wave through the world and with the direction."""
    waves = torch.sin(points * points.new_tensor([9.0, 7.0, 5.0]) + points.roll(1, -1) * 4)
    return FieldValues(
        density=20 * torch.relu(waves.prod(-1)),
        colour=torch.sigmoid(2 * waves + direction[..., None, :]),
        feature=torch.cat((waves, waves.sum(-1, keepdim=True)), -1),
    )


def network(width: int = 16) -> tuple[torch.nn.Module, Callable[[Tensor, Tensor], FieldValues]]:
    """A small network as a field, in float64."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 4 + FEATURES)
    ).double()

    def field(points: Tensor, direction: Tensor) -> FieldValues:
        out = layers(torch.cat((4 * points, direction[..., None, :].expand_as(points)), -1))
        return FieldValues(8 * torch.nn.functional.softplus(out[..., 3]), out[..., :3].sigmoid(), out[..., 4:])

    return layers, field


@given(generators(), st.floats(-3, 6))
def test_weights_are_never_negative_and_sum_to_at_most_one(generator: torch.Generator, magnitude: float) -> None:
    density = 10**magnitude * torch.rand((6, 20), generator=generator) ** 3
    density[:, ::4] = 0
    weight = ray_weights(density, 0.1 * torch.rand((6, 20), generator=generator))
    assert (weight >= 0).all()
    assert (weight.sum(-1) <= 1 + 1e-6).all()


def test_a_thin_sample_before_an_opaque_one_keeps_its_weight() -> None:
    weight = ray_weights(torch.tensor([0.1, 1e6, 1.0]), torch.ones(3))
    torch.testing.assert_close(weight, torch.tensor([1 - math.exp(-0.1), math.exp(-0.1), 0.0]))


@given(generators())
def test_weights_agree_with_a_walk_along_the_ray(generator: torch.Generator) -> None:
    density, length = (torch.rand((3, 7), generator=generator).double() * scale for scale in (30, 0.2))
    for found, densities, lengths in zip(ray_weights(density, length), density.tolist(), length.tolist(), strict=True):
        left = 1.0
        for weight, one_density, one_length in zip(found.tolist(), densities, lengths, strict=True):
            stopped = left * (1 - math.exp(-one_density * one_length))
            assert weight == pytest.approx(stopped, abs=1e-12)
            left -= stopped


@given(generators())
def test_the_samples_lengths_fill_the_ray_from_the_first_one_on(generator: torch.Generator) -> None:
    distance_m = torch.rand((5, 9), generator=generator).sort(-1).values
    length_m = spacing(distance_m, torch.full((5,), 1.5))
    assert (length_m >= 0).all()
    torch.testing.assert_close(length_m.sum(-1), 1.5 - distance_m[:, 0])


def test_published_compositing_comes_out(published: Path) -> None:
    tensors = {
        key.removeprefix("composite/"): tensor
        for key, tensor in load_file(published / "pieces.safetensors").items()
        if key.startswith("composite/")
    }
    distance_m = tensors["depths_m"]
    values = FieldValues(tensors["density"], tensors["rgb"], tensors["features"])
    span = Span(distance_m[:, 0], tensors["far_m"][:, 0])
    black = Background(torch.zeros(6, 3), torch.zeros(6, 12))
    rendered, weight = composite(values, distance_m, span, black)
    stopped_m = rendered.distance_m - (1 - rendered.opacity) * span.far_m  # what is left counts for nothing there
    for name, found in (
        ("weights", weight),
        ("rgb", rendered.colour),
        ("features", rendered.feature),
        ("depth_m", stopped_m),
    ):
        torch.testing.assert_close(found, tensors[f"out_{name}"], rtol=0, atol=1e-6)


def test_gradients_of_compositing_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    distance_m = torch.rand((2, 5), generator=generator, dtype=torch.float64).sort(-1).values
    leaves = [
        (scale * torch.rand(shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for scale, shape in ((9, (2, 5)), (1, (2, 5, 3)), (1, (2, 5, FEATURES)), (1, (2, 3)), (1, (2, FEATURES)))
    ]
    span = Span(torch.zeros(2, dtype=torch.float64), torch.full((2,), 1.2, dtype=torch.float64))

    def outputs(*given: Tensor) -> tuple[Tensor, ...]:
        values = FieldValues(density=given[0], colour=given[1], feature=given[2])
        rendered, weight = composite(values, distance_m, span, Background(given[3], given[4]))
        return (*(getattr(rendered, part) for part in PARTS), weight)

    assert torch.autograd.gradcheck(outputs, leaves)


@pytest.mark.parametrize("autocast", [False, True])
def test_compositing_has_single_precision_at_least(autocast: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    distance_m = torch.rand((2, 5), generator=generator).sort(-1).values
    span = Span(torch.zeros(2), torch.ones(2))
    given = [torch.rand(shape, generator=generator) for shape in ((2, 5), (2, 5, 3), (2, 5, FEATURES))]
    black = Background(torch.zeros(2, 3), torch.zeros(2, FEATURES))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        rendered, weight = composite(FieldValues(*(part.bfloat16() for part in given)), distance_m, span, black)
    exact, exact_weight = composite(FieldValues(*(part.bfloat16().float() for part in given)), distance_m, span, black)
    assert torch.equal(weight, exact_weight)
    for part in PARTS:
        assert torch.equal(getattr(rendered, part), getattr(exact, part)), part


def plane(normal: Tensor, offset: float) -> Callable[[Tensor, Tensor], FieldValues]:
    """Opaque where the normal's part of a point is below the offset; red."""

    def field(points: Tensor, direction: Tensor) -> FieldValues:
        solid = (points * normal).sum(-1) < offset
        colour = points.new_tensor([1.0, 0, 0]).expand_as(points)
        return FieldValues(1e5 * solid.to(points), colour, points.new_zeros(*points.shape[:-1], FEATURES))

    return field


@given(generators())
def test_an_opaque_plane_renders_its_depth_and_colour(generator: torch.Generator) -> None:
    tilted = torch.tensor([0.3, 0.1, 1.0]) + 0.3 * torch.randn(3, generator=generator)
    normal = torch.nn.functional.normalize(tilted, dim=0)
    offset = (normal * torch.tensor([0.2, 0.0, 0.9])).sum().item()
    rays = rays_of_a_view(generator)
    span = clip_to_box(rays, BOX, 0.1)
    true_m = (offset - (rays.origin * normal).sum(-1)) / (rays.direction * normal).sum(-1)
    hit = span.crosses & (true_m > span.near_m) & (true_m < span.far_m - 0.02)
    hit &= (rays.direction * normal).sum(-1) < -0.05  # from the side where there is nothing
    found = render(plane(normal, offset), rays, span, SamplingConfig(), nothing(rays), measured_m=true_m)
    guessed = render(plane(normal, offset), rays, span, SamplingConfig(), nothing(rays))
    step_m = (span.far_m - span.near_m) / 64
    for passes, bound_m in (
        (found.coarse, step_m),
        (guessed.fine, 0.6 * step_m),
        (found.fine, torch.full_like(true_m, 1e-3)),
    ):
        assert ((passes.distance_m - true_m).abs() <= bound_m + 1e-4)[hit].all()
        torch.testing.assert_close(passes.opacity[hit], torch.ones(int(hit.sum())))
        torch.testing.assert_close(passes.colour[hit], torch.tensor([1.0, 0, 0]).expand(int(hit.sum()), 3))


def test_a_plane_across_the_optical_axis_has_one_depth_in_the_whole_picture() -> None:
    intrinsics = torch.tensor([[10.0, 0, 7.5], [0, 10.0, 7.5], [0, 0, 1]])  # 74 degrees wide
    pose = torch.tensor([[0.0, -1, 0, 0.2], [-1, 0, 0, 0], [0, 0, -1, 2.0], [0, 0, 0, 1]])  # straight down
    v, u = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    rays = rays_through(torch.stack((u, v), -1).view(-1, 2), intrinsics, pose)
    span = Span(torch.full((256,), 0.5), torch.full((256,), 3.0))
    table = plane(torch.tensor([0.0, 0.0, 1.0]), 0.75)
    measured_m = 1.25 / rays.cosine
    found = render(table, rays, span, SamplingConfig(), nothing(rays), measured_m=measured_m).fine
    torch.testing.assert_close(found.distance_m * rays.cosine, torch.full((256,), 1.25), rtol=0, atol=2e-3)
    assert (found.distance_m.max() / found.distance_m.min()).item() > 1.4, "the rays themselves differ in length"


@given(generators(), poses())
def test_rendering_commutes_with_moving_the_world(generator: torch.Generator, motion: Tensor) -> None:
    rays = rays_of_a_view(generator, dtype=torch.float64)
    span = Span(torch.full((30,), 0.9, dtype=torch.float64), torch.full((30,), 2.5, dtype=torch.float64))
    back = inverse_pose(motion)

    def moved_field(points: Tensor, direction: Tensor) -> FieldValues:
        home = transform_points(back, points.reshape(-1, 3)).view_as(points)
        return smooth(home, (back[:3, :3] * direction[..., None, :]).sum(-1))

    moved = Rays(
        transform_points(motion, rays.origin), (motion[:3, :3] * rays.direction[..., None, :]).sum(-1), rays.cosine
    )
    before = render(smooth, rays, span, SamplingConfig(), nothing(rays)).fine
    after = render(moved_field, moved, span, SamplingConfig(), nothing(moved)).fine
    for part in PARTS:
        torch.testing.assert_close(getattr(after, part), getattr(before, part), rtol=0, atol=1e-6)


def test_a_moved_camera_has_the_moved_rays() -> None:
    generator = torch.Generator().manual_seed(4)
    pose = looking_at(torch.tensor([1.0, 2.0, 1.5]), torch.zeros(3))
    motion = looking_at(torch.tensor([0.3, -0.2, 0.4]), torch.tensor([1.0, 0.7, 0.9]))
    intrinsics = torch.tensor([[40.0, 0, 7.5], [0, 50.0, 7.5], [0, 0, 1]])
    pixel = 15 * torch.rand((9, 2), generator=generator)
    before, after = (rays_through(pixel, intrinsics, one) for one in (pose, compose(motion, pose)))
    ends = [rays.at(torch.ones(9, 1))[:, 0] for rays in (before, after)]
    torch.testing.assert_close(ends[1], transform_points(motion, ends[0]))
    assert rotation_angle_deg(pose[:3, :3], compose(motion, pose)[:3, :3]) > 1


@settings(max_examples=15)
@given(generators(), st.booleans(), st.sampled_from([(16, 16), (5, 0), (0, 5)]))
def test_reusing_the_coarse_answers_changes_no_value_and_no_gradient(
    generator: torch.Generator, random: bool, more: tuple[int, int]
) -> None:
    layers, field = network()
    rays = rays_of_a_view(generator, count=6, dtype=torch.float64)
    span = clip_to_box(rays, BOX, 0.1)
    sampling = SamplingConfig(coarse=12, importance=more[0], guided=more[1], guided_std_m=0.02)
    results: list[list[Tensor]] = []
    for method in ("fast", "reference"):
        seeded = torch.Generator().manual_seed(5) if random else None
        passes = render(field, rays, span, sampling, nothing(rays), seeded, method=method)
        values = [getattr(one, part) for one in (passes.coarse, passes.fine) for part in PARTS]
        total = torch.stack([value.square().mean() for value in values]).sum()
        results.append([*values, *torch.autograd.grad(total, list(layers.parameters()))])
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("method", "asked"), [("fast", [12, 5]), ("reference", [12, 17])])
def test_the_fast_method_asks_for_each_sample_once(method: str, asked: list[int]) -> None:
    counts: list[int] = []

    def counted(points: Tensor, direction: Tensor) -> FieldValues:
        counts.append(points.shape[-2])
        return smooth(points, direction)

    rays = rays_of_a_view(torch.Generator().manual_seed(0))
    sampling = SamplingConfig(coarse=12, importance=3, guided=2)
    render(counted, rays, clip_to_box(rays, BOX, 0.1), sampling, nothing(rays), method=method)
    assert counts == asked


def test_without_further_samples_both_passes_are_the_same() -> None:
    rays = rays_of_a_view(torch.Generator().manual_seed(0))
    sampling = SamplingConfig(coarse=12, importance=0, guided=0)
    passes = render(smooth, rays, clip_to_box(rays, BOX, 0.1), sampling, nothing(rays))
    assert passes.coarse is passes.fine


@given(generators())
def test_guided_samples_lie_about_the_measured_depth_or_else_about_the_rendered_one(generator: torch.Generator) -> None:
    asked: list[Tensor] = []

    def noted(points: Tensor, direction: Tensor) -> FieldValues:
        asked.append(points)
        return smooth(points, direction)

    rays = rays_of_a_view(generator)
    span = Span(torch.full((30,), 0.9), torch.full((30,), 2.5))
    measured_m = torch.where(torch.arange(30) % 3 == 0, 0.0, 1 + torch.rand(30, generator=generator))
    measured_m[1] = 7  # behind the span
    sampling = SamplingConfig(importance=0, guided=3, guided_std_m=1e-6)
    passes = render(noted, rays, span, sampling, nothing(rays), measured_m=measured_m)
    usable = (measured_m > 0) & (measured_m < 2.5)
    centre_m = torch.where(usable, measured_m, passes.coarse.distance_m)
    guided_m = (asked[1] - rays.origin[:, None]).norm(dim=-1)
    torch.testing.assert_close(guided_m, centre_m[:, None].expand(30, 3), rtol=0, atol=2e-5)


def test_what_passes_through_sees_the_background_at_the_end_of_the_span() -> None:
    rays = rays_of_a_view(torch.Generator().manual_seed(0))
    span = clip_to_box(rays, BOX, 0.1)
    behind = Background(torch.full((30, 3), 0.25), torch.full((30, FEATURES), 2.0))

    def empty(points: Tensor, direction: Tensor) -> FieldValues:
        values = smooth(points, direction)
        return FieldValues(torch.zeros_like(values.density), values.colour, values.feature)

    seen: Rendered = render(empty, rays, span, SamplingConfig(), behind).fine
    assert torch.equal(seen.colour, behind.colour)
    assert torch.equal(seen.feature, behind.feature)
    assert torch.equal(seen.distance_m, span.far_m)
    assert not seen.opacity.any()
