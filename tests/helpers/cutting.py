"""Runs that are cut off anywhere, and started again."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest
from command import TINY, only_run, run_main

from harness.experiment.rehearsals.rehearsal import rehearse
from harness.training.loop import Loop

# 4 steps an epoch: 8 of dense training, then 2 levels of 8 (Adam) under masks.
RUN = (
    *TINY, "model._target_=parts.Dropping", "model.hidden=[16]", "schedule=geometric",
    "schedule.levels=2", "retraining.epochs=2", "+retraining.augmentation._target_=parts.Shifting",
)  # fmt: skip
STEPS = 24
EVERY_2 = "checkpoint.every_steps=2"


def places(cases: Iterable[Any], few: int) -> list[Any]:
    """Parametrizes the points at which a run is cut off.

    All but a few, the same each time, run only where a test must hold everywhere.
    """
    every = list(cases)
    chosen = Random(0).sample(range(len(every)), few)
    everywhere = pytest.mark.everywhere
    return [
        case if number in chosen else pytest.param(case, marks=everywhere)
        for number, case in enumerate(every)
    ]


class Cut(BaseException):
    """Simulates the end of the process, as far as the run can tell."""


def rehearses() -> bool:
    """True if the caller is called by the rehearsal of a run."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code is not rehearse.__code__:
        frame = frame.f_back
    return frame is not None


def cut(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool) -> None:
    """Ends the run at the call-th call of a method, before or after it.

    Calls of the rehearsal do not count.
    """
    method: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1000))

    def cutting(*arguments: Any) -> Any:
        now = not rehearses() and next(calls) == call
        if now and not after:
            raise Cut
        result = method(*arguments)
        if now:
            raise Cut
        return result

    monkeypatch.setattr(owner, name, cutting)


def cut_off(runs: Path, owner: Any, name: str, call: int, after: bool, *more: str) -> None:
    """Starts the run, and cuts it off at that call."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, owner, name, call, after)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, *more, f"output_dir={runs}")


def cut_and_restarted(
    runs: Path, owner: type, name: str, call: int, after: bool, *more: str
) -> Path:
    """Returns the folder of a run that was cut off once and started again."""
    cut_off(runs, owner, name, call, after, *more)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *more, f"output_dir={runs}") == 0
    return only_run(runs)


def counted(runs: Path, *more: str) -> int:
    """Counts the optimizer steps that a start of the run makes until the run is finished."""
    steps = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        update = Loop._update
        monkeypatch.setattr(
            Loop, "_update", lambda self: (steps.append(not rehearses()), update(self))[1]
        )
        assert run_main(monkeypatch, *RUN, *more, f"output_dir={runs}") == 0
    return sum(steps)
