from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor

from data import features as command
from data.dataset import Split, load_split
from data.feature_cache import FeatureCache, find_caches, request_of
from data.features import FeatureSource, fill_cache, main
from data.projection import features_at, principal_components, random_directions
from data.store import Store
from data.targets import kept_pixels
from gnfactor.actions import Box
from gnfactor.config import DataConfig, ViewsConfig, load
from gnfactor.errors import ConfigError, DataError
from gnfactor.field import teachers
from gnfactor.field.teachers import Pictures, TeacherConfig
from tests.synthetic import TINY, make_demonstration, make_store

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
CPU = torch.device("cpu")
SEGMENTATION = ViewsConfig(
    rays=8, pixels=40, teacher=TeacherConfig(name="segmentation", channels=4), projection="none", channels=4
)
LEARNED = ViewsConfig(rays=8, pixels=40, teacher=TeacherConfig(name="dinov2", weights="made/up"), channels=5)


class MadeUpTeacher:
    """Twelve channels at every second pixel, by fixed random filters; stands for a foundation model."""

    name, revision, channels, stride = "dinov2", "made-up", 12, 2.0
    asked = 0

    def __call__(self, pictures: Pictures) -> Tensor:
        type(self).asked += len(pictures.rgb)
        filters = torch.randn(12, 3, 2, 2, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.conv2d(pictures.rgb.float() / 255, filters, stride=2)


@pytest.fixture(autouse=True)
def made_up_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(teachers.TEACHERS, "dinov2", lambda config, device: MadeUpTeacher())
    monkeypatch.setattr(MadeUpTeacher, "asked", 0)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("stores") / "demo", episodes=1, rig=2)


@pytest.fixture
def store(collected: Path, tmp_path: Path) -> Store:
    """A store of two episodes, of each test's own."""
    return Store.open(shutil.copytree(collected, tmp_path / "demo"))


def quiet() -> Console:
    return Console(quiet=True)


def fill(store: Store, views: ViewsConfig) -> FeatureCache:
    return fill_cache(store, DataConfig(views=views), CPU, quiet())


def split_of(store: Store, views: ViewsConfig, said: list[str] | None = None) -> tuple[Split, FeatureSource]:
    config = DataConfig(views=views)
    source = FeatureSource(store, config, CPU, (said if said is not None else []).append)
    return load_split(store, config, ("front",), BOX, field=True, features=source, progress=False), source


def features_in(split: Split) -> dict[tuple[str, int, str], np.ndarray]:
    return {
        (moments.info.name, frame, name): view.feature
        for moments in split.training.moments
        for frame, own in moments.targets.items()
        for name, view in own.items()
        if view.feature is not None
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(config: object, device: object) -> None:
        raise AssertionError("a teacher was built")

    monkeypatch.setattr(command, "build_teacher", build)


PROJECTED = [LEARNED, replace(LEARNED, projection="random"), replace(LEARNED, dtype="fp32"), SEGMENTATION]


@pytest.mark.parametrize("views", PROJECTED, ids=["pca", "random", "fp32", "segmentation"])
def test_features_from_the_cache_are_those_without_it_bit_for_bit(
    store: Store, views: ViewsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, source = split_of(store, views)
    assert (source.from_cache, source.computed) == (0, 2 * 4 * 2)  # two episodes, four frames, two views
    fill(store, views)
    forbid(monkeypatch)
    with_cache, source = split_of(store, views)
    assert (source.from_cache, source.computed) == (16, 0)
    expected, found = features_in(without), features_in(with_cache)
    assert expected.keys() == found.keys()
    for place, feature in expected.items():
        assert feature.dtype == found[place].dtype == (np.float32 if views.dtype == "fp32" else np.float16)
        assert feature.shape == (40, views.channels)
        assert feature.tobytes() == found[place].tobytes()


def test_a_run_with_fewer_views_uses_the_same_cache(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, LEARNED)
    forbid(monkeypatch)
    split, source = split_of(store, replace(LEARNED, held_out=("rig1",), count=1, rays=4, per_step=1))
    assert (source.from_cache, source.computed) == (8, 0)
    assert {name for _, _, name in features_in(split)} == {"rig0"}


@pytest.mark.parametrize("kill_at", [3, 17, 20, 29])  # while fitting, estimating, in the first and second episode
def test_a_killed_run_goes_on_to_the_same_bytes(
    store: Store, collected: Path, tmp_path: Path, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store.open(shutil.copytree(collected, tmp_path / "other"))
    whole = files_of(fill(other, LEARNED).folder)
    plain, before = MadeUpTeacher.__call__, MadeUpTeacher.asked

    def killed(teacher: MadeUpTeacher, pictures: Pictures) -> Tensor:
        if MadeUpTeacher.asked - before >= kill_at:
            raise KeyboardInterrupt
        return plain(teacher, pictures)

    with monkeypatch.context() as patch:
        patch.setattr(MadeUpTeacher, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            fill(store, LEARNED)
    cache = fill(store, LEARNED)
    assert files_of(cache.folder) == whole
    asked = MadeUpTeacher.asked
    assert files_of(fill(store, LEARNED).folder) == whole
    assert MadeUpTeacher.asked == asked  # nothing was computed again


def test_features_of_a_picture_that_changed_are_computed_again(store: Store) -> None:
    cache = fill(store, LEARNED)
    name = "push/variation0/seed0"
    digest, feature = cache.read(name)["0/rig0"]
    arrays = cache.read(name)
    arrays["0/rig0"] = ("of another picture", np.zeros_like(feature))
    cache.write(name, arrays)
    split, source = split_of(store, LEARNED)
    assert (source.from_cache, source.computed) == (15, 1)
    assert features_in(split)[name, 0, "rig0"].tobytes() == feature.tobytes()
    fill(store, LEARNED)
    assert cache.read(name)["0/rig0"][0] == digest


@pytest.mark.parametrize("damage", ["truncated", "flipped", "lost", "no json"])
def test_a_damaged_file_is_never_given_out(store: Store, damage: str) -> None:
    cache = fill(store, LEARNED)
    expected = files_of(cache.folder)
    path = cache.folder / "push/variation0/seed0.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    if damage == "no json":
        path.with_suffix(".json").unlink()
    elif damage == "lost":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[:-10])
    _, source = split_of(store, LEARNED)
    assert (source.from_cache, source.computed) == (8, 8)
    fill(store, LEARNED)
    assert files_of(cache.folder) == expected


def test_a_projection_that_was_changed_is_refused(store: Store) -> None:
    cache = fill(store, LEARNED)
    other = fill(store, replace(LEARNED, projection="random"))
    (cache.folder / "projection.safetensors").write_bytes((other.folder / "projection.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"projection\.safetensors is damaged.*delete the folder"):
        split_of(store, LEARNED)


def test_other_settings_have_other_caches(store: Store) -> None:
    folders = {
        fill(store, views).folder
        for views in (
            LEARNED,
            replace(LEARNED, channels=4),
            replace(LEARNED, pixels=30),
            replace(LEARNED, dtype="fp32"),
        )
    }
    assert len(folders) == 4
    assert all(folder.parent == store.path / ".features" for folder in folders)
    about = json.loads((fill(store, LEARNED).folder / "about.json").read_text())
    assert (about["revision"], about["teacher_channels"]) == ("made-up", 12)
    assert about["request"]["teacher"]["weights"] == "made/up"
    assert len(store.episodes()) == 2  # a folder of features is no episode


def test_another_revision_of_the_teacher_is_told_apart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = fill(store, LEARNED)
    monkeypatch.setattr(MadeUpTeacher, "revision", "trained on")
    (cache.folder / "push/variation0/seed0.json").unlink()
    with pytest.raises(DataError, match=r"by revision made-up of 'dinov2', which now is trained on"):
        split_of(store, LEARNED)
    assert fill(store, LEARNED).folder != cache.folder
    with pytest.raises(DataError, match=r"several features answer the same settings.*made-up.*trained on"):
        split_of(store, LEARNED)


def test_new_episodes_join_a_cache_with_its_own_projection(store: Store) -> None:
    cache = fill(store, LEARNED)
    before = files_of(cache.folder)
    Store.create(store.path).write(make_demonstration("push", 5, rig=2), "push/variation1/seed5")
    assert fill(store, LEARNED).folder == cache.folder
    after = files_of(cache.folder)
    assert {name: after[name] for name in before} == before
    assert "push/variation1/seed5.safetensors" in after


def test_it_is_said_where_features_come_from(store: Store) -> None:
    said: list[str] = []
    split_of(store, LEARNED, said)
    assert "has no such features" in said[0]
    assert "python -m data.features" in said[0]
    assert "computing features by 'dinov2'" in said[1]
    fill(store, LEARNED)
    said.clear()
    split_of(store, LEARNED, said)
    assert len(said) == 1
    assert "revision made-up" in said[0]


def test_segmentation_features_are_those_of_the_pixels_own_label(store: Store) -> None:
    split, _ = split_of(store, SEGMENTATION)
    for moments in split.training.moments:
        original = make_demonstration(moments.info.task, 0, rig=2)
        for frame, own in moments.targets.items():
            for name, view in own.items():
                labels = original.target_views[frame][name].segmentation
                assert labels is not None
                assert view.feature is not None
                u, v = view.pixel.T
                lengths = np.linalg.norm(view.feature.astype(np.float32), axis=1)
                np.testing.assert_allclose(lengths, labels[v, u], atol=1e-3)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5))
def test_a_map_that_is_linear_over_the_picture_is_read_exactly_between_its_cells(
    columns: int, rows: int, wide: int, high: int
) -> None:
    width, height = columns * wide, rows * high
    u = (np.arange(columns) + 0.5) * wide - 0.5
    v = (np.arange(rows) + 0.5) * high - 0.5
    feature_map = np.stack(np.broadcast_arrays(u[None], v[:, None])).astype(np.float32)
    pixel = kept_pixels(np.zeros((height, width, 3), np.uint8), None)
    expected = np.stack((pixel[:, 0].clip(u[0], u[-1]), pixel[:, 1].clip(v[0], v[-1])), -1)
    np.testing.assert_allclose(features_at(feature_map, pixel, width, height), expected, atol=1e-4)


def test_a_map_with_a_cell_for_each_pixel_is_read_exactly() -> None:
    feature_map = np.random.default_rng(0).standard_normal((3, 7, 11)).astype(np.float32)
    pixel = kept_pixels(np.zeros((7, 11, 3), np.uint8), None)
    np.testing.assert_array_equal(features_at(feature_map, pixel, 11, 7), feature_map[:, pixel[:, 1], pixel[:, 0]].T)


def test_reading_a_map_agrees_with_torch() -> None:
    feature_map = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    resized = torch.nn.functional.interpolate(feature_map[None], (12, 9), mode="bilinear", align_corners=False)[0]
    pixel = kept_pixels(np.zeros((12, 9, 3), np.uint8), None)
    found = features_at(feature_map.numpy(), pixel, 9, 12)
    np.testing.assert_allclose(found.T.reshape(3, 12, 9), resized.numpy(), atol=1e-6)


def test_principal_components_keep_what_differs() -> None:
    draws = np.random.default_rng(0)
    basis = np.linalg.qr(draws.standard_normal((9, 9)))[0]
    samples = (draws.standard_normal((500, 9)) * (5, 3, 1, 0, 0, 0, 0, 0, 0)) @ basis.T + 7
    projection = principal_components(np.array_split(samples.astype(np.float32), 4), 3)
    found = projection(samples.astype(np.float32))
    np.testing.assert_allclose(found @ projection.directions.T + projection.mean, samples, atol=1e-3)
    np.testing.assert_allclose(projection.directions.T @ projection.directions, np.eye(3), atol=1e-5)
    assert (np.diff(found.var(0)) < 0).all()
    assert projection.digest == principal_components(np.array_split(samples.astype(np.float32), 4), 3).digest


def test_random_directions_keep_lengths_on_average() -> None:
    draws = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    found = random_directions(64, 32)(draws)
    np.testing.assert_allclose((found**2).sum(1).mean() / (draws**2).sum(1).mean(), 1, atol=0.1)


def test_channels_that_the_teacher_does_not_have_are_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"data\.views\.channels is 13.*only 12 channels.*projection=none"):
        fill(store, replace(LEARNED, channels=13))
    with pytest.raises(ConfigError, match=r"data\.views\.channels is 5, but the teacher 'dinov2' has 12"):
        fill(store, replace(LEARNED, projection="none"))
    assert not (store.path / ".features").exists()


def test_features_too_large_for_half_precision_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MadeUpTeacher.__call__
    monkeypatch.setattr(MadeUpTeacher, "__call__", lambda self, pictures: plain(self, pictures) * 1e6)
    with pytest.raises(ConfigError, match=r"do not fit into fp16; set data\.views\.dtype=fp32"):
        fill(store, replace(LEARNED, projection="random"))


def test_the_command_estimates_fills_and_verifies(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(store.path), "--teacher", "dinov2", "--weights", "made/up", "--channels", "5", "--pixels", "40"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "16 pictures to come, about 0.0 MB and 0 seconds" in told.err.replace("\n", " ")
    assert told.out.strip().startswith(str(store.path / ".features"))
    assert main(arguments) == 0
    assert "2 of 2 episodes are in" in capsys.readouterr().err
    (cache,) = find_caches(store.path, request_of(replace(LEARNED, rays=40)))  # rays do not matter
    assert all(cache.has(info.name) for info in store.episodes())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--teacher", "none"], "name a teacher"),
        (["--teacher", "dino"], "teacher.name is 'dino'"),
        (["--teacher", "dinov2", "--channels", "many"], "data.views.channels"),
        (["--teacher", "dinov2", "--channels", "99"], "only 12 channels"),
        (["--teacher", "dinov2", "data.tasks=[fly]"], "holds no episodes"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_a_mistake_at_the_command_is_one_line(
    store: Store, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(store.path), *arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told
    assert "\n" not in told


def test_training_refuses_features_that_the_field_cannot_learn(tmp_path: Path) -> None:
    from data.training import train

    (tmp_path / "tiny.yaml").write_text(TINY)
    config = ["policy.field.network.features=3", "data.store=nowhere", f"run_dir={tmp_path}"]
    with pytest.raises(ConfigError, match=r"data\.views\.teacher\.name is none.*policy\.field\.loss\.feature=0"):
        train(load([str(tmp_path / "tiny.yaml"), *config]))
    wrong = ["data.views.teacher.name=segmentation", "data.views.channels=16"]
    with pytest.raises(ConfigError, match=r"data\.views\.channels is 16, but policy\.field\.network\.features is 3"):
        train(load([str(tmp_path / "tiny.yaml"), *config, *wrong]))
    with pytest.raises(DataError, match="nowhere"):
        train(load([str(tmp_path / "tiny.yaml"), *config, "policy.field.loss.feature=0"]))
