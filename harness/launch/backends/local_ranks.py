"""Ranks of one run that it starts itself on this machine, as commands (harness/cli/worker.py).

torch's own launchers would do, but for this: the starter would import torch too, workers would
have 30 s to save themselves, and a signal between two starts would leave one of them behind.
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
from harness.launch.backends.rank_results import POINT, log_of, result
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import Outcome
from harness.system.atomic_files import write_whole
from harness.system.signals import SIGNALS, Stopped
from harness.vocabulary.checks import check

HOST = {"MASTER_ADDR": "127.0.0.1"}
POLL_S = 0.02
AGAIN_S = 1.0  # between two Ctrl-C that are not the same
# After the first rank has failed, for the others to notice it, and then to leave by themselves.
NOTICE_S, LEAVE_S = 10.0, 90.0
AT_ONCE_S = 5.0  # after a second Ctrl-C


def count_of(config: dict[str, Any]) -> int:
    """Ranks to start: launch.ranks_per_run, or 1 where this process is a rank already.

    Raises:
        ValueError: launch.ranks_per_run is no count, or contradicts who started this process.
    """
    count: int = config["launch"]["ranks_per_run"]
    check("launch.ranks_per_run", count, "a whole number >= 1")
    there = os.environ.get("WORLD_SIZE", "")
    if "RANK" not in os.environ:
        return count
    if count > 1 and there != str(count):
        raise ValueError(
            f"launch.ranks_per_run={count} conflicts with {launcher_name()}, which started "
            f"{there} ranks; remove launch.ranks_per_run"
        )
    return 1


def carry_out(point: RunSpec, count: int) -> Outcome:
    """
    Raises:
        WorkersFailed: a rank was killed or ended without a word.
        Stopped: a signal asked for it, and the run has saved itself.
        Exception: what its ranks raised.
    """
    with tempfile.TemporaryDirectory(prefix="pruning-harness-") as home:
        folder = Path(home)
        write_whole(folder / POINT, point.to_json())
        with Processes(folder, count) as processes:
            processes.start()
            first = processes.wait()
        return result(folder, processes.ended(), first, processes.asked)


class Processes:
    """The ranks' processes. Inside, they get the signals that this process gets; none of them is
    left behind."""

    def __init__(self, folder: Path, count: int):
        self.asked: KeyboardInterrupt | None = None  # to stop, and how
        self._heard: list[int] = []
        self._folder, self._count = folder, count
        self._pressed_at: float | None = None
        self._kill_at = float("inf")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # else Python allows no handlers
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin
            process.stdin.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self) -> None:
        # Bound here, so that nobody takes the port before rank 0 listens at it.
        with socket.socket() as bound:
            bound.bind((HOST["MASTER_ADDR"], 0))
            for rank in range(self._count):
                self._processes.append(self._started(rank, bound))
        for number in self._heard:  # when some were not there yet
            self._pass_on(number)

    def wait(self) -> list[int]:
        """Until all have ended; the ranks that failed first."""
        first: list[int] = []
        told = False
        while any(process.poll() is None for process in self._processes):
            now = time.monotonic()
            if not first and (first := self._failed()):
                notice_by, self._kill_at = now + NOTICE_S, min(self._kill_at, now + LEAVE_S)
            if first and not told and now > notice_by:
                self._pass_on(signal.SIGTERM)
                told = True
            if now > self._kill_at:
                self._pass_on(signal.SIGKILL)
            time.sleep(POLL_S)
        return first or self._failed()

    def ended(self) -> list[tuple[int, int]]:
        """(pid, status as subprocess has it), by rank."""
        return [(process.pid, process.returncode) for process in self._processes]

    def _started(self, rank: int, bound: socket.socket) -> "subprocess.Popen[bytes]":
        port = str(bound.getsockname()[1])
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
        size = {key: str(self._count) for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
        command = [sys.executable, "-m", "harness", "worker", str(self._folder)]
        with log_of(self._folder, rank).open("wb") as log, os.fdopen(os.dup(2), "wb") as terminal:
            keeps = [bound.fileno(), terminal.fileno()] if rank == 0 else []
            return subprocess.Popen(
                [*command, *map(str, keeps)],
                stdin=subprocess.PIPE,  # whose end is that of this process
                stdout=None if rank == 0 else log,
                stderr=log,
                pass_fds=keeps,
                env={"OMP_NUM_THREADS": "1", **os.environ, **HOST, **place, **size},
            )

    def _failed(self) -> list[int]:
        return [rank for rank, process in enumerate(self._processes) if process.poll()]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            again, self._pressed_at = self._pressed_at, now
            if again is not None and now - again > AGAIN_S:
                self._kill_at = now + AT_ONCE_S
                self.asked = KeyboardInterrupt()
        self._heard.append(number)
        self.asked = self.asked or Stopped(number)
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)
