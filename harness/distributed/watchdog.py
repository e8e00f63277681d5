"""Ends this rank, with the name of the rank to blame, when another rank dies, hangs or leaves.

A collective waits for a missing rank, and its own timeout names no rank. So every rank writes its
progress to the store twice a second and reads that of the other ranks.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from math import ceil
from threading import Event, Lock, Thread, current_thread, main_thread

from harness.distributed.consistency import is_group_error
from harness.distributed.heartbeats import Heartbeat, HeartbeatTable, Timeouts, remedy
from harness.distributed.minder import InterpreterMonitor
from harness.distributed.rendezvous import StoreAddress, run_with_timeout
from harness.system.errors import RankLost

ROUND_S = 0.5
SILENCE_S = 20.0  # longer than a large import or file blocks Python
SUSPECT_S = 2.5  # the same after a failed collective, when some rank must be missing
EXPLAIN_S = 6.0  # to find out which rank that is
GRACE_S = 3.0  # for the main thread to leave by itself when the store is gone
LINGER_S = 5.0  # for the other ranks to read why the host of the store leaves
LEAVE_S = 60.0  # for work while leaving
CALLBACKS_S = 10.0


class Watchdog:
    """Watches the other ranks and ends this process if one of them is lost.

    `on_loss` callbacks get the reason, while the main thread may hang, before the process ends.
    """

    def __init__(self, address: StoreAddress, names: list[str], timeout_s: float):
        silence_s = min(timeout_s, SILENCE_S)
        self.on_loss: list[Callable[[str], None]] = []
        self._address, self._name = address, names[address.rank]
        self._round_s = min(ROUND_S, silence_s / 8)
        self._roll = HeartbeatTable(names, self._round_s)
        silent, self._timeout = self._rounds(silence_s), self._rounds(timeout_s)
        self._patience = Timeouts(silent, self._timeout, self._timeout, silent, self._timeout)
        self._suspicion = Timeouts(min(silent, self._rounds(SUSPECT_S)), left=1, lost=1)
        self._sign, self._exchanges = Heartbeat(), 0
        self._leaving = False  # leaving, so the watchdog ends nothing
        self._minder: InterpreterMonitor | None = None
        self._at_end = ExitStack()
        self._wake, self._reported, self._closed, self._ending = Event(), Event(), Event(), Lock()
        self._threads = [Thread(target=work, daemon=True) for work in (self._watch, self._guard)]

    def heartbeat(self, alone: bool = False, collective: str = "") -> None:
        """Counts one mark of progress. All ranks must call this equally often.

        Args:
            alone: True if the other ranks need not call this. No rank then looks late.
            collective: Location of a collective that follows without comparison.
        """
        if alone:
            self._sign.ticks += 1
        else:
            self._sign.progress += 1
        self._sign.last = collective or self._sign.last

    def set_waiting(self, collective: str) -> None:
        """Reports the collective in which this rank waits for the other ranks.

        "" if it does not wait.
        """
        self._sign.at, self._sign.last = collective, collective or self._sign.last

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watches inside the context. Ends all threads and processes afterwards."""
        # Uses own connections, because the group's is locked while it waits.
        self._store, self._line = self._address.store(), self._address.connect()
        if self._address.world_size > 1:  # one rank blocks no other rank
            self._minder = InterpreterMonitor(self._name, self._patience.silent + 2, self._round_s)
            self._at_end.callback(self._minder.close)
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._sign.gone = True
            self._wake.set()
            self._threads[0].join(LINGER_S + 2)
            self._closed.set()
            self._threads[1].join(1)
            self._line.close()
            self._at_end.close()

    @contextmanager
    def diagnosing(self) -> Iterator[None]:
        """Reports an error inside the context to the other ranks.

        Raises:
            RankLost: Instead of an error of the group, if another rank caused it.
        """
        try:
            yield
        except BaseException as error:
            cause = self.diagnose(error)
            self.leave(cause)
            if cause is error:
                raise
            raise cause from error

    def diagnose(self, error: BaseException) -> BaseException:
        """Returns RankLost if another rank caused this error, else the error. May take seconds."""
        if not is_group_error(error):
            return error
        self._leaving = True
        self._ignore_sigterm()
        deadline = time.monotonic() + EXPLAIN_S
        while time.monotonic() < deadline:
            self._sign.lost = self._sign.lost or self._roll.find_lost(self._suspicion) or ""
            if self._sign.lost:
                return RankLost(f"{self._sign.lost}; {remedy(self._sign.lost)}")
            time.sleep(self._round_s / 8)
        return error

    def leave(self, error: BaseException | None = None) -> None:
        """Stops watching the other ranks and reports the error to them."""
        self._leaving = True
        if isinstance(error, RankLost):
            self._ignore_sigterm()
        elif error is not None:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            self._sign.left = message.removesuffix(":")[:500]
            self._reported.clear()
            self._wake.set()
            self._reported.wait(2)

    def _ignore_sigterm(self) -> None:
        """Ignores SIGTERM, which torchrun sends after the first death. It would hide the cause."""
        if current_thread() is main_thread():
            before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._at_end.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)

    def _rounds(self, seconds: float) -> int:
        return ceil(seconds / self._round_s)

    def _watch(self) -> None:
        try:
            while not self._sign.gone:
                self._exchange()
                lost = self._roll.find_lost(self._patience)
                if lost and not self._leaving:
                    self._end(lost)
                self._wake.wait(self._round_s)
                self._wake.clear()
            self._linger()
        except (OSError, RuntimeError):
            self._continue_without_store()

    def _exchange(self) -> None:
        """Writes the own heartbeat and reads all. Raises OSError if the store is gone."""
        # The store's own call would log a traceback if it is gone. This connection carries no data.
        if select.select([self._line], [], [], 0)[0]:
            self._line.close()
            self._line = self._address.connect()
        self._sign.beats += 1
        sign = asdict(self._sign)
        self._store.set(f"sign/{self._address.rank}", json.dumps(sign))
        keys = [f"sign/{rank}" for rank in range(self._address.world_size)]
        self._roll.update([Heartbeat(**json.loads(text)) for text in self._store.multi_get(keys)])
        self._exchanges += 1
        if sign["left"]:
            self._reported.set()

    def _linger(self) -> None:
        """Writes the last heartbeat.

        The host of the store waits until the other ranks have read it.
        """
        self._exchange()
        alive = self._roll.remaining(self._address.rank, self._suspicion)
        deadline = time.monotonic() + LINGER_S
        while self._address.is_host and alive and time.monotonic() < deadline:
            time.sleep(self._round_s / 8)
            self._exchange()
            alive &= self._roll.remaining(self._address.rank, Timeouts())

    def _continue_without_store(self) -> None:
        known = self._roll.find_lost(Timeouts(left=1, lost=1))
        self._sign.lost = self._sign.lost or known or f"{self._keeper} is gone"
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if self._leaving:
                return
            time.sleep(self._round_s / 8)
        self._end(self._sign.lost, has_store=False)

    @property
    def _keeper(self) -> str:
        keeper = "torchrun" if self._address.by_agent else self._roll.names[0]
        return f"{keeper}, which keeps the store of the ranks at {self._address.where},"

    def _guard(self) -> None:
        """Ends the process if the watching thread hangs, or leaving takes too long."""
        before, stuck, leaving = 0, 0, 0
        while not self._closed.wait(self._round_s):
            if self._minder:
                self._minder.beat()
            stuck = stuck + 1 if self._exchanges == before else 0
            before = self._exchanges
            leaving = leaving + 1 if self._leaving else 0
            if leaving > self._rounds(LEAVE_S):
                why = self._sign.lost or self._sign.left or "all was done"
                self._end(f"{self._name} has not ended {LEAVE_S:.0f} s after: {why}", False)
            if stuck > self._timeout and not leaving:
                self._end(f"{self._keeper} does not answer", has_store=False)

    def _end(self, lost: str, has_store: bool = True) -> None:
        """Prints the reason, runs the callbacks and ends the process. Its main thread may hang."""
        self._ending.acquire(timeout=2 * CALLBACKS_S)  # the other thread may end the process
        self._sign.lost, self._sign.gone = lost, True
        # One rank prints. Without the store every rank does.
        if not has_store or self._is_first():
            ends = f"so rank {self._address.rank} ends; {remedy(lost)}"
            os.write(2, f"harness: {lost}; {ends}\n".encode())
        with suppress(TimeoutError):
            run_with_timeout(CALLBACKS_S, lambda: self._call_back(lost))
        with suppress(OSError, RuntimeError):
            if has_store:
                self._linger()
        os._exit(1)

    def _is_first(self) -> bool:
        try:
            return self._store.add("reported", 1) == 1
        except RuntimeError:
            return True

    def _call_back(self, lost: str) -> None:
        for callback in self.on_loss:
            try:
                callback(lost)
            except Exception:
                traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
