"""Measures the forward pass of the model that a run has come to."""

import sys
from typing import Any

import torch
from torch import nn

from harness.experiment.context import RunContext
from harness.experiment.state import RunState, without_pruned_units
from harness.metrics.latency import Latency
from harness.metrics.stopwatch import Stopwatch, quartiles
from harness.run_folder.environment import device_name
from harness.run_folder.sinks import RunSink
from harness.system.names import printable
from harness.vocabulary.tensors import eval_mode

SECONDS_AT_ONCE = 1.0  # of measuring per call; waiting ranks get an answer after each


def measure_latency(
    context: RunContext, state: RunState, latency: Latency, sink: RunSink, stage: dict[str, Any]
) -> None:
    """Measures the forward pass of the model; all ranks call it, and rank 0 measures alone.

    Where the run compacts, the model is the one without pruned units. Else pruned weights are zeros
    in dense tensors, so that no mask makes the pass faster.

    If a measurement fails (a batch beyond the memory), a warning says so and the run continues.

    Args:
        latency: its batch_size is not None.
        stage: level and stage of the record, which the event repeats.
    """
    ranks, checkpointer, model = context.ranks, context.checkpointer, _smallest(context, state)
    with (
        torch.random.fork_rng(devices=[ranks.device] if ranks.device.type == "cuda" else []),
        eval_mode(model),
        torch.no_grad(),
    ):
        watch, done, error = _stopwatch(context, model, latency), False, ""
        while not done:
            done, error = ranks.on_main(lambda: _measure_some(watch))
            if checkpointer:
                checkpointer.raise_if_stopped()
    if error:
        ranks.on_main(lambda: _warn(stage, error))
    else:
        event = {**stage, **_conditions(context, model, latency)}
        ranks.on_main(lambda: sink.log_timing(event="latency", **event, **_milliseconds(watch)))


def _smallest(context: RunContext, state: RunState) -> nn.Module:
    masked = any(not mask.all() for mask in state.masks.masks.values())
    if context.experiment.compact == "end" and masked:
        return without_pruned_units(context, state).model
    return state.model


def _stopwatch(context: RunContext, model: nn.Module, latency: Latency) -> Stopwatch:
    train, device = context.workload.splits.train, context.ranks.device
    indices = torch.arange(latency.batch_size or 1, device=device) % len(train)

    def forward() -> None:
        model(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    inputs = next(iter(train.batches([indices])))[0]
    return Stopwatch({"model": forward}, latency.repeats, latency.warm_up)


def _measure_some(watch: Stopwatch) -> tuple[bool, str]:
    """Returns whether the measurement is complete, and why it failed."""
    try:
        return watch.run_for(SECONDS_AT_ONCE), ""
    except Exception as error:  # of the model or the memory: other ranks wait, the run continues
        return True, (str(error).splitlines() or [type(error).__name__])[0]


def _warn(stage: dict[str, Any], error: str) -> None:
    where = "level {level} {stage}".format(**stage)
    print(f"warning: {where}: latency was not measured: {printable(error)}", file=sys.stderr)


def _conditions(context: RunContext, model: nn.Module, latency: Latency) -> dict[str, Any]:
    return {
        "batch_size": latency.batch_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": device_name(context.ranks.device),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _milliseconds(watch: Stopwatch) -> dict[str, float]:
    low, median, high = (round(1000 * seconds, 4) for seconds in quartiles(watch.seconds["model"]))
    return {"milliseconds_median": median, "milliseconds_low": low, "milliseconds_high": high}
