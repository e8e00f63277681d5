from dataclasses import replace
from io import StringIO

import pytest
from tracking_fakes import record

from harness.run_folder.console import Progress

RECORD = record(2, "finetuned")


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def show(mode: str, stream: StringIO) -> str:
    clock = Clock()
    with Progress(mode, stream, clock) as progress:
        progress.start(levels=5, epochs_in_all=40)
        clock.seconds = 11
        progress.epoch(level=2, epoch=3, epochs=10, loss=0.5, value=0.875)
        progress.log(RECORD)
    return stream.getvalue()


def test_plain_lines_hold_level_stage_compression_accuracy_and_loss() -> None:
    epoch, scope, line = show("plain", StringIO()).splitlines()

    assert scope == "what is pruned: weights"
    assert epoch == "level 2/5  epoch 3/10  loss 0.5000  validation 87.50 %"
    assert line == (
        "Global Magnitude seed 7  level 2/5 finetuned  compression 3.98  top-1 90.00 %  loss 0.2500"
    )


def test_a_run_says_once_that_the_output_layer_is_pruned_and_what_spares_it() -> None:
    stream = StringIO()
    pruned = replace(RECORD, density_of="weights, with output layer fc3")
    with Progress("plain", stream, Clock()) as progress:
        for level in (0, 1, 2):
            progress.log(replace(pruned, level=level))
    first, *others = stream.getvalue().splitlines()
    assert first == (
        "what is pruned: weights, with output layer fc3; exclude=[last] leaves it whole"
    )
    assert len(others) == 3 and not any("output layer" in line for line in others)


def test_plain_lines_come_for_every_record_but_at_most_every_ten_seconds_for_epochs() -> None:
    stream, clock = StringIO(), Clock()
    with Progress("plain", stream, clock) as progress:
        progress.start(levels=1, epochs_in_all=100)
        for epoch in range(1, 101):
            clock.seconds += 0.25
            progress.epoch(level=1, epoch=epoch, epochs=100, loss=0.5, value=0.5)
        progress.log(RECORD)
        progress.log(replace(RECORD, level=3))

    assert [line[:22] for line in stream.getvalue().splitlines()] == [
        "level 1/1  epoch 40/10",
        "level 1/1  epoch 80/10",
        "what is pruned: weight",
        "Global Magnitude seed ",
        "Global Magnitude seed ",
    ]


def test_none_is_silent() -> None:
    assert show("none", StringIO()) == ""


def test_bar_shows_level_epoch_accuracy_and_time_left_on_a_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    shown = show("bar", StringIO())

    for part in (
        "level 2/5",
        "epoch 3/10",
        "loss 0.5000",
        "validation 87.50 %",
        "-:--:--",
        "\x1b[",
    ):
        assert part in shown
    assert "-:--:--" in shown and "top-1 90.00 %" in shown


@pytest.mark.parametrize(("epochs", "full"), [(1, False), (2, True)])
def test_bar_is_full_after_as_many_epochs_as_there_are(epochs, full) -> None:
    stream = StringIO()
    with Progress("bar", stream) as progress:
        progress.start(levels=1, epochs_in_all=2)
        for epoch in range(1, epochs + 1):
            progress.epoch(level=1, epoch=epoch, epochs=2, loss=0.5, value=0.5)
    assert ("0:00:00" in stream.getvalue()) is full


def test_bar_survives_a_run_without_training() -> None:
    with Progress("bar", StringIO()) as progress:
        progress.start(levels=1, epochs_in_all=0)
        progress.log(RECORD)


def test_bar_lets_an_exception_pass() -> None:
    with pytest.raises(KeyError), Progress("bar", StringIO()) as progress:
        progress.start(levels=1, epochs_in_all=1)
        raise KeyError


@pytest.mark.parametrize("stream, escapes", [(Terminal(), True), (StringIO(), False)])
def test_auto_draws_a_bar_on_a_terminal_only(stream, escapes, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert ("\x1b" in show("auto", stream)) == escapes


def test_auto_is_plain_on_a_terminal_that_cannot_move_its_cursor(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in show("auto", Terminal())


def test_unknown_mode_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="progress must be one of .*, got 'bars'"):
        Progress("bars")
