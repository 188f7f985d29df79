"""The voxel grid against plain loops, the published voxelizer, and laws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from gnfactor.actions import Box, contains, position_from_voxel, voxel_from_position
from gnfactor.batch import Views
from gnfactor.errors import ConfigError
from gnfactor.geometry import unproject
from gnfactor.voxels import CELL_CHANNELS, CHANNELS, GridConfig, cloud_from_views, grid_from_views, voxelize
from tests.strategies import boxes, generators, random_views

UNIT = Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
ALL = GridConfig(lower=UNIT.lower, upper=UNIT.upper, size=4, channels=tuple(CHANNELS))


def voxelize_by_loop(points: Tensor, features: Tensor, valid: Tensor, box: Box, size: int) -> tuple[Tensor, Tensor]:
    batch, count, width = features.shape
    sums = torch.zeros(batch, width, size, size, size)
    counts = torch.zeros(batch, 1, size, size, size)
    for scene in range(batch):
        for number in range(count):
            point = points[scene, number]
            if valid[scene, number] and contains(box, point):
                x, y, z = voxel_from_position(point, box, size).tolist()
                sums[scene, :, x, y, z] += features[scene, number]
                counts[scene, 0, x, y, z] += 1
    return sums / counts.clamp(min=1), counts


@given(boxes(), generators(), st.integers(1, 5), st.integers(0, 4))
def test_voxelize_agrees_with_a_loop_over_points(box: Box, generator: torch.Generator, size: int, width: int) -> None:
    lower, upper = torch.tensor(box.lower), torch.tensor(box.upper)
    points = lower + (upper - lower) * (1.4 * torch.rand(2, 40, 3, generator=generator) - 0.2)
    features = torch.randn(2, 40, width, generator=generator)
    valid = torch.rand(2, 40, generator=generator) > 0.2
    cells = voxelize(points, features, valid, box, size)
    mean, count = voxelize_by_loop(points, features, valid, box, size)
    assert torch.equal(cells.count, count)
    torch.testing.assert_close(cells.mean, mean)


def test_voxel_grid_equals_the_published_one(published: Path) -> None:
    tensors = load_file(published / "pieces.safetensors")
    config = GridConfig(size=20)
    points = tensors["voxels/points"]
    features = torch.cat((tensors["voxels/rgb"], points), -1)
    cells = voxelize(points, features, torch.ones(points.shape[:2], dtype=torch.bool), config.box, config.size)
    index = CELL_CHANNELS["index"].values(cells, config).expand(len(points), -1, -1, -1, -1)
    grid = torch.cat((cells.mean, index, CELL_CHANNELS["occupancy"].values(cells, config)), 1)
    assert torch.equal(grid, tensors["voxels/grid"])


def one_point(*position: float) -> Tensor:
    cells = voxelize(torch.tensor([[position]]), torch.ones(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), UNIT, 2)
    return cells.count[0, 0].nonzero()


def test_lower_faces_belong_to_the_box_and_upper_faces_do_not() -> None:
    assert one_point(0.0, 0.0, 0.0).tolist() == [[0, 0, 0]]
    assert one_point(0.5, 0.0, 0.49).tolist() == [[1, 0, 0]]
    for face in ((1.0, 0.5, 0.5), (0.5, 1.0, 0.5), (0.5, 0.5, 1.0), (-1e-6, 0.5, 0.5)):
        assert one_point(*face).numel() == 0


def test_axes_are_x_then_y_then_z() -> None:
    assert one_point(0.9, 0.1, 0.1).tolist() == [[1, 0, 0]]
    assert one_point(0.1, 0.1, 0.9).tolist() == [[0, 0, 1]]


def test_points_that_are_not_numbers_vanish() -> None:
    points = torch.tensor([[[float("nan"), 0.5, 0.5], [0.5, float("inf"), 0.5], [0.5, 0.5, 0.5]]])
    cells = voxelize(points, points, torch.ones(1, 3, dtype=torch.bool), UNIT, 2)
    assert cells.count.sum() == 1
    assert cells.mean.isfinite().all()


def test_gradients_flow_to_the_features() -> None:
    points = torch.tensor([[[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.9, 0.9, 0.9], [3.0, 0, 0]]])
    features = torch.zeros(1, 4, 2, requires_grad=True)
    voxelize(points, features, torch.ones(1, 4, dtype=torch.bool), UNIT, 2).mean.sum().backward()
    assert features.grad is not None
    assert features.grad[0, :, 0].tolist() == [0.5, 0.5, 1.0, 0.0]


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(4, 50_000, 3, generator=generator)
    features = torch.randn(4, 50_000, 3, generator=generator)
    valid = torch.ones(4, 50_000, dtype=torch.bool)
    threads = torch.get_num_threads()
    try:
        grids: list[Tensor] = []
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            grids.append(voxelize(points, features, valid, UNIT, 8).mean)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(grids[0], grids[1])
    assert torch.equal(grids[0], grids[2])


def test_autocast_changes_nothing() -> None:
    views = random_views(2, 2, UNIT, torch.Generator().manual_seed(4))
    exact = grid_from_views(views, ALL)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(grid_from_views(views, ALL), exact)
    assert exact.dtype == torch.float32


def parts(grid: Tensor, config: GridConfig) -> dict[str, Tensor]:
    return dict(zip(config.channels, grid.split([CHANNELS[name].width for name in config.channels], 1), strict=True))


@given(generators())
def test_index_and_offset_together_give_the_mean_position(generator: torch.Generator) -> None:
    box = Box((-0.3, 0.0, 0.2), (0.7, 0.5, 0.9))
    config = replace(ALL, lower=box.lower, upper=box.upper)
    grid = parts(grid_from_views(random_views(2, 2, box, generator), config), config)
    shape = (3, 1, 1, 1)
    lower, upper = torch.tensor(box.lower).view(shape), torch.tensor(box.upper).view(shape)
    rebuilt = lower + (grid["index"] + (grid["offset"] + 0.5) / config.size) * (upper - lower)
    occupied = grid["occupancy"].bool().expand_as(rebuilt)
    torch.testing.assert_close(rebuilt[occupied], grid["xyz"][occupied], rtol=0, atol=1e-5)
    assert grid["offset"].abs().max() <= 0.5 + 1e-5


def test_coordinate_is_the_voxel_centre_in_minus_one_to_one() -> None:
    views = random_views(1, 1, UNIT, torch.Generator().manual_seed(5))
    coordinate = parts(grid_from_views(views, ALL), ALL)["coordinate"][0]
    for index in ([0, 0, 0], [3, 1, 2]):
        centre = position_from_voxel(torch.tensor(index), UNIT, 4)
        torch.testing.assert_close(coordinate[:, index[0], index[1], index[2]], 2 * centre - 1)


@pytest.mark.parametrize("channels", [("rgb", "xyz", "index", "occupancy"), ("xyz", "rgb", "index", "occupancy")])
def test_the_published_orders_have_ten_channels_in_the_order_named(channels: tuple[str, ...]) -> None:
    config = replace(ALL, channels=channels)
    views = random_views(1, 2, UNIT, torch.Generator().manual_seed(6))
    grid = grid_from_views(views, config)
    assert grid.shape[1] == config.width == 10
    everything = parts(grid_from_views(views, ALL), ALL)
    assert torch.equal(grid, torch.cat([everything[name] for name in channels], 1))


def test_a_grid_may_have_no_channel_that_points_carry() -> None:
    views = random_views(2, 1, UNIT, torch.Generator().manual_seed(7))
    grid = grid_from_views(views, replace(ALL, channels=("occupancy",)))
    assert torch.equal(grid, parts(grid_from_views(views, ALL), ALL)["occupancy"])


def test_pixels_without_a_reading_make_no_points() -> None:
    views = random_views(1, 2, UNIT, torch.Generator().manual_seed(8))
    depth_m = views.depth_m.clone()
    depth_m[0, 0, 0, :4] = torch.tensor([0.0, float("nan"), float("inf"), -1.0])
    cloud = cloud_from_views(replace(views, depth_m=depth_m))
    assert not cloud.valid[0, :4].any()
    blind = replace(views, depth_m=torch.zeros_like(depth_m))
    assert (parts(grid_from_views(blind, ALL), ALL)["rgb"] == 0).all()


def test_points_run_camera_by_camera_and_row_by_row() -> None:
    views = random_views(2, 3, UNIT, torch.Generator().manual_seed(9))
    oracle = unproject(views.depth_m, views.intrinsics, views.world_from_camera).reshape(2, -1, 3)
    cloud = cloud_from_views(views)
    assert torch.equal(cloud.position, oracle)
    rgb = CHANNELS["rgb"].values(cloud, ALL)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close((rgb + 1) / 2 * 255, views.rgb.permute(0, 1, 3, 4, 2).reshape(2, -1, 3).float())


def test_black_is_minus_one_and_white_is_one() -> None:
    views = random_views(1, 1, UNIT, torch.Generator().manual_seed(10))
    for shade, value in ((0, -1.0), (255, 1.0)):
        painted: Views = replace(views, rgb=torch.full_like(views.rgb, shade))
        grid = parts(grid_from_views(painted, ALL), ALL)
        occupied = grid["occupancy"].bool().expand_as(grid["rgb"])
        assert occupied.any()
        assert (grid["rgb"][occupied] == value).all()
        assert (grid["rgb"][~occupied] == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ("rgb", "colour")}, r"colour.*known are"),
        ({"channels": ()}, "known are"),
        ({"size": 0}, "size"),
        ({"lower": (0.0, 2.0, 0.0)}, "lower"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(ALL, **changes)


@pytest.mark.gpu
def test_on_a_gpu_nothing_waits_for_the_host_and_the_grid_is_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    views = random_views(2, 2, UNIT, torch.Generator().manual_seed(11))
    there = Views(**{name: value.cuda() for name, value in vars(views).items()})
    torch.cuda.set_sync_debug_mode("error")
    try:
        grid = grid_from_views(there, ALL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(grid.cpu(), grid_from_views(views, ALL), rtol=0, atol=1e-4)
