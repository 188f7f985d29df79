"""The field's loss and pictures: who counts, what moves, and that it learns."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from gnfactor.actions import Box
from gnfactor.augment import move_scene
from gnfactor.batch import RayTargets
from gnfactor.errors import ConfigError
from gnfactor.field import neural_field
from gnfactor.field.network import FieldNetworkConfig
from gnfactor.field.neural_field import FieldConfig, FieldLossConfig, NeuralField
from gnfactor.field.rays import Rays, clip_to_box, rays_through
from gnfactor.field.render import Background, FieldValues, render
from gnfactor.field.sampling import SamplingConfig
from gnfactor.geometry import inverse_pose, pose_from, rotation_from_euler, transform_points
from perceiver.volume import Volume
from tests.strategies import generators, looking_at, random_batch, random_rays

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
FEATURES, CHANNELS = 4, 6
SMALL = FieldConfig(
    network=FieldNetworkConfig(width=16, features=FEATURES, blocks=2, place_blocks=2),
    sampling=SamplingConfig(coarse=8, importance=4, guided=4),
    loss=FieldLossConfig(total=1.0, feature=0.1, depth=0.5),
)


def made(config: FieldConfig = SMALL) -> NeuralField:
    torch.manual_seed(0)
    field = NeuralField(config, BOX, CHANNELS)
    for block in field.network.blocks:  # they begin as nothing
        torch.nn.init.normal_(block.second.weight, std=0.3)
    return field


def volume(batch: int = 2, seed: int = 1) -> Volume:
    generator = torch.Generator().manual_seed(seed)
    return Volume(
        torch.randn((batch, 3, 5, 6, 7), generator=generator),
        torch.randn((CHANNELS, 3), generator=generator),
        torch.randn(CHANNELS, generator=generator),
    )


def targets(batch: int = 2, views: int = 3, rays: int = 10, seed: int = 2) -> RayTargets:
    return random_rays(batch, views, rays, BOX, torch.Generator().manual_seed(seed), FEATURES)


def part_of(rays: RayTargets, scenes: slice, views: slice) -> RayTargets:
    parts = {field.name: getattr(rays, field.name)[scenes, views] for field in fields(rays)}
    return RayTargets(**parts)


def test_the_terms_of_several_scenes_and_views_are_the_means_of_single_ones() -> None:
    field, scenes, rays = made(), volume(), targets()
    together = field.loss(scenes, rays)
    assert list(together) == ["field/colour", "field/feature", "field/depth"]
    singles = [
        field.loss(
            replace(scenes, features=scenes.features[scene : scene + 1]),
            part_of(rays, slice(scene, scene + 1), slice(view, view + 1)),
        )
        for scene in range(2)
        for view in range(3)
    ]
    for name, term in together.items():
        torch.testing.assert_close(term, torch.stack([single[name] for single in singles]).mean())


def test_the_loss_is_what_the_paper_writes_down() -> None:
    """Mean squares of both passes, worked out from `render` by hand."""
    field, scenes, targets_ = made(), volume(), targets()
    rays = rays_through(targets_.pixel, targets_.intrinsics, targets_.world_from_camera)
    flat = Rays(rays.origin.flatten(1, 2), rays.direction.flatten(1, 2), rays.cosine.flatten(1, 2))
    passes = field.render(scenes, flat, clip_to_box(flat, BOX, neural_field.NEAREST_M), field.config.sampling)
    assert targets_.feature is not None
    colour, feature, depth = 0.0, 0.0, 0.0
    for one in (passes.coarse, passes.fine):
        colour += (one.colour - targets_.rgb.flatten(1, 2) / 255).square().mean().item()
        feature += 0.1 * (one.feature - targets_.feature.flatten(1, 2)).square().mean().item()
        depth += 0.5 * (one.distance_m * flat.cosine - targets_.depth_m.flatten(1)).div(flat.cosine).abs().mean().item()
    terms = field.loss(scenes, targets_)
    assert [term.item() for term in terms.values()] == pytest.approx([colour, feature, depth], rel=1e-4)


def test_the_same_seed_gives_the_same_loss_and_another_seed_another() -> None:
    field, scenes, rays = made(), volume(), targets()

    def seeded(number: int) -> Tensor:
        return field.loss(scenes, rays, torch.Generator().manual_seed(number))["field/colour"]

    assert torch.equal(seeded(0), seeded(0))
    assert not torch.equal(seeded(0), seeded(1))


def test_a_small_field_overfits_one_scene() -> None:
    """A chequered table seen from all sides: better than a tenth of what the mean picture would reach."""
    config = FieldConfig(
        network=FieldNetworkConfig(width=32, features=0, blocks=2, place_blocks=1, frequencies=5, density="exp"),
        sampling=SamplingConfig(coarse=24, importance=8, guided=0),
        loss=FieldLossConfig(total=1.0, feature=0.0, depth=1.0),
    )
    torch.manual_seed(0)
    field = NeuralField(config, BOX, CHANNELS)
    seen = targets(batch=1, views=4, rays=60)
    rays = rays_through(seen.pixel, seen.intrinsics, seen.world_from_camera)
    depth_m = (1.0 - rays.origin[..., 2]) / rays.direction[..., 2] * rays.cosine
    place = rays.at((depth_m / rays.cosine)[..., None])[..., 0, :]
    chequered = (place[..., :2] * 5).floor().sum(-1, keepdim=True) % 2
    seen = replace(seen, rgb=(255 * chequered).expand(*chequered.shape[:-1], 3).byte(), depth_m=depth_m)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    generator, scene = torch.Generator().manual_seed(0), volume(1)
    for _ in range(120):
        optimizer.zero_grad()
        terms = field.loss(scene, seen, generator)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    error = field.loss(scene, seen)["field/colour"].item() / 2
    assert error < 0.1 * chequered.var(correction=0).item()
    assert field.loss(scene, seen)["field/depth"].item() / 2 < 0.05, "metres"


def test_a_volume_and_a_camera_that_are_turned_together_show_the_same_picture() -> None:
    """A quarter turn about the vertical moves voxels onto voxels, so that nothing is lost."""
    around_axis = Box((-0.5, -0.5, 0.0), (0.5, 0.5, 1.0))
    network = replace(SMALL.network, directions=False, density="softplus")
    torch.manual_seed(0)
    field = NeuralField(replace(SMALL, network=network), around_axis, CHANNELS)
    torch.nn.init.normal_(field.network.blocks[0].second.weight, std=0.3)
    torch.nn.init.zeros_(field.network.inward.weight)  # the place in the box is what does turn
    voxels = torch.randn(1, CHANNELS, 6, 6, 6)
    camera = torch.tensor([[20.0, 0.0, 7.5], [0.0, 20.0, 7.5], [0.0, 0.0, 1.0]])
    pose = looking_at(torch.tensor([1.5, 0.4, 1.2]), torch.tensor([0.0, 0.1, 0.5]))
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    still, unmoved = (field.render_view(Volume(voxels), camera, at, 16, 16) for at in (pose, turn @ pose))
    turned = field.render_view(Volume(torch.rot90(voxels, 1, (2, 3))), camera, turn @ pose, 16, 16)
    torch.testing.assert_close(turned.colour, still.colour, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned.depth_m, still.depth_m, rtol=0, atol=1e-5)
    assert (unmoved.colour - still.colour).abs().max() > 0.05


@settings(max_examples=10)
@given(generators())
def test_a_scene_that_is_moved_looks_the_same_from_its_moved_cameras(generator: torch.Generator) -> None:
    """`move_scene` moves the rays as it moves the world."""
    batch = replace(random_batch(2, BOX, generator), rays=random_rays(2, 2, 5, BOX, generator))
    motion = pose_from(
        rotation_from_euler(torch.randn((2, 3), generator=generator)), torch.randn((2, 3), generator=generator)
    )
    back = inverse_pose(motion)

    def values(points: Tensor, direction: Tensor) -> FieldValues:
        waves = torch.sin(9 * points + 4 * points.roll(1, -1))
        colour = torch.sigmoid(2 * waves + direction[..., None, :])
        return FieldValues(20 * waves.prod(-1).relu(), colour, waves[..., :0])

    def moved_values(points: Tensor, direction: Tensor) -> FieldValues:
        home = transform_points(back, points.flatten(1, -2)).view_as(points)
        return values(
            home, transform_points(back, direction.flatten(1, -2)).view_as(direction) - back[:, None, None, :3, 3]
        )

    seen: list[Tensor] = []
    for one, field in ((batch, values), (move_scene(batch, motion), moved_values)):
        assert one.rays is not None
        rays = rays_through(one.rays.pixel, one.rays.intrinsics, one.rays.world_from_camera)
        span = clip_to_box(rays_through(batch.rays.pixel, batch.rays.intrinsics, batch.rays.world_from_camera), BOX)
        black = Background(torch.zeros_like(rays.origin), rays.origin[..., :0])
        seen.append(render(field, rays, span, SamplingConfig(guided=0, importance=0), black).fine.colour)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-4)


def outside(rays: RayTargets) -> RayTargets:
    """The first half of each view's rays end behind the workspace."""
    depth_m = rays.depth_m.clone()
    depth_m[..., : depth_m.shape[-1] // 2] = 9.0
    return replace(rays, depth_m=depth_m)


@pytest.mark.parametrize(("background", "counts"), [("black", True), ("masked", False)])
def test_masked_rays_whose_surface_lies_elsewhere_count_for_nothing(background: str, counts: bool) -> None:
    field, scenes = made(replace(SMALL, background=background)), volume()
    rays = outside(targets())
    other = replace(rays, rgb=rays.rgb.clone())
    other.rgb[:, :, :5] = 255 - other.rgb[:, :, :5]
    first, second = (field.loss(scenes, one)["field/colour"] for one in (rays, other))
    assert torch.equal(first, second) is not counts
    near = [replace(one, depth_m=torch.zeros_like(one.depth_m)) for one in (rays, other)]
    first, second = (field.loss(scenes, one)["field/colour"] for one in near)
    assert torch.equal(first, second) is not counts, "nor those without a reading"


def test_masked_means_are_taken_over_the_rays_that_count() -> None:
    field, scenes, rays = made(replace(SMALL, background="masked")), volume(), targets()
    inside = {field.name: getattr(rays, field.name) for field in fields(rays)}
    for name in ("pixel", "rgb", "depth_m", "feature"):
        inside[name] = inside[name][:, :, 5:]
    everything, rest = field.loss(scenes, outside(rays)), field.loss(scenes, RayTargets(**inside))
    for name in ("field/colour", "field/feature"):
        torch.testing.assert_close(everything[name], rest[name])


def test_where_nothing_counts_the_loss_is_zero_and_so_are_the_gradients() -> None:
    field, scenes, rays = made(replace(SMALL, background="masked")), volume(), targets()
    terms = field.loss(scenes, replace(rays, depth_m=torch.zeros_like(rays.depth_m)))
    assert all(term.item() == 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in field.parameters())


def test_rays_that_miss_the_workspace_leave_everything_finite() -> None:
    field, scenes, rays = made(), volume(), targets()
    away = rays.world_from_camera.clone()
    away[:, 0] = torch.eye(4)  # looks straight up from below, beside the workspace
    away[:, 0, :3, 3] = torch.tensor([3.0, 3.0, 0.0])
    terms = field.loss(scenes, replace(rays, world_from_camera=away), torch.Generator().manual_seed(0))
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in field.parameters())


def test_a_learned_background_is_seen_where_the_workspace_is_empty_and_learns_there() -> None:
    field, scenes, rays = made(replace(SMALL, background="learned")), volume(), targets()
    assert field.background is not None
    with torch.no_grad():
        field.network.outward.bias[3] = -1e3  # nothing anywhere
    field.loss(scenes, rays)["field/colour"].backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in field.background.parameters())
    inside = [weight.grad for weight in field.network.parameters()]
    assert all(gradient is None or not gradient.any() for gradient in inside)


@pytest.mark.parametrize(("feature", "found"), [(None, "no features"), (FEATURES + 1, "5")])
def test_features_of_no_or_another_width_are_refused(feature: int | None, found: str) -> None:
    rays = random_rays(2, 1, 3, BOX, torch.Generator().manual_seed(0), feature)
    with pytest.raises(ConfigError, match=rf"features is 4, but the views to learn from have {found}"):
        made().loss(volume(), rays)
    without = replace(SMALL, loss=replace(SMALL.loss, feature=0.0))
    assert "field/feature" not in made(without).loss(volume(), rays)


def test_a_picture_shows_what_each_of_its_pixels_rays_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    field, scene, rays = made(), volume(1), targets(1, 1)
    camera, pose = rays.intrinsics[0, 0], rays.world_from_camera[0, 0]
    picture = field.render_view(scene, camera, pose, 5, 4)
    for u, v in ((0, 0), (4, 0), (1, 3)):
        one = rays_through(torch.tensor([[[float(u), float(v)]]]), camera[None], pose[None])
        alone = field.render(scene, one, clip_to_box(one, BOX, neural_field.NEAREST_M), field.config.sampling).fine
        torch.testing.assert_close(picture.colour[v, u], alone.colour[0, 0])
        torch.testing.assert_close(picture.feature[v, u], alone.feature[0, 0])
        torch.testing.assert_close(picture.opacity[v, u], alone.opacity[0, 0])
        torch.testing.assert_close(picture.depth_m[v, u], (alone.distance_m * one.cosine)[0, 0])
    monkeypatch.setattr(neural_field, "_RAYS_AT_ONCE", 3)
    in_pieces = field.render_view(scene, camera, pose, 5, 4)
    for name in ("colour", "depth_m", "feature", "opacity"):
        torch.testing.assert_close(getattr(in_pieces, name), getattr(picture, name))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"colour": -1.0}, "colour"),
        ({"depth": float("nan")}, "depth"),
        ({"total": 0.0}, "no weight above 0"),
        ({"colour": 0.0, "feature": 0.0}, "no weight above 0"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        FieldLossConfig(**changes)


def test_pictures_may_have_more_coarse_samples_than_training() -> None:
    more = replace(SMALL, sampling=replace(SMALL.sampling, coarse_of_pictures=2 * SMALL.sampling.coarse))
    field, scene, rays = made(more), volume(1), targets(1, 1)
    counts: list[int] = []
    handle = field.network.register_forward_pre_hook(lambda _, given: counts.append(given[0].shape[2]))
    field.loss(scene, rays)
    picture = field.render_view(scene, rays.intrinsics[0, 0], rays.world_from_camera[0, 0], 5, 4)
    handle.remove()
    second = SMALL.sampling.importance + SMALL.sampling.guided
    assert counts == [SMALL.sampling.coarse, second, 2 * SMALL.sampling.coarse, second]
    plain = made(replace(SMALL, sampling=replace(SMALL.sampling, coarse=2 * SMALL.sampling.coarse)))
    plain.load_state_dict(field.state_dict())
    torch.testing.assert_close(
        picture.colour, plain.render_view(scene, rays.intrinsics[0, 0], rays.world_from_camera[0, 0], 5, 4).colour
    )
