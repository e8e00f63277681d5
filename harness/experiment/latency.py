"""Latency of a run's results, as measured on its own device, in timings.jsonl."""

import sys
from typing import TYPE_CHECKING, Any

import torch

from harness.metrics.latency import Latency, Stopwatch
from harness.run_folder.environment import device_name
from harness.system.names import visible
from harness.vocabulary.tensors import evaluating

if TYPE_CHECKING:
    from harness.experiment.runner import Levels

SECONDS_AT_ONCE = 1.0  # after which the other ranks are told that they wait for a living one


def note_latency(levels: "Levels") -> None:
    """Measures the forward pass of the network as it is, if the newest record is a result.

    As it is: pruned weights are zeros in dense tensors, so that no mask makes it faster. That takes
    a network that is physically smaller, which whole units leave and single weights do not.

    Rank 0 measures alone. What cannot be measured (a batch beyond the memory) is told, and the run
    goes on.
    """
    how, record = levels.latency, levels.past[-1]["record"]
    if how is None or how.batch is None or not _is_result(levels, **_place(record)):
        return
    device = levels.ranks.device
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        evaluating(levels.network),
        torch.no_grad(),
    ):
        watch = _stopwatch(levels, how, how.batch)
        error = ""
        done = False
        while not done:
            done, error = levels.ranks.on_main(lambda: _sitting(watch))
            if levels.journal:
                levels.journal.stop_if_asked()
    if levels.ranks.is_main:
        _tell(levels, how, watch, error)


def _stopwatch(levels: "Levels", how: Latency, batch: int) -> Stopwatch:
    train, device = levels.subject.splits.train, levels.ranks.device
    chosen = torch.arange(batch, device=device) % len(train)

    def forward() -> None:
        levels.network(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    inputs = next(iter(train.batches([chosen])))[0]
    return Stopwatch(forward, how.repeats, how.warm_up)


def _sitting(watch: Stopwatch) -> tuple[bool, str]:
    """Whether it was the last one, and why it failed."""
    try:
        return watch.go_on(SECONDS_AT_ONCE), ""
    except RuntimeError as error:  # as torch calls a lack of memory
        return True, str(error).splitlines()[0]


def _tell(levels: "Levels", how: Latency, watch: Stopwatch, error: str) -> None:
    place = _place(levels.past[-1]["record"])
    if error:
        where = "level {level} {stage}".format(**place)
        print(f"warning: {where}: latency was not measured: {visible(error)}", file=sys.stderr)
        return
    low, median, high = (round(1000 * seconds, 4) for seconds in watch.quartiles())
    levels.watcher.note(
        event="latency",
        **place,
        batch=how.batch,
        milliseconds_median=median,
        milliseconds_low=low,
        milliseconds_high=high,
        device=device_name(levels.ranks.device),
        dtype=str(next(levels.network.parameters()).dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )


def _place(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("level", "stage")}


def _is_result(levels: "Levels", level: int, stage: str) -> bool:
    """Whether it is the last stage of its level, or level 0; not on the way to a later one."""
    if level == 0:
        return True
    if levels.targets.on_the_way(level):
        return False
    if levels.trainings.form() is not None:
        return stage == "finetuned"
    return stage == ("recalibrated" if levels.what.recalibration else "pruned")
