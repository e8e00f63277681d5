"""Rows of records and epochs: their numbers, their steps, and that none is sent twice."""

from dataclasses import replace
from pathlib import Path

import pytest
import wandb
import wandb_log
from tracking_fakes import FakeRun, info, record

from harness.run_folder.records import Record
from harness.tracking.rows import EpochCounter, Steps
from harness.tracking.sent_rows import SentRows
from harness.tracking.wandb import Wandb

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")


def dense(*losses: float) -> Record:
    top1 = [1 - loss for loss in losses]
    whole = replace(record(1, "dense"), level=0, requested_compression=1.0, compression=1.0)
    return replace(whole, epoch_losses=[*losses], epoch_validation=top1, density=1.0)


def finetuned(level: int, *losses: float) -> Record:
    return replace(record(level, "finetuned"), epoch_losses=[*losses], epoch_validation=None)


def epochs(folder: Path) -> list[tuple[int, int, float]]:
    """Returns (epoch, level, loss) of every epoch row below the folder, oldest first."""
    rows = [row for log in wandb_log.logs(folder) for row in log.history if "epoch" in row]
    return [(row["epoch"], row["level"], row["training/loss"]) for row in rows]


def stages(folder: Path) -> list[str]:
    rows = [row for log in wandb_log.logs(folder) for row in log.history]
    return [name for row in rows for name in row if name.endswith("/top1")]


def test_epochs_are_counted_over_the_trainings_of_a_run() -> None:
    counter = EpochCounter()
    assert [one.number for one in counter.end(dense(0.5, 0.4))] == [1, 2]
    counter.end(record(1, "pruned"))
    assert counter.live(1, 1, 0.3, 0.7).number == 3
    assert [one.number for one in counter.end(finetuned(1, 0.3, 0.2, 0.1))] == [3, 4, 5]
    assert counter.live(2, 1, 0.3, 0.7).number == 6


def test_an_epoch_says_how_compressed_the_network_was_that_it_trained() -> None:
    counter = EpochCounter()
    assert [one.compression for one in counter.end(dense(0.5))] == [1.0]
    counter.end(record(1, "pruned"))
    assert [one.compression for one in counter.end(finetuned(1, 0.3))] == [1.99]


def test_a_training_without_a_curve_is_counted_by_its_epochs() -> None:
    counter = EpochCounter()
    counter.end(replace(record(1, "dense"), epochs=2.5))
    assert counter.live(1, 1, 0.3, 0.7).number == 4


def test_a_curve_that_was_only_seen_live_is_counted_too() -> None:
    counter = EpochCounter()
    for epoch in (1, 2, 3, 4):
        counter.live(0, epoch, 0.5, 0.5)
    counter.end(replace(record(1, "dense"), epochs=2))
    assert counter.live(1, 1, 0.3, 0.7).number == 5


def test_levels_inside_one_training_do_not_end_it() -> None:
    counter = EpochCounter()
    counter.live(1, 1, 0.5, 0.5)
    counter.end(replace(record(1, "pruned"), epochs=1, is_intermediate=True))
    counter.end(replace(record(2, "pruned"), epochs=0.5))
    assert counter.live(2, 2, 0.4, 0.6).number == 2
    assert [one.number for one in counter.end(finetuned(2, 0.5, 0.4))] == [1, 2]


def test_a_training_goes_on_after_a_level_that_only_a_later_one_ends() -> None:
    counter = EpochCounter()
    counter.live(1, 1, 0.5, 0.5)
    counter.end(replace(record(1, "finetuned"), epochs=1, is_intermediate=True))
    assert counter.live(2, 2, 0.4, 0.6).number == 2


def test_a_record_gets_1000_times_its_compression_and_an_epoch_the_next_free_step() -> None:
    steps = Steps()
    assert [steps.next(), steps.of(record(1, "pruned")), steps.next()] == [0, 2000, 2001]
    assert steps.of(record(1, "finetuned")) == 2002
    assert steps.of(record(2, "pruned")) == 4000


def test_steps_rise_even_where_the_compression_does_not() -> None:
    steps = Steps(free=4001)
    assert [steps.of(record(level, "pruned")) for level in (1, 2, 3)] == [4001, 4002, 8000]


def test_a_line_that_a_kill_cut_off_does_not_count_as_sent(tmp_path) -> None:
    (tmp_path / "sent").write_text("7 epoch 1\n8 epoch 1")
    sent = SentRows(tmp_path / "sent")
    assert ("epoch 1" in sent, len(sent.keys), sent.free) == (True, 1, 8)


def test_a_damaged_line_of_what_was_sent_is_left_out(tmp_path) -> None:
    # As a crash of the machine leaves it.
    (tmp_path / "sent").write_bytes(b"\0\0\0 level 1 pruned\n\xff\n7 level 1 finetuned\n")
    sent = SentRows(tmp_path / "sent")
    assert (sent.keys, sent.free) == ({"level 1 finetuned"}, 8)


def test_wandb_gets_epochs_as_they_happen_and_the_others_from_the_record(tmp_path) -> None:
    with Wandb().open(info(tmp_path)) as sink:
        sink.log(dense(0.5, 0.4))  # from the cache
        sink.log(record(1, "pruned"))
        sink.epoch(1, 1, 0.3, 0.7)
        sink.log(finetuned(1, 0.3, 0.2))

    assert epochs(tmp_path) == [(1, 0, 0.5), (2, 0, 0.4), (3, 1, 0.3), (4, 1, 0.2)]
    (log,) = wandb_log.logs(tmp_path)
    steps = [row["_step"] for row in log.history]
    assert steps == sorted(set(steps))
    first = next(row for row in log.history if "epoch" in row)
    assert first["training/validation_top1"] == 0.5


def test_wandb_run_that_is_started_again_sends_no_row_twice(tmp_path) -> None:
    with pytest.raises(KeyError), Wandb().open(info(tmp_path)) as sink:
        sink.log(dense(0.5, 0.4))
        sink.log(record(1, "pruned"))
        sink.epoch(1, 1, 0.3, 0.7)
        sink.epoch(1, 2, 0.2, 0.8)
        raise KeyError

    # The checkpoint that it goes on from is older than what it has sent.
    with Wandb().open(replace(info(tmp_path), earlier=(dense(0.5, 0.4),))) as sink:
        sink.log(record(1, "pruned"))
        sink.epoch(1, 2, 0.2, 0.8)
        sink.epoch(1, 3, 0.1, 0.9)
        sink.log(finetuned(1, 0.3, 0.2, 0.1))

    expected = [(1, 0, 0.5), (2, 0, 0.4), (3, 1, 0.3), (4, 1, 0.2), (5, 1, 0.1)]
    assert epochs(tmp_path) == expected
    assert stages(tmp_path) == ["dense/top1", "pruned/top1", "finetuned/top1"]
    first, second = wandb_log.logs(tmp_path)
    assert first.id == second.id
    assert second.history[0]["_step"] > first.history[-2]["_step"]
    assert len(second.tables["layers"]["data"]) == 6


def test_wandb_gets_later_what_an_earlier_start_could_not_send(tmp_path) -> None:
    earlier = (dense(0.5), record(1, "pruned"))
    with Wandb().open(replace(info(tmp_path), earlier=earlier)) as sink:
        sink.log(finetuned(1, 0.3))

    assert stages(tmp_path) == ["dense/top1", "pruned/top1", "finetuned/top1"]
    assert epochs(tmp_path) == [(1, 0, 0.5), (2, 1, 0.3)]


def test_wandb_finished_run_that_is_done_again_is_sent_again(tmp_path) -> None:
    for _ in range(2):
        with Wandb().open(info(tmp_path)) as sink:
            sink.log(record(1, "pruned"))
    assert stages(tmp_path) == ["pruned/top1", "pruned/top1"]


def test_wandb_run_that_continues_an_id_begins_after_its_last_step(tmp_path, monkeypatch) -> None:
    run = FakeRun(tmp_path)
    run.starting_step = 5000
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    with Wandb().open(info(tmp_path)) as sink:
        sink.epoch(1, 1, 0.5, 0.5)
        sink.log(record(1, "finetuned"))
    assert [row["step"] for row in run.rows] == [5000, 5001, 5002]


def test_wandb_dense_rows_are_sent_by_the_first_run_of_a_survey_only(tmp_path) -> None:
    for name in ("a", "b", "a"):
        with Wandb().open(info(tmp_path / name, sweep=tmp_path)) as sink:
            sink.log(dense(0.5))
            sink.log(finetuned(1, 0.3))

    assert stages(tmp_path / "b") == ["finetuned/top1"]
    assert epochs(tmp_path / "b") == [(2, 1, 0.3)]
    assert stages(tmp_path / "a") == ["dense/top1", "finetuned/top1"] * 2


def test_wandb_dense_rows_are_sent_again_where_the_first_runs_files_are_gone(tmp_path) -> None:
    for name in ("a", "b"):
        with Wandb().open(info(tmp_path / name, sweep=tmp_path)) as sink:
            sink.log(dense(0.5))
        (tmp_path / name / "wandb").rename(tmp_path / name / "moved")
    moved = [log for log in wandb_log.logs(tmp_path / "b", "moved")]
    assert [len([row for row in log.history if "epoch" in row]) for log in moved] == [1]


def test_wandb_levels_inside_one_training_get_a_row_each(tmp_path) -> None:
    shrinking = [replace(record(level, "pruned"), is_intermediate=level < 3) for level in (1, 2, 3)]
    with Wandb().open(info(tmp_path)) as sink:
        for one in [*shrinking, record(3, "finetuned")]:
            sink.log(one)

    (log,) = wandb_log.logs(tmp_path)
    rows = [row for row in log.history if "layers" not in row]
    assert [(row["_step"], row["level"]) for row in rows] == [
        (2000, 1), (4000, 2), (8000, 3), (8001, 3),
    ]  # fmt: skip
