"""status.json: what a run is doing, and how it ended."""

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.system.atomic_files import read_object, write_json
from harness.system.git import commit
from harness.system.loaded_sources import undigested_sources
from harness.system.processes import is_process_alive

# timings.jsonl, logs and what a tracker wrote may still grow; status.json holds the sums.
SUMMED = (
    "records.jsonl", "sensitivity.jsonl", "model.safetensors", "masks.safetensors",
    "config.yaml", "identity.json", "environment.json",
)  # fmt: skip


@dataclass(frozen=True)
class Status:
    """code: digest of the sources that decide the run's numbers."""

    folder: Path
    code: str

    def read(self) -> dict[str, Any]:
        """Empty if there is none.

        Raises:
            ValueError: the file is damaged, or holds no object.
        """
        return read_object(self.folder / "status.json")

    def damage(self, names: Iterable[str] | None = None, results: Iterable[str] = ()) -> str:
        """Says which file of a finished run is not as the run has written it; "" if all are, or if
        it is not finished.

        names: of those to look at; None: all that have a sum, and the results.

        Raises:
            ValueError: status.json is damaged.
        """
        status = self.read()
        if status.get("state") != "finished":
            return ""
        recorded = status.get("sha256")
        written = recorded if isinstance(recorded, dict) else {}
        return damage(self.folder, written, names or dict.fromkeys([*results, *written]))

    def set(self, state: str, reason: str = "") -> None:
        """state: running, finished, interrupted or failed; with the sums of its files, which
        must all be there by then, and the record of harness/system/loaded_sources.py if it is
        finished.

        Raises:
            CannotWrite
        """
        who = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "commit": commit(),
            "code": self.code,
        }
        is_done = state == "finished"
        sealed = {"sha256": sums(self.folder), "unnamed": undigested_sources()} if is_done else {}
        facts = {"state": state, "reason": reason, **who, **sealed}
        write_json(self.folder / "status.json", facts)


def is_alive(status: dict[str, Any]) -> bool:
    """Whether the process that wrote it may still be at work: on another host nobody can tell."""
    host, pid = status.get("host"), status.get("pid")
    return host != socket.gethostname() or (type(pid) is int and is_process_alive(pid))


def sums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 in hex, of those of SUMMED that lie in the folder."""
    return {name: sha256(folder / name) for name in SUMMED if (folder / name).exists()}


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def damage(folder: Path, written: Mapping[str, object], names: Iterable[str]) -> str:
    """Says which of these files is not as it was written; "" if all are.

    written: their sums, as status.json holds them.
    """
    for name in names:
        file = folder / name
        if not file.exists():
            return f"{file} is missing"
        if sha256(file) != written.get(name):
            return f"{file} is damaged: its SHA-256 is not the one in status.json"
    return ""
