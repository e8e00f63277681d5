"""Reads the command blocks of the pages and how each is checked; also the hook of mkdocs.

A block of commands is written as ```bash {.CLASS}, one of Python as ```python {.CLASS}:
run: the tests run it; a line `# to try it in seconds, add: KEY=VALUE ...` shortens its runs.
compose: the tests compose its commands, parse them, or read them by `bash -n`.
no: nothing is checked, as of an installation.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CLASSES = ("run", "compose", "no")
LANGUAGES = ("bash", "sh", "shell", "console", "python")
FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)|<img\b[^>]*>")
# Hydra reads the line of the package only if it is the first one.
NAMED = re.compile(r"(?:# @package \w+\n)?# ([\w./]+\.(?:py|yaml))\n")
ADDED = re.compile(r"^# to try it in seconds, add: (.*)\n?", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Holds one block of commands: its language, its class ("" if it has none) and its text."""

    language: str
    kind: str
    text: str
    line: int

    @property
    def added(self) -> list[str]:
        """Returns the overrides that shorten its runs."""
        return " ".join(ADDED.findall(self.text)).split()

    def commands(self) -> list[str]:
        r"""Returns its commands, one a line, without comments.

        >>> Block("bash", "run", "a b \\\n  c  # all\n# none\n", 1).commands()
        ['a b c']
        """
        lines = re.sub(r"\s*\\\n\s*", " ", self.text).splitlines()
        return [line for raw in lines if (line := re.sub(r"(^|\s+)#.*", "", raw).strip())]


def blocks(markdown: str) -> Iterator[Block]:
    """Yields the blocks of commands of a page."""
    for fence in FENCE.finditer(markdown):
        language, _, rest = fence.group(2).strip().partition(" ")
        if language in LANGUAGES:
            kind = re.fullmatch(r"\{\.(\w+)\}", rest.strip())
            line = markdown.count("\n", 0, fence.start()) + 1
            yield Block(language, kind.group(1) if kind else "", fence.group(3), line)


def files(markdown: str) -> Iterator[tuple[str, str]]:
    """Yields (path, text) of the blocks that are files: their first line is a comment with a path.

    >>> list(files("```yaml\\n# conf/a.yaml\\nb: 1\\n```\\n"))
    [('conf/a.yaml', '# conf/a.yaml\\nb: 1\\n')]
    """
    for fence in FENCE.finditer(markdown):
        if path := NAMED.match(fence.group(3)):
            yield path.group(1), fence.group(3)


def problems(markdown: str) -> list[str]:
    """Returns what a page lacks: classes of blocks and alt texts of images."""
    lacks = [
        f"line {block.line}: a block of {block.language} needs a class, one of {{.run}}, "
        "{.compose}, {.no}"
        for block in blocks(markdown)
        if block.kind not in CLASSES
    ]
    text = FENCE.sub("", markdown)
    for image in IMAGE.finditer(text):
        alt = image.group(1) or re.search(r'alt="[^"]+"', image.group())
        if not alt:
            lacks.append(f"{image.group()}: an image needs an alt text")
    return lacks


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Warns of what a page lacks, which `mkdocs build --strict` refuses; leaves classes out."""
    for lack in problems(markdown):
        logging.getLogger("mkdocs.hooks.blocks").warning("%s, %s", page.file.src_uri, lack)
    return re.sub(r"^(`{3,}\w+) \{\.\w+\}$", r"\1", markdown, flags=re.MULTILINE)
