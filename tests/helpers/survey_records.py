"""Writes records of small surveys, and reads the notes of their report."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read.survey import Survey
from harness.run_folder import records
from harness.run_folder.records import Record


def make(**changes: Any) -> Record:
    values = {
        "run": "0123456789ab", "method": "snip", "label": "SNIP", "setting": "aaaa11112222",
        "model": "lenet5", "data": "digits", "model_published_as": None,
        "data_published_as": None, "seed": 0, "level": 1, "stage": "finetuned",
        "requested_density": 0.25, "requested_compression": 4.0, "density": 0.25,
        "density_of": "weights", "density_of_weights": 0.25, "compression": 4.0, "speedup": 2.0,
        "parameters": 250, "macs": 500, "top1": 0.9, "top5": 1.0, "loss": 0.1,
        "validation_top1": 0.9, "validation_loss": 0.1, "epochs": 1, "steps": 10,
        "layers": {"fc.weight": 0.25}, "masks": "d1", "effective_density": 0.2,
        "empty_layers": [], "dead_units": {"fc.weight": 3},
    }  # fmt: skip
    return Record(**{**values, **changes})


def write_run(folder: Path, *rows: Record) -> Path:
    folder.mkdir(parents=True)
    path = folder / "records.jsonl"
    path.write_text("".join(map(records.to_line, rows)))
    return path


def dense(**changes: Any) -> Record:
    level0 = {"level": 0, "stage": "dense", "requested_compression": 1.0, "compression": 1.0}
    return make(
        **{
            **level0,
            "speedup": 1.0,
            "density": 1.0,
            "density_of_weights": 1.0,
            "masks": "",
            **changes,
        }  # fmt: skip
    )


def pruned(survey: Survey) -> pd.DataFrame:
    return survey.summary[survey.summary["level"] > 0]


def only(survey: Survey) -> "pd.Series[Any]":
    rows = pruned(survey)
    assert len(rows) == 1
    return rows.iloc[0]


def notes(survey: Survey) -> list[str]:
    """Returns the notes, without those on few seeds and on published figures."""
    said = ("fewer than 3 seeds", "published figures")
    return [note for note in survey.notes if not any(text in note for text in said)]
