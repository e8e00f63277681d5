"""Everything a report shows, as tables: the records, their summary, and notes for the reader."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from harness.report import paired, sensitivity
from harness.report.cost import with_totals
from harness.report.curves import curves
from harness.report.latency import with_latency
from harness.report.overlap import overlaps
from harness.report.read import NoResults, read
from harness.report.results import (
    beside_dense,
    candidates,
    dense_results,
    pruned_results,
    some,
    written_last,
)
from harness.report.summary import summarise, warnings


@dataclass(frozen=True)
class Survey:
    runs: Path
    records: pd.DataFrame
    results: pd.DataFrame  # a row per seed, the dense networks at level 0
    summary: pd.DataFrame
    notes: list[str]
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    against: str | None = None
    test: str = "t"
    paired: pd.DataFrame = field(default_factory=lambda: _none())
    overlap: pd.DataFrame = field(default_factory=lambda: _none())
    curves: pd.DataFrame = field(default_factory=lambda: _none())

    def sections(self) -> Iterator["Section"]:
        """One per model and data set with results: they never share a table or figure."""
        for (model, data), rows in self.summary.groupby(["model", "data"]):
            pruned = rows["level"] > 0
            if pruned.any():
                yield Section(
                    str(model),
                    str(data),
                    rows[pruned],
                    rows[~pruned],
                    of_place(self.paired, model, data),
                    of_place(self.results, model, data),
                    of_place(self.overlap, model, data),
                    of_place(self.curves, model, data),
                )

    def labels(self) -> list[str]:
        return sorted(set(self.summary.loc[self.summary["level"] > 0, "label"]), key=str.casefold)


@dataclass(frozen=True)
class Section:
    model: str
    data: str
    pruned: pd.DataFrame
    dense: pd.DataFrame
    paired: pd.DataFrame
    results: pd.DataFrame
    overlap: pd.DataFrame
    curves: pd.DataFrame

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @property
    def slug(self) -> str:
        """For names of files."""
        return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", name) for name in (self.model, self.data))


def of_place(rows: pd.DataFrame, model: object, data: object) -> pd.DataFrame:
    return rows[(rows["model"] == model) & (rows["data"] == data)]


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=["model", "data"])


def load(runs: Path, against: str | None = None, test: str = "t") -> Survey:
    """
    against: the label that all others are compared with, seed by seed. test: one of stats.TESTS.

    Raises:
        ValueError: `runs` is no folder, or holds no result of a pruned network and no
            sensitivity analysis, or no result has the label `against`, or an unknown test.
    """
    analyses = sensitivity.load(runs)
    try:
        survey = _load_runs(runs, against, test)
    except NoResults:
        if analyses.empty or against:
            raise
        nothing = pd.DataFrame(columns=["model", "data", "level", "label"])
        survey = Survey(runs, nothing, nothing, nothing, [])
    return replace(survey, sensitivity=analyses)


def _load_runs(runs: Path, against: str | None, test: str) -> Survey:
    records, notes = read(runs)
    records = with_totals(written_last(records))
    pruned = pruned_results(records)
    dense = dense_results(records)
    if pruned.rows.empty:
        raise NoResults(
            f"{runs} holds no pruned network yet: looked for a result at level 1 or more, found "
            f"{len(records)} records of {records['folder'].nunique()} runs at level 0 or on the "
            "way; wait for the runs to prune, or give another folder"
        )
    results = beside_dense(pd.concat([dense.rows, pruned.rows], ignore_index=True), records)
    results, strange = with_latency(results, runs)
    overlap, unread = overlaps(runs, results)
    summary = summarise(results)
    notes += [
        *_no_results(records),
        *dense.notes,
        *pruned.notes,
        *warnings(summary),
        *strange,
        *unread,
    ]
    survey = Survey(
        runs, records, results, summary, notes, overlap=overlap, curves=curves(records, results)
    )
    if against is None:
        return survey
    table = paired.paired(pruned.rows, against, test)
    notes += [*paired.missing(pruned.rows, against), *paired.notes(table)]
    return replace(survey, against=against, test=test, paired=table)


def _no_results(records: pd.DataFrame) -> list[str]:
    levels = records.groupby("folder")["level"].max()
    waiting = levels.index[levels == 0]
    under_way = levels.index.difference([*waiting, *candidates(records)["folder"]])
    said = {
        "have records of level 0 only (dense, or not yet pruned)": waiting,
        "are on the way to their first result": under_way,
    }
    return [
        f"{len(folders)} of {len(levels)} runs {what}: {some(folders)}"
        for what, folders in said.items()
        if len(folders)
    ]
