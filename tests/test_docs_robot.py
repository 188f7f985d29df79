"""docs/robot.md and the README name commands, options, settings, files and words that there are."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gnfactor.ros.config import load
from gnfactor.ros.watchdog import parse as parse_watchdog
from tests.conftest import REPOSITORY

PAGES = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in ("docs/robot.md", "README.md")}
PAGE = PAGES["docs/robot.md"]
ROBOT = REPOSITORY / "configs/robot/franka_ros.yaml"
GROUPS = "arm|topics|actions|cameras|guard|executor|link|watchdog|calibration|log"
DOORS: dict[str, str] = {
    "gnfactor.ros": "gnfactor.ros.__main__",
    "gnfactor.ros.calibrate": "gnfactor.ros.calibrate",
    "gnfactor.ros.replay": "gnfactor.ros.replay",
    "gnfactor.doctor": "gnfactor.doctor.__main__",
    "data.record": "data.record",
    "data.inspect": "data.inspect",
}


def commands(text: str) -> list[list[str]]:
    """Words of every `python -m` of a page's blocks that is a robot's."""
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if "python -m " in line]
    found = [line[line.index("-m") + 1 :] for line in words]
    return [line for line in found if line[0].startswith("gnfactor.ros") or line[0] == "data.record"]


@cache
def help_of(module: str) -> str:
    main: Callable[[list[str]], Any] = importlib.import_module(DOORS[module]).main
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("argparse.ArgumentParser._print_message", lambda _, text, __=None: said.append(text))
        with pytest.raises(SystemExit):
            main(["--help"])
    return "".join(said)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_there_with_its_options(page: str) -> None:
    found = commands(PAGES[page])
    assert {line[0] for line in found} >= {"gnfactor.ros", "gnfactor.ros.calibrate", "data.record"}
    for line in found:
        for option in (word for word in line if word.startswith("--")):
            assert option in help_of(line[0]), f"{' '.join(line)}: no {option}"


def test_other_commands_are_there(tmp_path: Path) -> None:
    for module in set(re.findall(r"python -m ([a-z_.]+)", PAGE)):
        path = REPOSITORY / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|\n)make ([a-z-]+)", PAGE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    (tmp_path / "watchdog.key").write_text("secret\n")
    assert parse_watchdog(["--timeout", "0.3", "--key-file", str(tmp_path / "watchdog.key")]).timeout == 0.3


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_is_there(page: str) -> None:
    config: Any = load([str(ROBOT)])
    names = set(re.findall(rf"`(?:{GROUPS})\.[a-z_.0-9]+", PAGES[page]))
    for name in names:
        value = config
        for part in name.removeprefix("`").split("."):
            assert part in value if isinstance(value, dict) else hasattr(value, part), f"{name}` is no setting"
            value = value[part] if isinstance(value, dict) else getattr(value, part)
    overrides = re.findall(rf"(?<![\w`])((?:{GROUPS})\.[a-z_]+=[^\s`]+)", PAGES[page])
    assert overrides
    load([str(ROBOT), *overrides])


def test_every_file_is_there() -> None:
    for name in re.findall(r"\b((?:configs|docs|gnfactor|tools)/[\w/.]+\.\w+)", PAGE):
        assert (REPOSITORY / name).is_file(), name


def test_every_refusal_is_said_by_the_program_in_these_words() -> None:
    table = PAGE.partition("| it says |")[2].partition("\n\n")[0]
    words = [word for row in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(words) > 15
    said = "".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "gnfactor/ros").rglob("*.py")))
    said = re.sub(r'"\s*\n\s*f?"', "", said)
    missing = [word for word in words if word not in said]
    assert not missing


def test_the_limits_are_those_of_the_configuration() -> None:
    limits = load([str(ROBOT)]).calibration
    gripper = f"{limits.max_gripper_m * 1000:.0f} mm, {limits.max_worst_gripper_m * 1000:.0f} mm"
    table = f"{limits.max_table_m * 1000:.0f} mm, {limits.max_tilt_deg}°"
    for words in (gripper, table, f"{limits.max_marker_px:.0f} px", f"{limits.max_scale_error * 100:.0f} %"):
        assert f"| {words} |" in PAGE
    assert f"{limits.max_moved_m * 1000:.0f} mm or {limits.max_turned_deg}°" in PAGE
