"""Draws the mutants: a number per area, all kinds in turn, the same for a seed."""

import ast
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from mutation.edits import Mutant
from mutation.sites import sites

KINDS = (
    "comparison", "dropped", "constant", "condition", "bound", "arithmetic", "extreme", "and_or",
)  # fmt: skip


@dataclass(frozen=True)
class Area:
    """Describes an area.

    sources: folders of harness/ that are changed. tests: folders of tests/ that must notice.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = {name: Area((name,), (name,)) for name in ("pruning", "schedule", "saliency", "experiment")}
# Files of a training; most faults are noticed by tests that interrupt and resume a run.
AREAS["checkpointing"] = Area(("training", "run_folder"), ("training", "run_folder", "experiment"))

Sources = Mapping[str, str]  # text of every source file by its path below the checkout
Placed = tuple[str, Mutant]  # with the name of its area


def drawn(sources: Sources, count: int, seed: int) -> list[Placed]:
    """Draws `count` mutants per area, each with its area; fewer are the first of more.

    A change elsewhere in the sources does not change a draw: each line has a random number made of
    its own text. The lowest of each kind are taken in turn, one per line.
    """
    each, rest = divmod(count, len(AREAS))
    sizes = {name: each + (number < rest) for number, name in enumerate(AREAS)}
    return [
        (name, mutant) for name in AREAS for mutant in _of_area(sources, name, sizes[name], seed)
    ]


def standing(sources: Sources, wanted: Collection[tuple[str, str, str]]) -> list[Placed]:
    """Returns the mutants with these keys whose line still exists."""
    every = [(name, mutant) for name in AREAS for mutant in _possible(sources, name)]
    return [placed for placed in every if placed[1].key in wanted]


def _possible(sources: Sources, area: str) -> list[Mutant]:
    inside = tuple(f"harness/{folder}/" for folder in AREAS[area].sources)
    own = {file: text for file, text in sources.items() if file.startswith(inside)}
    return [mutant for file, text in own.items() for mutant in sites(file, text)]


def _of_area(sources: Sources, area: str, count: int, seed: int) -> list[Mutant]:
    possible = _possible(sources, area)
    possible.sort(key=lambda mutant: (mutant.priority(seed), mutant.line))
    by_kind = [[mutant for mutant in possible if mutant.kind == kind] for kind in KINDS]
    chosen: dict[tuple[str, int], Mutant] = {}
    for mutant in (drawn for round_ in zip_longest(*by_kind) for drawn in round_ if drawn):
        place = mutant.file, mutant.line
        if len(chosen) < count and place not in chosen and compiles(mutant, sources[mutant.file]):
            chosen[place] = mutant
    return list(chosen.values())


def compiles(mutant: Mutant, text: str) -> bool:
    """True if the mutant is valid Python and a different program."""
    try:
        tree = ast.parse(mutant.applied(text))
    except SyntaxError:
        return False
    return ast.dump(tree) != ast.dump(ast.parse(text))


def sources_of(checkout: Path, folder: str = "harness") -> dict[str, str]:
    return {
        str(file.relative_to(checkout)): file.read_text()
        for file in sorted((checkout / folder).rglob("*.py"))
    }


def commit_of(checkout: Path, name: str) -> str:
    """Returns the full hash of a commit."""
    command = ["git", "-C", str(checkout), "rev-parse", "--verify", f"{name}^{{commit}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
