"""Writes records, learning curves and layer densities to tensorboard/ in the run folder."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.extras import check_extra
from harness.run_folder.records import Record
from harness.run_folder.sinks import Sink
from harness.system.deletion import Mark, delete_file, owned_files
from harness.task.shared.measures import TOP1, Measure
from harness.tracking.base import RunInfo
from harness.tracking.error_guard import ErrorGuard, print_error
from harness.tracking.none import NullSink
from harness.tracking.rows import Epoch, EpochCounter, compression_step, in_order, key, row
from harness.tracking.sent_rows import SentRows
from harness.tracking.speed import Speed, Speeds, measured_before
from harness.vocabulary.checks import check_declared

FOLDER = "tensorboard"
PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class TensorBoard:
    """Logs measurements over 1000 x requested compression, and learning curves over epochs.

    An error, such as a full disk, is reported once and stops nothing.

    Raises:
        ValueError: the package tensorboard is missing.
    """

    layers: bool = True  # the density of every layer, beside that of the model

    def __post_init__(self) -> None:
        check_declared(self)
        check_extra("tensorboard", "tracking=tensorboard")

    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        try:
            sink = BoardSink(info, self.layers)
        except Exception as error:
            print_error("TensorBoard cannot start; this run continues without it", error)
            yield NullSink()
            return
        try:
            yield sink
        except BaseException:
            sink.finish(done=False)
            raise
        sink.finish(done=True)


class BoardSink:
    """Writes one run's event files; a resumed run writes no row twice.

    SummaryWriter's purge_step would not do: it knows one axis, and epochs and compressions are two.
    """

    def __init__(self, info: RunInfo, layers: bool) -> None:
        # Imported here: it takes two seconds, which a run without TensorBoard does not need.
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = info.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._sent = SentRows(folder / "sent")
        if not self._sent.keys:
            _clear(folder)
        self._writer = SummaryWriter(str(folder))
        self._info, self._layers = info, layers
        self._epochs, self._attempt = EpochCounter(), ErrorGuard("TensorBoard")
        self._last: Record | None = None
        self._speeds = Speeds()
        if not self._sent.keys:
            config = json.dumps(info.config, indent=1, sort_keys=True)
            self._writer.add_text("config", f"```json\n{config}\n```")
        for record in info.earlier:
            self.log(record)
        for event in measured_before(info.folder):
            self.latency(event)

    def log(self, record: Record) -> None:
        self._last = record
        self._speeds.follow(record)
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

    def finish(self, done: bool) -> None:
        if done and self._last:
            self._attempt(self._send_hyperparameters)
        self._attempt(self._writer.close)
        if done:
            self._attempt(self._sent.forget)

    def _send(self, item: Record | Epoch | Speed) -> None:
        if key(item) in self._sent:
            return
        values, step = self._row(item)
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, step)
            elif "/" in name:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self._sent.add(key(item), step)

    def _row(self, item: Record | Epoch | Speed) -> tuple[dict[str, Any], int]:
        if isinstance(item, Epoch):
            return item.row, item.number
        if isinstance(item, Speed):
            return item.row, compression_step(item.record.requested_compression)
        layers = item.layers if self._layers else {}
        named = {f"{item.stage}/layers/{name}": density for name, density in layers.items()}
        return row(item) | named, compression_step(item.requested_compression)

    def _send_hyperparameters(self) -> None:
        assert self._last
        last = self._last
        metrics = {last.measure: last.value, "compression": last.compression}
        result = {f"hparam/{name}": value for name, value in metrics.items() if value is not None}
        # run_name=".": in a subfolder, TensorBoard would show a second run.
        self._writer.add_hparams(dict(_flat(self._info.config)), result, run_name=".")


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, PLAIN) else json.dumps(value)


def _clear(folder: Path) -> None:
    """Deletes the event files of a finished run that is repeated."""
    mark = Mark(r"events\.out\.tfevents\..*")
    for file in owned_files(folder.parent, folder, [mark]):
        delete_file(folder.parent, folder / file.name, [mark])
