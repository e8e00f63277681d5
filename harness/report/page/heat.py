"""Builds heat maps as tables; every cell has its number, and a shade."""

from collections.abc import Iterator

import pandas as pd

from harness.report.figures.lines import iterate_rows
from harness.report.page.html import Cell, Row, details, table
from harness.report.read.survey import Section
from harness.report.significance.summary import times

_OVERLAP = (
    "Intersection over union of the masks of two methods, mean over seeds; independent random "
    "masks of density d have d / (2 - d)"
)


def densities(section: Section) -> Iterator[str]:
    """Yields heat maps of the density of each layer in %, per method and requested compression."""
    layers = layer_densities(section.results)
    if layers.empty:
        return
    maps = "".join(
        f"<div>{_map(str(label), rows)}</div>" for label, rows in layers.groupby("label")
    )
    yield "<h3>Density of each layer</h3>"
    yield details(
        "Heat map per method: kept weights in %", f'<div class="maps">{maps}</div>', opened=True
    )


def layer_densities(results: pd.DataFrame) -> pd.DataFrame:
    """Returns means over seeds in the columns label, position, layer, requested, density."""
    rows = [
        (row.label, position, layer, row.requested, density)
        for row in iterate_rows(results[results["level"] > 0])
        for position, (layer, density) in enumerate(row.layers.items())
    ]
    keys = ["label", "position", "layer", "requested"]
    frame = pd.DataFrame(rows, columns=[*keys, "density"])
    return frame.groupby(keys)["density"].mean().reset_index()


def _map(label: str, rows: pd.DataFrame) -> str:
    wide = rows.pivot(index=["position", "layer"], columns="requested", values="density")
    lines = [
        Row(
            str(layer).removesuffix(".weight"),
            [_density_cell(density) for density in densities],
            label,
        )
        for (_, layer), densities in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return table(label, ["Layer", *map(times, wide.columns.astype(float))], lines, "heat")


def _density_cell(density: float) -> Cell:
    if pd.isna(density):
        return Cell("-")
    # With the square root, 1 % and 5 % have different shades.
    return Cell(f"{100 * density:.3g}", heat=float(density) ** 0.5)


def overlaps(section: Section) -> Iterator[str]:
    """Yields a table of methods x methods per requested compression with readable masks."""
    if section.overlap.empty:
        return
    yield "<h3>Overlap of masks</h3>"
    yield f"<p>{_OVERLAP}.</p>"
    for requested, rows in section.overlap.groupby("requested"):
        yield details(
            f"At {times(float(str(requested)))}", _square(rows, times(float(str(requested))))
        )


def _square(rows: pd.DataFrame, at: str) -> str:
    swapped = rows.rename(columns={"first": "second", "second": "first"})
    wide = pd.concat([rows, swapped]).pivot(index="first", columns="second", values="iou")
    lines = [
        Row(str(label), [_overlap(value) for value in values], str(label))
        for label, values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return table(f"Overlap at {at}", ["Method", *map(str, wide.columns)], lines, "heat")


def _overlap(value: float) -> Cell:
    return Cell("1" if pd.isna(value) else f"{value:.2f}", heat=1 if pd.isna(value) else value)
