"""Models made ready in eager torch, torch.compile and onnxruntime, and measured in turns."""

from typing import Any

import torch
from conftest import cases
from torch import Tensor, nn

from harness.delivery import runtimes
from harness.experiment.results.timed_pair import Models, timed_pair
from harness.metrics.latency import Conditions, Latency


def net(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2)).train()


PAIR = Models(net(16), net(4), runtimes.OnnxFiles())


def measured(runtime: str, models: Models = PAIR, dtype: str = "float32") -> dict[str, Any]:
    conditions = Conditions(runtime, 3, dtype, torch.get_num_threads())
    with torch.no_grad():
        *slices, event = timed_pair(models, torch.rand(3, 8), conditions, Latency(repeats=2))
    assert event and slices == [None] * len(slices) and len(slices) >= 4
    return event


def test_a_file_for_onnxruntime_is_measured_with_its_size() -> None:
    event = measured("onnxruntime")
    assert event["onnxruntime"].split(".")[0].isdecimal()
    assert 0 < event["milliseconds_low"] <= event["milliseconds_high"]
    # Less than twice the weights, which a graph of a kilobyte or so comes beside.
    assert 4 * 58 < event["file_bytes"] < event["dense_file_bytes"]
    assert event["peak_bytes"] is event["dense_peak_bytes"] is None
    assert PAIR.dense.training


def test_a_model_is_exported_once_for_all_batch_sizes_and_threads(monkeypatch) -> None:
    written: list[torch.dtype] = []
    write = runtimes.write_formats

    def counted(model: nn.Module, *rest: Any) -> Any:
        written.append(next(model.parameters()).dtype)
        return write(model, *rest)

    monkeypatch.setattr(runtimes, "write_formats", counted)
    files, model, inputs = runtimes.OnnxFiles(), net(4), torch.rand(3, 8)
    with torch.no_grad():
        for batch, threads in ((1, 1), (3, 1), (3, 2)):
            runtimes.make_ready(
                "onnxruntime", model, inputs[:batch], torch.float32, threads, files
            ).run()
        runtimes.make_ready("onnxruntime", model, inputs, torch.float64, 1, files)
    assert written == [torch.float32, torch.float64] and model.training


@cases(
    "runtime, dtype, reason",
    ("onnxruntime", "bfloat16", "onnxruntime is measured in float32 and float64 only"),
    (
        "onnxruntime",
        "float32",
        "export: torch.export cannot trace Odd with a batch of any size (RuntimeError: odd)",
    ),
    ("eager", "float32", "odd"),
)
def test_what_a_runtime_cannot_run_is_said_in_one_line(runtime, dtype, reason) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("odd\nand so on")

    conditions = Conditions(runtime, 1, dtype, torch.get_num_threads())
    with torch.no_grad():
        models = Models(Odd(), Odd(), runtimes.OnnxFiles())
        *_, event = timed_pair(models, torch.rand(1, 8), conditions, Latency())
    assert event and event["not_measured"] == reason


def test_each_half_precision_runs_in_a_copy() -> None:
    event = measured("eager", dtype="bfloat16")
    assert event["dense_file_bytes"] == 2 * (8 * 16 + 16 + 16 * 2 + 2)
    assert {parameter.dtype for parameter in PAIR.dense.parameters()} == {torch.float32}


def test_compiled_models_are_those_that_run_and_the_compiler_forgets_them(monkeypatch) -> None:
    compiled: list[tuple[int, bool]] = []
    forgotten: list[int] = []

    def compile_(model: Any, dynamic: bool) -> Any:
        def run(inputs: Tensor) -> Any:
            compiled.append((model[0].out_features, dynamic))
            return model(inputs)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(torch.compiler, "reset", lambda: forgotten.append(1))
    event = measured("compile")
    # Each runs once to compile, then in five rounds of warming up and two timed ones.
    assert sorted(compiled) == [(4, False)] * 8 + [(16, False)] * 8
    assert event["runtime"] == "compile" and event["peak_bytes"] is None
    assert forgotten == [1]


def test_no_compiler_is_a_reason(monkeypatch) -> None:
    def compile_(model: Any, dynamic: bool) -> Any:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO")

    monkeypatch.setattr(torch, "compile", compile_)
    conditions = Conditions("compile", 1, "float32", 1)
    *_, event = timed_pair(PAIR, torch.rand(1, 8), conditions, Latency())
    assert event and event["not_measured"].endswith(
        "InvalidCxxCompiler: No working C++ compiler found"
    )


def test_a_ready_model_is_a_copy_in_eval_mode() -> None:
    ready = runtimes.make_ready("eager", PAIR.dense, torch.rand(1, 8), torch.float64, 1, PAIR.files)
    assert ready.model is not PAIR.dense and not ready.model.training
    assert next(ready.model.parameters()).dtype is torch.float64


def test_a_compiler_that_is_there_compiles() -> None:
    event = measured("compile")
    assert 0 < event["speedup_low"] <= event["speedup_high"]


def test_both_models_run_with_the_threads_of_the_conditions_and_others_stay_as_they_were() -> None:
    class Counting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            threads.add(torch.get_num_threads())
            return super().forward(x)

    threads: set[int] = set()
    before = torch.get_num_threads()
    models = Models(Counting(8, 2), Counting(8, 2), runtimes.OnnxFiles())
    conditions = Conditions("eager", 1, "float32", before + 1)
    with torch.no_grad():
        *_, event = timed_pair(models, torch.rand(1, 8), conditions, Latency(repeats=1))
    assert event and event["threads"] == before + 1
    assert threads == {before + 1} and torch.get_num_threads() == before


def test_onnxruntime_takes_the_threads_of_the_conditions(monkeypatch) -> None:
    import onnxruntime

    threads: list[int] = []
    session = onnxruntime.InferenceSession

    def watched(file: Any, options: Any, **rest: Any) -> Any:
        threads.append(options.intra_op_num_threads)
        return session(file, options, **rest)

    files, inputs = runtimes.OnnxFiles(), torch.rand(1, 8)
    content = files.of(PAIR.dense, inputs, torch.float32)
    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    assert content == files.of(PAIR.dense, inputs, torch.float32)
    with torch.no_grad():
        runtimes.make_ready("onnxruntime", PAIR.dense, inputs, torch.float32, 2, files)
    assert threads == [2]
