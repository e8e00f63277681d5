"""Which modules a module may import, as its source tells; nothing is imported to find out."""

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
    """Files by module: the roots, their packages, and what they import, imports inside functions
    and of submodules included; without libraries, which versions name.

    skip: modules that are left out and not followed. source: content of (module, file).
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
    """The module's file; None for a library's, a package without one, or if there is none."""
    return _locate(name)[0]


def module_of(target: str) -> str:
    """The module of a dotted name: its longest part that is one; "" if none is."""
    parts = target.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((head for head in heads if file_of(head)), "")


def _files_by_path(name: str, file: Path, content: bytes) -> Iterator[tuple[str, Path]]:
    """Files that it names by a path, from here or from its own folder, by what they are called."""
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
    if name == "__main__":  # another one in each process, and a command if it is ours
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
    # No part of it is run, as importlib.util.find_spec would its packages.
    specs = (finder.find_spec(name, search_paths(), None) for finder in sys.meta_path)
    return _of_spec(next((spec for spec in specs if spec is not None), None))


def _of_spec(spec: ModuleSpec | None) -> Location:
    if spec is None or (spec.origin and is_library(spec.origin)):
        return None, ()
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    # Of a package its own folder alone: to its __path__ more may be added once it is loaded.
    folders = (str(file.parent),) if file and spec.submodule_search_locations else ()
    return file, folders if file else tuple(spec.submodule_search_locations or ())


def _is_searched(spec: ModuleSpec) -> bool:
    """Whether it was found where digests look."""
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
    """As Python looks: in each folder a package, then a file; a folder alone if nowhere is any."""
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
