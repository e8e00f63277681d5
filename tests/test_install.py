"""scripts/install, with a stand-in for Python that notes what it is asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAND_IN = """#!/usr/bin/env bash
echo "$*" >> "$LOG"
case "$*" in
  *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *pip*) exit "$PIP" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    return tmp_path


def install(project: Path, pip: int = 0) -> list[str]:
    """Returns the calls that the stand-in for Python received; `pip` is pip's exit status."""
    log = project / "log"
    log.unlink(missing_ok=True)
    mine = {"PYTHON": str(project / "python"), "LOG": str(log), "PIP": str(pip)}
    done = subprocess.run(
        [project / "scripts/install"], env=os.environ | mine, capture_output=True, text=True
    )
    assert done.returncode == pip, done.stderr
    return log.read_text().splitlines() if log.exists() else []


def test_what_is_up_to_date_is_left_and_a_changed_list_of_packages_is_not(project) -> None:
    venv, pip = install(project)
    assert venv == "-m venv .venv"
    assert "-c constraints.txt -e .[dev]" in pip
    assert install(project) == []

    (project / "constraints.txt").write_text("torch==2.14.1")
    assert install(project)[0] == "-m venv .venv"
    assert install(project) == []


def test_an_installation_that_was_interrupted_begins_anew(project) -> None:
    assert install(project, pip=130)[0] == "-m venv .venv"
    assert install(project, pip=1)[0] == "-m venv --clear .venv"
    assert install(project)[0] == "-m venv --clear .venv"
    assert install(project) == []


def test_a_broken_upgrade_begins_anew(project) -> None:
    install(project)
    (project / "constraints.txt").write_text("torch==2.14.1")

    install(project, pip=1)
    assert install(project)[0] == "-m venv --clear .venv"


def test_a_broken_upgrade_that_is_taken_back_leaves_no_mixture(project) -> None:
    install(project)
    before = (project / "constraints.txt").read_text()
    (project / "constraints.txt").write_text("torch==2.14.1")
    install(project, pip=1)

    (project / "constraints.txt").write_text(before)
    assert install(project)[0] == "-m venv --clear .venv"
    assert install(project) == []
