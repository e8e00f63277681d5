"""One open W&B run, as a sink for records and epochs."""

from typing import TYPE_CHECKING, Any

from harness.run_folder.records import Record
from harness.system.leases import check_leases
from harness.tracking.artifacts import ArtifactLogger
from harness.tracking.base import RunInfo
from harness.tracking.error_guard import ErrorGuard
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

if TYPE_CHECKING:
    import wandb

# What a run ends with, beside its level and compression.
_DENSITIES = ("density", "density_of", "density_of_weights")


class RunSink:
    """Whatever W&B raises is reported once and the caller goes on.

    Rows that an earlier start of the run has sent are not sent again; those of level 0 are sent by
    one of the runs that share the id, since the dense network is the same in all.
    """

    def __init__(
        self, run: "wandb.Run", info: RunInfo, artifacts: ArtifactLogger, histograms: bool = True
    ) -> None:
        self._run, self._info, self._artifacts, self._histograms = run, info, artifacts, histograms
        self._sent = SentRows(info.folder / "wandb" / "sent")
        self._steps = Steps(max(run.starting_step, self._sent.free))
        self._epochs = EpochCounter()
        self._layers: list[list[float | str | None]] = []
        self._last: Record | None = None
        self._first: bool | None = None
        self._attempt = ErrorGuard("W&B")
        for record in info.earlier:
            self.log(record)

    def log(self, record: Record) -> None:
        self._last = record
        self._layers += layer_rows(record)
        for one in in_order(self._epochs, record):
            self._attempt(lambda one=one: self._send(one))  # type: ignore[misc]

    def epoch(self, level: int, epoch: int, loss: float, accuracy: float) -> None:
        live = self._epochs.live(level, epoch, loss, accuracy)
        self._attempt(lambda: self._send(live))

    def finish(self, exit_code: int) -> None:
        """exit_code: 0 of a run that is done, whose network and masks lie in its folder."""
        done = exit_code == 0
        self._attempt(lambda: self._send_layers(with_weights=done and self._histograms))
        if done and self._last:
            last = self._last
            facts = {name: getattr(last, name) for name in ("level", "compression", *_DENSITIES)}
            self._attempt(lambda: self._artifacts.log(self._run, self._info, facts))
        self._attempt(lambda: self._run.finish(exit_code=exit_code))
        if done:
            self._attempt(self._sent.forget)

    def _send(self, one: Record | Epoch) -> None:
        if key(one) in self._sent or (one.level == 0 and not self._brings_dense()):
            return
        check_leases(self._sent.path)
        check_leases(self._info.sweep / SHARED / self._run.id / "online")  # one process at a time
        step, values = self._row(one)
        self._run.log(values, step=step, commit=True)
        self._sent.add(key(one), step)

    def _row(self, one: Record | Epoch) -> tuple[int, dict[str, Any]]:
        if isinstance(one, Epoch):
            return self._steps.next(), one.row
        shown = {f"{one.stage}/layer_densities": _histogram(densities(one))} if one.layers else {}
        return self._steps.of(one), row(one) | shown | {"density_of": one.density_of}

    def _brings_dense(self) -> bool:
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
        if with_weights:
            found = live_weights(self._info.folder)
            values |= {f"weights/{name}": _histogram(counts) for name, counts in found}
        self._run.log(values, step=self._steps.next(), commit=True)


def _histogram(counts: Counts) -> "wandb.Histogram":
    import wandb

    return wandb.Histogram(np_histogram=counts)
