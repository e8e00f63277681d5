"""status.json: what a run is doing, and how it ended."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commit import commit
from harness.files import alive, read_json, write_json


@dataclass(frozen=True)
class Status:
    """code: digest of the sources that decide the run's numbers."""

    folder: Path
    code: str

    def read(self) -> dict[str, Any]:
        """Empty if there is none.

        Raises:
            ValueError: the file is damaged.
        """
        return read_json(self.folder / "status.json") or {}

    def set(self, state: str, reason: str = "") -> None:
        """state: running, finished, interrupted or failed.

        Raises:
            CannotWrite
        """
        who = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "commit": commit(),
            "code": self.code,
        }
        write_json(self.folder / "status.json", {"state": state, "reason": reason, **who})


def lives(status: dict[str, Any]) -> bool:
    """Whether the process that wrote it may still be at work: on another host nobody can tell."""
    return bool(status["host"] != socket.gethostname() or alive(status["pid"]))
