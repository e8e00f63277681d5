"""Interactive figures for the page: a line per method with error bars; the legend hides lines."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io

from harness.report.lines import ACCURACY, DENSE_COLOUR, Look, lines, span, ticks
from harness.report.summary import cell, times
from harness.report.survey import Section

GRID = "rgba(128, 128, 128, 0.3)"
_BUTTONS = [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]
_CLEAR = "rgba(0, 0, 0, 0)"
# Label and cell as they stand in the tables, then the measured x.
_HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>measured %{x:.4g}x<extra></extra>"


def plot(name: str, section: Section, x: str, title: str, styles: dict[str, Look]) -> str:
    """The HTML of one figure; `name` is its id, `x` the summary's column on the x axis."""
    marks = ticks(section.pruned[x])
    figure = go.Figure(layout=_layout(title, marks, len(styles)))
    for _, row in section.dense.iterrows():
        figure.add_trace(_dense_trace(row, marks))
    for label, line in lines(section.pruned, x):
        figure.add_trace(_trace(label, line, styles[label]))
    return to_html(name, figure)


def to_html(name: str, figure: go.Figure) -> str:
    """The figure without plotly's own code; `name` is its id."""
    html: str = plotly.io.to_html(
        figure,
        full_html=False,
        # The page holds it once.
        include_plotlyjs=False,
        div_id=name,
        config={"responsive": True, "displaylogo": False, "modeBarButtons": _BUTTONS},
    )
    return html


def _trace(label: str, line: pd.DataFrame, look: Look) -> go.Scatter:
    # plotly reads <b> and <a> in names as markup, so they are escaped here too.
    name = escape(label)
    return go.Scatter(
        name=name,
        x=line["x"].tolist(),
        y=line["y"].tolist(),
        error_y={"array": [None if pd.isna(e) else e for e in line["error"]], "thickness": 1.2},
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash[1], "width": 2},
        marker={"symbol": look.marker[1], "size": 8},
        customdata=[[name, _at(row)] for _, row in line.iterrows()],
        hovertemplate=_HOVER,
    )


def _at(row: "pd.Series[Any]") -> str:
    return f"{cell(row)} % at {times(row['target_compression_ratio'])} asked"


def _dense_trace(row: "pd.Series[Any]", marks: list[float]) -> go.Scatter:
    return go.Scatter(
        name=escape(row["label"]),
        x=span(marks),
        y=[100 * row["top1_share_mean"]] * 2,
        mode="lines",
        line={"color": DENSE_COLOUR, "width": 1.5},
        hovertemplate=f"{escape(row['label'])}: {cell(row)} %<extra></extra>",
    )


def frame(height: int) -> dict[str, Any]:
    """The layout that all figures share, but for their axes."""
    return {
        "template": "none",
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 30, "b": 60},
        "legend": {"orientation": "h", "y": -0.22, "yanchor": "top"},
        "modebar": {"bgcolor": _CLEAR, "color": DENSE_COLOUR, "activecolor": "#0072b2"},
    }


def _layout(title: str, marks: list[float], methods: int) -> dict[str, Any]:
    return {
        # The legend lies below, in up to a row per method on a phone.
        **frame(420 + 20 * methods),
        "xaxis": {
            "type": "log",
            "title": {"text": title},
            "range": np.log10(span(marks)).tolist(),
            "tickvals": marks,
            "ticktext": [f"{mark:g}x" for mark in marks],
            "gridcolor": GRID,
            "zeroline": False,
        },
        "yaxis": {"title": {"text": ACCURACY}, "gridcolor": GRID, "zeroline": False},
    }
