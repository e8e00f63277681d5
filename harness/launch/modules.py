"""Which modules a module imports, read from its source; nothing is imported to find out.

Names that are computed at run time are not seen.
"""

import ast
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

OWN_TOP = "harness"
# Every import statement of ours, and some text of docstrings.
STATEMENT = re.compile(
    r"(?:^|[;:])[ \t]*((?:from[ \t]+[.\w]+[ \t]+)?import\b[ \t]*(?:\([^)]*\)|(?:\\\n|[^\n;#])*))",
    re.MULTILINE,
)
# Functions of Python's that import by a name.
BY_NAME = ("import_module", "__import__", "resolve_name", "run_module")

Statement = ast.Import | ast.ImportFrom | ast.Call
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
    is_ours = name.partition(".")[0] == OWN_TOP
    found = set()
    for node in statements_of_ours(source) if is_ours else statements(source):
        if isinstance(node, ast.Call):
            found |= {_absolute(text, package) for text in _texts(node)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            home = _absolute("." * node.level + (node.module or ""), package)
            found |= {home, *(f"{home}.{alias.name}" for alias in node.names if alias.name != "*")}
    return tuple({each for one in found for each in _with_packages(one)})


def _absolute(name: str, package: str) -> str:
    """
    >>> _absolute("..c", "a.b"), _absolute(".", "a.b"), _absolute("c", "a.b")
    ('a.c', 'a.b', 'c')
    """
    last = name.lstrip(".")
    level = len(name) - len(last)
    up = package.rsplit(".", level - 1)[0] if level else ""
    return ".".join(filter(None, (up, last)))


def statements(source: bytes) -> Iterator[Statement]:
    """All imports of any Python source, in whatever way they are written, and calls of functions
    that import by name."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a text such as "\\d"
            body = ast.parse(source)  # of bytes: it reads the encoding's mark itself
    except (SyntaxError, ValueError):  # its import will say so
        return
    for node in ast.walk(body):
        is_other_call = isinstance(node, ast.Call) and _function(node) not in BY_NAME
        if isinstance(node, Statement) and not is_other_call:
            yield node


def statements_of_ours(source: bytes) -> Iterator[Statement]:
    """The same, several times faster, of sources that are written as this project's are."""
    text = source.decode()
    if any(f"{name}(" in text for name in BY_NAME):
        yield from statements(source)
        return
    try:
        bodies = [ast.parse(match) for match in STATEMENT.findall(text)]
    except SyntaxError:
        yield from statements(source)
        return
    for body in bodies:
        yield from (node for node in body.body if isinstance(node, ast.Import | ast.ImportFrom))


def _function(call: ast.Call) -> str:
    at = call.func
    return at.attr if isinstance(at, ast.Attribute) else at.id if isinstance(at, ast.Name) else ""


def _texts(call: ast.Call) -> Iterator[str]:
    """Arguments that may be names of modules, also as in "module:attribute"."""
    for value in (*call.args, *(keyword.value for keyword in call.keywords)):
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            name = value.value.partition(":")[0]
            if name.replace(".", "").isidentifier():
                yield name


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
