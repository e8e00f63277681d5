"""Tests wheel and sdist in an environment of their own, without a checkout.

It begins empty. pip installs the wheel and what that requires, from the index that it is configured
with; without an index the tests are skipped. Only torch and what torch requires, 5 GB, are links
into the environment that runs the tests, if the wheel requires torch; pip finds them installed. The
tests share one environment: the first ones have the core, then the extras are installed too.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from command import environment
from conftest import HELPERS, ROOT
from packaging.requirements import Requirement

import harness

TINY = (
    "method=random,global_magnitude", "seed=0", "model=mlp", "training.epochs=1",
    "retraining.epochs=1", "schedule.final=2", "progress=none", "hydra.launcher.n_jobs=1",
)  # fmt: skip
INSTALL = ("install", "-q", "--no-compile", "--disable-pip-version-check")
Done = subprocess.CompletedProcess[str]
Command = Callable[..., str]


def run(folder: Path, *command: object, status: int = 0) -> str:
    """Returns what a command prints; it must end with this status."""
    done = started(folder, *command)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def started(folder: Path, *command: object) -> Done:
    kept = {key: value for key, value in environment().items() if not key.startswith("PYTHON")}
    words = list(map(str, command))
    return subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True)


@pytest.fixture(scope="module", name="packages")
def fixture_packages(tmp_path_factory) -> Path:
    """Returns the folder with an sdist, and with a wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(folder, sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module", name="python")
def fixture_python(packages, tmp_path_factory) -> Iterator[Path]:
    """Yields the python of an environment into which the wheel was installed, without extras."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python, (wheel,) = home / "bin" / "python", packages.glob("*.whl")
    try:
        once = ("--retries", "1", "--timeout", "20", "--dry-run", "--no-deps")
        if (tried := started(home, *pip(python), *once, "safetensors")).returncode:
            pytest.skip(f"no index answers: {tried.stderr.strip().splitlines()[-1]}")
        if "torch" in required_by(wheel):
            # Outside the environment, where pip deletes nothing; by a name that says "installed".
            linked = tmp_path_factory.mktemp("linked") / "site-packages"
            linked.mkdir()
            for package in with_required("torch"):
                link(package, linked)
            site = next((home / "lib").glob("python*/site-packages"))
            (site / "linked.pth").write_text(f"{linked}\n")
        run(home, *pip(python), wheel)
        yield python
    finally:
        shutil.rmtree(home)


def required_by(wheel: Path) -> set[str]:
    """Returns the names that a plain installation of a wheel requires."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    texts = [line.removeprefix("Requires-Dist: ") for line in lines if "extra ==" not in line]
    return {Requirement(text).name for text in texts if f"Requires-Dist: {text}" in lines}


def with_required(name: str) -> Iterator[Distribution]:
    """Yields an installed package and all that it requires here."""
    todo, seen = [(name, "")], set[tuple[str, str]]()
    while todo:
        if (one := todo.pop()) in seen:
            continue
        seen.add(one)
        package = distribution(one[0])
        if not one[1]:
            yield package
        for needed in map(Requirement, package.requires or ()):
            if not needed.marker or needed.marker.evaluate({"extra": one[1]}):
                todo += [(needed.name, extra) for extra in ("", *needed.extras)]


def link(package: Distribution, folder: Path) -> None:
    for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        if not (folder / name).exists():  # as that of a namespace, which several packages share
            (folder / name).symlink_to(str(package.locate_file(name)))


def pip(python: Path) -> list[object]:
    """Returns the words that install into that environment, without bytecode, which takes long.

    Versions are those that were tested together, on their Python.
    """
    pinned = ("-c", ROOT / "constraints.txt") if sys.version_info[:2] == (3, 11) else ()
    return [sys.executable, "-m", "pip", "--python", python, *INSTALL, *pinned]


@pytest.fixture(scope="module", name="core")
def fixture_core(python, tmp_path_factory) -> Command:
    """Runs a script of the environment in a folder of its own."""
    work = tmp_path_factory.mktemp("work")
    return lambda name, *words, **expected: run(work, python.with_name(name), *words, **expected)


@pytest.fixture(scope="module", name="command")
def fixture_command(core, python) -> Command:
    """Runs a script of the environment once all extras are installed too."""
    run(python.parent, *pip(python), f"pruning-harness[all]=={harness.__version__}", "pytest")
    return core  # type: ignore[no-any-return]


def test_an_index_would_take_the_packages(packages) -> None:
    run(packages, sys.executable, "-m", "twine", "check", "--strict", *packages.iterdir())


def test_the_installed_harness_is_that_of_the_wheel_with_its_types(core) -> None:
    code = "import harness; print(harness.__file__)"
    file = Path(core("python", "-c", code).strip())
    assert "site-packages" in file.parts and not file.is_relative_to(ROOT)
    assert file.with_name("py.typed").is_file()
    assert core("pruning-harness", "--version") == f"pruning-harness {harness.__version__}\n"


def test_a_plain_installation_prunes_runs_and_loads(core, tmp_path) -> None:
    script = shutil.copy(HELPERS / "core_use.py", tmp_path)  # its folder is on the path
    assert "loaded:\n" in core("python", script)
    line = core("pruning-harness", "report", "runs", status=2)
    assert line.endswith("pip install 'pruning-harness[report]'\n")


def test_a_survey_runs_from_a_wheel_to_its_report(command) -> None:
    command("pruning-harness", "-m", "sweep=survey", *TINY)  # with W&B, offline
    command("pruning-harness", "report", "runs/survey")
    files = command("python", "-c", "import os; print(os.listdir('runs/survey/report'))")
    assert "report.html" in files
    assert "would upload" in command("pruning-harness", "tracking", "sync", "runs", "--dry-run")


def test_data_and_templates_of_jobs_come_from_a_wheel(command) -> None:
    assert "digits" in command("pruning-harness", "data", "list")
    assert "needs no preparation" in command("pruning-harness", "data", "prepare", "digits")
    command("pruning-harness", "slurm", "init")
    assert "train.sbatch" in command("python", "-c", "import os; print(os.listdir('slurm'))")


@pytest.mark.usefixtures("command")  # for pytest
def test_the_sdist_has_what_its_tests_need_and_they_pass(packages, python, tmp_path) -> None:
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
    assert " passed" in run(tree, python, "-m", "pytest", "-q", "-x", *tests)
