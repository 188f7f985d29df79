"""Recording in RLBench: what is kept of its demonstrations, from where, at which moment, and what may go wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.collect import CollectConfig, collect_episode, jobs_of, main
from data.demonstrators import Filming, world
from data.rlbench_demonstrator import RLBenchDemonstrator
from data.store import Store
from gnfactor.demonstration import Demonstration, ExpertFailure
from gnfactor.envs.base import SeededScene
from gnfactor.envs.rlbench.contract import DIALECTS
from gnfactor.envs.rlbench.rig import FAR_M, Rig, eight_bits, field_deg, seen_depth
from gnfactor.envs.tabletop.cameras import pinhole
from gnfactor.envs.tabletop.rig import RigConfig, rig_cameras
from gnfactor.errors import ConfigError, SceneError, SimulatorError
from gnfactor.geometry import unproject
from gnfactor.scene import ARM, View
from tests import fake_rlbench
from tests.fake_rlbench import PLANE_M, SEGMENT, Simulator, VisionSensor

SCENE = SeededScene("push_buttons", 2, 17)
SMALL = Filming(frames="all", cameras=("front", "wrist"), image_size=16, rig=RigConfig("arc", 3), rig_every=5)
KEYFRAMES = (SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT)
"""The gripper closes, the arm stops, the end; see `fake_rlbench`."""


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def simulator(dialect: str, tmp_path: Path) -> Iterator[Simulator]:
    with fake_rlbench.installed(dialect, tmp_path) as installed:
        yield installed


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Simulator]:
    """Any RLBench."""
    with fake_rlbench.installed("peract_fork", tmp_path) as installed:
        yield installed


def demonstrate(filming: Filming = SMALL, scene: SeededScene = SCENE) -> Demonstration:
    demonstrator = RLBenchDemonstrator(filming)
    made = demonstrator.demonstrate(scene)
    demonstrator.close()
    assert isinstance(made, Demonstration), made
    return made


def moment_of(view: View) -> int:
    """The step of the simulation at which a picture was drawn."""
    assert len(np.unique(view.rgb)) == 1
    return int(view.rgb[0, 0, 0])


def moments(made: Demonstration) -> list[int]:
    """The steps of the simulation at which the frames were observed."""
    return [int(seen.arms[ARM].joint_positions[0]) for seen in made.observations]


def test_every_frame_is_kept_with_its_keyframes_and_steps(simulator: Simulator) -> None:
    made = demonstrate()
    assert len(made.observations) == 3 * SEGMENT + 1
    assert made.keyframes == KEYFRAMES
    assert np.diff(moments(made)).tolist() == [1] * 3 * SEGMENT
    assert [seen.step for seen in made.observations][SEGMENT - 1 : SEGMENT + 2] == [0, 0, 1]
    assert made.observations[7].time_s == pytest.approx(0.35)
    assert made.instructions == ("push the button number 2", "press 2")
    assert (made.task, made.variation, made.seed, made.renderer) == ("push_buttons", 2, 17, "rlbench")


def test_views_are_of_the_very_moment_of_their_frame_and_no_time_passes_for_them(simulator: Simulator) -> None:
    made = demonstrate()
    assert set(made.target_views) == {0, *range(0, 3 * SEGMENT + 1, 5), *KEYFRAMES}
    for frame, views in made.target_views.items():
        assert list(views) == ["rig0", "rig1", "rig2"]
        assert {moment_of(view) for view in views.values()} == {moments(made)[frame]}
    for frame, seen in enumerate(made.observations):
        assert {moment_of(view) for view in seen.views.values()} == {moments(made)[frame]}
    # ten steps when the scene is made, one before the first frame, one for each other frame
    assert simulator.steps == 10 + 1 + 3 * SEGMENT


def test_of_keyframes_alone_the_same_is_kept(simulator: Simulator) -> None:
    every, few = demonstrate(), demonstrate(Filming("keyframes", SMALL.cameras, 16, SMALL.rig))
    kept = (0, *KEYFRAMES)
    assert few.keyframes == (1, 2, 3)
    assert set(few.target_views) == {0, 1, 2, 3}
    assert few.ignore_collisions == tuple(every.ignore_collisions[frame] for frame in kept)
    assert [seen.time_s for seen in few.observations] == [every.observations[frame].time_s for frame in kept]
    assert [seen.step for seen in few.observations] == [0, 1, 2, 3]


def test_flags_are_those_of_the_motion_that_led_to_a_frame(dialect: str, simulator: Simulator) -> None:
    flags = demonstrate().ignore_collisions
    if dialect == "upstream":
        assert not any(flags)
    else:
        assert [flags[frame] for frame in KEYFRAMES] == [False, True, False]
        assert sum(flags) == SEGMENT


def test_every_camera_sees_the_table_where_it_is(one: Simulator) -> None:
    rig = RigConfig("dome", 3)  # its cameras see the table from different heights, those of an arc do not
    made = demonstrate(replace(SMALL, rig=rig))
    expected = rig_cameras(rig, (16, 16))
    for name, view in {**made.target_views[0], **made.observations[0].views}.items():
        depth_m = torch.from_numpy(view.depth_m)
        points = unproject(
            depth_m, torch.from_numpy(view.camera.intrinsics), torch.from_numpy(view.camera.world_from_camera)
        )
        assert (depth_m > 0).any()
        np.testing.assert_allclose(points[depth_m > 0][:, 2], PLANE_M, atol=2e-5)
        if name in expected:
            np.testing.assert_allclose(view.camera.world_from_camera, expected[name].world_from_camera, atol=1e-9)
            np.testing.assert_allclose(view.camera.intrinsics, expected[name].intrinsics, atol=1e-9)


def test_a_failed_attempt_leaves_nothing_in_the_next_one(simulator: Simulator) -> None:
    demonstrator = RLBenchDemonstrator(SMALL)
    simulator.failures = ["late", "unplaceable", "lost connection"]
    failures = [demonstrator.demonstrate(SCENE) for _ in range(3)]
    assert failures == [
        ExpertFailure("RLBench: Could not collect demos."),
        ExpertFailure("RLBench: Could not place the task"),
        ExpertFailure("RLBench: Could not collect demos."),
    ]
    made = demonstrator.demonstrate(SCENE)
    assert isinstance(made, Demonstration)
    assert len(made.observations) == 3 * SEGMENT + 1
    for frame, views in made.target_views.items():
        assert {moment_of(view) for view in views.values()} == {moments(made)[frame] % 256}
    kept = demonstrator._recorder._film._seen
    assert len(kept) <= len(made.target_views), "pictures of failed attempts are not held on to"


def test_the_same_scene_is_drawn_from_the_same_seed_alone(simulator: Simulator) -> None:
    first = demonstrate()
    np.random.seed(5)
    again, other = demonstrate(), demonstrate(scene=SeededScene("push_buttons", 2, 18))
    places = [made.observations[0].arms[ARM].world_from_gripper[0, 3] for made in (first, again, other)]
    assert places[0] == places[1] != places[2]


def test_one_simulator_serves_all_tasks_and_ends_once(one: Simulator) -> None:
    demonstrator = RLBenchDemonstrator(SMALL)
    tasks = ["push_buttons", "open_drawer", "open_drawer"]
    made = [demonstrator.demonstrate(SeededScene(task, 1, 3)) for task in tasks]
    assert [each.task for each in made if isinstance(each, Demonstration)] == tasks
    assert one.launches == 1
    assert [sensor.renderable for sensor in one.sensors] == [False]
    demonstrator.close()
    demonstrator.close()
    assert not one.running


def test_without_a_rig_no_camera_is_made(one: Simulator) -> None:
    made = demonstrate(Filming("all", ("front",), 16))
    assert not made.target_views
    assert not one.sensors


def test_an_error_of_the_rig_is_told_and_not_taken_for_a_failed_motion(
    one: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionSensor, "get_matrix", lambda self: np.eye(4))
    for failures in ([], ["late"]):
        one.failures = failures
        with pytest.raises(SimulatorError, match=r"stands at .* and was put at"):
            RLBenchDemonstrator(SMALL).demonstrate(SCENE)


def test_an_rlbench_that_shows_tasks_something_else_is_refused(one: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = fake_rlbench.Demo
    monkeypatch.setattr(demo, "__getitem__", lambda self, i: type(self._observations[i])(**vars(self._observations[i])))
    with pytest.raises(SimulatorError, match=r"frames \[0, 5, 7, "):
        RLBenchDemonstrator(SMALL).demonstrate(SCENE)


def test_collecting_retries_stores_and_goes_on(one: Simulator, tmp_path: Path) -> None:
    config = CollectConfig(tmp_path / "store", ("push_buttons", "open_drawer"), 2, 0, SMALL, env="rlbench")
    jobs, store = jobs_of(config), Store.create(config.out)
    assert {scene.variation for job in jobs for scene in job.scenes if scene.task == "open_drawer"} == {0, 1}
    demonstrator = RLBenchDemonstrator(SMALL)
    one.failures = ["late", "unplaceable"]
    outcome = collect_episode(jobs[0], demonstrator, store)
    assert outcome.collected
    assert outcome.failures == ("RLBench: Could not collect demos.", "RLBench: Could not place the task")
    assert (jobs[0].scenes[2].name in store, jobs[0].scenes[0].name in store) == (True, False)
    one.failures = []
    again = collect_episode(jobs[0], demonstrator, store)
    assert again.collected
    (info,) = [info for info in store.episodes() if info.name == jobs[0].scenes[0].name] or store.episodes()[:1]
    stored = store.read(info.name, target_views=None)
    assert info.made_with["renderer"] == "rlbench"
    assert info.made_with["rig"].startswith("arc:3")
    assert stored.instructions == (f"push the button number {info.variation}", f"press {info.variation}")
    store.refuse_others_than(config.made_with)


def test_the_command_collects_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("rlbench", "pyrep"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(
            "import sys\nfrom tests.fake_rlbench import modules\n"
            "sys.modules.update({name: made for name, made in modules('upstream').items()})\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":0")
    out = tmp_path / "store"
    small = ["--cameras", "front", "--image-size", "16", "--rig", "arc:2", "--frames", "all"]
    try:
        status = main([str(out), "--env", "rlbench", "--tasks", "open_drawer", "--episodes", "1", *small])
    finally:
        for name in fake_rlbench.modules("upstream"):
            sys.modules.pop(name, None)
    assert status == 0, capsys.readouterr().err
    (info,) = Store.open(out).episodes()
    assert (info.task, info.frames, info.renderer) == ("open_drawer", 3 * SEGMENT + 1, "rlbench")
    assert [view.name for view in info.target_views] == ["rig0", "rig1"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tasks", "fold_laundry", "--episodes", "1"], "no task 'fold_laundry'"),
        (["--tasks", "open_drawer", "--episodes", "1", "--cameras", "spectator"], "no camera ['spectator']"),
        (["--benchmark", "tabletop3"], "leave out --env"),
        (["--tasks", "open_drawer", "--episodes", "1", "--report-only"], "leave out --env"),
    ],
)
def test_a_bad_argument_is_one_line_and_status_2(
    one: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main([str(tmp_path / "store"), "--env", "rlbench", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert complaint in said
    assert "\n" not in said
    assert not (tmp_path / "store").exists()


def test_without_rlbench_the_command_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "store"), "--env", "rlbench", "--tasks", "open_drawer", "--episodes", "1"]) == 2
    said = capsys.readouterr().err.strip()
    assert "never from PyPI" in said
    assert "\n" not in said


def test_worlds_are_chosen_by_name() -> None:
    with pytest.raises(ConfigError, match="no world 'moon'; known are tabletop, rlbench"):
        world("moon")


def test_a_task_that_rlbench_lacks_is_named(one: Simulator) -> None:
    with pytest.raises(SceneError, match="no task 'fold_laundry'"):
        RLBenchDemonstrator(SMALL).demonstrate(SeededScene("fold_laundry", 0, 0))


# Pictures


@given(field=st.floats(10, 150), width=st.integers(4, 200), height=st.integers(4, 200))
def test_a_cameras_field_of_view_is_that_of_its_longer_side(field: float, width: int, height: int) -> None:
    assert field_deg(pinhole(np.eye(4), field, (width, height))) == pytest.approx(field)


@given(st.integers(0, 255))
def test_colours_come_back_from_shares(value: int) -> None:
    for kind in (np.float32, np.float64):
        assert eight_bits(np.full((1, 1, 3), value / 255, kind)).tolist() == [[[value] * 3]]


def test_the_far_plane_is_no_reading() -> None:
    assert seen_depth(np.array([[0.5, FAR_M, np.float32(FAR_M)]])).tolist() == [[0.5, 0, 0]]


@pytest.mark.parametrize("size", [(16, 16), (24, 12), (10, 30)])
def test_a_rig_has_the_intrinsics_that_it_was_asked_for(one: Simulator, size: tuple[int, int]) -> None:
    cameras = rig_cameras(RigConfig("dome", 4, field_deg=45.0), size)
    rig = Rig(VisionSensor, cameras, fake_rlbench.RenderMode.OPENGL)  # type: ignore[arg-type]
    for name, view in rig.look().items():
        np.testing.assert_allclose(view.camera.intrinsics, cameras[name].intrinsics, atol=1e-9)
        assert view.rgb.shape == (size[1], size[0], 3)
    rig.close()
    assert not one.sensors
