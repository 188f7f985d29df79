"""What RLBench and PyRep look like where this program touches them: a table, and how to read one from their sources.

    python -m gnfactor.envs.rlbench.contract RLBENCH_CHECKOUT PYREP_CHECKOUT

compares two checkouts with the table in `contract.json`, without importing either: says which of the three dialects of
RLBench they are and what of it differs, and ends with status 0 if nothing does, with 1 otherwise. With `--json` it
prints what it has read in the form of the table instead.

The table has an entry for every class, method, attribute and function of theirs that is used here, by its dotted name.
It says, for each dialect that has it, what it is: "class", "attribute", or a method's or function's parameters with
their defaults, such as "(self, v)"; "static" stands before those of a static method.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console

from gnfactor.command import Parser, run
from gnfactor.errors import DataError

DIALECTS = ("upstream", "peract_fork", "gnfactor_fork")
"""RLBench itself, the fork that PerAct uses, and the one that GNFactor uses."""
CLASS, ATTRIBUTE = "class", "attribute"

_TABLE = Path(__file__).with_name("contract.json")


@dataclass(frozen=True)
class Contract:
    """The table."""

    commits: Mapping[str, Mapping[str, str]]
    """By dialect and package: where it was read."""
    forms: Mapping[str, Mapping[str, str]]
    """By dotted name and dialect: what it is there; a dialect that lacks it is left out."""

    def of(self, dialect: str) -> dict[str, str]:
        """By dotted name: what it is in one dialect."""
        return {name: forms[dialect] for name, forms in self.forms.items() if dialect in forms}


def read_contract(path: Path = _TABLE) -> Contract:
    """The table that comes with this program."""
    table = json.loads(path.read_text(encoding="utf-8"))
    names = cast("dict[str, str | dict[str, str]]", table["names"])
    return Contract(table["commits"], {name: _by_dialect(form) for name, form in names.items()})


def read_checkouts(roots: Sequence[Path], names: Iterable[str]) -> dict[str, str]:
    """What each of some dotted names is in sources, which are read and not run; names that are not there are left out.

    Args:
        roots: folders that hold the packages' folders.
        names: of classes, their members, and functions.

    Raises:
        DataError: a package is in none of the folders, or a file of it cannot be read.
    """
    names = tuple(names)
    sources = _Sources(roots)
    for package in sorted({name.partition(".")[0] for name in names}):
        if sources.path(package) is None:
            raise DataError(
                f"there is no package '{package}' in {' or '.join(map(str, roots))}; give the folders into which "
                "RLBench and PyRep were cloned"
            )
    found = {name: sources.form(name) for name in names}
    return {name: form for name, form in found.items() if form is not None}


def closest_dialect(contract: Contract, found: Mapping[str, str]) -> str:
    """The dialect with which most of what was found agrees."""
    return max(DIALECTS, key=lambda dialect: _agreeing(contract.of(dialect), found, contract.forms))


def differences(contract: Contract, found: Mapping[str, str], dialect: str) -> list[str]:
    """One line for every name that is not as it is in a dialect."""
    expected = contract.of(dialect)
    return [
        f"{name}: {found.get(name, 'absent')}; in {dialect} it is {expected.get(name, 'absent')}"
        for name in contract.forms
        if found.get(name) != expected.get(name)
    ]


def _by_dialect(form: str | dict[str, str]) -> dict[str, str]:
    """Of an entry of the table, in which one form stands for all dialects."""
    return dict.fromkeys(DIALECTS, form) if isinstance(form, str) else form


def _agreeing(expected: Mapping[str, str], found: Mapping[str, str], names: Iterable[str]) -> int:
    return sum(expected.get(name) == found.get(name) for name in names)


class _Sources:
    """Modules in some folders, parsed when they are asked for."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._trees: dict[str, ast.Module] = {}

    def form(self, name: str) -> str | None:
        """What a dotted name is, or None."""
        module, rest = self._split(name)
        match rest:
            case [one]:
                definition = self._definition(module, one)
                if isinstance(definition, ast.ClassDef):
                    return CLASS
                return None if definition is None else _signature(definition)
            case [owner, member]:
                return self._member(module, owner, member)
            case _:
                return None

    def path(self, module: str) -> Path | None:
        """The file of a module, or None."""
        for root in self._roots:
            place = root.joinpath(*module.split("."))
            for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
                if path.is_file():
                    return path
        return None

    def _split(self, name: str) -> tuple[str, list[str]]:
        """The longest beginning that is a module, and the rest."""
        parts = name.split(".")
        for count in range(len(parts) - 1, 0, -1):
            if self.path(".".join(parts[:count])) is not None:
                return ".".join(parts[:count]), parts[count:]
        return "", parts

    def _tree(self, module: str) -> ast.Module:
        if module not in self._trees:
            path = self.path(module)
            try:
                self._trees[module] = ast.parse("" if path is None else path.read_text(encoding="utf-8"))
            except (OSError, SyntaxError, UnicodeDecodeError) as error:
                raise DataError(f"{path} cannot be read as Python ({error}); check out the repository again") from error
        return self._trees[module]

    def _definition(self, module: str, name: str) -> ast.ClassDef | ast.FunctionDef | None:
        for node in self._tree(module).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return node
        return None

    def _member(self, module: str, owner: str, member: str) -> str | None:
        """A member of a class or of one that it inherits from."""
        definition = self._definition(module, owner)
        if not isinstance(definition, ast.ClassDef):
            return None
        own = _own_member(definition, member)
        if own is not None:
            return own
        for base in definition.bases:
            if isinstance(base, ast.Name):
                inherited = self._member(self._home(module, base.id), base.id, member)
                if inherited is not None:
                    return inherited
        return None

    def _home(self, module: str, name: str) -> str:
        """The module from which a name in another one comes."""
        for node in self._tree(module).body:
            if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
                return node.module or module
        return module


def _own_member(definition: ast.ClassDef, member: str) -> str | None:
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == member:
            return _signature(node)
        if member in _assigned(node):
            return ATTRIBUTE
    inside = (node for node in ast.walk(definition) if isinstance(node, (ast.Assign, ast.AnnAssign)))
    return ATTRIBUTE if any(f"self.{member}" in _assigned(node) for node in inside) else None


def _assigned(node: ast.AST) -> set[str]:
    """What a statement assigns to, as it is written."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {ast.unparse(target) for target in targets}


def _signature(node: ast.FunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if "property" in decorators:
        return ATTRIBUTE
    bare = cast("ast.arguments", _WithoutTypes().visit(node.args))
    return f"{'static' if 'staticmethod' in decorators else ''}({ast.unparse(bare)})"


class _WithoutTypes(ast.NodeTransformer):
    """Parameters without their annotations."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)


def _as_table(found: Mapping[str, str]) -> str:
    return json.dumps({"names": dict(found)}, indent=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 as in a known dialect, 1 not quite, 2 wrong use."""
    parser = Parser(prog="python -m gnfactor.envs.rlbench.contract")
    parser.add_argument("rlbench", type=Path, help="folder into which RLBench was cloned")
    parser.add_argument("pyrep", type=Path, help="folder into which PyRep was cloned")
    parser.add_argument("--json", action="store_true", help="print what was read, in the form of the table")

    def command(console: Console) -> int:  # noqa: ARG001 (there is nothing to say but the result)
        given = parser.parse_args(arguments)
        contract = read_contract()
        found = read_checkouts((cast("Path", given.rlbench), cast("Path", given.pyrep)), contract.forms)
        if given.json:
            print(_as_table(found))
            return 0
        dialect = closest_dialect(contract, found)
        differing = differences(contract, found, dialect)
        for line in differing:
            print(line)
        same = len(contract.forms) - len(differing)
        print(f"closest to {dialect}: {same} of {len(contract.forms)} entries are the same")
        return int(bool(differing))

    return run(command, "interrupted")


if __name__ == "__main__":
    sys.exit(main())
