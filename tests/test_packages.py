"""Tests wheel and sdist in an environment without a checkout: survey, report, data, SLURM.

The environment has the packages of this one by a path file, so a dependency that is not declared
would not show here: tests/test_release.py reads the imports.
"""

import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import environment
from conftest import ROOT

import harness

TINY = (
    "method=random,global_magnitude", "seed=0", "data=blobs", "model=mlp", "training.epochs=1",
    "retraining.epochs=1", "schedule.final=2", "tracking=none", "progress=none", "threads=1",
)  # fmt: skip
Command = Callable[..., str]


def run(folder: Path, *command: object) -> str:
    """Returns what a command prints; it must succeed."""
    kept = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=kept, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module", name="packages")
def fixture_packages(tmp_path_factory) -> Path:
    """Returns the folder with an sdist, and with a wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(folder, sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module", name="command")
def fixture_command(packages, tmp_path_factory) -> Command:
    """Runs a script of an environment in which only the wheel was installed."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home / "venv", symlinks=True)
    python = home / "venv" / "bin" / "python"
    (wheel,) = packages.glob("*.whl")
    run(home, sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "-q", wheel)
    site = next((home / "venv" / "lib").glob("python*/site-packages"))
    (site / "shared.pth").write_text(f"{Path(str(torch.__file__)).parents[1]}\n")
    work = home / "work"
    work.mkdir()
    return lambda name, *words: run(work, python.with_name(name), *words)


def test_the_installed_harness_is_that_of_the_wheel_with_its_types(command) -> None:
    code = "import harness; print(harness.__file__)"
    file = Path(command("python", "-c", code).strip())
    assert "site-packages" in file.parts and not file.is_relative_to(ROOT)
    assert file.with_name("py.typed").is_file()
    assert command("pruning-harness", "--version") == f"pruning-harness {harness.__version__}\n"


def test_a_survey_runs_from_a_wheel_to_its_report(command) -> None:
    command("pruning-harness", "-m", "sweep=survey", *TINY)
    command("pruning-harness", "report", "runs/survey")
    assert "report.html" in command(
        "python", "-c", "import os; print(os.listdir('runs/survey/report'))"
    )


def test_data_and_templates_of_jobs_come_from_a_wheel(command) -> None:
    assert "digits" in command("pruning-harness", "data", "list")
    assert "needs no preparation" in command("pruning-harness", "data", "prepare", "digits")
    command("pruning-harness", "slurm", "init")
    assert "train.sbatch" in command("python", "-c", "import os; print(os.listdir('slurm'))")


def test_the_sdist_has_what_its_tests_need_and_they_pass(packages, tmp_path) -> None:
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    for name in (
        "scripts/test",
        "slurm/train.sbatch",
        "docs/index.md",
        "conf/config.yaml",
        "NOTICE",
    ):
        assert (tree / name).is_file(), name
    assert os.access(tree / "scripts/test", os.X_OK)
    tests = ("tests/schedule", "tests/launch/test_conf.py", "-k", "not every")
    assert " passed" in run(tree, sys.executable, "-m", "pytest", "-q", "-x", *tests)


def test_an_index_would_take_the_packages(packages) -> None:
    run(packages, sys.executable, "-m", "twine", "check", "--strict", *packages.iterdir())
