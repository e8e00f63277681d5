"""Measured latency: what a run notes of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY, only_run, records_of, run_main
from conftest import cases
from forked_ranks import harness_on_ranks
from sharing import SMALL as SHARED
from sharing import SOFT, marked, start
from silent import ME, Silent
from torch import Tensor, nn
from whole_runs import SMALL, TWO_LEVELS

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.metrics.latency import Latency


@cases(
    "wrong, said",
    ({"batch_size": 0}, "batch_size must be a whole number in [1, 65536] or null, got 0"),
    ({"batch_size": "64"}, "batch_size must be a whole number in [1, 65536] or null, got '64'"),
    ({"batch_size": True}, "batch_size must be a whole number in [1, 65536] or null, got True"),
    ({"repeats": 0}, "repeats must be a whole number in [1, 1000000], got 0"),
    ({"repeats": None}, "repeats must be a whole number in [1, 1000000], got None"),
    ({"warm_up": -1}, "warm_up must be a whole number in [0, 1000000], got -1"),
    ({"repeats": 2.0}, "repeats must be a whole number in [1, 1000000], got 2.0"),
)
def test_wrong_values_are_refused_by_name(wrong, said) -> None:
    with pytest.raises(ValueError) as refused:
        Latency(**wrong)
    assert str(refused.value) == said


def test_a_wrong_value_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys) -> None:
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}/runs", "latency.batch_size=0") == 2
    assert (
        "latency.batch_size must be a whole number in [1, 65536] or null, got 0"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "runs").exists()


def timings(runs: Path) -> list[dict[str, Any]]:
    lines = (only_run(runs) / "timings.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def latencies(runs: Path) -> list[dict[str, Any]]:
    return [line for line in timings(runs) if line.get("event") == "latency"]


GEOMETRIC = ("schedule=geometric", "schedule.levels=2", "model.batch_norm=true")
MEASURED = ("latency.batch_size=32", "latency.repeats=3")


@cases("count", 1, 2)
def test_each_result_is_measured_once_and_no_record_changes(tmp_path, count) -> None:
    for name, more in (("plain", ()), ("measured", MEASURED)):
        asked = (*TINY, *GEOMETRIC, *more, "data.train=516", f"output_dir={tmp_path / name}")
        done = harness_on_ranks(count, *asked)
        assert done.returncode == 0, done.stderr

    one, other = (only_run(tmp_path / name) for name in ("plain", "measured"))
    assert one.name == other.name
    assert (one / "records.jsonl").read_bytes() == (other / "records.jsonl").read_bytes()
    assert latencies(tmp_path / "plain") == []
    found = latencies(tmp_path / "measured")
    places = [(line["level"], line["stage"]) for line in found]
    assert places == [(0, "dense"), (1, "finetuned"), (2, "finetuned")]
    for line in found:
        low, median, high = (line[f"milliseconds_{name}"] for name in ("low", "median", "high"))
        assert 0 < low <= median <= high
        assert (line["batch_size"], line["dtype"], line["threads"]) == (32, "float32", 1)
        assert line["device"].startswith("cpu ") and line["world_size"] == count


@cases(
    "more, places",
    (("finetune=none",), [(0, "dense"), (1, "pruned")]),
    (
        ("finetune=none", "recalibration=batch_norm", "model.batch_norm=true"),
        [(0, "dense"), (1, "recalibrated")],
    ),
    (("prune_at=init",), [(0, "initial"), (1, "finetuned")]),
    (("prune_at=during_training", "gradual.interval=1"), [(0, "initial"), (1, "finetuned")]),
    (("penalty=l1",), [(0, "dense"), (1, "finetuned")]),
    # Soft pruning: only the last level's result is the run's.
    ((*TWO_LEVELS, *SOFT, "schedule.final=0.5"), [(0, "dense"), (2, "finetuned")]),
)
def test_the_last_stage_of_a_level_is_its_result(tmp_path, monkeypatch, more, places) -> None:
    assert run_main(monkeypatch, *SMALL, *more, *MEASURED, f"output_dir={tmp_path}") == 0
    assert [(line["level"], line["stage"]) for line in latencies(tmp_path)] == places


@cases("when", "never", "end", "levels")
def test_where_the_run_compacts_the_smaller_network_is_measured(tmp_path, monkeypatch, when):
    units = ("structure=neuron", "allocation=uniform", "allocation.min_units=1")
    asked = (*SMALL, "model.hidden=[6,5]", *units, "schedule.final=0.4", f"compact={when}")
    assert run_main(monkeypatch, *asked, *MEASURED, f"output_dir={tmp_path}") == 0

    dense, pruned = (line["parameters"] for line in latencies(tmp_path))
    records = records_of(only_run(tmp_path))
    assert dense == records[0].parameters == 8 * 6 + 6 + 6 * 5 + 5 + 5 * 4 + 4
    left = 8 * 2 + 2 + 2 * 2 + 2 + 2 * 4 + 4
    assert records[-1].parameters == left
    assert pruned == (dense if when == "never" else left)


class Watched(nn.Module):
    """Notes in which state the forward passes find it."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.seen = inner, list[tuple[int, bool, bool]]()

    def forward(self, inputs: Tensor) -> Tensor:
        torch.randn(3)
        self.seen.append((len(inputs), self.training, torch.is_grad_enabled()))
        return self.inner(inputs)


@pytest.fixture(name="recorder")
def fixture_recorder(tmp_path) -> Recorder:
    """Returns the recorder of a run that has ended."""
    ready = runner.prepare(build(compose_config([*SMALL])), Ranks(), tmp_path)
    recorder = Recorder(*ready, ME, Silent())
    runner.run(recorder)
    return recorder


def test_it_looks_at_whole_batches_in_eval_mode_and_leaves_no_trace(recorder) -> None:
    notes: list[dict[str, Any]] = []
    recorder.sink.log_timing = lambda **facts: notes.append(facts)  # type: ignore[method-assign]
    more_than_there_are = Latency(batch_size=64, repeats=3, warm_up=2)
    network = recorder.state.model = Watched(recorder.state.model)
    network.train()
    streams = torch.get_rng_state()

    replace(recorder, latency=more_than_there_are).measure_latency()

    assert network.seen == [(64, False, False)] * 5
    assert network.training and network.inner.training
    assert torch.get_rng_state().equal(streams)
    assert [note["batch_size"] for note in notes] == [64]


def test_what_cannot_be_measured_is_told_and_the_run_goes_on(recorder, capsys) -> None:
    class Full(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("out of memory\nand so on")

    recorder.state.model = Full()
    replace(recorder, latency=Latency(batch_size=4)).measure_latency()
    said = "warning: level 1 finetuned: latency was not measured: out of memory\n"
    assert capsys.readouterr().err == said


def test_a_run_that_loads_stages_measures_the_last_of_them(tmp_path) -> None:
    short = (*SHARED, *MEASURED, "schedule=constant", "schedule.levels=2")
    deep = (*short, "schedule.levels=3")
    for point, places in ((short, [0, 1, 2]), (deep, [2, 3])):
        folder = start(tmp_path, point, marked([short, deep]))
        lines = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
        assert [line["level"] for line in lines if line.get("event") == "latency"] == places
