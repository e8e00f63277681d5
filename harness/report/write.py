"""Writes all files of a report from a survey."""

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
from harness.system.atomic_files import write_atomic

# Imported in a worker process only, because matplotlib is slow to import.
_FIGURES = "harness.report.figures.draw"
_IGNORE_SIGINT = (signal.SIGINT, signal.SIG_IGN)
# The file that lists SHA-256 and name of each file of a report, a line each.
_LIST = ".files"


def get_ready() -> None:
    """Starts loading matplotlib and Vega-Lite in worker processes; optional, saves time."""
    _pool().submit(_import_figures)
    _pool().submit(library)


@cache
def _pool() -> Any:
    """Returns two worker processes; loky's need no `if __name__` guard in the caller's script."""
    # The workers ignore Ctrl-C; this process ends them.
    return ProcessPoolExecutor(2, initializer=signal.signal, initargs=_IGNORE_SIGINT)


@contextmanager
def _worker_pool() -> Iterator[Any]:
    """Yields the worker processes, and kills them if the body fails.

    Raises:
        OSError: a worker process ended early.
    """
    try:
        yield _pool()
    except BaseException as error:
        _pool().shutdown(wait=False, kill_workers=True)
        _pool.cache_clear()
        if isinstance(error, BrokenProcessPool):
            raise OSError(
                "a process that draws figures ended before its work was done; read its output "
                "above, and check the free memory"
            ) from error
        raise


def write(survey: Survey, out: Path) -> list[Path]:
    """Writes CSV, LaTeX, PNG and PDF files and report.html into `out`, and makes `out`.

    The files are moved to `out` when all are written, so that an interrupted report leaves the old
    files. Files of an earlier report that this one lacks are removed if they are unchanged.
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
    """Moves the files to `out`, and removes the files of an earlier report that this one lacks.

    Such files, like tables of another model or of --against, would look current.
    """
    listed = out / _LIST
    earlier = listed.read_text(errors="replace").splitlines() if listed.is_file() else []
    current = [f"{_sha256(file)} {file.name}" for file in files]
    # The list is written first, so that an interruption forgets no file.
    write_atomic(listed, "\n".join(dict.fromkeys([*earlier, *current])))
    placed = [file.replace(out / file.name) for file in files]
    for line in set(earlier) - set(current):
        _remove_unchanged(out, line, {file.name for file in files})
    write_atomic(listed, "\n".join(current))
    return placed


def _remove_unchanged(out: Path, line: str, current: set[str]) -> None:
    """Removes a listed file if its checksum agrees, because the list may come from elsewhere."""
    written, _, name = line.partition(" ")
    file = out / name
    if name in current or file.parent != out or file.is_symlink() or not file.is_file():
        return
    if _sha256(file) == written:
        file.unlink()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
