"""Writes latency tables with values that a reader can check by hand."""

import json
from pathlib import Path
from typing import Any

from harness.vocabulary.given.latency_table import FORMAT

# Of no machine, so that a run has to say that it means another place.
ELSEWHERE = {"device": "a stopwatch", "torch": "0", "threads": 1, "dtype": "float32"}


def layer(
    widths: list[list[int]], milliseconds: list[list[float]], elements: int = 0, macs: int = 0
) -> dict[str, Any]:
    """Returns a layer with a weight of the last widths."""
    shape = [grid[-1] for grid in widths]
    return {
        "shape": shape, "macs": macs or shape[0] * shape[1], "output_dim": 0,
        "elements": elements, "widths": widths, "milliseconds": milliseconds,
    }  # fmt: skip


def table(
    layers: dict[str, Any], constant: float = 0.0, shrinking: float = 0.0, **conditions: Any
) -> dict[str, Any]:
    return {
        "latency_table": FORMAT, "layers": layers, "unmeasured": [],
        "other": {"constant_ms": constant, "shrinking_ms": shrinking},
        "conditions": {**ELSEWHERE, **conditions},
    }  # fmt: skip


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def mlp_8_6_4() -> dict[str, Any]:
    """Returns the table of a network of 8 inputs, 6 hidden units and 4 outputs.

    fc1 takes 1 ms per hidden unit, fc2 2 ms in steps of two; what no layer explains takes 8 ms.
    """
    return table(
        {
            "fc1.weight": layer([[1, 6], [8]], [[1.0], [6.0]]),
            "fc2.weight": layer([[4], [2, 4, 6]], [[2.0, 2.0, 6.0]]),
        },
        constant=8.0,
    )
