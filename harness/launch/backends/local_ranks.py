"""Spawns the ranks of one run on this machine, as commands (harness/cli/worker.py).

torch's own launchers do not fit. The parent would import torch too, ranks would have 30 s to save a
checkpoint, and a signal between the starts of two ranks would orphan one of them.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Self

from harness.launch.backends.rank_env import launcher_name
from harness.launch.backends.rank_results import SPEC_FILE, log_of, read_result
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import Outcome
from harness.system.atomic_files import write_atomic
from harness.system.processes import is_process_suspended
from harness.system.signals import SIGNALS, Stopped

HOST = {"MASTER_ADDR": "127.0.0.1"}
POLL_S = 0.02
AGAIN_S = 1.0  # from this distance on, a second Ctrl-C counts as another one
# After the first failure: time until the other ranks get SIGTERM, and until they get SIGKILL. A
# rank that hangs is given more than the 60 s (LEAVE_S of the watchdog) after which it ends itself:
# its own message names the collective, or the saving, in which it hangs.
NOTICE_S, LEAVE_S = 10.0, 90.0
AT_ONCE_S = 5.0  # from a second Ctrl-C to SIGKILL


def rank_count(config: dict[str, Any]) -> int:
    """Returns the number of ranks to start: launch.ranks_per_run, or 1 inside a rank.

    Raises:
        ValueError: launch.ranks_per_run is not the launcher's number.
    """
    count: int = config["launch"]["ranks_per_run"]
    world_size = os.environ.get("WORLD_SIZE", "")
    if "RANK" not in os.environ:
        return count
    if count > 1 and world_size != str(count):
        raise ValueError(
            f"launch.ranks_per_run={count} conflicts with {launcher_name()}, which started "
            f"{world_size} ranks; remove launch.ranks_per_run"
        )
    return 1


def spawn_ranks(spec: RunSpec, count: int) -> Outcome:
    """Executes a run on `count` new ranks and returns the outcome of rank 0.

    Raises:
        WorkersFailed: a rank was killed or ended without a result.
        Stopped: a signal stopped the run, which has saved a checkpoint.
        Exception: the error that the ranks raised.
    """
    with tempfile.TemporaryDirectory(prefix="pruning-harness-") as home:
        folder = Path(home)
        write_atomic(folder / SPEC_FILE, spec.to_json())
        with RankProcesses(folder, count) as processes:
            processes.start()
            first = processes.wait()
        return read_result(folder, processes.ended(), first, processes.stop_request)


class RankProcesses:
    """Holds the processes of the ranks; as a context it forwards signals and ends all of them."""

    def __init__(self, folder: Path, count: int):
        self.stop_request: KeyboardInterrupt | None = (
            None  # Stopped, or KeyboardInterrupt at a second Ctrl-C
        )
        self._signals: list[int] = []
        self._folder, self._count = folder, count
        self._pressed_at: float | None = None
        self._kill_at = float("inf")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._old_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # handlers are set only there
            self._old_handlers = {
                number: signal.signal(number, self._on_signal) for number in SIGNALS
            }
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin
            process.stdin.close()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def start(self) -> None:
        # Bound here, so that no other process takes the port before rank 0 listens at it.
        with socket.socket() as bound:
            bound.bind((HOST["MASTER_ADDR"], 0))
            for rank in range(self._count):
                self._processes.append(self._start_rank(rank, bound))
        for number in self._signals:  # sent before all ranks had started
            self._forward(number)

    def wait(self) -> list[int]:
        """Waits until all ranks have ended and returns those that failed first."""
        first: list[int] = []
        terminated = False
        while any(process.poll() is None for process in self._processes):
            now = time.monotonic()
            if not first and (first := self._failed()):
                notice_by, self._kill_at = now + NOTICE_S, min(self._kill_at, now + LEAVE_S)
            if first and not terminated and now > notice_by:
                self._forward(signal.SIGTERM)
                terminated = True
            if first:
                self._kill_suspended()
            if now > self._kill_at:
                self._forward(signal.SIGKILL)
            time.sleep(POLL_S)
        return first or self._failed()

    def _kill_suspended(self) -> None:
        """Kills ranks that someone has stopped (SIGSTOP), which no other signal would end."""
        for process in self._processes:
            if process.poll() is None and is_process_suspended(process.pid):
                process.kill()

    def ended(self) -> list[tuple[int, int]]:
        """Returns (pid, status as in subprocess) by rank."""
        return [(process.pid, process.returncode) for process in self._processes]

    def _start_rank(self, rank: int, bound: socket.socket) -> "subprocess.Popen[bytes]":
        port = str(bound.getsockname()[1])
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
        shared = {key: str(self._count) for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
        command = [sys.executable, "-m", "harness", "worker", str(self._folder)]
        with log_of(self._folder, rank).open("wb") as log, os.fdopen(os.dup(2), "wb") as terminal:
            keeps = [bound.fileno(), terminal.fileno()] if rank == 0 else []
            return subprocess.Popen(
                [*command, *map(str, keeps)],
                stdin=subprocess.PIPE,  # closes when this process ends
                stdout=None if rank == 0 else log,
                stderr=log,
                pass_fds=keeps,
                env={"OMP_NUM_THREADS": "1", **os.environ, **HOST, **own, **shared},
            )

    def _failed(self) -> list[int]:
        return [rank for rank, process in enumerate(self._processes) if process.poll()]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            earlier, self._pressed_at = self._pressed_at, now
            if earlier is not None and now - earlier > AGAIN_S:
                self._kill_at = now + AT_ONCE_S
                self.stop_request = KeyboardInterrupt()
        self._signals.append(number)
        self.stop_request = self.stop_request or Stopped(number)
        self._forward(number)

    def _forward(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)
