"""Layer collapse in the report: empty layers, dead units, weights that connect nothing."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def counted(results: pd.DataFrame) -> pd.DataFrame:
    """Numbers per result in place of lists and dicts; NaN where a record has not measured them.

    Adds: dead (units in all layers), collapsed (a layer is empty) and cut (no path is left).
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
    """Layers that are empty in any seed, in the network's order of the first that has them.

    >>> union([["fc1.weight"], [], None, ["conv.weight", "fc1.weight"]])
    'fc1, conv'
    """
    names = dict.fromkeys(name for layers in seeds for name in _names(layers))
    return ", ".join(name.removesuffix(".weight") for name in names)


def percent(share: float) -> str:
    """In %, "-" where it was not measured; four digits, because a collapsed network has few.

    >>> percent(0.25), percent(0.000123), percent(float("nan"))
    ('25', '0.0123', '-')
    """
    return "-" if np.isnan(share) else f"{100 * share:.4g}"


def notes(summary: pd.DataFrame) -> list[str]:
    """One per result that has an empty layer, or no path from input to output, in some seed."""
    gone = summary[(summary["collapsed_seeds"] > 0) | (summary["cut_seeds"] > 0)]
    return [_note(row) for _, row in gone.iterrows()]


def _note(row: "pd.Series[float]") -> str:
    seeds, layers = int(row["seeds"] + row["failed_seeds"]), str(row["empty_layers"])
    found = []
    if layers:
        found.append(f"no weight is left in {layers} ({row['collapsed_seeds']} of {seeds} seeds)")
    if row["cut_seeds"]:
        found.append(f"no path from input to output ({row['cut_seeds']} of {seeds} seeds)")
    return (
        f"{row['label']} on {row['model']}, {row['data']} at "
        f"{row['target_compression_ratio']:.4g}x: {'; '.join(found)}; of all weights "
        f"{percent(row['density_of_weights_share_mean'])} % are kept and "
        f"{percent(row['effective_density_share_mean'])} % connect input and output"
    )
