"""Specifies interactive figures in Vega-Lite: plain data, which the page's script draws.

A chart names its rows ("points", "dense", ...), which the page holds once per section. Every chart
has the parameter `hidden`: the labels that the reader has switched off.
"""

import math
from collections.abc import Iterable
from typing import Any

from harness.report.figures.lines import (
    DENSE_COLOUR,
    Axis,
    span,
    ticks,
)
from harness.report.figures.styles import LineStyle
from harness.task.shared.measures import TOP1, Measure

Spec = dict[str, Any]

_SHOWN = "indexof(hidden, datum.label) < 0"
_HEIGHT = 320


def accuracy(
    axis: Axis,
    values: Iterable[float],
    styles: dict[str, LineStyle],
    dense: bool,
    published: dict[str, LineStyle],
    measure: Measure = TOP1,
) -> Spec:
    """Specifies a measure against an axis: a line per method with bars of one std over seeds.

    dense: True if the section has dense rows. published: the styles of published results.
    """
    x, y = _x(axis, values), _y("top1", measure.axis)
    behind = [*([_dense("top1")] if dense else []), *([_front(x, y)] if axis.ratio else [])]
    bars = [_bars(x, "top1_less", "top1_more", styles)]
    bars += [_beside(x, y, styles)] if axis.ends else []
    # Bars are behind the points, which react to the mouse.
    layers = [*behind, *bars, *_lines(x, y, styles), *_published(axis, x, y, published)]
    return _chart(f"{measure.title} against {axis.title}, a line per method", layers)


def change(
    axis: Axis, values: Iterable[float], styles: dict[str, LineStyle], measure: Measure = TOP1
) -> Spec:
    """Specifies the change against the dense model of the same seed."""
    x, y = _x(axis, values), _y("change", measure.change)
    zero = {"data": {"values": [{"y": 0}]}, "mark": _rule(), "encoding": {"y": _q("y")}}
    layers = [zero, _bars(x, "change_less", "change_more", styles), *_lines(x, y, styles)]
    return _chart(f"{measure.change}, against {axis.title}", layers)


def curve(field: str, title: str, styles: dict[str, LineStyle]) -> Spec:
    """Specifies a learning curve per method; the reader chooses the compression (`requested`)."""
    x = {**_q("epoch"), "title": "Epoch of the whole run"}
    encoding = {"x": x, "y": _y(field, title), "tooltip": _tips("label", "epoch", field)}
    line = {"mark": {"type": "line"}, "encoding": {**encoding, **_style_channels(styles, "line")}}
    chosen = _rows("curves", "datum.requested === requested")
    drawn = _chart(f"{title} by epoch, a line per method", [{**chosen, **line}])
    drawn["params"].append({"name": "requested", "value": None})
    return drawn


def layers(values: list[float], styles: dict[str, LineStyle], dense: float) -> Spec:
    """Specifies a sensitivity analysis: top-1 against the density of the one layer pruned."""
    marks = [mark for mark in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if mark >= 0.9 * min(values)]
    x = {
        **_q("density"),
        "title": "Density of the layer",
        "scale": {"type": "log", "domain": [1.05, min(values) / 1.1], "nice": False},
        "axis": {"values": marks},
    }
    y = _y("top1", "Validation top-1, %")
    rule = {"data": {"values": [{"top1": dense}]}, "mark": _rule(), "encoding": {"y": y}}
    tips = _tips("label", "density", "top1_text", "kept", "loss", "dense_loss")
    return _chart("Top-1 by density of one layer", [rule, *_lines(x, y, styles, tips)])


def _chart(description: str, layers: list[Spec]) -> Spec:
    return {
        "description": description,
        "width": "container",
        "height": _HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"},
        "params": [{"name": "hidden", "value": []}],
        "layer": layers,
        # Published results have marks of their own.
        "resolve": {"scale": {"shape": "independent", "color": "independent"}},
    }


def _rows(name: str, *conditions: str) -> Spec:
    """Returns the rows that the reader has not switched off.

    A layer with own data inherits nothing, so each layer repeats this.
    """
    return {
        "data": {"name": name},
        "transform": [{"filter": condition} for condition in (_SHOWN, *conditions)],
    }


def _lines(
    x: Spec, y: Spec, styles: dict[str, LineStyle], tips: list[Spec] | None = None
) -> list[Spec]:
    tips = tips or _tips("label", "text", "change_text", "x_text", "requested_text")
    rows = _rows("points")
    line = {"x": x, "y": y, **_style_channels(styles, "line"), "order": x}
    point = {"x": x, "y": y, **_style_channels(styles, "point"), "tooltip": tips}
    return [
        {**rows, "mark": {"type": "line", "aria": False}, "encoding": line},
        {
            **rows,
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": point,
        },
    ]


def _bars(x: Spec, low: str, high: str, styles: dict[str, LineStyle]) -> Spec:
    encoding = {
        "x": x,
        "y": _q(low),
        "y2": {"field": high},
        "color": _style_channels(styles, "bar")["color"],
    }
    return {
        "data": {"name": "points"},
        "mark": {"type": "rule", "aria": False},
        "encoding": encoding,
    }


def _beside(x: Spec, y: Spec, styles: dict[str, LineStyle]) -> Spec:
    """Specifies the intervals of x, as rules from end to end."""
    name = x["field"]
    ends = {"x": {**x, "field": f"{name}_low"}, "x2": {"field": f"{name}_high"}, "y": y}
    color = _style_channels(styles, "bar")["color"]
    return {
        **_rows("points", f"isValid(datum.{name}_low)"),
        "mark": {"type": "rule", "aria": False},
        "encoding": {**ends, "color": color},
    }


def _front(x: Spec, y: Spec) -> Spec:
    """Specifies the Pareto front as a broad band behind the lines."""
    return {
        **_rows("points", f"datum.front_{x['field']}"),
        "mark": {"type": "line", "strokeWidth": 9, "opacity": 0.25, "color": DENSE_COLOUR},
        "encoding": {"x": x, "y": y, "order": x},
    }


def _published(axis: Axis, x: Spec, y: Spec, styles: dict[str, LineStyle]) -> list[Spec]:
    """Specifies published results as hollow markers, where they have this ratio."""
    if not (styles and axis.published):
        return []
    points = {
        **_rows("published", f"isValid(datum.{x['field']})"),
        "mark": {"type": "point", "filled": False, "size": 60},
        "encoding": {
            "x": x,
            "y": y,
            **_style_channels(styles, "point"),
            "tooltip": _tips("label", "text", "definition", "where"),
        },
    }
    return [points]


def _dense(field: str) -> Spec:
    encoding = {"y": _q(field), "tooltip": _tips("label", "text")}
    return {"data": {"name": "dense"}, "mark": _rule(), "encoding": encoding}


def _rule() -> Spec:
    return {"type": "rule", "color": DENSE_COLOUR, "strokeWidth": 1.5}


def _x(axis: Axis, values: Iterable[float]) -> Spec:
    x: Spec = {**_q(axis.name), "title": axis.title}
    if not axis.ratio:
        linear = {"zero": False, "nice": False, "padding": 12}
        return {**x, "scale": linear, "axis": {"format": "~s", "tickCount": 6}}
    values = list(values)
    marks = ticks(values)
    log2 = {"type": "log", "base": 2, "domain": list(span(marks, values)), "nice": False}
    return {**x, "scale": log2, "axis": {"values": marks, "labelExpr": "datum.value + 'x'"}}


def _y(field: str, title: str) -> Spec:
    return {**_q(field), "title": title, "scale": {"zero": False}}


def _q(field: str) -> Spec:
    return {"field": field, "type": "quantitative"}


_TITLES = {
    "label": "Method",
    "text": "Top-1, %",
    "change_text": "Against dense, points",
    "x_text": "Measured",
    "requested_text": "Requested compression",
    "epoch": "Epoch",
    "loss": "Loss",
    "top1_percent": "Validation top-1, %",
    "where": "Published in",
    "definition": "Ratio as published",
    "density": "Density",
    "top1_text": "Validation top-1, %",
    "kept": "Units kept",
    "dense_loss": "Loss with nothing pruned",
}


def _tips(*fields: str) -> list[Spec]:
    return [{"field": field, "title": _TITLES[field]} for field in fields]


def _style_channels(styles: dict[str, LineStyle], mark: str) -> Spec:
    """Returns colour, and dash or marker, so that lines differ in more than colour."""
    channels = {"color": [look.colour for look in styles.values()]}
    if mark == "line":
        channels["strokeDash"] = [look.dash or (1, 0) for look in styles.values()]  # type: ignore[misc]
    if mark == "point":
        channels["shape"] = [look.marker[1] for look in styles.values()]
    return {name: _scale(list(styles), values) for name, values in channels.items()}


def _scale(labels: list[str], values: list[Any]) -> Spec:
    scale = {"domain": labels, "range": values}
    return {"field": "label", "type": "nominal", "legend": None, "scale": scale}


def number(value: float, factor: float = 1, digits: int = 6) -> float | None:
    """Rounds to significant digits for JSON; None where the value is not finite.

    >>> number(0.93123456789, 100), number(math.nan)
    (93.1235, None)
    """
    return float(f"{factor * value:.{digits}g}") if math.isfinite(value) else None
