"""Lists the rows of a run that its tracker has, in a file beside the tracker's own files."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.system.leases import check_leases


@dataclass
class SentRows:
    """Holds the keys of the rows sent, so that a resumed run sends no row twice.

    The file has one line per row, "STEP KEY", written when the tracker has the row. After a kill,
    the tracker may lack rows that it had not flushed. records.jsonl has all rows.
    """

    path: Path
    keys: set[str] = field(default_factory=set)
    free: int = 0  # the step after the last one used

    def __post_init__(self) -> None:
        with suppress(FileNotFoundError):
            text = self.path.read_text(errors="replace")
            for line in text.splitlines(keepends=True):
                step, _, key = line.partition(" ")
                # A kill may cut off the last line. A crash of the machine may lose other lines.
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
        """Deletes the file: if a finished run is repeated, all of its rows are sent again."""
        self.path.unlink(missing_ok=True)
