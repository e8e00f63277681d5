"""Reads classes and functions of the harness from their text: no part and no torch is imported."""

import ast
import copy
import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, get_args, get_origin

from harness.launch.config.declarations import (
    annotations,
    bases_of,
    class_of,
    declared_fields,
    text_of,
)
from harness.vocabulary.checks import LISTS, choices_of, matches, rule_of

COMMENT = re.compile(r"^\s*# ?(.*)")


@dataclass(frozen=True)
class Field:
    """Describes one field of a dataclass.

    rule: the values that its class declares, in words; "" where it declares its type alone.
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
    declared = declared_fields(target)
    for module, node in reversed(bases_of(*found)):
        comments = _comments(module)
        for name, item in annotations(node):
            hint = declared[name].hint
            kind = _kind(item.annotation, hint)
            fields[name] = Field(name, kind, _default(item), _rule(hint), _beside(item, comments))
    return fields


def _kind(annotation: ast.expr, hint: object) -> str:
    if choices_of(hint):
        return "text or null" if matches(None, hint) else "text"
    listed = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(listed) in LISTS and choices_of(get_args(listed)[0]):
        return "list of text"
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
    is_ruled = any(word in repr(hint) for word in ("Annotated", "Literal"))
    return rule_of(hint).partition(";")[0] if is_ruled else ""


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
