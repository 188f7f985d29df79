"""Where ROS 1 comes from in tests: links to Debian's modules and to nothing else, and clear words where that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tools"))
import ros  # noqa: E402

sys.path.pop(0)


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has what Debian's packages bring, and more."""
    folder, master = tmp_path / "dist-packages", tmp_path / "rosmaster"
    for name in (*ros.MODULES, "yaml", "numpy"):
        (folder / name).mkdir(parents=True)
    (folder / f"{ros.COMPILED}.cpython-311-x86_64-linux-gnu.so").touch()
    master.touch()
    monkeypatch.setattr(ros, "DEBIAN", folder)
    monkeypatch.setattr(ros, "MASTER", master)
    monkeypatch.setattr(ros, "PYTHON", (3, 11))
    return folder


def test_links_are_to_modules_of_ros_only(debian: Path, tmp_path: Path) -> None:
    ros.link(tmp_path / "ros")
    linked = {path.name: path.readlink() for path in (tmp_path / "ros").iterdir()}
    assert set(linked) == {*ros.MODULES, f"{ros.COMPILED}.cpython-311-x86_64-linux-gnu.so"}
    assert all(target == debian / name for name, target in linked.items())


def test_linking_again_changes_nothing_and_mends_what_is_old(debian: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ros"
    ros.link(folder)
    made = {path.name: path.lstat().st_ino for path in folder.iterdir()}
    (folder / "of_old").symlink_to(debian / "numpy")
    ros.link(folder)
    assert {path.name: path.lstat().st_ino for path in folder.iterdir()} == made


@given(missing=st.sampled_from(ros.MODULES))
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ros, "MODULES", ("surely_not_there_" + missing,))
        assert "surely_not_there_" + missing in ros.lacking()


def test_nothing_is_installed_where_all_is_there(
    debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ros.shutil, "which", lambda name: pytest.fail("apt was asked for"))
    monkeypatch.setattr(ros, "PYTHON", sys.version_info[:2])
    (debian / f"{ros.COMPILED}.cpython-{sys.version_info[0]}{sys.version_info[1]}-any.so").touch()
    assert ros.install(tmp_path / "ros") == 0
    assert "ready: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("apt", "user", "complaint"),
    [(None, 0, "no apt-get here"), ("/usr/bin/apt-get", 1000, "takes root; have this run: apt-get install")],
)
def test_where_it_cannot_be_installed_the_reason_is_told(
    apt: str | None,
    user: int,
    complaint: str,
    debian: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (debian / "rospy").rmdir()
    monkeypatch.setattr(ros, "PYTHON", sys.version_info[:2])
    monkeypatch.setattr(ros.shutil, "which", lambda name: apt)
    monkeypatch.setattr(ros.os, "geteuid", lambda: user)
    assert ros.install(tmp_path / "ros") == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "ros").exists()


def test_another_python_is_refused(
    debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ros, "PYTHON", (3, 9))
    assert ros.install(tmp_path / "ros") == 2
    assert "make env PYTHON=python3.11" in capsys.readouterr().err


def test_a_command_is_refused_before_the_installation(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "tools" / "ros.py"), "run", str(tmp_path / "none"), "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "first: python tools/ros.py install" in done.stderr) == (2, True)
