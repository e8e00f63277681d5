"""One self-contained HTML page: interactive figures, tables, notes; nothing from the network."""

import shlex
from html import escape
from math import isnan
from pathlib import Path
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from harness.report import cost, paired
from harness.report.collapse import percent
from harness.report.lines import PANELS, Look, looks
from harness.report.plots import plot
from harness.report.sensitivity_plots import sections
from harness.report.summary import cell, times
from harness.report.survey import Section, Survey
from harness.report.tables import dense_lines, matrix

_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(survey: Survey, out: Path) -> Path:
    styles = looks(survey.labels())
    parts = [_section(i, part, styles, survey) for i, part in enumerate(survey.sections())]
    parts += sections(survey.sensitivity)
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        plotly=get_plotlyjs(),
        command=escape(_command(survey, out)),
        sections="\n".join(parts),
        notes=_notes(survey.notes),
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _command(survey: Survey, out: Path) -> str:
    where = [] if out == survey.runs / "report" else ["--out", str(out)]
    against = [] if survey.against is None else ["--against", survey.against]
    return shlex.join(["python", "-m", "harness.report", str(survey.runs), *where, *against])


def _section(index: int, section: Section, styles: dict[str, Look], survey: Survey) -> str:
    dense = "".join(f"<p>{escape(line)}</p>" for line in dense_lines(section))
    parts = [
        f"<h2>{escape(section.title)}</h2>",
        "<p>Top-1 accuracy in %: mean ± standard deviation (number of seeds).</p>",
        *(_figure(f"figure-{index}-{x}", section, x, styles) for x in PANELS),
        f"<h3>Top-1 accuracy by asked compression</h3>{dense}",
        _by_method(matrix(section)),
        *_paired(section, str(survey.against)),
        *_costs(section),
        "<h3>All numbers</h3>",
        f'<div class="numbers">{_table(_all_numbers(section.pruned))}</div>',
    ]
    return "<section>" + "\n".join(parts) + "</section>"


def _paired(section: Section, against: str) -> list[str]:
    if section.paired.empty:
        return []
    said = escape(_sentence(paired.title(against)))
    return [f"<h3>{said}</h3>", _by_method(paired.matrix(section.paired))]


def _costs(section: Section) -> list[str]:
    costs = cost.costs(section.dense, section.pruned)
    return [] if costs.empty else [f"<h3>{_sentence(cost.TITLE)}</h3>", _by_method(costs)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _by_method(cells: pd.DataFrame) -> str:
    return _table(cells.rename_axis(columns=None).rename_axis("Method").reset_index())


def _figure(name: str, section: Section, x: str, styles: dict[str, Look]) -> str:
    html = plot(name, section, x, PANELS[x], styles)
    title = escape(f"{section.title}: accuracy against {PANELS[x]}", quote=True)
    return f'<div class="figure" role="figure" aria-label="{title}">{html}</div>'


def _all_numbers(pruned: pd.DataFrame) -> pd.DataFrame:
    rows = [row for _, row in pruned.iterrows()]
    return pd.DataFrame(
        {
            "Method": pruned["label"].tolist(),
            "Asked compression": pruned["target_compression_ratio"].map(times).tolist(),
            "Measured compression": pruned["compression_ratio_mean"].map(times).tolist(),
            "Theoretical speed-up": pruned["speedup_ratio_mean"].map(times).tolist(),
            "Weights kept, %": pruned["density_share_mean"].map(percent).tolist(),
            "Weights that connect input and output, %": (
                pruned["effective_density_share_mean"].map(percent).tolist()
            ),
            "Units without live input or output": [
                "-" if isnan(units) else f"{units:.4g}" for units in pruned["dead_units_count_mean"]
            ],
            "Layers without a weight": pruned["empty_layers"].tolist(),
            "Top-1, %": [cell(row) for row in rows],
            "Top-1 right after pruning, %": [cell(row, "pruned_top1_share") for row in rows],
            "Top-5, %": [cell(row, "top5_share") for row in rows],
        }
    )


def _table(frame: pd.DataFrame) -> str:
    # tabindex: a keyboard can scroll it sideways.
    html = frame.to_html(index=False, border=0, escape=True, justify="unset")
    return f'<div class="scroll" tabindex="0">{html}</div>'


def _notes(notes: list[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Notes</h2><ul>{items}</ul>" if notes else ""
