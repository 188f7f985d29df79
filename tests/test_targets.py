from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data.dataset import Draw, Split, TaskUniformBatches, load_split
from data.episode import CameraInfo, EpisodeInfo
from data.store import Store
from data.targets import (
    DETAIL,
    ELSEWHERE,
    PLAIN,
    KeptPixels,
    draw_rays,
    kept_pixels,
    kinds_of_pixels,
    memory_bytes,
    views_of_frame,
)
from gnfactor.actions import Box
from gnfactor.batch import ViewPixels, collate
from gnfactor.config import DataConfig, ViewsConfig
from gnfactor.errors import ConfigError
from gnfactor.scene import Camera, View
from tests.synthetic import SIZE, make_demonstration, make_store

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
FEW = ViewsConfig(rays=8, pixels=40)
PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(make_store(tmp_path_factory.mktemp("stores") / "demo", episodes=2, rig=3))


def split_of(store: Store, views: ViewsConfig = FEW, **kwargs: object) -> Split:
    config = DataConfig(**{"validation_episodes": 1, "views": views, **kwargs})  # type: ignore[arg-type]
    return load_split(store, config, ("front",), BOX, field=True, progress=False)


def same(one: tuple[ViewPixels, ...], other: tuple[ViewPixels, ...]) -> bool:
    return all(
        np.array_equal(a.pixel, b.pixel) and np.array_equal(a.rgb, b.rgb) and np.array_equal(a.depth_m, b.depth_m)
        for a, b in zip(one, other, strict=True)
    )


@given(PICTURES, st.integers(1, 90))
def test_the_same_picture_gives_the_same_pixels_each_once(rgb: np.ndarray, count: int) -> None:
    pixel = kept_pixels(rgb, count)
    np.testing.assert_array_equal(pixel, kept_pixels(rgb[::-1].copy()[::-1], count))
    height, width, _ = rgb.shape
    assert len({tuple(place) for place in pixel.tolist()}) == len(pixel) == min(count, height * width)
    assert (pixel < (width, height)).all()


def test_other_pictures_give_other_pixels_and_all_are_kept_where_asked_for() -> None:
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert not np.array_equal(kept_pixels(black, 40), kept_pixels(white, 40))
    every = kept_pixels(black[:2, :3], None)
    assert every.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


def made_up_targets(views: int, pixels: int) -> dict[str, KeptPixels]:
    camera = Camera(np.eye(3), np.eye(4), pixels, 1)
    rows = np.arange(pixels)
    return {
        f"rig{k}": KeptPixels(
            camera,
            np.stack((rows, np.full(pixels, k)), -1).astype(np.uint16),
            np.zeros((pixels, 3), np.uint8),
            rows.astype(np.uint16),
            np.asarray([DETAIL, ELSEWHERE, PLAIN, ELSEWHERE, ELSEWHERE, ELSEWHERE], np.uint8)[rows % 6],
            rows[:, None].astype(np.float16),
        )
        for k in range(views)
    }


def on_surface(pixel: np.ndarray) -> np.ndarray:
    return (pixel[:, 0] % 6 == 0) | (pixel[:, 0] % 6 == 2)


@given(st.integers(4, 60), st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_a_share_of_the_pixels_drawn_shows_the_workspace(pixels: int, rays: int, share: float, seed: int) -> None:
    (view,) = draw_rays(made_up_targets(1, pixels), ViewsConfig(rays=rays, surface_share=share), seed)
    assert len(view.pixel) == rays
    assert np.count_nonzero(on_surface(view.pixel)) == round(share * rays)


@given(st.integers(4, 60), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_a_share_of_those_shows_detail(pixels: int, rays: int, surface: float, detail: float, seed: int) -> None:
    config = ViewsConfig(rays=rays, surface_share=surface, detail_share=detail)
    (view,) = draw_rays(made_up_targets(1, pixels), config, seed)
    assert abs(np.count_nonzero(on_surface(view.pixel)) - surface * rays) <= 0.5 + 1e-9
    assert abs(np.count_nonzero(view.pixel[:, 0] % 6 == 0) - surface * detail * rays) <= 0.5 + 1e-9


def test_detail_is_where_colours_change_on_a_surface_in_the_box() -> None:
    rgb, depth = np.full((9, 12, 3), 90, np.uint8), np.ones((9, 12), np.float32)
    rgb[:, 6:, 1] = 200  # an edge between columns 5 and 6
    depth[:3] = 0.0  # no reading
    depth[8] = 9.0  # far behind the box
    intrinsics = np.asarray([[12.0, 0, 5.5], [0, 12.0, 4.0], [0, 0, 1]])
    view = View(Camera(intrinsics, np.eye(4), 12, 9), rgb, depth)
    kind = kinds_of_pixels(view, Box((-1.0, -1.0, 0.5), (1.0, 1.0, 1.5)))
    expected = np.full((9, 12), PLAIN)
    expected[:, 5:7] = DETAIL
    expected[[0, 1, 2, 8]] = ELSEWHERE
    np.testing.assert_array_equal(kind, expected)


def test_a_view_that_shows_only_the_workspace_gives_all_its_pixels_from_there() -> None:
    target = replace(made_up_targets(1, 9)["rig0"], kind=np.full(9, PLAIN, np.uint8))
    (view,) = draw_rays({"rig0": target}, ViewsConfig(rays=9, surface_share=0.5), 0)
    assert sorted(view.pixel[:, 0]) == list(range(9))


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**63 - 1), st.data())
def test_a_draw_is_a_function_of_its_seed_and_repeats_nothing(
    views: int, pixels: int, rays: int, seed: int, data: st.DataObject
) -> None:
    config = ViewsConfig(per_step=data.draw(st.integers(1, views)), rays=rays, pixels=None)
    targets = made_up_targets(views, pixels)
    drawn = draw_rays(targets, config, seed)
    assert same(drawn, draw_rays(targets, config, seed))
    assert len({int(view.pixel[0, 1]) for view in drawn}) == len(drawn) == config.per_step
    for view in drawn:
        assert len(view.pixel) == rays
        assert len(set(view.pixel[:, 0].tolist())) == rays or rays > pixels
        # what belongs to a pixel stays with it
        np.testing.assert_allclose(view.depth_m, view.pixel[:, 0] * 1e-4, atol=1e-7)
        assert view.feature is not None
        np.testing.assert_array_equal(view.feature[:, 0], view.pixel[:, 0])


@given(st.integers(1, 30), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_so_many_of_the_pixels_drawn_show_a_surface_in_the_box(pixels: int, rays: int, share: float, seed: int) -> None:
    config = ViewsConfig(rays=rays, pixels=None, surface_share=share)
    (drawn,) = draw_rays(made_up_targets(1, pixels), config, seed)
    inside = on_surface(drawn.pixel)
    assert len(inside) == rays
    if pixels > 1:  # with only one kind of pixel there is no choice
        assert inside.sum() == round(share * rays)


def test_every_view_and_pixel_is_drawn_in_the_end() -> None:
    targets, config = made_up_targets(4, 20), ViewsConfig(per_step=2, rays=10)
    seen = {
        tuple(place)
        for seed in range(100)
        for view in draw_rays(targets, config, seed)
        for place in view.pixel.tolist()
    }
    assert seen == {(u, k) for u in range(20) for k in range(4)}


def info_with(rig: int, cameras: int = 2, frames: tuple[int, ...] = (0,)) -> EpisodeInfo:
    return EpisodeInfo(
        name="a",
        task="push",
        variation=0,
        seed=0,
        renderer="synthetic",
        instructions=("push",),
        frames=5,
        keyframes=(4,),
        arms=("right",),
        views=tuple(CameraInfo(f"camera{k}", 4, 4, False) for k in range(cameras)),
        target_views=tuple(CameraInfo(f"rig{k}", 4, 4, False) for k in range(rig)),
        target_frames=frames if rig else (),
    )


def test_the_rig_is_learned_from_where_it_is_and_the_cameras_where_it_is_not() -> None:
    info, plain = info_with(rig=3), ViewsConfig()
    assert views_of_frame(info, 0, plain) == ("rig0", "rig1", "rig2")
    assert views_of_frame(info, 1, plain) == views_of_frame(info_with(rig=0), 0, plain) == ("camera0", "camera1")
    named = ViewsConfig(names=("rig2", "camera0"))
    assert views_of_frame(info, 0, named) == ("rig2", "camera0")
    assert views_of_frame(info, 1, named) == ("camera0",)
    assert views_of_frame(info, 1, ViewsConfig(names=("rig2",))) == ("camera0", "camera1")
    assert views_of_frame(info, 0, ViewsConfig(held_out=("rig1",))) == ("rig0", "rig2")
    assert views_of_frame(info, 1, ViewsConfig(held_out=("camera1",))) == ("camera0",)


@given(st.integers(1, 25), st.integers(1, 25), st.sets(st.integers(0, 24)))
def test_a_number_of_views_is_spread_over_those_not_held_out(rig: int, count: int, held_out: set[int]) -> None:
    config = ViewsConfig(count=count, held_out=tuple(f"rig{k}" for k in held_out))
    info = info_with(rig)
    left = views_of_frame(info, 0, replace(config, count=None))
    chosen = views_of_frame(info, 0, config)
    assert len(chosen) == min(count, len(left))
    places = [left.index(name) for name in chosen]
    assert places == sorted(set(places))
    if 2 <= count <= len(left):
        gaps = np.diff(places)
        assert (places[0], places[-1]) == (0, len(left) - 1)
        assert max(gaps) - min(gaps) <= 1


def test_a_sample_shows_pixels_of_its_own_frame(store: Store) -> None:
    split = split_of(store)
    for index, (episode, pair) in enumerate(split.training.items):
        info = split.training.moments[episode].info
        original = make_demonstration(info.task, info.seed or 0, rig=3).target_views[pair.frame]
        (drawn,) = split.training[Draw(index, 0, rays=index)].rays
        (view,) = [
            view
            for view in original.values()
            if np.array_equal(view.camera.world_from_camera, drawn.camera.world_from_camera)
        ]
        u, v = drawn.pixel.T
        np.testing.assert_array_equal(drawn.rgb, view.rgb[v, u])
        np.testing.assert_allclose(drawn.depth_m, view.depth_m[v, u], atol=5.1e-5)


def test_processes_share_the_rays_that_one_alone_would_see(store: Store) -> None:
    samples = split_of(store).training
    whole = [samples[draw].rays for draw in TaskUniformBatches(samples, 6, seed=1).batch(4)]
    parts = [
        samples[draw].rays
        for rank in (0, 1)
        for draw in TaskUniformBatches(samples, 3, seed=1, rank=rank, world=2).batch(4)
    ]
    assert all(same(one, other) for one, other in zip(whole, parts, strict=True))
    again = [samples[draw].rays for draw in TaskUniformBatches(samples, 6, seed=1).batch(5)]
    assert not all(same(one, other) for one, other in zip(whole, again, strict=True))


def test_rays_make_a_batch_and_validation_has_none(store: Store) -> None:
    split = split_of(store, ViewsConfig(rays=8, pixels=40, per_step=2))
    batch = collate([split.training[Draw(n, 0, n)] for n in range(3)], ("front",), (SIZE, SIZE))
    assert batch.rays is not None
    assert batch.rays.pixel.shape == (3, 2, 8, 2)
    assert collate([split.validation[0]], ("front",), (SIZE, SIZE)).rays is None
    assert all(not moments.targets for moments in split.validation.moments)


def test_without_a_field_nothing_of_it_is_read(store: Store) -> None:
    config = DataConfig(validation_episodes=1, views=ViewsConfig(names=("nowhere",)))
    split = load_split(store, config, ("front",), BOX, progress=False)
    assert all(not moments.targets for moments in split.training.moments)
    assert split.training[Draw(0, 0, 3)].rays == ()


def test_cameras_serve_in_a_store_without_a_rig(tmp_path: Path) -> None:
    split = split_of(Store.open(make_store(tmp_path / "store", episodes=2)))
    assert {name for moments in split.training.moments for own in moments.targets.values() for name in own} == {"front"}


def test_memory_is_what_was_said(store: Store) -> None:
    split = split_of(store)
    infos = [moments.info for moments in split.training.moments]
    frames = [sorted(moments.targets) for moments in split.training.moments]
    kept = [view for moments in split.training.moments for own in moments.targets.values() for view in own.values()]
    arrays_of = [(view.pixel, view.rgb, view.depth_units, view.kind) for view in kept]
    real = sum(array.nbytes for own in arrays_of for array in own)
    assert memory_bytes(infos, frames, FEW) == real


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (ViewsConfig(names=("rig0", "rig7")), r"data\.views\.names names \['rig7'\].*front.*rig2"),
        (ViewsConfig(held_out=("rig7",)), r"data\.views\.held_out names \['rig7'\]"),
        (ViewsConfig(per_step=4), r"data\.views\.per_step is 4.*frame 0 of 'lift.*only the views.*rig2"),
        (ViewsConfig(count=4), r"data\.views\.count is 4.*only 3 views"),
    ],
)
def test_views_that_are_not_there_are_refused(store: Store, views: ViewsConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_of(store, views)


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.views\.pixels is 100, but data\.views\.rays draws 512"):
        ViewsConfig(pixels=100)
    with pytest.raises(ConfigError, match=r"data\.views\.names"):
        ViewsConfig(names=())
    with pytest.raises(ConfigError, match=r"data\.views\.count is 1; at least 2"):
        ViewsConfig(count=1, per_step=2)
    ViewsConfig(pixels=None, rays=100_000)
