"""Tests that what is loaded by a computed name decides too, though no digest names it before."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import TINY, harness, only_run, records_of, run_main

import harness as package
from harness.launch.digests.code import code_of
from harness.system import loaded_sources

LATE = """
import torch

def tail(classes):
    return torch.nn.Linear(8, classes) if {} else torch.nn.Sequential(
        torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, classes))
"""
NET = """
import importlib
import torch

class Net:
    def __init__(self, **mlp):
        pass

    def build(self, shape, classes):
        late = importlib.import_module("_".join(["own", "late"]))
        first = torch.nn.Linear(shape[0], 8)
        return torch.nn.Sequential(first, torch.nn.ReLU(), late.tail(classes))
"""
RUN = (*TINY, "model._target_=own_early.Net", "run_name=run")


@pytest.fixture(name="late")
def fixture_late(tmp_path, monkeypatch) -> Iterator[Path]:
    (tmp_path / "own_early.py").write_text(NET)
    (tmp_path / "own_late.py").write_text(LATE.format(True))
    monkeypatch.syspath_prepend(tmp_path)
    loaded_sources.watch_imports()
    yield tmp_path / "own_late.py"
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets the own modules and loaded sources, as in a new process."""
    for name in ("own_early", "own_late"):
        sys.modules.pop(name, None)
    monkeypatch.setattr(loaded_sources, "_taken", {})


def edit(late: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late.write_text(LATE.format(False))
    forget(monkeypatch)


def test_a_finished_run_and_a_dense_network_of_other_code_are_told_and_not_used(
    late, monkeypatch, capsys
) -> None:
    runs = late.parent / "runs"
    for _ in range(2):
        capsys.readouterr()
        assert run_main(monkeypatch, *RUN, f"output_dir={runs}") == 0
        forget(monkeypatch)
    assert "other code" not in capsys.readouterr().out
    edit(late, monkeypatch)
    assert run_main(monkeypatch, *RUN, f"output_dir={runs}") == 0
    assert "finished before, by other code" in capsys.readouterr().out

    for each in (runs, late.parent / "fresh"):
        more = ("schedule.final=0.4", "sweep_name=more")
        assert run_main(monkeypatch, *RUN, *more, f"output_dir={each}") == 0
    found, fresh = (only_run(each, "more") for each in (runs, late.parent / "fresh"))
    assert records_of(found) == records_of(fresh)


def test_what_own_parts_add_to_the_search_path_leaves_the_digest_as_it_was_planned(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "own_hidden.py").write_text("")
    said = f"import sys\nsys.path.insert(0, {str(tmp_path / 'lib')!r})\nimport own_hidden\nx = 1\n"
    (tmp_path / "own_adding.py").write_text(said)
    monkeypatch.syspath_prepend(tmp_path)
    parts: dict[str, Any] = {"model": {"_target_": "own_adding.x"}}
    loaded_sources.watch_imports()
    before = code_of(parts)
    with loaded_sources.without_added_paths():
        __import__("own_adding")
    assert code_of(parts) == before
    assert str(tmp_path / "lib" / "own_hidden.py") in loaded_sources.undigested_sources()


def test_of_a_run_whose_parts_are_ours_nothing_is_recorded_as_unnamed(tmp_path) -> None:
    assert harness(*TINY, f"output_dir={tmp_path}").returncode == 0
    status = json.loads((only_run(tmp_path) / "status.json").read_text())
    assert status["state"] == "finished" and status["unnamed"] == {}


def test_a_record_stands_as_long_as_its_files_are_those_that_would_be_loaded(late) -> None:
    __import__("own_late")
    record = loaded_sources.undigested_sources()
    assert record[str(late)] and loaded_sources.is_current(record)
    late.write_text("")
    assert loaded_sources.is_current(record)  # what this process has loaded is still that
    sys.modules.pop("own_late")
    assert not loaded_sources.is_current(record) and not loaded_sources.adopt_if_current(record)
    late.unlink()
    assert not loaded_sources.is_current(record) and not loaded_sources.is_current(None)


def test_an_installed_harness_is_no_library_in_any_of_its_folders(tmp_path, monkeypatch) -> None:
    installed = tmp_path / "site-packages"
    monkeypatch.setattr(package, "__file__", str(installed / "harness" / "__init__.py"))
    caches = (loaded_sources._home, loaded_sources.is_library)
    for cached in caches:
        cached.cache_clear()
    try:
        for module in ("api", "training/loop", "structure/shared/rows"):
            assert not loaded_sources.is_library(str(installed / "harness" / f"{module}.py"))
        assert loaded_sources.is_library(str(installed / "numpy" / "random.py"))
    finally:
        for cached in caches:
            cached.cache_clear()
