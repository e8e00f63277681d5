"""Measures sweeps as whole commands.

The figures are the default survey on two cores and on one, its second start, the gain of prefix
sharing, and the cost of a thousand tiny runs beside their training.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from benchmarks.figure import Figure, Side, duration, in_turns, ratio, spread
from benchmarks.sweep_prefix import epochs

CHECKOUT = Path(__file__).parents[2]
SURVEY = ("sweep=survey",)
QUICK = ("schedule.final=16",)  # one compression of the seven
TINY = (
    "data=blobs", "model=mlp", "training.epochs=1", "finetune=none", "calibration.samples=64",
    "schedule=one_shot", "schedule.unit=compression", "sweep_name=tiny",
)  # fmt: skip
POINTS, FEW = 1000, 20


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Returns the figures of all sweeps.

    Raises:
        RuntimeError: a sweep failed.
    """
    with TemporaryDirectory(prefix="sweep-") as top:
        yield from _survey(top, repeats or 1, (*SURVEY, *QUICK) if quick else SURVEY, quick)
        yield from _prefixes(Path(top), quick)
        yield from _tiny(top, FEW * 2 if quick else POINTS)


def _survey(top: str, repeats: int, overrides: Sequence[str], quick: bool) -> Iterator[Figure]:
    made: list[str] = []

    def prepare() -> str:
        made.append(mkdtemp(dir=top))
        return made[-1]

    sides = {
        name: Side(prepare, partial(sweep, overrides, cores=cores))
        for name, cores in (("2 cores", 2), ("1 core", 1))
    }
    seconds = in_turns(sides, repeats, warm_up=False)
    target = {} if quick else {"at_most": 180.0}
    yield duration("sweep: default survey, 2 cores", seconds, "2 cores", **target)
    yield ratio("sweep: survey, 1 core / 2 cores", seconds, "1 core", "2 cores", at_least=1.8)
    again = Side(lambda: made[0], partial(sweep, overrides, cores=2))
    second = in_turns({"again": again}, max(3, repeats), warm_up=False)
    yield duration("sweep: second start, all finished", second, "again", at_most=3.0)


def _prefixes(top: Path, quick: bool) -> Iterator[Figure]:
    alone, shared = (epochs(top / f"share-{share}", share, quick) for share in (False, True))
    less = 1 - shared / alone
    yield spread("sweep: epochs that prefix sharing saves", "ratio", [less], at_least=0.3)


def _tiny(top: str, count: int) -> Iterator[Figure]:
    few, many = (tiny(mkdtemp(dir=top), points) for points in (FEW, count))
    more = count - FEW
    workers = os.cpu_count() or 1
    seconds = (many.seconds - few.seconds) * workers / more
    yield spread("sweep: a tiny point, W&B offline", "ms", [1000 * seconds], at_most=200)
    memory = max(0, many.parent_kb - few.parent_kb) / more
    yield spread("sweep: parent's memory for a point", "KB", [memory], at_most=50)


@dataclass(frozen=True)
class Spent:
    seconds: float
    parent_kb: int  # at its most


def tiny(runs: str, count: int) -> Spent:
    seeds = f"seed=range(0,{count // 2})"
    return sweep((*TINY, "schedule.final=2,4", seeds), runs, os.cpu_count() or 1)


def sweep(overrides: Sequence[str], runs: str, cores: int) -> Spent:
    command = [sys.executable, "-m", "harness", "-m", *overrides, f"output_dir={runs}"]
    began, most = time.perf_counter(), 0
    log = Path(runs) / "benchmark.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=out, stderr=out, preexec_fn=partial(_keep_to, cores)
        )
        while running.poll() is None:
            most = max(most, _kb(running.pid))
            time.sleep(0.02)
    if running.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with status {running.returncode}; run it by hand. Its last "
            f"words: {log.read_text()[-2000:]}"
        )
    return Spent(time.perf_counter() - began, most)


def _keep_to(cores: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _kb(pid: int) -> int:
    """Returns the peak memory of the process alone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
