"""Which modules a module imports, read from its source; nothing is imported to find out."""

import ast
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

OWN_TOP = "harness"
# Every import statement, and some text of docstrings.
STATEMENT = re.compile(
    r"(?:^|[;:])[ \t]*((?:from[ \t]+[.\w]+[ \t]+)?import\b[ \t]*(?:\([^)]*\)|(?:\\\n|[^\n;#])*))",
    re.MULTILINE,
)
BY_NAME = re.compile(r"""import_module\(\s*["']([\w.]+)["']""")

Place = tuple[Path | None, tuple[str, ...]]  # file to read, folders of its submodules
Source = Callable[[str, Path], bytes]


def closure(roots: Iterable[str], skip: Callable[[str], bool], source: Source) -> dict[str, Path]:
    """Files by module: the roots, their packages, and what they import, imports inside functions
    and of submodules included; without libraries, which versions name.

    skip: modules that are left out and not followed. source: content of (module, file).
    """
    found: dict[str, Path] = {}
    seen: set[str] = set()
    left = [parent for root in roots for parent in _with_packages(root)]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        file = file_of(name)
        if file is None or skip(name):
            continue
        found[name] = file
        if file.suffix == ".py":
            is_package = file.name == "__init__.py"
            left += _imported(name, is_package, source(name, file))
    return found


def file_of(name: str) -> Path | None:
    """The module's file; None for a library's, a package without one, or if there is none."""
    return _place(name)[0]


def module_of(target: str) -> str:
    """The module of a dotted name: its longest part that is one; "" if none is."""
    parts = target.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((head for head in heads if file_of(head)), "")


@cache
def is_library(origin: str) -> bool:
    """Whether a file comes with Python or lies where packages are installed, and is not ours."""
    path = Path(origin)
    if path.is_relative_to(_home()):
        return False
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(installed) or any(path.is_relative_to(folder) for folder in _standard())


@cache
def _home() -> Path:
    import harness

    return Path(str(harness.__file__)).parent


@cache
def _standard() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return paths["stdlib"], paths["platstdlib"]


def _with_packages(name: str) -> Iterator[str]:
    """
    >>> list(_with_packages("a.b.c"))
    ['a', 'a.b', 'a.b.c']
    """
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


@cache
def _imported(name: str, is_package: bool, source: bytes) -> tuple[str, ...]:
    """Dotted names that may be modules: of `from a import b` both a and a.b."""
    package = name if is_package else name.rpartition(".")[0]
    text = source.decode(errors="replace")
    found = set(BY_NAME.findall(text))
    for node in _statements(text):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        up = package.rsplit(".", node.level - 1)[0] if node.level else ""
        home = ".".join(filter(None, (up, node.module)))
        found |= {home, *(f"{home}.{alias.name}" for alias in node.names if alias.name != "*")}
    return tuple({each for one in found for each in _with_packages(one)})


def _statements(text: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """Of the matches alone where each can be read, which is twenty times faster."""
    try:
        bodies = [ast.parse(match) for match in STATEMENT.findall(text)]
    except SyntaxError:
        try:
            bodies = [ast.parse(text)]
        except SyntaxError:  # its import will say so
            return
    for body in bodies:
        for node in ast.walk(body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node


def _place(name: str) -> Place:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return _of_spec(spec)
    head, _, last = name.rpartition(".")
    if head:
        return _below(_place(head)[1], last)
    if name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return None, ()
    # No part of it is run, as importlib.util.find_spec would its packages.
    specs = (finder.find_spec(name, None, None) for finder in sys.meta_path)
    return _of_spec(next((spec for spec in specs if spec is not None), None))


def _of_spec(spec: ModuleSpec | None) -> Place:
    if spec is None or (spec.origin and is_library(spec.origin)):
        return None, ()
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return file, tuple(spec.submodule_search_locations or ())


def _below(folders: Iterable[str], last: str) -> Place:
    for folder in folders:
        home = os.path.join(folder, last)
        if os.path.isdir(home):
            package = os.path.join(home, "__init__.py")
            return Path(package) if os.path.isfile(package) else None, (home,)
        for suffix in (".py", *EXTENSION_SUFFIXES):
            if os.path.isfile(home + suffix):
                return Path(home + suffix), ()
    return None, ()
