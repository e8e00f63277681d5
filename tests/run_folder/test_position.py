"""progress.json, in a run's folder while it works."""

import json

import pytest
from command import TINY, only_run, run_main

from harness.run_folder import progress_file
from harness.run_folder.followers import Sinks
from harness.run_folder.progress_file import FILE, ProgressFile, RunProgress
from harness.task.shared.measures import TOP1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_tells_level_epoch_and_accuracy_and_what_of_the_run_is_done(tmp_path) -> None:
    clock = Clock()
    file = ProgressFile(tmp_path, clock)
    file.begin(levels=3, epochs=8)
    assert progress_file.read(tmp_path) == RunProgress(3, 8, began_unix_s=100, at_unix_s=100)
    clock.now = 110
    file.epoch(level=1, epoch=2, epochs=4, value=0.75)

    assert json.loads((tmp_path / FILE).read_text()) == {
        "level": 1, "levels": 3, "epoch": 2, "epochs": 4, "epochs_done": 1, "epochs_in_all": 8,
        "value": 0.75, "measure": [*TOP1], "began_unix_s": 100, "at_unix_s": 110,
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_is_written_once_a_second_but_the_last_one_in_any_case(tmp_path) -> None:
    clock = Clock()
    file = ProgressFile(tmp_path, clock)
    file.begin(levels=1, epochs=30)
    written = []
    for epoch in range(1, 31):
        clock.now += 0.25
        file.epoch(1, epoch, 30, 0.5)
        found = progress_file.read(tmp_path)
        written.append(found.epoch if found else None)
    assert written[:9] == [0, 0, 0, 4, 4, 4, 4, 8, 8]

    file.close(done=False)
    last = progress_file.read(tmp_path)
    assert last and (last.epoch, last.epochs_done) == (30, 30)


def test_nobody_knows_how_long_it_takes_before_the_first_epoch() -> None:
    at = RunProgress(1, epochs_in_all=10, began_unix_s=0, at_unix_s=0)
    assert at.seconds_left(now=5) is None


def test_found_epochs_are_no_longer_to_be_trained(tmp_path) -> None:
    clock = Clock()
    file = ProgressFile(tmp_path, clock)
    file.begin(levels=2, epochs=10)
    file.skip_epochs(6)
    clock.now = 104
    file.epoch(2, 1, 4, 0.5)
    at = progress_file.read(tmp_path)
    assert at and (at.epochs_done, at.epochs_in_all) == (1, 4)
    assert at.seconds_left(now=104) == 12.0


def test_time_left_goes_on_between_two_epochs_and_is_never_negative() -> None:
    at = RunProgress(1, epochs_in_all=4, began_unix_s=0, at_unix_s=20, epochs_done=2)
    assert [at.seconds_left(now) for now in (20, 25, 1000)] == [20, 15, 0]
    assert at.seconds_left(now=0) == 20  # a clock that is behind


def test_a_clock_that_was_set_back_does_not_silence_it(tmp_path) -> None:
    clock = Clock()
    file = ProgressFile(tmp_path, clock)
    file.begin(1, 2)
    clock.now = 10
    file.epoch(1, 1, 2, 0.5)
    at = progress_file.read(tmp_path)
    assert at and at.epoch == 1 and at.seconds_left(now=10) == 0


def test_what_cannot_be_written_stops_nothing(tmp_path) -> None:
    file = ProgressFile(tmp_path / "gone")
    file.begin(1, 1)
    file.epoch(1, 1, 1, 0.5)
    file.close(done=False)
    file.close(done=True)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"level": 1}'])
def test_what_cannot_be_read_is_no_position(tmp_path, content) -> None:
    assert progress_file.read(tmp_path) is None
    (tmp_path / FILE).write_text(content)
    assert progress_file.read(tmp_path) is None


def test_a_run_leaves_its_position_where_it_stopped_and_none_when_it_is_done(tmp_path, monkeypatch):
    asked = (*TINY, "retraining.epochs=2", f"output_dir={tmp_path}")

    def failing(sinks: Sinks, level: int, epoch: int, *rest: float) -> None:
        show(sinks, level, epoch, *rest)
        if (level, epoch) == (1, 2):
            raise RuntimeError

    show = Sinks.epoch
    with monkeypatch.context() as patch:
        patch.setattr(Sinks, "epoch", failing)
        with pytest.raises(RuntimeError):
            run_main(monkeypatch, *asked)
    at = progress_file.read(only_run(tmp_path))
    assert at and (at.level, at.levels, at.epoch, at.epochs) == (1, 1, 2, 2)
    assert (at.epochs_done, at.epochs_in_all) == (4, 4)
    assert at.value is not None and 0 <= at.value <= 1

    assert run_main(monkeypatch, *asked) == 0
    assert not (only_run(tmp_path) / FILE).exists()
