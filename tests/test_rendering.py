"""Pictures of the built-in world: geometry against measured facts and single rays, and what is drawn at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.rendering import FAR_M, RayRenderer, make_renderer
from gnfactor.envs.tabletop.robot import BASE_BODY, REST_JOINTS, forward_kinematics
from gnfactor.envs.tabletop.scene import TABLE_BODY, base_scene
from gnfactor.errors import ConfigError, SceneError
from gnfactor.geometry import project, unproject
from gnfactor.scene import CAMERAS, TABLE_HEIGHT_M, Camera, View

BALL_M = (0.35, -0.25, 0.90)
SIZE = (128, 128)


def make_world() -> tuple[mujoco.MjModel, mujoco.MjData]:
    spec = base_scene()
    ball = spec.worldbody.add_body(name="ball", pos=BALL_M)
    ball.add_geom(name="ball", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.04, 0, 0), rgba=(1, 0, 0, 1))
    lid = ball.add_body(name="lid", pos=(0, 0.06, 0))
    lid.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.01, 0.01, 0.01), rgba=(0, 0, 1, 1))
    ball.add_site(pos=(0, 0, 0.1), size=(0.03, 0.03, 0.03))
    model = spec.compile()
    data = mujoco.MjData(model)
    Arm(model).place_at_rest(model, data)
    return model, data


def cameras(names: tuple[str, ...] = CAMERAS, size: tuple[int, int] = SIZE) -> list[Camera]:
    return list(tabletop_cameras(forward_kinematics(REST_JOINTS), size, names).values())


def cloud(view: View) -> np.ndarray:
    camera = view.camera
    points = unproject(
        torch.from_numpy(view.depth_m.astype(np.float64)),
        torch.from_numpy(camera.intrinsics),
        torch.from_numpy(camera.world_from_camera),
    )
    return points.numpy()


def camera_from(position: tuple[float, float, float], up: bool) -> Camera:
    """Looks straight up or down."""
    pose = np.diag([1.0, 1.0, 1.0, 1.0]) if up else np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = position
    return Camera(np.array([[100.0, 0, 16], [0, 100, 16], [0, 0, 1]]), pose, 32, 32)


@pytest.mark.parametrize(
    ("name", "position", "forward", "left"),
    [
        ("front", (1.35, 0, 1.58), (-0.9063, 0, -0.4226), (0, -1, 0)),
        ("left_shoulder", (-0.175, 0.2, 1.98), (0.4162, -0.0734, -0.9063), (0.174, 0.985, 0)),
        ("right_shoulder", (-0.175, -0.2, 1.98), (0.4162, 0.0734, -0.9063), (-0.174, 0.985, 0)),
        ("overhead", (-0.175, 0, 2.43), (0.4226, 0, -0.9063), (0, 1, 0)),
    ],
)
def test_fixed_cameras_stand_as_measured(name: str, position: tuple, forward: tuple, left: tuple) -> None:
    (camera,) = cameras((name,))
    pose = camera.world_from_camera
    np.testing.assert_allclose(pose[:3, 3], position)
    np.testing.assert_allclose(pose[:3, 2], forward, atol=1e-4)
    np.testing.assert_allclose(-pose[:3, 0], left, atol=1e-3)
    np.testing.assert_allclose(np.linalg.det(pose[:3, :3]), 1)
    np.testing.assert_allclose(camera.intrinsics, [[175.8386, 0, 64], [0, 175.8386, 64], [0, 0, 1]], atol=1e-4)


def test_wrist_camera_sits_on_the_gripper_as_measured() -> None:
    (camera,) = cameras(("wrist",))
    gripper_from_wrist = np.linalg.solve(forward_kinematics(REST_JOINTS), camera.world_from_camera)
    measured = np.array([[0, -0.9962, 0.0872], [1, 0, 0], [0, 0.0872, 0.9962]])
    np.testing.assert_allclose(gripper_from_wrist[:3, :3] * (-1, -1, 1), measured, atol=1e-4)
    np.testing.assert_allclose(gripper_from_wrist[:3, 3], (-0.05, 0.002, -0.0921), atol=1e-6)
    np.testing.assert_allclose(camera.intrinsics[0, 0], 110.8513, atol=1e-4)


@given(st.sampled_from(CAMERAS), st.sampled_from([32, 64, 200, 256]))
def test_field_of_view_does_not_depend_on_the_size(name: str, size: int) -> None:
    (small,), (large,) = cameras((name,), (size, size)), cameras((name,), (2 * size, 2 * size))
    np.testing.assert_allclose(small.intrinsics[:2] * 2, large.intrinsics[:2])


def test_table_lies_flat_at_its_height_in_every_camera() -> None:
    model, data = make_world()
    table = model.body(TABLE_BODY).id
    for view in RayRenderer(model).render(data, cameras()):
        height = cloud(view)[view.segmentation == table][:, 2]
        assert len(height) > 1000
        # Its edge belongs to the table too; the top is nearly all of it.
        assert np.mean(np.abs(height - TABLE_HEIGHT_M) < 1e-5) > 0.97


def test_a_ball_appears_where_it_projects_to() -> None:
    model, data = make_world()
    for view in RayRenderer(model).render(data, cameras(("front", "right_shoulder", "overhead"))):
        seen = cloud(view)[(view.segmentation == model.body("ball").id) & (view.rgb[..., 0] > 1.5 * view.rgb[..., 2])]
        np.testing.assert_allclose(np.linalg.norm(seen - BALL_M, axis=-1), 0.04, atol=1e-5)
        pixel, depth = project(
            torch.tensor([BALL_M], dtype=torch.float64),
            torch.from_numpy(view.camera.intrinsics),
            torch.from_numpy(view.camera.world_from_camera),
        )
        u, v = pixel[0].round().int().tolist()
        assert view.segmentation[v, u] == model.body("ball").id
        assert abs(view.depth_m[v, u] - (depth.item() - 0.04)) < 3e-3


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CAMERAS), st.integers(0, 127), st.integers(0, 127))
def test_every_pixel_agrees_with_a_single_ray(name: str, u: int, v: int) -> None:
    model, data = world()
    (view,) = RayRenderer(model).render(data, cameras((name,)))
    k, pose = view.camera.intrinsics, view.camera.world_from_camera
    direction = np.array([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], 1])
    length = np.linalg.norm(direction)
    geom = np.zeros(1, np.int32)
    ray = pose[:3, :3] @ direction / length
    distance = mujoco.mj_ray(model, data, pose[:3, 3], ray, None, True, -1, geom, None)
    assert abs(distance / length - view.depth_m[v, u]) < 1e-5
    assert view.segmentation[v, u] == model.body_rootid[model.geom_bodyid[geom[0]]]


def test_labels_are_one_per_thing_and_0_for_floor_and_wall() -> None:
    model, data = make_world()
    found = set().union(*(np.unique(view.segmentation).tolist() for view in RayRenderer(model).render(data, cameras())))
    assert found == {0, *(model.body(name).id for name in (TABLE_BODY, BASE_BODY, "ball"))}


def test_depth_is_0_where_nothing_is_near_enough() -> None:
    model, data = make_world()
    sky, floor = RayRenderer(model).render(
        data, [camera_from((2.6, 0, 1), up=True), camera_from((2.6, 0, FAR_M + 0.1), up=False)]
    )
    assert (sky.depth_m == 0).all()
    assert (floor.depth_m == 0).all()
    (near,) = RayRenderer(model).render(data, [camera_from((2.6, 0, FAR_M - 0.1), up=False)])
    np.testing.assert_allclose(near.depth_m, FAR_M - 0.1, atol=1e-5)


def test_hidden_geoms_are_not_drawn_and_a_new_colour_is() -> None:
    model, data = make_world()
    renderer, overhead = RayRenderer(model), cameras(("overhead",))
    ball = model.body("ball").id
    (before,) = renderer.render(data, overhead)
    model.geom("ball").rgba[:] = (0, 1, 0, 1)
    (green,) = renderer.render(data, overhead)
    pixels = (before.rgb[..., 0] > 2 * before.rgb[..., 1]) & (before.segmentation == ball)
    assert pixels.sum() > 20
    assert (green.rgb[pixels][:, 1] > green.rgb[pixels][:, 0]).all()
    model.geom("ball").rgba[3] = 0
    (clear,) = renderer.render(data, overhead)
    assert (clear.segmentation == ball).sum() < pixels.sum() / 2
    model.geom("ball").rgba[3] = 1
    model.geom("ball").group[:] = 3
    (hidden,) = renderer.render(data, overhead)
    np.testing.assert_array_equal(hidden.segmentation, clear.segmentation)


def test_a_lit_surface_is_brighter_than_one_turned_away() -> None:
    model, data = make_world()
    (view,) = RayRenderer(model).render(data, cameras(("front",)))
    table = view.rgb[view.segmentation == model.body(TABLE_BODY).id].mean(0)
    np.testing.assert_array_less(0.6 * model.geom("table").rgba[:3] * 255, table)
    assert (table <= model.geom("table").rgba[:3] * 255 + 1).all()


def test_rendering_does_not_change_what_happens_next() -> None:
    ends = []
    for rendered in (False, True):
        model, data = make_world()
        renderer = RayRenderer(model)
        for step in range(40):
            data.ctrl[0] = 0.3
            mujoco.mj_step(model, data)
            if rendered and step % 10 == 0:
                renderer.render(data, cameras(("wrist",), (16, 16)))
        ends.append(data.qpos.copy())
    np.testing.assert_array_equal(*ends)


def test_two_threads_give_the_pictures_of_one() -> None:
    def pictures(_: int) -> list[View]:
        model, data = make_world()
        return RayRenderer(model).render(data, cameras())

    alone = pictures(0)
    with ThreadPoolExecutor(2) as pool:
        for views in pool.map(pictures, range(4)):
            for first, second in zip(alone, views, strict=True):
                np.testing.assert_array_equal(first.rgb, second.rgb)
                np.testing.assert_array_equal(first.depth_m, second.depth_m)
                np.testing.assert_array_equal(first.segmentation, second.segmentation)


def test_any_number_of_cores_gives_the_same_pictures_in_the_order_of_the_cameras(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = make_world()
    renderer, seen = RayRenderer(model), cameras()
    data.qpos[0] += 0.3  # the threads' states have to follow
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    expected = renderer.render(data, seen)
    for cores in (2, 3, 8):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        found = renderer.render(data, seen)
        for one, other in zip(found, expected, strict=True):
            assert one.camera is other.camera
            assert np.array_equal(one.rgb, other.rgb)
            assert np.array_equal(one.depth_m, other.depth_m)
            assert np.array_equal(one.segmentation, other.segmentation)
    renderer.close()
    renderer.close()


def test_opengl_sees_what_the_rays_see() -> None:
    model, data = make_world()
    try:
        renderer = make_renderer(model, "gl")
    except ConfigError as error:
        pytest.skip(str(error))
    drawn = renderer.render(data, cameras())
    renderer.close()
    renderer.close()
    for gl, ray in zip(drawn, RayRenderer(model).render(data, cameras()), strict=True):
        same = gl.segmentation == ray.segmentation
        assert same.mean() > 0.99
        assert np.median(np.abs(gl.depth_m - ray.depth_m)[same]) < 1e-4
        assert np.percentile(np.abs(gl.depth_m - ray.depth_m)[same], 99) < 2e-3
        assert np.abs(gl.rgb.astype(float) - ray.rgb).mean() < 15


def test_a_missing_graphics_library_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnfactor.envs.tabletop.gl_rendering.find_library", lambda name: None)
    model, _ = make_world()
    with pytest.raises(ConfigError, match="renderer=ray"):
        make_renderer(model, "gl")


def test_unknown_names_list_the_known_ones() -> None:
    model, _ = make_world()
    with pytest.raises(ConfigError, match="ray, gl"):
        make_renderer(model, "vulkan")
    with pytest.raises(SceneError, match="left_shoulder"):
        cameras(("back",))


_WORLD: list[tuple[mujoco.MjModel, mujoco.MjData]] = []


def world() -> tuple[mujoco.MjModel, mujoco.MjData]:
    """One world for the examples of a law."""
    if not _WORLD:
        _WORLD.append(make_world())
    return _WORLD[0]
