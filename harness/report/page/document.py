"""Writes one self-contained HTML page with interactive figures, tables and notes."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from harness.report.figures.curves import curves
from harness.report.figures.styles import method_styles
from harness.report.page import numbers
from harness.report.page.analyses import Analysis, analyses_of
from harness.report.page.legend import legend
from harness.report.page.run_details import details
from harness.report.page.section import CAPTIONS, PageSection, average_ranks
from harness.report.read.survey import Survey, of_section

_HERE = Path(__file__).parent
_SCRIPTS = ("charts.js", "tables.js", "page.js")


def write_page(
    survey: Survey,
    out: Path,
    diagrams: Callable[[], Mapping[str, str]],
    library: Callable[[], str],
    folder: Path,
) -> Path:
    """Writes report.html into `folder`, from which it is moved to `out`.

    Args:
        survey: The survey to show.
        out: The final folder, to which links are relative.
        diagrams: Returns the <svg> of average ranks by title; called late.
        library: Returns the code of Vega-Lite, which draws the charts; called late.
        folder: A temporary folder.
    """
    page_sections = list(_page_sections(survey))
    analyses = list(analyses_of(survey.sensitivity))
    data = _json(_data(survey, page_sections, analyses, out))
    sections = [
        *(section.html(survey.against, diagrams()) for section in page_sections),
        *_over_everything(survey, diagrams()),
        *(_analysis(number, analysis) for number, analysis in enumerate(analyses)),
    ]
    page = Template(_read("page.html")).substitute(
        style=_read("style.css") + _read("page.css"),
        library=library(),
        script="\n".join(map(_read, _SCRIPTS)),
        command=escape(_command(survey, out)),
        notes=_notes(survey.notes),
        sections="\n".join(sections),
        data=data,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _page_sections(survey: Survey) -> Iterator[PageSection]:
    styles = method_styles(survey.labels())
    learned = curves(survey.records, survey.results) if len(survey.results) else pd.DataFrame()
    for number, section in enumerate(survey.sections()):
        labels = set(section.pruned["label"])
        own = {label: styles[label] for label in survey.paper.methods or styles if label in labels}
        drawn = of_section(learned, section.model, section.data)
        if not drawn.empty:
            drawn = drawn[drawn["label"].isin(labels)]
        yield PageSection(number, section, own, drawn)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _command(survey: Survey, out: Path) -> str:
    where = [] if out == survey.runs / "report" else ["--out", str(out)]
    against = [] if survey.against is None else ["--against", survey.against]
    test = [] if survey.test == "t" else ["--test", survey.test]
    figures = [word for file in survey.figures for word in ("--published", str(file))]
    published_for = [
        word
        for own, shown in survey.published_for.items()
        for word in ("--published-for", f"{own}={shown}")
    ]
    options = [*where, *against, *test, *figures, *published_for, *survey.paper.words]
    return shlex.join(["pruning-harness", "report", str(survey.runs), *options])


def _json(data: Any) -> str:
    # No "<": neither a tag nor a comment can begin inside the script element.
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _data(
    survey: Survey, sections: Sequence[PageSection], analyses: Sequence[Analysis], out: Path
) -> dict[str, Any]:
    """Returns the data of the script: rows, charts and the table of runs by section."""
    results = survey.results if len(sections) else survey.results.iloc[:0]
    folders = dict.fromkeys(results["folder"]) if len(results) else {}
    drawn = {section.id: section.data for section in sections} | {
        f"analysis-{number}": {"rows": item.rows, "charts": {"layers": item.chart}, "runs": []}
        for number, item in enumerate(analyses)
    }
    return {"sections": drawn, **details(survey.runs, out, folders)}


def _over_everything(survey: Survey, diagrams: Mapping[str, str]) -> Iterator[str]:
    titles = {section.title for section in survey.sections()}
    for ranks in survey.ranks:
        if ranks.title not in titles:
            head = f"<h2>{escape(ranks.title[:1].upper() + ranks.title[1:])}</h2>"
            yield f"<section>{head}{''.join(average_ranks(ranks, diagrams))}</section>"
    if not survey.summary.empty:
        yield numbers.protocol(survey)


def _analysis(number: int, analysis: Analysis) -> str:
    return (
        f'<section id="analysis-{number}"><h2>{escape(analysis.title)}</h2>'
        f"<p>{escape(analysis.caption)}.</p>"
        f"{legend('Layers', analysis.styles, 'Grey line: nothing pruned.')}"
        f'<div class="charts"><figure><figcaption>{CAPTIONS["layers"]}</figcaption>'
        f'<div class="chart" data-chart="layers" data-section="analysis-{number}"></div></figure>'
        f"</div>{analysis.table}</section>"
    )


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section id="notes"><h2>Notes</h2><ul>{items}</ul></section>' if notes else ""
