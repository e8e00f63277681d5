"""Reads classes and functions of the harness from their text: no part and no torch is imported."""

import ast
import copy
import re
from dataclasses import dataclass, replace
from functools import cache

from harness.launch.config.declarations import (
    annotations,
    bases_of,
    class_of,
    declared_fields,
    imported,
    parsed,
    text_of,
)
from harness.vocabulary.checks import choices_of, matches, rule_of

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


def fields_of(target: str) -> dict[str, Field]:
    """Returns the fields of the dataclass that a `_target_` names, inherited ones first."""
    if (found := class_of(target)) is None:
        return {}
    fields: dict[str, Field] = {}
    rules: dict[str, str] = {}
    declared = declared_fields(target)
    for module, node in reversed(bases_of(*found)):
        rules |= _rules(module, node)
        comments = _comments(module)
        for name, item in annotations(node):
            hint = declared[name].hint
            kind = _kind(item.annotation, hint)
            fields[name] = Field(name, kind, _default(item), _rule(hint), _beside(item, comments))
    return {
        name: replace(each, rule=each.rule or rules.get(name, "")) for name, each in fields.items()
    }


def _kind(annotation: ast.expr, hint: object) -> str:
    if choices_of(hint):
        return "text or null" if matches(None, hint) else "text"
    return spoken(ast.unparse(_Bare().visit(copy.deepcopy(annotation))))


class _Bare(ast.NodeTransformer):
    """Replaces `Annotated[int, "a rule"]` by `int`."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if ast.unparse(node.value) == "Annotated":
            return self.visit(node.slice.elts[0])  # type: ignore[attr-defined, no-any-return]
        return self.generic_visit(node)


def _rule(hint: object) -> str:
    """Returns what a hint says of values beyond their type."""
    if choices := choices_of(hint):
        return " / ".join(choices)
    return rule_of(hint).partition(";")[0] if "Annotated" in repr(hint) else ""


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
        if function in imported(node) and str(getattr(node, "module", "")).startswith("harness."):
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
