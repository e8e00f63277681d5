"""All files of a report, from a survey that is already read and summarised."""

import hashlib
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor

from harness.report.figures.latex import write_latex
from harness.report.page.document import write_page
from harness.report.page.library import library
from harness.report.read.survey import Survey
from harness.report.tables import write_csv
from harness.system.atomic_files import write_whole

# Imported in a process beside this one only: matplotlib takes long.
_FIGURES = "harness.report.figures.draw"
_DEAF = (signal.SIGINT, signal.SIG_IGN)
# SHA-256 and name of each file of a report, a line each.
_LIST = ".files"


def get_ready() -> None:
    """Optional: before the records are read, so that nobody waits for matplotlib and Vega-Lite."""
    _pool().submit(_import_figures)
    _pool().submit(library)


@cache
def _pool() -> Any:
    """Two processes for what takes longest. Those of loky need no guard in the caller's script."""
    # Ctrl-C is for the report, which then ends them.
    return ProcessPoolExecutor(2, initializer=signal.signal, initargs=_DEAF)


@contextmanager
def _worker_pool() -> Iterator[Any]:
    """A body that fails ends the processes, and what they are at.

    Raises:
        OSError: one of them has gone.
    """
    try:
        yield _pool()
    except BaseException as error:
        _pool().shutdown(wait=False, kill_workers=True)
        _pool.cache_clear()
        if isinstance(error, BrokenProcessPool):
            raise OSError(
                "a process that draws figures ended before its work was done; see what it said "
                "above, and whether there is memory left"
            ) from error
        raise


def write(survey: Survey, out: Path) -> list[Path]:
    """CSV, LaTeX, PNG and PDF files, and report.html; makes `out`.

    Each comes whole into its place when all are written: what stops it leaves the old ones. Those
    of an earlier report in `out` that this one does not have are removed, if they are as they were
    written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=out) as name, _worker_pool() as pool:
        script, new = pool.submit(library), Path(name)
        figures = pool.submit(_drawn, survey, new)
        tables = [*write_csv(survey, new), *write_latex(survey, new)]
        page = write_page(survey, out, lambda: figures.result().diagrams, script.result, new)
        files = [*tables, *figures.result().files, page]
        return _into_place(files, out)


def _import_figures() -> None:
    import_module(_FIGURES)


def _drawn(survey: Survey, out: Path) -> Any:
    return import_module(_FIGURES).draw_all(survey, out)


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
