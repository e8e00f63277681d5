"""Which rows of a run a tracker has, kept beside its own files."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.system.leases import check_leases


@dataclass
class SentRows:
    """One line per row, "STEP KEY", so that a run that is started again sends no row twice.

    Written as soon as the tracker has the row: after a kill the tracker may lack what it had not
    flushed, which records.jsonl has.
    """

    path: Path
    keys: set[str] = field(default_factory=set)
    free: int = 0  # step after the last one

    def __post_init__(self) -> None:
        with suppress(FileNotFoundError):
            text = self.path.read_text(errors="replace")
            for line in text.splitlines(keepends=True):
                step, _, key = line.partition(" ")
                # A kill may have cut off the last one, a crash of the machine have lost others.
                if step.isdecimal() and key.endswith("\n"):
                    self.keys.add(key.rstrip("\n"))
                    self.free = max(self.free, int(step) + 1)

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def add(self, key: str, step: int) -> None:
        self.keys.add(key)
        check_leases(self.path)
        with self.path.open("a") as file:
            file.write(f"{step} {key}\n")

    def forget(self) -> None:
        """A finished run that is done again is sent again, as a whole."""
        self.path.unlink(missing_ok=True)
