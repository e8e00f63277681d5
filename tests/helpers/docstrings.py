"""Reads docstrings and judges their first lines: a sentence with a verb, or a formula."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Third person singular, as in "Returns ..."; a missing verb is added there.
VERBS = frozenset(Path(__file__).with_name("verbs.txt").read_text().split())
PLURALS = frozenset(
    [
        "changes",
        "checks",
        "counts",
        "masks",
        "names",
        "points",
        "ranks",
        "records",
        "runs",
        "samples",
        "scores",
        "states",
        "steps",
    ]
)
TRUTH = re.compile(r"^(True|False|None) (at|for|if|under|when|where)\b")
NOUN_PHRASE = re.compile(r"^\w+( (of|on|in|from|for|by|without|as|are|is)\b|[,;:])")
# A clause or a noun phrase, whatever verb it has inside.
CLAUSE = re.compile(r"^(What|Where|When|Whether|Who|Of|As|By|Those)\b")
FORMULA = re.compile(r"[=^|<>√Σ∝]| [/+] | x [\w(]")
WORD = re.compile(r"[A-Za-z_]+")


class Docstring(NamedTuple):
    place: str  # file:line
    kind: str  # module, class or function
    name: str
    first: str  # the first paragraph in one line


def docstrings(root: Path, folder: str) -> Iterator[Docstring]:
    """Yields every docstring of the Python files below a folder."""
    for file in sorted((root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                continue
            text = ast.get_docstring(node)
            if text is None:
                continue
            first = " ".join(text.strip().split("\n\n")[0].split())
            line = getattr(node, "lineno", 1)
            kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
            name = getattr(node, "name", file.stem)
            yield Docstring(f"{file.relative_to(root)}:{line}", kind, name, first)


def begins_well(found: Docstring) -> bool:
    """True if the first line is a sentence with a verb or a formula.

    A function's begins with the verb. Elsewhere the verb may come later. Words that are also a
    plural, as "masks", are no verb where "Masks of ..." shows a noun.
    """
    first = found.first.split(". ")[0]
    if not first or first.startswith((">>>", "Raises:", "Args:", "Source:")):
        return False
    if CLAUSE.match(first) and not FORMULA.search(first.partition(",")[0]):
        return False
    if TRUTH.match(first) or FORMULA.search(first):
        return True
    words = [word.lower() for word in WORD.findall(first)]
    if words[:1] and words[0] in VERBS - PLURALS:
        return True
    if words[:1] and words[0] in PLURALS and not NOUN_PHRASE.match(first):
        return True
    return found.kind != "function" and bool(VERBS & set(words[1:]) - PLURALS)
