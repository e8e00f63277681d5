"""Reads and writes status.json: the state of a run and the checksums of its files."""

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

# Files with a checksum in status.json. timings.jsonl, logs and files of a tracker may still grow.
SUMMED = (
    "records.jsonl", "sensitivity.jsonl", "model.safetensors", "masks.safetensors",
    "compact/model.safetensors", "compact/compact.json", "export/model.onnx", "export/model.pt2",
    "config.yaml", "identity.json", "environment.json",
)  # fmt: skip


@dataclass(frozen=True)
class Status:
    """Reads and writes the status.json of a run.

    code: digest of the sources that decide the run's numbers.
    """

    folder: Path
    code: str

    def read(self) -> dict[str, Any]:
        """Returns the content; empty if there is no file.

        Raises:
            ValueError: the file is damaged, or holds no object.
        """
        return read_object(self.folder / "status.json")

    def damage(self, names: Iterable[str] | None = None, results: Iterable[str] = ()) -> str:
        """Returns which file of a finished run is missing or changed; "" if none is.

        "" also for a run that is not finished.

        names: files to check; None: all files with a checksum, and the results.

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
        """Writes the state: running, finished, interrupted or failed.

        A finished run also gets the checksums of its files, which must exist, and the record of
        harness/system/loaded_sources.py.

        Raises:
            CannotWrite: the disk is full or gone.
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
    """True if the process that wrote the status may be alive; always on another host."""
    host, pid = status.get("host"), status.get("pid")
    return host != socket.gethostname() or (type(pid) is int and is_process_alive(pid))


def sums(folder: Path) -> dict[str, str]:
    """Returns SHA-256 in hex, by name, of the files of SUMMED in the folder."""
    return {name: sha256(folder / name) for name in SUMMED if (folder / name).exists()}


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def damage(folder: Path, written: Mapping[str, object], names: Iterable[str]) -> str:
    """Returns which of these files is missing or changed; "" if none is.

    written: their checksums in status.json.
    """
    for name in names:
        file = folder / name
        if not file.exists():
            return f"{file} is missing"
        if sha256(file) != written.get(name):
            return f"{file} is damaged: its SHA-256 is not the one in status.json"
    return ""
