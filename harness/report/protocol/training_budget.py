"""Checks the rule that all methods are trained equally long."""

from collections.abc import Iterator, Sequence

import pandas as pd

from harness.report.protocol.finding import Finding, pruned, sections, to_finding
from harness.report.read.cost import span
from harness.report.read.results import name_some
from harness.report.read.survey import Survey


def retraining_budget(survey: Survey) -> Finding:
    """Checks that all methods have equal epochs and steps after level 0.

    Dense training does not count: it is shared, and pruning at initialisation needs none. A method
    without dense training may score weights that it has trained. Its whole training then replaces
    the dense one, and must equal the whole training of the other methods.
    """
    rows, units = pruned(survey), ("epochs", "steps")
    totals = [f"total_{unit}" for unit in units]
    before = survey.records[survey.records["level"] == 0].groupby("folder")[totals].last()
    at_first = before.reindex(rows["folder"]).fillna(0).to_numpy()
    spent = (rows[totals] - at_first).round(6).set_axis(units, axis="columns")
    gaps = rows[spent.isna().any(axis=1)]
    if len(gaps):
        details = f"{len(gaps)} results lack epochs or steps: {name_some(gaps['folder'])}"
        return Finding("missing", details, "repeat these runs")
    dense = at_first[:, 0] > 0
    rescored = ~dense & (_trained_before_pruning(rows, survey.records) > 0)
    rows = rows.assign(**spent, dense=dense, rescored=rescored)
    problems, whole = list[str](), list[str]()
    for where, same in sections(rows):
        totals_text = _in_all(same)
        problems += [*_unusual(where, same[~same["rescored"]], units)]
        problems += [f"{where}{totals_text}"] if _unequal_in_all(same, totals) else []
        whole += [totals_text] if same["total_epochs"].nunique() > 1 else []
    good = "equal epochs and steps of retraining at each compression" + "".join(whole)
    return to_finding(problems, good, "give all methods the same retraining.epochs and rounds")


def _trained_before_pruning(rows: pd.DataFrame, records: pd.DataFrame) -> "pd.Series[float]":
    """Returns the epochs of each result's training before its last pruning."""
    stages = records[["folder", "level", "stage", "total_epochs"]]
    pairs = (
        rows[["folder", "level"]].reset_index().merge(stages, on="folder", suffixes=("", "_then"))
    )
    earlier = pairs["level_then"] < pairs["level"]
    scored = (pairs["level_then"] == pairs["level"]) & pairs["stage"].isin(("penalised", "pruned"))
    epochs = pairs[earlier | scored].groupby("index")["total_epochs"].max()
    return epochs.reindex(rows.index).fillna(0.0)


def _unequal_in_all(rows: pd.DataFrame, totals: Sequence[str]) -> bool:
    """True if methods that score trained weights differ in their whole training.

    Only the compressions of methods that score again count.
    """
    trained = rows[rows["dense"] | rows["rescored"]] if rows["dense"].any() else rows
    compared = trained[trained["requested"].isin(set(rows.loc[rows["rescored"], "requested"]))]
    return bool((compared.round(6).groupby("requested")[list(totals)].nunique() > 1).any(axis=None))


def _in_all(rows: pd.DataFrame) -> str:
    costs = rows.groupby("label")["total_epochs"].max()
    totals = ", ".join(f"{label} {epochs:g}" for label, epochs in costs.items())
    return f"; in all, dense training included: {totals}"


def _unusual(where: str, rows: pd.DataFrame, units: Sequence[str]) -> Iterator[str]:
    """Yields the labels whose retraining is not the usual one at the same compression.

    A label is named once, by the first unit that differs.
    """
    for unit in units:
        usual = rows.groupby("requested")[unit].transform(lambda spent: spent.mode().iloc[0])
        unusual = rows.assign(usual=usual)[rows[unit] != usual]
        for label, same in unusual.groupby("label"):
            expected = _span(same["usual"])
            yield f"{label} ({where}): {_span(same[unit])} {unit} where most have {expected}"
        rows = rows.drop(unusual.index)


def _span(epochs: "pd.Series[float]") -> str:
    return span(epochs.min(), epochs.max())
