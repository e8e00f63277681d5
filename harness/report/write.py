"""All files of a report, from a survey that is already read and summarised."""

from pathlib import Path
from tempfile import TemporaryDirectory

from harness.report.figures import write_figures
from harness.report.latex import write_latex
from harness.report.page.document import write_page
from harness.report.page.library import library
from harness.report.survey import Survey
from harness.report.tables import write_csv


def write(survey: Survey, out: Path) -> list[Path]:
    """CSV, LaTeX, PNG and PDF files, and report.html; makes `out`.

    Each comes whole into its place when all are written: what stops it leaves the old ones.
    """
    out.mkdir(parents=True, exist_ok=True)
    charts = library()  # begins now, is needed last
    with TemporaryDirectory(prefix=".report-", dir=out) as name:
        new = Path(name)
        files = [
            *write_csv(survey, new),
            *write_latex(survey, new),
            *write_figures(survey, new),
            write_page(survey, out, charts.text, new),
        ]
        # Models whose names differ in signs only share a file.
        return [file.replace(out / file.name) for file in dict.fromkeys(files)]
