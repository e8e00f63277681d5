"""Mean and standard deviation over seeds: one row per method, setting and asked compression."""

import pandas as pd

from harness.report import collapse

# Columns of the results and how the summary calls them, with their unit.
MEASURES = {
    "top1": "top1_share",
    "top5": "top5_share",
    "pruned_top1": "pruned_top1_share",
    "compression": "compression_ratio",
    "speedup": "speedup_ratio",
    "density": "density_share",
    "effective_density": "effective_density_share",
    "dead": "dead_units_count",
}


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and std (ddof 1; NaN for one seed) of each measure over the seeds that did not fail.

    seeds counts the finite ones of top1, failed_seeds the others; level 0 is dense. Seeds that
    collapsed are those with an empty layer, and empty_layers names the layers of any of them;
    cut_seeds have no path from input to output.
    """
    results = collapse.counted(results)
    spread = {
        f"{name}_{what}": (column, what)
        for column, name in MEASURES.items()
        for what in ("mean", "std")
    }
    keys = ["model", "data", "label", "setting", "asked"]
    grouped = results.sort_values([*keys, "seed"]).groupby(keys)
    summary = grouped.agg(
        method=("method", "first"),
        level=("level", "first"),
        stage=("stage", "first"),
        seeds=("top1", "count"),
        failed_seeds=("failed", "sum"),
        pruned_seeds=("pruned_top1", "count"),
        pruned_failed_seeds=("pruned_failed", "sum"),
        collapsed_seeds=("collapsed", "sum"),
        cut_seeds=("cut", "sum"),
        empty_layers=("empty_layers", collapse.union),
        **spread,
    )
    return summary.reset_index().rename(columns={"asked": "target_compression_ratio"})


def cell(row: "pd.Series[float]", measure: str = "top1_share") -> str:
    """ "93.12 ± 0.21 (3)": mean, std and number of seeds, in %; failures are spelled out."""
    prefix = "pruned_" if measure.startswith("pruned_") else ""
    seeds, failed = int(row[f"{prefix}seeds"]), int(row[f"{prefix}failed_seeds"])
    if not seeds:
        return f"failed ({failed})" if failed else "-"
    mean, std = 100 * row[f"{measure}_mean"], 100 * row[f"{measure}_std"]
    count = f"{seeds}, {failed} failed" if failed else f"{seeds}"
    return f"{mean:.2f} (n={count})" if seeds == 1 else f"{mean:.2f} ± {std:.2f} ({count})"


def times(ratio: float) -> str:
    """How a compression is printed.

    >>> times(16.0), times(2.8284)
    ('16x', '2.828x')
    """
    return f"{ratio:.4g}x"


def warnings(summary: pd.DataFrame) -> list[str]:
    """What the means alone would hide: failed seeds, collapse, no fine-tuning, a missed target."""
    pruned = summary[summary["level"] > 0]
    notes = [
        f"{row['label']} on {row['model']}, {row['data']} at "
        f"{times(row['target_compression_ratio'])}: {row['failed_seeds']} of "
        f"{row['seeds'] + row['failed_seeds']} seeds failed (accuracy or loss is NaN); "
        "the mean is over the others"
        for _, row in summary[summary["failed_seeds"] > 0].iterrows()
    ]
    notes += collapse.notes(pruned)
    bare = sorted(set(pruned.loc[pruned["stage"] == "pruned", "label"]))
    if bare:
        notes.append(f"no fine-tuning recorded, accuracy is right after pruning: {', '.join(bare)}")
    missed = pruned["compression_ratio_mean"] / pruned["target_compression_ratio"] - 1
    count = (missed.abs() > 0.05).sum()
    if count:
        notes.append(
            f"measured compression is more than 5 % off the asked one in {count} of "
            f"{len(pruned)} results: compare the measured columns of summary.csv"
        )
    return notes
