"""Formats docstrings and tables as Markdown."""

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([*_\[\]<>|`])")
CODE = re.compile(r"(`[^`|]+`)")


def escaped(text: str) -> str:
    """Returns text whose signs mean nothing in Markdown; what stands in backticks stays code.

    >>> escaped("w_q^2 | [H^-1] of `a_b`")
    'w\\\\_q^2 \\\\| \\\\[H^-1\\\\] of `a_b`'
    """
    parts = CODE.split(text)
    return "".join(t if CODE.fullmatch(t) else SPECIAL.sub(r"\\\1", t) for t in parts)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def paragraphs(docstring: str) -> list[list[str]]:
    """Returns a docstring's paragraphs as their lines; the lines of a block keep their indents."""
    return [part.splitlines() for part in re.split(r"\n\s*\n", docstring.strip()) if part.strip()]


def prose(docstring: str) -> str:
    """Returns a docstring as Markdown: doctests as code, blocks such as `Args:` as lists."""
    return "\n\n".join(map(paragraph, paragraphs(docstring)))


def paragraph(lines: list[str]) -> str:
    if lines[0].lstrip().startswith(">>>"):
        return "\n".join(["```pycon", *(line.rstrip() for line in lines), "```"])
    if re.fullmatch(r"\w+:", lines[0].strip()) and len(lines) > 1:
        return f"{lines[0].strip()}\n\n{_items(lines[1:])}"
    first = [number for number, line in enumerate(lines) if line.lstrip().startswith("- ")]
    if first and first[0]:
        return f"{paragraph(lines[: first[0]])}\n\n{paragraph(lines[first[0] :])}"
    if first:
        joined = " ".join(line.strip() for line in lines)[2:]
        return "\n".join(f"- {escaped(item)}" for item in joined.split(" - "))
    return escaped(" ".join(line.strip() for line in lines))


def _items(lines: list[str]) -> str:
    """Returns the entries of a block, `name: text` continued on deeper lines, as a list."""
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    items: list[str] = []
    for line in lines:
        deeper = len(line) - len(line.lstrip()) > indent
        if deeper and items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line.strip())
    return "\n".join(map(_item, items))


def _item(text: str) -> str:
    name, colon, rest = text.partition(": ")
    if colon and re.fullmatch(r"[\w, ]+", name):
        return f"- `{name}`: {escaped(rest)}"
    return f"- {escaped(text)}"
