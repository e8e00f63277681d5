"""The rule that all methods are trained equally long."""

from collections.abc import Iterator, Sequence

import pandas as pd

from harness.report.protocol.finding import Finding, pruned, sections, to_finding
from harness.report.read.cost import span
from harness.report.read.results import name_some
from harness.report.read.survey import Survey


def retraining_budget(survey: Survey) -> Finding:
    """Equal epochs and steps after level 0: dense training is shared, and what is pruned at
    initialisation needs none.

    A method that goes on scoring weights after they were trained, without a dense network, has
    that training in its place: its whole training must equal the others', dense training too.
    """
    rows, units = pruned(survey), ("epochs", "steps")
    totals = [f"total_{unit}" for unit in units]
    before = survey.records[survey.records["level"] == 0].groupby("folder")[totals].last()
    at_first = before.reindex(rows["folder"]).fillna(0).to_numpy()
    spent = (rows[totals] - at_first).round(6).set_axis(units, axis="columns")
    lacks = rows[spent.isna().any(axis=1)]
    if len(lacks):
        evidence = f"{len(lacks)} results lack epochs or steps: {name_some(lacks['folder'])}"
        return Finding("missing", evidence, "run them again")
    dense = at_first[:, 0] > 0
    rescored = ~dense & (_trained_before_pruning(rows, survey.records) > 0)
    rows = rows.assign(**spent, dense=dense, rescored=rescored)
    problems, whole = list[str](), list[str]()
    for where, same in sections(rows):
        apart = _in_all(same)
        problems += [*_unusual(where, same[~same["rescored"]], units)]
        problems += [f"{where}{apart}"] if _unequal_in_all(same, totals) else []
        whole += [apart] if same["total_epochs"].nunique() > 1 else []
    good = "equal epochs and steps of retraining at each compression" + "".join(whole)
    return to_finding(problems, good, "give all methods the same retraining.epochs and rounds")


def _trained_before_pruning(rows: pd.DataFrame, records: pd.DataFrame) -> "pd.Series[float]":
    """Epochs that each result's network was trained for before its last pruning."""
    there = records[["folder", "level", "stage", "total_epochs"]]
    past = rows[["folder", "level"]].reset_index().merge(there, on="folder", suffixes=("", "_then"))
    earlier = past["level_then"] < past["level"]
    scored = (past["level_then"] == past["level"]) & past["stage"].isin(("penalised", "pruned"))
    epochs = past[earlier | scored].groupby("index")["total_epochs"].max()
    return epochs.reindex(rows.index).fillna(0.0)


def _unequal_in_all(rows: pd.DataFrame, totals: Sequence[str]) -> bool:
    """Whether methods that score trained weights, one of them re-scored, differ in all."""
    trained = rows[rows["dense"] | rows["rescored"]] if rows["dense"].any() else rows
    beside = trained[trained["requested"].isin(set(rows.loc[rows["rescored"], "requested"]))]
    return bool((beside.round(6).groupby("requested")[list(totals)].nunique() > 1).any(axis=None))


def _in_all(rows: pd.DataFrame) -> str:
    costs = rows.groupby("label")["total_epochs"].max()
    apart = ", ".join(f"{label} {epochs:g}" for label, epochs in costs.items())
    return f"; in all, dense training too: {apart}"


def _unusual(where: str, rows: pd.DataFrame, units: Sequence[str]) -> Iterator[str]:
    """Who was retrained otherwise than most at the same compression; each by the first unit."""
    for unit in units:
        usual = rows.groupby("requested")[unit].transform(lambda spent: spent.mode().iloc[0])
        odd = rows.assign(usual=usual)[rows[unit] != usual]
        for label, same in odd.groupby("label"):
            others = _span(same["usual"])
            yield f"{label} ({where}): {_span(same[unit])} {unit} where others have {others}"
        rows = rows.drop(odd.index)


def _span(epochs: "pd.Series[float]") -> str:
    return span(epochs.min(), epochs.max())
