"""Jobs of a SLURM cluster, one for each point, submitted as arrays through submitit."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.launch.engine import attempt_line
from harness.launch.place import adopt
from harness.launch.point import Point
from harness.outcome import Outcome
from harness.stopping import Stopped, speaks, stop_on_signals

if TYPE_CHECKING:
    import submitit

Told = tuple[int, Outcome]
ARRAY = 1000  # SLURM's MaxArraySize is 1001 where nobody has raised it
POLL_S = 2.0
# A result may be seen so much later than the end of its job, over a network file system.
LATE_S = 15.0
REQUEUED_S = 120.0  # that SLURM may take to end a job which it has put back into the queue
SIGNAL = "USR1"  # before the time limit; a run saves itself on it


@dataclass(frozen=True)
class Jobs:
    """folder: for submitit's files and the jobs' logs. options: of submitit's executor. requeue:
    a job that is preempted or out of time goes on later.

    Raises:
        ValueError: this machine has no sbatch.
    """

    folder: Path
    options: dict[str, Any]
    parallel: int = 256
    requeue: bool = True

    in_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not shutil.which("sbatch"):
            raise ValueError(
                "hydra/launcher=slurm hands jobs to sbatch, and this machine has none; start from "
                "a login node of the cluster, or leave hydra/launcher away to run here"
            )

    def workers(self) -> int:
        return self.parallel

    def outcomes(self, lines: Sequence[str]) -> Iterator[Told]:
        jobs = [job for part in _parts(lines) for job in self._submitted(part)]
        left, since = dict(enumerate(jobs)), dict[int, float]()
        try:
            while left:
                time.sleep(POLL_S)
                queue = in_queue(sorted({_array(job) for job in left.values()}))
                for number, job in list(left.items()):
                    outcome = _ended(job, lines[number], job.job_id in queue, since, number)
                    if outcome:
                        del left[number]
                        yield number, outcome
        except (KeyboardInterrupt, GeneratorExit):
            # Runs under way save themselves; the same command goes on.
            subprocess.run(["scancel", *(job.job_id for job in left.values())], check=False)
            raise

    def _submitted(self, lines: Sequence[str]) -> "list[submitit.Job[Outcome]]":
        """
        Raises:
            ValueError: SLURM refuses the jobs; it says why.
        """
        os.environ["SUBMITIT_PREEMPT_SIGNAL"] = SIGNAL  # submitit reads it as it is imported
        import submitit

        executor = submitit.AutoExecutor(
            self.folder / "%A" / "%j", cluster="slurm", slurm_max_num_timeout=ARRAY
        )
        try:
            executor.update_parameters(**self.options, slurm_array_parallelism=self.parallel)
            with redirect_stderr(StringIO()):  # it passes on what is in the error too
                return executor.map_array(Job(self.requeue), list(lines))
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
            raise ValueError(f"SLURM refuses the jobs: {_said(error)}") from error


@dataclass(frozen=True)
class Job:
    """What each task of a job does; submitit calls it."""

    requeue: bool

    def __call__(self, line: str) -> Outcome:
        adopt()
        stop_on_signals()
        try:
            return attempt_line(line)
        except Stopped as stopped:
            if self.requeue:
                _requeue()
            folder = str(Point.of_line(line).folder)
            return Outcome("failed", folder, f"stopped by {stopped.name}", again=True)

    def checkpoint(self, line: str) -> Any:
        """For a signal that comes before the work has begun."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, line)


def executor_options(asked: dict[str, Any], name: str) -> dict[str, Any]:
    """The launcher's fields as submitit's executor calls them; what is null is left to SLURM.

    >>> executor_options({"nodes": 2, "partition": "gpu", "qos": None}, "survey")
    {'name': 'survey', 'nodes': 2, 'slurm_partition': 'gpu'}
    """
    renamed = {"extra": "slurm_additional_parameters"}
    common = ("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min")
    found = {"name": name}
    for key, value in asked.items():
        if value not in (None, [], {}):
            found[key if key in common else renamed.get(key, f"slurm_{key}")] = value
    return found


def in_queue(arrays: Sequence[str]) -> set[str]:
    """Of these jobs those that wait or run, each array's by its own id; all, if SLURM does not
    answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return _Everything()
    return set(done.stdout.split())


class _Everything(set[str]):
    def __contains__(self, one: object) -> bool:
        return True


def _ended(
    job: "submitit.Job[Outcome]", line: str, queued: bool, since: dict[int, float], number: int
) -> Outcome | None:
    """What the job left, or that it left nothing; None while it may still come."""
    first = job.task(0)
    if first.paths.result_pickle.exists():
        found: Outcome = first.result()
        return found
    if queued:
        since.pop(number, None)
        return None
    if time.monotonic() - since.setdefault(number, time.monotonic()) < LATE_S:
        return None
    state = _shown(job.job_id)
    folder, log = str(Point.of_line(line).folder), str(first.paths.stderr)
    reason = f"job {job.job_id} ended without a result{f' ({state})' if state else ''}"
    return Outcome("failed", folder, reason, log=log, again=True)


def _parts(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(lines), ARRAY):
        yield lines[begin : begin + ARRAY]


def _array(job: "submitit.Job[Outcome]") -> str:
    return job.job_id.split("_")[0]


def _shown(job: str) -> str:
    """How SLURM calls its end, as far as it remembers."""
    command = ["scontrol", "--oneliner", "show", "job", job]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return " ".join(word for word in text.split() if word.startswith(("JobState=", "ExitCode=")))


def _requeue() -> None:
    """Back into the queue, which ends this process; returns where SLURM does not do it."""
    if speaks():
        job = os.environ["SLURM_JOB_ID"]
        if subprocess.run(["scontrol", "requeue", job], check=False).returncode:
            return
    time.sleep(REQUEUED_S)


def _said(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))
