"""Reads the pages of the documentation, and their blocks of commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from reference.blocks import Block, blocks

ROOT = Path(__file__).parents[2]
BESIDE = ("README.md", "CONTRIBUTING.md", "slurm/README.md", "examples/own_parts/README.md")
PAGES = [*map(ROOT.joinpath, BESIDE), *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGURED = ("sensitivity", "latency", "shrink")  # which take the keys of a run
COMMANDS = ("status", "sweep", "report", "tracking", "clean", *CONFIGURED, "data", "slurm")
ENTRIES = ("pruning-harness", "python -m harness")
OVERRIDE = re.compile(r"[+~]{0,2}[\w.@/]+=")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(kind: str) -> Iterator[tuple[Path, Block]]:
    for page in PAGES:
        if page == ROOT / "docs" / "guides" / "slurm.md":
            continue  # slurm/README.md once more
        yield from ((page, block) for block in blocks(page.read_text()) if block.kind == kind)


def words_of(command: str) -> list[str] | None:
    """Returns what follows `pruning-harness` or `python -m harness`; None for other commands."""
    for entry in ENTRIES:
        if command == entry or command.startswith(f"{entry} "):
            return shlex.split(command.removeprefix(entry))
    return None


def split(words: list[str]) -> tuple[str, list[str]]:
    """Returns (subcommand or "", the rest)."""
    return (words[0], words[1:]) if words and words[0] in COMMANDS else ("", words)


def overrides_of(words: list[str]) -> list[str]:
    """Returns the overrides of a run, or of the first run of a sweep or search."""
    overrides = [word for word in words if OVERRIDE.match(word)]
    overrides = [re.sub(r"=(tag|int|interval)\(.*", "=1", word) for word in overrides]
    return [re.sub(r"=([^\[\{(,]+),.*", r"=\1", word) for word in overrides]
