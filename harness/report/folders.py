"""What a run's folder says beside its records; empty where it does not say it."""

import json
from pathlib import Path
from typing import Any

from harness.files import read_json


def science(folder: Path) -> dict[str, Any]:
    """The run's resolved scientific config, of identity.json."""
    return _inside(folder / "identity.json", "science")


def device(folder: Path) -> str:
    """What the run ran on, of environment.json."""
    return str(_inside(folder / "environment.json", "numerics_key").get("device") or "")


def timings(folder: Path) -> list[dict[str, Any]]:
    """Whole lines of timings.jsonl: what a clock decides."""
    try:
        texts = (folder / "timings.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = [_parsed(text) for text in texts]
    return [line for line in found if isinstance(line, dict)]


def _inside(path: Path, key: str) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (ValueError, OSError):
        return {}
    inner = found.get(key) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
