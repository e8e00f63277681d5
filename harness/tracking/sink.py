"""Logs the records and epochs of a run to an open W&B run."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.run_folder.records import Record
from harness.system.leases import check_leases
from harness.task.shared.measures import TOP1, Measure
from harness.tracking.artifacts import ArtifactLogger
from harness.tracking.base import RunInfo
from harness.tracking.error_guard import ErrorGuard, call_within
from harness.tracking.histograms import Counts, densities, live_weights
from harness.tracking.rows import (
    LAYER_COLUMNS,
    Epoch,
    EpochCounter,
    Steps,
    in_order,
    key,
    layer_rows,
    row,
)
from harness.tracking.run_lock import SHARED, is_first
from harness.tracking.sent_rows import SentRows
from harness.tracking.speed import COLUMNS, Speed, Speeds, measured_before

if TYPE_CHECKING:
    import wandb

# Fields of the last record in a run's summary, beside level and compression.
_DENSITIES = ("density", "density_of", "density_of_weights")


class RunSink:
    """Sends the rows of one run to W&B; the first error is reported, and the caller continues.

    Rows that were sent before the run was interrupted are not sent again. The rows of level 0 are
    sent by one of the runs that share the id, because their dense model is the same.
    """

    def __init__(
        self,
        run: "wandb.Run",
        info: RunInfo,
        artifacts: ArtifactLogger,
        histograms: bool = True,
        timeout_s: float = math.inf,
    ) -> None:
        self._run, self._info, self._artifacts, self._histograms = run, info, artifacts, histograms
        self._sent = SentRows(info.folder / "wandb" / "sent")
        self._timeout_s = timeout_s
        self._steps = Steps(max(run.starting_step, self._sent.free))
        self._epochs = EpochCounter()
        self._layers: list[list[float | str | None]] = []
        self._speeds = Speeds()
        self._last: Record | None = None
        self._first: bool | None = None
        self._attempt = ErrorGuard("W&B")
        for record in info.earlier:
            self.log(record)
        for event in measured_before(info.folder):
            self.latency(event)

    def log(self, record: Record) -> None:
        self._last = record
        self._speeds.follow(record)
        self._layers += layer_rows(record)
        for item in in_order(self._epochs, record):
            self._attempt(lambda item=item: self._send(item))  # type: ignore[misc]

    def epoch(
        self, level: int, epoch: int, loss: float, value: float, measure: Measure = TOP1
    ) -> None:
        live = self._epochs.live(level, epoch, loss, value, measure)
        self._attempt(lambda: self._send(live))

    def latency(self, event: Mapping[str, Any]) -> None:
        if (speed := self._speeds.add(dict(event))) and speed.row:
            self._attempt(lambda: self._send(speed))

    def finish(self, exit_code: int) -> None:
        """Ends the W&B run; exit_code 0 means that model and masks are in the run folder."""
        done = exit_code == 0
        # The first call that waits for the server, as W&B checks the key anew for a table.
        error = self._attempt(
            lambda: call_within(
                self._timeout_s, lambda: self._send_layers(with_weights=done and self._histograms)
            )
        )
        if done and self._last and not isinstance(error, TimeoutError):
            last = self._last
            facts = {name: getattr(last, name) for name in ("level", "compression", *_DENSITIES)}
            self._attempt(lambda: self._artifacts.log(self._run, self._info, facts))
        self._attempt(lambda: self._run.finish(exit_code=exit_code))
        if done:
            self._attempt(self._sent.forget)

    def _send(self, item: Record | Epoch | Speed) -> None:
        if key(item) in self._sent or (item.level == 0 and not self._sends_dense()):
            return
        check_leases(self._sent.path)
        check_leases(self._info.sweep / SHARED / self._run.id / "online")  # one process at a time
        step, values = self._row(item)
        self._run.log(values, step=step, commit=True)
        self._sent.add(key(item), step)

    def _row(self, item: Record | Epoch | Speed) -> tuple[int, dict[str, Any]]:
        if isinstance(item, Epoch | Speed):
            return self._steps.next(), item.row
        values: dict[str, Any] = row(item) | {"density_of": item.density_of}
        if item.layers:
            values[f"{item.stage}/layer_densities"] = _histogram(densities(item))
        return self._steps.of(item), values

    def _sends_dense(self) -> bool:
        if self._first is None:
            self._first = is_first(self._info.sweep, f"{self._run.id}/dense", self._info.folder)
        return self._first

    def _send_layers(self, with_weights: bool) -> None:
        import wandb

        if not self._last or not self._layers:
            return
        values: dict[str, Any] = {
            "layers": wandb.Table(columns=[*LAYER_COLUMNS], data=[*self._layers]),
            **{name: getattr(self._last, name) for name in ("level", "compression", *_DENSITIES)},
        }
        values |= _speed_tables(self._speeds)
        if with_weights:
            weights = live_weights(self._info.folder)
            values |= {f"weights/{name}": _histogram(counts) for name, counts in weights}
        self._run.log(values, step=self._steps.next(), commit=True)


def _speed_tables(speeds: Speeds) -> dict[str, Any]:
    """Returns the table of all measurements, and a chart for each set of conditions."""
    import wandb

    if not speeds.all:
        return {}
    cells: list[Any] = [speed.cells for speed in speeds.all.values()]
    values: dict[str, Any] = {"speed": wandb.Table(columns=[*COLUMNS], data=cells)}
    for name, measured in speeds.charts().items():
        points: list[Any] = [[one.event["speedup_median"], one.record.value] for one in measured]
        own = measured[-1].record.primary
        table = wandb.Table(columns=["measured_speedup", own.name], data=points)
        what = "Top-1" if own == TOP1 else own.title
        title = f"{what} against measured speed-up: {name}, {measured[-1].measured_with}"
        plot = wandb.plot.scatter(table, "measured_speedup", own.name, title=title)
        values[f"{name}/{own.name}"] = plot
    return values


def _histogram(counts: Counts) -> "wandb.Histogram":
    import wandb

    return wandb.Histogram(np_histogram=counts)
