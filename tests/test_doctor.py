"""The doctor sees what is there, says how to mend what is not, and never imports what may crash."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.config import Config, from_yaml, load, override
from gnfactor.doctor import machine, packages, robots, simulators, weights
from gnfactor.doctor.__main__ import main, page
from gnfactor.doctor.estimate import disk_bytes, memory_bytes, needs_of, parameter_count
from gnfactor.doctor.finding import Finding, lacking
from gnfactor.doctor.imports import Attempt
from gnfactor.doctor.needs import Answer, Needs, Torch, from_json, to_json
from gnfactor.errors import ConfigError
from gnfactor.model import Policy
from tests.conftest import REPOSITORY
from tests.synthetic import TINY

CPU = Torch("2.13.0+cpu", None, ())
CARD = Torch("2.13.0", "13.0", (("H100", 80 * 2**30),))
DECLARED = packages.declared()


@pytest.fixture(scope="module")
def tiny() -> Config:
    return from_yaml(TINY)


@pytest.fixture(scope="module")
def needs(tiny: Config) -> Needs:
    return needs_of(tiny)


numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4)


def dotted(version: list[int]) -> str:
    return ".".join(str(number) for number in version)


@given(found=numbers, wanted=numbers, local=st.sampled_from(["", "+cpu", ".0", ".0.0+cu130"]))
def test_a_version_fits_as_its_numbers_compare(found: list[int], wanted: list[int], local: str) -> None:
    width = max(len(found), len(wanted))
    left, right = ([*version, *[0] * (width - len(version))] for version in (found, wanted))
    version = dotted(found) + local
    assert packages.misfits(version, f">={dotted(wanted)}") == (left < right)
    assert packages.misfits(version, f"<{dotted(wanted)}") == (left >= right)
    assert packages.misfits(version, f">= {dotted(wanted)},<{dotted(wanted)}")
    assert not packages.misfits(version, "")


@given(text=st.text(), size=st.integers(0), cards=st.integers(0, 3), has_torch=st.booleans(), has_needs=st.booleans())
def test_an_answer_comes_back_from_the_other_process_as_it_was(
    text: str, size: int, cards: int, has_torch: bool, has_needs: bool, needs: Needs
) -> None:
    torch = Torch(text, text or None, ((text, size),) * cards) if has_torch else None
    wanted = replace(needs, extras={text: text}, memory_bytes=size, store=text or None) if has_needs else None
    answer = Answer(torch, text, wanted, text)
    assert "\n" not in to_json(answer)
    assert from_json(to_json(answer)) == answer


def test_what_is_lacking_is_a_problem_where_something_needs_it() -> None:
    assert lacking("x", "", "away", "get it").level == "note"
    assert lacking("x", "a=b", "away", "get it") == Finding("x", "problem", "away; a=b needs it", "get it")


def test_the_extras_are_those_that_the_project_declares(tmp_path: Path) -> None:
    assert {"sim", "train", "clip", "diffusion", "dev"} <= DECLARED.extras.keys()
    assert packages.Requirement("mujoco", ">=3.10,<4") in DECLARED.extras["sim"]
    assert "fsspec" in {need.name for need in DECLARED.extras["train"] if need.specifier.startswith(">=")}
    assert DECLARED.tested["torch"][0].isdigit()
    assert not packages.misfits(DECLARED.tested["torch"], DECLARED.core[0].specifier)
    elsewhere = packages.declared(tmp_path)  # as an installed wheel knows them
    assert {need.name for need in elsewhere.extras["sim"]} == {need.name for need in DECLARED.extras["sim"]}
    assert "torch" in {need.name for need in elsewhere.core}
    assert not packages.misfits(DECLARED.tested["torch"], elsewhere.core[0].specifier)
    assert elsewhere.tested == {}


def test_a_package_that_is_missing_or_too_old_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"mujoco": "3.2.0", "scipy": None}
    monkeypatch.setattr(packages, "installed", lambda name: there.get(name, "9999.0"))
    found = {finding.subject: finding for finding in packages.extras(DECLARED, {"sim": "evaluate.env=tabletop"})}
    sim = found["extra sim"]
    assert sim.level == "problem"
    assert sim.found == (
        "mujoco is 3.2.0, >=3.10,<4 is expected, scipy is not installed; evaluate.env=tabletop needs it"
    )
    assert "pip install 'gnfactor[sim]'" in sim.remedy
    assert found["extra clip"].level == "ok"
    assert "lightning 9999.0 (tested: " in found["extra train"].found


def test_python_and_torch_are_held_against_what_is_declared() -> None:
    assert machine.python(DECLARED).level == "ok"
    assert machine.python(replace(DECLARED, python=">=9")).level == "problem"
    assert machine.torch(CPU, "", DECLARED).found == "2.13.0+cpu (CPU build)"
    old = machine.torch(Torch("1.10.0", "11.3", ()), "", DECLARED)
    assert (old.level, old.found) == ("problem", "1.10.0 (for CUDA 11.3); >=2.11 is expected")
    broken = machine.torch(None, "libcudart.so.13: cannot open", DECLARED)
    assert (broken.level, broken.found) == ("problem", "cannot be imported: libcudart.so.13: cannot open")


def test_a_driver_without_a_torch_for_it_is_noticed(needs: Needs, tmp_path: Path) -> None:
    wanted = replace(needs, accelerator="cuda", devices=1)
    assert machine.graphics(CPU, None, tmp_path).level == "note"
    assert machine.graphics(CPU, wanted, tmp_path).level == "problem"
    (tmp_path / machine.NVIDIA_DRIVER).parent.mkdir(parents=True)
    (tmp_path / machine.NVIDIA_DRIVER).touch()
    found = machine.graphics(CPU, None, tmp_path)
    assert (found.level, found.found) == ("note", "there is an NVIDIA driver, but torch is a CPU build")
    assert machine.graphics(CARD, wanted, tmp_path) == Finding("CUDA", "ok", "H100 (80.0 GiB)")
    assert machine.graphics(CARD, replace(wanted, devices=2), tmp_path).remedy == "train.devices=1"


def make_memory(root: Path, total_gib: int, free_gib: int, limit: str = "max") -> None:
    for path, text in (
        (machine.MEMINFO, f"MemTotal: {total_gib * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {free_gib * 2**20} kB\n"),
        (machine.CGROUP_LIMITS[0], f"{limit}\n"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_memory_is_that_of_the_container_or_of_the_card(needs: Needs, tmp_path: Path) -> None:
    make_memory(tmp_path, total_gib=32, free_gib=20)
    assert machine.host_memory(tmp_path) == (32 * 2**30, 20 * 2**30)
    for need_gib, level in ((19, "ok"), (21, "note"), (33, "problem")):
        wanted = replace(needs, memory_bytes=need_gib * 2**30, accelerator="cpu")
        assert machine.memory(CARD, wanted, tmp_path).level == level
    large = replace(needs, memory_bytes=70 * 2**30, accelerator="auto")
    assert machine.memory(CARD, large, tmp_path).level == "ok"
    assert machine.memory(CPU, large, tmp_path).level == "problem"
    two = replace(needs, memory_bytes=11 * 2**30, devices=2, accelerator="cpu")
    assert machine.memory(CPU, two, tmp_path).level == "note"
    make_memory(tmp_path, 32, 20, limit=str(2 * 2**30))
    assert machine.memory(CPU, None, tmp_path).found == "2.0 GiB of 2.0 GiB free"


def test_disk_is_that_of_the_nearest_folder_that_there_is(needs: Needs, tmp_path: Path) -> None:
    small = replace(needs, run_dir="runs/not/yet", disk_bytes=1)
    assert machine.disk(small, tmp_path).level == "ok"
    assert f"free in {tmp_path};" in machine.disk(small, tmp_path).found
    assert machine.disk(replace(small, disk_bytes=2**60), tmp_path).level == "problem"


def test_parameters_are_counted_as_the_policy_has_them(tiny: Config) -> None:
    assert parameter_count(tiny.policy) == sum(weight.numel() for weight in Policy(tiny.policy).parameters())
    published = load([str(REPOSITORY / "configs/gnfactor.yaml")]).policy
    assert parameter_count(published) == 41_769_613 + 3_111_428


def test_the_checkpoints_that_stay_are_counted(tiny: Config) -> None:
    """6 steps, a checkpoint every second: weights, and weights with two moments, of four bytes each."""
    keeps = {"null": 3, "1": 2, "9": 3}
    for keep, kept in keeps.items():
        assert disk_bytes(override(tiny, [f"train.keep={keep}"]), 1000) == kept * 16_000
    assert disk_bytes(override(tiny, ["optim.ema_decay=0.9"]), 1000) == 3 * 20_000


@pytest.mark.parametrize("more", ["train.batch_size=9", "policy.grid.size=16", "optim.ema_decay=0.9"])
def test_more_takes_more_memory(tiny: Config, more: str) -> None:
    assert memory_bytes(override(tiny, [more]), 1000) > memory_bytes(tiny, 1000)


SMALL = [
    *("policy.head.network.perceiver.latents=64", "policy.head.network.perceiver.depth=0"),
    *("policy.head.network.perceiver.dropout=0", "train.batch_size=1"),
]
NO_FIELD = "policy.field=null"
MEASURED: dict[str, tuple[str, list[str], float]] = {
    "the demo": ("quickstart", [], 0.799),
    "voxels": ("gnfactor", [*SMALL, NO_FIELD, "policy.grid.size=40"], 1.237),
    "more voxels": ("gnfactor", [*SMALL, NO_FIELD, "policy.grid.size=60"], 1.996),
    "most voxels": ("gnfactor", [*SMALL, NO_FIELD, "policy.grid.size=80"], 3.259),
    "PerAct": ("peract", [*SMALL, "policy.grid.size=60"], 1.278),
    "the field": ("gnfactor", [*SMALL, "policy.grid.size=20"], 2.036),
    "the Perceiver": ("gnfactor", [NO_FIELD, "policy.grid.size=40", "train.batch_size=1"], 4.657),
    "a batch": ("gnfactor", [NO_FIELD, "policy.grid.size=40", "train.batch_size=2"], 8.421),
}
"""Configuration, and GB of peak memory after one forward and backward pass on a CPU, the two moments added."""


@pytest.mark.parametrize("case", MEASURED)
def test_the_estimate_is_within_a_third_of_what_was_measured(case: str) -> None:
    file, overrides, measured_gb = MEASURED[case]
    config = override(load([str(REPOSITORY / f"configs/{file}.yaml")]), overrides)
    assert memory_bytes(config, parameter_count(config.policy)) / 1e9 == pytest.approx(measured_gb, rel=1 / 3)


def test_a_configuration_needs_the_extras_that_it_uses(tiny: Config, needs: Needs) -> None:
    assert needs.extras == {"train": "training", "sim": "evaluate.env=tabletop"}
    published = needs_of(load([str(REPOSITORY / "configs/gnfactor.yaml"), "evaluate.env=rlbench"]))
    assert published.extras.keys() == {"train", "clip", "diffusion"}
    assert (published.teacher, published.text_encoder, published.env) == ("sd_vae", "clip", "rlbench")
    colour = load([str(REPOSITORY / "configs/gnfactor.yaml"), "policy.field.loss.feature=0"])
    assert needs_of(colour).teacher == "none"
    assert simulators.needed_by(published) == "evaluate.env=rlbench"
    assert simulators.needed_by(needs) == simulators.needed_by(None) == ""


def make_coppeliasim(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "libcoppeliaSim.so").touch()
    return folder


def test_coppeliasim_is_found_where_it_is_said_to_be_and_guessed_where_it_is_not(tmp_path: Path) -> None:
    def level(environ: Mapping[str, str], needed: str = "evaluate.env=rlbench") -> tuple[str, str]:
        finding = simulators.coppeliasim(needed, environ, tmp_path)
        return finding.level, finding.found + finding.remedy

    assert level({}, needed="")[0] == "note"
    assert level({})[0] == "problem"
    folder = str(make_coppeliasim(tmp_path / "opt" / "CoppeliaSim_Edu_V4_1_0_Ubuntu20_04"))
    assert f"export COPPELIASIM_ROOT={folder}" in level({})[1]
    assert "where no libcoppeliaSim.so lies" in level({"COPPELIASIM_ROOT": str(tmp_path)})[1]
    environ = {"COPPELIASIM_ROOT": folder, "LD_LIBRARY_PATH": f"/usr/lib:{folder}/"}
    assert "which is not in QT_QPA_PLATFORM_PLUGIN_PATH" in level(environ)[1]
    assert level({**environ, "QT_QPA_PLATFORM_PLUGIN_PATH": folder}) == ("ok", folder)


def make_package(monkeypatch: pytest.MonkeyPatch, folder: Path, files: Mapping[str, str]) -> None:
    """Something to import from, here and in processes started from here."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    importlib.invalidate_caches()


def test_pypis_pyrep_is_recognised_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert simulators.pyrep("", None).level == "note"
    about = "Metadata-Version: 2.1\nName: pyrep\nVersion: 3.2.0\n"
    trap = {"pyrep/__init__.py": "raise SystemExit('imported')", "pyrep-3.2.0.dist-info/METADATA": about}
    make_package(monkeypatch, tmp_path, trap)
    found = simulators.pyrep("evaluate.env=rlbench", None)
    assert found.level == "problem"
    assert "(version 3.2.0) is PyPI's unrelated program of the same name" in found.found
    assert found.remedy.startswith("pip uninstall pyrep, then pip install from its repository")
    assert simulators.pyrep("", None).level == "note"


PYREP = {"pyrep/backend/sim.py": "", "pyrep/objects/__init__.py": ""}


@pytest.mark.parametrize(
    ("source", "level", "words"),
    [
        ("", "ok", "pyrep"),
        ("raise ImportError('libcoppeliaSim.so.1: cannot open')", "problem", "ImportError: libcoppeliaSim.so.1"),
        ("import os; os.kill(os.getpid(), 11)", "problem", "cannot be imported: ended by signal 11"),
    ],
)
def test_an_import_that_fails_or_crashes_is_a_finding(
    source: str, level: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_package(monkeypatch, tmp_path, {"pyrep/__init__.py": source, **PYREP})
    found = simulators.pyrep("evaluate.env=rlbench", Attempt("-c", "import pyrep"))
    assert (found.level, words in found.found) == (level, True)


def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnfactor.doctor.imports.PATIENCE_S", 0.1)
    assert Attempt("-c", "import time; time.sleep(60)").result().complaint == "did not end within 0 s"
    Attempt("-c", "import time; time.sleep(60)").close()


@pytest.mark.parametrize(
    ("source", "fork"),
    [
        ("nerf_multi_view=True, record_ignore_collisions=True", "GNFactor's fork"),
        ("record_ignore_collisions=True", "PerAct's fork"),
        ("", "upstream"),
    ],
)
def test_which_rlbench_it_is_stands_in_its_sources(
    source: str, fork: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert simulators.rlbench("", None).found == "not installed"
    make_package(monkeypatch, tmp_path, {"rlbench/__init__.py": "", "rlbench/observation_config.py": source})
    assert "is not RLBench" in simulators.rlbench("", None).found
    (tmp_path / "rlbench" / "task_environment.py").touch()
    assert simulators.rlbench("", None).found.endswith(fork)


def test_a_display_counts_if_somebody_answers_there(tmp_path: Path) -> None:
    def level(**environ: str) -> str:
        return simulators.display("evaluate.env=rlbench", environ, tmp_path).level

    assert level(PATH="") == "problem"
    assert level(PATH="", DISPLAY=":7") == "problem"
    assert level(PATH="", DISPLAY="elsewhere:0") == "ok"
    (tmp_path / "tmp" / ".X11-unix").mkdir(parents=True)
    (tmp_path / "tmp" / ".X11-unix" / "X7").touch()
    assert level(PATH="", DISPLAY=":7.0") == "ok"
    (tmp_path / "Xvfb").touch(mode=0o755)
    assert level(PATH=str(tmp_path)) == "ok"
    assert level(PATH=str(tmp_path), DISPLAY=":8") == "problem"
    assert simulators.display("", {"PATH": ""}, tmp_path).level == "note"


def test_the_renderer_needs_a_library_only_where_gl_is_asked_for(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "find_library", lambda name: None)
    assert simulators.renderer(needs).level == "note"
    assert simulators.renderer(replace(needs, renderer="gl")).level == "problem"
    monkeypatch.setattr(simulators, "installed", lambda name: None)
    assert simulators.renderer(needs).level == "problem"
    assert simulators.renderer(None).level == "note"


def test_ros_is_found_in_each_of_its_places(tmp_path: Path) -> None:
    assert robots.ros({}, tmp_path, {}).found.startswith("not found")
    (tmp_path / robots.DEBIAN).mkdir(parents=True)
    assert "Debian's rospy" in robots.ros({}, tmp_path, {}).found
    assert robots.ros({}, tmp_path, {}).remedy.startswith(
        "in a checkout with CPython 3.11: python tools/ros.py install"
    )
    (tmp_path / "opt" / "ros" / "noetic").mkdir(parents=True)
    (tmp_path / "opt" / "ros" / "noetic" / "setup.bash").touch()
    assert robots.ros({}, tmp_path, {}).remedy == "source /opt/ros/noetic/setup.bash"
    sourced = {"ROS_DISTRO": "noetic"}
    assert "neither rospy nor rclpy" in robots.ros(sourced, tmp_path, {}).found
    works = {"rospy": Attempt("-c", "pass")}
    assert robots.ros(sourced, tmp_path, works) == Finding("ROS", "ok", "rospy (noetic)")
    fails = {"rclpy": Attempt("-c", "import nothing_of_this_name")}
    assert "rclpy (noetic) cannot be imported: ModuleNotFoundError" in robots.ros(sourced, tmp_path, fails).found


def keep_in_hub(folder: Path, name: str) -> None:
    snapshot = folder / f"models--{name.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()


def test_weights_are_looked_for_where_they_are_named_and_in_the_hubs_cache(needs: Needs, tmp_path: Path) -> None:
    assert weights.hub_folder({}, tmp_path) == tmp_path / ".cache" / "huggingface" / "hub"
    assert weights.hub_folder({"HF_HOME": "/hf"}, tmp_path) == Path("/hf/hub")
    environ = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    clip = replace(needs, text_encoder="clip")
    assert weights.text_encoder(needs, environ, tmp_path).level == "ok"
    assert "will be downloaded" in weights.text_encoder(clip, environ, tmp_path).found
    keep_in_hub(tmp_path / "hub", "timm/resnet50_clip.openai")
    keep_in_hub(tmp_path / "hub", "openai/clip-vit--large")
    assert weights.text_encoder(clip, environ, tmp_path).level == "ok"
    assert weights.hub_models(tmp_path / "hub") == ["openai/clip-vit--large", "timm/resnet50_clip.openai"]
    assert "openai/clip-vit--large, timm/resnet50_clip.openai" in weights.cache(environ, tmp_path).found

    def teacher(named: str | None, **more: str) -> str:
        wanted = replace(needs, teacher="dinov2", teacher_weights=named)
        return weights.teacher(wanted, {**environ, **more}, tmp_path).level

    assert teacher(None) == "problem"
    assert teacher(str(tmp_path)) == "ok"
    assert teacher(str(tmp_path / "nowhere" / "else")) == "problem"
    assert teacher("facebook/dinov2-small") == "note"
    assert teacher("facebook/dinov2-small", HF_HUB_OFFLINE="1") == "problem"
    assert teacher("timm/resnet50_clip.openai", HF_HUB_OFFLINE="1") == "ok"


def test_a_store_is_there_or_can_be_made(needs: Needs, tmp_path: Path) -> None:
    assert weights.store(replace(needs, store=None), tmp_path).level == "note"
    assert "data.collect" in weights.store(replace(needs, store="demo"), tmp_path).remedy
    (tmp_path / "demo" / ".features" / "abc").mkdir(parents=True)
    (tmp_path / "demo" / ".features" / "abc" / "about.json").touch()
    assert weights.store(replace(needs, store="demo"), tmp_path).found == f"{tmp_path}/demo; 1 caches of features"
    assert weights.store(replace(needs, store="s3://bucket/demo"), tmp_path).level == "note"


def test_the_page_shows_every_finding_and_what_to_do() -> None:
    findings = [
        Finding("extra clip", "problem", "open_clip_torch is not installed", "pip install 'gnfactor[clip]'"),
        Finding("Python", "ok", "a rather long sentence that does not fit on one line"),
    ]
    assert page(findings, ["a.yaml"], 60, colored=False).splitlines() == [
        "problem  extra clip  open_clip_torch is not installed",
        "                     -> pip install 'gnfactor[clip]'",
        "ok       Python      a rather long sentence that does not",
        "                     fit on one line",
        "what a.yaml needs: not all of it works: extra clip",
    ]
    assert page(findings, [], 60, colored=True).startswith("\x1b[1;31mproblem\x1b[0m  extra clip  open")


def test_the_doctor_imports_nothing_heavy_itself() -> None:
    heavy = "('rich', 'torch', 'numpy', 'omegaconf', 'mujoco', 'zarr', 'gnfactor.config')"
    program = f"import sys, gnfactor.doctor.__main__\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_the_exit_status_says_whether_what_was_asked_for_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No machine has 99 cards; the packages of `make env`, with which these tests run, do for a tiny configuration."""
    monkeypatch.chdir(REPOSITORY)
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert main([str(tmp_path / "tiny.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == 0
    subjects = [finding["subject"] for finding in found["findings"]]
    assert len(set(subjects)) == len(subjects)
    assert {"Python", "torch", "memory", "extra sim", "PyRep", "ROS", "text encoder", "store"} <= set(subjects)
    assert main([str(tmp_path / "tiny.yaml"), "train.accelerator=cuda", "train.devices=99"]) == 1
    assert "needs: not all of it works: " in capsys.readouterr().out


def test_a_mistake_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    for args, words in ((["train.step=7"], "train.steps"), (["--jason"], "there is no option --jason")):
        assert main(args) == 2
        said = capsys.readouterr()
        assert words in said.err
        assert (said.out, said.err.count("\n")) == ("", 1)
    assert main(["--help"]) == 0


def test_neither_checkout_nor_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "requires", absent)
    with pytest.raises(ConfigError, match="neither installed nor run from its checkout"):
        packages.declared(tmp_path)
