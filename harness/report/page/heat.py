"""Heat maps as tables: every cell holds its number, the shade only helps the eye."""

from collections.abc import Iterator

import pandas as pd

from harness.report.figures.lines import iterate_rows
from harness.report.page.html import Cell, Row, details, table
from harness.report.read.survey import Section
from harness.report.significance.summary import times

_OVERLAP = (
    "Intersection over union of the masks of two methods, mean over seeds; of independent random "
    "masks at density d it would be d / (2 - d)"
)


def densities(section: Section) -> Iterator[str]:
    """Kept share of each layer in %, per method and requested compression."""
    found = layer_densities(section.results)
    if found.empty:
        return
    maps = "".join(f"<div>{_map(str(label), rows)}</div>" for label, rows in found.groupby("label"))
    yield "<h3>Density of each layer</h3>"
    yield details(
        "Heat map per method: kept weights in %", f'<div class="maps">{maps}</div>', opened=True
    )


def layer_densities(results: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds: columns label, position (in the network), layer, requested, density."""
    rows = [
        (row.label, place, layer, row.requested, density)
        for row in iterate_rows(results[results["level"] > 0])
        for place, (layer, density) in enumerate(row.layers.items())
    ]
    keys = ["label", "position", "layer", "requested"]
    frame = pd.DataFrame(rows, columns=[*keys, "density"])
    return frame.groupby(keys)["density"].mean().reset_index()


def _map(label: str, rows: pd.DataFrame) -> str:
    wide = rows.pivot(index=["position", "layer"], columns="requested", values="density")
    lines = [
        Row(str(layer).removesuffix(".weight"), [_share(share) for share in shares], label)
        for (_, layer), shares in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return table(label, ["Layer", *map(times, wide.columns.astype(float))], lines, "heat")


def _share(share: float) -> Cell:
    if pd.isna(share):
        return Cell("-")
    # The square root tells 1 % from 5 %.
    return Cell(f"{100 * share:.3g}", heat=float(share) ** 0.5)


def overlaps(section: Section) -> Iterator[str]:
    """A table of methods by methods for each requested compression at which masks can be read."""
    if section.overlap.empty:
        return
    yield "<h3>Overlap of masks</h3>"
    yield f"<p>{_OVERLAP}.</p>"
    for requested, rows in section.overlap.groupby("requested"):
        yield details(
            f"At {times(float(str(requested)))}", _square(rows, times(float(str(requested))))
        )


def _square(rows: pd.DataFrame, at: str) -> str:
    turned = rows.rename(columns={"one": "other", "other": "one"})
    wide = pd.concat([rows, turned]).pivot(index="one", columns="other", values="iou")
    lines = [
        Row(str(label), [_overlap(value) for value in values], str(label))
        for label, values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return table(f"Overlap at {at}", ["Method", *map(str, wide.columns)], lines, "heat")


def _overlap(value: float) -> Cell:
    return Cell("1" if pd.isna(value) else f"{value:.2f}", heat=1 if pd.isna(value) else value)
