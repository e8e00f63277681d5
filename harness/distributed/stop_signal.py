"""Stops all ranks at one step after a signal, which reaches each rank at another time."""

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed as dist

from harness.distributed.ranks import Ranks
from harness.system.signals import SIGNALS

STEPS_BETWEEN_POLLS = 8
# A launcher forwards the Ctrl-C that its workers have received already.
SAME_KEYPRESS_S = 1.0


class StopSignal:
    """Tells all ranks whether SIGINT, SIGTERM or SIGUSR1 has reached any of them.

    Inside the context the first such signal is only recorded. Another Ctrl-C ends the process at
    once, unsaved. Python allows signal handlers in the main thread only.
    """

    def __init__(self, ranks: Ranks):
        self._ranks = ranks
        self._received = 0
        self._pressed_at: float | None = None
        self._polls = 0
        self._pending: tuple[dist.Work, torch.Tensor] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self._before.items():
            # torchrun signals the remaining ranks as soon as the first one has left.
            leaving = error is not None and self._ranks.world_size > 1
            signal.signal(number, signal.SIG_IGN if leaving else handler)

    def poll(self) -> int:
        """Returns the signal that all ranks stop for, or 0.

        Every rank must call this at every step.

        A call costs one increment. Every few steps the result of the previous all-reduce is read
        and the next one starts, asynchronously.
        """
        if self._ranks.world_size == 1:
            return self._received
        self._polls += 1
        if self._polls % STEPS_BETWEEN_POLLS:
            return 0
        answer = self._answer()
        flag = torch.tensor(self._received)
        work = dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._ranks.aside, async_op=True)
        assert work is not None
        self._pending = work, flag
        return answer

    def poll_now(self) -> int:
        """Returns the same as `poll`, with a blocking all-reduce."""
        if self._ranks.world_size == 1:
            return self._received
        before = self._answer()
        return before or self._ranks.maximum(self._received)

    def _answer(self) -> int:
        if self._pending is None:
            return 0
        work, flag = self._pending
        self._pending = None
        with self._ranks.waiting("question whether to stop, inside a training"):
            work.wait()
        return int(flag)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            again, self._pressed_at = self._pressed_at, now
            if again is not None and now - again > SAME_KEYPRESS_S:
                raise KeyboardInterrupt
        self._received = self._received or number
