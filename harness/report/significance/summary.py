"""Summarises results over seeds: mean, spread and interval per setting and compression."""

from collections.abc import Iterable

import pandas as pd

from harness.report.read import collapse
from harness.report.read.cost import TOTALS
from harness.report.read.results import name_some
from harness.report.significance import stats

# Columns of the results, and their names with units in the summary.
MEASURES = {
    "top1": "top1_fraction",
    "top5": "top5_fraction",
    "pruned_top1": "pruned_top1_fraction",
    "perplexity": "perplexity",
    "compression": "compression_ratio",
    "speedup": "speedup_ratio",
    "table_speedup": "table_speedup_ratio",
    "density": "density_fraction",
    "density_of_weights": "density_of_weights_fraction",
    "effective_density": "effective_density_fraction",
    "dead": "dead_units_count",
    "latency_ms": "latency_ms",
    "measured_speedup": "measured_speedup_ratio",
    "peak_bytes": "peak_bytes",
    "file_bytes": "file_bytes",
    "change": "change_points",
}
# Measures whose 95 % interval of the mean is reported.
INTERVALS = ("top1", "change")
# Columns that need no statistics: their source, and how a cell is made of its seeds.
CELLS = {
    "method": ("method", "first"),
    "level": ("level", "first"),
    "stage": ("stage", "first"),
    "requested_counts": ("requested_counts", "first"),
    "density_of": ("density_of", "first"),
    "measure_is_fraction": ("measure_is_fraction", "first"),
    "higher_is_better": ("higher_is_better", "first"),
    "seeds": ("top1", "count"),
    "failed_seeds": ("failed", "sum"),
    "pruned_seeds": ("pruned_top1", "count"),
    "pruned_failed_seeds": ("pruned_failed", "sum"),
    "collapsed_seeds": ("collapsed", "sum"),
    "cut_seeds": ("cut", "sum"),
    "empty_layers": ("empty_layers", collapse.union),
    "change_seeds": ("change", "count"),
    "relative_top1_ratio_mean": ("relative_top1", "mean"),
    "measured_speedup_ratio_low": ("measured_speedup_low", "min"),
    "measured_speedup_ratio_high": ("measured_speedup_high", "max"),
    "latency_where": ("latency_where", "max"),
    "why_slow": ("why_slow", "max"),
}
_KEYS = ["model", "data", "label", "setting", "requested"]


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Returns mean and std (ddof 1; NaN for one seed) of each measure over seeds that did not fail.

    Columns:
        *_low, *_high: The ends of the intervals of INTERVALS (stats.intervals).
        change_points: top-1 minus that of the dense model of the same seed.
        perplexity: Only where a result has one; mean and std are over the seeds' exp(loss).
        relative_top1_ratio: top-1 / that of the dense model. As for the costs of training (TOTALS),
            only the mean is given, because seeds hardly differ.
        seeds, failed_seeds: Numbers of seeds with a finite top-1, and of the other seeds.
        few_seeds: True for fewer than three seeds.
        change_seeds: Number of seeds whose dense model is known.
        level: 0 for dense models.
        table_speedup_ratio: What a run's latency table predicts; NaN without a table.
        measured_speedup_ratio_*: mean is that of the seeds' medians over passes; low is the lowest
            first quartile of a seed, high the highest third one.
        latency_where: The conditions of what was measured with a clock; "" for nothing.
        why_slow: Why the measured speed-up is far below the theoretical one, of one seed; or "".
        collapsed_seeds: Number of seeds with an empty layer; empty_layers names the layers.
        cut_seeds: Number of seeds without a path from input to output.
    """
    results = collapse.counted(results)
    relative = results["top1"] / results["dense_top1"]
    factor = results["measure_is_fraction"].map({True: 100, False: 1}).astype(float)
    results = results.assign(change=factor * results["change"], relative_top1=relative)
    spread = {
        f"{name}_{statistic}": (column, statistic)
        for column, name in MEASURES.items()
        if column != "perplexity" or results[column].notna().any()
        for statistic in ("mean", "std")
    } | {f"{name}_mean": (name, "mean") for name in TOTALS.values()}
    grouped = results.sort_values([*_KEYS, "seed"]).groupby(_KEYS)
    summary = grouped.agg(**CELLS, **spread)
    summary = _with_intervals(summary, results)
    return summary.reset_index().rename(columns={"requested": "requested_compression_ratio"})


def _with_intervals(summary: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    ends = dict[str, stats.Values]()
    for column in INTERVALS:
        lists = results.dropna(subset=column).groupby(_KEYS)[column].agg(list)
        cells = lists.reindex(summary.index).map(
            lambda cell: cell if isinstance(cell, list) else []
        )
        name, values = MEASURES[column], stats.intervals(cells.tolist())
        ends |= {f"{name}_low": values[:, 0], f"{name}_high": values[:, 1]}
    return summary.assign(**ends, few_seeds=summary["seeds"] < stats.FEW_SEEDS)


def cell(row: "pd.Series[float]", measure: str = "top1_fraction") -> str:
    """Formats mean, std and number of seeds in %, and failed seeds, as in "93.12 ± 0.21 (3)".

    Fewer than three seeds are written with n=, as in "93.12 ± 0.21 (n=2)".
    """
    prefix = "pruned_" if measure.startswith("pruned_") else ""
    seeds, failed = int(row[f"{prefix}seeds"]), int(row[f"{prefix}failed_seeds"])
    if not row.get("measure_is_fraction", True):
        mean, std = row[f"{measure}_mean"], row[f"{measure}_std"]
        return "-" if seeds and pd.isna(mean) else spread(f"{mean:.4g}", std, seeds, failed, ".2g")
    mean, std = 100 * row[f"{measure}_mean"], 100 * row[f"{measure}_std"]
    return spread(f"{mean:.2f}", std, seeds, failed)


def perplexity(row: "pd.Series[float]") -> str:
    """Formats mean, std and number of seeds of the perplexity, as `cell` does for top-1."""
    counts = int(row["seeds"]), int(row["failed_seeds"])
    return spread(f"{row['perplexity_mean']:.2f}", row["perplexity_std"], *counts)


def measured_speedup(row: "pd.Series[float]") -> str:
    """Formats a measured speed-up with its interval, as in "1.52x (1.48 to 1.55)"."""
    low, high = (row[f"measured_speedup_ratio_{end}"] for end in ("low", "high"))
    middle = times(row["measured_speedup_ratio_mean"])
    return middle if pd.isna(low) else f"{middle} ({low:.4g} to {high:.4g})"


def spread(mean: str, std: float, seeds: int, failed: int, form: str = ".2f") -> str:
    """Formats a mean with its std and its numbers of seeds and of failed seeds.

    >>> spread("93.12", 0.21, seeds=3, failed=0), spread("93.12", 0.21, seeds=2, failed=0)
    ('93.12 ± 0.21 (3)', '93.12 ± 0.21 (n=2)')
    >>> spread("93.12", 0.0, seeds=1, failed=2)
    '93.12 (n=1, 2 failed)'
    """
    if not seeds:
        return f"failed ({failed})" if failed else "-"
    count = f"{'n=' if seeds < stats.FEW_SEEDS else ''}{seeds}"
    count += f", {failed} failed" if failed else ""
    return f"{mean} ({count})" if seeds == 1 else f"{mean} ± {std:{form}} ({count})"


def points(change: float) -> str:
    """Formats a change in points, with its sign.

    >>> points(-0.004), points(1.5), points(float("nan"))
    ('+0.00', '+1.50', '-')
    """
    # z: a difference that rounds to 0 has no minus.
    return "-" if pd.isna(change) else f"{change:+z.2f}"


def times(ratio: float) -> str:
    """Formats a compression.

    >>> times(16.0), times(2.8284), times(float("nan"))
    ('16x', '2.828x', '-')
    """
    return "-" if pd.isna(ratio) else f"{ratio:.4g}x"


def by_compression(rows: pd.DataFrame, cells: Iterable[object]) -> pd.DataFrame:
    """Returns a cell per row: methods, in the order of the rows, x requested compressions as "16x".

    rows: of a summary, with a label and a requested_compression_ratio.
    """
    long = rows.assign(cell=pd.Series(list(cells), index=rows.index, dtype=object))
    table = long.pivot(index="label", columns="requested_compression_ratio", values="cell")
    return table.loc[rows["label"].unique()].rename(columns=times)


def warnings(summary: pd.DataFrame) -> list[str]:
    """Returns notes on failed seeds, collapse, missing fine-tuning and missed compressions."""
    pruned = summary[summary["level"] > 0]
    notes = [
        f"{row['label']} on {row['model']}, {row['data']} at "
        f"{times(row['requested_compression_ratio'])}: {row['failed_seeds']} of "
        f"{row['seeds'] + row['failed_seeds']} seeds failed (accuracy or loss is not finite); "
        "the mean is over the rest"
        for _, row in summary[summary["failed_seeds"] > 0].iterrows()
    ]
    notes += collapse.notes(pruned)
    for stage, after in (("pruned", "pruning"), ("recalibrated", "recalibration")):
        bare = ", ".join(sorted(set(pruned.loc[pruned["stage"] == stage, "label"])))
        if bare:
            notes.append(f"no fine-tuning recorded, accuracy is right after {after}: {bare}")
    macs = pruned["requested_counts"] == "macs"
    if macs.any():
        labels = ", ".join(sorted(set(pruned.loc[macs, "label"])))
        notes.append(f"the requested ratio is a theoretical speed-up (MACs) of: {labels}")
    timed = pruned["requested_counts"] == "nanoseconds"
    if timed.any():
        labels = ", ".join(sorted(set(pruned.loc[timed, "label"])))
        notes.append(
            f"the requested ratio is dense / left milliseconds by a latency table of: {labels}"
        )
    measured = pruned["compression_ratio_mean"].where(~macs, pruned["speedup_ratio_mean"])
    measured = measured.where(~timed, pruned["table_speedup_ratio_mean"])
    missed = measured / pruned["requested_compression_ratio"] - 1
    count = (missed.abs() > 0.05).sum()
    if count:
        notes.append(
            f"measured and requested compression differ by more than 5 % in {count} of "
            f"{len(pruned)} results: see the measured columns of summary.csv"
        )
    fewer = pruned["change_seeds"].between(1, pruned["seeds"] - 1).sum()
    if fewer:
        notes.append(
            f"the change against the dense model is over fewer seeds than top-1 in {fewer} of "
            f"{len(pruned)} results (change_seeds of summary.csv): some dense models failed or are "
            "missing"
        )
    return notes + few_seeds(pruned)


def uncounted(results: pd.DataFrame) -> list[str]:
    """Returns a note on results without a speed-up because an operator was not counted."""
    pruned = results[results["level"] > 0]
    rows = pruned[pruned["uncounted_operators"].map(bool)]
    if rows.empty:
        return []
    operators = ", ".join(sorted({name for names in rows["uncounted_operators"] for name in names}))
    return [
        f"no theoretical speed-up in {len(rows)} of {len(pruned)} results, whose weights enter "
        f"operators that are not counted ({operators}): {name_some(rows['folder'])}"
    ]


def few_seeds(rows: pd.DataFrame) -> list[str]:
    """Returns a note with the number of rows that have fewer than three seeds, if any."""
    few = ((rows["seeds"] > 0) & (rows["seeds"] < stats.FEW_SEEDS)).sum()
    if not few:
        return []
    return [
        f"{few} of {len(rows)} results have fewer than {stats.FEW_SEEDS} seeds (n= in the tables): "
        "their spread and interval say little"
    ]
