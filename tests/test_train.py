from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

import train
from gnfactor.checkpoint import checkpoints, load_policy, read_info
from gnfactor.errors import DataError
from gnfactor.training.run_log import read_metrics
from tests.synthetic import TINY, TINY_FIELD, make_store

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a configuration file."""
    path = tmp_path_factory.mktemp("train")
    make_store(path / "store", episodes=3, rig=3)
    (path / "tiny.yaml").write_text(TINY)
    (path / "field.yaml").write_text(TINY_FIELD)
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the runs in processes of their own have: sums in another order round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def arguments(folder: Path, run_dir: Path) -> list[str]:
    frequencies = ["train.validate_every=8", "train.checkpoint_every=4", f"train.steps={STEPS}"]
    files = [str(folder / name) for name in ("tiny.yaml", "field.yaml")]
    return [*files, f"data.store={folder / 'store'}", f"run_dir={run_dir}", *frequencies]


def command(folder: Path, run_dir: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments(folder, run_dir), *overrides],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def whole_run(folder: Path) -> tuple[Path, str, str]:
    """An uninterrupted run: its folder and what it printed. Beside it, to save time, one that is killed."""
    process, victim = command(folder, folder / "whole"), command(folder, folder / "killed")
    deadline = time.monotonic() + 200
    while not checkpoints(folder / "killed") or len(read_metrics(folder / "killed")) < 7:
        assert victim.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return folder / "whole", out, err


def test_a_run_leaves_what_it_promises(whole_run: tuple[Path, str, str]) -> None:
    run_dir, _, _ = whole_run
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "metrics.json",
        "novel_views.png",
        "tensorboard",
    ]
    assert [read_info(path).step for path in checkpoints(run_dir)][-3:] == [16, 20, 24]
    rows = read_metrics(run_dir)
    assert [int(row["step"]) for row in rows if "loss/total" in row] == list(range(1, STEPS + 1))
    assert [int(row["step"]) for row in rows if "validation/translation_m" in row] == [8, 16, 24]
    assert all(float(rows[0][f"loss/field/{name}"]) > 0 for name in ("colour", "feature", "depth"))
    by_keyframe = {name for name in rows[-1] if "keyframe" in name and name.endswith("/translation_m")}
    assert by_keyframe == {f"validation/{task}/keyframe{n}/translation_m" for task in ("push", "lift") for n in (0, 1)}
    loaded = load_policy(run_dir)
    assert loaded.info.step == STEPS
    assert set(loaded.info.instructions) == {"push the square", "please push it", "lift the square", "please lift it"}
    assert loaded.info.validation is not None
    assert load_policy(run_dir, "validation").info.step in (8, 16, 24)


def test_a_run_with_a_field_ends_with_its_figures_on_held_out_views(whole_run: tuple[Path, str, str]) -> None:
    run_dir, out, _ = whole_run
    figures = json.loads((run_dir / "metrics.json").read_text())
    assert figures["views"] == ["rig1"]
    assert figures["held_out"] is True
    assert 0 < figures["pictures_seen"] <= 4
    for name in ("psnr_seen", "psnr_unseen", "psnr_unseen_mean_picture", "psnr_objects", "psnr_objects_wrong_volume"):
        assert 0 < figures[name] < 60, name
    assert figures["depth_error_m"] > 0
    assert "Held-out views" in out
    assert cv2.imread(str(run_dir / "novel_views.png")).std() > 1


def test_figures_are_kept_when_no_picture_can_be_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr("data.training.draw_scene_strip", refuse)
    assert train.main([*arguments(folder, tmp_path), "train.steps=1", "data.views.held_out=[]"]) == 0
    assert "no picture of the views: the disk is full" in (out := capsys.readouterr().out)
    assert "Views learned from" in out
    assert json.loads((tmp_path / "metrics.json").read_text())["held_out"] is False


def test_a_number_of_views_is_not_ignored_where_there_is_no_rig(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_store(tmp_path / "store", episodes=2)
    for name, text in (("tiny.yaml", TINY), ("field.yaml", TINY_FIELD)):
        (tmp_path / name).write_text(text)
    given = [*arguments(tmp_path, tmp_path / "run"), "data.views.count=2", "data.views.held_out=[]"]
    assert train.main(given) == 2
    assert "only the recorded cameras; collect with --rig" in capsys.readouterr().err


def test_a_normal_run_prints_progress_and_errors_and_no_warning(whole_run: tuple[Path, str, str]) -> None:
    _, out, err = whole_run
    assert err == ""
    assert "16 samples to learn from, 4 held out" in out
    assert f"step {STEPS}/{STEPS}" in out
    assert "left" in out
    assert "held-out demonstrations after 8 steps" in out
    assert "Warning" not in out
    assert "Lightning" not in out


def test_a_killed_run_continues_with_the_losses_of_the_uninterrupted_one(
    folder: Path, whole_run: tuple[Path, str, str], one_thread: None
) -> None:
    run_dir = folder / "killed"
    assert read_info(checkpoints(run_dir)[-1]).step < STEPS
    assert len(read_metrics(run_dir)) > read_info(checkpoints(run_dir)[-1]).step
    assert train.main([*arguments(folder, run_dir), "resume=true"]) == 0
    assert read_metrics(run_dir) == read_metrics(whole_run[0])
    weights = [checkpoints(path)[-1] / "model.safetensors" for path in (run_dir, whole_run[0])]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_two_processes_train_together(folder: Path) -> None:
    process = command(folder, folder / "two", "train.devices=2", "train.steps=4", "optim.ema_decay=0.9")
    out, err = process.communicate(timeout=250)
    assert (process.returncode, err) == (0, "")
    assert out.count("16 samples to learn from") == 1
    assert [int(row["step"]) for row in read_metrics(folder / "two") if "loss/total" in row] == [1, 2, 3, 4]
    assert read_info(checkpoints(folder / "two")[-1]).step == 4


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere.yaml"], "no configuration file nowhere.yaml"),
        (["train.batchsize=2"], "did you mean 'train.batch_size'"),
        ([], "data.store is not set"),
        (["data.store=/nowhere"], "/nowhere is not a store"),
        (["data.store=STORE", "data.tasks=[fly]"], "data.tasks names ['fly']"),
        (["data.store=STORE", "policy.cameras=[wrist]"], "wrist"),
        (["data.store=STORE", "policy.image_size=[32,32]"], "16x16"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    given = [str(folder / "tiny.yaml"), f"run_dir={tmp_path}", *args]
    assert train.main([arg.replace("STORE", str(folder / "store")) for arg in given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1


def test_help_explains_and_print_shows_the_merged_configuration(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--help"]) == 0
    assert "resume=true" in capsys.readouterr().out
    assert train.main([]) == 2
    assert "usage" in capsys.readouterr().out
    assert train.main([str(folder / "tiny.yaml"), "train.seed=5", "--print"]) == 0
    assert "seed: 5" in capsys.readouterr().out
