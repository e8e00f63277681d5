"""Reads the measured speed of results from the timings.jsonl of the runs."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read.folders import timings
from harness.run_folder.sinks import LATENCY_CONDITIONS

WORDS = {
    "batch_size": "batch {}",
    "threads": "threads {}",
    "torch": "torch {}",
    "onnxruntime": "onnxruntime {}",
}
# Columns of the results, and the fields of an event that they hold.
FIELDS = {
    "latency_ms": "milliseconds_median",
    "measured_speedup": "speedup_median",
    "measured_speedup_low": "speedup_low",
    "measured_speedup_high": "speedup_high",
    "peak_bytes": "peak_bytes",
    "file_bytes": "file_bytes",
}

Event = dict[str, Any]
Events = dict[str, Event]  # of one result, by their conditions


def with_latency(
    results: pd.DataFrame, runs: Path, chosen: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Adds the columns FIELDS, latency_where and why_slow.

    latency_where holds the conditions under which they were measured; why_slow a run's line on a
    speed-up far below the theoretical one, or "".

    Numbers of one model and data set are of equal conditions: those that `chosen` names, or else
    that most results have measured; of several, those that a run measured first. Other numbers are
    NaN, as where nothing was measured, and a note lists their conditions.

    chosen: parts of conditions with commas between, as in "batch 1, eager".

    Raises:
        ValueError: no result was measured under the chosen conditions.
    """
    read = {folder: _measured(runs / folder) for folder in sorted(set(results["folder"]))}
    places = zip(results["folder"], results["level"], strict=True)
    found = pd.Series(
        [read[folder].get(level, {}) for folder, level in places], results.index, object
    )
    notes, shown = _not_measured(found), pd.Series("", index=results.index)
    for (model, data), same in results.groupby(["model", "data"]):
        where, others = _choose(found[same.index], chosen)
        shown[same.index] = where
        if others:
            notes.append(
                f"the measured speed of {model}, {data} is that of: {where or 'nothing'}; other "
                f"measurements (--latency chooses): {'; '.join(others)}"
            )
    if chosen is not None and not shown.any():
        known = sorted({name for events in found for name in _numbers(events)})
        raise ValueError(
            f"--latency {chosen!r}: no result was measured so; "
            f"{'use parts of: ' + '; '.join(known) if known else 'set latency.batch_sizes in runs'}"
        )
    events = [events.get(where, {}) for events, where in zip(found, shown, strict=True)]
    columns = {
        name: pd.Series([_number(event.get(field)) for event in events], results.index, float)
        for name, field in FIELDS.items()
    }
    measured = [where if event else "" for event, where in zip(events, shown, strict=True)]
    reasons = [str(event.get("why_slow") or "") for event in events]
    return results.assign(**columns, latency_where=measured, why_slow=reasons), notes


def _measured(folder: Path) -> dict[int, Events]:
    """Returns the newest event of each level and conditions."""
    found: dict[int, Events] = {}
    for line in timings(folder):
        if line.get("event") == "latency" and "level" in line:
            found.setdefault(line["level"], {})[conditions(line)] = line
    return found


def conditions(event: Event) -> str:
    """Formats the conditions of a measurement.

    >>> conditions({"device": "cpu", "batch_size": 64, "dtype": "float32", "runtime": "eager"})
    'batch 64, eager, float32, cpu'
    """
    return ", ".join(
        WORDS.get(name, "{}").format(event[name])
        for name in LATENCY_CONDITIONS
        if event.get(name) is not None
    )


def _choose(found: Iterable[Events], chosen: str | None) -> tuple[str, list[str]]:
    """Returns the conditions to show, "" for none, and the others that have numbers."""
    counts = Counter(name for events in found for name in _numbers(events))
    parts = [part.strip().lower() for part in (chosen or "").split(",") if part.strip()]
    fitting = {name: count for name, count in counts.items() if _fits(name, parts)}
    # max takes the first of equals, and a Counter holds names in the order of their first one.
    best = max(fitting, key=fitting.__getitem__, default="")
    return best, [name for name in counts if name != best]


def _fits(name: str, parts: list[str]) -> bool:
    return set(parts) <= set(name.lower().split(", "))


def _numbers(events: Events) -> list[str]:
    return [name for name, event in events.items() if "not_measured" not in event]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _not_measured(found: Iterable[Events]) -> list[str]:
    failed = [
        (name, str(event["not_measured"]))
        for events in found
        for name, event in events.items()
        if "not_measured" in event
    ]
    reasons = sorted({f"{name}: {reason}" for name, reason in failed})
    if not failed:
        return []
    return [f"{len(failed)} latencies were not measured: {'; '.join(reasons)}"]
