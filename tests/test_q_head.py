"""The Q-head against its plain form, and what each option may and may not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import perceiver.conv3d
import perceiver.q_head
from perceiver.conv3d import pool
from perceiver.perceiver_io import PerceiverConfig
from perceiver.q_head import InputSizes, QHead, QHeadConfig, QValues, best_voxel, crop, pool_volume
from perceiver.volume import Volume

TINY = PerceiverConfig(latents=4, latent_width=8, depth=1, latent_heads=2, latent_head_width=4, cross_head_width=4)
CONFIG = QHeadConfig(width=6, patch=2, perceiver=TINY, rotation_bins=12, hidden=(16, 8))
CHANNELS, RANK, WORDS, TOKEN, CONDITION = 5, 3, 4, 7, 9


def randn(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def make_head(config: QHeadConfig = CONFIG, size: tuple[int, int, int] = (4, 6, 8)) -> QHead:
    torch.manual_seed(0)
    return QHead(config, size, InputSizes(CHANNELS, RANK, TOKEN, WORDS, condition_width=CONDITION)).eval()


def make_volume(size: tuple[int, int, int] = (4, 6, 8)) -> Volume:
    return Volume(randn(2, RANK, *size), randn(CHANNELS, RANK, seed=1), randn(CHANNELS, seed=2))


def values(head: QHead, volume: Volume | None = None, **options: torch.Tensor | None) -> QValues:
    inputs = {"tokens": randn(2, WORDS, TOKEN, seed=3), "state": randn(2, 4, seed=4)}
    inputs |= {"condition": randn(2, CONDITION, seed=5), **options}
    return head(volume or make_volume(), inputs.pop("tokens"), inputs.pop("state"), **inputs)


def assert_same(a: QValues, b: QValues, tolerance: float = 1e-5) -> None:
    for name in ("translation", "rotation", "gripper", "collision"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance)


def differ(a: QValues, b: QValues) -> bool:
    return bool((a.rotation - b.rotation).abs().max() > 1e-6)


def plain_values(head: QHead, volume: Volume, tokens: torch.Tensor, state: torch.Tensor) -> QValues:
    """The published graph written out: the expanded volume, upsampled and convolved at full resolution."""

    def block(x: torch.Tensor, layer: torch.nn.Module, padding: int, stride: int = 1) -> torch.Tensor:
        padded = F.pad(x, (padding,) * 6, mode="replicate")
        return F.leaky_relu(F.conv3d(padded, layer.weight, layer.bias, stride=stride), 0.02)

    d0 = volume.expand()
    patches = block(d0, head.patches, 1, stride=3)
    robot = F.leaky_relu(head.state(state), 0.02)[..., None, None, None].expand(-1, -1, *patches.shape[2:])
    scene = torch.cat((patches, robot), 1).flatten(2).transpose(1, 2)
    sequence = torch.cat((head.words(tokens), scene), 1) + head.positions
    cells = head.perceiver(sequence, sequence)[:, WORDS:].transpose(1, 2).unflatten(2, patches.shape[2:])
    upsampled = F.interpolate(block(cells, head.widen, 2), scale_factor=3, mode="trilinear", align_corners=False)
    u0 = block(upsampled, head.upsample, 2)
    u = block(torch.cat((d0, u0), 1), head.final, 1)
    translation = F.conv3d(F.pad(u, (1,) * 6, mode="replicate"), head.translation.weight, head.translation.bias)
    features = torch.cat((pool(d0), pool(cells), pool(u)), 1)
    for layer in head.dense:
        features = F.leaky_relu(layer(features), 0.02)
    v = head.values(features)
    return QValues(translation[:, 0], v[:, :36].unflatten(1, (3, 12)), v[:, 36:38], v[:, 38:])


@pytest.mark.parametrize("upsampling", ["reference", "fast"])
def test_head_equals_the_plain_form_with_gradients(upsampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceiver.conv3d, "choose_upsampling", lambda *sizes: upsampling)
    head = make_head(replace(CONFIG, patch=3), (6, 6, 9))
    features = randn(2, RANK, 6, 6, 9).requires_grad_()
    volume = Volume(features, randn(CHANNELS, RANK, seed=1).requires_grad_(), randn(CHANNELS, seed=2))
    tokens, state = randn(2, WORDS, TOKEN, seed=3), randn(2, 4, seed=4)
    fast, plain = head(volume, tokens, state), plain_values(head, volume, tokens, state)
    assert_same(fast, plain)
    for parameter in (features, volume.weight, head.positions, head.upsample.weight, head.final.weight):
        gradients = [
            torch.autograd.grad(
                v.translation.square().mean() + v.rotation.square().mean(), parameter, retain_graph=True
            )
            for v in (fast, plain)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_large_volumes_are_pooled_in_parts_with_the_same_result_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[torch.Tensor] = []
    for at_once in (2**25, 2 * 2 * 4 * 6 * 8, 1):
        monkeypatch.setattr(perceiver.q_head, "POOL_AT_ONCE", at_once)
        volume = make_volume()
        leaves = [leaf.requires_grad_() for leaf in (volume.features, volume.weight, volume.bias) if leaf is not None]
        pooled = pool_volume(volume)
        gradients = torch.autograd.grad((pooled * randn(*pooled.shape, seed=6)).sum(), leaves)
        results.append(torch.cat([pooled.flatten(), *(g.flatten() for g in gradients)]))
    plain = pool(make_volume().expand()).flatten()
    torch.testing.assert_close(results[0][: plain.numel()], plain)
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


@settings(max_examples=20, deadline=None)
@given(
    patch=st.integers(1, 5),
    cells=st.tuples(*[st.integers(1, 2)] * 3),
    pool_kind=st.sampled_from(["global", "local"]),
    rotation=st.sampled_from(["bins", "regression"]),
    skip=st.booleans(),
    condition=st.booleans(),
    voxel_width=st.sampled_from([None, 2]),
    kernels=st.tuples(*[st.sampled_from([1, 3])] * 3),
)
def test_every_option_gives_values_of_the_right_shapes_and_gradients_everywhere(
    patch: int,
    cells: tuple[int, int, int],
    pool_kind: str,
    rotation: str,
    skip: bool,
    condition: bool,
    voxel_width: int | None,
    kernels: tuple[int, int, int],
) -> None:
    config = replace(CONFIG, patch=patch, pool=pool_kind, rotation=rotation, skip=skip, condition=condition)
    widen, upsample, final = kernels
    config = replace(config, voxel_width=voxel_width, widen_kernel=widen, upsample_kernel=upsample, final_kernel=final)
    size = (cells[0] * patch, cells[1] * patch, cells[2] * patch)
    head = make_head(config, size).train()
    q = values(head, make_volume(size))
    assert q.translation.shape == (2, *size)
    assert q.rotation.shape == (2, 3, 12 if rotation == "bins" else 2)
    assert q.gripper.shape == q.collision.shape == (2, 2)
    sum(getattr(q, name).square().sum() for name in vars(q)).backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


def test_a_condition_changes_nothing_before_training() -> None:
    plain, conditioned = make_head(), make_head(replace(CONFIG, condition=True))
    result = conditioned.load_state_dict(plain.state_dict(), strict=False)
    assert {key.split(".")[0] for key in result.missing_keys} == {"cell_film", "final_film"}
    assert_same(values(conditioned), values(plain), tolerance=1e-6)
    torch.nn.init.normal_(conditioned.cell_film.project.weight)  # type: ignore[union-attr]
    assert differ(values(conditioned), values(plain))


def test_local_values_are_read_at_the_given_voxel_or_at_the_best_one() -> None:
    head = make_head(replace(CONFIG, pool="local"))
    q = values(head)
    best = best_voxel(q.translation)
    for scene in range(2):
        x, y, z = best[scene].tolist()
        assert q.translation[scene, x, y, z] == q.translation[scene].max()
    assert_same(values(head, at=best), q)
    other = values(head, at=(best + 1) % torch.tensor([4, 6, 8]))
    assert differ(other, q)
    assert other.translation.equal(q.translation)


def test_local_values_know_the_state_and_the_condition() -> None:
    head = make_head(replace(CONFIG, pool="local"))
    at = torch.tensor([[0, 0, 0], [3, 5, 7]])
    q = values(head, at=at)
    assert differ(values(head, at=at, condition=randn(2, CONDITION, seed=8)), q)
    assert differ(values(head, at=at, state=randn(2, 4, seed=8)), q)


def test_crop_continues_border_voxels_outwards() -> None:
    x = randn(2, 3, 4, 5, 6)
    padded = F.pad(x, (1,) * 6, mode="replicate")
    center = torch.tensor([[0, 4, 3], [3, 0, 5]])
    cropped = crop(x, center, 1).unflatten(1, (27, 3))
    for scene in range(2):
        i, j, k = center[scene].tolist()
        expected = padded[scene, :, i : i + 3, j : j + 3, k : k + 3].flatten(1).T
        torch.testing.assert_close(cropped[scene], expected)


def test_without_the_skip_the_volume_reaches_voxels_through_patches_only() -> None:
    head, volume = make_head(replace(CONFIG, skip=False, pool="local")), make_volume()
    head.patches.weight.data.zero_()
    moved = replace(volume, features=volume.features + randn(*volume.features.shape, seed=9))
    assert values(head, moved).translation.equal(values(head, volume).translation)
    assert not values(make_head(), moved).translation.equal(values(make_head(), volume).translation)


def test_masked_words_change_nothing_and_fewer_words_are_the_same_as_masked_ones() -> None:
    head, tokens = make_head(), randn(2, WORDS, TOKEN, seed=3)
    mask = torch.tensor([[True, True, False, False]] * 2)
    changed = tokens.clone()
    changed[:, 2:] += 1
    expected = values(head, token_mask=mask)
    assert_same(values(head, tokens=changed, token_mask=mask), expected, tolerance=1e-6)
    assert_same(values(head, tokens=tokens[:, :2]), expected)
    assert differ(values(head, tokens=changed), values(head))


def test_values_stay_in_fp32_and_close_under_autocast() -> None:
    for kind in ("global", "local"):
        head, at = make_head(replace(CONFIG, pool=kind)), torch.ones(2, 3, dtype=torch.long)
        expected = values(head, at=at)
        with torch.autocast("cpu", torch.bfloat16):
            q = values(head, at=at)
        assert {getattr(q, name).dtype for name in vars(q)} == {torch.float32}
        torch.testing.assert_close(q.translation, expected.translation, rtol=0.1, atol=0.1)


def test_the_volume_is_pooled_in_fp32_under_autocast() -> None:
    volume = make_volume()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool_volume(volume)
    torch.testing.assert_close(pooled, pool_volume(volume), rtol=0, atol=0)


def test_a_grid_that_the_patch_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"q_head.patch is 2, which does not divide the grid's size \[4, 6, 7\]"):
        make_head(size=(4, 6, 7))


def test_a_condition_that_nobody_gives_is_refused() -> None:
    with pytest.raises(ValueError, match=r"q_head.condition is true"):
        QHead(replace(CONFIG, condition=True), (4, 4, 4), InputSizes(CHANNELS, RANK, TOKEN, WORDS))


@pytest.mark.parametrize(
    ("key", "value", "known"),
    [
        ("rotation", "euler", "known: bins, regression"),
        ("pool", "none", "known: global, local"),
        ("width", 0, "at least 1"),
        ("final_kernel", 2, "odd"),
        ("hidden", (), "one or more"),
    ],
)
def test_nonsense_in_the_configuration_is_refused_by_name(key: str, value: object, known: str) -> None:
    with pytest.raises(ValueError, match=rf"q_head.{key} is .*{known}"):
        replace(CONFIG, **{key: value})
