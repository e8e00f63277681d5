"""Reads records.jsonl files into one table with a row per record, and notes on what is missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read.folders import damaged
from harness.run_folder import records
from harness.run_folder.outcome import below
from harness.system.names import printable
from harness.task.shared.measures import TOP1, Measure

# Files of a run folder that a report reads, beside records; overlap.py checks the masks.
BESIDE = ("identity.json", "environment.json")


class NoResults(ValueError):
    """Signals that a folder has no records, or none yet that a report can show.

    notes: for a report on sensitivity analyses in the same folder.
    """

    def __init__(self, message: str, notes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.notes = list(notes)


def read(runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Reads every whole record below `runs`, with its folder, and notes what is missing.

    The column top1 holds the primary measure, whatever it is; `measure_of` names it.

    A run is left out with a note if its file cannot be read (damaged, or of another version), or is
    not as the run wrote it.

    Raises:
        ValueError: `runs` is not a folder, has no record, none of its files can be read, or its
            runs have several primary measures.
    """
    if not runs.is_dir():
        raise ValueError(f"{runs} is not a folder: pass that of a run, of a sweep or of all runs")
    files, rows, notes = list(below(runs, "records.jsonl")), list[dict[str, Any]](), list[str]()
    problems = []
    for path in files:
        try:
            if reason := damaged(path.parent, path.name, *BESIDE):
                raise ValueError(f"{reason}; repeat the run with its command")
            folder = path.parent.relative_to(runs).as_posix()
            rows += [
                {"folder": folder, **_shown(vars(record)), "top1": record.value}
                for record in records.read(path)
            ]
            notes += _cut(path, runs)
        except (ValueError, OSError) as error:
            problems.append(_problem(path, error))
    if rows:
        _check_measures(runs, rows)
        return pd.DataFrame(rows).astype(dict.fromkeys(_MAY_BE_NULL, float)), notes + [
            f"run left out: {problem}" for problem in problems
        ]
    if problems:
        raise ValueError(_none_left(problems))
    raise NoResults(
        f"{runs} has no records: looked for records.jsonl at any depth (outside folders that "
        f'start with "."), found {f"{len(files)} without a whole line" if files else "none"}; run '
        "an experiment first, or pass the folder of its runs",
        notes,
    )


def measure_of(rows: pd.DataFrame) -> Measure:
    """Returns the primary measure of records, which is one: see `read`."""
    if rows.empty or "measure" not in rows:
        return TOP1
    first = rows.iloc[0]
    return Measure(*(first[name] for name in _OF_MEASURE))


_OF_MEASURE = ("measure", "measure_title", "measure_is_fraction", "higher_is_better")


def _check_measures(runs: Path, rows: list[dict[str, Any]]) -> None:
    folders = {tuple(row[name] for name in _OF_MEASURE): row["folder"] for row in rows}
    if len(folders) > 1:
        found = ", ".join(f"{measure[0]} ({folder})" for measure, folder in folders.items())
        raise ValueError(
            f"{runs} has runs of several primary measures, which share no axis: {found}; pass the "
            "folder of one task's runs"
        )


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record with printable texts, because its file may come from anywhere."""
    return {key: printable(value) if type(value) is str else value for key, value in record.items()}


_MAY_BE_NULL = (
    "compression", "speedup", "loss", "validation_loss", "top1", "top5", "perplexity",
    "table_milliseconds", "table_speedup",
)  # fmt: skip


def _problem(path: Path, error: ValueError | OSError) -> str:
    # These errors do not name the file.
    if isinstance(error, UnicodeDecodeError):
        return f"{path} is not UTF-8 text ({error.reason}); repeat the run"
    return f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _none_left(problems: list[str]) -> str:
    more = f" (nor can the records of {len(problems) - 1} more runs be read)"
    return problems[0] + (more if len(problems) > 1 else "")


def _cut(path: Path, runs: Path) -> list[str]:
    text = path.read_bytes()
    if not text or text.endswith(b"\n"):
        return []
    line = text.count(b"\n") + 1
    return [f"{path.relative_to(runs)}: line {line} is cut off (the run was stopped), and skipped"]
