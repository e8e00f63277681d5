"""Turns records and epochs into the flat rows of a tracker; imports no tracker."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from harness.run_folder.records import STAGES, Record
from harness.task.shared.measures import TOP1, Measure
from harness.tracking.speed import Speed

METRICS = (
    "top1",
    "top5",
    "loss",
    "perplexity",
    "validation_top1",
    "validation_loss",
    "density_of_weights",
    "speedup",
    "table_speedup",
    "table_milliseconds",
    "parameters",
    "macs",
    "epochs",
    "steps",
    "examples",
    "training_flops",
    "training_flops_dense",
    "gradient_norm",
)
LAYER_COLUMNS = ("compression", "level", "stage", "layer", "density")

# The x axis of a row's measurements, by the first part of their names. `density` is no axis: it
# counts other weights in a run of another structure or with excluded layers.
AXES = {"training": "epoch", "weights": "density_of_weights", "speed": "density_of_weights"} | {
    stage: "density_of_weights" for stage in ("initial", "dense", *STAGES)
}

# The stages that end a training, unless another level continues the training.
TRAINED = frozenset({"dense", "penalised", "finetuned"})


def row(record: Record) -> dict[str, float]:
    """Returns a record's measurements as "stage/metric", and the values of their x axes.

    A metric that was not measured has no entry.
    """
    measured = {name: getattr(record, name) for name in METRICS} | _connected(record)
    measured |= record.measures
    measured |= {f"validation_{name}": value for name, value in record.validation_measures.items()}
    named = {f"{record.stage}/{name}": value for name, value in measured.items()} | {
        "density": record.density,
        "density_of_weights": record.density_of_weights,
        "compression": record.compression,
        "requested_compression": record.requested_compression,
        "level": record.level,
    }
    return {name: value for name, value in named.items() if value is not None}


def _connected(record: Record) -> dict[str, float]:
    if record.effective_density is None:
        return {}
    return {
        "effective_density": record.effective_density,
        "empty_layers": len(record.empty_layers or []),
        "dead_units": sum((record.dead_units or {}).values()),
    }


def layer_rows(record: Record) -> list[list[float | str | None]]:
    """Returns one row of LAYER_COLUMNS per prunable tensor."""
    return [
        [record.compression, record.level, record.stage, layer, density]
        for layer, density in record.layers.items()
    ]


def compression_step(compression: float) -> int:
    """Returns round(1000 x compression), because a tracker's steps are integers."""
    return round(1000 * compression)


@dataclass
class Steps:
    """Hands out W&B steps, which must rise: W&B drops a row with a lower step.

    A record gets 1000 x its requested compression, an epoch the next free step. A step that is not
    free becomes the next free one, as in `wandb sync`, which merges the folders of one id. Every
    chart has an x axis of its own (AXES), so that no step misplaces a point.
    """

    free: int = 0

    def of(self, record: Record) -> int:
        self.free = max(self.free, compression_step(record.requested_compression))
        return self.next()

    def next(self) -> int:
        self.free += 1
        return self.free - 1


@dataclass(frozen=True)
class Epoch:
    """Holds the measurements of one epoch.

    number: counted over the whole run, from 1. compression: of the model that was trained.
    """

    number: int
    level: int
    loss: float | None
    value: float | None
    compression: float | None
    measure: str = TOP1.name

    @property
    def row(self) -> dict[str, float]:
        named = {
            "training/loss": self.loss,
            f"training/validation_{self.measure}": self.value,
            "epoch": self.number,
            "level": self.level,
            "compression": self.compression,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass
class EpochCounter:
    """Numbers the epochs of a run's trainings, one training after the other.

    An epoch has the same number whether it is logged live or read from the record that ends its
    training, and also after the run is resumed.
    """

    ended: int = 0  # epochs of the earlier trainings
    newest: int = 0  # the last epoch of this training that was logged live
    compression: float | None = 1.0

    def live(
        self,
        level: int,
        epoch: int,
        loss: float | None,
        value: float | None,
        measure: Measure = TOP1,
    ) -> Epoch:
        """Returns the Epoch for `epoch` of this training, counted from 1."""
        self.newest = max(self.newest, epoch)
        return Epoch(self.ended + epoch, level, loss, value, self.compression, measure.name)

    def end(self, record: Record) -> list[Epoch]:
        """Returns all epochs of the training that this record ends, and ends the training."""
        losses, values = record.epoch_losses or [], record.epoch_validation or []
        pairs = enumerate(zip_longest(losses, values), start=self.ended + 1)
        epochs = [
            Epoch(number, record.level, loss, value, self.compression, record.measure)
            for number, (loss, value) in pairs
        ]
        self._count(record, len(epochs))
        self.compression = record.compression
        return epochs

    def _count(self, record: Record, measured: int) -> None:
        continues = record.is_intermediate or record.stage not in TRAINED
        if not measured and continues:
            return
        self.ended += measured or max(self.newest, math.ceil(record.epochs))
        self.newest = 0


def key(item: Record | Epoch | Speed) -> str:
    """Returns the name of a row, unique in its run and the same after the run is resumed."""
    if isinstance(item, Speed):
        return item.key
    if isinstance(item, Epoch):
        return f"epoch {item.number}"
    return f"level {item.level} {item.stage}"


def in_order(counter: EpochCounter, record: Record) -> Iterator[Record | Epoch]:
    """Yields the epochs of the training that a record ends, then the record."""
    yield from counter.end(record)
    yield record
