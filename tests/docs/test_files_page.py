"""Checks that the page of files names what runs and commands write."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from command import TINY, run_main
from conftest import ROOT, cases
from grids import planned_of

TEXT = "".join(
    (ROOT / "docs" / page).read_text()
    for page in ("reference/files_of_a_run.md", "guides/report.md")
)
NAMES = set(re.findall(r"`(?:[^`\s]*/)?([^`/\n]+/?)`", TEXT))
FILE = re.compile(r"[a-z-]+\.(csv|json|jsonl|html|safetensors|log|yaml|npz|tex)")
INPUTS = {"sizes.csv", "claims.yaml", "page.html", "config.json"}  # that are only read


def literals() -> Iterator[str]:
    """Yields the names of files that the code spells out."""
    for source in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Constant) and FILE.fullmatch(str(node.value)):
                yield str(node.value)


def unnamed(runs: Path) -> list[str]:
    """Returns the files below a folder that have no name, and no folder, on the page."""
    files = (file.relative_to(runs) for file in runs.rglob("*") if not file.is_dir())
    return [
        str(file)
        for file in files
        if file.name not in NAMES and not any(f"{folder.name}/" in NAMES for folder in file.parents)
    ]


def test_names_of_files_in_the_code_are_on_the_page() -> None:
    written = set(literals()) - INPUTS
    assert len(written) > 25 and written - NAMES == set()


@cases("command", "run", "sensitivity")
def test_files_that_a_run_leaves_are_on_the_page(command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = (*TINY, "training.epochs=1", "tracking=tensorboard", "latency.batch_sizes=[4]")
    assert run_main(monkeypatch, *given, command=command) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]
    assert len(list(tmp_path.rglob("*"))) > 10 and unnamed(tmp_path / "runs") == []


def test_a_file_that_is_not_on_the_page_is_found(tmp_path) -> None:
    (tmp_path / "ab").mkdir()
    for name in ("records.jsonl", "notes.txt"):
        (tmp_path / "ab" / name).touch()
    assert unnamed(tmp_path) == ["ab/notes.txt"]


def test_the_example_of_a_run_is_the_run_without_overrides() -> None:
    assert f"`{planned_of()[0].spec.folder}`" in TEXT
