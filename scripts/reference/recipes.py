"""Reads the table of published recipes, and generates its page.

A line of conf/experiment/recipes.csv is a cell: preset or pattern of presets, key, value as YAML
writes it, source. A line that names the preset counts before one with a pattern.
"""

import csv
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

import yaml

from reference.configs import CONF, read
from reference.markdown import code, escaped, table

FILE = CONF / "experiment" / "recipes.csv"


class Cell(NamedTuple):
    """Holds one value of a published recipe.

    source: where in the paper or its authors' code it stands. "ours": it stands in neither. "from
    memory": it was not read again in a stored copy.
    """

    preset: str
    key: str
    value: str
    source: str

    @property
    def parsed(self) -> Any:
        return yaml.safe_load(self.value)


@cache
def cells() -> tuple[Cell, ...]:
    with FILE.open(newline="") as lines:
        return tuple(Cell(**line) for line in csv.DictReader(lines))


@cache
def presets() -> tuple[str, ...]:
    """Returns the experiments that the table describes."""
    names = sorted(file.stem for file in FILE.parent.glob("*.yaml"))
    return tuple(n for n in names if any(fnmatchcase(n, cell.preset) for cell in cells()))


def recipe_of(preset: str) -> dict[str, Cell]:
    """Returns the cells of a preset by key.

    Raises:
        ValueError: two lines, both with the preset's name or both with a pattern, have one key.
    """
    found: dict[str, Cell] = {}
    for exact in (False, True):
        lines = [
            cell
            for cell in cells()
            if (cell.preset == preset) == exact and fnmatchcase(preset, cell.preset)
        ]
        keys = [cell.key for cell in lines]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"{FILE.name}: {preset} has two lines for {twice[0]}; leave one")
        found |= {cell.key: cell for cell in lines}
    return found


def page() -> str:
    """Returns the page of published recipes: one table per preset."""
    parts = [
        "# Published recipes",
        "`experiment=NAME` trains and prunes as a paper does; [Presets](../guides/presets.md) says "
        "how to run them. Each value has its source: a place in the paper, or a file of its "
        "authors' code. *Ours* is what neither says, or what this program does otherwise. *From "
        "memory* was not read again in a stored copy. A test compares each preset with this table.",
    ]
    for preset in presets():
        parts += [f"## {escaped(preset)}", escaped(read(CONF / f"experiment/{preset}.yaml").head)]
        cells_of = recipe_of(preset).values()
        rows = [[code(cell.key), code(cell.value), escaped(cell.source)] for cell in cells_of]
        parts.append(table(["key", "value", "source"], rows))
    return "\n\n".join(parts) + "\n"
