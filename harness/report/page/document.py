"""One self-contained HTML page: interactive figures, tables, notes; nothing from the network."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from harness.report.lines import AXES, Look, looks, measured, reached
from harness.report.page import charts, heat, numbers
from harness.report.page.analyses import Analysis, analyses_of
from harness.report.page.details import details, run_rows
from harness.report.page.legend import legend
from harness.report.page.points import rows
from harness.report.survey import Ranks, Section, Survey

_HERE = Path(__file__).parent
_SCRIPTS = ("charts.js", "tables.js", "page.js")


def write_page(
    survey: Survey,
    out: Path,
    diagrams: Callable[[], Mapping[str, str]],
    library: Callable[[], str],
    folder: Path,
) -> Path:
    """report.html, in `folder`; its links lead from `out`, where it will lie.

    diagrams, library: give the <svg> of average ranks by title, and the code of Vega-Lite, which
    draws the charts; they are made elsewhere meanwhile, and asked for late.
    """
    styles = looks(survey.labels())
    sections = list(survey.sections())
    analyses = list(analyses_of(survey.sensitivity))
    drawn = [dict(_charts(section, _own(section, styles))) for section in sections]
    data = _json(_data(survey, sections, drawn, analyses, out))
    parts = [
        _section(number, section, list(drawn[number]), _own(section, styles), survey, diagrams())
        for number, section in enumerate(sections)
    ]
    parts += _over_everything(survey, diagrams())
    parts += [_analysis(number, one) for number, one in enumerate(analyses)]
    page = Template(_read("page.html")).substitute(
        style=_read("style.css") + _read("page.css"),
        library=library(),
        script="\n".join(map(_read, _SCRIPTS)),
        command=escape(_command(survey, out)),
        notes=_notes(survey.notes),
        sections="\n".join(parts),
        data=data,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _command(survey: Survey, out: Path) -> str:
    where = [] if out == survey.runs / "report" else ["--out", str(out)]
    against = [] if survey.against is None else ["--against", survey.against]
    test = [] if survey.test == "t" else ["--test", survey.test]
    figures = [word for file in survey.figures for word in ("--published", str(file))]
    instead = [
        word
        for own, shown in survey.instead.items()
        for word in ("--published-for", f"{own}={shown}")
    ]
    options = [*where, *against, *test, *figures, *instead]
    return shlex.join(["python", "-m", "harness.report", str(survey.runs), *options])


def _json(data: Any) -> str:
    # No "<": neither a tag nor a comment can begin inside the script element.
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _data(
    survey: Survey,
    sections: list[Section],
    drawn: list[dict[str, Any]],
    analyses: list[Analysis],
    out: Path,
) -> dict[str, Any]:
    """Everything that the script draws: by section the rows, the charts and the table of runs."""
    results = survey.results if len(sections) else survey.results.iloc[:0]
    folders = dict.fromkeys(results["folder"]) if len(results) else {}
    parts = {
        f"section-{number}": {
            "rows": rows(section),
            "charts": drawn[number],
            "runs": run_rows(section.results),
        }
        for number, section in enumerate(sections)
    }
    parts |= {
        f"analysis-{number}": {"rows": one.rows, "charts": {"layers": one.chart}, "runs": []}
        for number, one in enumerate(analyses)
    }
    return {"sections": parts, **details(survey.runs, out, folders)}


def _own(section: Section, styles: dict[str, Look]) -> dict[str, Look]:
    here = set(section.pruned["label"])
    return {label: look for label, look in styles.items() if label in here}


def _charts(section: Section, styles: dict[str, Look]) -> Iterator[tuple[str, dict[str, Any]]]:
    axes, dense = measured(section.pruned), not section.dense.empty
    others = looks(section.published_labels())
    for axis in axes:
        values = reached(axis, section.pruned, section.published)
        yield axis.name, charts.accuracy(axis, values, styles, dense, others)
    if section.pruned["change_points_mean"].notna().any():
        yield "change", charts.change(AXES[0], section.pruned[AXES[0].column], styles)
    if not section.curves.empty:
        yield "loss", charts.curve("loss", "Training loss", styles)
        yield "learning", charts.curve("top1_percent", "Validation top-1, %", styles)


def _section(
    number: int,
    section: Section,
    names: list[str],
    styles: dict[str, Look],
    survey: Survey,
    diagrams: Mapping[str, str],
) -> str:
    drawn = [_figure(number, name, section) for name in names]
    parts = [
        f"<h2>{escape(section.title)}</h2>",
        *(f"<p>{escape(line)}</p>" for line in numbers.dense_lines(section)),
        legend("Methods", styles, _said(section), looks(section.published_labels())),
        f'<div class="charts">{"".join(drawn)}</div>',
        *numbers.tables(section, survey.against),
        *_ranks(section.ranks, diagrams),
        *heat.densities(section),
        *heat.overlaps(section),
        _runs(number),
    ]
    return f'<section id="section-{number}">' + "\n".join(parts) + "</section>"


def _figure(number: int, name: str, section: Section) -> str:
    chosen = _choice(section) if name in ("loss", "learning") else ""
    return (
        f"<figure><figcaption>{escape(_captions()[name])}</figcaption>{chosen}"
        f'<div class="chart" data-chart="{name}" data-section="section-{number}"></div></figure>'
    )


def _captions() -> dict[str, str]:
    return {axis.name: f"Top-1 accuracy against {axis.title[0].lower()}{axis.title[1:]}"
            for axis in AXES} | {
        "change": "Change of top-1 against the dense network of the same seed",
        "loss": "Training loss by epoch",
        "learning": "Validation accuracy by epoch",
        "layers": "One layer pruned alone",
    }  # fmt: skip


def _choice(section: Section) -> str:
    asked = sorted(set(section.curves["asked"]))
    last = asked[-1]  # where methods differ most
    options = "".join(
        f'<option value="{one:.6g}"{" selected" if one == last else ""}>{one:.4g}x</option>'
        for one in asked
    )
    return f'<label>Asked compression <select class="asked">{options}</select></label>'


def _said(section: Section) -> str:
    dense = " Grey line: dense." if len(section.dense) else ""
    return (
        f"Broad grey band: Pareto front; bars: one standard deviation over seeds.{dense} "
        "A click on a point shows its runs; by keyboard: Tab to a chart, arrow keys, Enter."
    )


def _ranks(ranks: Ranks | None, diagrams: Mapping[str, str]) -> Iterator[str]:
    if ranks is None:
        return
    said = ranks.caption()
    yield "<h3>Average ranks</h3>"
    yield f"<p>{escape(said[:1].upper() + said[1:])}.</p>"
    yield f'<div class="diagram">{diagrams[ranks.title]}</div>'


def _over_everything(survey: Survey, diagrams: Mapping[str, str]) -> Iterator[str]:
    titles = {section.title for section in survey.sections()}
    for ranks in survey.ranks:
        if ranks.title not in titles:
            head = f"<h2>{escape(ranks.title[:1].upper() + ranks.title[1:])}</h2>"
            yield f"<section>{head}{''.join(_ranks(ranks, diagrams))}</section>"
    if not survey.summary.empty:
        yield numbers.protocol(survey)


def _runs(number: int) -> str:
    """Filled by the script: a survey may have thousands."""
    return (
        f'<h3 id="runs-{number}">Runs</h3><label>Filter <input type="search" class="runs-find" '
        'placeholder="method, 16x, seed 0"></label> <output></output>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs">'
        '<table class="sorts runs"></table></div>'
    )


def _analysis(number: int, one: Analysis) -> str:
    return (
        f'<section id="analysis-{number}"><h2>{escape(one.title)}</h2><p>{escape(one.caption)}.</p>'
        f"{legend('Layers', one.styles, 'Grey line: nothing pruned.')}"
        f'<div class="charts"><figure><figcaption>{_captions()["layers"]}</figcaption>'
        f'<div class="chart" data-chart="layers" data-section="analysis-{number}"></div></figure>'
        f"</div>{one.table}</section>"
    )


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section id="notes"><h2>Notes</h2><ul>{items}</ul></section>' if notes else ""
