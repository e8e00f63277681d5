"""Everything a report shows, as tables: the records, their summary, and notes for the reader."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from harness.report import sensitivity
from harness.report.read import NoResults, read
from harness.report.results import dense_results, pruned_results, some
from harness.report.summary import summarise, warnings


@dataclass(frozen=True)
class Survey:
    runs: Path
    records: pd.DataFrame
    summary: pd.DataFrame
    notes: list[str]
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)

    def sections(self) -> Iterator["Section"]:
        """One per model and data set with results: they never share a table or figure."""
        for (model, data), rows in self.summary.groupby(["model", "data"]):
            pruned = rows["level"] > 0
            if pruned.any():
                yield Section(str(model), str(data), rows[pruned], rows[~pruned])

    def labels(self) -> list[str]:
        return sorted(set(self.summary.loc[self.summary["level"] > 0, "label"]), key=str.casefold)


@dataclass(frozen=True)
class Section:
    model: str
    data: str
    pruned: pd.DataFrame
    dense: pd.DataFrame

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"


def load(runs: Path) -> Survey:
    """
    Raises:
        ValueError: `runs` is no folder, or holds no result of a pruned network and no
            sensitivity analysis.
    """
    analyses = sensitivity.load(runs)
    try:
        survey = _load_runs(runs)
    except NoResults:
        if analyses.empty:
            raise
        nothing = pd.DataFrame(columns=["model", "data", "level", "label"])
        survey = Survey(runs, nothing, nothing, [])
    return replace(survey, sensitivity=analyses)


def _load_runs(runs: Path) -> Survey:
    records, notes = read(runs)
    pruned = pruned_results(records)
    dense = dense_results(records)
    if pruned.rows.empty:
        raise NoResults(
            f"{runs} holds no pruned network yet: looked for a record of level 1 or more, found "
            f"{len(records)} records of {records['folder'].nunique()} runs at level 0; wait for "
            "the runs to prune, or give another folder"
        )
    summary = summarise(pd.concat([dense.rows, pruned.rows]))
    notes += [*_not_pruned(records), *dense.notes, *pruned.notes, *warnings(summary)]
    return Survey(runs, records, summary, notes)


def _not_pruned(records: pd.DataFrame) -> list[str]:
    levels = records.groupby("folder")["level"].max()
    waiting = levels.index[levels == 0]
    if waiting.empty:
        return []
    return [
        f"{len(waiting)} of {len(levels)} runs have records of level 0 only (dense, or not yet "
        f"pruned): {some(waiting)}"
    ]
