"""Released files become checkpoints that act as the published networks do; all others are refused in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import eval as evaluation
from gnfactor.checkpoint import load_policy
from gnfactor.config import Config, load, override
from gnfactor.import_checkpoint import METHODS, TASKS, main
from gnfactor.model import Policy
from gnfactor.published import our_name
from tests.conftest import REPOSITORY

SIZES = [
    "policy.grid.size=20",
    "policy.encoder.channels=16",
    "policy.head.network.width=16",
    "policy.head.network.hidden=[256,16]",
    "policy.head.network.perceiver.latents=32",
    "policy.head.network.perceiver.latent_width=48",
    "policy.head.network.perceiver.depth=2",
    "policy.head.network.perceiver.latent_heads=4",
    "policy.head.network.perceiver.latent_head_width=16",
    "policy.head.network.perceiver.cross_head_width=16",
]
"""Of the small networks whose published outputs are known."""
FIELD_SIZES = ["policy.field.network.width=32", "policy.field.network.features=12"]
OVERRIDES = {"gnfactor": [*SIZES, *FIELD_SIZES], "peract": SIZES}
WORKSPACE = {
    "_voxelizer._index_grid": torch.zeros(1, 4, 4, 4, 3),
    "_voxelizer._flat_output": torch.zeros(8),
    "_voxelizer._ones_max_coords": torch.ones(4),
}


@pytest.fixture(autouse=True)
def hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests survive no power cut, and so need not wait for the disk."""
    monkeypatch.setattr("gnfactor.checkpoint.os.fsync", lambda handle: None)


def published_weights(published: Path, method: str, prefix: str = "_qnet.") -> dict[str, Tensor]:
    """The small published policy network, under the keys of a released file."""
    tensors = load_file(published / f"{method}_small.safetensors")
    return {prefix + key.removeprefix("weights/"): t for key, t in tensors.items() if key.startswith("weights/")}


def field_weights(published: Path, prefix: str = "_neural_renderer.", channels: int = 16) -> dict[str, Tensor]:
    """The small published field, twice, with its encoding; made-up where it reads a volume of other channels."""
    pieces = load_file(published / "pieces.safetensors")
    tensors = {f"{prefix}nerf_model.code._freqs": (1.5 * 2.0 ** torch.arange(6)).repeat_interleave(2).view(1, 12, 1)}
    tensors[f"{prefix}nerf_model.code._phases"] = torch.zeros(1, 12, 1)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in pieces.items():
        if not key.startswith("field/weights/"):
            continue
        if "lin_z" in key and key.endswith("weight") and channels != tensor.shape[1]:
            tensor = torch.randn(tensor.shape[0], channels, generator=generator)
        for copy in ("coarse", "fine"):
            tensors[f"{prefix}nerf_model.mlp_{copy}.{key.removeprefix('field/weights/')}"] = tensor
    return tensors


def released(published: Path, method: str) -> dict[str, Tensor]:
    tensors = published_weights(published, method) | WORKSPACE
    return tensors | field_weights(published) if method == "gnfactor" else tensors


def run(folder: Path, content: Any, method: str, *options: str) -> int:
    """Save as a released file, import it to `folder`/out."""
    torch.save(content, folder / "released.pt")
    return main([str(folder / "released.pt"), str(folder / "out"), "--method", method, *options])


def imported(folder: Path) -> Policy:
    return load_policy(folder / "out").policy


def check_outputs(policy: Policy, published: Path, method: str) -> None:
    tensors = load_file(published / f"{method}_small.safetensors")
    assert policy.head is not None
    with torch.no_grad():
        volume = policy.encoder(tensors["input/voxels"])
        q = policy.head.network(volume, tensors["input/language_tokens"], tensors["input/proprioception"])
    found = {"translation": q.translation[:, None], "rotation": q.rotation, "gripper": q.gripper}
    for name, output in {**found, "collision": q.collision}.items():
        torch.testing.assert_close(output, tensors[f"output/{name}_logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "_qnet.", "_qnet.module."])
@pytest.mark.parametrize("method", METHODS)
def test_the_imported_policy_gives_the_published_outputs(
    method: str, prefix: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = published_weights(published, method, prefix) | WORKSPACE
    alone = [*SIZES]
    assert run(tmp_path, tensors, method, *alone) == 0
    check_outputs(imported(tmp_path), published, method)
    said = capsys.readouterr().out
    assert "no neural field in it" in said
    assert all(key in said for key in WORKSPACE)
    assert METHODS[method].title in said


@pytest.mark.parametrize("prefix", ["_neural_renderer.", "_neural_renderer.module."])
def test_the_imported_field_gives_the_published_outputs(prefix: str, published: Path, tmp_path: Path) -> None:
    """The published piece reads a volume of 8 channels, so that a made-up policy of that width stands before it."""
    sizes = [*OVERRIDES["gnfactor"], "policy.encoder.channels=8"]
    torch.manual_seed(0)
    made_up = Policy(override(Config(policy=METHODS["gnfactor"].policy), sizes).policy)
    tensors = as_released(made_up, published) | field_weights(published, prefix, channels=8)
    assert run(tmp_path, tensors, "gnfactor", *sizes) == 0
    pieces = load_file(published / "pieces.safetensors")
    policy = imported(tmp_path)
    assert policy.field is not None
    raw = policy.field.network(pieces["field/canonical_xyz"], pieces["field/directions"], pieces["field/latent"])
    torch.testing.assert_close(raw, pieces["field/raw_output"], rtol=1e-5, atol=1e-5)
    assert policy.config.field is not None


def as_released(policy: Policy, published: Path) -> dict[str, Tensor]:
    """A policy's weights under the published names, with the axes of length one that those have."""
    assert policy.head is not None
    state = {f"encoder.{name}": tensor for name, tensor in policy.encoder.state_dict().items()}
    state |= {f"head.{name}": tensor for name, tensor in policy.head.network.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for line in (published / "gnfactor_state_dict.tsv").read_text().splitlines()[1:]:
        key, shape = line.split("\t")
        name = our_name(key)
        if name in state:
            tensor = state[name]
            tensors[f"_qnet.module.{key}"] = tensor[(None,) * (name == "head.positions") + (...,)]
            if name == "encoder.map.weight":
                tensors[f"_qnet.module.{key}"] = tensor.view(*tensor.shape, 1, 1, 1)
            assert tensors[f"_qnet.module.{key}"].ndim == len([n for n in shape.split("x") if n])
    return tensors


@pytest.mark.parametrize("method", METHODS)
def test_the_default_sizes_are_those_of_the_released_files(method: str, published: Path) -> None:
    with torch.device("meta"):
        policy = Policy(METHODS[method].policy)
    assert policy.head is not None
    wanted = {f"encoder.{name}": t.numel() for name, t in policy.encoder.state_dict().items()}
    wanted |= {f"head.{name}": t.numel() for name, t in policy.head.network.state_dict().items()}
    found: dict[str, int] = {}
    for line in (published / f"{method}_state_dict.tsv").read_text().splitlines()[1:]:
        key, shape = line.split("\t")
        name = our_name(key)
        if name is not None:
            found[name] = torch.Size(int(n) for n in shape.split("x") if n).numel()
    assert found == wanted


def test_what_the_weights_assume_is_what_the_shipped_configurations_say() -> None:
    for method in METHODS:
        shipped = load([str(REPOSITORY / f"configs/{method}.yaml")]).policy
        ours = override(Config(policy=METHODS[method].policy), ["policy.cameras=[front]"]).policy
        assert ours == shipped
    assert METHODS["gnfactor"].policy.cameras == ("front",)
    assert METHODS["peract"].policy.cameras == ("front", "left_shoulder", "right_shoulder", "wrist")
    ten = load([str(REPOSITORY / "configs/tasks/rlbench10.yaml")])
    assert ten.data.tasks == TASKS
    assert METHODS["gnfactor"].policy.grid.channels == ("rgb", "xyz", "index", "occupancy")
    assert METHODS["peract"].policy.grid.channels == ("xyz", "rgb", "index", "occupancy")


def test_the_checkpoint_says_where_it_comes_from(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "90000"
    folder.mkdir(parents=True)
    assert run(folder, released(published, "peract"), "peract", *SIZES, "policy.episode_length=15") == 0
    loaded = load_policy(folder / "out")
    assert loaded.info.step == 90_000
    assert loaded.info.trained_on is not None
    assert loaded.info.trained_on.renderer == "rlbench"
    assert loaded.info.trained_on.tasks == TASKS
    assert loaded.config.policy.episode_length == 15
    assert loaded.config.evaluate.max_steps == 25
    other = ["--step=7", "data.tasks=[open_drawer]", "policy.cameras=[wrist]"]
    source = str(folder / "released.pt")
    assert main([source, str(folder / "step=7"), "--method=peract", *SIZES, *other]) == 0
    again = load_policy(folder / "step=7")
    assert (again.info.step, again.config.data.tasks, again.policy.config.cameras) == (7, ("open_drawer",), ("wrist",))


def test_an_imported_policy_is_evaluated_as_any_other(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*SIZES, "policy.cameras=[front]", "policy.language.encoder=hashing"]
    assert run(tmp_path, released(published, "peract"), "peract", *options) == 0
    evaluate = ["tasks=[open_drawer]", "episodes=1", "max_steps=1", "processes=1", "explain=false", "device=cpu"]
    assert evaluation.main([str(tmp_path / "out"), *evaluate, f"run_dir={tmp_path / 'report'}"]) == 0
    assert "learned from pictures by 'rlbench'" in capsys.readouterr().err
    assert (tmp_path / "report" / "report.json").is_file()


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def refused(folder: Path, capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one line that was said; nothing was written."""
    assert status == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["released.pt"]
    return said.err


def test_a_file_that_would_run_a_program_is_refused_and_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(tmp_path, capsys, run(tmp_path, {"_qnet.x": Hostile(tmp_path / "was here")}, "gnfactor"))
    assert "mkdir" in line
    assert "weights_only" not in line


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(
    share: float, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(WORKSPACE, tmp_path / "released.pt")
    whole = (tmp_path / "released.pt").read_bytes()
    (tmp_path / "released.pt").write_bytes(whole[: int(share * len(whole))])
    status = main([str(tmp_path / "released.pt"), str(tmp_path / "out"), "--method", "gnfactor"])
    assert "cannot be read" in refused(tmp_path, capsys, status)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2**20), byte=st.integers(0, 255), legacy=st.booleans())
def test_a_damaged_byte_never_becomes_a_traceback(
    at: int, byte: int, legacy: bool, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(WORKSPACE, tmp_path / "released.pt", _use_new_zipfile_serialization=not legacy)
    content = bytearray((tmp_path / "released.pt").read_bytes())
    content[at % len(content)] = byte
    (tmp_path / "released.pt").write_bytes(content)
    refused(tmp_path, capsys, main([str(tmp_path / "released.pt"), str(tmp_path / "out"), "--method", "gnfactor"]))


FINE = "_neural_renderer.nerf_model.mlp_fine.lin_in.bias"
MISFITS: dict[str, tuple[str, dict[str, Tensor | None], str]] = {
    "unknown": (
        "gnfactor",
        {"_qnet.backbone.weight": torch.ones(1), "_neural_renderer.other": torch.ones(1)},
        "holds what no released GNFactor or PerAct does: _neural_renderer.other, _qnet.backbone.weight;",
    ),
    "missing": ("peract", {"_qnet.latents": None}, "the checkpoint lacks head.perceiver.latents;"),
    "shape": (
        "peract",
        {"_qnet.latents": torch.ones(3, 48)},
        "shapes of head.perceiver.latents ([3, 48], the",
    ),
    "axes": ("peract", {"_qnet.pos_encoding": torch.ones(())}, "shapes of head.positions ([]"),
    "whole numbers": ("peract", {"_qnet.latents": torch.ones(32, 48).int()}, "kind of numbers of head.perceiver.lat"),
    "not finite": ("peract", {"_qnet.latents": torch.full((32, 48), torch.nan)}, "not finite numbers, the first is"),
    "twice": ("peract", {"latents": torch.ones(32, 48)}, "more than one of head.perceiver.latents;"),
    "field differs": ("gnfactor", {FINE: torch.zeros(32)}, "coarse and fine field, one network in the publication"),
    "field halved": ("gnfactor", {FINE: None}, "the checkpoint's fine field lacks inward.bias"),
    "field twice": (
        "gnfactor",
        {FINE.replace("renderer", "renderer.module"): torch.zeros(32)},
        "the checkpoint's field holds more than one of inward.bias",
    ),
    "field shape": ("gnfactor", {FINE: torch.zeros(31)}, "shapes of inward.bias ([31], the model's [32])"),
    "encoding": (
        "gnfactor",
        {"_neural_renderer.nerf_model.code._freqs": torch.arange(12.0).view(1, 12, 1)},
        "encodes positions with the frequencies [0.0, 1.0",
    ),
    "field of PerAct": ("peract", {FINE: torch.zeros(32)}, "which PerAct does not have; --method gnfactor"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_file_that_does_not_fit_is_refused_by_what_does_not_fit(
    case: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, changes, words = MISFITS[case]
    tensors: dict[str, Tensor | None] = {**released(published, method), **changes}
    content = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    assert words in refused(tmp_path, capsys, run(tmp_path, content, method, *OVERRIDES[method]))


@pytest.mark.parametrize(("method", "other"), [("gnfactor", "peract"), ("peract", "gnfactor")])
def test_the_other_methods_weights_are_recognised(
    method: str, other: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(tmp_path, capsys, run(tmp_path, released(published, method), other, *SIZES))
    assert f"these are {METHODS[method].title}'s weights, not {METHODS[other].title}'s; --method {method}" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(1)], "holds a list; a dictionary of tensors"),
        ({"_qnet.latents": torch.ones(1), "epoch": 3}, "no plain tensors by name: epoch;"),
        ({7: torch.ones(1)}, "no plain tensors by name: 7;"),
        ({"_qnet.latents": torch.ones(1).to_sparse()}, "no plain tensors by name: _qnet.latents;"),
        ({"_qnet.latents": torch.ones(1, device="meta")}, "no plain tensors by name: _qnet.latents;"),
        ({}, "no weights of a policy network"),
        (WORKSPACE, "no weights of a policy network"),
    ],
)
def test_a_file_of_other_things_is_refused(
    content: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(tmp_path, capsys, run(tmp_path, content, "gnfactor"))


def test_a_folder_that_is_there_stays_as_it_is(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert run(tmp_path, released(published, "peract"), "peract", *SIZES) == 2
    assert "is there already and is not written over" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gnfactor.checkpoint.save_file", full)
    line = refused(tmp_path, capsys, run(tmp_path, released(published, "peract"), "peract", *SIZES))
    assert "No space left on device; make room" in line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a.pt", "out"], "--method is missing"),
        (["a.pt", "out", "--method"], "--method is missing"),
        (["a.pt", "out", "--method", "rvt"], "the method 'rvt' is unknown; known are: gnfactor, peract"),
        (["a.pt", "--method", "peract"], "FILE, OUT and then key=value are expected, found a.pt"),
        (["a.pt", "out", "more", "--method", "peract"], "expected, found more"),
        (["a.pt", "out", "--methods", "peract"], "there is no option --methods"),
        (["a.pt", "out", "--method", "peract", "--step", "-1"], "--step is '-1'"),
        (["a.pt", "out", "--method", "peract"], "there is no file a.pt"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_misspelt_key_is_answered_with_what_may_be_meant(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(tmp_path, capsys, run(tmp_path, released(published, "peract"), "peract", "policy.camera=[front]"))
    assert "policy.cameras" in line


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "weights/100000/QAttentionAgent_layer0.pt" in capsys.readouterr().out
    assert main([]) == 2
