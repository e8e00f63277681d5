"""Converts ratios of papers to those of this project: all parameters, and MACs, before / after."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.published.schema import SIZES, SPEEDS

_SIZES = Path(__file__).with_name("sizes.csv")


@cache
def dense_sizes() -> pd.DataFrame:
    """Returns the columns model, data, weights (prunable), parameters (all), macs; NaN: unknown."""
    return pd.read_csv(_SIZES, comment="#")


def canonical(name: str) -> str:
    """Removes case and punctuation from a name.

    >>> canonical("ResNet-20"), canonical("resnet_20"), canonical("CIFAR-10")
    ('resnet20', 'resnet20', 'cifar10')
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def compression(row: Mapping[str, Any]) -> tuple[float, str]:
    """parameters / (d weights + parameters - weights) for a kept fraction d of prunable weights.

    Returns all parameters before / after, and a text on the source; or NaN and the reason. Biases
    and norms of removed filters count as kept.
    """
    definition, value = row["size_definition"], row["size"]
    if not definition:
        return float("nan"), "no size published"
    words = SIZES[definition][0]
    if not definition.endswith("_prunable"):
        return _times(definition, value), f"compression from {words}"
    weights, parameters = _counts(row["model"], row["data"])
    if weights != weights:
        return float("nan"), f"{words}: parameters of the model not known"
    left = 1 / _times(definition, value)
    ratio = parameters / (left * weights + parameters - weights)
    return ratio, f"compression from {words}: {weights:,.0f} of {parameters:,.0f} parameters"


def speedup(row: Mapping[str, Any]) -> tuple[float, str]:
    """Returns MACs before / after and a text on the source; or NaN and the reason.

    A density does not determine MACs: layers differ in positions per weight.
    """
    definition, value = row["speed_definition"], row["speed"]
    if not definition:
        return float("nan"), "no MACs published, and a density of weights does not determine them"
    return _times(definition, value), f"speed-up from {SPEEDS[definition][0]}"


def _times(definition: str, value: float) -> float:
    """Converts a value of any definition to before / after.

    >>> _times("sparsity_all", 0.75), _times("macs_left_channels", 0.25), _times("speedup_x", 4.0)
    (4.0, 4.0, 4.0)
    """
    if definition.startswith(("sparsity", "macs_cut")):
        return 1 / (1 - value)
    if definition.startswith(("density", "parameters_left", "macs_left")):
        return 1 / value
    return value


def _counts(model: str, data: str) -> tuple[float, float]:
    sizes = dense_sizes()
    same = (sizes["model"].map(canonical) == canonical(model)) & (
        sizes["data"].map(canonical) == canonical(data)
    )
    if not same.any():
        return float("nan"), float("nan")
    row = sizes[same].iloc[0]
    return float(row["weights"]), float(row["parameters"])
