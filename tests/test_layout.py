"""How the modules lie: few beside each other, names that are told apart, no circle of imports."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path

import pytest
from conftest import CONF

import harness

HOME = Path(str(harness.__file__)).parent
# A component is one module: there may be as many as there are methods. The rest is in `shared`.
NAMES = {name for folder in CONF.iterdir() for name in (folder.name, f"{folder.name}s")}
FAMILIES = {name for name in NAMES if (HOME / name / "base.py").exists()}
MOST, MOST_AT_THE_TOP = 15, 3

FOLDERS = sorted({file.parent for file in HOME.rglob("*.py")})


def modules(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(HOME)))
def test_few_modules_lie_side_by_side(folder) -> None:
    if folder == HOME:
        assert len(list(folder.glob("*.py"))) <= MOST_AT_THE_TOP
    elif folder.name not in FAMILIES:
        assert len(modules(folder)) <= MOST


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(HOME)))
def test_no_two_names_in_a_folder_differ_by_one_letter(folder) -> None:
    if folder.name not in FAMILIES:  # whose names are those of methods, as ER and ERK are
        names = [*modules(folder), *(each.name for each in folder.iterdir() if each.is_dir())]
        alike = [pair for pair in combinations(names, 2) if differ_by_a_letter(*pair)]
        assert not alike


def differ_by_a_letter(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    if len(long) == len(short):
        return sum(a != b for a, b in zip(one, other, strict=True)) <= 1
    return any(long[:n] + long[n + 1 :] == short for n in range(len(long)))


def test_sensitivity_is_in_at_most_two_files_beside_its_component() -> None:
    assert Counter(file.stem for file in HOME.rglob("*sensitivity*.py"))["sensitivity"] <= 3


def test_no_imports_run_in_a_circle_also_not_those_for_types_only() -> None:
    named = {name_of(file): file for file in HOME.rglob("*.py")}
    TopologicalSorter({name: imported(file, named) for name, file in named.items()}).prepare()


def name_of(file: Path) -> str:
    parts = file.relative_to(HOME.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path, named: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & named.keys()) or ({node.module} & named.keys())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & named.keys()
    return found - {name_of(file)}
