"""Reads a latency table: milliseconds of each layer of a model by the widths that are left of it.

`pruning-harness latency` measures and writes the file. Reading it looks at no clock, so that the
same bytes give the same numbers anywhere.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
NANOSECONDS = 1_000_000  # in a millisecond
# What has to be as it was when the table was measured, for its times to be those of this process.
CONDITIONS = ("device", "torch", "threads", "dtype")

Grid = tuple[int, ...]  # widths, rising; the last is the dense one


class LayerFacts(NamedTuple):
    """Says which layer it is: shape of its weight, and multiply-accumulates of one sample."""

    shape: tuple[int, ...]
    macs: int


@dataclass(frozen=True)
class LayerTimes:
    """Holds the nanoseconds of a layer by how much of its weight's first two dimensions is left.

    Args:
        facts: of the dense layer.
        grids: the widths of dimension 0 and of dimension 1 that were measured.
        nanoseconds: one row per width of dimension 0; along both dimensions they never fall.
        output_dim: the dimension whose widths are the layer's outputs.
        elements: that the dense layer puts out in one forward pass.
    """

    facts: LayerFacts
    grids: tuple[Grid, Grid]
    nanoseconds: tuple[tuple[int, ...], ...]
    output_dim: int = 0
    elements: int = 0

    def at(self, first: int, second: int) -> int:
        """Returns the nanoseconds at these widths, in whole numbers all the way.

        Between measured widths the time is piecewise linear. Below the smallest one it is that of
        the smallest, because a layer has a cost of its own; without any width it is 0.

        >>> times = LayerTimes(LayerFacts((4, 1), 4), ((2, 4), (1,)), ((10,), (40,)))
        >>> [times.at(first, 1) for first in (0, 1, 2, 3, 4)]
        [0, 10, 10, 25, 40]
        """
        if first <= 0 or second <= 0:
            return 0
        rows, (i, a, wide_a) = self.nanoseconds, _between(self.grids[0], first)
        j, b, wide_b = _between(self.grids[1], second)
        near = rows[i], rows[i + (a > 0)]
        low, high = (row[j] * (wide_b - b) + row[j + (b > 0)] * b for row in near)
        whole = wide_a * wide_b
        return (2 * (low * (wide_a - a) + high * a) + whole) // (2 * whole)

    @property
    def dense(self) -> int:
        return self.nanoseconds[-1][-1]


def _between(grid: Grid, width: int) -> tuple[int, int, int]:
    """Returns (position, steps, gap): the width lies `steps` of `gap` behind grid[position].

    >>> _between((2, 4, 8), 5), _between((2, 4, 8), 1), _between((2, 4, 8), 9)
    ((1, 1, 4), (0, 0, 1), (2, 0, 1))
    """
    position = bisect_right(grid, width) - 1
    if position < 0 or position == len(grid) - 1:
        return max(position, 0), 0, 1
    return position, width - grid[position], grid[position + 1] - grid[position]


def monotone(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Returns for each place the largest value among places that are nowhere further on.

    A wider layer is then never faster, which noise, and widths that a vector unit dislikes, would
    else make it in places.

    >>> monotone([[3, 2], [1, 4]])
    ((3, 3), (3, 4))
    """
    made: list[tuple[int, ...]] = []
    for row in rows:
        best, new = 0, []
        for j, value in enumerate(row):
            best = max(best, value, made[-1][j] if made else 0)
            new.append(best)
        made.append(tuple(new))
    return tuple(made)


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Holds the times of a model's layers, and what no layer explains.

    Args:
        path: of the file, for messages.
        layers: by name of the weight.
        unmeasured: weights of layers whose time is in what no layer explains.
        constant: nanoseconds that stay, whatever is removed.
        shrinking: nanoseconds in proportion to the elements that layers put out.
        conditions: device, versions and settings of the measurement.
    """

    path: str
    layers: Mapping[str, LayerTimes]
    unmeasured: tuple[str, ...]
    constant: int
    shrinking: int
    conditions: Mapping[str, Any]

    @property
    def dense(self) -> int:
        """Returns the nanoseconds of the dense model."""
        return self.constant + self.shrinking + sum(each.dense for each in self.layers.values())

    @property
    def elements(self) -> int:
        return sum(each.elements for each in self.layers.values())

    def check_model(self, layers: Mapping[str, LayerFacts]) -> None:
        """Checks that the table is of a model with these layers, by name of weight.

        Raises:
            ValueError: it is of another one; names the first layer that differs.
        """
        remedy = "measure this model: pruning-harness latency with the keys of this run"
        for name in dict.fromkeys((*layers, *self.layers)):
            times, here = self.layers.get(name), layers.get(name)
            if times is None and name in self.unmeasured:
                continue
            if times is None or here is None:
                where = "is no layer of its model" if times is None else "is no layer of this model"
                raise ValueError(f"latency_table={self.path}: {name} {where}; {remedy}")
            for what, own, other in zip(LayerFacts._fields, here, times.facts, strict=True):
                if own != other:
                    raise ValueError(
                        f"latency_table={self.path}: {name} has {what}={other} in it, but "
                        f"{what}={own} in this run; {remedy}"
                    )

    def check_conditions(self, here: Mapping[str, Any]) -> None:
        """Checks that the table was measured under these conditions.

        Raises:
            ValueError: one differs, or is not known here.
        """
        differing = [
            f"{key} {self.conditions.get(key)} (here {here.get(key)})"
            for key in CONDITIONS
            if self.conditions.get(key) != here.get(key)
        ]
        if differing:
            raise ValueError(
                f"latency_table={self.path} was measured with {', '.join(differing)}; measure "
                "here: pruning-harness latency, or say that the other place is meant: "
                "latency_table_elsewhere=true"
            )


def read_latency_table(path: str) -> LatencyTable:
    """Reads a file that `pruning-harness latency` has written.

    Raises:
        ValueError: there is no such file, or it is none of these; names the place in it.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(
            f"latency_table={path}: there is no such file; pruning-harness latency writes one"
        )
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict) or "latency_table" not in content:
            raise ValueError("it is no latency table")
        if content["latency_table"] != FORMAT:
            raise ValueError(
                f"its format is {content['latency_table']}, this version reads {FORMAT}"
            )
        return parsed_table(path, content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        missing = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"latency_table={path} cannot be read ({missing}); write it anew: "
            "pruning-harness latency"
        ) from error


def parsed_table(path: str, content: Mapping[str, Any]) -> LatencyTable:
    """Returns the table with this content.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    other = content["other"]
    table = LatencyTable(
        path,
        {name: _layer(name, entry, content["layers"]) for name, entry in content["layers"].items()},
        tuple(content["unmeasured"]),
        nanoseconds(other["constant_ms"]),
        nanoseconds(other["shrinking_ms"]),
        content["conditions"],
    )
    if not table.layers or table.dense <= 0:
        raise ValueError("it has no layer with a time")
    return table


def _layer(name: str, entry: dict[str, Any], layers: Mapping[str, Any]) -> LayerTimes:
    measured = layers[entry["as"]] if "as" in entry else entry
    shape, grids = tuple(measured["shape"]), tuple(map(tuple, measured["widths"]))
    rows = [[nanoseconds(value) for value in row] for row in measured["milliseconds"]]
    fits = len(grids) == 2 and all(map(_is_rising, grids)) and len(rows) == len(grids[0])
    if not fits or any(len(row) != len(grids[1]) for row in rows):
        raise ValueError(f"widths and milliseconds of {name} do not fit")
    if tuple(grid[-1] for grid in grids) != shape[:2]:
        raise ValueError(f"widths of {name} do not end at its shape {shape}")
    facts = LayerFacts(shape, measured["macs"])
    return LayerTimes(
        facts, (grids[0], grids[1]), monotone(rows), measured["output_dim"], measured["elements"]
    )


def _is_rising(grid: Sequence[Any]) -> bool:
    whole = all(type(width) is int and width > 0 for width in grid)
    return whole and len(grid) > 0 and all(a < b for a, b in zip(grid, grid[1:], strict=False))


def nanoseconds(milliseconds: float) -> int:
    """Returns whole nanoseconds.

    Raises:
        ValueError: the number is negative or not finite.
    """
    if not isinstance(milliseconds, int | float) or not 0 <= milliseconds < float("inf"):
        raise ValueError(f"{milliseconds!r} is no time in milliseconds")
    return round(milliseconds * NANOSECONDS)
