"""Builds the rows that a section's charts draw, as plain data for the page."""

from typing import Any

import pandas as pd

from harness.report.figures.lines import Axis, iterate_rows, measured
from harness.report.page.charts import number
from harness.report.read.survey import Section
from harness.report.significance.pareto import front
from harness.report.significance.summary import cell, points, times

Rows = list[dict[str, Any]]


def rows(section: Section, curves: pd.DataFrame) -> dict[str, Rows]:
    """Returns the rows of a section by the names that harness.report.page.charts uses."""
    axes = measured(section.pruned)
    fronts = {axis.name: front(section.pruned, axis.column) for axis in axes if axis.ratio}
    columns = {f"front_{name}": is_on for name, is_on in fronts.items()}
    marked = pd.DataFrame(columns, index=section.pruned.index)
    flags = marked.to_dict("records")
    return {
        "points": [
            {**_point(row, axes, section.measure.factor), **on_fronts}
            for (_, row), on_fronts in zip(section.pruned.iterrows(), flags, strict=True)
        ],
        "dense": [_dense(row, section.measure.factor) for _, row in section.dense.iterrows()],
        "published": [_published(row) for row in iterate_rows(section.published)],
        "curves": [
            {
                "label": row.label,
                "requested": number(row.requested),
                "epoch": row.epoch,
                "loss": number(row.loss, digits=4),
                "top1_percent": number(row.top1_percent, digits=4),
            }
            for row in iterate_rows(curves)
        ],
    }


def _point(row: "pd.Series[Any]", axes: list[Axis], factor: int) -> dict[str, Any]:
    top1, change = factor * row["top1_fraction_mean"], row["change_points_mean"]
    return {
        "label": row["label"],
        "requested": number(row["requested_compression_ratio"]),
        "requested_text": times(row["requested_compression_ratio"]),
        "text": cell(row),
        "change_text": points(change),
        "x_text": f"{times(row['compression_ratio_mean'])} smaller, {_fewer(row)}",
        **{axis.name: _on(axis, number(row[axis.column])) for axis in axes},
        **{
            f"{axis.name}_{end}": _on(axis, number(row[column]))
            for axis in axes
            for end, column in zip(("low", "high"), axis.ends, strict=False)
        },
        "top1": number(top1),
        **_around("top1", top1, factor * row["top1_fraction_std"]),
        "change": number(change),
        **_around("change", change, row["change_points_std"]),
    }


def _on(axis: Axis, value: float | None) -> float | None:
    # A logarithmic axis has no 0.
    return value or None if axis.ratio else value


def _fewer(row: "pd.Series[Any]") -> str:
    speedup = row["speedup_ratio_mean"]
    if pd.isna(speedup):
        return "multiply-accumulates unknown"
    return f"{times(speedup)} fewer multiply-accumulates"


def _around(name: str, mean: float, std: float) -> dict[str, float | None]:
    return {f"{name}_less": number(mean - std), f"{name}_more": number(mean + std)}


def _dense(row: "pd.Series[Any]", factor: int) -> dict[str, Any]:
    top1 = number(factor * row["top1_fraction_mean"])
    return {"label": row["label"], "top1": top1, "text": cell(row)}


def _published(row: Any) -> dict[str, Any]:
    return {
        "label": row.label,
        "compression": number(row.compression_ratio),
        "speedup": number(row.speedup_ratio),
        "top1": number(row.top1_fraction_mean, 100),
        "text": published_text(row),
        "where": f"{row.citation}, {row.where}",
        "definition": row.definition,
    }


def published_text(row: Any) -> str:
    std = "" if pd.isna(row.top1_fraction_std) else f" ± {100 * row.top1_fraction_std:.2f}"
    return f"{100 * row.top1_fraction_mean:.2f}{std}"
