"""Records and epochs as a tracker wants them: flat rows, named; no tracker here."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from harness.run_folder.records import STAGES, Record

METRICS = (
    "top1",
    "top5",
    "loss",
    "validation_top1",
    "validation_loss",
    "density_of_weights",
    "speedup",
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

# What a row's measurements are drawn over, by the beginning of their names. Not `density`, which
# is of something else in a run of another structure or with excluded layers.
AXES = {"training": "epoch", "weights": "density_of_weights"} | {
    stage: "density_of_weights" for stage in ("initial", "dense", *STAGES)
}

# A training ends with these, unless another level goes on with it.
TRAINED = frozenset({"dense", "penalised", "finetuned"})


def row(record: Record) -> dict[str, float]:
    """Measurements as "stage/metric", beside what they are drawn over.

    Where it was not measured, there is no such row rather than a gap that looks like one.
    """
    measured = {name: getattr(record, name) for name in METRICS} | _connected(record)
    named = {f"{record.stage}/{name}": value for name, value in measured.items()} | {
        "density": record.density,
        "density_of_weights": record.density_of_weights,
        "compression": record.compression,
        "target_compression": record.target_compression,
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
    """One row of LAYER_COLUMNS per prunable tensor."""
    return [
        [record.compression, record.level, record.stage, layer, density]
        for layer, density in record.layers.items()
    ]


def compression_step(compression: float) -> int:
    """round(1000 x compression): steps of trackers are integers, compressions are not."""
    return round(1000 * compression)


@dataclass
class Steps:
    """Hands out W&B steps, which must rise or W&B drops the row.

    A record gets 1000 x its target compression, an epoch the next free step; a step that is taken
    or has been passed becomes the next free one, as `wandb sync` does it too when it merges the
    folders of one id. Every chart has an axis of its own (AXES), so no step misplaces a point.
    """

    free: int = 0

    def of(self, record: Record) -> int:
        self.free = max(self.free, compression_step(record.target_compression))
        return self.next()

    def next(self) -> int:
        self.free += 1
        return self.free - 1


@dataclass(frozen=True)
class Epoch:
    """number: over the whole run, from 1. compression: of the network that was trained."""

    number: int
    level: int
    loss: float | None
    accuracy: float | None
    compression: float | None

    @property
    def row(self) -> dict[str, float]:
        named = {
            "training/loss": self.loss,
            "training/validation_top1": self.accuracy,
            "epoch": self.number,
            "level": self.level,
            "compression": self.compression,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass
class EpochCounter:
    """Learning curves of a run's trainings, one after the other.

    An epoch has the same number whether it is seen live or read from the record that ends its
    training, and also in a later start of the run.
    """

    ended: int = 0  # epochs of the trainings before
    newest: int = 0  # of this training, seen live
    compression: float | None = 1.0

    def live(self, level: int, epoch: int, loss: float | None, accuracy: float | None) -> Epoch:
        """epoch: of this training, from 1."""
        self.newest = max(self.newest, epoch)
        return Epoch(self.ended + epoch, level, loss, accuracy, self.compression)

    def end(self, record: Record) -> list[Epoch]:
        """All epochs of the training that this record ends; what follows is another training."""
        losses, top1 = record.epoch_losses or [], record.epoch_top1 or []
        pairs = enumerate(zip_longest(losses, top1), start=self.ended + 1)
        found = [
            Epoch(number, record.level, loss, accuracy, self.compression)
            for number, (loss, accuracy) in pairs
        ]
        self._count(record, len(found))
        self.compression = record.compression
        return found

    def _count(self, record: Record, measured: int) -> None:
        goes_on = record.on_the_way or record.stage not in TRAINED
        if not measured and goes_on:
            return
        self.ended += measured or max(self.newest, math.ceil(record.epochs))
        self.newest = 0


def key(row_of: Record | Epoch) -> str:
    """What tells a row from the other rows of its run, in every start of it."""
    if isinstance(row_of, Epoch):
        return f"epoch {row_of.number}"
    return f"level {row_of.level} {row_of.stage}"


def in_order(counter: EpochCounter, record: Record) -> Iterator[Record | Epoch]:
    """What a record brings: the epochs that led to it, then itself."""
    yield from counter.end(record)
    yield record
