"""Keeps the sources that this process has loaded, and finds those that no digest of code names.

A run's digest names what can be read from sources before anything is loaded. Sources that the
process has loaded beyond that, as by a computed name, are stored with each result (a finished run,
a dense state, a stage, a checkpoint, a digest of data), as file and SHA-256. A result is reused
only if its record matches the present sources.

Not detected: files that are executed without becoming a module, by a computed path.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import harness

Record = dict[str, str]  # file, SHA-256 of its content

_loaded: dict[str, bytes] = {}  # by module
_modules: dict[str, str] = {}  # by file
_on_disk: dict[Path, tuple[tuple[int, int], bytes]] = {}
_settled: set[str] = set()  # modules loaded before watch_imports, or of libraries
_named: set[str] = set()  # files named by digests of this process
_taken: Record = {}  # records of reused results
_added: set[str] = set()  # added to sys.path by user components


def source_of(module: str, file: Path) -> bytes:
    """Returns the source of a module as this process runs it, or would import it now.

    A module that was imported before `watch_imports` counts as it was at that call.
    """
    if module in sys.modules:
        if module not in _loaded:
            _keep(module, file)
        return _loaded[module]
    status = file.stat()
    state = status.st_mtime_ns, status.st_size
    if file not in _on_disk or _on_disk[file][0] != state:
        _on_disk[file] = state, file.read_bytes()
    return _on_disk[file][1]


def mark_digested(files: Iterable[Path]) -> None:
    """Notes that a digest of this process names these files."""
    _named.update(map(str, files))


def undigested_sources() -> Record:
    """Returns user modules that were loaded since `watch_imports` and that no digest names.

    The records of reused results are included.
    """
    modules = ((name, _own_file(name)) for name in [*sys.modules] if name not in _settled)
    sources = {str(file): _sha256(source_of(name, file)) for name, file in modules if file}
    return dict(sorted({**_taken, **sources}.items()))


def is_current(record: object) -> bool:
    """Returns True if all files of the record equal what this process has loaded or would load."""
    return isinstance(record, Mapping) and all(_now(file) == sha for file, sha in record.items())


def adopt_if_current(record: Record) -> bool:
    """Returns `is_current(record)`.

    A current record becomes part of all records of this process.
    """
    if not is_current(record):
        return False
    _taken.update(record)
    return True


@contextmanager
def without_added_paths() -> Iterator[None]:
    """Excludes what user components add to sys.path inside the context from the search of digests.

    Digests cannot know these paths before the components are loaded.
    """
    before = {*sys.path}
    try:
        yield
    finally:
        _added.update({*sys.path} - before)


def search_paths() -> list[str]:
    """Returns the paths in which digests look for modules."""
    return [entry for entry in sys.path if entry not in _added]


def is_loaded(file: str) -> bool:
    return _modules.get(file) in sys.modules


def watch_imports() -> None:
    """Keeps the source of each module that is imported from now on, except libraries."""
    if any(isinstance(finder, _Watch) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Watch())
    _settled.update(sys.modules)
    for name in list(sys.modules):
        spec = getattr(sys.modules[name], "__spec__", None)
        if name != "__main__" and isinstance(spec, ModuleSpec) and _is_own(spec):
            source_of(name, Path(str(spec.origin)))


@cache
def is_library(origin: str) -> bool:
    """Returns True if a file belongs to Python or an installed package, but not to the harness."""
    path = Path(origin)
    if path.is_relative_to(_home()):
        return False
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(installed) or any(path.is_relative_to(folder) for folder in _standard())


class _Watch(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        others = (finder for finder in sys.meta_path if not isinstance(finder, _Watch))
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and _is_own(spec):
            # Just before its loader reads it.
            _keep(name, Path(str(spec.origin)))
        return spec


def _keep(module: str, file: Path) -> None:
    _loaded[module] = file.read_bytes()
    _modules[str(file)] = module


def _is_own(spec: ModuleSpec) -> bool:
    origin = spec.origin if spec.has_location else None
    return bool(origin) and not is_library(str(origin)) and Path(str(origin)).is_file()


def _own_file(name: str) -> Path | None:
    """Returns the file of an undigested module, unless it belongs to a library or the harness."""
    path = getattr(sys.modules.get(name), "__dict__", {}).get("__file__")
    file = Path(path).absolute() if isinstance(path, str) else None
    if file is None or is_library(str(file)) or file.is_relative_to(_home()):
        _settled.add(name)
        return None
    return file if str(file) not in _named and file.is_file() else None


def _now(file: str) -> str:
    """Returns the SHA-256 of a file, "" if it is missing."""
    if is_loaded(file):
        return _sha256(_loaded[_modules[file]])
    if not Path(file).is_file():
        return ""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _home() -> Path:
    return Path(str(harness.__file__)).parent  # independent of the position of this module


@cache
def _standard() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return paths["stdlib"], paths["platstdlib"]
