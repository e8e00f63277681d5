"""Tests pruning-harness tracking report, against a W&B server on loopback."""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb_stub_data import StubRun

from harness.cli.tracking import main
from harness.tracking.report import sweeps

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("nobody_logged_in")

needs_package = pytest.mark.skipif(
    find_spec("wandb_workspaces") is None, reason="the package wandb-workspaces is missing"
)

# The package is written for an older pydantic.
OLD_PYDANTIC = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def project(stub) -> Iterator[str]:
    """Yields the name of a project that the server knows."""
    # Of one server at a time: W&B keeps the first for its process.
    wandb.teardown()
    stub.runs["ab12"] = StubRun("mine")
    yield "mine"
    wandb.teardown()


@pytest.fixture
def runs(tmp_path) -> Path:
    for name in ("survey/00/survey-0012", "survey/01/survey-0102", "other/00/other-0012"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "records.jsonl").write_text("{}\n")
    return tmp_path / "runs"


def drawn(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns (x, y) of every panel."""
    (grid,) = [block for block in spec["blocks"] if block["type"] == "panel-grid"]
    panels = [one["config"] for one in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    return [(one["xAxis"], one.get("yAxis") or one["metrics"][0]) for one in panels]


def test_report_is_about_the_sweeps_below_the_folder(runs) -> None:
    assert sweeps(runs) == ["other", "survey"]
    assert sweeps(runs / "survey") == ["survey"]
    assert sweeps(runs / "survey" / "00" / "survey-0012") == ["survey"]


@needs_package
@OLD_PYDANTIC
def test_report_draws_the_sweeps_runs_by_method(runs, stub, project, capsys) -> None:
    assert main(["report", str(runs), "--project", project, "--entity", "me"]) == 0

    assert capsys.readouterr().out.strip().startswith(f"{stub.url}/me/mine/reports/")
    (sent,) = stub.reports
    assert (sent["projectName"], sent["displayName"]) == ("mine", "Pruning survey: other, survey")
    spec = json.loads(sent["spec"])
    assert ("compression", "finetuned/top1") in drawn(spec)
    assert ("density_of_weights", "finetuned/top1") in drawn(spec)
    assert ("epoch", "training/loss") in drawn(spec)
    (grid,) = [block for block in spec["blocks"] if block["type"] == "panel-grid"]
    (shown,) = grid["metadata"]["runSets"]
    assert [one["name"] for one in shown["grouping"]] == ["jobType"]
    assert shown["filters"]["filters"][0]["value"] == ["other", "survey"]


@needs_package
@OLD_PYDANTIC
def test_report_on_a_project_that_is_not_there_is_refused_by_name(runs, project, capsys) -> None:
    assert main(["report", str(runs), "--project", "yours", "--entity", "me"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("harness: W&B refused the report on project yours: ")


def test_report_without_its_package_names_the_command_that_brings_it(runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["report", str(runs), "--project", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("pip install 'pruning-harness[wandb-report]'")


def test_report_of_an_empty_folder_is_refused(tmp_path, capsys) -> None:
    assert main(["report", str(tmp_path), "--project", "mine"]) == 2
    assert "has no records" in capsys.readouterr().err
