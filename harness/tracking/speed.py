"""Turns events of measured speed into the rows, table and charts of a tracker."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.run_folder import records
from harness.run_folder.outcome import below
from harness.run_folder.records import Record
from harness.run_folder.sinks import LATENCY_CONDITIONS
from harness.system.json_schema import parse_json

Event = dict[str, Any]

# Names of a tracker's row, and the fields of an event that they hold.
NUMBERS = {
    "speedup": "speedup_median",
    "speedup_low": "speedup_low",
    "speedup_high": "speedup_high",
    "milliseconds": "milliseconds_median",
    "dense_milliseconds": "dense_milliseconds_median",
    "peak_bytes": "peak_bytes",
    "dense_peak_bytes": "dense_peak_bytes",
    "file_bytes": "file_bytes",
    "dense_file_bytes": "dense_file_bytes",
}
OF_RECORD = ("compression", "level", "stage", "top1", "theoretical_speedup")
COLUMNS = (*OF_RECORD, *LATENCY_CONDITIONS, *NUMBERS, "why_slow", "not_measured")


def name_of(event: Event) -> str:
    """Returns the first part of a row's names: the conditions that a user asked for."""
    return "speed/batch{batch_size}_{runtime}_{dtype}_threads{threads}".format(**event)


@dataclass(frozen=True)
class Speed:
    """Holds one measurement, and the record of the result that it is of."""

    record: Record
    event: Event

    @property
    def level(self) -> int:
        return self.record.level

    @property
    def key(self) -> str:
        return f"level {self.record.level} {self.record.stage} {self.name}"

    @property
    def name(self) -> str:
        return name_of(self.event)

    @property
    def measured_with(self) -> str:
        """Returns the conditions beside those of the name: device and versions."""
        event = self.event
        versions = [f"{name} {event[name]}" for name in ("torch", "onnxruntime") if name in event]
        return ", ".join([str(event["device"]), *versions])

    @property
    def numbers(self) -> dict[str, float]:
        """Returns what was measured, by the row's names; empty if nothing could be."""
        return {
            f"{self.name}/{name}": self.event[field_name]
            for name, field_name in NUMBERS.items()
            if self.event.get(field_name) is not None
        }

    @property
    def row(self) -> dict[str, Any]:
        """Returns the numbers with their conditions, and the values of their x axes."""
        if not self.numbers:
            return {}
        of_record = ("density_of_weights", "compression", "level")
        axes = {name: getattr(self.record, name) for name in of_record}
        texts = {"measured_with": self.measured_with, "why_slow": self.event.get("why_slow")}
        named = {f"{self.name}/{name}": text for name, text in texts.items() if text}
        return {**self.numbers, **named, **axes}

    @property
    def cells(self) -> list[Any]:
        """Returns a row of COLUMNS."""
        record, event = self.record, self.event
        own = [record.compression, record.level, record.stage, record.top1, record.speedup]
        return own + [event.get(NUMBERS.get(name, name)) for name in COLUMNS[len(OF_RECORD) :]]


@dataclass
class Speeds:
    """Collects the measurements of a run; a later one replaces one of equal conditions."""

    all: dict[str, Speed] = field(default_factory=dict)
    _records: dict[tuple[int, str], Record] = field(default_factory=dict)

    def follow(self, record: Record) -> None:
        """Notes a record, whose measurements come after it."""
        self._records[record.level, record.stage] = record

    def add(self, event: Event) -> Speed | None:
        """Returns the measurement; None if its record is not known."""
        record = self._records.get((event["level"], event["stage"]))
        if record is None:
            return None
        speed = Speed(record, event)
        self.all[speed.key] = speed
        return speed

    def charts(self) -> dict[str, list[Speed]]:
        """Returns the measurements by their conditions, where there are numbers."""
        found: dict[str, list[Speed]] = {}
        for speed in self.all.values():
            if speed.numbers:
                found.setdefault(speed.name, []).append(speed)
        return found


def measured_before(folder: Path) -> Iterator[Event]:
    """Yields the events that earlier starts of a run have left in timings.jsonl."""
    for line in records.lines(folder / "timings.jsonl"):
        with suppress(ValueError):  # a damaged line
            event = parse_json(line)
            if isinstance(event, dict) and event.get("event") == "latency":
                yield event


def names_below(runs: Path) -> list[str]:
    """Returns the names of the rows of all measurements below a folder, each once."""
    names = (
        name_of(event)
        for file in below(runs, "timings.jsonl")
        for event in measured_before(file.parent)
        if "not_measured" not in event
    )
    return list(dict.fromkeys(names))
