"""Measures the cost of W&B offline for a worker of a sweep: once for its start, and per run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figure import Figure, Seconds, spread

CHECKOUT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("tracking_program.py")
WORKERS, RUNS = 7, 15


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Returns the figures of tracking.

    Raises:
        RuntimeError: a worker failed.
    """
    workers = [worker(3 if quick else RUNS) for _ in range(repeats or WORKERS)]
    extra = [[a - b for a, b in zip(*sides.values(), strict=True)] for sides in workers]
    first = [1000 * seconds[0] for seconds in extra]
    later = [1000 * later_s for seconds in extra for later_s in seconds[1:]]
    yield spread("tracking: W&B offline, once per worker", "ms", first, at_most=2500)
    yield spread("tracking: W&B offline, per run after that", "ms", later, at_most=60)


def worker(runs: int) -> Seconds:
    """Measures the seconds of each run with W&B offline and with no tracker."""
    with TemporaryDirectory(prefix="tracking-") as top:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), top, str(runs)],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"{PROGRAM.name} failed: {done.stderr[-2000:]}")
    seconds: Seconds = json.loads(done.stdout.splitlines()[-1])
    return seconds
