"""Sources as this process has loaded them, and those of them that no digest of code names.

The rule: a run's digest names what can be read from sources before anything is loaded. What the
process has loaded beyond that, as by a name that was computed, is kept with each thing that it
leaves (a finished run, a dense state, a stage, a checkpoint, a digest of data), as file and
SHA-256. Nobody takes such a thing up whose record does not hold for the sources that are there.

Not seen: files that are executed without becoming a module, by a path that is computed.
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
_settled: set[str] = set()  # modules that were there before the watch, or are no own ones
_named: set[str] = set()  # files that digests of this process name
_taken: Record = {}  # of what this process has taken up
_added: set[str] = set()  # to sys.path, by own parts


def source_of(module: str, file: Path) -> bytes:
    """What this process runs of a module, or would if it imported it now.

    Of a module that was imported before `watch`: as it was when that was called.
    """
    if module in sys.modules:
        if module not in _loaded:
            _keep(module, file)
        return _loaded[module]
    found = file.stat()
    state = found.st_mtime_ns, found.st_size
    if file not in _on_disk or _on_disk[file][0] != state:
        _on_disk[file] = state, file.read_bytes()
    return _on_disk[file][1]


def mark_digested(files: Iterable[Path]) -> None:
    """Says that a digest of this process names these files."""
    _named.update(map(str, files))


def undigested_sources() -> Record:
    """Own modules that this process has loaded since `watch`, and that none of its digests names;
    with those of the records that it has taken up."""
    own = ((name, _own_file(name)) for name in [*sys.modules] if name not in _settled)
    found = {str(file): _sha256(source_of(name, file)) for name, file in own if file}
    return dict(sorted({**_taken, **found}.items()))


def is_current(record: object) -> bool:
    """Whether all its files are what this process has loaded of them, or would load now."""
    return isinstance(record, Mapping) and all(_now(file) == sha for file, sha in record.items())


def adopt_if_current(record: Record) -> bool:
    """The same; a record that stands is a part of all records of this process from now on."""
    if not is_current(record):
        return False
    _taken.update(record)
    return True


@contextmanager
def without_added_paths() -> Iterator[None]:
    """What own parts add to sys.path inside of it is not searched by digests, as nobody can know it
    before they are loaded."""
    before = {*sys.path}
    try:
        yield
    finally:
        _added.update({*sys.path} - before)


def search_paths() -> list[str]:
    """Where digests look for modules."""
    return [entry for entry in sys.path if entry not in _added]


def is_loaded(file: str) -> bool:
    return _modules.get(file) in sys.modules


def watch_imports() -> None:
    """From now on, keeps the source of each module that is imported, libraries apart."""
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
    """Whether a file comes with Python or lies where packages are installed, and is not ours."""
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
            # A moment before its loader reads it.
            _keep(name, Path(str(spec.origin)))
        return spec


def _keep(module: str, file: Path) -> None:
    _loaded[module] = file.read_bytes()
    _modules[str(file)] = module


def _is_own(spec: ModuleSpec) -> bool:
    origin = spec.origin if spec.has_location else None
    return bool(origin) and not is_library(str(origin)) and Path(str(origin)).is_file()


def _own_file(name: str) -> Path | None:
    """Of a module that is neither a library's nor ours, whose digests name all of it."""
    said = getattr(sys.modules.get(name), "__dict__", {}).get("__file__")
    file = Path(said).absolute() if isinstance(said, str) else None
    if file is None or is_library(str(file)) or file.is_relative_to(_home()):
        _settled.add(name)
        return None
    return file if str(file) not in _named and file.is_file() else None


def _now(file: str) -> str:
    """SHA-256; "" if there is no such file."""
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
    return Path(str(harness.__file__)).parent  # wherever this module lies in it


@cache
def _standard() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return paths["stdlib"], paths["platstdlib"]
