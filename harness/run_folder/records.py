"""Defines the record of a level and stage, one JSON line in records.jsonl; needs no torch."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness import __version__
from harness.system.json_schema import JsonSchema, parse_json, refuse_constant, replace_non_finite
from harness.task.shared.measures import TOP1, Measured

# The schema of a line; CHANGELOG.md says what a new one changes.
SCHEMA = 1
# What the ratios count, in the whole model; excluded layers count too.
COMPRESSION_OF = "all parameters; weights by their non-zeros, biases and norms with their units"
SPEEDUP_OF = "multiply-accumulates of one sample; weights by their non-zeros"
# Stages of a level, in order.
STAGES = ("penalised", "pruned", "recalibrated", "finetuned")

# Fields in [0, 1], or null if they were not measured.
FRACTIONS = (
    *("requested_density", "density", "density_of_masks", "density_of_weights"),
    *("effective_density", "top1", "top5", "validation_top1"),
)


def stage_index(level: int, stage: str) -> int:
    """Returns the ordinal of a stage in its run; 0 for level 0.

    >>> stage_index(0, "dense"), stage_index(1, "penalised"), stage_index(2, "finetuned")
    (0, 1, 8)
    """
    return len(STAGES) * (level - 1) + 1 + STAGES.index(stage) if level else 0


@dataclass(frozen=True)
class Record(Measured):
    """Holds the results of a run at one level and stage; config, seed and numerics decide them.

    Levels: 0 is before pruning. Stages: "initial" (level 0 of a run that prunes at
    initialisation), "dense" (level 0 after dense training), "penalised" (trained with a penalty
    before the level's pruning), "pruned" (masks shrunk, not yet retrained), "recalibrated"
    (statistics of BatchNorm recomputed), "finetuned" (retrained under the masks).

    No number is infinite or NaN; it is null instead. A loss of null: outputs are not finite, and
    the run counts as failed. A compression of null: no parameter is left. A speed-up of null: no
    multiplication is left (macs is 0), or operators could not be counted (uncounted_operators),
    and macs and training_flops are null too.
    """

    run: str  # first 12 hex digits of the run's hash
    method: str  # file name of the method in conf/method/, or its parts joined by "-"
    label: str  # method.label, as the field writes it: "Global Magnitude"
    setting: str  # hash of the config without seed and end point: one line in a figure
    model: str  # the model's own `name`, or the chosen file in conf/model/
    data: str  # likewise
    # Names in the literature, as the classes declare them.
    model_published_as: str | None
    data_published_as: str | None
    seed: int
    level: int
    stage: str
    # What densities are the kept fraction of: the units that the structure may prune, as in
    # "weights, without fc3", "weights, with output layer fc3". A unit counts by all its parameters.
    density_of: str
    # What the schedule names, as a density and as a compression. The one that it does not name is
    # converted, of whole units as if all groups kept equal fractions; `density` and `compression`
    # are measured. requested_counts says what both count.
    requested_density: float  # in (0, 1]
    requested_compression: float  # parameters of the whole model before / after, >= 1
    density: float  # measured: single weights that are not 0, units with such a weight, in [0, 1]
    density_of_weights: float  # non-zero fraction in convolutions and linear layers, in [0, 1]
    compression: float | None  # before / after; compression_of says what it counts
    speedup: float | None  # theoretical, before / after; speedup_of says what it counts
    parameters: int  # left
    macs: int | None  # left, per sample
    # Test data, fraction of samples in [0, 1]; None: the task has other measures.
    top1: float | None
    top5: float | None
    loss: float | None  # test data, mean per sample
    validation_top1: float | None
    validation_loss: float | None
    epochs: float  # trained since the previous record; an integer except during a training
    steps: int
    layers: dict[str, float]  # as density_of_weights, per tensor
    masks: str  # digest of the masks in force, "" when dense
    # Samples in BatchNorm's statistics: "none" (no BatchNorm), "per_rank", or "all_ranks".
    batch_norm: str = "none"
    norms: str = "exact"  # "living": LayerNorms over pruned units count the units left alone
    # Fraction of weights in convolutions and linear layers on a path of non-zero weights from input
    # to output, in [0, density_of_weights]; None: not measured.
    effective_density: float | None = None
    effective_density_unknown: str | None = None  # why it could not be measured
    empty_layers: list[str] | None = None  # prunable tensors without a non-zero weight
    # Neurons or filters without live input or output, for each prunable tensor that has any.
    dead_units: dict[str, int] | None = None
    examples: int | None = None  # trained on since the previous record
    # 6 x multiply-accumulates x examples (2 FLOPs each, once forward and twice backward): under
    # masks, and for the dense model in the same steps.
    training_flops: int | None = None
    training_flops_dense: int | None = None
    # State of the optimizer at the start: "reset" (none), "kept" (inside one training; 0 for pruned
    # weights), "" (nothing was trained).
    optimizer_state: str | None = None
    # L2 norm of unpruned weights' gradients at a retraining's last step, unclipped; else None.
    gradient_norm: float | None = None
    # True for a level before the last whose accuracy is no result: masks shrink inside one
    # training, or are soft.
    is_intermediate: bool = False
    # Density of the masks. `density` is lower if a kept weight is 0.
    density_of_masks: float | None = None
    # What requested_density and requested_compression count: "parameters", or "macs"
    # (allocation.budget=macs, schedule.unit=speedup). With "nanoseconds" (schedule.unit=latency)
    # the density counts parameters, and the compression is dense / left by the latency table.
    requested_counts: str = "parameters"
    compression_of: str = COMPRESSION_OF
    speedup_of: str = SPEEDUP_OF
    # One value per epoch of the training that ended with this record; empty: none ended. Mean loss
    # per sample, as minimised but without a penalty; the primary measure on validation data.
    epoch_losses: list[float] | None = None
    epoch_validation: list[float] | None = None
    # Rows [steps done, loss, measure] on validation data, of a recipe with validate_every, and the
    # first of them with the smallest loss: step, validation_loss, and value, on test data.
    # An analysis, on which nothing depends: results are those of the last step.
    validations: list[list[float | None]] | None = None
    early_stop: dict[str, float] | None = None
    # By the run's latency table, without pruned units: of a forward pass, and dense / left.
    table_milliseconds: float | None = None
    table_speedup: float | None = None
    # Operators whose multiplications are unknown -> the weights that enter them.
    uncounted_operators: dict[str, list[str]] = field(default_factory=dict)
    perplexity: float | None = None  # exp(loss), >= 1; None: the loss is not in nats per token
    # Further measures, by name, on test and on validation data; those of task.metrics by class.
    measures: dict[str, float] = field(default_factory=dict)
    validation_measures: dict[str, float] = field(default_factory=dict)
    measure: str = TOP1.name  # the primary one, which reports show, or a name in `measures`
    measure_title: str = TOP1.title  # in figures and tables
    measure_is_fraction: bool = TOP1.is_fraction  # in [0, 1], shown in %
    higher_is_better: bool = TOP1.higher_is_better
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, replace_non_finite(value))


@dataclass(frozen=True)
class Trained:
    """Holds what was trained since the previous record, under the record's names."""

    epochs: float = 0
    steps: int = 0
    examples: int = 0
    training_flops: int = 0
    training_flops_dense: int = 0
    optimizer_state: str = ""
    gradient_norm: float | None = None
    epoch_losses: list[float] = field(default_factory=list)
    epoch_validation: list[float] = field(default_factory=list)
    validations: list[list[float | None]] = field(default_factory=list)
    early_stop: dict[str, float] | None = None


NO_TRAINING = Trained()


@dataclass(frozen=True)
class Identity:
    """Holds the fields that are equal in all records of a run."""

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
    """Returns all complete records of a file; none if `missing_ok` and it is missing.

    Raises:
        ValueError: a line has another schema or is no record; the message names file and line.
    """
    if not missing_ok:
        path.stat()
    return [_parse(path, number, line) for number, line in enumerate(lines(path), start=1)]


def lines(path: Path) -> list[str]:
    """Returns complete lines; a last line without newline was truncated by a kill."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _parse(path: Path, number: int, line: str) -> Record:
    where = f"{path}, line {number}"
    try:
        row: Any = parse_json(line, parse_constant=refuse_constant)
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
    """Checks the schema of a line.

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


_TYPED = JsonSchema(Record, FRACTIONS)
