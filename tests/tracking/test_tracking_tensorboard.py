"""Tests TensorBoard's event files, read back with TensorBoard's own reader."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from tracking_fakes import info, record, track

from harness.run_folder.records import Record
from harness.tracking.tensorboard import TensorBoard

CONF = ROOT / "conf" / "tracking" / "tensorboard.yaml"
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is missing"
)


def read(folder: Path) -> Any:
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    return events.Reload()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(one.step, round(one.value, 4)) for one in read(folder).Scalars(name)]


def finetuned(*losses: float) -> Record:
    return replace(record(1, "finetuned"), epoch_losses=[*losses], epoch_validation=[*losses])


def test_tensorboard_draws_levels_over_1000_times_the_compression(tmp_path) -> None:
    track(TensorBoard(), tmp_path)
    assert scalars(tmp_path, "finetuned/top1") == [(2000, 0.9), (4000, 0.9)]
    assert scalars(tmp_path, "pruned/layers/conv.weight") == [(2000, 0.5), (4000, 0.25)]


def test_tensorboard_draws_learning_curves_over_the_epochs_of_the_run(tmp_path) -> None:
    with TensorBoard().open(info(tmp_path)) as sink:
        sink.epoch(1, 1, 0.5, 0.25)
        sink.log(finetuned(0.5, 0.75))
        sink.epoch(2, 1, 0.125, 0.5)
    assert scalars(tmp_path, "training/loss") == [(1, 0.5), (2, 0.75), (3, 0.125)]
    assert scalars(tmp_path, "training/validation_top1") == [(1, 0.25), (2, 0.75), (3, 0.5)]


def test_tensorboard_run_that_is_started_again_writes_no_row_twice(tmp_path) -> None:
    with pytest.raises(KeyError), TensorBoard().open(info(tmp_path)) as sink:
        sink.log(record(1, "pruned"))
        sink.epoch(1, 1, 0.5, 0.5)
        raise KeyError
    with TensorBoard().open(replace(info(tmp_path), earlier=(record(1, "pruned"),))) as sink:
        sink.epoch(1, 1, 0.5, 0.5)
        sink.epoch(1, 2, 0.25, 0.5)
        sink.log(finetuned(0.5, 0.25))

    assert scalars(tmp_path, "pruned/top1") == [(2000, 0.4)]
    assert scalars(tmp_path, "training/loss") == [(1, 0.5), (2, 0.25)]
    assert len(read(tmp_path).Tensors("config/text_summary")) == 1


def test_tensorboard_run_that_is_done_again_replaces_its_rows(tmp_path) -> None:
    for _ in range(2):
        track(TensorBoard(), tmp_path)
    assert scalars(tmp_path, "finetuned/top1") == [(2000, 0.9), (4000, 0.9)]


def test_tensorboard_has_the_config_as_text_and_as_hyperparameters(tmp_path) -> None:
    track(TensorBoard(), tmp_path)
    events = read(tmp_path)
    (text,) = events.Tensors("config/text_summary")
    assert b'"seed": 7' in text.tensor_proto.string_val[0]
    started = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"schedule.levels" in started
    assert [value for _, value in scalars(tmp_path, "hparam/top1")] == [0.9]


def test_tensorboard_leaves_out_layers_where_not_asked_for(tmp_path) -> None:
    track(TensorBoard(layers=False), tmp_path)
    assert not [name for name in read(tmp_path).Tags()["scalars"] if "/layers/" in name]


def test_tensorboard_without_room_stops_nothing_and_says_so_once(tmp_path, capsys) -> None:
    (tmp_path / "tensorboard").write_text("")
    track(TensorBoard(), tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: TensorBoard cannot start; this run continues without it: ")


def test_tensorboard_whose_disk_fills_up_stops_nothing_and_says_so_once(
    tmp_path, monkeypatch, capsys
) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "flush", full)
    track(TensorBoard(), tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: TensorBoard lacks data of this run (records.jsonl is complete)"
    )


def test_tensorboard_passes_on_the_runs_own_failure(tmp_path) -> None:
    with pytest.raises(KeyError), TensorBoard().open(info(tmp_path)) as sink:
        sink.log(record(1, "pruned"))
        raise KeyError
    assert scalars(tmp_path, "pruned/top1") == [(2000, 0.4)]


def test_tensorboard_is_refused_where_the_package_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'pruning-harness\[tensorboard\]'"):
        TensorBoard()


def test_tensorboard_conf_has_the_defaults_of_the_class() -> None:
    values = yaml.safe_load(CONF.read_text())
    assert values.pop("_target_") == f"{TensorBoard.__module__}.{TensorBoard.__name__}"
    assert TensorBoard(**values) == TensorBoard()
