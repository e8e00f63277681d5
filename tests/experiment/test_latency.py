"""Measured latency: what a run notes of it."""

import json
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy
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

from harness import extras
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.metrics import layer_times
from harness.metrics.latency import Latency
from harness.system.hardware import cpu_model
from harness.system.signals import Stopped


@cases(
    "wrong, said",
    ({"batch_sizes": 1}, "batch_sizes must be a list of whole numbers in [1, 65536], got 1"),
    ({"batch_sizes": [0]}, "batch_sizes must be a list of whole numbers in [1, 65536], got [0]"),
    ({"batch_sizes": [True]}, "batch_sizes must be a list of whole numbers in [1, 65536], got [T"),
    ({"runtimes": []}, "runtimes must be a list of one of eager, compile, onnxruntime, not empty"),
    ({"runtimes": ["jit"]}, "runtimes must be a list of one of eager, compile, onnxruntime, not"),
    ({"dtypes": ["int8"]}, "dtypes must be a list of one of float64, float32, bfloat16, float16,"),
    ({"threads": [0]}, "threads must be a list of whole numbers in [1, 1024], got [0]"),
    ({"repeats": 0}, "repeats must be a whole number in [1, 1000000], got 0"),
    ({"repeats": None}, "repeats must be a whole number in [1, 1000000], got None"),
    ({"warm_up": -1}, "warm_up must be a whole number in [0, 1000000], got -1"),
    ({"repeats": 2.0}, "repeats must be a whole number in [1, 1000000], got 2.0"),
)
def test_wrong_values_are_refused_by_name(wrong, said) -> None:
    with pytest.raises(ValueError) as refused:
        Latency(**wrong)
    assert str(refused.value).startswith(said)


@cases("wrong", "batch_sizes=[0]", "runtimes=[jit]", "dtypes=[int8]")
def test_a_wrong_value_is_refused_before_anything_is_written(
    wrong, tmp_path, monkeypatch, capsys
) -> None:
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}/runs", f"latency.{wrong}") == 2
    assert f"latency.{wrong.partition('=')[0]} must be a list of " in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_onnxruntime_that_is_missing_is_refused_with_the_command_that_brings_it(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if "onnx" in name else name)
    asked = ("latency.batch_sizes=[1]", "latency.runtimes=[eager,onnxruntime]")
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}/runs", *asked) == 2
    said = "latency.runtimes=[onnxruntime] needs onnx, onnxruntime, onnxscript: pip install "
    assert said + "'pruning-harness[export]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    Latency(runtimes=("onnxruntime",))  # nothing is measured


def test_every_combination_is_measured_once_in_the_runs_own_dtype_and_threads_if_none_is_named():
    own = Latency(batch_sizes=(1, 64, 1)).conditions("float32", 4)
    assert [*own] == [("eager", 1, "float32", 4), ("eager", 64, "float32", 4)]
    asked = Latency((8,), ("eager", "compile"), ("bfloat16",), (1, 2)).conditions("float32", 4)
    assert [*asked] == [
        (runtime, 8, "bfloat16", threads) for runtime in ("eager", "compile") for threads in (1, 2)
    ]


def timings(runs: Path) -> list[dict[str, Any]]:
    lines = (only_run(runs) / "timings.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def latencies(runs: Path) -> list[dict[str, Any]]:
    return [line for line in timings(runs) if line.get("event") == "latency"]


GEOMETRIC = ("schedule=geometric", "schedule.levels=2", "model.batch_norm=true")
MEASURED = ("latency.batch_sizes=[32]", "latency.repeats=3")


@cases("count", 1, 2)
def test_each_result_is_measured_once_and_no_record_changes(tmp_path, count) -> None:
    several = ("latency.batch_sizes=[1,32]", "latency.threads=[3]", "latency.repeats=3")
    for name, more in (("plain", ()), ("measured", several)):
        asked = (*TINY, *GEOMETRIC, *more, "data.train=516", f"output_dir={tmp_path / name}")
        done = harness_on_ranks(count, *asked)
        assert done.returncode == 0, done.stderr

    one, other = (only_run(tmp_path / name) for name in ("plain", "measured"))
    assert one.name == other.name
    assert (one / "records.jsonl").read_bytes() == (other / "records.jsonl").read_bytes()
    assert latencies(tmp_path / "plain") == []
    found = latencies(tmp_path / "measured")
    places = [(line["level"], line["stage"], line["batch_size"]) for line in found]
    stages = ((0, "dense"), (1, "finetuned"), (2, "finetuned"))
    assert places == [(*stage, size) for stage in stages for size in (1, 32)]
    for line in found:
        for what in ("milliseconds", "dense_milliseconds", "speedup"):
            low, median, high = (line[f"{what}_{name}"] for name in ("low", "median", "high"))
            assert 0 < low <= median <= high
        assert (line["runtime"], line["dtype"], line["threads"]) == ("eager", "float32", 3)
        assert line["device"] == f"cpu {cpu_model()}" and line["torch"] == torch.__version__
        assert line["world_size"] == count


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


@cases(
    "when, said",
    ("never", "multiplied as zeros; cut them out with compact=levels"),
    ("levels", "not explained: no clock"),
)
def test_a_result_far_from_its_theoretical_speedup_says_why(
    tmp_path, monkeypatch, capsys, when, said
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("no clock")

    # Of so small a network no pass is ten times as fast.
    monkeypatch.setattr(layer_times, "PassTimes", broken)
    units = ("structure=neuron", "allocation=uniform", "allocation.min_units=1")
    asked = (*SMALL, "model.hidden=[60,50]", *units, "schedule.final=0.1", f"compact={when}")
    assert run_main(monkeypatch, *asked, *MEASURED, f"output_dir={tmp_path}") == 0
    dense, left = latencies(tmp_path)
    assert dense["why_slow"] is None and left["why_slow"].endswith(said)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.endswith(said)]
    assert line.startswith("warning: level 1 finetuned: latency (eager, batch 32, ")


@cases("when", "never", "end", "levels")
def test_where_the_run_compacts_the_smaller_network_is_measured(tmp_path, monkeypatch, when):
    units = ("structure=neuron", "allocation=uniform", "allocation.min_units=1")
    asked = (*SMALL, "model.hidden=[6,5]", *units, "schedule.final=0.4", f"compact={when}")
    assert run_main(monkeypatch, *asked, *MEASURED, f"output_dir={tmp_path}") == 0

    first, last = latencies(tmp_path)
    records = records_of(only_run(tmp_path))
    dense, left = 8 * 6 + 6 + 6 * 5 + 5 + 5 * 4 + 4, 8 * 2 + 2 + 2 * 2 + 2 + 2 * 4 + 4
    assert (records[0].parameters, records[-1].parameters) == (dense, left)
    measured = dense if when == "never" else left
    assert [line["parameters"] for line in (first, last)] == [dense, measured]
    assert [line["dense_parameters"] for line in (first, last)] == [dense, dense]
    assert (last["dense_file_bytes"], last["file_bytes"]) == (4 * dense, 4 * measured)
    # At 32 samples of 8 numbers the first layer and its ReLU are the widest.
    width = 6 if when == "never" else 2
    assert last["dense_peak_bytes"] == 4 * (dense + 32 * 8 + 2 * 32 * 6)
    assert last["peak_bytes"] == 4 * (measured + 32 * 8 + 2 * 32 * max(width, 3))


class Watched(nn.Module):
    """Notes in which state the forward passes find it, and draws from all random streams."""

    seen: ClassVar[list[tuple[int, bool, bool]]] = []

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        torch.randn(3), numpy.random.rand(), random.random()
        self.seen.append((len(inputs), self.training, torch.is_grad_enabled()))
        self.last = self.inner(inputs)
        return self.last


@pytest.fixture(name="recorder")
def fixture_recorder(tmp_path) -> Recorder:
    """Returns the recorder of a run that has ended."""
    ready = runner.prepare(build(compose_config([*SMALL])), Ranks(), tmp_path)
    recorder = Recorder(*ready, ME, Silent())
    runner.run(recorder)
    return recorder


def measured(recorder: Recorder, latency: Latency) -> list[dict[str, Any]]:
    """Returns the events of this run's last record."""
    events: list[dict[str, Any]] = []
    recorder.sink.log_timing = lambda **facts: events.append(facts)  # type: ignore[method-assign]
    replace(recorder, latency=latency).measure_latency()
    return events


def test_it_looks_at_whole_batches_in_eval_mode_and_leaves_no_trace(recorder) -> None:
    network = recorder.state.model = Watched(recorder.state.model)
    network.seen.clear()
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    masks = {name: mask.clone() for name, mask in recorder.state.masks.masks.items()}
    streams = torch.get_rng_state(), str(numpy.random.get_state()), random.getstate()
    threads = torch.get_num_threads()

    more_than_there_are = Latency((64,), threads=(threads + 1,), repeats=3, warm_up=2)
    events = measured(recorder, more_than_there_are)

    # The first pass, the one for memory, and the rounds.
    assert network.seen[:7] == [(64, False, False)] * (1 + 1 + 5)
    # Those that say why it is slow: a count, and at twice the batch too.
    assert {*network.seen[7:]} <= {(samples, False, False) for samples in (1, 64, 128)}
    assert network.training and network.inner.training and not hasattr(network, "last")
    assert all(before[name].equal(tensor) for name, tensor in network.state_dict().items())
    assert all(masks[name].equal(mask) for name, mask in recorder.state.masks.masks.items())
    assert torch.get_rng_state().equal(streams[0])
    assert (str(numpy.random.get_state()), random.getstate()) == streams[1:]
    assert torch.get_num_threads() == threads
    assert [event["batch_size"] for event in events] == [64]


def test_what_cannot_be_measured_is_named_and_all_else_is_measured(recorder, capsys) -> None:
    class Picky(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            if inputs.dtype is torch.float16:
                raise RuntimeError('"relu" not implemented for Half\nand so on')
            if len(inputs) > 4:
                raise torch.OutOfMemoryError("out of memory\nand so on")
            return inputs

    recorder.state.model = Picky()
    asked = Latency((4, 5), dtypes=("float32", "float16"), repeats=1)
    events = measured(recorder, asked)

    warnings = capsys.readouterr().err.splitlines()
    assert [event.get("not_measured") for event in events] == [
        None,
        "out of memory",
        *2 * ['"relu" not implemented for Half'],
    ]
    how = f"float32, threads {torch.get_num_threads()}"
    assert warnings[0] == (
        f"warning: level 1 finetuned: latency (eager, batch 5, {how}) was not measured: "
        "out of memory"
    )
    assert len(warnings) == 3
    assert "speedup_median" in events[0] and "speedup_median" not in events[1]
    assert events[1]["device"] == events[0]["device"]


def test_a_dense_model_that_cannot_be_built_anew_stops_no_run(recorder, capsys) -> None:
    workload = replace(recorder.context.workload, weights="gone.safetensors")
    without: Any = replace(recorder, context=replace(recorder.context, workload=workload))
    (event,) = measured(without, Latency((4,)))
    assert "gone.safetensors" in event["not_measured"] and event["device"].startswith("cpu ")
    assert "was not measured: " in capsys.readouterr().err


def test_a_stop_signal_ends_the_measuring_between_two_slices(recorder) -> None:
    class Stopping:
        asked = 0

        def raise_if_stopped(self) -> None:
            self.asked += 1
            if self.asked == 2:
                raise Stopped(signal.SIGTERM)

    threads = torch.get_num_threads()
    stopped: Any = replace(recorder, context=replace(recorder.context, checkpointer=Stopping()))
    with pytest.raises(Stopped):
        measured(stopped, Latency((4,), threads=(threads + 1,), repeats=10**6))
    assert torch.get_num_threads() == threads


def test_a_run_that_loads_stages_measures_the_last_of_them(tmp_path) -> None:
    short = (*SHARED, *MEASURED, "schedule=constant", "schedule.levels=2")
    deep = (*short, "schedule.levels=3")
    for point, places in ((short, [0, 1, 2]), (deep, [2, 3])):
        folder = start(tmp_path, point, marked([short, deep]))
        lines = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
        assert [line["level"] for line in lines if line.get("event") == "latency"] == places
