"""What a run's folder says beside its records; empty where it does not say it."""

import json
from pathlib import Path
from typing import Any

from harness.run_folder.status_file import damage

Facts = dict[str, Any]


def hashed_config(folder: Path) -> Facts:
    """The run's resolved hashed config, of identity.json."""
    return inside(_read(folder / "identity.json"), "hashed_config")


def environment(folder: Path) -> Facts:
    """environment.json: what the run was made with."""
    return _read(folder / "environment.json")


def device(folder: Path) -> str:
    """What the run ran on, of environment.json: the GPU, or the CPU with its model if it says."""
    facts = environment(folder)
    name = str(inside(facts, "numerics_key").get("device") or "")
    model = inside(facts, "hardware").get("cpu") if name.startswith("cpu") else None
    return f"{model} ({name})" if model else name


def is_finished(folder: Path) -> bool:
    """By status.json; a folder without it is taken as a copy of finished records."""
    return bool(_read(folder / "status.json").get("state", "finished") == "finished")


def damaged(folder: Path, *names: str) -> str:
    """Says which of these files is not as the finished run has written it; "" if all are.

    A file that is not there was not copied with the others, and a folder without sums has none to
    compare.
    """
    file = folder / "status.json"
    status = _read(file)
    if file.exists() and not status:
        return f"{file} is damaged: it is no JSON object"
    written = inside(status, "sha256")
    there = [name for name in names if name in written and (folder / name).exists()]
    return damage(folder, written, there)


def inside(facts: Facts, key: str) -> Facts:
    """The facts below a key; none where something else lies there."""
    found = facts.get(key)
    return found if isinstance(found, dict) else {}


def timings(folder: Path) -> list[Facts]:
    """Whole lines of timings.jsonl: what a clock decides."""
    try:
        lines = (folder / "timings.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    return [line for line in map(_parsed, lines) if line]


def _read(file: Path) -> Facts:
    try:
        return _parsed(file.read_bytes())
    except OSError:
        return {}


def _parsed(text: bytes) -> Facts:
    # Cut off by a kill, or damaged.
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
