"""Reads the measured latency from the timings.jsonl of the runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.report.read.folders import timings

# Conditions that must be equal for two latencies to be compared.
WHERE = ("device", "batch_size", "dtype", "threads")


def with_latency(results: pd.DataFrame, runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Adds latency_ms, the median milliseconds of a forward pass, and latency_where.

    They are NaN and "" where a run has measured no latency. latency_ms is NaN, with a note, where
    runs of one model and data set have measured under several conditions (WHERE).
    """
    events_of = {folder: _measured(runs / folder) for folder in set(results["folder"])}
    events = [
        events_of[folder].get(level, {})
        for folder, level in zip(results["folder"], results["level"], strict=True)
    ]
    rows = results.assign(
        latency_ms=[event.get("milliseconds_median", np.nan) for event in events],
        latency_where=[conditions(event) for event in events],
    )
    return _comparable(rows)


def _measured(folder: Path) -> dict[int, dict[str, Any]]:
    """Returns the newest event of each level."""
    events = [line for line in timings(folder) if line.get("event") == "latency"]
    return {event["level"]: event for event in events if "level" in event}


def conditions(event: dict[str, Any]) -> str:
    """Formats the conditions of a measurement.

    >>> conditions({"device": "cpu", "batch_size": 64, "dtype": "float32", "threads": 1})
    'device cpu, batch_size 64, dtype float32, threads 1'
    """
    return ", ".join(f"{name} {event[name]}" for name in WHERE if name in event)


def _comparable(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    notes = []
    for (model, data), same in rows[rows["latency_where"] != ""].groupby(["model", "data"]):
        several = sorted(set(same["latency_where"]))
        if len(several) > 1:
            rows.loc[same.index, "latency_ms"] = np.nan
            notes.append(
                f"latencies of {model}, {data} were measured under several conditions and are "
                f"not drawn: {'; '.join(several)}"
            )
    return rows, notes
