"""A plan builds what its user has composed; one that others made is data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grids import TINY, planned_of
from handlers import as_before

import harness.cli.run
import harness.cli.sweep
from harness.launch.sweeps import array_task
from harness.launch.sweeps.earlier_plans import load_or_create
from harness.launch.sweeps.plan import Plan
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.run_folder.status_file import Status


def plan_in(runs: Path, own: bool, model: Any = None, **changes: Any) -> Plan:
    """Returns a plan of one failed point, which the user (`own`) or somebody else has made.

    `changes` alter the point's config, but not its folder.
    """
    folder = runs / "grid"
    (point,) = planned_of(*TINY, f"output_dir={runs}", "sweep_name=grid", "seed=0")
    changed = replace(point.spec, config=point.spec.config | ({"model": model} if model else {}))
    line = replace(changed, config=changed.config | changes).to_json()
    home = folder / HOME
    home.mkdir(parents=True, exist_ok=True)
    argv = ["-m", "seed=0", "hydra.sweeper._target_=os.mknod"]
    point = replace(point, line=line, label="seed=0", folder=str(changed.folder))
    points = [point]
    plan = Plan(home / "plan-x.jsonl", "mine", folder, argv, points, own)
    plan.write()
    Path(point.folder).mkdir(parents=True)
    Status(Path(point.folder), "").set("failed", "because")
    return plan


@pytest.fixture(name="tried")
def fixture_tried(monkeypatch) -> list[str]:
    tried: list[str] = []

    def attempted(line: str) -> Outcome:
        tried.append(json.loads(line)["config"]["model"]["_target_"])
        return Outcome("finished", "")

    monkeypatch.setattr(array_task, "try_execute_line", attempted)
    return tried


OWN = {"_target_": "my_pkg.nets.Small"}


def test_a_plan_that_the_user_has_made_carries_the_trust(tmp_path, tried) -> None:
    plan = plan_in(tmp_path, own=True, model=OWN)
    assert array_task.run_array_task(plan.file, "0/1") == 0
    assert tried == ["my_pkg.nets.Small"]


def test_a_plan_of_others_builds_what_is_allowed(tmp_path, tried) -> None:
    plan = plan_in(tmp_path, own=False, model=OWN)
    with pytest.raises(ValueError, match=r"model\._target_=my_pkg\.nets\.Small is no component"):
        array_task.run_array_task(plan.file, "0/1")
    assert tried == []
    assert array_task.run_array_task(plan.file, "0/1", trust=["my_pkg"]) == 0


@pytest.mark.parametrize("target", ["my_pkg.nets.torch.load", "my_pkg.nets.Path.unlink"])
def test_a_plan_of_others_builds_nothing_that_an_allowed_module_imports(tmp_path, tried, target):
    plan = plan_in(tmp_path, own=False, model={"_target_": target})
    with pytest.raises(ValueError, match=rf"model\._target_={target}: .* is not defined in my_pkg"):
        array_task.run_array_task(plan.file, "0/1", trust=["my_pkg"])
    assert tried == []


def test_a_plan_that_was_changed_or_moved_is_the_users_no_more(tmp_path, tried) -> None:
    plan = plan_in(tmp_path, own=True, model=OWN)
    content = plan.file.read_bytes()
    plan.file.write_bytes(content.replace(b"my_pkg", b"torch"))
    with pytest.raises(ValueError, match="is no component"):
        array_task.run_array_task(plan.file, "0/1")
    plan.file.write_bytes(content)
    assert Plan.read(plan.file).own
    other = plan.file.with_name("plan-y.jsonl")
    other.write_bytes(content)
    with pytest.raises(ValueError, match="is no component"):
        Plan.read(other)
    assert tried == []


def test_a_plan_of_others_is_no_plan_of_an_earlier_start(tmp_path) -> None:
    plan = plan_in(tmp_path, own=False)
    mine = replace(plan, own=True)
    assert load_or_create(plan.file, lambda: mine) is mine
    mine.write()
    assert load_or_create(plan.file, lambda: plan) == mine


def test_retrying_a_plan_of_others_does_not_give_its_command(tmp_path, tried, monkeypatch) -> None:
    plan = plan_in(tmp_path, own=False)
    given: list[Any] = []
    monkeypatch.setattr(harness.cli.run, "main", lambda *_: given.append(None))
    with as_before():
        status = harness.cli.sweep.main(["retry", str(plan.folder)])
    assert (status, tried, given) == (0, ["harness.models.mlp.Mlp"], [])


@pytest.mark.parametrize("changes", [{"name": "elsewhere"}, {"sweep_name": "other"}, {"seed": 5}])
def test_a_plan_of_others_leads_to_no_other_folder(tmp_path, changes, tried) -> None:
    plan = plan_in(tmp_path, False, **changes)
    with pytest.raises(ValueError, match="the plan was changed"):
        array_task.run_array_task(plan.file, "0/1")
    assert tried == []


def test_a_folder_cannot_bring_the_trust_along(tmp_path, monkeypatch) -> None:
    plan = plan_in(tmp_path, own=True, model=OWN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another user"))
    with pytest.raises(ValueError, match="is no component"):
        Plan.read(plan.file)


def test_without_a_place_for_it_a_plan_is_written_all_the_same(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert not Plan.read(plan_in(tmp_path, own=True).file).own
