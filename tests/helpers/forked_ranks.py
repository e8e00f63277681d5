"""Ranks of a group, forked from one process that has imported torch and the harness already.

A rank that torchrun starts takes seconds of a core to import the same. Each call has processes
and a group of its own, which `ranks_of_environment` makes, so nothing is left of a case that
fails, hangs or patches a module.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from command import environment
from disk import write_without_waiting
from ports import free_port

from harness.cli.main import main
from harness.distributed import ranks_of_environment

# All that takes time to import in a whole run; torch._dynamo comes with the first optimizer.
IMPORTED = [
    "forked_ranks", "harness.experiment.runner", "harness.launch.execute",
    "harness.cli.hydra_main", "harness.launch.sweeps.hydra_plugins", "torch._dynamo",
]  # fmt: skip
TIMEOUT_S = 240.0

Work = Callable[[], object]


class Rank:
    """Holds a process with the variables of one rank, and its outputs."""

    def __init__(self, variables: dict[str, str], log: Path, work: Work):
        self._log = log
        self._answer, sender = _server().Pipe(duplex=False)
        self._process = _server().Process(
            target=_child, args=(sender, str(log), {**environment(), **variables}, work)
        )
        self._process.start()
        sender.close()

    def result(self, deadline: float) -> Any:
        """Returns the result of the process.

        Raises:
            AssertionError: the process ended early, by an error for instance, or took too long.
        """
        try:
            if self._answer.poll(max(deadline - time.monotonic(), 0)):
                return pickle.loads(self._answer.recv_bytes())
            why = "took too long"
        except EOFError:
            why = f"ended with status {self.ends(deadline)}"
        raise AssertionError(f"{why}\n{self.output(2)}")

    def ends(self, deadline: float) -> int:
        """Waits for the end, and returns the exit status, below 0 for a signal.

        Raises:
            AssertionError: the process took too long.
        """
        self._process.join(max(deadline - time.monotonic(), 0))
        assert self._process.exitcode is not None, f"took too long\n{self.output(2)}"
        return self._process.exitcode

    def output(self, number: int) -> str:
        """Returns what the process wrote to stdout (1) or stderr (2)."""
        return Path(f"{self._log}-{number}").read_text()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    def send(self, number: int) -> None:
        """Sends a signal to the process."""
        os.kill(self.pid, number)

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._answer.close()


@contextmanager
def forked(
    count: int, work: Callable[..., object], *arguments: Any, group: bool = True
) -> Iterator[list[Rank]]:
    """Yields `count` running processes, and ends them all; they are not yet a process group.

    group: they have the variables of a group, as set by a launcher.
    """
    port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ranks = []
        for rank in range(count):
            variables = _variables(rank, count, port) if group else {}
            ranks.append(Rank(variables, folder / str(rank), partial(work, *arguments)))
            stack.callback(ranks[-1].end)
        yield ranks


def on_ranks(count: int, case: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Returns the result of case(Ranks, *arguments) on each rank; all is sent by pickle.

    Raises:
        AssertionError: names the ranks that did not finish, with their outputs.
    """
    with forked(count, _in_group, case, *arguments) as ranks:
        return results(ranks)


def results(ranks: list[Rank]) -> list[Any]:
    """Returns the result of each rank; raises like `on_ranks`."""
    deadline = time.monotonic() + TIMEOUT_S
    found, failed = [], []
    for number, rank in enumerate(ranks):
        try:
            found.append(rank.result(deadline))
        except AssertionError as error:
            failed.append(f"rank {number} of {len(ranks)}: {error}")
    assert not failed, "\n".join(failed)
    return found


def harness_on_ranks(count: int, *arguments: str, command: str = "run") -> "CompletedProcess[str]":
    """Runs pruning-harness ARGUMENTS on `count` ranks without torchrun; one rank is no group.

    The status is 0 if the status of all ranks is 0. command: of harness.cli.main.
    """
    with forked(count, at_work, command, *arguments, group=count > 1) as ranks:
        deadline = time.monotonic() + TIMEOUT_S
        status = max((rank.ends(deadline) for rank in ranks), key=abs)
        out, err = ("".join(rank.output(number) for rank in ranks) for number in (1, 2))
    return CompletedProcess(arguments, status, out, err)


def at_work(command: str, *arguments: str) -> None:
    """Runs the command line, and ends the process with its status."""
    sys.argv = ["harness"]
    sys.exit(main([command, *arguments]))


@cache
def _server() -> ForkServerContext:
    """Starts the process that is forked: by multiprocessing, single-threaded, once a session."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "OMP_NUM_THREADS"):
            patch.setenv(name, environment()[name])
        forkserver.ensure_running()
    return context


def _child(
    sender: Connection, log: str, variables: dict[str, str], work: Callable[[], object]
) -> None:
    os.environ.clear()
    os.environ.update(variables)
    for number in (1, 2):
        with open(f"{log}-{number}", "w") as file:
            os.dup2(file.fileno(), number)
    torch.set_num_threads(1)
    write_without_waiting()
    sender.send_bytes(pickle.dumps(work()))


def _variables(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def _in_group(case: Callable[..., object], *arguments: Any) -> object:
    with ranks_of_environment("cpu") as ranks:
        return case(ranks, *arguments)
