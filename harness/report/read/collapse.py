"""Reports layer collapse: empty layers, dead units, weights that connect nothing."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def counted(results: pd.DataFrame) -> pd.DataFrame:
    """Replaces lists and dicts by numbers per result; NaN where a record has not measured them.

    Adds the columns dead (units in all layers), collapsed (a layer is empty) and cut (no path from
    input to output is left).
    """
    dead = [_total(units) for units in results["dead_units"]]
    density = results["effective_density"].astype(float)
    return results.assign(
        effective_density=density,
        dead=dead,
        collapsed=[bool(_names(layers)) for layers in results["empty_layers"]],
        cut=density == 0,
    )


def _total(units: object) -> float:
    return float(sum(units.values())) if isinstance(units, dict) else np.nan


def _names(layers: object) -> list[str]:
    return layers if isinstance(layers, list) else []


def union(seeds: Iterable[object]) -> str:
    """Returns the layers that are empty in any seed, in the order of their first occurrence.

    >>> union([["fc1.weight"], [], None, ["conv.weight", "fc1.weight"]])
    'fc1, conv'
    """
    names = dict.fromkeys(name for layers in seeds for name in _names(layers))
    return ", ".join(name.removesuffix(".weight") for name in names)


def percent(fraction: float) -> str:
    """Formats a fraction in %, "-" where it was not measured.

    Four digits tell even the few weights of a collapsed model.

    >>> percent(0.25), percent(0.000123), percent(float("nan"))
    ('25', '0.0123', '-')
    """
    return "-" if np.isnan(fraction) else f"{100 * fraction:.4g}"


def notes(summary: pd.DataFrame) -> list[str]:
    """Returns a note per result with an empty layer, or without a path, in some seed."""
    collapsed = summary[(summary["collapsed_seeds"] > 0) | (summary["cut_seeds"] > 0)]
    return [_note(row) for _, row in collapsed.iterrows()]


def _note(row: "pd.Series[float]") -> str:
    seeds, layers = int(row["seeds"] + row["failed_seeds"]), str(row["empty_layers"])
    facts = []
    if layers:
        facts.append(f"no weight is left in {layers} ({row['collapsed_seeds']} of {seeds} seeds)")
    if row["cut_seeds"]:
        facts.append(f"no path from input to output ({row['cut_seeds']} of {seeds} seeds)")
    return (
        f"{row['label']} on {row['model']}, {row['data']} at "
        f"{row['requested_compression_ratio']:.4g}x: {'; '.join(facts)}; of all weights "
        f"{percent(row['density_of_weights_fraction_mean'])} % are kept and "
        f"{percent(row['effective_density_fraction_mean'])} % connect input and output"
    )
