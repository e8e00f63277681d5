"""Who follows a run: its files, its tracker, its progress on the terminal."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from harness import records
from harness.files import write_whole, writing
from harness.progress import Progress
from harness.records import Record, Sink


class Files:
    """records.jsonl, and beside it timings.jsonl with all that a clock decides."""

    def __init__(self, folder: Path, world_size: int):
        self.folder, self.world_size = folder, world_size
        self.since = time.perf_counter()

    def log(self, record: Record) -> None:
        """
        Raises:
            CannotWrite: the disk is full or gone.
        """
        path = self.folder / "records.jsonl"
        with writing(path):
            records.append(path, record)
        now = time.perf_counter()
        seconds, self.since = now - self.since, now
        self.note(level=record.level, stage=record.stage, seconds=round(seconds, 4))

    def note(self, **facts: Any) -> None:
        """A line of timings.jsonl, with the time and the number of ranks."""
        line = {**facts, "at_unix_s": round(time.time(), 3), "world_size": self.world_size}
        path = self.folder / "timings.jsonl"
        with writing(path):
            # A kill may have cut off the line before.
            whole = "".join(records.lines(path))
            write_whole(path, f"{whole}{json.dumps(line)}\n")


class Watchers:
    """All that follow a run, as one; on ranks above 0 nobody does.

    last: the newest record, also if an earlier start of the run made it.
    """

    def __init__(
        self,
        sinks: list[Sink],
        progress: Progress,
        follows_epochs: bool,
        last: Record | None = None,
    ):
        self.sinks, self.progress, self.follows_epochs = sinks, progress, follows_epochs
        self.last = last

    def begin(self, levels: int, epochs: int) -> None:
        self.progress.start(levels, epochs)

    def log(self, record: Record) -> None:
        self.last = record
        for sink in self.sinks:
            sink.log(record)
        final = record.stage == "pruned" and not record.on_the_way
        warning = collapse(record) if final else ""
        if warning:
            print(f"warning: {warning}", file=sys.stderr)

    def epoch(self, level: int, epoch: int, epochs: int, accuracy: float | None) -> None:
        self.progress.epoch(level, epoch, epochs, accuracy)


def collapse(record: Record) -> str:
    """What pruning cut through, in words: empty layers, or no path from input to output; else "".

    Dead units alone are no collapse: high compressions leave some in every method.
    """
    if not record.empty_layers and record.effective_density != 0:
        return ""
    layers = [name.removesuffix(".weight") for name in record.empty_layers or []]
    what = f"{', '.join(layers)} {'have' if len(layers) > 1 else 'has'} no weight left"
    return (
        f"{record.label} seed {record.seed}  level {record.level}: "
        f"{what if layers else 'no path is left'}; {100 * record.density:.3g} % of the weights are "
        f"kept, {100 * (record.effective_density or 0):.3g} % still connect input and output"
    )
