"""Measured latency, from the timings.jsonl of the runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FILE = "timings.jsonl"
# What must be equal for two latencies to be compared.
WHERE = ("device", "batch", "dtype", "threads")


def with_latency(results: pd.DataFrame, runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Adds latency_ms, the median milliseconds of a forward pass, and latency_where.

    NaN and "" where a run has measured none, or where runs of a model and data set have measured
    under several conditions (device, batch, dtype, threads): then a note says so.
    """
    found = {folder: _measured(runs / folder / FILE) for folder in set(results["folder"])}
    events = [
        found[folder].get(level, {})
        for folder, level in zip(results["folder"], results["level"], strict=True)
    ]
    rows = results.assign(
        latency_ms=[event.get("milliseconds_median", np.nan) for event in events],
        latency_where=[conditions(event) for event in events],
    )
    return _comparable(rows)


def _measured(file: Path) -> dict[int, dict[str, Any]]:
    """The newest event of each level."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    events = [_parsed(line) for line in text.splitlines() if '"latency"' in line]
    told = (event for event in events if event.get("event") == "latency" and "level" in event)
    return {event["level"]: event for event in told}


def _parsed(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:  # cut off by a kill
        return {}
    return event if isinstance(event, dict) else {}


def conditions(event: dict[str, Any]) -> str:
    """
    >>> conditions({"device": "cpu", "batch": 64, "dtype": "float32", "threads": 1})
    'device cpu, batch 64, dtype float32, threads 1'
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
