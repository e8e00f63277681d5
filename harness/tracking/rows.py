"""Records as W&B wants them: flat rows, integer steps, one table of layers; no W&B here."""

from dataclasses import dataclass

from harness.records import Record

METRICS = (
    "top1",
    "top5",
    "loss",
    "validation_top1",
    "validation_loss",
    "density",
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

# Nothing of the same level follows these.
LAST_STAGES = frozenset({"dense", "finetuned"})


def row(record: Record) -> dict[str, float]:
    """Measurements as "stage/metric", beside the compression that they are drawn against."""
    measured = {name: getattr(record, name) for name in METRICS} | _connected(record)
    # Where it was not measured, W&B gets no such row rather than a gap that looks like one.
    known = {name: value for name, value in measured.items() if value is not None}
    return {f"{record.stage}/{name}": value for name, value in known.items()} | {
        "compression": record.compression,
        "target_compression": record.target_compression,
        "level": record.level,
    }


def _connected(record: Record) -> dict[str, float]:
    if record.effective_density is None:
        return {}
    return {
        "effective_density": record.effective_density,
        "empty_layers": len(record.empty_layers or []),
        "dead_units": sum((record.dead_units or {}).values()),
    }


def layer_rows(record: Record) -> list[list[float | str]]:
    """One row of LAYER_COLUMNS per prunable tensor."""
    return [
        [record.compression, record.level, record.stage, layer, density]
        for layer, density in record.layers.items()
    ]


def wanted_step(record: Record) -> int:
    """round(1000 x target_compression): W&B's steps are integers, compressions are not."""
    return round(1000 * record.target_compression)


@dataclass
class Steps:
    """Hands out W&B steps, which must rise or W&B drops the row.

    The stages of a level share one. A level whose step is taken gets the next free one, as
    `wandb sync` does it too: its "compression" still places it right in every chart.
    """

    free: int = 0
    level: int | None = None

    def of(self, record: Record) -> int:
        if record.level != self.level:
            self.level = record.level
            self.free = max(self.free, wanted_step(record)) + 1
        return self.free - 1

    def close_level(self) -> None:
        self.level = None
