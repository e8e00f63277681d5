"""What the helpers of these tests promise."""

import signal
import subprocess
from pathlib import Path

import kinds
import pytest
from command import TINY, harness, run_main
from handlers import as_before, changed, handlers

from harness.system.signals import stop_on_signals


@pytest.mark.parametrize("last", ["training.epochs=0", "training.batch_size=0"])
def test_a_command_in_this_process_leaves_its_signal_handlers_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    with as_before():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        before = handlers()
        run_main(monkeypatch, *TINY, last, f"runs={tmp_path}")
        assert handlers() == before


def test_handlers_that_a_test_leaves_behind_are_named_and_put_back() -> None:
    before = handlers()
    stop_on_signals()

    assert changed(before) == ["SIGINT", "SIGUSR1", "SIGTERM"]
    assert handlers() == before and changed(before) == []


def _in_a_process() -> None:
    subprocess.run(["true"], check=True)


def _on_two_ranks() -> None:
    harness("seed=0", ranks=2)


def test_what_starts_a_process_is_told_from_what_it_reaches(request: pytest.FixtureRequest) -> None:
    def through_another() -> None:
        _in_a_process()

    found = [kinds.started(each) for each in (through_another, _on_two_ranks, as_before)]
    assert found == [{"process"}, {"process", "ranks"}, set()]
    assert {mark.name for mark in request.node.iter_markers()} == {"process", "ranks"}
