"""Saliencies that end the process, or fail, when a run needs scores; its rehearsal goes well."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_stack

from harness.saliency.magnitude import Magnitude
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class Unruly(Magnitude):
    """Fails in a given way.

    how: kill, wrong, or raise, but not in a rehearsal. once: a file that marks that it has
    happened; null: every time.
    """

    how: str = "kill"
    once: str | None = None

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        if not _is_rehearsal() and (self.once is None or not Path(self.once).exists()):
            if self.once is not None:
                Path(self.once).touch()
            self._misbehave()
        return super().score(weights, statistics)

    def _misbehave(self) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "wrong":
            raise ValueError("wrong input")
        if any(frame.name == "rehearse" for frame in extract_stack()):
            return
        raise RuntimeError("no luck")


def _is_rehearsal() -> bool:
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        if frame.f_globals["__name__"].startswith("harness.experiment.rehearsals"):
            return True
    return False
