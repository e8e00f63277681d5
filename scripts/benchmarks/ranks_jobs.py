"""Runs jobs of several processes, on this host or on two; none of them outlives its `with`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.hosts import Host
from harness.distributed import Options, ranks_of_environment

CHECKOUT = Path(__file__).parents[2]
POLL_S = 0.1
TIME_OUT_S = 1800.0
OF_A_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

Job = subprocess.Popen[str]


class JobFailed(RuntimeError):
    """Signals that a job ended with an error, or not in time."""


def answer(task: Callable[..., Any]) -> None:
    """Runs a program that `answer_of` starts: calls task(ranks, **wishes) on every rank.

    A wish named `device` or `options` is for the process group itself.
    """
    torch.set_num_threads(1)
    out, wishes = Path(sys.argv[1]), json.loads(sys.argv[2])
    options = Options(**wishes.pop("options", {}))
    with ranks_of_environment(wishes.pop("device", "cpu"), options) as ranks:
        result = task(ranks, **wishes)
        if ranks.is_main:
            out.write_text(json.dumps(result))


def answer_of(
    program: str,
    hosts: Sequence[Host] = (),
    count: int = 2,
    within_s: float = TIME_OUT_S,
    **wishes: Any,
) -> Any:
    """Runs a program of this package on several ranks, and returns the answer of rank 0.

    With `hosts`, each has one rank.

    Raises:
        JobFailed: with the last lines of the job's output.
    """
    with TemporaryDirectory(prefix="ranks-") as top, ExitStack() as stack:
        out = Path(top, "answer.json")
        work = ["-m", f"benchmarks.{program}", str(out), json.dumps(wishes)]
        commands = [
            [*agent(number, hosts), *work] if hosts else torchrun(count, *work)
            for number in range(len(hosts) or 1)
        ]
        logs = [Path(top, f"log-{number}") for number in range(len(commands))]
        jobs = [
            stack.enter_context(running(command, log, host))
            for command, log, host in zip(commands, logs, hosts or (None,), strict=True)
        ]
        await_end(jobs, within_s)
        for job, log in zip(jobs, logs, strict=True):
            check(job, log)
        return json.loads(out.read_text())


def torchrun(count: int, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*start, f"--nproc-per-node={count}", *arguments]


def agent(number: int, hosts: Sequence[Host]) -> list[str]:
    """Returns the command of a torchrun agent with one rank.

    The rendezvous is static: c10d would have to guess from names whether it is on the host of the
    store.
    """
    start = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(hosts)}"]
    place = [f"--node-rank={number}", f"--master-addr={hosts[0].address}", "--master-port=29400"]
    return [*start, *place, "--nproc-per-node=1"]


@contextmanager
def running(command: Sequence[str], log: Path, host: Host | None = None) -> Iterator[Job]:
    """Yields the running command, with its output in a file; then ends it and its children."""
    with log.open("w") as output:
        # In a session of its own, so that Ctrl-C reaches this process only, which ends the others.
        job = (
            host.popen(*command, env=environment(), output=output)
            if host
            else subprocess.Popen(
                command, env=environment(), stdout=output, stderr=output, text=True,
                start_new_session=True,
            )
        )  # fmt: skip
        try:
            yield job
        finally:
            end(job)


def environment() -> dict[str, str]:
    """Returns an environment with one thread, this checkout, and the parts of its tests."""
    kept = {key: value for key, value in os.environ.items() if key not in OF_A_LAUNCHER}
    path = os.pathsep.join(str(CHECKOUT / folder) for folder in ("", "scripts", "tests/helpers"))
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def await_end(jobs: Sequence[Job], within_s: float, seen: set[int] | None = None) -> None:
    """Waits until all jobs have ended.

    seen: gets the ids of all descendants of the jobs. Listing them takes time from the jobs.

    Raises:
        JobFailed: a job is still running after `within_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while any(job.poll() is None for job in jobs):
        if time.monotonic() > deadline:
            raise JobFailed(f"{_command(jobs[0])} did not end within {within_s:.0f} s")
        if seen is not None:
            seen.update(*(family(job.pid) for job in jobs))
        time.sleep(POLL_S)


def check(job: Job, log: Path) -> None:
    """Checks the exit status of a job.

    Raises:
        JobFailed: the status is not 0.
    """
    if job.returncode:
        output = log.read_text()[-3000:]
        raise JobFailed(
            f"{_command(job)} ended with status {job.returncode}; its output:\n{output}"
        )


def end(job: Job) -> None:
    """Ends a job that is still there, and all that it started, each by its id."""
    if job.poll() is not None:
        return
    # Stopped first, because it could start processes while they are listed.
    _signal(job.pid, signal.SIGSTOP)
    for pid in family(job.pid):
        _signal(pid, signal.SIGKILL)
    job.wait()


def family(head: int) -> list[int]:
    """Returns the ids of a process and of its running descendants; Linux only."""
    parents = {pid: parent for pid, (state, parent) in _processes().items() if state != "Z"}
    pids = [head] if head in parents else []
    for pid in pids:
        pids += [child for child, parent in parents.items() if parent == pid]
    return pids


def living(pids: Iterable[int]) -> list[int]:
    """Returns the ids of processes that still run; a zombie does not count."""
    processes = _processes()
    return [pid for pid in pids if pid in processes and processes[pid][0] != "Z"]


def variable(pid: int, name: str) -> str | None:
    """Returns a variable of a process's initial environment, or None if the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            key, _, value = line.decode(errors="replace").partition("=")
            if key == name:
                return value
    return None


def _processes() -> dict[int, tuple[str, int]]:
    """Returns state and parent of every process, by id."""
    processes = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        # The process may have ended.
        with suppress(OSError):
            state, parent, *_ = file.read_text().rpartition(")")[2].split()
            processes[int(file.parent.name)] = (state, int(parent))
    return processes


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _command(job: Job) -> str:
    return " ".join(job.args) if isinstance(job.args, list) else str(job.args)
