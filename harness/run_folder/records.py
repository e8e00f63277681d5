"""One JSON line per level and stage of a run. Written by rank 0, read by the report; no torch."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness import __version__
from harness.system.json_schema import JsonSchema, replace_non_finite

# The schema of a line; CHANGELOG.md says what a new one changes.
SCHEMA = 1
# What the ratios count, of the whole network whatever is excluded.
COMPRESSION_OF = "all parameters; weights by their non-zeros, biases and norms with their units"
SPEEDUP_OF = "multiply-accumulates of one sample; weights by their non-zeros"
# Of a level, in their order.
STAGES = ("penalised", "pruned", "recalibrated", "finetuned")

# In [0, 1], where they are measured.
SHARES = (
    *("target_density", "density", "density_of_masks", "density_of_weights", "effective_density"),
    *("top1", "top5", "validation_top1"),
)


def no_weight_left(layers: Sequence[str]) -> str:
    """Says of weights, by parameter name, that their layers are empty.

    >>> no_weight_left(["fc1.weight", "fc2.weight"])
    'fc1, fc2 have no weight left'
    """
    names = [name.removesuffix(".weight") for name in layers]
    return f"{', '.join(names)} {'have' if len(names) > 1 else 'has'} no weight left"


def stage_index(level: int, stage: str) -> int:
    """In the order of a run's stages; 0 is that of level 0.

    >>> place(0, "dense"), place(1, "penalised"), place(2, "finetuned")
    (0, 1, 8)
    """
    return len(STAGES) * (level - 1) + 1 + STAGES.index(stage) if level else 0


@dataclass(frozen=True)
class Record:
    """What a run measured at one level and stage; only what config, seed and numerics decide.

    Levels: 0 is before pruning. Stages: "initial" (level 0 of a run that prunes at
    initialisation), "dense" (level 0 after dense training), "penalised" (trained with a penalty
    before the level's pruning), "pruned" (masks shrunk, not yet retrained), "recalibrated"
    (statistics of BatchNorm taken anew), "finetuned" (retrained under the masks).

    No number is infinite or NaN; null stands for what is none. A loss of null: the network's
    outputs are not finite, and it counts as failed. A compression of null: no parameter is left.
    A speed-up of null: nothing is left to multiply (macs is 0), or uncounted_operators says what
    could not be counted, and macs and training_flops are null too.
    """

    run: str  # first 12 hex digits of the run's hash
    method: str  # file name of the method in conf/method/, or its parts joined by "-"
    label: str  # as the field writes it: "Global Magnitude"
    setting: str  # hash of the config without seed and end point: one line in a figure
    model: str
    data: str
    # What the literature calls them, as their classes declare it; None: it knows them not.
    model_published_as: str | None
    data_published_as: str | None
    seed: int
    level: int
    stage: str
    # What `density`, `target_density` and `density_of_masks` are a kept share of: the units that
    # the structure may prune, less those of excluded layers, as in "weights, without fc3". Units
    # of several weights count by the parameters that each owns: weights, bias and norm.
    density_of: str
    # Asked; what both count is in target_counts.
    target_density: float  # in (0, 1]
    target_compression: float  # parameters of the whole network before / after, >= 1
    density: float  # measured: single weights that are not 0, units with such a weight, in [0, 1]
    density_of_weights: float  # of all convolutions and linear layers: non-zero share, in [0, 1]
    compression: float | None  # before / after, of what compression_of says
    speedup: float | None  # theoretical: before / after, of what speedup_of says
    parameters: int  # left
    macs: int | None  # left, per sample
    top1: float  # test data, share of samples in [0, 1]
    top5: float
    loss: float | None  # test data, mean per sample
    validation_top1: float
    validation_loss: float | None
    epochs: float  # trained since the record before; whole but inside a training
    steps: int
    layers: dict[str, float]  # as density_of_weights, per tensor
    masks: str  # digest of the masks in force, "" when dense
    # Whose samples BatchNorm took its statistics from: "none" (the network has no BatchNorm),
    # "per_rank" (with several ranks another network than with one), or "all_ranks".
    batch_norm: str = "none"
    # What the network has lost beyond its weights; None: not measured.
    # Of all convolutions and linear layers: share of weights on a path of non-zero weights from
    # input to output, in [0, density_of_weights].
    effective_density: float | None = None
    effective_density_unknown: str | None = None  # why there is none, where it was tried
    empty_layers: list[str] | None = None  # prunable tensors without a non-zero weight
    # Per prunable tensor that has any: neurons or filters without live input or output.
    dead_units: dict[str, int] | None = None
    # What the training since the record before has cost; None: not measured.
    examples: int | None = None
    # 6 x multiply-accumulates x examples: 2 FLOPs each, once forward and twice backward; of what
    # the masks in force leave, and of the dense network in the same steps.
    training_flops: int | None = None
    training_flops_dense: int | None = None
    # What that training's optimizer began with: "reset" (no state, as a new one), "kept" (it goes
    # on inside one training, 0 where weights are pruned); "" if nothing was trained.
    optimizer_state: str | None = None
    # L2 norm of the live gradients at a retraining's last step, not clipped; else None.
    gradient_norm: float | None = None
    # True for a level whose accuracy is no result of the run: masks that shrink inside one
    # training, or soft pruning, before the last level.
    is_intermediate: bool = False
    # `density` by the masks; that is less where a kept weight is 0, as one that was grown and never
    # got a gradient.
    density_of_masks: float | None = None
    # What target_density and target_compression count: "parameters", or "macs"
    # (allocation.budget=macs, schedule.unit=speedup).
    target_counts: str = "parameters"
    compression_of: str = COMPRESSION_OF
    speedup_of: str = SPEEDUP_OF
    # Of the training that this record ends, after each of its epochs; None: not measured, empty:
    # nothing was trained, or goes on. Mean loss per sample as it was minimised, over the epoch's
    # steps and without a penalty; top-1 on validation data, in [0, 1].
    epoch_losses: list[float] | None = None
    epoch_top1: list[float] | None = None
    # Operator -> weights that enter it; how often it multiplies them is not known.
    uncounted_operators: dict[str, list[str]] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, replace_non_finite(value))


@dataclass(frozen=True)
class Trained:
    """What was trained since the record before, by the record's names."""

    epochs: float = 0
    steps: int = 0
    examples: int = 0
    training_flops: int = 0
    training_flops_dense: int = 0
    optimizer_state: str = ""
    gradient_norm: float | None = None
    epoch_losses: list[float] = field(default_factory=list)
    epoch_top1: list[float] = field(default_factory=list)


NO_TRAINING = Trained()


@dataclass(frozen=True)
class Identity:
    """Who a run is, in its records."""

    run: str
    setting: str
    method: str
    label: str
    model: str
    data: str
    model_published_as: str | None = None
    data_published_as: str | None = None


def to_line(record: Record) -> str:
    return json.dumps(asdict(record), allow_nan=False) + "\n"


def append(path: Path, record: Record) -> None:
    with path.open("a") as file:
        file.write(to_line(record))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, missing_ok: bool = False) -> list[Record]:
    """Every whole record of one file; none if it is missing and may be.

    Raises:
        ValueError: a line is of another schema, or not a record; it names file and line.
    """
    if not missing_ok:
        path.stat()
    return [_parse(path, number, line) for number, line in enumerate(lines(path), start=1)]


def lines(path: Path) -> list[str]:
    """Whole lines; one without its newline was cut off by a kill while it was written."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _parse(path: Path, number: int, line: str) -> Record:
    where = f"{path}, line {number}"
    try:
        row: Any = json.loads(line, parse_constant=refuse_constant)
    except ValueError as error:
        raise ValueError(
            f"{where} is not JSON ({error}); delete the line or redo the run"
        ) from error
    check_schema(where, row, SCHEMA)
    names = {field.name for field in fields(Record)}
    if row.keys() != names:
        raise ValueError(f"{where}: fields differ from Record: {sorted(row.keys() ^ names)}")
    if wrong_fields := _TYPED.invalid_fields(row):
        raise ValueError(f"{where}: {', '.join(wrong_fields)}; delete the line or redo the run")
    return Record(**row)


def check_schema(where: str, row: Any, known: int) -> None:
    """
    >>> check_schema("records.jsonl, line 3", {"schema": 1}, known=1)
    >>> check_schema("records.jsonl, line 3", {"schema": 2}, known=1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: records.jsonl, line 3: schema=2 is newer than schema=1, which pruning-harness ...

    Raises:
        ValueError: the row says another schema, or none.
    """
    schema = row.get("schema") if isinstance(row, dict) else None
    reader = f"pruning-harness {__version__} reads"
    if type(schema) is int and schema > known:
        raise ValueError(
            f"{where}: schema={schema} is newer than schema={known}, which {reader}; install the "
            "version that wrote it, or a later one"
        )
    if type(schema) is not int or schema != known:
        raise ValueError(f"{where}: schema={schema}, but {reader} schema={known}; redo the run")


def refuse_constant(word: str) -> None:
    """
    Raises:
        ValueError: always; json has met NaN or Infinity.
    """
    raise ValueError(f"{word} is no number")


_TYPED = JsonSchema(Record, SHARES)
