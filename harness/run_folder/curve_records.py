"""Reads and writes sensitivity.jsonl, one JSON line per layer and density; needs no torch."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness.run_folder import records
from harness.run_folder.identity import Config
from harness.system.json_schema import JsonSchema, parse_json, refuse_constant, replace_non_finite

FILE = "sensitivity.jsonl"
SCHEMA = 1

# Config keys that decide the curves.
DECIDES = (
    "seed", "model", "data", "data_sha256", "task", "training", "dtype", "weights",
    "sync_batch_norm", "gradient_dtype", "prune_at", "calibration", "saliency", "structure",
    "exclude",
)  # fmt: skip


@dataclass(frozen=True)
class Sensitivity:
    """Holds the validation results of a model in which only one layer is pruned.

    A loss of null: the model's outputs are not finite. Lines have the order of the model's layers,
    and within a layer falling density from 1.
    """

    run: str  # first 12 hex digits of the analysis's hash
    setting: str  # hash of its config without the seed
    method: str  # "magnitude-element", with "-at_init" if nothing was trained
    label: str  # "magnitude / element"
    saliency: str
    structure: str
    model: str
    data: str
    seed: int
    layer: str  # name of the weight; of a group the first, "stem.weight (and 6 more)"
    density: float  # requested: kept fraction of the layer's units, in (0, 1]
    kept: int  # units
    units: int  # of the layer
    top1: float  # fraction of samples in [0, 1]
    loss: float | None  # mean per sample
    dense_top1: float  # of the unpruned model
    dense_loss: float | None
    schema: int = SCHEMA


def to_lines(curves: Iterable[Sensitivity]) -> str:
    return "".join(
        json.dumps(replace_non_finite(asdict(curve)), allow_nan=False) + "\n" for curve in curves
    )


def read(path: Path) -> list[Sensitivity]:
    """Returns the records of a file.

    Raises:
        ValueError: a line is of another schema, or none of these records; it names file and line.
    """
    return [_parse(f"{path}, line {n}", line) for n, line in enumerate(records.lines(path), 1)]


def _parse(where: str, line: str) -> Sensitivity:
    try:
        row: Any = parse_json(line, parse_constant=refuse_constant)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}); redo the analysis") from error
    records.check_schema(where, row, SCHEMA)
    names = {field.name for field in fields(Sensitivity)}
    if row.keys() != names:
        raise ValueError(f"{where}: fields differ: {sorted(row.keys() ^ names)}")
    if wrong_fields := _TYPED.invalid_fields(row):
        raise ValueError(f"{where}: {', '.join(wrong_fields)}; redo the analysis")
    return Sensitivity(**row)


_TYPED = JsonSchema(Sensitivity, ("density", "top1", "dense_top1"))


def curve_config(hashed_config: Config, grid: Any) -> Config:
    """Returns the part of a run's config that decides the curves, each density of the grid once.

    An invalid grid is left as it is: `check_grid` reports it.
    """
    kept = {key: value for key, value in hashed_config.items() if key in DECIDES}
    proper = isinstance(grid, list) and all(isinstance(density, int | float) for density in grid)
    return {**kept, "sensitivity": {"grid": sorted(set(grid), reverse=True) if proper else grid}}
