"""Executes runs as jobs of a SLURM cluster, submitted as arrays through submitit."""

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

from harness.extras import check_extra
from harness.launch.backends import slurm_queue
from harness.launch.backends.base import Backend, try_execute_line
from harness.launch.backends.rank_env import export_torchrun_env
from harness.launch.backends.slurm_options import SlurmOptions
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import PICKLED, Outcome
from harness.system.atomic_files import read_json, write_json
from harness.system.deletion import Mark, delete
from harness.system.names import check_line
from harness.system.signals import SIGNALS, Stopped, is_rank_zero, stop_on_signals

if TYPE_CHECKING:
    import submitit

NumberedOutcome = tuple[int, Outcome]
PendingJobs = dict[int, "PendingJob"]  # by index of their run
# A network file system may show a result this much later than its job ends.
LATE_S = 15.0
PATTERN = {"%", "\\"}
KEYS_FILE = "keys.json"  # job id -> key of its run, in the folder of each array
# Files of jobs that SLURM has given no id yet, named by submitit's own id.
OF_SUBMITIT = (Mark(r"[0-9a-f]{32}\.pkl"), Mark(r"\.submission_file_[0-9a-f]{32}\.sh"))
# Variables of the job in which a sweep was started must not reach the jobs that it submits.
OUTER = ("SLURM_", "SRUN_")
OF_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")


@dataclass(frozen=True)
class SlurmBackend(Backend):
    """Executes each run as a job of SLURM; `folder` holds submitit's files and the jobs' logs.

    Raises:
        ValueError: this machine lacks sbatch or submitit, or the path holds a pattern of SLURM.
    """

    folder: Path
    options: SlurmOptions
    name: str

    in_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (shutil.which("sbatch") and shutil.which("srun")):
            raise ValueError(
                "hydra/launcher=slurm needs sbatch and srun, which this machine lacks; start from "
                "a login node of the cluster, or remove hydra/launcher to run here"
            )
        check_extra("slurm", "hydra/launcher=slurm")
        check_line("output_dir", self.folder)
        if PATTERN & set(str(self.folder)):
            raise ValueError(
                f"{self.folder}: % and \\ in the path of a SLURM log are patterns; choose "
                "another folder with output_dir=PATH"
            )

    def workers(self) -> int:
        return self.options.parallel

    def run(self, lines: Sequence[str]) -> Generator[NumberedOutcome, None, None]:
        """Submits runs, those beyond an array as jobs end, and yields their outcomes.

        Jobs of an earlier start that are in the queue are waited for, not submitted again.
        """
        left = self._jobs_in_queue(lines)
        if left:
            print(f"sweep: waiting for {len(left)} jobs of an earlier start", flush=True)
        waiting = [number for number in range(len(lines)) if number not in left]
        refused = False
        try:
            while left or waiting:
                if waiting and (not left or (len(left) < self.options.parallel and not refused)):
                    refused = not self._submit(waiting[: self.options.array], lines, left)
                    waiting = [number for number in waiting if number not in left]
                time.sleep(slurm_queue.POLL_S)
                yield from _pop_ended(left, lines)
        except (KeyboardInterrupt, GeneratorExit):
            print(
                f"sweep: {len(left)} jobs are cancelled; active ones save a checkpoint",
                flush=True,
            )
            slurm_queue.cancel(job.id for job in left.values())
            raise

    def _submit(self, numbers: Sequence[int], lines: Sequence[str], left: PendingJobs) -> bool:
        """Adds jobs for these runs to `left`; False if SLURM refuses them and `left` is not empty.

        A limit on the number of jobs has that effect.

        Raises:
            ValueError: SLURM refuses the jobs; the message holds its reason.
        """
        import submitit

        self.folder.mkdir(parents=True, exist_ok=True)
        executor = submitit.AutoExecutor(self._log_folder, cluster="slurm")
        executor.update_parameters(**self.options.submitit_parameters(self.name))
        try:
            # stderr: the error holds submitit's output too.
            with _outside_jobs(), redirect_stderr(StringIO()):
                jobs = executor.map_array(run_task, [lines[number] for number in numbers])
                left.update(zip(numbers, map(PendingJob, jobs), strict=True))
                keys = {job.job_id: _key(lines[n]) for n, job in zip(numbers, jobs, strict=True)}
                write_json(self.folder / slurm_queue.array_of(jobs[0].job_id) / KEYS_FILE, keys)
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
            self._delete_refused()
            if left:
                return False
            raise ValueError(f"SLURM refuses the jobs: {slurm_queue.refusal(error)}") from error
        return True

    @property
    def _log_folder(self) -> Path:
        return self.folder / "%A" / "%j"

    def _delete_refused(self) -> None:
        """Deletes submitit's files of refused jobs."""
        sweep = self.folder.parents[1]
        delete(sweep, self.folder, OF_SUBMITIT)

    def _jobs_in_queue(self, lines: Sequence[str]) -> PendingJobs:
        """Returns waiting and running jobs of an earlier start, by index of their run."""
        import submitit

        recorded = (read_json(file) for file in self.folder.glob(f"*/{KEYS_FILE}"))
        keys = {job: key for content in recorded for job, key in content.items()}
        queue = slurm_queue.in_queue(keys) or set()
        jobs = {
            key: PendingJob(submitit.SlurmJob(self._log_folder, job))
            for job, key in keys.items()
            if job in queue
        }
        unfinished = {key: job for key, job in jobs.items() if not job.has_result}
        numbered = ((number, _key(line)) for number, line in enumerate(lines))
        return {number: unfinished[key] for number, key in numbered if key in unfinished}


@dataclass
class PendingJob:
    """Follows a job whose result has not been read yet."""

    job: "submitit.Job[Outcome]"
    gone_at: float | None = field(default=None)  # when it was first missing in the queue

    @property
    def id(self) -> str:
        return self.job.job_id

    @property
    def has_result(self) -> bool:
        return self._first.paths.result_pickle.exists()

    @property
    def _first(self) -> "submitit.Job[Outcome]":
        """Returns the task of rank 0."""
        return self.job.task(0) if self.job.num_tasks > 1 else self.job

    def outcome(self, folder: Path, queued: bool) -> Outcome | None:
        """Returns the job's outcome, a failed one if it left none; None while it may still come."""
        if self.has_result:
            return _read_result(self._first, folder)
        if queued:
            self.gone_at = None
            return None
        end, now = slurm_queue.end_of(self.id), time.monotonic()
        self.gone_at = self.gone_at or now
        if not slurm_queue.has_failed(end) and now - self.gone_at < LATE_S:
            return None
        reason = f"job {self.id} ended without a result{f' ({end})' if end else ''}"
        # A job that the user has cancelled is not retried.
        retryable = "CANCELLED" not in end
        log = str(self._first.paths.stderr)
        return Outcome("failed", str(folder), reason, log=log, retryable=retryable)


def run_task(line: str) -> Outcome:
    """Executes a run in a task of a job; a stopped one leaves no result and is requeued."""
    stop_on_signals()
    try:
        export_torchrun_env()
        return try_execute_line(line)
    except Stopped as stopped:
        if is_rank_zero():
            print(f"harness: {stopped.line}", file=sys.stderr)
        sys.exit(stopped.status)


def _pop_ended(left: PendingJobs, lines: Sequence[str]) -> Iterator[NumberedOutcome]:
    """Removes ended jobs from `left` and yields their outcomes."""
    queue = slurm_queue.in_queue(job.id for job in left.values())
    for number, job in list(left.items()):
        queued = queue is None or job.id in queue
        outcome = job.outcome(RunSpec.from_json(lines[number]).folder, queued)
        if outcome:
            del left[number]
            yield number, outcome


def _read_result(job: "submitit.Job[Outcome]", folder: Path) -> Outcome:
    """Reads a job's result; only as data, because its file lies in a folder of runs."""
    from submitit.core.utils import UncompletedJobError

    # Imported late: at the top it would count as code that reads the data of every run.
    from harness.vocabulary.given.unpickling import restricted_load

    log = str(job.paths.stderr)
    try:
        with job.paths.result_pickle.open("rb") as file:
            status, outcome = restricted_load(file, PICKLED)
        if status == "success" and isinstance(outcome, Outcome):
            return outcome
        raise UncompletedJobError(str(outcome))
    except Exception as error:  # a damaged or foreign file may raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        reason = f"job {job.job_id}: {reason}"
        return Outcome("failed", str(folder), reason, log=log, retryable=True)


def _key(line: str) -> str:
    spec = RunSpec.from_json(line)
    return f"{spec.command} {spec.folder.absolute()}"


@contextmanager
def _outside_jobs() -> Iterator[None]:
    """Hides variables of a surrounding job, and defers signals: one would lose a new job's id."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    in_job = "SLURM_JOB_ID" in os.environ
    names = [key for key in os.environ if key.startswith(OUTER) and key not in OF_CLUSTER]
    variables = {key: os.environ.pop(key) for key in names if in_job}
    try:
        yield
    finally:
        os.environ.update(variables)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
