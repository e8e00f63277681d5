"""Compares two folders of runs: `pruning-harness report RUNS --compare OTHER`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.report.console import print_table, print_text, to_csv
from harness.report.read.folders import timings
from harness.report.read.load import load
from harness.report.read.survey import Survey
from harness.report.significance import stats
from harness.report.significance.matched import identical_runs, with_lines
from harness.report.significance.summary import spread, times
from harness.task.shared.measures import TOP1

_KEYS = ["model", "data", "line", "requested"]


def compare(runs: Path, other: Path, out: Path) -> int:
    """Prints the cells that differ and a verdict, and writes compare.csv with a row per cell.

    Returns 0 if nothing differs beyond seed noise, else 1.

    Raises:
        ValueError: a folder has no results, or the two have no cell in common.
    """
    left, right = load(runs), load(other)
    table = cells(left, right)
    if not (table["side"] == "both").any():
        raise ValueError(
            f"{runs} and {other} have no result in common (model, data, method and compression): "
            "pass two folders of one survey"
        )
    _print(table, left, right)
    out.mkdir(parents=True, exist_ok=True)
    to_csv(table, out / "compare.csv", float_format="%.8g")
    print_text(str(out / "compare.csv"))
    print_text(verdict(table, *identical_runs(left, right)))
    return int(table["differs"].any())


def cells(left: Survey, right: Survey) -> pd.DataFrame:
    """Returns a row per model, data, method and requested compression of either survey.

    Columns:
        change_points: Mean top-1 of the right survey minus that of the left one, seed by seed where
            they have common seeds.
        test: "paired t" over two or more common seeds, else "Welch" over all seeds (also where all
            differences are equal); "" if there is no p.
        p_holm: p, corrected over all cells.
        failed_left, failed_right: Numbers of failed seeds.
        side: The survey that has the cell: left, right or both.
        equal: True if all seeds have the same top-1.
        masks, equal_masks: Pairs of one seed with masks, and those whose masks are equal.
        differs: True if p_holm < 0.05, or if a common seed failed on one side only.
    """
    left_results, right_results = with_lines(_usable(left), _usable(right))
    sides = [_by_key(left_results), _by_key(right_results)]
    keys = sorted({*sides[0], *sides[1]})
    empty = left_results.iloc[:0]
    table = pd.DataFrame(_cell(*(side.get(key, empty) for side in sides)) for key in keys)
    corrected = stats.holm(table["p"])
    alone = table.pop("failed_alone")
    return table.assign(p_holm=corrected, differs=(corrected < stats.ALPHA) | (alone > 0))


def _by_key(results: pd.DataFrame) -> dict[tuple[str, str, str, float], pd.DataFrame]:
    return {
        (str(model), str(data), str(line), float(str(requested))): rows
        for (model, data, line, requested), rows in results.groupby(_KEYS)
    }


def _usable(survey: Survey) -> pd.DataFrame:
    if survey.results.empty:
        raise ValueError(
            f"{survey.runs} has only sensitivity analyses: pass a folder with runs to compare"
        )
    if survey.measure != TOP1:
        raise ValueError(
            f"{survey.runs} has runs whose measure is {survey.measure.name}, and two folders are "
            "compared by top-1; read their reports side by side"
        )
    return survey.results


def _cell(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, Any]:
    shown = (right if left.empty else left).iloc[0]
    pairs = left.merge(right, on="seed", suffixes=("", "_right"))
    whole = pairs[~pairs["failed"] & ~pairs["failed_right"]]
    differences = stats.exact(100 * (whole["top1_right"] - whole["top1"]))
    values = [100 * side["top1"].dropna().to_numpy(dtype=float) for side in (left, right)]
    test, p = _tested(differences, *values)
    masked = pairs[(pairs["masks"] != "") & (pairs["masks_right"] != "")]
    return {
        **{key: shown[key] for key in ("model", "data", "label")},
        "requested_compression_ratio": shown["requested"],
        "side": "both" if len(left) and len(right) else "left" if len(left) else "right",
        "seeds_left": len(values[0]),
        "seeds_right": len(values[1]),
        "common_seeds": len(differences),
        "failed_left": int(left["failed"].sum()),
        "failed_right": int(right["failed"].sum()),
        "equal": len(left) == len(right) == len(pairs) and not differences.any(),
        "failed_alone": int((pairs["failed"] != pairs["failed_right"]).sum()),
        "top1_left_mean": _mean(values[0]),
        "top1_left_std": _std(values[0]),
        "top1_right_mean": _mean(values[1]),
        "top1_right_std": _std(values[1]),
        "change_points": _mean(differences)
        if len(differences)
        else _mean(values[1]) - _mean(values[0]),
        "test": test,
        "p": p,
        "masks": len(masked),
        "equal_masks": int((masked["masks"] == masked["masks_right"]).sum()),
    }


Array = stats.Values


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else np.nan


def _std(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _tested(differences: Array, left: Array, right: Array) -> tuple[str, float]:
    tests: tuple[tuple[str, Callable[[], float]], ...] = (
        ("paired t", lambda: stats.paired_p(differences)),
        ("Welch", lambda: stats.unpaired_p(left, right)),
    )
    for name, test in tests:
        p = test()
        if np.isfinite(p):
            return name, p
    return "", np.nan


def verdict(table: pd.DataFrame, common: int, identical: int) -> str:
    """Returns the last line: a sentence on the cells of both surveys, and the rest as a count."""
    both, different = table[table["side"] == "both"], table[table["differs"]]
    start = f"identical records in {identical} of {common} runs; " if common else ""
    alone = len(table) - len(both)
    end = f"; {alone} more in one folder only" if alone else ""
    if len(different):
        return f"{start}{len(different)} of {len(both)} cells differ beyond seed noise{end}"
    untested = both["p"].isna() & ~both["equal"]
    more = f" ({untested.sum()} more differ, too few seeds to tell)" if untested.any() else ""
    tested = len(both) - untested.sum()
    return f"{start}no difference beyond seed noise in {tested} cells{more}{end}"


def _print(table: pd.DataFrame, left: Survey, right: Survey) -> None:
    changed = table[~table["equal"] | table["differs"]]
    if len(changed):
        print_table(pd.DataFrame([_shown(row) for _, row in changed.iterrows()]))
    print_text(f"{len(table) - len(changed)} of {len(table)} cells have equal accuracies")
    masks = table[["equal_masks", "masks"]].sum()
    print_text(
        f"masks are equal in {masks['equal_masks']} of {masks['masks']} results of common seeds"
    )
    for survey in (left, right):
        folders = set(survey.records["folder"])
        print_text(f"{survey.runs}: {len(folders)} runs, {_seconds(survey, folders):.1f} s")


def _shown(row: "pd.Series[Any]") -> dict[str, str]:
    p = row["p_holm"]
    sides = {
        name.capitalize(): spread(
            f"{row[f'top1_{name}_mean']:.2f}",
            row[f"top1_{name}_std"],
            row[f"seeds_{name}"],
            row[f"failed_{name}"],
        )
        for name in ("left", "right")
    }
    return {
        "Model, data": f"{row['model']}, {row['data']}",
        "Method": row["label"],
        "Requested": times(row["requested_compression_ratio"]),
        **sides,
        "Change": "-" if np.isnan(row["change_points"]) else f"{row['change_points']:+z.2f}",
        "p (Holm)": "-" if np.isnan(p) else f"{p:.3g}{' *' if row['differs'] else ''}",
    }


def _seconds(survey: Survey, folders: set[str]) -> float:
    lines = [line for folder in folders for line in timings(survey.runs / folder)]
    return float(sum(line.get("seconds") or 0 for line in lines))
