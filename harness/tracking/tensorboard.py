"""TensorBoard: records, learning curves and layer densities of each run in tensorboard/ of its
folder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.run_folder.records import Record
from harness.run_folder.sinks import Sink
from harness.system.deletion import Mark, delete_file, owned
from harness.tracking.base import RunInfo
from harness.tracking.error_guard import ErrorGuard, print_error
from harness.tracking.none import NullSink
from harness.tracking.rows import Epoch, EpochCounter, compression_step, in_order, key, row
from harness.tracking.sent_rows import SentRows

FOLDER = "tensorboard"
PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class TensorBoard:
    """Measurements over 1000 x target compression, learning curves over epochs.

    An outage (a full disk) is reported once and stops nothing.

    Raises:
        ValueError: the package tensorboard is missing.
    """

    layers: bool = True  # the density of every layer, beside those of the network

    def __post_init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise ValueError(
                "tracking=tensorboard needs the package tensorboard; "
                "pip install 'pruning-harness[tensorboard]'"
            )

    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        try:
            sink = BoardSink(info, self.layers)
        except Exception as error:
            print_error("TensorBoard cannot start, this run goes on without it", error)
            yield NullSink()
            return
        try:
            yield sink
        except BaseException:
            sink.finish(done=False)
            raise
        sink.finish(done=True)


class BoardSink:
    """One run's event files. Rows of an earlier start are not written again: SummaryWriter's own
    purge_step knows one axis, and epochs and compressions are two."""

    def __init__(self, info: RunInfo, layers: bool) -> None:
        # Two seconds that a run without TensorBoard does not need.
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
        if not self._sent.keys:
            config = json.dumps(info.config, indent=1, sort_keys=True)
            self._writer.add_text("config", f"```json\n{config}\n```")
        for record in info.earlier:
            self.log(record)

    def log(self, record: Record) -> None:
        self._last = record
        for one in in_order(self._epochs, record):
            self._attempt(lambda one=one: self._send(one))  # type: ignore[misc]

    def epoch(self, level: int, epoch: int, loss: float, accuracy: float) -> None:
        live = self._epochs.live(level, epoch, loss, accuracy)
        self._attempt(lambda: self._send(live))

    def finish(self, done: bool) -> None:
        if done and self._last:
            self._attempt(self._send_hyperparameters)
        self._attempt(self._writer.close)
        if done:
            self._attempt(self._sent.forget)

    def _send(self, one: Record | Epoch) -> None:
        if key(one) in self._sent:
            return
        values, step = self._row(one)
        for name, value in values.items():
            if "/" in name:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self._sent.add(key(one), step)

    def _row(self, one: Record | Epoch) -> tuple[dict[str, float], int]:
        if isinstance(one, Epoch):
            return one.row, one.number
        layers = one.layers if self._layers else {}
        named = {f"{one.stage}/layers/{name}": density for name, density in layers.items()}
        return row(one) | named, compression_step(one.target_compression)

    def _send_hyperparameters(self) -> None:
        assert self._last
        found = {name: getattr(self._last, name) for name in ("top1", "compression")}
        result = {f"hparam/{name}": value for name, value in found.items() if value is not None}
        # Into this folder: else TensorBoard shows a second run beside it.
        self._writer.add_hparams(dict(_flat(self._info.config)), result, run_name=".")


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value if isinstance(value, PLAIN) else json.dumps(value)


def _clear(folder: Path) -> None:
    """What lies there is of a finished run that is done again."""
    mark = Mark(r"events\.out\.tfevents\..*")
    for file in owned(folder.parent, folder, [mark]):
        delete_file(folder.parent, folder / file.name, [mark])
