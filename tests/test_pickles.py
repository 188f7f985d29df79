"""Pickles: what RLBench writes is read, anything else is refused and never executed."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorder import Demo, Observation, rlbench_importable, write_pickle

from data.pickles import RecordedDemo, RecordedFrame, load_pickle
from gnfactor.errors import DataError


def recorded(**fields: object) -> Demo:
    """A demonstration of one observation with these attributes."""
    demo, observation = Demo(), Observation()
    vars(observation).update(fields)
    vars(demo).update(_observations=[observation])
    return demo


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_protocols_of_recordings_are_read(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "pose": rng.normal(size=7),
        "matrix": np.asfortranarray(rng.normal(size=(4, 3))),
        "single": rng.normal(size=3).astype(np.float32),
        "big_endian": rng.normal(size=3).astype(">f8"),
        "counts": rng.integers(0, 9, 5),
        "flags": np.array([True, False]),
        "nothing": np.zeros((0, 3)),
        "zero_dimensional": np.array(1.0),
    }
    plain = {
        "text": "öffne",
        "number": 3,
        "none": None,
        "nested": {"list": [1, (2.5, "b")]},
        "scalar": np.float64(0.25),
    }
    write_pickle(tmp_path / "a.pkl", recorded(**arrays, **plain), protocol)
    demo = load_pickle(tmp_path / "a.pkl")
    assert isinstance(demo, RecordedDemo)
    (observation,) = demo.fields["_observations"]
    assert isinstance(observation, RecordedFrame)
    for name, array in arrays.items():
        back = np.asarray(observation.fields[name])
        assert back.dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(back, array)
    for name, value in plain.items():
        assert observation.fields[name] == value


def test_the_names_of_old_and_new_numpy_are_both_read(tmp_path: Path) -> None:
    new = pickle.dumps(np.arange(3.0), 2)
    assert b"numpy._core" in new
    for content in (new, new.replace(b"numpy._core", b"numpy.core")):
        (tmp_path / "a.pkl").write_bytes(content)
        np.testing.assert_array_equal(np.asarray(load_pickle(tmp_path / "a.pkl")), [0, 1, 2])


class Reduced:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: object, state: object = None) -> None:
        self.call = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: dict[str, Any] = {
    "posix.system": Reduced(os.system, "touch executed"),
    "builtins.eval": Reduced(builtins.eval, "open('executed', 'w')"),
    "builtins.exec": Reduced(builtins.exec, "open('executed', 'w')"),
    "builtins.getattr": Reduced(getattr, np.ndarray, "tofile"),
    "builtins.open": Reduced(open, "executed", "w"),
    "builtins.__import__": Reduced(builtins.__import__, "antigravity"),
    "subprocess.Popen": Reduced(subprocess.Popen, ["touch", "executed"]),
    "functools.partial": partial(os.system, "touch executed"),
    "io.open": Reduced(io.FileIO, "executed", "w"),
    "numpy.load": Reduced(np.load, "executed"),
    "numpy.fromfile": Reduced(np.fromfile, "executed"),
    "numpy.memmap": Reduced(np.memmap, "executed", "uint8", "w+", 0, (9,)),
    "torch": Reduced(__import__("torch").load, "executed"),
    "pathlib": Path("executed"),
    "codecs.decode": Reduced(__import__("codecs").decode, b"aa", "hex"),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nested: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    value = recorded(misc={"deep": [1, (HOSTILE[name],)]}, gripper_open=1.0) if nested else HOSTILE[name]
    write_pickle(tmp_path / "a.pkl", value)
    with pytest.raises(DataError, match=r"a\.pkl: it asks for '.*nothing in it was executed"):
        load_pickle(tmp_path / "a.pkl")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pkl"]


def test_a_state_that_runs_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with rlbench_importable():
        content = pickle.dumps(Reduced(Demo, state={"_observations": Reduced(os.system, "touch executed")}))
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"posix\.system"):
        load_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "executed").exists()


def text(value: str) -> bytes:
    """Opcode that pushes a short text."""
    return b"\x8c" + struct.pack("B", len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    """Opcodes that push a global."""
    return text(module) + text(attribute) + b"\x93"


RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
CRAFTED: dict[str, bytes] = {
    # one byte program each, where an ordinary pickler would not produce the attack
    "a dotted name": name("numpy", "ndarray.tofile") + b".",
    "a method of a stand-in": name("rlbench.demo", "Demo.__init__.__globals__") + b".",
    "builtins through a module": name("rlbench.demo", "__builtins__.eval") + b".",
    "a module on the list, another name": name("numpy.core.multiarray", "fromfile") + b".",
    "state for a function": RECONSTRUCT + b"N}" + text("__defaults__") + b")s\x86b.",
    "state for a class": name("rlbench.demo", "Demo") + b"N}" + text("fields") + text("x") + b"s\x86b.",
    "state for the class of dtypes": name("numpy", "dtype") + b"N}" + text("numpy") + text("x") + b"s\x86b.",
    "another codec": name("_codecs", "encode") + text("a") + text("rot13") + b"\x86R.",
    "arrays of objects": name("numpy", "dtype") + text("O8") + b"\x85R.",
    "a structured dtype": name("numpy", "dtype") + b"]" + text("a") + text("O") + b"\x86a\x85R.",
    "a dtype by another name": name("numpy", "dtype") + text("m8[s]") + b"\x85R.",
    "an array called": name("numpy", "ndarray") + b"K\x05\x85R.",
    "an array without content": RECONSTRUCT + b")R.",
    "a persistent id": b"Pexecuted\n.",
    "an extension code": b"\x82\x01.",
    "the old instance opcode": b"(ios\nsystem\n.",
    "a place for a billion objects": b"}r\xff\xff\xff\x70",
    "gigabytes that are not there": b"B\xff\xff\xff\x70abc.",
    "a demo of a text state": name("rlbench.demo", "Demo") + b")\x81" + text("x") + b"b.",
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_programs_are_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + CRAFTED[what])
    if what == "an array without content":
        with pytest.raises(ValueError, match="without content"):
            np.asarray(load_pickle(tmp_path / "a.pkl"))
    else:
        with pytest.raises(DataError, match=r"a\.pkl"):
            load_pickle(tmp_path / "a.pkl")
    assert RecordedDemo.fields == {}, "the stand-ins stay what they are"
    write_pickle(tmp_path / "b.pkl", recorded(pose=np.zeros(7)))
    assert isinstance(load_pickle(tmp_path / "b.pkl"), RecordedDemo)


def test_the_shape_of_an_array_is_bound_by_its_bytes(tmp_path: Path) -> None:
    whole = pickle.dumps(np.zeros(4), 4)
    at = whole.index(b"K\x04\x85")
    (tmp_path / "a.pkl").write_bytes(whole[:at] + b"K\x40\x85" + whole[at + 3 :])
    with pytest.raises(DataError, match="reshape"):
        load_pickle(tmp_path / "a.pkl")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.pkl"):
        load_pickle(tmp_path / "absent.pkl")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_kind_is_an_error_of_ours_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.pkl"
    if not (tmp_path / "good.pkl").exists():
        write_pickle(tmp_path / "good.pkl", recorded(pose=np.arange(7.0), misc={"near": 0.1, "texts": ["a", "b"]}))
    content = bytearray((tmp_path / "good.pkl").read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(DataError):
        load_pickle(path)
