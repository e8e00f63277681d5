"""Calls SLURM's commands for jobs; a job of an array is named ARRAY_TASK."""

import subprocess
import time
from collections.abc import Iterable

POLL_S = 2.0
FAILED = ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
LEAVING_S = 60.0  # SLURM kills a cancelled job after its KillWait, 30 s by default


def in_queue(jobs: Iterable[str]) -> set[str] | None:
    """Returns those of the jobs that wait or run; None if SLURM does not answer.

    An array is replaced by its single jobs.
    """
    names = ",".join(sorted({array_of(job) for job in jobs}))
    if not names:
        return set()
    done = _call("squeue", "--noheader", "--array", "--format=%i", f"--jobs={names}")
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


def cancel(jobs: Iterable[str]) -> None:
    """Cancels jobs and waits until they have left their run folders, LEAVING_S at most."""
    arrays = sorted({array_of(job) for job in jobs})
    if not arrays:
        return
    _call("scancel", *arrays)
    deadline = time.monotonic() + LEAVING_S
    while in_queue(arrays) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def end_of(job: str) -> str:
    """Returns how a job ended, such as "JobState=FAILED ExitCode=137:0"; "" if SLURM forgot it."""
    text = _call("scontrol", "--oneliner", "show", "job", job).stdout
    return " ".join(word for word in text.split() if word.startswith(("JobState=", "ExitCode=")))


def has_failed(end: str) -> bool:
    """True if the job leaves no result.

    >>> has_failed("JobState=FAILED ExitCode=137:0"), has_failed("JobState=COMPLETED ExitCode=0:0")
    (True, False)
    """
    return end.partition(" ")[0].removeprefix("JobState=") in FAILED


def array_of(job: str) -> str:
    """Returns the id of a job's array, or of the job itself.

    >>> array_of("12_3"), array_of("12")
    ('12', '12')
    """
    return job.partition("_")[0]


def refusal(error: Exception) -> str:
    """Returns sbatch's messages, each once."""
    text = getattr(error, "stderr", None) or str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _call(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
