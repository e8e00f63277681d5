"""Methods against one of them, seed by seed: what seeds have in common then cancels out."""

import pandas as pd

from harness.report.summary import spread, times

_PLACE = ["model", "data", "asked"]


def paired(results: pd.DataFrame, against: str) -> pd.DataFrame:
    """Mean and std (ddof 1) over common seeds of (top-1 - that of `against`), in points.

    One row per model, data, asked compression and other label, where `against` has any result
    on that model and data. seeds counts common ones, none of the two failed; failed_seeds the
    others that are common.

    Raises:
        ValueError: no result has the label `against`.
    """
    labels = sorted(set(results["label"]), key=str.casefold)
    if against not in labels:
        known = ", ".join(map(repr, labels))
        raise ValueError(f"--against {against!r}: no result has this label; there are: {known}")
    reference = results.loc[results["label"] == against, [*_PLACE, "seed", "top1"]]
    others = results[results["label"] != against].merge(
        reference[["model", "data"]].drop_duplicates()
    )
    pairs = others.merge(
        reference.rename(columns={"top1": "reference"}),
        how="left",
        on=[*_PLACE, "seed"],
        indicator="found",
    )
    pairs = pairs.assign(points=100 * (pairs["top1"] - pairs["reference"]))
    pairs = pairs.assign(failed=pairs["points"].isna() & (pairs["found"] == "both"))
    table = pairs.groupby(["model", "data", "label", "asked"]).agg(
        seeds=("points", "count"),
        failed_seeds=("failed", "sum"),
        top1_difference_points_mean=("points", "mean"),
        top1_difference_points_std=("points", "std"),
    )
    table = table.reset_index().rename(columns={"asked": "target_compression_ratio"})
    table.insert(3, "against", against)
    return table


def title(against: str) -> str:
    return f"top-1 minus that of {against} with the same seed, in points: mean ± std (seeds)"


def matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells such as "+0.12 ± 0.30 (5)": a row per method, a column per asked compression."""
    cells = rows.assign(cell=[_cell(row) for _, row in rows.iterrows()])
    wide = cells.pivot(index="label", columns="target_compression_ratio", values="cell")
    wide = wide.sort_index(key=lambda labels: labels.str.casefold())
    return wide.fillna("-").rename(columns=times)


def _cell(row: "pd.Series[float]") -> str:
    mean, std = row["top1_difference_points_mean"], row["top1_difference_points_std"]
    # z: a difference that rounds to 0 has no minus.
    text = spread(f"{mean:+z.2f}", std, int(row["seeds"]), int(row["failed_seeds"]))
    return "- (n=0)" if text == "-" else text


def missing(results: pd.DataFrame, against: str) -> list[str]:
    """A note per model and data set on which `against` has no result."""
    has = results.groupby(["model", "data"])["label"].agg(lambda labels: against in set(labels))
    return [
        f"{against} has no result on {model}, {data}: nothing to compare there"
        for model, data in has.index[~has]
    ]
