"""The default survey from nothing, on two worker processes and on one."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from benchmarks.figure import Figure, Side, duration, in_turns, ratio

CHECKOUT = Path(__file__).parents[2]
# One compression of the seven.
QUICK = ("schedule.final=16",)


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Seconds on two workers, then what the second worker gains.

    Raises:
        RuntimeError: a survey failed.
    """
    overrides = QUICK if quick else ()
    with TemporaryDirectory(prefix="survey-") as top:
        sides = {
            workers: Side(partial(mkdtemp, dir=top), partial(survey, count, overrides))
            for workers, count in (("2 workers", 2), ("1 worker", 1))
        }
        seconds = in_turns(sides, repeats or 1, warm_up=False)
    target = {} if quick else {"at_most": 180.0}
    yield duration("survey: on 2 workers", seconds, "2 workers", **target)
    yield ratio("survey: 1 worker / 2 workers", seconds, "1 worker", "2 workers", at_least=1.7)


def survey(workers: int, overrides: tuple[str, ...], runs: str) -> None:
    command = [sys.executable, "-m", "harness", "-m", "sweep=survey", *overrides]
    command += [f"runs={runs}", f"hydra.launcher.n_jobs={workers}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with status {done.returncode}; run it by hand. Its last "
            f"words: {(done.stdout + done.stderr)[-2000:]}"
        )
