"""Runs that are killed at a random moment and started again: how many end in the same records."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figure import Figure, Note, count
from benchmarks.ranks_jobs import (
    Job,
    JobFailed,
    await_end,
    check,
    family,
    living,
    running,
    torchrun,
    variable,
)

# 4 steps per epoch, 68 epochs in all; dropout and an augmentation must continue their streams.
RUN = (
    "data=blobs", "model=mlp", "model._target_=parts.Dropping", "model.hidden=[16]",
    "training.epochs=8", "retraining.epochs=15", "schedule=geometric", "schedule.levels=4",
    "+retraining.augmentation._target_=parts.Shifting", "calibration.samples=64",
    "checkpoint.every_steps=3", "tracking=none",
)  # fmt: skip
KILLS, QUICK_KILLS = 20, 1
RANKS = (1, 2, 4)
RESTARTS = 3
LOG = "log"
JOB_S, GONE_S, POLL_S = 300.0, 90.0, 0.005


@dataclass(frozen=True)
class Whole:
    """Holds the result of a run without interruption."""

    records: str
    seconds: float  # from its first file to its last


def figures(quick: bool, seed: int) -> Iterator[Figure | Note]:
    """Returns the figures of killed runs.

    Raises:
        JobFailed: a run without interruption fails.
    """
    yield Note("kills: seed", str(seed))
    draws = random.Random(f"{seed} kills")
    with TemporaryDirectory(prefix="kills-") as top:
        cases = list(_cases(QUICK_KILLS if quick else KILLS, draws, Path(top)))
    resumed = sum(case["resumed"] for case in cases)
    yield Note("kills: later than dense training", f"{resumed} of {len(cases)}")
    for case in cases:
        if not case["identical"]:
            yield Note("kills: not identical", json.dumps(case))
    yield count("kills: identical records", cases, "identical")


def _cases(kills: int, draws: random.Random, top: Path) -> Iterator[dict[str, Any]]:
    wholes: dict[int, Whole] = {}
    for number, ranks in zip(range(kills), cycle(RANKS), strict=False):
        if ranks not in wholes:
            wholes[ranks] = whole(ranks, top / f"whole-{ranks}")
        yield killed_and_restarted(ranks, wholes[ranks], draws, top / str(number))


def whole(ranks: int, folder: Path) -> Whole:
    """Trains without interruption, and returns the result.

    Raises:
        JobFailed: the run ended with an error, or not in time.
    """
    with _started(ranks, folder) as job:
        _await_state(job, folder, "running")
        since = time.monotonic()
        _await_state(job, folder, "finished")
        seconds = time.monotonic() - since
        await_end([job], JOB_S)
    check(job, folder / LOG)
    return Whole(_text(folder, "records.jsonl"), seconds)


def killed_and_restarted(
    ranks: int, whole: Whole, draws: random.Random, folder: Path
) -> dict[str, Any]:
    """Kills a run and starts it again; returns the victim, the time and the outcome."""
    outcome = None
    while not outcome:
        place = folder / f"{draws.randrange(10**9):09}"
        outcome = _killed(ranks, draws.uniform(0, whole.seconds), draws, place)
    restarts = _restarted(ranks, place)
    same = _text(place, "records.jsonl") == whole.records
    resumed = '"event": "resumed"' in _text(place, "timings.jsonl")
    good = same and not outcome["left"] and restarts <= RESTARTS
    output = {} if good else {"output": (place / LOG).read_text()[-2000:]}
    return {**outcome, "restarts": restarts, "resumed": resumed, "identical": good, **output}


def _killed(
    ranks: int, after_s: float, draws: random.Random, folder: Path
) -> dict[str, Any] | None:
    """Returns the victim, and the number of processes that are left a while later.

    Returns None if the run had finished before.
    """
    with _started(ranks, folder) as job:
        _await_state(job, folder, "running")
        time.sleep(after_s)
        all_of_them = family(job.pid)
        name, victims = _drawn(job, draws, all_of_them)
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left = _still_there(job, all_of_them)
    if _state(folder) == "finished":
        return None
    return {"ranks": ranks, "killed": name, "after_s": round(after_s, 3), "left": len(left)}


def _drawn(job: Job, draws: random.Random, pids: list[int]) -> tuple[str, list[int]]:
    """Draws the victim: a rank in most cases, else the launcher alone, or all processes."""
    ranks: dict[str, int] = {}
    for pid in pids:
        rank = variable(pid, "RANK")
        if rank:
            ranks.setdefault(rank, pid)  # children of a rank come after it
    if not ranks:
        return "the process", [job.pid]
    kind = draws.choice(["a rank", "a rank", "the launcher", "all"])
    if kind != "a rank":
        return kind, [job.pid] if kind == "the launcher" else pids
    victim = draws.choice(sorted(ranks))
    return f"rank {victim}", [ranks[victim]]


def _still_there(job: Job, pids: list[int]) -> list[int]:
    """Returns the processes that have not ended a while later, and kills them."""
    deadline = time.monotonic() + GONE_S
    while left := living(pids):
        job.poll()
        if time.monotonic() > deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    return left


def _restarted(ranks: int, folder: Path) -> int:
    """Counts the starts of the same command until it finished; one more than the limit if never."""
    for number in range(1, RESTARTS + 1):
        with _started(ranks, folder) as job:
            with suppress(JobFailed):
                await_end([job], JOB_S)
            if job.returncode == 0:
                return number
    return RESTARTS + 1


def _started(ranks: int, folder: Path) -> AbstractContextManager[Job]:
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", "harness", *RUN, f"output_dir={folder}/runs"]
    command = torchrun(ranks, *arguments) if ranks > 1 else [sys.executable, *arguments]
    return running(command, folder / LOG)


def _await_state(job: Job, folder: Path, state: str) -> None:
    deadline = time.monotonic() + JOB_S
    while _state(folder) not in (state, "finished"):
        if job.poll() is not None or time.monotonic() > deadline:
            output = (folder / LOG).read_text()[-3000:]
            raise JobFailed(f"the run in {folder} never was {state!r}; its output:\n{output}")
        time.sleep(POLL_S)


def _state(folder: Path) -> str:
    """Returns the state of the run from its status.json, which is always whole."""
    return str(json.loads(_text(folder, "status.json") or "{}").get("state", ""))


def _text(folder: Path, name: str) -> str:
    """Reads a file of the only run below the folder; "" if the file is missing."""
    files = list(folder.glob(f"runs/single/*/*/{name}"))
    return files[0].read_text() if files else ""
