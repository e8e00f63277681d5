"""Finds the modules that a module may import, from its source; imports nothing itself."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

from harness.launch.digests.imports import imported, is_ours, paths, with_packages
from harness.system.loaded_sources import is_library, is_loaded, search_paths

Location = tuple[Path | None, tuple[str, ...]]  # file to read, folders of its submodules
Source = Callable[[str, Path], bytes]


def closure(roots: Iterable[str], skip: Callable[[str], bool], source: Source) -> dict[str, Path]:
    """Returns the files, by module, of the roots, their packages and all that they import.

    Imports inside functions and of submodules count. Libraries are left out.

    Args:
        roots: names of modules.
        skip: True for modules that are left out and not followed.
        source: returns the content of (module, file).
    """
    files: dict[str, Path] = {}
    seen: set[str] = set()
    left = [parent for root in roots for parent in with_packages(root)]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        file = files.get(name) or file_of(name)
        if file is None or skip(name):
            continue
        files[name] = file
        if file.suffix == ".py":
            content = source(name, file)
            left += imported(name, file.name == "__init__.py", content)
            named = dict(_files_by_path(name, file, content))
            files |= named
            left += named
    return files


def file_of(name: str) -> Path | None:
    """Returns a module's file; None for a library, a package without a file, or no module."""
    return _locate(name)[0]


def module_of(target: str) -> str:
    """Returns the longest head of a dotted name that is a module; "" if none is."""
    parts = target.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((head for head in heads if file_of(head)), "")


def _files_by_path(name: str, file: Path, content: bytes) -> Iterator[tuple[str, Path]]:
    """Yields (name, file) for files that a module names by a path.

    A path counts from the current folder or from the module's own folder.
    """
    if is_ours(name):
        return
    for path in paths(content):
        candidates = (home / path for home in (Path.cwd(), file.parent))
        known = next(
            (
                candidate
                for candidate in candidates
                if candidate.is_file() and not is_library(str(candidate))
            ),
            None,
        )
        if known and known != file:
            yield f"{path} of {name}".replace(".", "/"), known


def _locate(name: str) -> Location:
    if name == "__main__":  # differs between processes; of the harness it is a command
        return None, ()
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(spec, ModuleSpec) and is_ours(name):
        return _of_spec(spec)
    head, _, last = name.rpartition(".")
    if head:
        return _below(_locate(head)[1], last)
    if isinstance(spec, ModuleSpec) and _is_searched(spec):
        return _of_spec(spec)
    if name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return None, ()
    # importlib.util.find_spec would execute the parent packages.
    specs = (finder.find_spec(name, search_paths(), None) for finder in sys.meta_path)
    return _of_spec(next((spec for spec in specs if spec is not None), None))


def _of_spec(spec: ModuleSpec | None) -> Location:
    if spec is None or (spec.origin and is_library(spec.origin)):
        return None, ()
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    # Only a package's own folder counts: its __path__ may grow once it is loaded.
    folders = (str(file.parent),) if file and spec.submodule_search_locations else ()
    return file, folders if file else tuple(spec.submodule_search_locations or ())


def _is_searched(spec: ModuleSpec) -> bool:
    """True if a module was found on the search path of digests."""
    if not spec.has_location or not spec.origin or is_library(spec.origin):
        return True
    file = Path(spec.origin)
    home = file.parent.parent if spec.submodule_search_locations else file.parent
    return home in _search_folders(tuple(search_paths()), os.getcwd())


@cache
def _search_folders(entries: tuple[str, ...], folder: str) -> set[Path]:
    return {Path(folder, entry) for entry in entries}


def _exists(file: str) -> bool:
    return os.path.isfile(file) or is_loaded(file)


def _below(folders: Iterable[str], last: str) -> Location:
    """Finds a module as Python does.

    A folder is searched for a package, then for a file. If no folder has one, the module is a
    namespace package of all matching folders.
    """
    portions = []
    for folder in folders:
        home = os.path.join(folder, last)
        package = os.path.join(home, "__init__.py")
        if _exists(package):
            return Path(package), (home,)
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            if _exists(home + suffix):
                return Path(home + suffix), ()
        portions += [home] if os.path.isdir(home) else []
    return None, tuple(portions)
