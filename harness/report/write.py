"""All files of a report, from a survey that is already read and summarised."""

from pathlib import Path

from harness.report import library
from harness.report.figures import write_figures
from harness.report.latex import write_latex
from harness.report.page import write_page
from harness.report.survey import Survey
from harness.report.tables import write_csv


def write(survey: Survey, out: Path) -> list[Path]:
    """CSV, LaTeX, PNG and PDF files, and report.html; makes `out`."""
    out.mkdir(parents=True, exist_ok=True)
    bundling = library.begun()
    return [
        *write_csv(survey, out),
        *write_latex(survey, out),
        *write_figures(survey, out),
        write_page(survey, out, library.text(bundling)),
    ]
