"""All files of a report, from a survey that is already read and summarised."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.files import write_whole
from harness.report.aside import aside, begin
from harness.report.latex import write_latex
from harness.report.page.document import write_page
from harness.report.survey import Survey
from harness.report.tables import write_csv

# They take longest, and go on beside the rest.
_FIGURES = "harness.report.figures:draw_all"
_LIBRARY = "harness.report.page.library:library"
# SHA-256 and name of each file of a report, a line each.
_LIST = ".files"


def get_ready() -> None:
    """Optional: before the records are read, so that nobody waits for matplotlib and Vega-Lite."""
    begin(_FIGURES)
    begin(_LIBRARY)


def write(survey: Survey, out: Path) -> list[Path]:
    """CSV, LaTeX, PNG and PDF files, and report.html; makes `out`.

    Each comes whole into its place when all are written: what stops it leaves the old ones. Those
    of an earlier report in `out` that this one does not have are removed, if they are as they were
    written.
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
    earlier = listed.read_text(errors="replace").splitlines() if listed.is_file() else []
    ours = [f"{_sha256(file)} {file.name}" for file in files]
    # First, so that what stops this forgets no file.
    write_whole(listed, "\n".join(dict.fromkeys([*earlier, *ours])))
    placed = [file.replace(out / file.name) for file in files]
    for line in set(earlier) - set(ours):
        _remove_as_written(out, line, {file.name for file in files})
    write_whole(listed, "\n".join(ours))
    return placed


def _remove_as_written(out: Path, line: str, today: set[str]) -> None:
    """The list may come from anybody: a file is ours only with the content that we gave it."""
    written, _, name = line.partition(" ")
    file = out / name
    if name in today or file.parent != out or file.is_symlink() or not file.is_file():
        return
    if _sha256(file) == written:
        file.unlink()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
