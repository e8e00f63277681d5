"""records.jsonl files to one table: a row per record, and what a reader should know of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from harness import records


class NoResults(ValueError):
    """There are no records of runs, or none yet that a report could show."""


def read(runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Every whole record under `runs` with the folder it lies in, and notes on what is missing.

    Raises:
        ValueError: `runs` is no folder, holds no record, or a line of a file cannot be read.
    """
    if not runs.is_dir():
        raise ValueError(
            f"{runs} is not a folder; give the folder of a run, of a sweep or of all runs"
        )
    files = list(found(runs, "records.jsonl"))
    rows = [
        {"folder": path.parent.relative_to(runs).as_posix(), **vars(record)}
        for path in files
        for record in records.read(path)
    ]
    if not rows:
        raise NoResults(
            f"{runs} holds no records: looked for records.jsonl at any depth (outside folders that "
            f'start with "."), found {f"{len(files)}, all empty" if files else "none"}; run an '
            "experiment first, or give the folder that its runs were written to"
        )
    return pd.DataFrame(rows), [note for path in files if (note := _cut(path, runs))]


def found(runs: Path, file: str) -> Iterator[Path]:
    """Every file of this name at any depth, in a fixed order."""
    for folder, inner, names in os.walk(runs):
        # In place, so that walk does not enter them: .dense holds no results of its own.
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if file in names:
            yield Path(folder, file)


def _cut(path: Path, runs: Path) -> str:
    text = path.read_bytes()
    if not text or text.endswith(b"\n"):
        return ""
    line = text.count(b"\n") + 1
    return f"{path.relative_to(runs)}: line {line} is cut off (the run was stopped): skipped"
