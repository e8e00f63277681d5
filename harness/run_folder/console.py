"""Shows the progress of a run: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

from harness.run_folder.records import Record
from harness.system.names import printable
from harness.task.shared.measures import TOP1, Measure, validation_text
from harness.vocabulary.checks import check_known

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

MODES = ("auto", "bar", "plain", "none")
SECONDS_BETWEEN_EPOCH_LINES = 10.0


class Progress:
    """Shows each record as a line, and how far the training is.

    >>> with Progress("none") as progress:
    ...     progress.start(levels=3, epochs_in_all=40)
    ...     progress.epoch(level=1, epoch=1, epochs=10, loss=0.21, value=0.93)

    mode: "bar" draws a rich bar, "plain" writes lines without escape codes, "none" writes
    nothing (ranks above 0), "auto" is "bar" on a terminal and "plain" elsewhere.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(
        self,
        mode: str = "auto",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_known("progress", mode, MODES)
        self._display = _display(mode, sys.stdout if stream is None else stream, clock)
        self._levels = 0
        self._density_of = ""  # as the last line about it says

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._display.close()

    def start(self, levels: int, epochs_in_all: int) -> None:
        """Begins with the number of levels after level 0 and of all epochs that are left."""
        self._levels = levels
        self._display.start(epochs_in_all)

    def epoch(
        self,
        level: int,
        epoch: int,
        epochs: int,
        loss: float,
        value: float,
        measure: Measure = TOP1,
    ) -> None:
        """Shows that epoch `epoch` (from 1) of `epochs` of a level's training has ended.

        loss: mean per training sample; value: of the measure, on validation data.
        """
        where = f"level {level}/{self._levels}"
        self._display.epoch(_Epoch(where, epoch, epochs, loss, value, measure))

    def log(self, record: Record) -> None:
        if record.density_of != self._density_of:
            self._density_of = record.density_of
            self._display.line(_scope_line(record))
        self._display.line(_record_line(record, self._levels))


@dataclass(frozen=True)
class _Epoch:
    level: str
    epoch: int
    epochs: int
    loss: float
    value: float
    measure: Measure

    @property
    def count(self) -> str:
        return f"epoch {self.epoch}/{self.epochs}"

    @property
    def measured(self) -> str:
        return f"loss {self.loss:.4f}  validation {validation_text(self.measure, self.value)}"


def _scope_line(record: Record) -> str:
    """Returns what a density counts; pruned output layers ruin small models first."""
    spared = "; exclude=[last] leaves it whole" if "output layer" in record.density_of else ""
    return f"what is pruned: {printable(record.density_of)}{spared}"


def _record_line(record: Record, levels: int) -> str:
    label = printable(record.label)
    perplexity = "" if record.perplexity is None else f"  perplexity {record.perplexity:.4g}"
    return (
        f"{label} seed {record.seed}  level {record.level}/{levels} {record.stage:<9}"
        f"  compression {_shown(record.compression, '.2f')}"
        f"  {record.primary.shown(record.value)}  loss {_shown(record.loss, '.4f')}{perplexity}"
    )


def _shown(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


class _Display:
    """Shows nothing."""

    def start(self, epochs: int) -> None: ...

    def epoch(self, ended: _Epoch) -> None: ...

    def line(self, text: str) -> None: ...

    def close(self) -> None: ...


class _Plain(_Display):
    """Prints one line per record, and an epoch at most every 10 s, so that a log stays short."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last = clock()

    def epoch(self, ended: _Epoch) -> None:
        if self._clock() - self._last >= SECONDS_BETWEEN_EPOCH_LINES:
            self.line("  ".join([ended.level, ended.count, ended.measured]))

    def line(self, text: str) -> None:
        self._last = self._clock()
        print(text, file=self._stream, flush=True)


class _Bar(_Display):
    """Draws a bar over the epochs of the whole run, with records as lines above it."""

    def __init__(self, stream: TextIO) -> None:
        self._rich = _rich_bar(stream)
        self._task: TaskID | None = None

    def start(self, epochs: int) -> None:
        self._task = self._rich.add_task("", total=epochs, where="", measured="")
        self._rich.start()

    def epoch(self, ended: _Epoch) -> None:
        if self._task is not None:
            where = f"{ended.level} {ended.count}"
            self._rich.update(self._task, advance=1, where=where, measured=ended.measured)

    def line(self, text: str) -> None:
        self._rich.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._rich.stop()


def _display(mode: str, stream: TextIO, clock: Callable[[], float]) -> _Display:
    if mode == "none":
        return _Display()
    movable = stream.isatty() and os.environ.get("TERM") != "dumb"
    if mode == "bar" or (mode == "auto" and movable):
        return _Bar(stream)
    return _Plain(stream, clock)


def _rich_bar(stream: TextIO) -> "RichProgress":
    # Imported late: only a terminal needs rich.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.fields[where]}"),
        BarColumn(),
        TextColumn("{task.fields[measured]}"),
        TimeRemainingColumn(),
        console=Console(file=stream, force_terminal=True),
        # Warnings appear above the bar, unless they were sent elsewhere (2> file).
        redirect_stderr=sys.stderr.isatty(),
    )
