"""Figures on held-out views: what counts, how it is pooled, and the two baselines."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from synthetic import make_demonstration, make_store
from torchmetrics.functional.image import structural_similarity_index_measure

from data.novel_views import (
    EncodedScene,
    evaluating,
    feature_source,
    looks,
    mean_pictures,
    measure,
    measured_views,
    read_scene,
    spread,
)
from data.store import Store
from data.targets import read_views
from gnfactor.actions import Box
from gnfactor.config import Config, load
from gnfactor.errors import ConfigError, DataError
from gnfactor.evaluation.novel_views import (
    ROOM_LABELS,
    ColourError,
    KnownFeatures,
    colour_error,
    object_pixels,
    pooled,
    render_counted,
    score_view,
    similarity_map,
    structural_similarity,
    trained_field,
    workspace_pixels,
)
from gnfactor.field.neural_field import Picture
from gnfactor.model import Policy
from gnfactor.scene import Camera, View

TINY_FIELD = """\
policy:
  image_size: [16, 16]
  grid: {size: 8}
  encoder: {widths: [4, 8], channels: 8, norm: group}
  language: {encoder: hashing, width: 8, tokens: 8}
  head: null
  field:
    network: {width: 8, blocks: 2, place_blocks: 1, features: 0, density: softplus}
    sampling: {coarse: 4, importance: 2, guided: 0}
    loss: {feature: 0.0}
    background: masked
data: {validation_episodes: 1, views: {held_out: [rig1], rays: 16, pixels: null}}
train: {accelerator: cpu}
"""


def tiny(tmp_path: Path, *overrides: str) -> Config:
    file = tmp_path / "tiny_field.yaml"
    file.write_text(TINY_FIELD)
    return load([str(file), *overrides])


def tiny_policy(config: Config) -> Policy:
    torch.manual_seed(0)
    policy = Policy(config.policy)
    policy.instructions.learn([f"{task} the square" for task in ("push", "lift")])
    return policy.eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(make_store(tmp_path_factory.mktemp("novel") / "store", episodes=3, tasks=("push",), rig=3))


def quiet() -> Console:
    return Console(quiet=True)


def everywhere(rgb: np.ndarray) -> np.ndarray:
    return np.ones(rgb.shape[:2], np.bool_)


def noise(seed: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


# What a picture scores


def test_equal_pictures_have_an_infinite_ratio_and_a_similarity_of_one() -> None:
    rgb = noise(0)
    colour = (rgb / 255).astype(np.float32)
    assert colour_error(rgb / 255, rgb, everywhere(rgb)).psnr_db == inf
    assert structural_similarity(colour, rgb, everywhere(rgb)) == pytest.approx(1, abs=1e-6)


def test_an_error_of_a_tenth_everywhere_is_twenty_decibels() -> None:
    rgb = np.full((4, 5, 3), 51, np.uint8)  # 0.2
    error = colour_error(np.full((4, 5, 3), 0.3), rgb, everywhere(rgb))
    assert error.pixels == 20
    assert error.psnr_db == pytest.approx(20)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.001, 1)), min_size=1, max_size=5))
def test_pooling_is_the_error_of_one_large_picture(parts: list[tuple[int, float]]) -> None:
    together = pooled([ColourError(pixels, squared) for pixels, squared in parts])
    assert together is not None
    flat = np.concatenate([np.full(pixels, squared) for pixels, squared in parts])
    assert together.pixels == len(flat)
    assert together.squared == pytest.approx(flat.mean())


def test_nothing_pools_to_nothing() -> None:
    assert pooled([]) is None


def test_similarity_is_the_usual_one_where_windows_lie_in_the_picture() -> None:
    rgb = noise(1, 32)
    colour = np.clip(rgb / 255 + np.random.default_rng(2).normal(0, 0.2, rgb.shape), 0, 1).astype(np.float32)
    found, true = (torch.from_numpy(np.asarray(p, np.float64)).movedim(-1, 0)[None] for p in (colour, rgb / 255))
    _, usual = structural_similarity_index_measure(found, true, data_range=1.0, return_full_image=True)
    ours = similarity_map(colour, rgb, everywhere(rgb))
    torch.testing.assert_close(ours[:, 5:-5, 5:-5], usual[0, :, 5:-5, 5:-5], rtol=0, atol=1e-9)
    assert structural_similarity(colour, rgb, everywhere(rgb)) == pytest.approx(float(ours.mean()))
    assert float(ours.mean()) < 0.99


@given(st.integers(0, 2**31))
def test_what_does_not_count_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = noise(seed, 16)
    colour = rng.random(rgb.shape).astype(np.float32)
    counted = rng.random(rgb.shape[:2]) < 0.5
    counted[3, 4] = True
    other = np.where(counted[..., None], colour, rng.random(rgb.shape)).astype(np.float32)
    assert structural_similarity(colour, rgb, counted) == pytest.approx(structural_similarity(other, rgb, counted))
    assert colour_error(colour, rgb, counted) == colour_error(other, rgb, counted)


def flat_view(depth_m: float = 1.0, size: int = 4) -> View:
    """From 2 m above the middle of the workspace straight down."""
    pose = np.array([[0, -1, 0, 0.2], [-1, 0, 0, 0], [0, 0, -1, 2.0], [0, 0, 0, 1.0]])
    camera = Camera(np.array([[8.0, 0, 2], [0, 8.0, 2], [0, 0, 1]]), pose, size, size)
    return View(camera, np.full((size, size, 3), 51, np.uint8), np.full((size, size), depth_m, np.float32))


def test_only_measured_surfaces_in_the_box_count() -> None:
    view, box = flat_view(), Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
    depth_m = view.depth_m.copy()
    depth_m[0, 0], depth_m[0, 1], depth_m[0, 2], depth_m[0, 3] = 0, np.nan, 1.9, 0.3
    counted = workspace_pixels(replace(view, depth_m=depth_m), box)
    assert not counted[0].any()
    assert counted[1:].all()


def test_a_camera_in_the_box_counts_no_pixel_without_a_reading() -> None:
    view = flat_view(depth_m=0.0)
    assert not workspace_pixels(view, Box((-1.0, -1.0, -1.0), (3.0, 3.0, 3.0))).any()


def test_a_score_by_hand() -> None:
    view = flat_view()
    counted = np.zeros((4, 4), np.bool_)
    counted[1, :3] = True
    known = np.zeros((4, 4), np.bool_)
    known[1, 1:] = True  # two of the three that count
    rendered = Picture(
        colour=torch.full((3, 3), 0.3),
        depth_m=torch.tensor([1.0, 1.5, 0.9]),
        feature=torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]]),
        opacity=torch.ones(3),
    )
    truth = KnownFeatures(known, np.array([[1, 0], [2, 0], [7, 7]], np.float32))
    score = score_view(rendered, view, counted, truth)
    assert score.colour.psnr_db == pytest.approx(20, abs=1e-4)
    np.testing.assert_allclose(score.depth_error_m, [0, 0.5, 0.1], atol=1e-6)
    assert score.cosine == pytest.approx(0.5)  # equal, and at right angles


def test_objects_are_neither_background_nor_room() -> None:
    labels = np.array([[0, 1], [2, 5]])
    view = replace(flat_view(size=2), segmentation=labels)
    found = object_pixels(view, {1: "table", 2: "panda", 5: "chest"})
    assert found is not None
    assert found.tolist() == [[False, False], [False, True]]
    assert object_pixels(view, {}) is None
    assert object_pixels(flat_view(), {5: "chest"}) is None


def test_the_room_is_what_the_world_has_without_a_task() -> None:
    pytest.importorskip("mujoco")
    from gnfactor.envs.tabletop.rendering import label_names
    from gnfactor.envs.tabletop.scene import base_scene

    assert set(label_names(base_scene().compile()).values()) == ROOM_LABELS


# Which views


def test_views_are_spread_over_all_and_the_same_each_time(store: Store, tmp_path: Path) -> None:
    config = tiny(tmp_path, "data.views.held_out=[rig0,rig1,rig2]").data
    offered = looks(store.episodes(), config)
    chosen = spread(offered, 6)
    assert chosen == spread(offered, 6)
    assert len(set(map(id, chosen))) == 6
    places = [offered.index(look) for look in chosen]
    assert places == sorted(places)
    assert {look.info.name for look in chosen} == {info.name for info in store.episodes()}
    assert len({look.view for look in chosen}) > 1
    assert spread(offered, 10**6) == offered


def test_held_out_views_are_measured_and_only_where_there_are_none_those_learned_from(
    store: Store, tmp_path: Path
) -> None:
    info = store.episodes()[0]
    assert measured_views(info, 0, tiny(tmp_path).data) == ["rig1"]
    assert measured_views(info, 1, tiny(tmp_path).data) == []  # the rig was not looked through there
    assert measured_views(info, 0, tiny(tmp_path, "data.views.held_out=[]").data) == ["rig0", "rig1", "rig2"]


def test_the_mean_picture_is_the_mean(store: Store, tmp_path: Path) -> None:
    config, infos = tiny(tmp_path).data, store.episodes()[:2]
    found = mean_pictures(store, infos, config, {"rig1"})
    pictures = [
        make_demonstration("push", int(info.name[-1]), rig=3).target_views[frame]["rig1"].rgb
        for info in infos
        for frame in (0, 10, 12, 20)  # not 24: nothing starts from the end
    ]
    assert list(found) == ["rig1"]
    np.testing.assert_allclose(found["rig1"], np.mean(np.asarray(pictures) / 255, 0))


# The whole


def test_the_report_counts_what_it_measured_and_leaves_the_policy_as_it_was(store: Store, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    policy = tiny_policy(config).train()
    seen, unseen = store.episodes()[:1], store.episodes()[1:]
    report = measure(policy, config, store, seen, unseen, quiet(), pictures=5)
    assert policy.training
    assert (report.pictures_seen, report.pictures_unseen) == (4, 5)
    assert report.views == ("rig1",)
    scenes = looks(seen, config.data)
    counted = 0
    for look in scenes:
        view = read_views(store, look.info, {look.frame: [look.view]})[look.frame][look.view]
        counted += int(workspace_pixels(view, policy.config.grid.box).sum())
    assert report.pixels_seen == counted
    figures = report.figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    for key in (
        *("psnr_seen", "psnr_unseen", "psnr_unseen_mean_picture", "psnr_objects", "psnr_objects_wrong_volume"),
        *("depth_error_m", "depth_error_seen_m", "ssim_seen", "ssim_unseen"),
    ):
        assert isinstance(figures[key], float), key
    assert figures["psnr_objects_wrong_volume"] != figures["psnr_objects"]
    assert figures["feature_cosine"] is None
    assert report.table().row_count == 7  # all but the features
    assert report == measure(policy, config, store, seen, unseen, quiet(), pictures=5)


def test_the_ratio_is_that_of_all_pixels_together(store: Store, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    policy = tiny_policy(config)
    (info,) = store.episodes()[:1]
    report = measure(policy, config, store, [], [info], quiet())
    differences = []
    with evaluating(policy):
        for look in looks([info], config.data):
            scene = read_scene(policy, store, info, look.frame, [look.view])
            view = scene.views[look.view]
            counted = workspace_pixels(view, policy.config.grid.box)
            rendered = render_counted(trained_field(policy), scene.volume, view.camera, counted)
            differences.append(rendered.colour.numpy() - view.rgb[counted] / 255)
    assert report.psnr_unseen == pytest.approx(-10 * np.log10(np.square(np.concatenate(differences)).mean()))


def test_another_volume_of_the_same_scene_scores_the_same_and_of_another_scene_not(
    store: Store, tmp_path: Path
) -> None:
    policy = tiny_policy(tiny(tmp_path))
    first, second, _ = store.episodes()
    with evaluating(policy):
        scene, again, other = (
            read_scene(policy, store, info, frame, ["rig1"]) for info, frame in ((first, 0), (first, 0), (second, 12))
        )
        own = scene.objects("rig1")
        assert own.pixels > 0
        assert replace(scene, volume=again.volume).objects("rig1") == own
        assert replace(scene, volume=other.volume).objects("rig1").squared != own.squared


def test_one_unseen_episode_has_no_other_volume(store: Store, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    report = measure(tiny_policy(config), config, store, [], store.episodes()[:1], quiet(), pictures=2)
    assert report.psnr_objects is not None
    assert report.psnr_objects_wrong_volume is None
    assert report.psnr_unseen_mean_picture is None


def test_recorded_cameras_are_measured_where_there_is_no_rig(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path / "plain", episodes=2, tasks=("push",)))
    config = tiny(tmp_path, "data.views.held_out=[]")
    report = measure(tiny_policy(config), config, store, store.episodes()[:1], store.episodes()[1:], quiet(), 3)
    assert report.views == ("front",)
    assert report.psnr_unseen is not None
    assert report.psnr_objects is None
    assert report.pixels_objects == 0


def test_a_store_without_the_views_is_an_error_that_names_them(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path / "plain", episodes=2, tasks=("push",)))
    config = tiny(tmp_path)
    with pytest.raises(DataError, match=r"rig1.*--rig"):
        measure(tiny_policy(config), config, store, [], store.episodes(), quiet())


def test_a_policy_without_a_field_is_an_error(store: Store, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    policy = tiny_policy(config)
    policy.field = None
    with pytest.raises(ConfigError, match="no neural field"):
        measure(policy, config, store, [], store.episodes(), quiet())


def test_features_are_compared_where_they_are_learned(store: Store, tmp_path: Path) -> None:
    config = tiny(
        tmp_path,
        *("policy.field.network.features=16", "policy.field.loss.feature=1", "data.views.teacher.name=segmentation"),
        *("data.views.projection=none", "data.views.channels=16"),
    )
    policy = tiny_policy(config)
    source = feature_source(policy, config, store, quiet())
    assert source is not None
    info = store.episodes()[0]
    view = read_views(store, info, {0: ["rig1"]})[0]["rig1"]
    truth = source(info, 0, "rig1", view)
    assert truth.known.all()  # data.views.pixels is null
    report = measure(policy, config, store, store.episodes()[:1], store.episodes()[1:], quiet(), 2)
    assert report.feature_cosine is not None
    assert -1 <= report.feature_cosine <= 1


def test_no_features_are_asked_for_where_none_are_learned(store: Store, tmp_path: Path) -> None:
    config = tiny(tmp_path, "data.views.teacher.name=segmentation")
    assert feature_source(tiny_policy(config), config, store, quiet()) is None


def test_filled_features_repeat_the_last_known_one() -> None:
    known = np.array([[False, True, False], [False, True, False]])
    filled = KnownFeatures(known, np.array([[1.0], [2.0]])).filled()
    assert filled[..., 0].tolist() == [[1, 1, 1], [1, 2, 2]]


def test_scenes_without_any_surface_in_the_box_are_left_out(store: Store, tmp_path: Path) -> None:
    policy = tiny_policy(tiny(tmp_path))
    scene = read_scene(policy, store, store.episodes()[0], 0, ["rig1"])
    assert isinstance(scene, EncodedScene)
    away = {"rig1": replace(scene.views["rig1"], depth_m=np.zeros((16, 16), np.float32))}
    assert scene.visible() == ["rig1"]
    assert replace(scene, views=away).visible() == []
    assert replace(scene, views=away).with_objects() == []
