"""Compares methods with one of them seed by seed, so that the effect of a seed cancels out."""

from collections.abc import Iterator

import pandas as pd

from harness.report.read.records import measure_of
from harness.report.significance import stats
from harness.report.significance.summary import by_compression, few_seeds, spread
from harness.task.shared.measures import TOP1, Measure
from harness.vocabulary.checks import check_known

NAMES = {"t": "paired t test", "wilcoxon": "Wilcoxon's signed-rank test"}
_PAIR_KEYS = ["model", "data", "requested_counts", "requested"]
_SECTION = ["model", "data"]
_POINTS = "top1_difference_points"


def paired(results: pd.DataFrame, against: str, test: str = "t") -> pd.DataFrame:
    """Returns mean and std (ddof 1) of top-1 minus that of `against`, in points, over seeds.

    There is a row per model, data, requested compression and other label, wherever `against` has a
    result on that model and data.

    Columns:
        seeds: Number of common seeds of which neither failed.
        failed_seeds: Number of the other common seeds.
        low, high: See stats.intervals.
        p: See stats.paired_p.
        p_holm: p, corrected over all `comparisons` of the model and data that have a p.
        d_z: See stats.effect_size.

    Raises:
        ValueError: no result has the label `against`, or the test is unknown.
    """
    _check(results, against, test)
    reference = results.loc[results["label"] == against, [*_PAIR_KEYS, "seed", "top1"]]
    others = results[results["label"] != against].merge(reference[_SECTION].drop_duplicates())
    pairs = others.merge(
        reference.rename(columns={"top1": "reference"}),
        how="left",
        on=[*_PAIR_KEYS, "seed"],
        indicator="side",
    )
    factor = measure_of(results).factor
    pairs = pairs.assign(points=factor * (pairs["top1"] - pairs["reference"]))
    pairs = pairs.assign(failed=pairs["points"].isna() & (pairs["side"] == "both"))
    table = pairs.groupby([*_SECTION, "label", "requested"]).agg(
        seeds=("points", "count"),
        failed_seeds=("failed", "sum"),
        mean=("points", "mean"),
        std=("points", "std"),
        differences=("points", lambda points: points.dropna().tolist()),
    )
    table = table.rename(columns={"mean": f"{_POINTS}_mean", "std": f"{_POINTS}_std"})
    table = _tested(table.reset_index(), test).rename(
        columns={"requested": "requested_compression_ratio"}
    )
    table.insert(3, "against", against)
    return table


def _check(results: pd.DataFrame, against: str, test: str) -> None:
    labels = sorted(set(results["label"]), key=str.casefold)
    if against not in labels:
        known = ", ".join(map(repr, labels))
        raise ValueError(f"--against {against!r}: no result has this label; use one of: {known}")
    check_known("--test", test, stats.TESTS)


def _tested(table: pd.DataFrame, test: str) -> pd.DataFrame:
    differences = table["differences"].tolist()
    ends = stats.intervals(differences)
    table = table.assign(
        **{f"{_POINTS}_low": ends[:, 0], f"{_POINTS}_high": ends[:, 1]},
        test=test,
        p=[stats.paired_p(points, test) for points in differences],
        d_z=[stats.effect_size(points) for points in differences],
        few_seeds=table["seeds"] < stats.FEW_SEEDS,
    )
    by_section = table.groupby(_SECTION)["p"]
    return table.assign(
        p_holm=by_section.transform(stats.holm), comparisons=by_section.transform("count")
    ).drop(columns="differences")


def title(against: str, measure: Measure = TOP1) -> str:
    unit = ", in points" if measure.is_fraction else ""
    return (
        f"{measure.short} minus that of {against} with the same seed{unit}: mean ± std (seeds), "
        f"* where p < {stats.ALPHA:g} after Holm's correction"
    )


def matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns cells such as "+0.12 ± 0.30 (5) *": methods x requested compressions."""
    return by_compression(rows, [_cell(row) for _, row in rows.iterrows()]).fillna("-")


def _cell(row: "pd.Series[float]") -> str:
    mean, std = row[f"{_POINTS}_mean"], row[f"{_POINTS}_std"]
    # z: a difference that rounds to 0 has no minus.
    text = spread(f"{mean:+z.2f}", std, int(row["seeds"]), int(row["failed_seeds"]))
    mark = " *" if row["p_holm"] < stats.ALPHA else ""
    return "- (n=0)" if text == "-" else text + mark


def missing(results: pd.DataFrame, against: str) -> list[str]:
    """Returns a note per model and data set on which `against` has no result."""
    has = results.groupby(_SECTION)["label"].agg(lambda labels: against in set(labels))
    return [
        f"{against} has no result on {model}, {data}: nothing to compare there"
        for model, data in has.index[~has]
    ]


def notes(table: pd.DataFrame) -> list[str]:
    """Returns notes per model and data set on the test, its comparisons and its limits."""
    return [
        f"against {rows['against'].iloc[0]} on {model}, {data}: {limit}"
        for (model, data), rows in table.groupby(_SECTION)
        for limit in _limits(rows)
    ]


def _limits(rows: pd.DataFrame) -> Iterator[str]:
    test, tested = str(rows["test"].iloc[0]), rows[rows["p"].notna()]
    yield f"{NAMES[test]}, Holm's correction over {len(tested)} comparisons"
    equal = ((rows["seeds"] > 1) & rows["p"].isna()).sum()
    if equal:
        yield f"no p in {equal} comparisons with equal differences; --test wilcoxon gives one"
    least = [stats.least_wilcoxon_p(n) for n in tested["seeds"]] if test == "wilcoxon" else []
    weak = [p >= stats.ALPHA for p in least]
    if any(weak):
        fewest = tested["seeds"].min()
        yield (
            f"in {sum(weak)} of {len(tested)} comparisons Wilcoxon's test cannot reach "
            f"{stats.ALPHA:g}: with {fewest} seeds its smallest p is "
            f"{stats.least_wilcoxon_p(fewest):.4g}; use six or more seeds"
        )
    # Holm multiplies the smallest p by the number of comparisons.
    if not all(weak) and min(least) * len(least) >= stats.ALPHA:
        yield (
            f"after the correction none of {len(least)} comparisons can reach {stats.ALPHA:g} by "
            f"Wilcoxon's test: {len(least)} x {min(least):.4g}; use more seeds or fewer methods"
        )
    yield from few_seeds(rows)
