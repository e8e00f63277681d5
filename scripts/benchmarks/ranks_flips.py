"""Single bits flipped in the masks of one rank: how many are caught, in time and by name."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import ranks_flips_program as program
from benchmarks.figure import Figure, Note, count
from benchmarks.ranks_flip import Flip
from benchmarks.ranks_jobs import JobFailed, asked, await_end, family, living, running, torchrun

Cases = list[dict[str, Any]]

# Ranks -> flips, in runs one after the other in one job; and each in a job of its own.
IN_ONE_JOB, ALONE = {2: 23, 4: 23}, {2: 2, 4: 2}
QUICK_IN_ONE_JOB, QUICK_ALONE = {2: 2}, {2: 1}
LOUD = ("tracking=none", "checkpoint.every_steps=3")
JOB_S = 600.0
# From the flip to the end of all processes. The launcher looks ten times a second, and whoever
# waits for a rank that left is told within a second or two.
GONE_S = 20.0


def figures(quick: bool, seed: int) -> Iterator[Figure | Note]:
    yield Note("flips: seed", str(seed))
    cases: Cases = []
    with TemporaryDirectory(prefix="flips-") as top:
        for ranks, trials in (QUICK_IN_ONE_JOB if quick else IN_ONE_JOB).items():
            cases += in_one_job(ranks, trials, seed, Path(top))
        for ranks, trials in (QUICK_ALONE if quick else ALONE).items():
            for number in range(trials):
                cases.append(alone(ranks, seed + number, Path(top)))
    for case in cases:
        if not case["caught"]:
            yield Note("flips: not caught", json.dumps(case))
    yield count("flips: caught", cases, "caught")


def in_one_job(ranks: int, trials: int, seed: int, top: Path) -> Cases:
    """One case per trial; caught if every rank raised the error in time, with the right names."""
    folder = top / f"{ranks}-ranks"
    folder.mkdir()
    wishes = {"trials": trials, "seed": seed, "folder": str(folder)}
    why = "no account of it"
    try:
        asked("ranks_flips_program", count=ranks, within_s=JOB_S, **wishes)
    except JobFailed as error:
        why = str(error)
    accounts = [_lines(folder / f"rank-{rank}.jsonl") for rank in range(ranks)]
    return [
        _case(ranks, number, [lines[number] for lines in accounts if number < len(lines)], why)
        for number in range(trials)
    ]


def _case(ranks: int, number: int, accounts: Cases, why: str) -> dict[str, Any]:
    good = [account["named"] and account["at the next check"] for account in accounts]
    caught = len(good) == ranks and all(good)
    said = {} if len(good) == ranks else {"why": why}
    return {"ranks": ranks, "trial": number, "caught": caught, **said, "accounts": accounts}


def _lines(file: Path) -> Cases:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def alone(ranks: int, seed: int, top: Path) -> dict[str, Any]:
    """A flip under the command line; caught if all processes are gone soon after it, the status
    is not 0 and the output names rank and tensor."""
    flip = Flip.drawn(random.Random(f"{seed} alone"), ranks, program.STEPS_UNDER_MASKS)
    folder = top / f"alone-{ranks}-{seed}"
    folder.mkdir()
    note, log = folder / "note", folder / "log"
    arguments = [json.dumps(asdict(flip)), str(note), "--", *program.RUN, *LOUD, f"runs={folder}"]
    command = torchrun(ranks, "-m", "benchmarks.ranks_flipped_program", *arguments)
    with running(command, log) as job:
        try:
            left = living(await_end([job], JOB_S))
        except JobFailed:
            left = family(job.pid)
        ended = time.time()
    happened = json.loads(note.read_text()) if note.exists() else {"at": 0.0, "tensor": ""}
    found = {
        "status": job.returncode,
        "left": len(left),
        "seconds": round(ended - happened["at"], 1),
        "named": f"(rank {program.odd(ranks, flip)}: {happened['tensor']})" in log.read_text(),
    }
    in_time = found["named"] and not left and found["seconds"] <= GONE_S
    return {"ranks": ranks, **asdict(flip), **found, "caught": bool(job.returncode) and in_time}
