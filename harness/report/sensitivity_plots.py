"""Sensitivity analyses on the page: a curve per layer, and a heat map of layers by densities."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from harness.report.lines import DENSE_COLOUR, Look, looks
from harness.report.plots import GRID, frame, to_html
from harness.report.sensitivity import analyses, caption, number, wide

_TICKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_CURVE_HOVER = (
    "<b>%{customdata[0]}</b><br>density %{x:.4g}, %{customdata[1]} units kept<br>"
    "top-1 %{customdata[2]} %<br>loss %{customdata[3]:.4f} (dense %{customdata[4]:.4f})"
    "<extra></extra>"
)
_MAP_HOVER = "<b>%{y}</b><br>density %{x}<br>top-1 %{text} points<extra></extra>"


def sections(summary: pd.DataFrame) -> list[str]:
    """HTML: per analysis a curve per layer, and a heat map of the change against dense."""
    return [_section(n, title, rows) for n, (title, rows) in enumerate(analyses(summary))]


def _section(index: int, title: str, rows: pd.DataFrame) -> str:
    figures = {"curves": _curves(rows), "map": _heat_map(rows)}
    names = {"curves": "a curve per layer", "map": "heat map of layers by densities"}
    drawn = [
        f'<div class="figure" role="figure" aria-label="{escape(f"{title}: {names[kind]}")}">'
        f"{to_html(f'sensitivity-{index}-{kind}', figure)}</div>"
        for kind, figure in figures.items()
    ]
    said = f"<p>{escape(caption(rows))}.</p>"
    change = "<h3>Change of top-1 against the network with nothing pruned, in points</h3>"
    return f"<section><h2>{escape(title)}</h2>{said}{drawn[0]}{change}{drawn[1]}</section>"


def _curves(rows: pd.DataFrame) -> go.Figure:
    by_layer = [(str(layer), of) for (_, layer), of in rows.groupby(["position", "layer"])]
    styles = looks([layer for layer, _ in by_layer])
    figure = go.Figure(layout=_layout(len(by_layer), rows["density"].min()))
    for layer, curve in by_layer:
        figure.add_trace(_trace(layer, curve, styles[layer]))
    figure.add_hline(y=100 * rows["dense_top1_share_mean"].iloc[0], line_color=DENSE_COLOUR)
    return figure


def _trace(layer: str, curve: pd.DataFrame, look: Look) -> go.Scatter:
    hover = [
        [escape(layer), f"{row.kept_units} of {row.units}", _spread(row), row.loss_mean,
         row.dense_loss_mean]
        for row in curve.itertuples()
    ]  # fmt: skip
    return go.Scatter(
        name=escape(layer),
        x=curve["density"].tolist(),
        y=(100 * curve["top1_share_mean"]).tolist(),
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash[1], "width": 2},
        marker={"symbol": look.marker[1], "size": 8},
        customdata=hover,
        hovertemplate=_CURVE_HOVER,
    )


def _spread(row: Any) -> str:
    mean, std = 100 * row.top1_share_mean, 100 * row.top1_share_std
    return f"{mean:.2f} (n=1)" if row.seeds < 2 else f"{mean:.2f} ± {std:.2f} ({row.seeds})"


def _layout(layers: int, least: float) -> dict[str, Any]:
    marks = [mark for mark in _TICKS if mark >= 0.9 * least]
    return {
        **frame(420 + 20 * layers),
        "showlegend": True,
        "xaxis": {
            "type": "log",
            "title": {"text": "Density of the layer"},
            # From dense on the left to pruned on the right.
            "range": [np.log10(1.1), np.log10(least / 1.1)],
            "tickvals": marks,
            "ticktext": [f"{mark:g}" for mark in marks],
            "gridcolor": GRID,
            "zeroline": False,
        },
        "yaxis": {"title": {"text": "Validation top-1, %"}, "gridcolor": GRID, "zeroline": False},
    }


def _heat_map(rows: pd.DataFrame) -> go.Figure:
    changes = wide(rows, "change_points_mean")
    values = changes.to_numpy()
    most = np.nanmax(np.abs(values), initial=1.0)
    cells = go.Heatmap(
        x=[f"{density:g}" for density in changes.columns],
        y=[escape(str(layer)) for layer in changes.index],
        z=[[None if np.isnan(value) else value for value in line] for line in values.tolist()],
        text=[[number(value, "+.1f") for value in line] for line in values],
        texttemplate="%{text}",
        # White is no change, as on both sides of 0.
        colorscale="RdBu",
        zmin=-most,
        zmax=most,
        # The numbers stand in the cells.
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate=_MAP_HOVER,
    )
    axis = {"type": "category", "zeroline": False, "showgrid": False}
    layout = {
        **frame(120 + 28 * len(changes)),
        "xaxis": {**axis, "title": {"text": "Density of the layer"}},
        "yaxis": {**axis, "autorange": "reversed", "automargin": True},
    }
    return go.Figure(cells, layout=layout)
