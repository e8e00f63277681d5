"""How deep the code lies: own frames between the command line and what does the work."""

from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from command import TINY, run_main
from conftest import cases
from torch.optim import SGD

import harness
from harness.experiment import run
from harness.saliency.magnitude import Magnitude

HOME = str(Path(str(harness.__file__)).parent)
MOST = 10
SGDS = ("training=sgd", "training@retraining=sgd")


class Reached(BaseException):
    """Ends the counting."""


def stop(*_: Any, **__: Any) -> None:
    raise Reached


def own_frames(trace: TracebackType | None) -> list[str]:
    found = []
    while trace:
        code = trace.tb_frame.f_code
        found += [code.co_qualname] if code.co_filename.startswith(HOME) else []
        trace = trace.tb_next
    return found


@cases(
    "when",
    ("prune_at=after_training",),
    ("prune_at=init",),
    ("prune_at=during_training", "gradual.interval=1"),
)
@pytest.mark.parametrize("rehearses", [True, False])
def test_few_frames_lie_between_the_command_line_and_a_step(
    tmp_path, monkeypatch, when, rehearses
) -> None:
    if not rehearses:
        monkeypatch.setattr(run, "rehearse", lambda *_: None)
    monkeypatch.setattr(SGD, "step", stop)
    with pytest.raises(Reached) as caught:
        run_main(monkeypatch, *TINY, *SGDS, *when, f"output_dir={tmp_path}")
    found = own_frames(caught.tb)
    assert found[0] == "main" and len(found) <= MOST, "\n".join(found)


@pytest.mark.parametrize("rehearses", [True, False])
def test_a_saliency_is_asked_not_far_from_the_command_line(
    tmp_path, monkeypatch, rehearses
) -> None:
    if not rehearses:
        monkeypatch.setattr(run, "rehearse", lambda *_: None)
    monkeypatch.setattr(Magnitude, "score", stop)
    with pytest.raises(Reached) as caught:
        run_main(
            monkeypatch, *TINY, "prune_at=init", "saliency=magnitude", f"output_dir={tmp_path}"
        )
    found = own_frames(caught.tb)
    assert len(found) <= MOST + 4, found
