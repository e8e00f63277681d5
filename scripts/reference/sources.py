"""Reads classes and functions of the harness from their text: no part and no torch is imported."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHOICES = ("check_either", "check_known")  # (key, value, what it may be)
COMMENT = re.compile(r"^\s*# ?(.*)")


@dataclass(frozen=True)
class Field:
    """Describes one field of a dataclass.

    rule: the values that its class allows, in the words of the check; "" where none is written.
    comment: the comment lines above it and the one beside it.
    """

    name: str
    kind: str
    default: str | None
    rule: str = ""
    comment: str = ""


@cache
def parsed(module: str) -> ast.Module:
    """Returns the syntax tree of a module of the harness, by its import path."""
    return ast.parse(text_of(module))


@cache
def text_of(module: str) -> str:
    file = ROOT / (module.replace(".", "/") + ".py")
    return (file if file.exists() else file.with_suffix("") / "__init__.py").read_text()


def class_of(target: str) -> tuple[str, ast.ClassDef] | None:
    """Returns (module, class) of a `_target_`, or None if its last part is no class of its module.

    A name that the module imports from another one of the harness is followed.
    """
    module, _, name = target.rpartition(".")
    if not module.startswith("harness."):
        return None
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if name in _imported(node):
            return class_of(f"{getattr(node, 'module', '')}.{name}")
    return None


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
    for node in ast.walk(parsed(module)):
        if ast.unparse(base.value) in _imported(node):
            return class_of(f"{getattr(node, 'module', '')}.{ast.unparse(base)}")
    return None


def _imported(node: ast.AST) -> list[str]:
    """Returns the names that a `from ... import` gives."""
    names = node.names if isinstance(node, ast.ImportFrom) else []
    return [alias.asname or alias.name for alias in names]


def fields_of(target: str) -> dict[str, Field]:
    """Returns the fields of the dataclass that a `_target_` names, inherited ones first."""
    if (found := class_of(target)) is None:
        return {}
    fields: dict[str, Field] = {}
    rules: dict[str, str] = {}
    for module, node in reversed(bases_of(*found)):
        rules |= _rules(module, node)
        comments = _comments(module)
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                kind = ast.unparse(item.annotation)
                if not kind.startswith("ClassVar"):
                    name = item.target.id
                    comment = _beside(item, comments)
                    fields[name] = Field(name, spoken(kind), _default(item), "", comment)
    return {
        name: Field(name, each.kind, each.default, rules.get(name, ""), each.comment)
        for name, each in fields.items()
    }


def spoken(kind: str) -> str:
    """Returns an annotation in the words of a config.

    >>> spoken("int | None"), spoken("Mapping[str, float]"), spoken("list[str]")
    ('int or null', 'mapping', 'list of text')
    """
    words = {"None": "null", "str": "text", "bool": "true or false", "float": "number"}
    parts = []
    for part in kind.split(" | "):
        outer, _, inner = part.partition("[")
        if outer in ("list", "tuple", "Sequence"):
            parts.append(f"list of {spoken(inner.rstrip(']').split(',')[0])}")
        else:
            parts.append("mapping" if outer in ("Mapping", "dict") else words.get(outer, outer))
    return " or ".join(parts)


def _default(item: ast.AnnAssign) -> str | None:
    if item.value is None:
        return None
    made = isinstance(item.value, ast.Call) and ast.unparse(item.value.func) == "field"
    return "" if made else ast.unparse(item.value)


def _rules(module: str, node: ast.ClassDef) -> dict[str, str]:
    """Returns key -> rule, of the calls of `check...` in a class that have both in plain words."""
    rules: dict[str, str] = {}
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        words = [a.value if isinstance(a, ast.Constant) else None for a in call.args]
        plain = [word for word in words if isinstance(word, str)]
        if call.func.id == "check_fields" and len(plain) > 1:
            rules |= dict.fromkeys(plain[1:], plain[0])
        elif call.func.id == "check" and len(plain) > 1:
            rules[plain[0]] = plain[1]
        elif call.func.id in CHOICES and plain and (known := _known(module, call.args[2])):
            rules[plain[0]] = " / ".join(map(str, known))
        elif plain and (rule := _rule_of(module, call.func.id)):
            rules[plain[0]] = rule
    return {key: rule.partition(";")[0] for key, rule in rules.items()}


@cache
def _rule_of(module: str, function: str) -> str:
    """Returns the rule in plain words with which a function of the harness calls `check`, or ""."""
    for node in parsed(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "check":
                    rule = call.args[2]
                    return str(rule.value) if isinstance(rule, ast.Constant) else ""
        if function in _imported(node) and str(getattr(node, "module", "")).startswith("harness."):
            return _rule_of(str(getattr(node, "module", "")), function)
    return ""


def _known(module: str, value: ast.expr) -> list[object]:
    """Returns the choices that a constant of the module, or an expression, lists."""
    if isinstance(value, ast.Name):
        for node in parsed(module).body:
            targets = node.targets if isinstance(node, ast.Assign) else ()
            if any(isinstance(t, ast.Name) and t.id == value.id for t in targets):
                return _known(module, node.value)  # type: ignore[attr-defined]
        return []
    items = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
    return [item.value for item in items if isinstance(item, ast.Constant)]


@cache
def _comments(module: str) -> list[str]:
    return text_of(module).splitlines()


def _beside(item: ast.AnnAssign, lines: list[str]) -> str:
    """Returns the comment above a field and the one at the end of its last line."""
    above: list[str] = []
    number = item.lineno - 2
    while (line := COMMENT.match(lines[number])) is not None:
        above.insert(0, line.group(1))
        number -= 1
    last = lines[(item.end_lineno or item.lineno) - 1][item.end_col_offset or 0 :]
    after = COMMENT.match(last)
    return " ".join([*above, *([after.group(1)] if after else [])]).strip()
