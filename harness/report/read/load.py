"""Turns a folder of runs into a survey: reads, selects results, summarises, compares."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness.report import published
from harness.report.figures.lines import measured
from harness.report.paper import Paper, chosen_methods
from harness.report.read import layer_curves
from harness.report.read import results as reading
from harness.report.read.cost import with_totals
from harness.report.read.folders import is_finished
from harness.report.read.latency import with_latency
from harness.report.read.overlap import overlaps
from harness.report.read.records import NoResults, read
from harness.report.read.setting_names import with_distinct_labels, with_distinct_parts
from harness.report.read.survey import Survey, of_section
from harness.report.significance import paired
from harness.report.significance.ranks import rankings
from harness.report.significance.summary import summarise, uncounted, warnings
from harness.task.shared.measures import TOP1


def load(
    runs: Path,
    against: str | None = None,
    test: str = "t",
    figures: Sequence[Path] = (),
    published_for: Mapping[str, str] | None = None,
    paper: Paper | None = None,
) -> Survey:
    """Loads the survey of all runs below a folder.

    Args:
        runs: Folder of a run, of a sweep or of all runs.
        against: The label with which all other labels are compared, seed by seed.
        test: One of stats.TESTS.
        figures: Files of published results, in addition to those of the harness.
        published_for: Maps an own data set to the one whose published results are shown.
        paper: How figures are printed; its methods are texts as the user wrote them.

    Raises:
        ValueError: `runs` is not a folder, or has neither a result of a pruned model nor a
            sensitivity analysis. No result has the label `against` or one of `paper`, or is on a
            data set of `published_for`. No result has measured a panel, or was measured under the
            conditions of `paper`. The test is unknown.
    """
    left_out: list[str] = []
    analyses = layer_curves.load(runs, left_out)
    try:
        survey = _load_runs(runs, against, test, paper.latency if paper else None)
        survey.notes.extend(left_out)
        survey = replace(survey, figures=figures, published_for=published_for or {})
        _check_instead(survey)
        survey = replace(survey, published=_published(survey), paper=_fitting(paper, survey))
    except NoResults as error:
        if (
            analyses.empty
            or against
            or (paper and (paper.panels or paper.methods or paper.latency))
        ):
            raise
        empty = pd.DataFrame(columns=["model", "data", "level", "label"])
        survey = Survey(runs, empty, empty, empty, [*error.notes, *left_out])
    return replace(survey, sensitivity=analyses)


def _load_runs(runs: Path, against: str | None, test: str, latency: str | None) -> Survey:
    records, notes = read(runs)
    records, part_notes = with_distinct_parts(reading.written_last(records), runs)
    records = with_totals(records)
    pruned = reading.pruned_results(records, _unfinished(runs, records))
    dense = reading.dense_results(records)
    if pruned.rows.empty:
        message = (
            f"{runs} has no result of a pruned model: its {len(records)} records of "
            f"{records['folder'].nunique()} runs are of level 0 or of intermediate levels; wait "
            "for the runs to prune, or pass another folder"
        )
        # The notes matter: a line that was cut off may have been the result.
        raise NoResults("; ".join([message, *notes[:3]]), [*_no_results(records), *notes])
    labelled, label_notes = with_distinct_labels(pruned.rows, runs)
    results = reading.with_dense_change(
        pd.concat([dense.rows, labelled], ignore_index=True), records
    )
    results, latency_notes = with_latency(results, runs, latency)
    overlap, overlap_notes = overlaps(runs, results)
    summary = summarise(results)
    notes += [
        *_no_results(records),
        *dense.notes,
        *pruned.notes,
        *part_notes,
        *label_notes,
        *warnings(summary),
        *uncounted(results),
        *latency_notes,
        *overlap_notes,
    ]
    ranks = rankings(summary)
    survey = Survey(runs, records, results, summary, notes, overlap=overlap, ranks=ranks)
    return survey if against is None else _compared(survey, labelled, against, test)


def _compared(survey: Survey, pruned: pd.DataFrame, against: str, test: str) -> Survey:
    # The whole label of a run names its line too, where an ending is not shown.
    shown = set(pruned.loc[pruned["recorded_label"] == against, "label"])
    against = shown.pop() if len(shown) == 1 else against
    table = paired.paired(pruned, against, test)
    survey.notes.extend([*paired.missing(pruned, against), *paired.notes(table)])
    return replace(survey, against=against, test=test, paired=table)


def _unfinished(runs: Path, records: pd.DataFrame) -> list[str]:
    # A run that ends in fine-tuning is complete; only the files of other runs are opened.
    last = records.drop_duplicates("folder", keep="last")
    open_ended = last.loc[last["stage"] != reading.STAGES[-1], "folder"]
    return [folder for folder in open_ended if not is_finished(runs / folder)]


def _check_instead(survey: Survey) -> None:
    data = sorted(set(survey.results["recorded_data"]))
    for own, literature in survey.published_for.items():
        if own not in data:
            raise ValueError(
                f"--published-for {own}={literature}: no result is on data={own}; use one of: "
                f"{', '.join(data)}"
            )


def _fitting(paper: Paper | None, survey: Survey) -> Paper:
    """Returns the paper with the labels that it names.

    Raises:
        ValueError: a label or a panel is in no result.
    """
    paper = paper or Paper()
    names = [axis.name for axis in measured(survey.summary[survey.summary["level"] > 0])]
    for panel in paper.panels or ():
        if panel not in names:
            raise ValueError(f"--panels {panel}: no result has measured it; use {', '.join(names)}")
    if paper.methods is None:
        return paper
    methods, labels = chosen_methods(paper.methods, survey.labels()), survey.labels()
    if len(methods) < len(labels):
        survey.notes.append(
            f"--methods shows {len(methods)} of {len(labels)} methods; average ranks, Holm's "
            "correction, the protocol, these notes and the CSV files are of all"
        )
    return replace(paper, methods=methods)


def _published(survey: Survey) -> pd.DataFrame:
    if survey.measure != TOP1:  # published figures are accuracies
        return survey.published
    figures, tables = published.load(*survey.figures), []
    for section in survey.sections():
        own = of_section(survey.records, section.model, section.data)
        names = (set(own[f"{kind}_published_as"].dropna()) for kind in ("model", "data"))
        # Where records differ, there is no name.
        known = published.LiteratureNames(
            *(values.pop() if len(values) == 1 else None for values in names)
        )
        published_for = {section.data: survey.published_for.get(min(own["recorded_data"]))}
        rows, notes = published.match_figures(
            section.model, section.data, figures, published_for, known
        )
        tables.append(rows.assign(model=section.model, data=section.data))
        survey.notes.extend(notes)
    return pd.concat(tables)


def _no_results(records: pd.DataFrame) -> list[str]:
    levels = records.groupby("folder")["level"].max()
    waiting = levels.index[levels == 0]
    under_way = levels.index.difference([*waiting, *reading.candidates(records)["folder"]])
    by_reason = {
        "have records of level 0 only (dense, or not yet pruned)": waiting,
        "have no result yet": under_way,
    }
    return [
        f"{len(folders)} of {len(levels)} runs {reason}: {reading.name_some(folders)}"
        for reason, folders in by_reason.items()
        if len(folders)
    ]
