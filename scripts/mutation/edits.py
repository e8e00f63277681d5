"""Defines a mutant, a source file with one changed line, and makes such lines."""

import ast
import re
from dataclasses import dataclass
from random import Random

SWAPPED = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "is": "is not", "is not": "is", "in": "not in", "not in": "in",
    "+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "//", "**": "*",
    "&": "|", "|": "&", "^": "|", "and": "or", "or": "and",
}  # fmt: skip
# Longest first; words are matched whole.
OPERATOR = re.compile(
    "|".join(
        rf"\b{re.escape(o)}\b" if o.isalpha() or " " in o else re.escape(o)
        for o in sorted(SWAPPED, key=len, reverse=True)
    )
)
OPPOSITE = {"floor": "ceil"} | {a: a.replace("min", "max") for a in ("min", "amin", "argmin")}
OPPOSITE |= {"any": "all", "cummin": "cummax", "minimum": "maximum"}
OPPOSITE |= {new: old for old, new in OPPOSITE.items()}


@dataclass(frozen=True)
class Mutant:
    """Holds one line of a file, before and after; function is a qualified name, "" at the top."""

    file: str
    function: str
    kind: str
    line: int
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Returns a key that stays the same when lines move."""
        return self.file, self.before.strip(), self.after.strip()

    def priority(self, seed: int) -> float:
        """Returns a random number in [0, 1) of its own text, so that other edits keep the draw."""
        return Random(f"{seed} {self.function} {self.key}").random()

    def applied(self, text: str) -> str:
        """Returns the source with the changed line.

        Raises:
            ValueError: the line has changed since.
        """
        lines = text.split("\n")
        if lines[self.line - 1] != self.before:
            raise ValueError(f"{self.file}:{self.line} is no longer {self.before.strip()!r}")
        lines[self.line - 1] = self.after
        return "\n".join(lines)


def spliced(line: str, start: int, end: int, new: str) -> str:
    """Replaces bytes from start to end of a line, because columns of `ast` count bytes."""
    raw = line.encode()
    return (raw[:start] + new.encode() + raw[end:]).decode()


def within(line: str, start: int, end: int) -> str:
    return line.encode()[start:end].decode()


def swapped(gap: str) -> str | None:
    """Returns the text between two operands with another operator, or None.

    >>> swapped(") is not ("), swapped(" @ ")
    (') is (', None)
    """
    match = OPERATOR.search(gap)
    if match is None:
        return None
    return gap[: match.start()] + SWAPPED[match.group()] + gap[match.end() :]


def changed_constant(value: object) -> str | None:
    """Returns another constant: one more, twice as much, or the other truth value.

    >>> [changed_constant(value) for value in (0, 0.5, 0.0, True, "text")]
    ['1', '1.0', '1.0', 'False', None]
    """
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, int):
        return str(value + 1)
    if isinstance(value, float):
        return str(2 * value or 1.0)
    return None


def one_more(bound: str, node: ast.expr) -> str:
    """Returns the text of a bound, off by one."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return str(node.value + 1)
    simple = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.UnaryOp))
    return f"{bound} + 1" if simple else f"({bound}) + 1"
