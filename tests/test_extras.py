"""Tests what works without the extras of the package, and what is said where one is missing."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from command import environment, python
from conftest import HELPERS, ROOT, cases
from core_use import RUN

from harness.data.cifar10 import Cifar10
from harness.data.digits import Digits
from harness.data.mnist5k import Mnist5k
from harness.data.shared.prepare import stratified
from harness.extras import EXTRAS, MissingExtra, check_extra
from harness.launch.backends.slurm import SlurmBackend
from harness.launch.backends.slurm_options import SlurmOptions
from harness.tracking.sync import sync
from harness.tracking.wandb import Wandb

CORE_USE = HELPERS / "core_use.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALL = (ROOT / "docs" / "guides" / "install.md").read_text()
NOT_IMPORTED = {"all", "dev"}


def test_the_extras_are_those_of_the_package_and_all_has_each() -> None:
    declared = PROJECT["optional-dependencies"]
    rows = re.findall(r"^\| `([\w-]+)` \|", INSTALL, re.MULTILINE)
    assert sorted(rows) == sorted(declared)
    homes = packages_distributions()
    known = {
        extra: sorted(_plain(homes.get(name, [name])[0]) for name in names)
        for extra, names in EXTRAS.items()
    }
    plain = {name: texts for name, texts in declared.items() if name not in NOT_IMPORTED}
    assert known == {name: sorted(map(_name, texts)) for name, texts in plain.items()}
    assert declared["all"] == [f"pruning-harness[{','.join(sorted(plain))}]"]
    assert "pruning-harness[all]" in declared["dev"]


def _name(requirement: str) -> str:
    return _plain(requirement.partition(">")[0])


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses the packages of all extras."""
    for names in EXTRAS.values():
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("refused")
@cases(
    "extra, use",
    ("wandb", Wandb),
    ("wandb", lambda: sync([], None, None, 1.0)),
    ("data", Digits().load),
    ("data", Mnist5k().load),
    ("data", Cifar10().fetch),
    ("data", lambda: stratified(Mnist5k, {}, 0)),
    ("slurm", lambda: SlurmBackend(Path("jobs"), SlurmOptions(), "run")),
)
def test_a_part_whose_extra_is_missing_names_the_command_that_brings_it(
    extra, use, monkeypatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    Mnist5k.load.__globals__["_read"].cache_clear()
    with pytest.raises(MissingExtra, match=rf"pip install 'pruning-harness\[{extra}\]'"):
        use()


@pytest.mark.usefixtures("refused")
def test_a_disabled_tracker_needs_no_package() -> None:
    assert Wandb(mode="disabled")


def test_only_packages_that_are_missing_are_named(monkeypatch) -> None:
    check_extra("data", "data=digits")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    check_extra("data", "data=other", "pandas")
    with pytest.raises(ValueError, match="^data=digits needs sklearn: pip install [^,]+, or wait$"):
        check_extra("data", "data=digits", remedy=", or wait")


def test_the_harness_prunes_runs_and_loads_without_any_extra(tmp_path) -> None:
    done = python(CORE_USE, "refuse", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


@cases(
    "words, allowed",
    (["--help"], set()),
    (["status", "--help"], set()),
    (["tracking", "--help"], set()),
    (["--cfg", "job"], {"hydra", "omegaconf", "yaml"}),
)
def test_a_command_imports_only_the_packages_that_it_needs(words, allowed) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "harness", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert done.returncode == 0 and "harness" in imported
    heavy = {"torch", "numpy", "joblib", "rich", "pydantic", "hydra", "omegaconf", "yaml"}
    assert imported & (heavy | {name for names in EXTRAS.values() for name in names}) == allowed


def test_a_sweep_is_planned_without_any_extra_and_without_plugins_of_others(tmp_path) -> None:
    done = python(CORE_USE, "refuse", "sweep", "plan", *RUN, "seed=0,1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 runs" in done.stdout


@cases(
    "extra, words",
    ("wandb", ["run", *RUN, "tracking=wandb"]),
    ("report", ["report", "."]),
    ("report", ["sensitivity", *RUN, "progress=plain"]),
)
def test_a_command_without_its_extra_ends_with_one_line_and_writes_nothing(
    extra, words, tmp_path
) -> None:
    done = python(CORE_USE, "refuse", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f" needs {', '.join(EXTRAS[extra])}: pip install 'pruning-harness[{extra}]'" in line
    if words == ["report", "."]:
        assert f"```text\n{line}\n```" in INSTALL
    assert not list(tmp_path.iterdir())
