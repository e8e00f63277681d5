"""Reads what classes of the harness declare of their fields, without importing them or torch."""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import harness
from harness.vocabulary.checks import Part

ROOT = Path(str(harness.__file__)).parents[1]
TYPING = {
    "Annotated": Annotated, "Any": Any, "Callable": Callable, "Iterable": Iterable,
    "Literal": Literal, "Mapping": Mapping, "Sequence": Sequence,
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, str, tuple)},
}  # fmt: skip


@dataclass(frozen=True)
class Declared:
    """Describes a field of a dataclass.

    hint: its type, as harness.vocabulary.checks reads it. part: the class of the harness that the
    type names, if any. written: the annotation. required: it has no default.
    """

    hint: Any
    part: str | None
    written: ast.expr
    required: bool


@cache
def text_of(module: str) -> str:
    file = ROOT / (module.replace(".", "/") + ".py")
    return (file if file.exists() else file.with_suffix("") / "__init__.py").read_text()


@cache
def parsed(module: str) -> ast.Module:
    """Returns the syntax tree of a module of the harness, by its import path."""
    return ast.parse(text_of(module))


@cache
def class_of(target: str) -> tuple[str, ast.ClassDef] | None:
    """Returns (module, class) of a `_target_`, or None if its last part is no class of its module.

    A name that the module imports from another one of the harness is followed.
    """
    module, _, name = target.rpartition(".")
    if not module.startswith("harness."):
        return None
    module, node = _found(module, name)
    return (module, node) if isinstance(node, ast.ClassDef) else None


@cache
def _scope(module: str) -> dict[str, ast.AST]:
    """Returns where a module gets its names: classes, assigned values, imports of others."""
    names: dict[str, ast.AST] = {}
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Assign):
            names |= {each.id: node.value for each in node.targets if isinstance(each, ast.Name)}
        names |= dict.fromkeys(imported(node), node)
    return names


def bases_of(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """Returns the class and those of the harness that it inherits from, the most basic one last."""
    lineage = [(module, node)]
    for base in node.bases:
        name = ast.unparse(base).rpartition(".")[2]
        if found := class_of(f"{module}.{name}") or _of_a_module(module, base):
            lineage += bases_of(*found)
    return lineage


def _of_a_module(module: str, base: ast.expr) -> tuple[str, ast.ClassDef] | None:
    """Finds a base that is written as `module.Class`."""
    if not isinstance(base, ast.Attribute):
        return None
    node = _scope(module).get(ast.unparse(base.value))
    return class_of(f"{getattr(node, 'module', '')}.{ast.unparse(base)}") if node else None


def imported(node: ast.AST) -> list[str]:
    """Returns the names that a `from ... import` gives."""
    names = node.names if isinstance(node, ast.ImportFrom) else []
    return [alias.asname or alias.name for alias in names]


@cache
def declared_fields(target: str) -> dict[str, Declared]:
    """Returns the fields of the dataclass that a `_target_` names, inherited ones first."""
    if (found := class_of(target)) is None:
        return {}
    return {
        name: _declared(module, item)
        for module, node in reversed(bases_of(*found))
        for name, item in annotations(node)
    }


def annotations(node: ast.ClassDef) -> list[tuple[str, ast.AnnAssign]]:
    """Returns the annotated attributes of a class, but for those of the class itself."""
    return [
        (item.target.id, item)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not ast.unparse(item.annotation).startswith("ClassVar")
    ]


def _declared(module: str, item: ast.AnnAssign) -> Declared:
    names = _Names(module)
    hint = names.evaluate(item.annotation)
    part = names.classes[0] if len(names.classes) == 1 else None
    return Declared(hint, part, item.annotation, item.value is None)


class _Names(dict[str, Any]):
    """Gives meanings to the names in an annotation: constants of its module, classes as Part."""

    def __init__(self, module: str):
        super().__init__(TYPING)
        self.module = module
        self.classes: list[str] = []

    def __missing__(self, name: str) -> Any:
        module, node = _found(self.module, name)
        if isinstance(node, ast.ClassDef):
            self.classes.append(f"{module}.{node.name}")
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Subscript):
            return _Names(module).evaluate(node)
        return Part

    def evaluate(self, annotation: ast.expr) -> Any:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        try:
            return eval(compile(ast.Expression(annotation), self.module, "eval"), {}, self)
        except (AttributeError, TypeError):  # of a library, as in Callable[[nn.Module], Tensor]
            return Part


def _found(module: str, name: str) -> tuple[str, ast.AST | None]:
    """Returns where the name that a module uses is from, as far as that is in the harness."""
    node = _scope(module).get(name)
    while isinstance(node, ast.ImportFrom) and str(node.module).startswith("harness."):
        module = str(node.module)
        node = _scope(module).get(name)
    return module, node
