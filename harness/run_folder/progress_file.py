"""Reads and writes progress.json: how far the training of a run is."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from harness.system.deletion import SUFFIX
from harness.system.errors import LeaseLost
from harness.system.json_schema import parse_json
from harness.system.leases import check_leases
from harness.task.shared.measures import TOP1, Measure

FILE = "progress.json"
SECONDS_BETWEEN = 1.0


@dataclass(frozen=True)
class RunProgress:
    """Holds the progress of a run: `epoch` of `epochs` of the present training are done.

    epoch: counted from 1; 0: none yet.
    epochs_done, epochs_in_all: of all epochs that this start of the run trains itself.
    value: of the primary measure, on validation data.
    """

    levels: int
    epochs_in_all: int
    began_unix_s: float
    at_unix_s: float
    level: int = 0
    epoch: int = 0
    epochs: int = 0
    epochs_done: int = 0
    value: float | None = None
    measure: Measure = TOP1

    def seconds_left(self, now: float) -> float | None:
        """Returns the seconds left if all epochs take equally long; None before the first one.

        >>> halfway = RunProgress(1, epochs_in_all=4, began_unix_s=10, at_unix_s=30, epochs_done=2)
        >>> halfway.seconds_left(now=35)
        15.0
        """
        if self.epochs_done < 1:
            return None
        seconds_per_epoch = max(0.0, self.at_unix_s - self.began_unix_s) / self.epochs_done
        left = max(0, self.epochs_in_all - self.epochs_done) * seconds_per_epoch
        # Another host's clock may be behind.
        return max(0.0, left - max(0.0, now - self.at_unix_s))


def read(folder: Path) -> RunProgress | None:
    """Returns the progress, None if it cannot be read: no run depends on it."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = parse_json((folder / FILE).read_text())
        known = {field.name: content[field.name] for field in fields(RunProgress)}
        return RunProgress(**{**known, "measure": Measure(*known["measure"])})
    return None


def format_duration(seconds: float) -> str:
    """Returns seconds as text in a readable unit.

    >>> format_duration(31.2), format_duration(700), format_duration(20_000)
    ('31 s', '12 min', '5.6 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class ProgressFile:
    """Writes progress.json once a second at most, always at the begin and at the end.

    A failed write is ignored: no run fails for it.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time):
        self._file, self._clock = folder / FILE, clock
        self._now: RunProgress | None = None
        self._written_at = float("-inf")

    def begin(self, levels: int, epochs: int) -> None:
        now = self._clock()
        self._now = RunProgress(levels, epochs, round(now, 3), round(now, 3))
        self._write()

    def epoch(
        self, level: int, epoch: int, epochs: int, value: float, measure: Measure = TOP1
    ) -> None:
        before, now = self._now, self._clock()
        if before is None:
            return
        changes: dict[str, Any] = {"level": level, "epoch": epoch, "epochs": epochs}
        changes |= {"value": value, "measure": measure}
        done = before.epochs_done + 1
        self._now = replace(before, **changes, epochs_done=done, at_unix_s=round(now, 3))
        # abs: writing must continue after the clock was set back.
        if abs(now - self._written_at) >= SECONDS_BETWEEN:
            self._write()

    def skip_epochs(self, epochs: int) -> None:
        """Subtracts epochs that another run has trained."""
        if self._now is not None:
            self._now = replace(self._now, epochs_in_all=self._now.epochs_in_all - epochs)

    def close(self, done: bool) -> None:
        """Deletes the file if the run is done, else writes the last progress."""
        if not done:
            return self._write()
        with suppress(OSError, LeaseLost):
            check_leases(self._file)
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._now is None:
            return
        self._written_at = self._clock()
        # Without fsync: after a crash of the machine the file is not needed.
        temporary = self._file.with_name(f".{FILE}.{os.getpid():08x}{SUFFIX}")
        with suppress(OSError, LeaseLost):
            check_leases(self._file)
            temporary.write_text(json.dumps(asdict(self._now)) + "\n")
            temporary.replace(self._file)
