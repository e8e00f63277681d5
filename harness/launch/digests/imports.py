"""Finds names in a source that may be modules; imports nothing itself.

In the harness's own sources these are the names in import statements. In other sources they are
also texts and attributes of imported names, because there are many ways to import by a name.
"""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cache

OWN_TOP = "harness"
# Matches every import statement of the harness, and some text of docstrings.
STATEMENT = re.compile(
    r"(?:^|[;:])[ \t]*((?:from[ \t]+[.\w]+[ \t]+)?import\b[ \t]*(?:\([^)]*\)|(?:\\\n|[^\n;#])*))",
    re.MULTILINE,
)
# Matches dotted names, also in "module:attribute".
NAME = re.compile(r"(\.*[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::[\w.]+)?")

Statement = ast.Import | ast.ImportFrom


@cache
def imported(name: str, is_package: bool, source: bytes) -> tuple[str, ...]:
    """Returns dotted names that may be modules; for `from a import b` both a and a.b."""
    package = name if is_package else name.rpartition(".")[0]
    if is_ours(name):
        names = _statement_names(statements_of_ours(source), package)
    else:
        names = _names_in(source, package)
    return tuple({module for name in names for module in with_packages(name)})


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == OWN_TOP


@cache
def paths(source: bytes) -> tuple[str, ...]:
    """Returns texts that may be paths of Python files."""
    body = _parsed(source)
    return tuple({t for t in _texts(body) if t.endswith(".py") and "\n" not in t} if body else ())


def with_packages(name: str) -> Iterator[str]:
    """Yields the packages of a module, then the module.

    >>> list(with_packages("a.b.c"))
    ['a', 'a.b', 'a.b.c']
    """
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def statements(source: bytes) -> Iterator[Statement]:
    """Yields all import statements of any Python source."""
    for node in ast.walk(_parsed(source) or ast.Module([], [])):
        if isinstance(node, Statement):
            yield node


def statements_of_ours(source: bytes) -> Iterator[Statement]:
    """Yields the import statements of a source in this project's format, several times faster."""
    try:
        bodies = [ast.parse(match) for match in STATEMENT.findall(source.decode())]
    except SyntaxError:
        yield from statements(source)
        return
    for body in bodies:
        yield from (node for node in body.body if isinstance(node, Statement))


def _names_in(source: bytes, package: str) -> set[str]:
    body = _parsed(source)
    if body is None:
        return set()
    statements_in = [node for node in ast.walk(body) if isinstance(node, Statement)]
    texts = set(_texts(body))
    inner = (text.encode(errors="replace") for text in texts if "import" in text)
    names = _statement_names(statements_in, package) | _text_names(texts, package)
    return names.union(
        _attribute_names(body, statements_in, package),
        *(_names_in(text, package) for text in inner),
    )


def _statement_names(statements: Iterable[Statement], package: str) -> set[str]:
    names = set[str]()
    for node in statements:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            module = _imported_from(node, package)
            names |= {
                module,
                *(f"{module}.{alias.name}" for alias in node.names if alias.name != "*"),
            }
    return names - {""}


def _text_names(texts: Iterable[str], package: str) -> set[str]:
    """Returns the dotted names in texts, also below the package, as those of `__all__`.

    Relative names are resolved against the package and against every absolute name.
    """
    names = {match[1] for text in texts if (match := NAME.fullmatch(text))}
    tops = {name for name in names if not name.startswith(".")}
    homes = {package, *tops}
    relative = {_absolute(name, home) for name in names - tops for home in homes if home}
    return tops | relative | ({f"{package}.{name}" for name in tops} if package else set())


def _attribute_names(body: ast.Module, statements: Iterable[Statement], package: str) -> set[str]:
    """Returns chains `a.b.c` of an imported name a, with the full name in place of a."""
    bound = dict(_bindings(statements, package))
    names = set[str]()
    for node in ast.walk(body):
        parts: list[str] = []
        at: ast.expr | ast.AST = node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if parts and isinstance(at, ast.Name) and at.id in bound:
            names.add(".".join([bound[at.id], *reversed(parts)]))
    return names


def _bindings(statements: Iterable[Statement], package: str) -> Iterator[tuple[str, str]]:
    for node in statements:
        home = "" if isinstance(node, ast.Import) else f"{_imported_from(node, package)}."
        for alias in node.names:
            top = alias.name if alias.asname or home else alias.name.partition(".")[0]
            yield alias.asname or top, f"{home}{top}"


def _imported_from(node: ast.ImportFrom, package: str) -> str:
    return _absolute("." * node.level + (node.module or ""), package)


def _absolute(name: str, package: str) -> str:
    """Returns the absolute name of an import in a package.

    >>> _absolute("..c", "a.b"), _absolute(".", "a.b"), _absolute("c", "a.b")
    ('a.c', 'a.b', 'c')
    """
    last = name.lstrip(".")
    level = len(name) - len(last)
    up = package.rsplit(".", level - 1)[0] if level else ""
    return ".".join(filter(None, (up, last)))


def _texts(body: ast.Module) -> Iterator[str]:
    for node in ast.walk(body):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _parsed(source: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # about a text such as "\\d"
            return ast.parse(source)  # bytes, so that ast reads the declared encoding
    except (SyntaxError, ValueError):  # the import itself reports it
        return None
