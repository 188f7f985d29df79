"""Finds in our own syntax tree what is called on objects of RLBench and PyRep.

An expression's type is followed from imports, annotations (which name the classes of `protocols`), assignments and
what our own functions say they return. Whatever is called by a name of the contract on something whose type is not
known is reported, too, so that nothing of theirs is used untyped.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gnfactor.envs.rlbench.contract import DIALECTS
from gnfactor.scene import CAMERAS

PACKAGE = "gnfactor.envs.rlbench"
PROTOCOLS = f"{PACKAGE}.protocols"
THEIRS = ("rlbench", "pyrep")
_ONLY = re.compile(r"#\s*dialects:\s*([\w, ]+)")
_SEQUENCES = {"list", "Sequence", "Iterable", "Iterator", "Generator", "set", "frozenset", "deque"}
_MAPPINGS = {"dict", "Mapping", "MutableMapping"}


@dataclass(frozen=True)
class Type:
    """What is known of an expression's value."""

    kind: str
    """"object" and "class" of theirs, "ours" and "our class", "function" of ours, "method" and "function of theirs",
    "module" of theirs, "sequence", "mapping", "tuple", "returns" (a callable known by what it returns), "other"."""
    name: str = ""
    items: tuple[Type, ...] = ()


UNKNOWN, OTHER = Type("unknown"), Type("other")


@dataclass(frozen=True)
class Use:
    """Something of theirs that is used."""

    where: str
    """File and line."""
    name: str
    """Dotted name in the contract."""
    dialects: tuple[str, ...]
    """Those that it is meant for: all, or those in a comment such as "# dialects: upstream"."""
    call: Call | None = None
    """None where it is only referred to."""
    bound: bool = False
    """The call fills in the first parameter by itself."""


@dataclass(frozen=True)
class Call:
    """The arguments of a call."""

    positional: int
    keywords: tuple[str, ...]


@dataclass
class Found:
    """All uses, and what could not be followed."""

    uses: list[Use] = field(default_factory=list[Use])
    untyped: list[str] = field(default_factory=list[str])


def bind(form: str, call: Call, bound: bool) -> str | None:
    """Why a call does not fit parameters such as "(self, v)", or None; `bound`: the first is filled in already."""
    if "(" not in form:
        return f"it is no function but a {form}"
    signature = signature_of(form)
    drop = bound and not form.startswith("static")
    given = (*([None] if drop else []), *[None] * call.positional)
    try:
        signature.bind(*given, **dict.fromkeys(call.keywords))
    except TypeError as error:
        return str(error)
    return None


def signature_of(form: str) -> inspect.Signature:
    """Parameters such as "(self, v=1)", without the defaults' values."""
    function = ast.parse(f"def f{form.removeprefix('static')}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    first_default = len(plain) - len(arguments.defaults)
    kinds = inspect.Parameter
    parameters = [
        kinds(one.arg, kinds.POSITIONAL_OR_KEYWORD, default=None if index >= first_default else kinds.empty)
        for index, one in enumerate(plain)
    ]
    if arguments.vararg:
        parameters.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    parameters += [
        kinds(one.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        parameters.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)


class Protocols:
    """The classes in `protocols.py` and the dotted names of what they stand for."""

    def __init__(self, source: str, contract: Sequence[str]) -> None:
        tree = ast.parse(source)
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.homes = {
            name: home.group(1)
            for name, node in self.classes.items()
            if (home := re.match(r"`([\w.]+)`", ast.get_docstring(node) or "")) is not None
        }
        self.members = {name.rpartition(".")[2] for name in contract} - {"__init__"}

    def member(self, name: str, member: str) -> ast.FunctionDef | ast.AnnAssign | None:
        """The definition of a member, of the class or of one that it inherits from."""
        node = self.classes[name]
        for one in node.body:
            if isinstance(one, ast.FunctionDef) and one.name == member:
                return one
            if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == member:
                return one
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in self.classes:
                inherited = self.member(base.id, member)
                if inherited is not None:
                    return inherited
        return None


@dataclass
class Module:
    """One of our files."""

    name: str
    tree: ast.Module
    lines: list[str]
    globals: dict[str, Type] = field(default_factory=dict[str, Type])


def find_uses(sources: Mapping[str, str], protocols: str, contract: Sequence[str]) -> Found:
    """Uses in modules.

    Args:
        sources: text of each module by its dotted name, without `protocols`.
        protocols: text of `protocols.py`.
        contract: names of the contract.
    """
    reader = _Reader(sources, Protocols(protocols, contract))
    reader.read()
    return reader.found


class _Reader:
    def __init__(self, sources: Mapping[str, str], protocols: Protocols) -> None:
        self.protocols, self.found = protocols, Found()
        self.modules = {name: Module(name, ast.parse(text), text.splitlines()) for name, text in sources.items()}
        self.classes = {
            f"{module.name}.{node.name}": (module, node)
            for module in self.modules.values()
            for node in module.tree.body
            if isinstance(node, ast.ClassDef)
        }
        self.functions = {
            f"{module.name}.{node.name}": (module, node)
            for module in self.modules.values()
            for node in module.tree.body
            if isinstance(node, ast.FunctionDef)
        }
        self.attributes: dict[tuple[str, str], Type] = {}
        """Of our classes, as their methods assign them."""

    def read(self) -> None:
        for module in self.modules.values():
            self._names(module)
        for _ in range(2):  # the first round learns what attributes hold
            self.found = Found()
            for module in self.modules.values():
                _Walker(self, module, dict(module.globals), None).block(module.tree.body)

    def _names(self, module: Module) -> None:
        """What is known by name in a whole module; functions import within themselves, which the walker sees."""
        for node in module.tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                kind = "our class" if isinstance(node, ast.ClassDef) else "function"
                module.globals[node.name] = Type(kind, f"{module.name}.{node.name}")
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                module.globals.update(self.imported(node))
            elif isinstance(node, ast.If):  # TYPE_CHECKING
                for inner in node.body:
                    if isinstance(inner, (ast.Import, ast.ImportFrom)):
                        module.globals.update(self.imported(inner))

    def imported(self, node: ast.Import | ast.ImportFrom) -> dict[str, Type]:
        """Names that an import binds."""
        bound: dict[str, Type] = {}
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(node, ast.Import):
                if alias.name.partition(".")[0] in THEIRS:
                    bound[name.partition(".")[0]] = Type("module", alias.name if alias.asname else name.split(".")[0])
                continue
            whole = f"{node.module}.{alias.name}"
            if (node.module or "").partition(".")[0] in THEIRS:
                bound[name] = self.theirs(whole)
            elif node.module == PROTOCOLS and alias.name in self.protocols.homes:
                bound[name] = Type("class", alias.name)
            elif whole == PROTOCOLS:
                bound[name] = Type("protocols")
            elif whole in self.classes:
                bound[name] = Type("our class", whole)
            elif whole in self.functions:
                bound[name] = Type("function", whole)
            elif whole in self.modules:
                bound[name] = Type("our module", whole)
            else:
                bound[name] = OTHER
        return bound

    def theirs(self, dotted: str) -> Type:
        """A name within their packages."""
        last = dotted.rpartition(".")[2]
        if last in self.protocols.homes and self.protocols.homes[last] == dotted:
            return Type("class", last)
        if last[:1].isupper():
            return Type("plain class", dotted)
        return Type("module or function", dotted)

    def annotation(self, node: ast.expr | None, module: Module, local: Mapping[str, Type]) -> Type:
        """The type that an annotation names."""
        match node:
            case None:
                return UNKNOWN
            case ast.Constant(value=str() as text):
                return self.annotation(ast.parse(text, mode="eval").body, module, local)
            case ast.Constant():
                return OTHER
            case ast.BinOp(op=ast.BitOr()):
                sides = [self.annotation(side, module, local) for side in (node.left, node.right)]
                return next((side for side in sides if side not in (OTHER, UNKNOWN)), sides[0])
            case ast.Subscript(value=outer, slice=inner):
                return self._generic(ast.unparse(outer).rpartition(".")[2], inner, module, local)
            case ast.Name(id="Any" | "object"):
                return UNKNOWN
            case ast.Name(id=name):
                return _instance(local.get(name) or module.globals.get(name, OTHER))
            case ast.Attribute(value=ast.Name(id=outer), attr=name):
                owner = local.get(outer) or module.globals.get(outer, OTHER)
                if owner.kind == "protocols":
                    return Type("object", name)
                if owner.kind == "our module":
                    return _instance(self.modules[owner.name].globals.get(name, OTHER))
                return OTHER
            case _:
                return OTHER

    def _generic(self, outer: str, inner: ast.expr, module: Module, local: Mapping[str, Type]) -> Type:
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if outer == "type":
            one = self.annotation(parts[0], module, local)
            return Type("class", one.name) if one.kind == "object" else Type("our class", one.name)
        if outer == "Callable":
            return Type("returns", "", (self.annotation(parts[-1], module, local),))
        if outer in ("Optional", "Final", "ClassVar", "Annotated"):
            return self.annotation(parts[0], module, local)
        items = tuple(self.annotation(part, module, local) for part in parts)
        if outer in _SEQUENCES or (outer == "tuple" and ast.unparse(parts[-1]) == "..."):
            return Type("sequence", "", items[:1])
        if outer == "tuple":
            return Type("tuple", "", items)
        if outer in _MAPPINGS:
            return Type("mapping", "", items[1:])
        return OTHER


def _instance(named: Type) -> Type:
    """What an annotation with this name describes."""
    kinds = {"class": "object", "our class": "ours"}
    return Type(kinds[named.kind], named.name) if named.kind in kinds else named if named == UNKNOWN else OTHER


class _Walker:
    """Follows one function or module from top to bottom."""

    def __init__(self, reader: _Reader, module: Module, scope: dict[str, Type], owner: str | None) -> None:
        self.reader, self.module, self.scope, self.owner = reader, module, scope, owner
        self.written: dict[str, ast.expr] = {}
        """Expressions that names stand for, to look into dictionaries of keywords."""

    def block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef():
                self.function(node)
            case ast.ClassDef():
                for base in node.bases:
                    self.infer(base)
                inner = _Walker(self.reader, self.module, dict(self.scope), f"{self.module.name}.{node.name}")
                inner.block(node.body)
            case ast.Import() | ast.ImportFrom():
                imported = self.reader.imported(node)
                self.scope.update(imported)
                for one in imported.values():
                    if one.kind == "class":
                        self.use(node, self.reader.protocols.homes[one.name])
                    elif one.kind in ("plain class", "module or function") and isinstance(node, ast.ImportFrom):
                        self.use(node, one.name)
            case ast.Assign(targets=targets, value=value):
                found = self.infer(value)
                for target in targets:
                    self.assign(target, found, value)
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                if value is not None:
                    self.infer(value)
                self.assign(target, self.annotated(annotation), value)
            case ast.For(target=target, iter=over, body=body, orelse=rest):
                self.assign(target, self.item(self.infer(over), over))
                self.block([*body, *rest])
            case ast.With(items=items, body=body):
                for item in items:
                    found = self.infer(item.context_expr)
                    if item.optional_vars is not None:
                        entered = self.item(found, item.context_expr) if found.kind == "sequence" else found
                        self.assign(item.optional_vars, entered)
                self.block(body)
            case ast.Try():
                self.block(node.body)
                for handler in node.handlers:
                    if handler.type is not None:
                        self.infer(handler.type)
                    if handler.name is not None:
                        self.scope[handler.name] = OTHER
                    self.block(handler.body)
                self.block([*node.orelse, *node.finalbody])
            case ast.Match(subject=subject, cases=cases):
                self.infer(subject)
                for case in cases:
                    self.block(case.body)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.infer(child)
                    elif isinstance(child, ast.stmt):
                        self.statement(child)

    def function(self, node: ast.FunctionDef) -> None:
        self.scope.setdefault(node.name, Type("returns", "", (self.annotated(node.returns),)))
        scope = dict(self.scope)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for one in arguments:
            scope[one.arg] = self.annotated(one.annotation)
        static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
        if self.owner is not None and arguments and not static:
            scope[arguments[0].arg] = Type("ours", self.owner)
        if node.args.vararg is not None:
            scope[node.args.vararg.arg] = Type("sequence", "", (self.annotated(node.args.vararg.annotation),))
        if node.args.kwarg is not None:
            scope[node.args.kwarg.arg] = OTHER
        _Walker(self.reader, self.module, scope, None).block(node.body)

    def annotated(self, annotation: ast.expr | None) -> Type:
        return self.reader.annotation(annotation, self.module, self.scope)

    def assign(self, target: ast.expr, found: Type, value: ast.expr | None = None) -> None:
        match target:
            case ast.Name(id=name):
                self.scope[name] = found
                if value is not None:
                    self.written[name] = value
            case ast.Attribute(value=of, attr=name):
                owner = self.infer(of)
                if owner.kind == "ours" and found != UNKNOWN:
                    self.reader.attributes.setdefault((owner.name, name), found)
                elif owner.kind == "object":
                    self.member(target, owner, name)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                items = found.items if found.kind == "tuple" else (self.item(found, target),) * len(parts)
                if any(isinstance(part, ast.Starred) for part in parts) or len(items) != len(parts):
                    items = (OTHER if found == OTHER else UNKNOWN,) * len(parts)
                for part, one in zip(parts, items, strict=True):
                    self.assign(part, one)
            case ast.Starred(value=inner):
                self.assign(inner, found)
            case _:
                self.infer(target)

    def item(self, of: Type, node: ast.expr) -> Type:
        """What iterating over something gives."""
        match of.kind:
            case "sequence":
                return of.items[0]
            case "tuple":
                return next((one for one in of.items if one.kind == "object"), OTHER)
            case "object":
                self.use(node, f"{self.reader.protocols.homes[of.name]}.__getitem__")
                return self.returned(of.name, "__getitem__")
            case "unknown":
                return UNKNOWN
            case _:
                return OTHER

    def infer(self, node: ast.expr) -> Type:
        match node:
            case ast.Name(id=name):
                found = self.scope.get(name, OTHER)
                if found.kind == "class":
                    self.use(node, self.reader.protocols.homes[found.name])
                return found
            case ast.Attribute(value=of, attr=name):
                return self.attribute(node, self.infer(of), name)
            case ast.Call():
                return self.call(node)
            case ast.Subscript(value=of, slice=index):
                return self.subscript(node, self.infer(of), index)
            case ast.Tuple(elts=parts):
                return Type("tuple", "", tuple(self.infer(part) for part in parts))
            case ast.List(elts=parts) | ast.Set(elts=parts):
                items = [self.infer(part) for part in parts]
                return Type("sequence", "", (items[0] if items else OTHER,))
            case ast.Dict(keys=keys, values=values):
                for key in keys:
                    if key is not None:
                        self.infer(key)
                items = [self.infer(value) for value in values]
                return Type("mapping", "", (items[0] if items else OTHER,))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                return Type("sequence", "", (self.comprehension(node.generators, [node.elt])[0],))
            case ast.DictComp(key=key, value=value, generators=generators):
                return Type("mapping", "", (self.comprehension(generators, [key, value])[1],))
            case ast.IfExp(test=test, body=body, orelse=rest):
                self.infer(test)
                return self.either([self.infer(body), self.infer(rest)])
            case ast.BoolOp(values=values):
                return self.either([self.infer(value) for value in values])
            case ast.NamedExpr(target=target, value=value):
                found = self.infer(value)
                self.assign(target, found)
                return found
            case ast.Lambda(args=arguments, body=body):
                scope = {**self.scope, **{one.arg: OTHER for one in arguments.args}}
                return Type("returns", "", (_Walker(self.reader, self.module, scope, None).infer(body),))
            case ast.Starred(value=inner):
                return self.infer(inner)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.infer(child)
                return OTHER

    def either(self, found: Sequence[Type]) -> Type:
        return next((one for one in found if one not in (OTHER, UNKNOWN)), found[0])

    def comprehension(self, generators: Sequence[ast.comprehension], results: Sequence[ast.expr]) -> list[Type]:
        inner = _Walker(self.reader, self.module, dict(self.scope), None)
        for generator in generators:
            inner.assign(generator.target, inner.item(inner.infer(generator.iter), generator.iter))
            for condition in generator.ifs:
                inner.infer(condition)
        return [inner.infer(result) for result in results]

    def attribute(self, node: ast.expr, of: Type, name: str) -> Type:
        protocols = self.reader.protocols
        match of.kind:
            case "object" | "class":
                return self.member(node, of, name)
            case "module" | "module or function":
                found = self.reader.theirs(f"{of.name}.{name}")
                if found.kind == "class":
                    self.use(node, protocols.homes[found.name])
                elif found.kind == "plain class":
                    self.use(node, found.name)
                return found
            case "protocols":
                return Type("class", name)
            case "our module":
                return self.reader.modules[of.name].globals.get(name, OTHER)
            case "ours":
                return self.ours(of.name, name)
            case "unknown" if name in protocols.members:
                self.reader.found.untyped.append(f"{self.where(node)}: '.{name}' of something whose type is not known")
                return UNKNOWN
            case "unknown":
                return UNKNOWN
            case _:
                return OTHER

    def member(self, node: ast.expr, of: Type, name: str) -> Type:
        """Something of an object or class of theirs; a call of it is noted by `call`."""
        protocols = self.reader.protocols
        defined = protocols.member(of.name, name)
        if defined is None and re.fullmatch(r"__\w+__", name):
            return OTHER  # Python's own, such as the name of a class
        whole = f"{protocols.homes[of.name]}.{name}"
        if isinstance(defined, ast.FunctionDef):
            kind = "method" if of.kind == "object" else "unbound method"
            self.use(node, whole)
            return Type(kind, whole, (self.returned(of.name, name), Type("class", of.name)))
        self.use(node, whole)
        if defined is None:
            return UNKNOWN
        return self.reader.annotation(defined.annotation, self.protocol_module, {})

    @property
    def protocol_module(self) -> Module:
        names = {name: Type("class", name) for name in self.reader.protocols.homes}
        return Module(PROTOCOLS, ast.Module([], []), [], names)

    def returned(self, owner: str, method: str) -> Type:
        defined = self.reader.protocols.member(owner, method)
        if not isinstance(defined, ast.FunctionDef):
            return UNKNOWN
        return self.reader.annotation(defined.returns, self.protocol_module, {})

    def ours(self, owner: str, name: str) -> Type:
        """An attribute of an object of ours."""
        if owner not in self.reader.classes:
            return OTHER
        module, definition = self.reader.classes[owner]
        for one in definition.body:
            if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == name:
                return self.reader.annotation(one.annotation, module, {})
            if isinstance(one, ast.FunctionDef) and one.name == name:
                result = self.reader.annotation(one.returns, module, {})
                decorators = {ast.unparse(decorator) for decorator in one.decorator_list}
                return result if decorators & {"property", "cached_property"} else Type("returns", "", (result,))
        return self.reader.attributes.get((owner, name), OTHER)

    def subscript(self, node: ast.expr, of: Type, index: ast.expr) -> Type:
        self.infer(index)
        match of.kind:
            case "sequence":
                return of if isinstance(index, ast.Slice) else of.items[0]
            case "mapping":
                return of.items[0] if of.items else OTHER
            case "tuple":
                number = ast.literal_eval(index) if isinstance(index, (ast.Constant, ast.UnaryOp)) else None
                return of.items[number] if isinstance(number, int) else self.item(of, node)
            case "object":
                name = f"{self.reader.protocols.homes[of.name]}.__getitem__"
                self.use(node, name, Call(1, ()), True)
                return self.returned(of.name, "__getitem__")
            case "unknown":
                return UNKNOWN
            case _:
                return OTHER

    def call(self, node: ast.Call) -> Type:
        function = self.infer(node.func)
        arguments = [self.infer(argument) for argument in node.args]
        arguments += [self.infer(keyword.value) for keyword in node.keywords]
        match function.kind:
            case "class":
                self.use(node, f"{self.reader.protocols.homes[function.name]}.__init__", self.arguments(node), True)
                return Type("object", function.name)
            case "plain class":
                self.use(node, f"{function.name}.__init__", self.arguments(node), True)
                return OTHER
            case "method" | "unbound method":
                self.use(node, function.name, self.arguments(node), function.kind == "method")
                return function.items[0]
            case "module or function":
                self.use(node, function.name, self.arguments(node))
                return UNKNOWN
            case "our class":
                return Type("ours", function.name)
            case "function":
                module, definition = self.reader.functions[function.name]
                return self.reader.annotation(definition.returns, module, {})
            case "returns":
                return function.items[0]
            case _:
                return self.builtin(node, arguments)

    def builtin(self, node: ast.Call, arguments: Sequence[Type]) -> Type:
        """Python's own functions, as far as objects of theirs go through them."""
        name = ast.unparse(node.func)
        match name, arguments:
            case ("cast", [_, _]):
                return self.annotated(node.args[0])
            case ("import_module" | "importlib.import_module", _) if isinstance(node.args[0], ast.Constant):
                text = str(node.args[0].value)
                return Type("module", text) if text.partition(".")[0] in THEIRS else OTHER
            case ("getattr", [of, *_]) if of.kind in ("object", "class", "module"):
                found = [self.attribute(node, of, one) for one in self.texts(node.args[1])]
                return found[0] if found else UNKNOWN
            case ("getattr", [of, *_]) if of == UNKNOWN:
                return UNKNOWN
            case ("vars" | "setattr" | "hasattr" | "delattr" | "dir", [of, *_]) if of.kind == "object":
                self.reader.found.untyped.append(f"{self.where(node)}: {name} of an object of theirs; name the member")
                return UNKNOWN
            case ("len", [of]) if of.kind == "object":
                self.use(node, f"{self.reader.protocols.homes[of.name]}.__len__", Call(0, ()), True)
                return OTHER
            case ("list" | "tuple" | "sorted" | "reversed" | "iter", [of, *_]):
                return Type("sequence", "", (self.item(of, node),))
            case ("next" | "min" | "max", [of, *_]):
                return self.item(of, node)
            case ("enumerate", [of, *_]):
                return Type("sequence", "", (Type("tuple", "", (OTHER, self.item(of, node))),))
            case ("zip", parts) if parts:
                parts = parts[: len(node.args)]
                return Type("sequence", "", (Type("tuple", "", tuple(self.item(part, node) for part in parts)),))
            case _:
                return OTHER

    def texts(self, node: ast.expr) -> list[str]:
        """What a text may be: itself, or with each camera's name in its gap."""
        match node:
            case ast.Constant(value=str() as text):
                return [text]
            case ast.JoinedStr(values=parts) if sum(isinstance(part, ast.FormattedValue) for part in parts) == 1:
                pieces = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts]
                return ["".join(pieces).format(camera) for camera in CAMERAS]
            case _:
                self.reader.found.untyped.append(f"{self.where(node)}: cannot tell what {ast.unparse(node)} names")
                return []

    def arguments(self, node: ast.Call) -> Call:
        keywords: list[str] = []
        for keyword in node.keywords:
            keywords += [keyword.arg] if keyword.arg is not None else self.spread(keyword.value)
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            self.reader.found.untyped.append(f"{self.where(node)}: arguments of theirs are to be written one by one")
        return Call(len(node.args), tuple(keywords))

    def spread(self, node: ast.expr) -> list[str]:
        """Keywords in a dictionary that is spread out in a call."""
        match node:
            case ast.Name(id=name) if name in self.written:
                return self.spread(self.written[name])
            case ast.DictComp(key=key):
                return self.texts(key)
            case ast.Dict(keys=keys):
                return [text for key in keys if key is not None for text in self.texts(key)]
            case _:
                self.reader.found.untyped.append(f"{self.where(node)}: cannot tell the keywords in {ast.unparse(node)}")
                return []

    def use(self, node: ast.AST, name: str, call: Call | None = None, bound: bool = False) -> None:
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
        only = _ONLY.search("\n".join(self.module.lines[first - 1 : last]))
        dialects = DIALECTS if only is None else tuple(re.findall(r"\w+", only.group(1)))
        self.reader.found.uses.append(Use(self.where(node), name, dialects, call, bound))

    def where(self, node: ast.AST) -> str:
        return f"{self.module.name}, line {getattr(node, 'lineno', 0)}"


def our_sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Modules of the adapter with their texts, without `protocols`."""
    for path in sorted(folder.glob("*.py")):
        if path.stem != "protocols":
            name = PACKAGE if path.stem == "__init__" else f"{PACKAGE}.{path.stem}"
            yield name, path.read_text(encoding="utf-8")
