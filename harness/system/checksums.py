"""SHA-256 of the files that a finished run leaves: whoever reads one sees that it is as written."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

# timings.jsonl, logs and what a tracker wrote may still grow; status.json holds the sums.
SUMMED = (
    "records.jsonl", "sensitivity.jsonl", "model.safetensors", "masks.safetensors",
    "config.yaml", "identity.json", "environment.json",
)  # fmt: skip


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
