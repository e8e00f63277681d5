"""The site is built, in strict mode; the notebook runs."""

import json
import subprocess
import sys

from command import python
from conftest import ROOT

NOTEBOOK = ROOT / "examples" / "notebook" / "prune_a_model.ipynb"
EXECUTE = """
import sys

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
print([key for output in outputs for key in output.get("data", {})])
"""


def test_the_site_is_built_without_a_warning(tmp_path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "reference" / "commands" / "index.html").read_text()
    assert "{.run}" not in page


def test_the_notebook_runs_and_shows_a_figure(tmp_path) -> None:
    done = python("-c", EXECUTE, NOTEBOOK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "image/png" in done.stdout


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
