"""Jobs of a SLURM cluster, one for each point, submitted as arrays through submitit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.launch.backends import slurm_queue
from harness.launch.backends.base import Engine, attempt_line
from harness.launch.backends.rank_env import export_torchrun_env
from harness.launch.backends.slurm_options import Asked
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import Outcome
from harness.system.atomic_files import read_json, write_json
from harness.system.deletion import Mark, delete
from harness.system.names import check_line
from harness.system.signals import SIGNALS, Stopped, is_rank_zero, stop_on_signals

if TYPE_CHECKING:
    import submitit

Told = tuple[int, Outcome]
Numbers = Sequence[int]
# A result may be seen so much later than the end of its job, over a network file system.
LATE_S = 15.0
PATTERN = {"%", "\\"}
POINTS = "points.json"  # job id -> what it does, in the folder of each array
# By the id that submitit gives them until SLURM has given one.
OF_SUBMITIT = (Mark(r"[0-9a-f]{32}\.pkl"), Mark(r"\.submission_file_[0-9a-f]{32}\.sh"))
# What describes the job in which a sweep was started must not reach the jobs that it submits.
OUTER = ("SLURM_", "SRUN_")
OF_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")


@dataclass(frozen=True)
class Jobs(Engine):
    """folder: for submitit's files and the jobs' logs.

    Raises:
        ValueError: this machine has no sbatch, or SLURM would read the folder as another one.
    """

    folder: Path
    asked: Asked
    name: str

    in_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (shutil.which("sbatch") and shutil.which("srun")):
            raise ValueError(
                "hydra/launcher=slurm hands jobs to sbatch, and this machine has none; start from "
                "a login node of the cluster, or leave hydra/launcher away to run here"
            )

        check_line("output_dir", self.folder)
        if PATTERN & set(str(self.folder)):
            raise ValueError(
                f"{self.folder}: SLURM reads % and \\ in the path of a log as patterns; choose "
                "another folder with output_dir=PATH"
            )

    def workers(self) -> int:
        return self.asked.parallel

    def outcomes(self, lines: Sequence[str]) -> Generator[Told, None, None]:
        """Points whose jobs an earlier start of the sweep has left in the queue are waited for,
        not submitted again. More than an array holds are submitted as jobs end."""
        left = self._there(lines)
        if left:
            print(f"sweep: {len(left)} jobs of an earlier start are waited for", flush=True)
        waiting = [number for number in range(len(lines)) if number not in left]
        refused = False
        try:
            while left or waiting:
                if waiting and (not left or (len(left) < self.asked.parallel and not refused)):
                    refused = not self._submit(waiting[: self.asked.array], lines, left)
                    waiting = [number for number in waiting if number not in left]
                time.sleep(slurm_queue.POLL_S)
                yield from _ends(left, lines)
        except (KeyboardInterrupt, GeneratorExit):
            print(
                f"sweep: {len(left)} jobs are cancelled; those under way save themselves",
                flush=True,
            )
            slurm_queue.cancel(each.id for each in left.values())
            raise

    def _submit(self, numbers: Numbers, lines: Sequence[str], left: "dict[int, Pending]") -> bool:
        """Adds their jobs to those left; False if SLURM refuses them while others are left, as a
        limit on the number of jobs does.

        Raises:
            ValueError: SLURM refuses the jobs; it says why.
        """
        import submitit

        self.folder.mkdir(parents=True, exist_ok=True)
        executor = submitit.AutoExecutor(self._place, cluster="slurm")
        executor.update_parameters(**self.asked.options(self.name))
        try:
            # stderr: what submitit passes on is in the error too.
            with _undisturbed(), redirect_stderr(StringIO()):
                jobs = executor.map_array(work, [lines[number] for number in numbers])
                left.update(zip(numbers, map(Pending, jobs), strict=True))
                does = {job.job_id: _does(lines[n]) for n, job in zip(numbers, jobs, strict=True)}
                write_json(self.folder / slurm_queue.array_of(jobs[0].job_id) / POINTS, does)
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
            self._tidy()
            if left:
                return False
            raise ValueError(f"SLURM refuses the jobs: {slurm_queue.refusal(error)}") from error
        return True

    @property
    def _place(self) -> Path:
        return self.folder / "%A" / "%j"

    def _tidy(self) -> None:
        """Removes what submitit leaves of jobs that were refused."""
        sweep = self.folder.parents[1]
        delete(sweep, self.folder, OF_SUBMITIT)

    def _there(self, lines: Sequence[str]) -> "dict[int, Pending]":
        """Jobs of an earlier start that wait or run, by number of their point."""
        import submitit

        found = (read_json(file) for file in self.folder.glob(f"*/{POINTS}"))
        known = {job: does for each in found for job, does in each.items()}
        queue = slurm_queue.in_queue(known) or set()
        jobs = {
            does: Pending(submitit.SlurmJob(self._place, job))
            for job, does in known.items()
            if job in queue
        }
        at_it = {does: each for does, each in jobs.items() if not each.has_result}
        return {n: at_it[_does(line)] for n, line in enumerate(lines) if _does(line) in at_it}


@dataclass
class Pending:
    """A job whose result is not there yet."""

    job: "submitit.Job[Outcome]"
    gone_at: float | None = field(default=None)  # when it was seen to be in the queue no more

    @property
    def id(self) -> str:
        return self.job.job_id

    @property
    def has_result(self) -> bool:
        return self._first.paths.result_pickle.exists()

    @property
    def _first(self) -> "submitit.Job[Outcome]":
        """Rank 0."""
        return self.job.task(0) if self.job.num_tasks > 1 else self.job

    def outcome(self, folder: Path, queued: bool) -> Outcome | None:
        """What the job left, or that it left nothing; None while it may still come."""
        if self.has_result:
            return _result(self._first, folder)
        if queued:
            self.gone_at = None
            return None
        end, now = slurm_queue.end_of(self.id), time.monotonic()
        self.gone_at = self.gone_at or now
        if not slurm_queue.has_failed(end) and now - self.gone_at < LATE_S:
            return None
        reason = f"job {self.id} ended without a result{f' ({end})' if end else ''}"
        # Whoever cancels one job of a sweep does not want it back at once.
        again = "CANCELLED" not in end
        return Outcome(
            "failed", str(folder), reason, log=str(self._first.paths.stderr), retryable=again
        )


def work(line: str) -> Outcome:
    """What each task of a job does; submitit calls it. Stopped, it leaves no result: the batch
    script puts the job back into the queue."""
    stop_on_signals()
    try:
        export_torchrun_env()
        return attempt_line(line)
    except Stopped as stopped:
        if is_rank_zero():
            print(f"harness: {stopped.line}", file=sys.stderr)
        sys.exit(stopped.status)


def _ends(left: dict[int, Pending], lines: Sequence[str]) -> Iterator[Told]:
    """Those of the jobs left that have ended, taken out of them."""
    queue = slurm_queue.in_queue(each.id for each in left.values())
    for number, each in list(left.items()):
        queued = queue is None or each.id in queue
        outcome = each.outcome(RunSpec.from_json(lines[number]).folder, queued)
        if outcome:
            del left[number]
            yield number, outcome


def _result(job: "submitit.Job[Outcome]", folder: Path) -> Outcome:
    """What it left. The file lies in a folder of runs, so that it is read as data."""
    from submitit.core.utils import UncompletedJobError

    # Here: a run that imports it otherwise has data that are read by it.
    from harness.vocabulary.unpickling import load_only

    log = str(job.paths.stderr)
    try:
        with job.paths.result_pickle.open("rb") as file:
            ended, found = load_only(file, {(Outcome.__module__, Outcome.__name__)})
        if ended == "success" and isinstance(found, Outcome):
            return found
        raise UncompletedJobError(str(found))
    except Exception as error:  # a file that is damaged, or somebody else's, raises anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        reason = f"job {job.job_id}: {reason}"
        return Outcome("failed", str(folder), reason, log=log, retryable=True)


def _does(line: str) -> str:
    point = RunSpec.from_json(line)
    return f"{point.command} {point.folder.absolute()}"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals come afterwards: a job that is submitted and not noted would be lost. Without
    variables of the job in which this process may be."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    inside = "SLURM_JOB_ID" in os.environ
    names = [key for key in os.environ if key.startswith(OUTER) and key not in OF_CLUSTER]
    outer = {key: os.environ.pop(key) for key in names if inside}
    try:
        yield
    finally:
        os.environ.update(outer)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
