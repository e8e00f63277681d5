"""Which commit of the harness is running."""

import subprocess
from functools import cache
from pathlib import Path


@cache
def commit() -> str | None:
    """Commit of the harness's own checkout ("-dirty" with changes), None when installed."""
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
