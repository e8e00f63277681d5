"""Reads sensitivity analyses, averages them over seeds, and writes a table and a CSV file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from harness.report.console import plain_console, to_csv
from harness.report.read.folders import damaged
from harness.report.read.setting_names import with_distinct_labels, with_distinct_parts
from harness.run_folder.curve_records import FILE, read
from harness.run_folder.outcome import below
from harness.system.names import printable

_KEYS = ["model", "data", "label", "setting"]
_POINT = [*_KEYS, "position", "layer", "density"]


def load(runs: Path, notes: list[str] | None = None) -> pd.DataFrame:
    """Returns a row per analysis, layer and density: means over the seeds, or an empty table.

    An analysis whose file is not as it was written is left out, and `notes` gets a note.

    top1_fraction and loss are measured on validation data. change_points is top-1 minus that of the
    dense model. A seed whose loss is null does not count.

    Raises:
        ValueError: a line of a file cannot be read.
    """
    files = {path: damaged(path.parent, FILE) for path in below(runs, FILE)}
    if notes is not None:
        left_out = [f"analysis left out: {text}" for text in files.values() if text]
        notes += [f"{text}; repeat the analysis with its command" for text in left_out]
    rows = [
        {**row, "folder": path.parent.relative_to(runs).as_posix()}
        for path, text in files.items()
        if not text
        for row in _rows(path)
    ]
    if not rows:
        return pd.DataFrame(columns=_POINT)
    named, part_notes = with_distinct_parts(pd.DataFrame(rows), runs)
    named, label_notes = with_distinct_labels(named, runs)
    if notes is not None:
        notes += [*part_notes, *label_notes]
    return _summarised(named)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    points = read(path)
    layers = dict.fromkeys(point.layer for point in points)
    positions = {layer: position for position, layer in enumerate(layers)}
    for point in points:
        failed = point.loss is None
        change = 100 * (point.top1 - point.dense_top1)
        # The outputs of a failed model are NaN: argmax returns a class, which is right by chance.
        measured = {"top1": None, "loss": None, "change": None} if failed else {"change": change}
        texts = {key: printable(text) for key, text in vars(point).items() if type(text) is str}
        yield {**vars(point), **texts, **measured, "position": positions[point.layer]}


def _summarised(rows: pd.DataFrame) -> pd.DataFrame:
    # The same analysis in two sweeps counts once.
    once = rows.drop_duplicates([*_POINT, "seed"])
    means = once.astype({"top1": float, "loss": float, "change": float}).groupby(_POINT)
    return means.agg(
        saliency=("saliency", "first"),
        structure=("structure", "first"),
        seeds=("top1", "count"),
        failed_seeds=("top1", lambda top1: int(top1.isna().sum())),
        kept_units=("kept", "first"),
        units=("units", "first"),
        top1_fraction_mean=("top1", "mean"),
        top1_fraction_std=("top1", "std"),
        loss_mean=("loss", "mean"),
        dense_top1_fraction_mean=("dense_top1", "mean"),
        dense_loss_mean=("dense_loss", "mean"),
        change_points_mean=("change", "mean"),
        change_points_std=("change", "std"),
    ).reset_index()


def analyses(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields title and rows of each analysis: layers in model order, densities falling."""
    if summary.empty:
        return
    for (model, data, label), same in summary.groupby(["model", "data", "label"]):
        ordered = same.sort_values(["position", "density"], ascending=[True, False])
        yield f"Sensitivity of {model} on {data}: {label}", ordered


def write_csv(summary: pd.DataFrame, out: Path) -> list[Path]:
    if summary.empty:
        return []
    path = out / "sensitivity.csv"
    ordered = pd.concat([rows for _, rows in analyses(summary)])
    to_csv(ordered.drop(columns="position"), path, float_format="%.8g")
    return [path]


def print_tables(summary: pd.DataFrame) -> None:
    """Prints a table per analysis: top-1 in %, a row per layer, a column per density."""
    console = plain_console()
    for title, rows in analyses(summary):
        console.print(Text(title, style="bold"))
        console.print(f"{caption(rows)}\n")
        console.print(_table(rows))
        console.print()


def caption(rows: pd.DataFrame) -> str:
    dense, seeds = 100 * rows["dense_top1_fraction_mean"].iloc[0], rows["seeds"].max()
    return (
        f"Validation top-1 in %, mean of {seeds} {'seed' if seeds == 1 else 'seeds'}: one layer "
        f"pruned alone, nothing retrained; nothing pruned: {dense:.2f}"
    )


def _table(rows: pd.DataFrame) -> Table:
    means = wide(rows, "top1_fraction_mean")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Layer, density", overflow="fold")
    for density in means.columns:
        table.add_column(f"{density:g}", justify="right", no_wrap=True)
    for layer, values in zip(means.index, means.to_numpy(), strict=True):
        table.add_row(Text(str(layer)), *(number(100 * value, ".1f") for value in values))
    return table


def wide(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Returns a column as a table: layers in model order x falling densities."""
    cells = rows.pivot(index=["position", "layer"], columns="density", values=column)
    return cells.sort_index().droplevel("position").sort_index(axis=1, ascending=False)


def number(value: float, form: str) -> str:
    return "failed" if np.isnan(value) else format(value, form)
