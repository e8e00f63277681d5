"""Measures the passes of two models in turns under one set of conditions, in slices."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.delivery.runtimes import OnnxFiles, Ready, make_ready
from harness.metrics.latency import Conditions, Latency
from harness.metrics.layer_times import explain_slow_pass
from harness.metrics.stopwatch import Stopwatch, quartiles, ratios
from harness.run_folder.environment import chip_name
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import Inputs, device_of, floats_to

SECONDS_AT_ONCE = 1.0  # of measuring per slice
Measurement = dict[str, Any]


class Models(NamedTuple):
    """Holds the model in its dense shapes, the one that is left, and the ONNX files of both."""

    dense: nn.Module
    left: nn.Module
    files: OnnxFiles


def timed_pair(
    models: Models,
    inputs: Inputs,
    conditions: Conditions,
    latency: Latency,
    theoretical: float | None = None,
) -> Iterator[Measurement | None]:
    """Yields the measurements as one event at the end, and None after each slice before it.

    The event says `not_measured` and the reason if something fails. The number of threads and
    torch's compiler are afterwards as before.

    theoretical: the speed-up by multiply-accumulates, with which the eager one is compared.
    """
    facts = facts_of(conditions, device_of(inputs))
    facts["parameters"], facts["dense_parameters"] = map(_parameters, (models.left, models.dense))
    with _threads(conditions.threads), _compiler_reset(conditions.runtime):
        try:
            for event in _measured(models, inputs, conditions, latency, theoretical):
                yield event if event is None else {**facts, **event}
        except Exception as error:  # of the model, the runtime or the memory
            yield {**facts, "not_measured": first_line(error)}


def _measured(
    models: Models,
    inputs: Inputs,
    conditions: Conditions,
    latency: Latency,
    theoretical: float | None,
) -> Iterator[Measurement | None]:
    runtime, dtype = conditions.runtime, getattr(torch, conditions.dtype)
    sides: dict[str, Ready] = {}
    for name, model in (("dense", models.dense), ("left", models.left)):
        settings = (inputs, dtype, conditions.threads)
        sides[name] = make_ready(runtime, model, *settings, models.files)
        yield None
    peaks = {}
    for name, ready in sides.items():
        peaks[name] = ready.peak() if ready.peak else None
        yield None
    steps = {name: ready.run for name, ready in sides.items()}
    watch = Stopwatch(steps, latency.repeats, latency.warm_up)
    while not watch.run_for(SECONDS_AT_ONCE):
        yield None
    speedups = ratios(watch.seconds["dense"], watch.seconds["left"])
    why = None
    if runtime == "eager" and theoretical:
        given = floats_to(inputs, dtype)
        why = yield from _why_slow(sides, given, (median(speedups), theoretical))
    yield {
        **_quartiles("milliseconds", [1000 * each for each in watch.seconds["left"]]),
        **_quartiles("dense_milliseconds", [1000 * each for each in watch.seconds["dense"]]),
        **_quartiles("speedup", speedups),
        "why_slow": why,
        "peak_bytes": peaks["left"],
        "dense_peak_bytes": peaks["dense"],
        "file_bytes": sides["left"].file_bytes,
        "dense_file_bytes": sides["dense"].file_bytes,
    }


def _why_slow(
    sides: dict[str, Ready], inputs: Inputs, speedups: tuple[float, float]
) -> Generator[None, None, str | None]:
    models = sides["dense"].model, sides["left"].model
    try:
        return (yield from explain_slow_pass(*models, inputs, speedups))
    except Exception as error:  # of a hook, or of the memory at twice the batch
        return f"not explained: {first_line(error)}"


def _quartiles(name: str, values: list[float]) -> dict[str, float]:
    low, median, high = (round(value, 4) for value in quartiles(values))
    return {f"{name}_median": median, f"{name}_low": low, f"{name}_high": high}


def facts_of(conditions: Conditions, device: torch.device) -> Measurement:
    """Returns the conditions of a measurement, with the device and the versions."""
    versions = {"torch": str(torch.__version__)}
    if conditions.runtime == "onnxruntime":
        versions["onnxruntime"] = version("onnxruntime")
    return {
        **conditions._asdict(),
        "device": chip_name(device),
        **versions,
    }


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _compiler_reset(runtime: str) -> Iterator[None]:
    """Forgets compiled code afterwards: beyond eight versions of one it runs uncompiled."""
    try:
        yield
    finally:
        if runtime == "compile":
            torch.compiler.reset()
