"""What SLURM's commands say of jobs, and do to them; jobs of arrays are named ARRAY_TASK."""

import subprocess
import time
from collections.abc import Iterable

POLL_S = 2.0
FAILED = ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
LEAVING_S = 60.0  # SLURM's KillWait, for which a cancelled job may save itself, is 30 by default


def in_queue(jobs: Iterable[str]) -> set[str] | None:
    """Of these jobs and arrays what waits or runs, each job of an array by itself; None if SLURM
    does not answer."""
    asked = ",".join(sorted({array_of(job) for job in jobs}))
    if not asked:
        return set()
    done = _call("squeue", "--noheader", "--array", "--format=%i", f"--jobs={asked}")
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


def cancel(jobs: Iterable[str]) -> None:
    """Waits for a while until they have left: what begins next finds nobody in their folders."""
    arrays = sorted({array_of(job) for job in jobs})
    if not arrays:
        return
    _call("scancel", *arrays)
    deadline = time.monotonic() + LEAVING_S
    while in_queue(arrays) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def end_of(job: str) -> str:
    """How SLURM calls its end, as in "JobState=FAILED ExitCode=137:0"; empty if it does not know
    any more."""
    text = _call("scontrol", "--oneliner", "show", "job", job).stdout
    return " ".join(word for word in text.split() if word.startswith(("JobState=", "ExitCode=")))


def has_failed(end: str) -> bool:
    """Whether there is no result to wait for.

    >>> has_failed("JobState=FAILED ExitCode=137:0"), has_failed("JobState=COMPLETED ExitCode=0:0")
    (True, False)
    """
    return end.partition(" ")[0].removeprefix("JobState=") in FAILED


def array_of(job: str) -> str:
    """
    >>> array_of("12_3"), array_of("12")
    ('12', '12')
    """
    return job.partition("_")[0]


def refusal(error: Exception) -> str:
    """What sbatch said, each thing once."""
    text = getattr(error, "stderr", None) or str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _call(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
