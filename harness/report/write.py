"""All files of a report, from a survey that is already read and summarised."""

from pathlib import Path
from tempfile import TemporaryDirectory

from harness.report.aside import aside, begin
from harness.report.latex import write_latex
from harness.report.page.document import write_page
from harness.report.survey import Survey
from harness.report.tables import write_csv

# They take longest, and go on beside the rest.
_FIGURES = "harness.report.figures:draw_all"
_LIBRARY = "harness.report.page.library:library"
# Names of a report's files, a line each.
_LIST = ".files"


def get_ready() -> None:
    """Optional: before the records are read, so that nobody waits for matplotlib and Vega-Lite."""
    begin(_FIGURES)
    begin(_LIBRARY)


def write(survey: Survey, out: Path) -> list[Path]:
    """CSV, LaTeX, PNG and PDF files, and report.html; makes `out`.

    Each comes whole into its place when all are written: what stops it leaves the old ones. Those
    of an earlier report in `out` that this one does not have are removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=".report-", dir=out) as name,
        aside(_LIBRARY) as library,
        aside(_FIGURES, survey, new := Path(name)) as figures,
    ):
        tables = [*write_csv(survey, new), *write_latex(survey, new)]
        page = write_page(survey, out, lambda: figures().diagrams, library, new)
        files = [*tables, *figures().files, page]
        return _into_place(files, out)


def _into_place(files: list[Path], out: Path) -> list[Path]:
    """Moves them, and removes what an earlier report had and this one has not: tables of another
    model, or of --against, would be taken for today's."""
    listed = out / _LIST
    earlier = listed.read_text().splitlines() if listed.exists() else []
    names = [file.name for file in files]
    # First, so that what stops this forgets no file.
    listed.write_text("\n".join({*earlier, *names}))
    placed = [file.replace(out / file.name) for file in files]
    for name in set(earlier) - set(names):
        (out / Path(name).name).unlink(missing_ok=True)
    listed.write_text("\n".join(names))
    return placed
