"""records.jsonl files to one table: a row per record, and what a reader should know of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read.folders import damaged
from harness.run_folder import records
from harness.run_folder.outcome import below
from harness.system.names import visible

# What a report takes from a run's folder beside its records; masks are looked at by their reader.
BESIDE = ("identity.json", "environment.json")


class NoResults(ValueError):
    """There are no records of runs, or none yet that a report could show.

    notes: what a report of something else in the same folder should say of them.
    """

    def __init__(self, message: str, notes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.notes = list(notes)


def read(runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Every whole record under `runs` with the folder it lies in, and notes on what is missing.

    A run whose file cannot be read (damaged, of another version) or is not as the run has written
    it is left out with a note.

    Raises:
        ValueError: `runs` is no folder, holds no record, or none of its files can be read.
    """
    if not runs.is_dir():
        raise ValueError(
            f"{runs} is not a folder; give the folder of a run, of a sweep or of all runs"
        )
    files, rows, notes = list(below(runs, "records.jsonl")), list[dict[str, Any]](), list[str]()
    problems = []
    for path in files:
        try:
            if why := damaged(path.parent, path.name, *BESIDE):
                raise ValueError(f"{why}; give the run's command again, which does it anew")
            folder = path.parent.relative_to(runs).as_posix()
            rows += [{"folder": folder, **_shown(vars(record))} for record in records.read(path)]
            notes += _cut(path, runs)
        except (ValueError, OSError) as error:
            problems.append(_said(path, error))
    if rows:
        return pd.DataFrame(rows).astype(dict.fromkeys(_MAY_BE_NULL, float)), notes + [
            f"run left out: {problem}" for problem in problems
        ]
    if problems:
        raise ValueError(_none_left(problems))
    raise NoResults(
        f"{runs} holds no records: looked for records.jsonl at any depth (outside folders that "
        f'start with "."), found {f"{len(files)} without a whole line" if files else "none"}; run '
        "an experiment first, or give the folder that its runs were written to",
        notes,
    )


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    """Its texts go to terminals, LaTeX and pages; anybody may have written them."""
    return {key: visible(value) if type(value) is str else value for key, value in record.items()}


_MAY_BE_NULL = ("compression", "speedup", "loss", "validation_loss", "top1", "top5")


def _said(path: Path, error: ValueError | OSError) -> str:
    # Neither names the file on its own.
    if isinstance(error, UnicodeDecodeError):
        return f"{path} is not UTF-8 text ({error.reason}); redo the run"
    return f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _none_left(problems: list[str]) -> str:
    more = f" (nor can the records of {len(problems) - 1} more runs be read)"
    return problems[0] + (more if len(problems) > 1 else "")


def _cut(path: Path, runs: Path) -> list[str]:
    text = path.read_bytes()
    if not text or text.endswith(b"\n"):
        return []
    line = text.count(b"\n") + 1
    return [f"{path.relative_to(runs)}: line {line} is cut off (the run was stopped): skipped"]
