"""Counts the flipped bits that are detected in time, with the right names."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import flip_trials_program as program
from benchmarks.bit_flip import Flip
from benchmarks.figure import Figure, Note, count
from benchmarks.ranks_jobs import JobFailed, answer_of, await_end, living, running, torchrun

Cases = list[dict[str, Any]]

# Number of flips by number of ranks: in one job with several runs, and in a job per flip.
IN_ONE_JOB, ALONE = {2: 23, 4: 23}, {2: 2, 4: 2}
QUICK_IN_ONE_JOB = {2: 6}  # tests/distributed/test_flips.py has more, and some alone
OPERATIONAL = ("tracking=none", f"checkpoint.every_steps={program.EVERY_STEPS}")
LOG, NOTE = "log", "note"
JOB_S = 600.0
# Seconds from the flip to the end of all processes. The launcher polls ten times a second. A rank
# that waits for a dead rank gets an error within two seconds.
GONE_S = 20.0


def figures(quick: bool, seed: int) -> Iterator[Figure | Note]:
    yield Note("flips: seed", str(seed))
    cases: Cases = []
    with TemporaryDirectory(prefix="flips-") as top:
        for ranks, trials in (QUICK_IN_ONE_JOB if quick else IN_ONE_JOB).items():
            cases += in_one_job(ranks, trials, seed, Path(top))
        for ranks, trials in ({} if quick else ALONE).items():
            for number in range(trials):
                cases.append(alone(ranks, seed + number, Path(top)))
    for case in cases:
        if not case["caught"]:
            yield Note("flips: not caught", json.dumps(case))
    yield count("flips: caught", cases, "caught")


def in_one_job(ranks: int, trials: int, seed: int, top: Path) -> Cases:
    """Returns a case per trial; caught if every rank raised the right error in time.

    Raises:
        JobFailed: all were caught, but the job failed afterwards.
    """
    folder = top / f"{ranks}-ranks"
    folder.mkdir()
    wishes: dict[str, Any] = {"trials": trials, "seed": seed, "folder": str(folder)}
    failed: JobFailed | None = None
    try:
        answer_of("flip_trials_program", count=ranks, within_s=JOB_S, **wishes)
    except JobFailed as error:
        failed = error
    accounts = [_lines(folder / f"rank-{rank}.jsonl") for rank in range(ranks)]
    cases = [
        _case(number, [lines[number] for lines in accounts if number < len(lines)], ranks, failed)
        for number in range(trials)
    ]
    if failed and all(case["caught"] for case in cases):
        raise failed
    return cases


def _case(number: int, accounts: Cases, ranks: int, failed: JobFailed | None) -> dict[str, Any]:
    good = [account["named"] and account["at the next check"] for account in accounts]
    complete = len(good) == ranks
    reason = {} if complete else {"why": str(failed)}
    caught = complete and all(good)
    return {"ranks": ranks, "trial": number, "caught": caught, **reason, "accounts": accounts}


def _lines(file: Path) -> Cases:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def alone(ranks: int, seed: int, top: Path) -> dict[str, Any]:
    """Runs a flip under the command line.

    It is caught if all processes end soon after it, the status is not 0 and the output names rank
    and tensor.
    """
    flip = Flip.drawn(random.Random(f"{seed} alone"), ranks, program.STEPS_UNDER_MASKS)
    folder = top / f"alone-{ranks}-{seed}"
    folder.mkdir()
    seen: set[int] = set()
    with running(_command(ranks, flip, folder), folder / LOG) as job:
        with suppress(JobFailed):
            await_end([job], JOB_S, seen)
        status, left, now = job.poll(), len(living(seen)), time.time()
    at, tensor = _happened(folder)
    named = program.names((folder / LOG).read_text(), ranks, flip, tensor)
    caught = bool(status) and named and not left and now - at <= GONE_S
    outcome = {"caught": caught, "status": status, "named": named, "left": left}
    return {"ranks": ranks, **asdict(flip), **outcome, "seconds": round(now - at, 1)}


def _command(ranks: int, flip: Flip, folder: Path) -> list[str]:
    arguments = [json.dumps(asdict(flip)), str(folder / NOTE), "--", *program.RUN, *OPERATIONAL]
    start = torchrun(ranks, "-m", "benchmarks.flipped_run_program")
    return [*start, *arguments, f"output_dir={folder}/runs"]


def _happened(folder: Path) -> tuple[float, str]:
    """Returns time and tensor of the flip; 0 and "" if the run did not reach it."""
    note = folder / NOTE
    flip = json.loads(note.read_text()) if note.exists() else {"at": 0.0, "tensor": ""}
    return flip["at"], flip["tensor"]
