"""Measures the speed of the model that a run has come to, beside that of the dense model."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import torch
from torch import nn

from harness.delivery.runtimes import OnnxFiles
from harness.experiment.config import DTYPES
from harness.experiment.context import RunContext
from harness.experiment.results.timed_pair import Measurement, Models, facts_of, timed_pair
from harness.experiment.state import RunState, without_pruned_units
from harness.metrics.latency import Latency
from harness.run_folder.sinks import RunSink
from harness.system.names import printable
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.undisturbed import preserve_random_streams


def measure_latency(
    context: RunContext, state: RunState, latency: Latency, sink: RunSink, stage: dict[str, Any]
) -> None:
    """Measures forward passes of the dense model and of the one that is left, in turns.

    All ranks call it, and rank 0 measures alone; the others get an answer after each slice. Where
    the run compacts, the model that is left is the one without pruned units. Else pruned weights
    are zeros in dense tensors, so that no mask makes the pass faster. Copies run: the run's model,
    masks and random streams stay as they are.

    What cannot be measured is named in a warning and in the event, and the run continues.

    Args:
        latency: its batch_sizes are not empty.
        stage: level and stage of the record, which the events repeat.
    """
    ranks, checkpointer, left = context.ranks, context.checkpointer, _smallest(context, state)

    def log(event: Measurement) -> None:
        if "not_measured" in event:
            _warn(stage, event)
        if why := event.get("why_slow"):
            print(f"warning: {_place(stage, event)}: {printable(why)}", file=sys.stderr)
        sink.log_timing(event="latency", **stage, **event)

    with (
        preserve_random_streams(ranks.device),
        torch.no_grad(),
        closing(_slices(context, left, latency, _theoretical(state))) as slices,
    ):
        while ranks.on_main(lambda: _advance(slices, log)):
            if checkpointer:
                checkpointer.raise_if_stopped()


def _advance(slices: Iterator[Measurement | None], log: Callable[[Measurement], None]) -> bool:
    """Runs one slice, and logs what it brought; False if there was none."""
    for event in slices:
        if event is not None:
            log(event)
        return True
    return False


def _slices(
    context: RunContext, left: nn.Module, latency: Latency, theoretical: float | None
) -> Generator[Measurement | None]:
    """Yields the event of each combination, and None after each slice before it."""
    workload, device = context.workload, context.ranks.device
    own = next(name for name, dtype in DTYPES.items() if dtype is workload.dtype)
    models: Models | None = None
    for conditions in latency.conditions(own, torch.get_num_threads()):
        try:
            inputs = workload.batch_of(conditions.batch_size)
            # Shapes and dtype decide the time of a pass, so that untrained weights do.
            models = models or Models(workload.initial_model(), left, OnnxFiles())
        except Exception as error:  # such as a file of weights that is gone, or no memory
            yield {**facts_of(conditions, device), "not_measured": first_line(error)}
        else:
            yield from timed_pair(models, inputs, conditions, latency, theoretical)


def _theoretical(state: RunState) -> float | None:
    speedup: float | None = state.found_records[-1]["record"]["speedup"]
    return speedup


def _smallest(context: RunContext, state: RunState) -> nn.Module:
    masked = any(not mask.all() for mask in state.masks.masks.values())
    if context.experiment.compact == "end" and masked:
        return without_pruned_units(context, state).model
    return state.model


def _warn(stage: dict[str, Any], event: Measurement) -> None:
    reason = printable(event["not_measured"])
    print(f"warning: {_place(stage, event)} was not measured: {reason}", file=sys.stderr)


def _place(stage: dict[str, Any], event: Measurement) -> str:
    where = "level {level} {stage}".format(**stage)
    how = "{runtime}, batch {batch_size}, {dtype}, threads {threads}".format(**event)
    return f"{where}: latency ({how})"
