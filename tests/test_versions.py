"""scripts/versions: which versions it takes, and the table that it writes."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

import pytest
from conftest import ROOT


@pytest.fixture(scope="module", name="versions")
def fixture_versions() -> ModuleType:
    loader = SourceFileLoader("versions", str(ROOT / "scripts" / "versions"))
    spec = spec_from_loader("versions", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_oldest_the_newest_and_one_between_are_the_last_of_their_minor_versions(
    versions,
) -> None:
    releases = ["2.6.0", "2.7.0", "2.7.1", "2.8.0", "2.9.0", "2.9.1", "2.10.0"]
    assert versions._three(releases) == ["2.6.0", "2.8.0", "2.10.0"]
    assert versions._three(["2.6.0", "2.7.0"]) == ["2.6.0", "2.7.0"]
    assert versions._three(["2.6.0"]) == ["2.6.0"]


def test_the_table_stands_between_the_markers_and_is_replaced_by_the_next(
    versions, tmp_path, monkeypatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{versions.BEGIN}\n{versions.END}\nafter\n")
    monkeypatch.setattr(versions, "README", readme)
    row = versions.Row("3.11", "2.6.0", "5 passed", "3 finished", "abc", "4")

    for rows in ([row, row], [row]):
        versions._write(versions._table(rows))

    head, *lines, after = readme.read_text().split("\n")[:-1]
    assert (head, after) == ("before", "after")
    assert lines[0] == versions.BEGIN and lines[-1] == versions.END
    assert lines.count("| 3.11 | 2.6.0 | 5 passed | 3 finished | abc | 4 |") == 1
    assert "masks and counts of the runs are equal in all rows" in lines[1]
    assert versions._written() == {("3.11", "2.6.0"): row}


def test_readme_has_the_markers(versions) -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count(versions.BEGIN) == text.count(versions.END) == 1
