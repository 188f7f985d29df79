"""What a policy makes of a scene: laws of the heat, of its way into pictures, and the command from end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from rich.console import Console
from torch import Tensor

from data import explain as door
from data.store import Store
from gnfactor.actions import Box
from gnfactor.build import Environment
from gnfactor.checkpoint import CheckpointInfo, TrainedOn, checkpoint_path, write_checkpoint
from gnfactor.config import from_yaml
from gnfactor.envs.base import Env, Scene, SeededScene, Start
from gnfactor.errors import ConfigError, DataError, MissingExtraError, ObservationError
from gnfactor.evaluation.evaluate import evaluate
from gnfactor.evaluation.explain import (
    blend,
    by_logarithm,
    explain,
    heat_colours,
    pixel_of,
    ray_heat,
    solid,
    surface_heat,
    viewpoint,
)
from gnfactor.evaluation.heat import Decision, decide, grad_cam, hires_cam, value_heat
from gnfactor.evaluation.report import Report
from gnfactor.evaluation.settings import EvaluateConfig, Eyes
from gnfactor.geometry import project
from gnfactor.model import Policy
from gnfactor.scene import Camera, Observation, View
from perceiver.perceiver_io import PerceiverConfig
from perceiver.q_head import InputSizes, QHead, QHeadConfig
from perceiver.volume import Volume
from tests.fake_env import TASKS, FakeEnv, PointPolicy
from tests.strategies import boxes, poses, seeds
from tests.synthetic import TINY, make_demonstration

BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
heats = arrays.arrays(np.float64, (4, 4, 4), elements=st.floats(0, 1))


@cache
def tiny_policy() -> Policy:
    torch.manual_seed(0)
    return Policy(from_yaml(TINY).policy).eval()


def from_above(depth_m: float = 1.0, size: int = 9) -> View:
    """Seen from 2 m above the workspace's floor, straight down on a plane."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = (0.2, 0.0, 2.6)
    camera = Camera(np.array([[size, 0, (size - 1) / 2], [0, size, (size - 1) / 2], [0, 0, 1.0]]), pose, size, size)
    return View(camera, np.full((size, size, 3), 100, np.uint8), np.full((size, size), depth_m))


# The heat.


@given(seeds, st.floats(0.1, 1000))
def test_values_sum_to_one_are_largest_where_the_logits_are_and_ignore_a_constant(seed: int, scale: float) -> None:
    logits = scale * torch.randn((2, 3, 4, 5), generator=torch.Generator().manual_seed(seed))
    heat = value_heat(logits)
    torch.testing.assert_close(heat.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64))
    assert heat.flatten(1).argmax(1).tolist() == logits.flatten(1).argmax(1).tolist()
    torch.testing.assert_close(value_heat(logits.double() + 7), value_heat(logits.double()))


def test_the_heat_of_a_delta_is_that_voxel() -> None:
    logits = torch.full((1, 4, 4, 4), -1e4)
    logits[0, 1, 2, 3] = 0
    expected = torch.zeros(1, 4, 4, 4, dtype=torch.float64)
    expected[0, 1, 2, 3] = 1
    assert torch.equal(value_heat(logits), expected)


def test_what_the_score_does_not_depend_on_is_cold() -> None:
    features = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    elsewhere = torch.ones(1, requires_grad=True)
    assert torch.equal(grad_cam(elsewhere * 2, features), torch.zeros(1, 4, 4, 4))
    assert torch.equal(hires_cam(elsewhere * 2, features), torch.zeros(1, 4, 4, 4))


def test_grad_cam_worked_by_hand() -> None:
    features = torch.tensor([[[[[1.0, 4.0]]], [[[3.0, 1.0]]]]], requires_grad=True)  # two channels, two voxels
    score = 4 * features[0, 0, 0, 0, 0] - 2 * features[0, 1, 0, 0, 1]  # mean gradients 2 and -1
    heat = grad_cam(score[None], features)  # max(2 * 1 - 3, 0), max(2 * 4 - 1, 0), over 7
    assert heat.flatten().tolist() == [0, 1]
    assert hires_cam(score[None], features).flatten().tolist() == [1, 0]  # max(4 * 1, 0), max(-2 * 1, 0), over 4


@given(seeds)
def test_heat_of_own_gradients_is_each_voxels_share_of_a_linear_score(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((2, 3, 2, 3, 2), generator=generator).requires_grad_()
    mix = torch.randn((2, 3, 2, 3, 2), generator=generator)
    share = (features * mix).sum(1)
    heat, positive = hires_cam(share.flatten(1).sum(1), features), share.detach().clamp(min=0)
    torch.testing.assert_close(heat, positive / positive.amax((1, 2, 3), keepdim=True).clamp(min=1e-30))


@given(seeds)
def test_grad_cam_is_a_slow_loop_and_no_scene_heeds_another(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((2, 3, 2, 3, 2), generator=generator).requires_grad_()
    mix = torch.randn((2, 3, 2, 3, 2), generator=generator)

    def score(features: Tensor, mix: Tensor) -> Tensor:
        return (torch.tanh(features) * mix).flatten(1).sum(1)

    heat = grad_cam(score(features, mix), features)
    for scene in range(2):
        alone = features[scene : scene + 1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(alone, mix[scene : scene + 1]).sum(), alone)
        slow = torch.zeros(2, 3, 2)
        for channel in range(3):
            slow += gradient[0, channel].mean() * alone[0, channel].detach()
        slow = slow.clamp(min=0)
        torch.testing.assert_close(heat[scene], slow / slow.max() if slow.max() > 0 else slow)


@settings(max_examples=10)
@given(seeds)
def test_behind_the_affine_map_the_weighted_sum_differs_by_a_constant_only(seed: int) -> None:
    """Why Grad-CAM is taken of the stored features: see `grad_cam`."""
    torch.manual_seed(seed)
    small = PerceiverConfig(
        latents=4, latent_width=4, depth=1, latent_heads=1, latent_head_width=4, cross_head_width=4, dropout=0.0
    )
    config = QHeadConfig(width=4, patch=2, hidden=(4,), rotation_bins=4, perceiver=small)
    head = QHead(config, (4, 4, 4), InputSizes(6, 2, 3, 2)).eval()
    stored = Volume(*(torch.randn(shape) for shape in ((1, 2, 4, 4, 4), (6, 2), (6,))))
    sums: list[Tensor] = []
    for volume in (stored, Volume(stored.expand())):
        features = volume.features.detach().requires_grad_()
        tokens, state = torch.ones(1, 2, 3), torch.ones(1, 4)
        score = head(replace(volume, features=features), tokens, state).translation.max()
        (gradient,) = torch.autograd.grad(score, features)
        sums.append((gradient.mean((2, 3, 4), keepdim=True) * features).sum(1).detach())
    difference = sums[0] - sums[1]
    torch.testing.assert_close(
        difference, difference.mean().expand_as(difference), atol=1e-5 * sums[0].abs().max().item() + 1e-7, rtol=0
    )


def test_a_decision_is_the_action_that_the_policy_takes() -> None:
    policy, start = tiny_policy(), make_demonstration("push", 3).observations[0]
    decision = decide(policy, start, "push the square")
    assert decision.voxel == np.unravel_index(decision.value.argmax(), decision.value.shape)
    assert decision.value.sum() == pytest.approx(1)
    assert 0 <= decision.grad_cam.min() <= decision.grad_cam.max() <= 1
    assert 0 <= decision.hires_cam.min() <= decision.hires_cam.max() <= 1
    from gnfactor.agent import Agent

    (action,) = Agent(policy).act([start], ["push the square"])
    np.testing.assert_allclose(action.arms["right"].world_from_gripper[:3, 3], decision.position_m, atol=1e-6)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert decision.occupied.any()
    assert not decision.colour[~decision.occupied].any()


# Its way into pictures.


@given(heats, arrays.arrays(np.uint8, (4, 4, 4, 3)), st.floats(-1, 2))
def test_colours_stay_colours_and_no_heat_leaves_a_picture_grey_but_unpainted(
    heat: np.ndarray, rgb: np.ndarray, shift: float
) -> None:
    for painted in (blend(rgb, heat + shift), heat_colours(heat + shift)):
        assert (painted.dtype, painted.shape) == (np.uint8, rgb.shape)
    grey = (0.5 * rgb + 0.5 * rgb.mean(-1, keepdims=True)).round()
    assert np.array_equal(blend(rgb, np.zeros_like(heat)), grey)


@given(heats)
def test_the_logarithm_keeps_the_order_and_ends_at_one_and_zero(heat: np.ndarray) -> None:
    scaled = by_logarithm(heat)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled.ravel()[heat.ravel().argsort()]) >= 0).all()
    assert not heat.any() or scaled.max() == 1


def test_four_powers_of_ten_are_the_end_of_the_scale() -> None:
    assert by_logarithm(np.array([2.0, 0.2, 0.02, 2e-5, 0.0])) == pytest.approx([1, 0.75, 0.5, 0, 0])


@settings(max_examples=25)
@given(boxes(), poses(), st.tuples(*[st.integers(0, 3)] * 3))
def test_a_marker_is_where_the_centre_of_its_voxel_is_projected(
    box: Box, world_from_camera: Tensor, voxel: tuple[int, int, int]
) -> None:
    lower, upper = np.array(box.lower), np.array(box.upper)
    position = lower + (np.array(voxel) + 0.5) * (upper - lower) / 4
    camera = Camera(np.array([[20.0, 0, 16], [0, 30.0, 12], [0, 0, 1]]), world_from_camera.numpy(), 32, 24)
    intrinsics, centre = torch.from_numpy(camera.intrinsics), torch.from_numpy(position)[None]
    pixels, depths_m = project(centre, intrinsics, world_from_camera)
    (u, v), depth_m = pixels[0].tolist(), depths_m.item()
    seen = depth_m > 0 and -0.5 <= u < 31.5 and -0.5 <= v < 23.5
    assert pixel_of(camera, position) == ((u, v) if seen else None)


@given(heats, st.floats(1.05, 1.95))
def test_surfaces_have_the_heat_of_the_voxel_that_they_lie_in(heat: np.ndarray, depth_m: float) -> None:
    view = from_above(depth_m)
    found = surface_heat(view, heat, BOX)
    layer = int((2.6 - depth_m - 0.6) * 4)
    for v, u in np.ndindex(9, 9):
        x, y = 0.2 + (u - 4) / 9 * depth_m, -(v - 4) / 9 * depth_m
        column, row = int(np.floor((x + 0.3) * 4)), int(np.floor((y + 0.5) * 4))
        near_edge = min(abs((x + 0.3) * 4 - round((x + 0.3) * 4)), abs((y + 0.5) * 4 - round((y + 0.5) * 4))) < 1e-6
        inside = 0 <= column < 4 and 0 <= row < 4
        if not near_edge:
            assert found[v, u] == (heat[column, row, layer] if inside else 0)


@given(heats, st.floats(1.05, 2.2))
def test_a_ray_is_no_colder_than_its_surface_and_no_hotter_than_the_hottest(heat: np.ndarray, depth_m: float) -> None:
    view = from_above(depth_m)
    found = ray_heat(view, heat, BOX)
    assert (found >= surface_heat(view, heat, BOX)).all()
    assert found.max() <= heat.max()


@pytest.mark.parametrize(("layer", "visible"), [(3, True), (2, True), (1, True), (0, False)])
def test_heat_shows_before_a_surface_and_one_voxel_into_it_but_not_behind(layer: int, visible: bool) -> None:
    heat = np.zeros((4, 4, 4))
    heat[:, :, layer] = 1
    surface_m = 2.6 - (0.6 + 0.55)  # a plane in layer 2, seen from above
    assert ray_heat(from_above(surface_m), heat, BOX)[4, 4] == visible


def test_without_a_reading_there_is_no_surface_and_the_ray_goes_through() -> None:
    heat = np.zeros((4, 4, 4))
    heat[:, :, 0] = 1
    for missing in (0.0, np.nan, np.inf):
        assert ray_heat(from_above(missing), heat, BOX)[4, 4] == 1
        assert not surface_heat(from_above(missing), heat, BOX).any()


@given(boxes())
def test_the_viewpoint_shows_the_whole_box_and_no_more(box: Box) -> None:
    camera = viewpoint(box, 64)
    corners = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float64)
    lower, upper = (torch.tensor(edge, dtype=torch.float64) for edge in (box.lower, box.upper))
    world_from_camera = torch.from_numpy(camera.world_from_camera)
    pixels, depth_m = project(lower + corners * (upper - lower), torch.from_numpy(camera.intrinsics), world_from_camera)
    assert (depth_m > 0).all()
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 63 + 1e-6
    assert (pixels.amax(0) - pixels.amin(0)).max() == pytest.approx(63)
    assert torch.linalg.det(world_from_camera[:3, :3]) == pytest.approx(1)


def scene_of(occupied: Sequence[tuple[int, int, int]]) -> Decision:
    """Voxels of different colours, without heat."""
    there, colour = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4, 3), np.uint8)
    for number, voxel in enumerate(occupied, start=1):
        there[voxel], colour[voxel] = True, 40 * number
    nothing = np.zeros((4, 4, 4))
    return Decision(BOX, nothing, nothing, nothing, colour, there, (0, 0, 0), np.zeros(3))


def test_of_two_voxels_in_a_line_the_nearer_is_painted_last() -> None:
    camera = from_above(size=64).camera
    picture = solid(scene_of([(1, 1, 3), (1, 1, 0)]), None, camera)
    lower = np.array(BOX.lower)
    pixel = pixel_of(camera, lower + (np.array((1, 1, 3)) + 0.5) / 4)
    assert pixel is not None
    assert picture[round(pixel[1]), round(pixel[0])].tolist() == [40, 40, 40]


def test_empty_voxels_are_drawn_where_there_is_heat_and_they_are_asked_for() -> None:
    camera, heat = viewpoint(BOX, 64), np.zeros((4, 4, 4))
    heat[2, 2, 2] = 1
    assert (solid(scene_of([]), heat, camera) == 255).all()
    painted = solid(scene_of([]), heat, camera, empty=True)
    assert (painted[(painted != 255).any(-1)] == heat_colours(np.ones(()))).all()
    assert (painted != 255).any()


def test_a_picture_is_drawn_and_holds_all_panels(tmp_path: Path) -> None:
    start = make_demonstration("push", 3).observations[0]
    path = tmp_path / "deep" / "decision.png"
    explain(tiny_policy(), start, "push $the$ square", path, target_m=np.array([0.2, 0.0, 1.0]))
    with Image.open(path) as picture:
        assert picture.width > 2 * 256
        assert picture.height > 3 * 256
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10**6) or []}
    assert {(0, 229, 255), (102, 255, 51)} <= colours  # both markers


def test_a_policy_without_head_cannot_be_explained() -> None:
    class Headless(Policy):
        def __init__(self) -> None:
            super().__init__(from_yaml(TINY).policy)
            del self.head
            self.head = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="no action head"):
        decide(Headless().eval(), make_demonstration().observations[0], "push")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the picture"):
        explain(tiny_policy(), make_demonstration().observations[0], "push", tmp_path / "file" / "a.png")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"gnfactor\[train\]"):
        explain(tiny_policy(), make_demonstration().observations[0], "push", tmp_path / "a.png")


# In an evaluation.


def make_discs(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> Env:
    return FakeEnv(tuple(cameras), image_size, renderer)


class Unmade(FakeEnv):
    """A world that fails to make one task's scenes."""

    def reset(self, scene: Scene) -> Start:
        if isinstance(scene, SeededScene) and scene.task == "tap":
            raise RuntimeError("no tap here")
        return super().reset(scene)


def make_unmade(cameras: Sequence[str], image_size: tuple[int, int], renderer: str) -> Env:
    return Unmade(tuple(cameras), image_size, renderer)


def count_discs() -> dict[str, int]:
    return TASKS


class Recorder:
    """Stands for `explain`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[Observation, str, Path]] = []
        self._error = error

    def __call__(self, observation: Observation, instruction: str, path: Path) -> None:
        self.asked.append((observation, instruction, path))
        if self._error is not None:
            raise self._error


def evaluated(
    explain: Recorder,
    folder: Path,
    console: Console | None = None,
    make: Callable[[Sequence[str], tuple[int, int], str], Env] = make_discs,
) -> Report:
    config = EvaluateConfig(tasks=("touch", "tap"), episodes=2, max_steps=2, controls=("empty_scene",))
    world = Environment(make, count_discs, renderers=("ray",), film_camera="overhead")
    eyes, quiet = Eyes(("overhead",), (32, 32)), console or Console(quiet=True)
    return evaluate(PointPolicy(), eyes, config, folder=folder, console=quiet, world=world, explain=explain)


def test_the_first_question_of_each_task_is_explained_and_stands_in_the_report(tmp_path: Path) -> None:
    recorder = Recorder()
    report = evaluated(recorder, tmp_path)
    assert [(entry.task, entry.path) for entry in report.explained] == [
        ("touch", "explain/touch.png"),
        ("tap", "explain/tap.png"),
    ]
    firsts = {task: next(e for e in report.episodes if e.task == task) for task in ("touch", "tap")}
    for (observation, instruction, path), (task, first) in zip(recorder.asked, firsts.items(), strict=True):
        assert (instruction, path) == (first.instruction, tmp_path / "explain" / f"{task}.png")
        start = FakeEnv(("overhead",), (32, 32)).reset(SeededScene(task, first.variation, first.seed))
        assert observation.step == 0
        np.testing.assert_array_equal(observation.views["overhead"].rgb, start.observation.views["overhead"].rgb)


def test_explanations_can_be_switched_off(tmp_path: Path) -> None:
    recorder = Recorder()
    config = EvaluateConfig(tasks=("touch",), episodes=1, max_steps=1, explain=False)
    world = Environment(make_discs, count_discs, renderers=("ray",), film_camera="overhead")
    eyes = Eyes(("overhead",), (32, 32))
    report = evaluate(
        PointPolicy(), eyes, config, folder=tmp_path, console=Console(quiet=True), world=world, explain=recorder
    )
    assert (report.explained, recorder.asked) == ((), [])


@pytest.mark.parametrize("error", [ObservationError("no such camera"), RuntimeError("out of\nmemory")])
def test_an_evaluation_outlives_a_picture_that_cannot_be_drawn(tmp_path: Path, error: Exception) -> None:
    console = Console(record=True, quiet=False, width=300)
    report = evaluated(Recorder(error), tmp_path, console)
    assert report.explained == ()
    assert report.score.mean == 1
    said = [line for line in console.export_text().splitlines() if "no picture of a decision in" in line]
    assert len(said) == 2
    assert " ".join(str(error).split()) in said[0]


def test_a_scene_that_was_never_seen_is_missed_aloud(tmp_path: Path) -> None:
    console = Console(record=True, quiet=False, width=300)
    report = evaluated(Recorder(), tmp_path, console, make_unmade)
    assert [entry.task for entry in report.explained] == ["touch"]
    assert "no picture of a decision in tap: its first scene was never seen" in console.export_text()


# The command.


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder with a checkpoint and, beside it, the store of two episodes of which the second was held out."""
    store, names = Store.create(tmp_path / "store"), []
    for seed in range(2):
        names.append(f"push/variation{seed}/seed{seed}")
        store.write(make_demonstration("push", seed), names[-1])
    trained_on = TrainedOn(("push",), "synthetic", (names[0],), (names[1],))
    info = CheckpointInfo(3, (), averaged=False, validation=None, trained_on=trained_on)
    path = checkpoint_path(tmp_path / "run", 3)
    write_checkpoint(path, from_yaml(TINY), info, Policy(from_yaml(TINY).policy).state_dict(), {})
    return tmp_path / "run"


def test_the_command_draws_the_first_held_out_episode_into_the_run(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([str(run_dir), str(run_dir.parent / "store"), "--keyframe", "2"]) == 0
    assert (run_dir / "explain" / "push_variation1_seed1_keyframe2.png").is_file()
    assert "push/variation1/seed1, keyframe 2 of 2, 'push the square': chosen" in capsys.readouterr().out


def test_the_command_takes_an_episode_other_words_and_a_file(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_dir.parent / "a.png"
    chosen = ["--episode", "push/variation0/seed0", "--instruction", "lift it", "--out", str(out)]
    assert door.main([str(run_dir), str(run_dir.parent / "store"), *chosen]) == 0
    assert out.is_file()
    assert "push/variation0/seed0, keyframe 1 of 2, 'lift it'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--episode", "push/variation0/seed9"], "has no episode 'push/variation0/seed9'"),
        (["--keyframe", "0"], "--keyframe is 0"),
        (["--keyframe", "3"], "has keyframes 1 to 2"),
        (["--out", "a.jpg"], "has to end in .png"),
        (["--keyframe", "one"], "invalid int value"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    run_dir: Path, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([str(run_dir), str(run_dir.parent / "store"), *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_no_checkpoint_and_no_store_are_told(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([str(run_dir / "nowhere"), str(run_dir.parent / "store")]) == 2
    assert door.main([str(run_dir), str(run_dir)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
