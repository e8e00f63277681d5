"""Passes records and epochs of a run to its files, its tracker and the terminal."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.run_folder import records
from harness.run_folder.console import Progress
from harness.run_folder.progress_file import ProgressFile
from harness.run_folder.records import Record
from harness.run_folder.sinks import Sink
from harness.system.atomic_files import write_atomic, writing
from harness.task.shared.measures import TOP1, Measure


class RecordWriter:
    """Writes records.jsonl, and timings.jsonl with all that depends on a clock."""

    def __init__(self, folder: Path, world_size: int):
        self.folder, self.world_size = folder, world_size
        self.since = time.perf_counter()

    def log(self, record: Record) -> None:
        """Appends the record and its seconds.

        Raises:
            CannotWrite: the disk is full or gone.
        """
        path = self.folder / "records.jsonl"
        with writing(path):
            records.append(path, record)
        now = time.perf_counter()
        seconds, self.since = now - self.since, now
        self.log_timing(level=record.level, stage=record.stage, seconds=round(seconds, 4))

    def epoch(
        self, level: int, epoch: int, loss: float, value: float, measure: Measure = TOP1
    ) -> None:
        """Writes nothing: the level's record holds all of its epochs."""

    def latency(self, event: Mapping[str, Any]) -> None:
        """Writes nothing: log_timing has written it."""

    def log_timing(self, **facts: Any) -> None:
        """Appends a line to timings.jsonl, with the time and the number of ranks."""
        line = {**facts, "at_unix_s": round(time.time(), 3), "world_size": self.world_size}
        path = self.folder / "timings.jsonl"
        with writing(path):
            # A kill may have truncated the last line.
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            write_atomic(path, whole + f"{json.dumps(line)}\n".encode())


class Sinks:
    """Passes records and epochs to all sinks of a run; ranks above 0 have none.

    Args:
        progress: the terminal.
        files, position: records.jsonl and progress.json; None above rank 0.
        sinks: further sinks, such as the tracker.
        last: the newest record, also of an earlier start.
    """

    def __init__(
        self,
        progress: Progress,
        files: RecordWriter | None = None,
        progress_file: ProgressFile | None = None,
        sinks: Sequence[Sink] = (),
        last: Record | None = None,
    ):
        self.progress, self.files, self.progress_file = progress, files, progress_file
        self.sinks: list[Sink] = [*([files] if files else []), *sinks]
        self.last = last

    def begin(self, levels: int, epochs: int) -> None:
        self.progress.start(levels, epochs)
        if self.progress_file:
            self.progress_file.begin(levels, epochs)

    def log(self, record: Record) -> None:
        self.last = record
        for sink in self.sinks:
            sink.log(record)
        self.progress.log(record)
        final = record.stage == "pruned" and not record.is_intermediate
        warning = collapse(record) if final else ""
        if warning:
            print(f"warning: {warning}", file=sys.stderr)

    def epoch(
        self,
        level: int,
        epoch: int,
        epochs: int,
        loss: float,
        value: float,
        measure: Measure = TOP1,
    ) -> None:
        self._show(level, epoch, epochs, loss, value, measure)
        if self.progress_file:
            self.progress_file.epoch(level, epoch, epochs, value, measure)

    def replay(
        self, level: int, losses: list[float], values: list[float], measure: Measure = TOP1
    ) -> None:
        for epoch, (loss, value) in enumerate(zip(losses, values, strict=True), start=1):
            self._show(level, epoch, len(losses), loss, value, measure)
        if self.progress_file:
            self.progress_file.skip_epochs(len(losses))

    def log_timing(self, **facts: object) -> None:
        if self.files:
            self.files.log_timing(**facts)
            # The time of other measurements is not part of the next record's seconds.
            self.files.since = time.perf_counter()
        for sink in self.sinks if facts.get("event") == "latency" else ():
            sink.latency(facts)

    def _show(
        self,
        level: int,
        epoch: int,
        epochs: int,
        loss: float,
        value: float,
        measure: Measure = TOP1,
    ) -> None:
        for sink in self.sinks:
            sink.epoch(level, epoch, loss, value, measure)
        self.progress.epoch(level, epoch, epochs, loss, value, measure)


def collapse(record: Record) -> str:
    """Returns a warning if layers are empty or no path leads from input to output; else "".

    Dead units alone are no collapse: every method leaves some at high compression.
    """
    if not record.empty_layers and record.effective_density != 0:
        return ""
    cause = no_weight_left(record.empty_layers) if record.empty_layers else "no path is left"
    text = f"{record.label} seed {record.seed}  level {record.level}: {cause}; "
    text += f"{100 * record.density_of_weights:.3g} % of the weights are kept"
    if record.effective_density is None:
        return text
    return f"{text}, {100 * record.effective_density:.3g} % still connect input and output"


def no_weight_left(layers: Sequence[str]) -> str:
    """Returns a text that says which layers are empty.

    >>> no_weight_left(["fc1.weight", "fc2.weight"])
    'fc1, fc2 have no weight left'
    """
    names = [name.removesuffix(".weight") for name in layers]
    return f"{', '.join(names)} {'have' if len(names) > 1 else 'has'} no weight left"
