"""Signals that ask a run to stop: every rank hears them at another moment, all stop at one."""

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
# A launcher passes on the Ctrl-C that its workers have had already.
SAME_KEYPRESS_S = 1.0


class StopSignal:
    """Whether SIGINT, SIGTERM or SIGUSR1 has reached any rank; one answer for all of them.

    Inside the context the first such signal is only noted; another Ctrl-C ends the process at
    once, unsaved. Elsewhere than in a process's main thread Python allows no handlers.
    """

    def __init__(self, ranks: Ranks):
        self._ranks = ranks
        self._heard = 0
        self._pressed_at: float | None = None
        self._polls = 0
        self._asked: tuple[dist.Work, torch.Tensor] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self._before.items():
            # torchrun ends the last ranks while they leave, as soon as the first one has left.
            leaving = error is not None and self._ranks.world_size > 1
            signal.signal(number, signal.SIG_IGN if leaving else handler)

    def poll(self) -> int:
        """The signal that all ranks stop for, or 0; to be called by every rank at every step.

        Costs a count; every few steps the answer to the question before is fetched and the next
        one asked, on the side.
        """
        if self._ranks.world_size == 1:
            return self._heard
        self._polls += 1
        if self._polls % STEPS_BETWEEN_POLLS:
            return 0
        agreed = self._answer()
        flag = torch.tensor(self._heard)
        work = dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._ranks.aside, async_op=True)
        assert work is not None
        self._asked = work, flag
        return agreed

    def poll_now(self) -> int:
        """The same, asked and answered now."""
        if self._ranks.world_size == 1:
            return self._heard
        before = self._answer()
        return before or self._ranks.maximum(self._heard)

    def _answer(self) -> int:
        if self._asked is None:
            return 0
        work, flag = self._asked
        self._asked = None
        with self._ranks.waiting("question whether to stop, inside a training"):
            work.wait()
        return int(flag)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            again, self._pressed_at = self._pressed_at, now
            if again is not None and now - again > SAME_KEYPRESS_S:
                raise KeyboardInterrupt
        self._heard = self._heard or number
