"""Writes folders of runs with caches, checkpoints and results, as `clean` finds them."""

import json
import os
import time
from pathlib import Path

from harness.launch.caches import cache_entries

HOUR = 3600.0
DENSE, STAGE = ".cache/dense/12/12" + 22 * "0", ".cache/stages/56/56" + 22 * "f"
BEGINS = {
    ".safetensors": b'00000000{"__metadata__":{"sha256, note":"',
    ".stage": b"pruning-harness checkpoint 1\n",
    ".step": b"pruning-harness checkpoint 1\n",
}


def written(path: Path, size: int = 2**20, hours_ago: float = 2.0) -> Path:
    """Writes a file that begins as ours do, and is as old as its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(BEGINS.get(path.suffix, b"").ljust(size, b"\0"))
    then = time.time() - hours_ago * HOUR
    for one in (path, path.parent):
        os.utime(one, (then, then))
    return path


def run_in(runs: Path, name: str, state: str | None) -> Path:
    folder = runs / "survey" / "ab" / name
    written(folder / "checkpoints" / "000001-x.stage")
    for result in ("records.jsonl", "model.safetensors", "masks.safetensors"):
        written(folder / result, 10)
    (folder / "identity.json").write_text(json.dumps({"hashed_config": {}}))
    if state:
        (folder / "status.json").write_text(json.dumps({"state": state}))
    return folder


def kinds(runs: Path) -> dict[str, int]:
    """Counts what can be freed below a folder of runs, by kind."""
    found = [entry.kind for entry in cache_entries(runs)]
    return {kind: found.count(kind) for kind in found}
