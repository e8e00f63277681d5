"""From a folder of runs to a survey: read, choose what counts, summarise, compare."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness.report import published
from harness.report.read import layer_curves
from harness.report.read import results as reading
from harness.report.read.cost import with_totals
from harness.report.read.folders import is_finished
from harness.report.read.latency import with_latency
from harness.report.read.overlap import overlaps
from harness.report.read.records import NoResults, read
from harness.report.read.survey import Survey, of_section
from harness.report.significance import paired
from harness.report.significance.ranks import rankings
from harness.report.significance.summary import summarise, uncounted, warnings


def load(
    runs: Path,
    against: str | None = None,
    test: str = "t",
    figures: Sequence[Path] = (),
    instead: Mapping[str, str] | None = None,
) -> Survey:
    """
    against: the label that all others are compared with, seed by seed. test: one of stats.TESTS.
    figures: files of published results beside those that come with the harness; instead: another
    data set per own one whose published results are shown.

    Raises:
        ValueError: `runs` is no folder, or holds no result of a pruned network and no
            sensitivity analysis, or no result has the label `against` or is on a data set of
            `instead`, or an unknown test.
    """
    left_out: list[str] = []
    analyses = layer_curves.load(runs, left_out)
    try:
        survey = _load_runs(runs, against, test)
        survey.notes.extend(left_out)
        survey = replace(survey, figures=figures, instead=instead or {})
        _check_instead(survey)
        survey = replace(survey, published=_published(survey))
    except NoResults as error:
        if analyses.empty or against:
            raise
        nothing = pd.DataFrame(columns=["model", "data", "level", "label"])
        survey = Survey(runs, nothing, nothing, nothing, [*error.notes, *left_out])
    return replace(survey, sensitivity=analyses)


def _load_runs(runs: Path, against: str | None, test: str) -> Survey:
    records, notes = read(runs)
    records = with_totals(reading.written_last(records))
    pruned = reading.pruned_results(records, _unfinished(runs, records))
    dense = reading.dense_results(records)
    if pruned.rows.empty:
        why = (
            f"{runs} holds no pruned network yet: looked for a result at level 1 or more, found "
            f"{len(records)} records of {records['folder'].nunique()} runs at level 0 or on the "
            "way; wait for the runs to prune, or give another folder"
        )
        # A cut line may have been the result.
        raise NoResults("; ".join([why, *notes[:3]]), [*_no_results(records), *notes])
    results = reading.with_dense_change(
        pd.concat([dense.rows, pruned.rows], ignore_index=True), records
    )
    results, strange = with_latency(results, runs)
    overlap, unread = overlaps(runs, results)
    summary = summarise(results)
    notes += [
        *_no_results(records),
        *dense.notes,
        *pruned.notes,
        *warnings(summary),
        *uncounted(results),
        *strange,
        *unread,
    ]
    ranks = rankings(summary)
    survey = Survey(runs, records, results, summary, notes, overlap=overlap, ranks=ranks)
    return survey if against is None else _compared(survey, pruned.rows, against, test)


def _compared(survey: Survey, pruned: pd.DataFrame, against: str, test: str) -> Survey:
    table = paired.paired(pruned, against, test)
    survey.notes.extend([*paired.missing(pruned, against), *paired.notes(table)])
    return replace(survey, against=against, test=test, paired=table)


def _unfinished(runs: Path, records: pd.DataFrame) -> list[str]:
    # A run that ends in fine-tuning has nothing open: of 10,000 runs few files are opened.
    last = records.drop_duplicates("folder", keep="last")
    open_ended = last.loc[last["stage"] != reading.STAGES[-1], "folder"]
    return [folder for folder in open_ended if not is_finished(runs / folder)]


def _check_instead(survey: Survey) -> None:
    data = sorted(set(survey.results["data"]))
    for own, other in survey.instead.items():
        if own not in data:
            raise ValueError(
                f"--published-for {own}={other}: no result is on {own}; there are: "
                f"{', '.join(data)}"
            )


def _published(survey: Survey) -> pd.DataFrame:
    figures, found = published.load(*survey.figures), []
    for section in survey.sections():
        place = section.model, section.data
        own = of_section(survey.records, *place)
        names = (set(own[f"{kind}_published_as"].dropna()) for kind in ("model", "data"))
        # Nothing is known where records differ.
        known = published.LiteratureNames(
            *(each.pop() if len(each) == 1 else None for each in names)
        )
        rows, notes = published.match_figures(*place, figures, survey.instead, known)
        found.append(rows.assign(model=section.model, data=section.data))
        survey.notes.extend(notes)
    return pd.concat(found)


def _no_results(records: pd.DataFrame) -> list[str]:
    levels = records.groupby("folder")["level"].max()
    waiting = levels.index[levels == 0]
    under_way = levels.index.difference([*waiting, *reading.candidates(records)["folder"]])
    said = {
        "have records of level 0 only (dense, or not yet pruned)": waiting,
        "are on the way to their first result": under_way,
    }
    return [
        f"{len(folders)} of {len(levels)} runs {what}: {reading.name_some(folders)}"
        for what, folders in said.items()
        if len(folders)
    ]
