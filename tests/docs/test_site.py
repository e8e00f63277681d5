"""The site is built, in strict mode; the notebook runs."""

import subprocess
import sys

from conftest import ROOT


def test_the_site_is_built_without_a_warning(tmp_path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "reference" / "commands" / "index.html").read_text()
    assert "{.run}" not in page and "tests add" not in page
