"""Names that docs/design/renamed.md lists as retired are used nowhere in their folders."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from conftest import ROOT

PAGE = ROOT / "docs" / "design" / "renamed.md"
SOURCES = sorted(file for top in ("harness", "scripts") for file in (ROOT / top).rglob("*.py"))
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))
SCOPE = re.compile(r"\((?:only )?in ([^)]*)\)")


class Retired(NamedTuple):
    """A name that is no longer used; folders: where, () is harness/ and conf/."""

    name: str
    folders: tuple[str, ...]


def rows() -> Iterator[Retired]:
    """Yields the names of the second column of the tables of renamed things."""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if len(cells) == 3 and (folders := SCOPE.search(cells[1])) is not None:
            where = tuple(part.strip("` ") for part in re.split(r",| and ", folders.group(1)))
            yield from (Retired(name, where) for name in _names(SCOPE.sub("", cells[1])))
        elif len(cells) == 3 and cells[1] not in ("before", "---"):
            yield from (Retired(name, ()) for name in _names(cells[1]))


def _names(cell: str) -> list[str]:
    return re.findall(r"`([\w./]+)`", cell)


RETIRED = sorted(set(rows()))


@cache
def names_in(file: Path) -> frozenset[str]:
    """Returns the names that the code of a file uses; words of strings and comments are none."""
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text()).readline)
    return frozenset(token.string for token in tokens if token.type == tokenize.NAME)


@cache
def keys_in(file: Path) -> frozenset[str]:
    def keys(node: object) -> Iterator[str]:
        for key, value in node.items() if isinstance(node, dict) else ():
            yield str(key)
            yield from keys(value)

    return frozenset(keys(yaml.safe_load(file.read_text())))


def uses(retired: Retired) -> list[str]:
    """Returns the files that still use a name."""
    name = retired.name
    if "/" in name:
        known = (ROOT / name, ROOT / "harness" / name)
        return [str(path) for path in known if path.exists()]
    if name.endswith(".py"):
        return [str(file) for file in SOURCES if file.name == name and _within(file, retired)]
    if "." in name:
        return [str(file) for file in SOURCES if name in members_in(file)]
    sources = [file for file in SOURCES if _within(file, retired) and name in names_in(file)]
    configs = [file for file in CONFIGS if _within(file, retired) and name in keys_in(file)]
    return [str(file.relative_to(ROOT)) for file in (*sources, *configs)]


def _within(file: Path, retired: Retired) -> bool:
    path, tops = str(file.relative_to(ROOT)), ("harness/", "conf/")
    return path.startswith(retired.folders or tops) or any(
        path.startswith(f"harness/{folder}") for folder in retired.folders
    )


@cache
def members_in(file: Path) -> frozenset[str]:
    """Returns CLASS.NAME of the methods and fields that classes of a file define."""
    members = set()
    for node in ast.walk(ast.parse(file.read_text())):
        for item in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(item, ast.FunctionDef):
                members.add(f"{node.name}.{item.name}")
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                members.add(f"{node.name}.{item.target.id}")
    return frozenset(members)


def test_a_name_that_is_retired_in_a_folder_names_a_folder_with_code() -> None:
    files = [*SOURCES, *CONFIGS]
    empty = {name for name in RETIRED if not any(_within(file, name) for file in files)}
    assert empty == set()


def test_the_page_has_rows() -> None:
    assert len(RETIRED) > 100


def test_retired_names_are_used_nowhere() -> None:
    still = {retired: files for retired in RETIRED if (files := uses(retired))}
    assert still == {}
