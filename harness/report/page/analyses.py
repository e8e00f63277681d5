"""Shows sensitivity analyses on the page: a curve per layer, and a heat map over densities."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.report.figures.lines import iterate_rows
from harness.report.figures.styles import LineStyle, line_styles
from harness.report.page.charts import Spec, layers, number
from harness.report.page.html import Cell, Row, table
from harness.report.read.layer_curves import analyses, caption, wide
from harness.report.read.layer_curves import number as number_text
from harness.report.significance.summary import spread


@dataclass(frozen=True)
class Analysis:
    """Holds one sensitivity analysis as the page shows it."""

    title: str
    caption: str
    styles: dict[str, LineStyle]
    rows: dict[str, list[dict[str, Any]]]
    chart: Spec
    table: str


def analyses_of(summary: pd.DataFrame) -> Iterator[Analysis]:
    for title, rows in analyses(summary):
        styles = line_styles(list(dict.fromkeys(map(str, rows["layer"]))))
        dense = 100 * rows["dense_top1_fraction_mean"].iloc[0]
        chart = layers(rows["density"].tolist(), styles, dense)
        yield Analysis(title, caption(rows), styles, _rows(rows), chart, _table(rows))


def _rows(rows: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    return {
        "points": [
            {
                "label": str(row.layer),
                "density": row.density,
                "top1": number(100 * row.top1_fraction_mean),
                "top1_text": _spread(row),
                "kept": f"{row.kept_units} of {row.units}",
                "loss": number(row.loss_mean, digits=4),
                "dense_loss": number(row.dense_loss_mean, digits=4),
            }
            for row in iterate_rows(rows)
        ]
    }


def _spread(row: Any) -> str:
    mean, std = 100 * row.top1_fraction_mean, 100 * row.top1_fraction_std
    return spread(f"{mean:.2f}", std, row.seeds, row.failed_seeds)


def _table(rows: pd.DataFrame) -> str:
    changes = wide(rows, "change_points_mean")
    most = float(np.nanmax(np.abs(changes.to_numpy()), initial=1.0))
    lines = [
        Row(str(layer), [_change(value, most) for value in values], str(layer))
        for layer, values in zip(changes.index, changes.to_numpy(), strict=True)
    ]
    heads = ["Layer, density", *(f"{density:g}" for density in changes.columns)]
    title = "Change of top-1 against the unpruned model, in points"
    return f"<h3>{title}</h3>{table(title, heads, lines, 'heat')}"


def _change(value: float, most: float) -> Cell:
    return Cell(
        number_text(value, "+.1f"), heat=None if np.isnan(value) else min(1, abs(value) / most)
    )
