"""RLBench's pickles, read without running anything that stands in them.

A pickle is a program. This reader follows it with a table of the few names that RLBench's recordings use, each
answered by a stand-in of ours, not by the class or function it names: not even NumPy's own, whose state could be
forged to point into memory. Any other name is refused. A pickle made to fill the memory is not recognised as such,
only what a damaged byte can do of that kind is harmless.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from gnfactor.errors import DataError


def load_pickle(path: Path) -> object:
    """What a pickle of RLBench holds: plain values, `Record`s, and arrays (`numpy.asarray` of them gives NumPy's).

    Raises:
        DataError: the file is absent or damaged, or names something that is not on the list.
    """
    try:
        return _Reader(io.BytesIO(path.read_bytes())).load()
    except (_RefusedError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle fails in any way, since any byte may be an instruction
        raise DataError(
            f"{path} is not a whole pickle of RLBench ({type(error).__name__}: {error}); copy or record it again"
        ) from error


class Record:
    """An object of one of RLBench's classes: its attributes, without its behaviour."""

    fields: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise TypeError(f"the state of a {type(self).__name__} is a {type(state).__name__}, not a dict")
        self.fields = cast("dict[str, Any]", state)


class RecordedDemo(Record):
    """`rlbench.demo.Demo`."""


class RecordedFrame(Record):
    """`rlbench.backend.observation.Observation`."""


class _RefusedError(Exception):
    """A name that is not on the list."""


# The unpickler in Python, since the one in C makes room for as many objects as a damaged number says, up to gigabytes.
class _Reader(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(
                f"it asks for '{module}.{name}', which recordings of RLBench do not need, so it was not "
                f"read and nothing in it was executed; do not trust where this file came from"
            ) from None


class _Type:
    """Stand-in for `numpy.dtype`: the numbers of an array, of fixed kind and size."""

    def __init__(self, code: object, *_: object) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[<>=|]?(b1|[iu][1248]|f[248])", code)):
            raise TypeError(f"arrays of dtype {code!r} have no place in a recording")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(order)


class _Array:
    """Stand-in for an array that is being put together."""

    def __init__(self) -> None:
        self._values: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        self._values = _array(content, dtype, shape, "F" if is_fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self._values is None:
            raise ValueError("an array was left without content")
        return np.array(self._values, dtype=dtype, copy=copy)


def _array(content: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, _Type) or not isinstance(shape, tuple):
        raise TypeError("an array is not made of bytes, a dtype and a shape")
    return np.frombuffer(content, dtype.numpy).reshape(shape, order="F" if order == "F" else "C")


class _Call:
    """Stand-in for a function; it keeps nothing, and a pickle cannot change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise TypeError("a pickle tries to change a function")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: object, content: object) -> object:
    return _array(content, dtype, (), "C").item()


def _encode(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise TypeError("text is encoded otherwise than as latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _no_array(*_: object) -> NoReturn:
    raise TypeError("an array is made in an unknown way")


_ALLOWED: dict[tuple[str, str], object] = {
    ("rlbench.demo", "Demo"): RecordedDemo,
    ("rlbench.backend.observation", "Observation"): RecordedFrame,
    ("numpy", "ndarray"): _Call(_no_array),  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Call(_encode),  # protocol 2 keeps bytes as text,
    ("__builtin__", "bytes"): _Call(_no_bytes),  # and the content of an empty array so
}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Call(_reconstruct)
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _Call(_scalar)
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _Call(_array)
