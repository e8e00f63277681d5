"""Reads the commit of the harness."""

import subprocess
from functools import cache
from pathlib import Path


@cache
def commit() -> str | None:
    """Returns the commit of the harness's checkout ("-dirty" with changes), None when installed."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
