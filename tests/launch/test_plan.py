"""A plan is written once, read when its sweep starts again, and made anew when anything changed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command import environment
from conftest import HELPERS
from grids import TINY, batch_of, planned_of, points_of

import harness
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.earlier_plans import load_or_create, plan_key
from harness.launch.sweeps.plan import Plan, check_same_sweep
from harness.launch.sweeps.planned_run import PlannedRun, plan_runs
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.run_folder.status_file import Status


def _plan(runs: Path, *grid: str) -> Plan:
    folder = runs / "grid"
    points = planned_of(*TINY, f"output_dir={runs}", "sweep_name=grid", *grid)
    (folder / HOME).mkdir(parents=True, exist_ok=True)
    return Plan(folder / HOME / "plan-x.jsonl", "mine", folder, ["-m", "seed=0"], points)


def _never() -> Plan:
    raise AssertionError("the plan was made again")


def test_a_plan_is_read_as_it_was_written(tmp_path) -> None:
    plan = _plan(tmp_path, "seed=0,1", "method=random,snip")
    plan.write()

    assert Plan.read(plan.file) == plan
    assert load_or_create(plan.file, _never) == plan
    assert [point.label for point in plan.runs][0] == "seed=0 method=random"
    assert [point.spec.config["seed"] for point in plan.runs] == [0, 0, 1, 1]


def test_a_run_that_a_grid_names_twice_is_planned_once() -> None:
    assert [point.label[-6:] for point in planned_of(*TINY, "seed=0,0")] == ["seed=0"]
    assert len(planned_of(*TINY, "seed=0,1,0", "threads=1,2")) == 2


def test_a_point_is_called_by_what_not_all_points_have(tmp_path) -> None:
    points = planned_of(*TINY, "seed=0,1,2", "run_name=a,b", "seed=5,6")

    assert [p.label for p in points] == [f"run_name={n} seed={s}" for n in "ab" for s in (5, 6)]


def test_a_plan_with_a_file_that_changed_is_made_again(tmp_path) -> None:
    plan = _plan(tmp_path, "seed=0")
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    own = replace(plan, runs=[replace(plan.runs[0], files=[str(weights)])])
    own.write()
    assert load_or_create(own.file, _never) == own

    weights.write_bytes(b"2")
    assert load_or_create(own.file, lambda: plan) is plan
    own.write()
    weights.unlink()
    assert load_or_create(own.file, lambda: plan) is plan


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"files": {}}', "\n\n", '{"files": 3}'])
def test_a_damaged_plan_is_made_again_and_named_by_who_only_reads(damage, tmp_path) -> None:
    plan = _plan(tmp_path, "seed=0")
    plan.file.write_text(damage)

    assert load_or_create(plan.file, lambda: plan) is plan
    with pytest.raises(ValueError, match=f"{plan.file} is no plan of a sweep .*make one with"):
        Plan.read(plan.file)


def test_a_plan_that_was_cut_short_is_made_again(tmp_path) -> None:
    plan = _plan(tmp_path, "seed=0,1")
    plan.write()
    plan.file.write_text(plan.file.read_text()[:-30])

    assert load_or_create(plan.file, lambda: plan) is plan


def test_the_key_is_of_arguments_configs_code_and_the_variables_that_they_name(
    tmp_path, monkeypatch
) -> None:
    home, conf = tmp_path / "harness", tmp_path / "conf" / "model"
    home.mkdir()
    conf.mkdir(parents=True)
    (home / "__init__.py").touch()
    monkeypatch.setattr(harness, "__file__", str(home / "__init__.py"))
    monkeypatch.delenv("OWN_DATA", raising=False)
    seen = set[str]()

    def changed(*arguments: str, command: str = "run") -> bool:
        key = plan_key(["seed=0", *arguments], command, [tmp_path / "conf"])
        new = key not in seen
        seen.add(key)
        return new

    assert changed() and not changed()
    assert changed("run_name=x") and changed(command="analyse")
    (conf / "own.yaml").write_text("a: ${oc.env:OWN_DATA}\n")
    assert changed() and not changed()
    monkeypatch.setenv("OWN_DATA", "x")
    assert changed()
    monkeypatch.setenv("ANOTHER", "x")
    assert not changed()
    assert changed("run_name=${oc.env:ANOTHER}")
    monkeypatch.setenv("ANOTHER", "y")
    assert changed("run_name=${oc.env:ANOTHER}")
    (home / "own.py").write_text("1\n")
    assert changed()
    (home / "own.py").write_text("2\n")
    assert changed()
    (conf / "own.yaml").rename(conf / "other.yaml")
    assert changed()
    (conf / "note.txt").write_text("no config")
    assert not changed()


def test_files_of_a_point_are_its_own_parts_its_weights_and_its_table(tmp_path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"x")
    table = tmp_path / "t.json"
    table.write_bytes(b"{}")
    given = (f"weights={weights}", f"latency_table={table}")
    (point,) = planned_of(*TINY, *given, "saliency._target_=parts.Dropping")

    own = HELPERS / "parts.py"
    assert point.files == [str(own), str(weights), str(table)]
    assert planned_of(*TINY)[0].files == []


def test_points_of_another_folder_are_refused() -> None:
    (each,) = planned_of(*TINY, "sweep_name=a")
    found: list[tuple[int, RunSpec]] = [(0, each.spec)]

    assert list(check_same_sweep(Path("runs/a"), found)) == found
    with pytest.raises(ValueError, match="one run is in runs/a and not in runs/b; start a sweep"):
        list(check_same_sweep(Path("runs/b"), found))


def test_a_plan_is_read_from_any_folder_and_started_where_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = _plan(Path("results"), "seed=0")
    plan.write()
    plan.check_home()
    monkeypatch.chdir("/")
    read = Plan.read(tmp_path / plan.file)

    run = Path(plan.runs[0].folder).relative_to("results")
    assert read.runs[0].folder == str(tmp_path / "results" / run)
    with pytest.raises(ValueError, match="start the command in the folder where the plan was"):
        read.check_home()


def test_what_runs_share_is_marked_unless_it_is_not_wanted() -> None:
    grid = (*TINY, "schedule.unit=compression", "schedule.final=4", "finetune=keep,lr_rewind")
    two = planned_of(*grid)

    assert all(point.shared for point in two)
    assert two[0].spec.shared_stages == list(two[0].shared) == two[1].spec.shared_stages
    alone = plan_runs(enumerate(p.spec for p in two), [[], []], share_stages=False)
    assert not any(point.shared or point.folder == "" for point in alone)


def test_a_finished_sweep_starts_again_without_composing_a_point(tmp_path) -> None:
    """Checks also that the process that plans imports no torch."""
    program = f"""
import json, sys
sys.argv[1:] = {["-m", *TINY, f"output_dir={tmp_path}", "seed=0,1", "launch.action=plan"]!r}
from harness.cli.main import main
if {{broken}}:
    import harness.launch.sweeps.hydra_plugins as plugins
    plugins.compose_runs = None
main()
assert "torch" not in sys.modules
"""
    for broken in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("{broken}", str(broken))],
            env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "sweep: 2 runs, 2 of them to do: 2 dense trainings, 6 epochs in all" in done.stdout
    head = json.loads(next(tmp_path.glob("single/.sweep/plan-*")).read_text().splitlines()[0])
    assert head["argv"][0] == "-m" and "launch.action=plan" not in head["argv"]


def test_analyses_of_other_grids_are_other_points_in_the_folder_of_analyses(tmp_path) -> None:
    grids = "sensitivity.grid=[0.5],[0.5,0.25],[0.25,0.5]"
    points = points_of(batch_of(*TINY, f"output_dir={tmp_path}", grids), command="analyse")
    first, other, same = points

    assert len({point.folder for point in points}) == 2 and other.folder == same.folder
    assert first.folder.parent == other.folder.parent == tmp_path / "single" / "sensitivity"
    assert PlannedRun.of(first, "").epochs == 0
    with pytest.raises(ValueError, match="sensitivity.grid must be a list of numbers"):
        points_of(batch_of(*TINY, "sensitivity.grid=7"), command="analyse")


def test_a_finished_analysis_is_not_planned_again(tmp_path) -> None:
    (point,) = points_of(batch_of(*TINY, f"output_dir={tmp_path}"), command="analyse")
    planned = PlannedRun.of(point, "")
    assert planned.finished() is None
    point.folder.mkdir(parents=True)
    Status(point.folder, point.code).set("finished")
    assert planned.finished() is None
    (point.folder / "sensitivity.jsonl").touch()
    Status(point.folder, point.code).set("finished")

    assert planned.finished() == Outcome("skipped", str(point.folder), "finished before")
    assert planned.only_dense().finished() is None
