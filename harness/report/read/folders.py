"""Reads the files of a run folder beside its records; what is missing or damaged is empty."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from harness.run_folder.status_file import damage
from harness.system.json_schema import parse_json

Facts = dict[str, Any]


def hashed_config(folder: Path) -> Facts:
    """Returns the run's resolved config that names it, from identity.json; not to be changed.

    An unchanged file is read once.
    """
    file = folder / "identity.json"
    try:
        state = file.stat()
    except OSError:
        return {}
    return _hashed_config(file, state.st_mtime_ns, state.st_size, state.st_ino)


@cache
def _hashed_config(file: Path, *state: int) -> Facts:
    return inside(_read(file), "hashed_config")


def environment(folder: Path) -> Facts:
    """Returns environment.json: the machine and the versions of the run."""
    return _read(folder / "environment.json")


def device(folder: Path) -> str:
    """Returns the run's device from environment.json: the GPU, or the CPU with its model."""
    facts = environment(folder)
    name = str(inside(facts, "numerics_key").get("device") or "")
    model = inside(facts, "hardware").get("cpu") if name.startswith("cpu") else None
    return f"{model} ({name})" if model else name


def is_finished(folder: Path) -> bool:
    """True if status.json says so, or is missing, as in a copy of finished records."""
    return bool(_read(folder / "status.json").get("state", "finished") == "finished")


def damaged(folder: Path, *names: str) -> str:
    """Returns the message on the first of these files that differs from its checksum, or "".

    A file that is missing was not copied, and is not damaged. A folder without checksums is not
    checked.
    """
    file = folder / "status.json"
    status = _read(file)
    if file.exists() and not status:
        return f"{file} is damaged: it is not a JSON object"
    written = inside(status, "sha256")
    present = [name for name in names if name in written and (folder / name).exists()]
    return damage(folder, written, present)


def inside(facts: Facts, key: str) -> Facts:
    """Returns the facts below a key; empty where its value is not a dict."""
    value = facts.get(key)
    return value if isinstance(value, dict) else {}


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Flattens a config to dotted keys.

    >>> flat({"training": {"epochs": 12, "betas": [0.9, 0.99]}})
    {'training.epochs': '12', 'training.betas': '[0.9, 0.99]'}
    """
    if not isinstance(value, dict):
        return {path: value if isinstance(value, str) else json.dumps(value)}
    inner = (flat(item, f"{path}.{key}" if path else str(key)) for key, item in value.items())
    return {key: text for part in inner for key, text in part.items()}


def timings(folder: Path) -> list[Facts]:
    """Returns the whole lines of timings.jsonl."""
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
    # A line may be cut off by a kill, or damaged.
    try:
        value = parse_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
