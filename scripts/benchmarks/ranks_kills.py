"""Runs that are killed at a random moment and started again: how many end in the same records."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
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

# 4 steps an epoch, in all 44 epochs, and dropout and an augmentation whose streams must go on.
RUN = (
    "data=blobs", "model=mlp", "model._target_=parts.Dropping", "model.hidden=[16]",
    "training.epochs=12", "retraining.epochs=8", "schedule=geometric", "schedule.levels=4",
    "+retraining.augmentation._target_=parts.Shifting", "calibration_samples=64",
    "checkpoint.every_steps=3", "tracking=none",
)  # fmt: skip
KILLS, QUICK_KILLS = 20, 2
RANKS = (1, 2, 4)
RESTARTS = 3
JOB_S, GONE_S, POLL_S = 300.0, 90.0, 0.005


@dataclass(frozen=True)
class Whole:
    """What a run is that nothing interrupts."""

    records: bytes
    seconds: float  # from its first file to its last


class TooLate(Exception):
    """The run had finished when the kill came."""


def figures(quick: bool, seed: int) -> Iterator[Figure | Note]:
    """
    Raises:
        JobFailed: a run that nothing interrupts fails.
    """
    draws = random.Random(f"{seed} kills")
    with TemporaryDirectory(prefix="kills-") as top:
        cases = list(_cases(QUICK_KILLS if quick else KILLS, draws, Path(top)))
    yield Note("kills: seed", str(seed))
    resumed = sum(case["resumed"] for case in cases)
    yield Note("kills: went on inside the run", f"{resumed} of {len(cases)}; others began anew")
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
    """Of a run that nothing interrupts.

    Raises:
        JobFailed: it ended with an error, or not in time.
    """
    with started(ranks, folder, "whole") as job:
        _await_status(job, folder, "running")
        since = time.monotonic()
        _await_status(job, folder, "finished")
        seconds = time.monotonic() - since
        await_end([job], JOB_S)
        check(job, folder / "whole.log")
    return Whole(_records(folder), seconds)


def killed_and_restarted(
    ranks: int, whole: Whole, draws: random.Random, folder: Path
) -> dict[str, Any]:
    """One case: who was killed and when, and what came of it."""
    for attempt in range(100):
        try:
            place = folder / str(attempt)
            case = _kill(ranks, draws.uniform(0, whole.seconds), draws, place)
            break
        except TooLate:
            continue
    restarts = _restart(ranks, place)
    return {
        "ranks": ranks,
        **case,
        "restarts": restarts,
        "resumed": "resumed" in _text(place, "timings.jsonl"),
        "identical": _records(place) == whole.records and not case["left"],
    }
