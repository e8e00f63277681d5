"""Tests that a sweep rehearses each distinct set of parts once, before its first run."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from command import run_main
from conftest import cases
from grids import TINY, planned_of

from harness.distributed import Ranks
from harness.experiment.rehearsals import rehearsal
from harness.experiment.rehearsals.few_samples import Rehearsal
from harness.launch import rehearse
from harness.launch.backends import worker
from harness.launch.backends.base import Backend, Verdict
from harness.launch.backends.gpu_slots import Devices
from harness.launch.backends.local import LocalBackend
from harness.launch.execute import execute_run
from harness.launch.rehearse import reads_files, rehearse_run
from harness.launch.rehearsed_parts import REHEARSED
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.rehearsed import rehearse_sets
from harness.models.mlp import Mlp
from harness.run_folder.overview import HOME

TWO = ("seed=0,1", "method=random,snip")


@dataclass
class Rehearsing(Backend):
    """Rehearses nothing and finds what `find` says."""

    find: Callable[[RunSpec], Verdict | None]
    specs: list[RunSpec] = field(default_factory=list)

    def workers(self) -> int:
        return 1

    def rehearse(self, lines: Sequence[str], runs: int) -> list[Verdict | None]:
        self.specs += [RunSpec.from_json(line) for line in lines]
        return [self.find(RunSpec.from_json(line)) for line in lines]


@pytest.fixture(autouse=True)
def fixture_nothing_is_rehearsed() -> Iterator[None]:
    before = set(REHEARSED)
    REHEARSED.clear()
    yield
    REHEARSED.update(before)


def plan_of(runs: Path, *grid: str) -> Plan:
    folder, planned = runs / "single", planned_of(*TINY, f"output_dir={runs}", *grid)
    return Plan(folder / HOME / "plan-a.jsonl", "", folder, [], planned)


def passes(spec: RunSpec) -> Verdict | None:
    return Verdict(spec.method)


def refuses_snip(spec: RunSpec) -> Verdict | None:
    return Verdict(refused="saliency=SNIP no") if spec.method == "snip" else passes(spec)


def test_seeds_and_sizes_are_rehearsed_once_and_the_plan_keeps_it(tmp_path) -> None:
    backend, plan = Rehearsing(passes), plan_of(tmp_path, *TWO)
    assert len(plan.runs) == 4

    known = rehearse_sets(plan, backend)

    assert [spec.method for spec in backend.specs] == ["random", "snip"]
    assert all(run.spec.rehearsed == run.spec.method for run in known.runs)
    known.file.parent.mkdir(parents=True)
    known.write()
    again = rehearse_sets(Plan.read(known.file), backend)
    assert again == known and len(backend.specs) == 2
    assert [run.folder for run in known.runs] == [run.folder for run in plan.runs]


def test_what_is_refused_is_said_in_one_line_and_the_other_runs_go_on(tmp_path, capsys) -> None:
    known = rehearse_sets(plan_of(tmp_path, *TWO), Rehearsing(refuses_snip))

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("sweep: 2 of 4 runs refused, the first is ")
    assert line.endswith("method=snip: saliency=SNIP no")
    refused = [run for run in known.runs if not run.spec.rehearsed]
    assert {run.spec.method for run in refused} == {"snip"}
    assert known.refused == {run.folder: "saliency=SNIP no" for run in refused}


@cases("grid, plan_only", (("method=snip", "seed=0,1"), False), (TWO, True))
def test_a_sweep_of_refused_runs_and_a_plan_with_one_end_before_they_begin(
    grid, plan_only, tmp_path
) -> None:
    with pytest.raises(ValueError, match=r"runs refused, the first is .*: saliency=SNIP no$"):
        rehearse_sets(plan_of(tmp_path, *grid), Rehearsing(refuses_snip), plan_only)
    assert not list(tmp_path.iterdir())


def test_runs_of_several_ranks_and_those_that_no_backend_rehearses_begin_as_they_are(
    tmp_path,
) -> None:
    backend, plan = Rehearsing(passes), plan_of(tmp_path, "launch.ranks_per_run=2")
    assert rehearse_sets(plan, backend) == plan and not backend.specs
    nobody = plan_of(tmp_path, "seed=0")
    assert rehearse_sets(nobody, Rehearsing(lambda _: None)) == nobody


def test_runs_that_do_without_a_rehearsal_are_neither_rehearsed_nor_refused(tmp_path) -> None:
    backend, plan = Rehearsing(refuses_snip), plan_of(tmp_path, *TWO, "rehearse=false")
    assert rehearse_sets(plan, backend, plan_only=True) == plan and not backend.specs


def test_a_plan_says_what_was_not_rehearsed_and_why_and_a_sweep_does_not(tmp_path, capsys) -> None:
    def finds(spec: RunSpec) -> Verdict | None:
        return {"random": None, "snip": Verdict(skipped="data=x is unread")}[spec.method]

    plan = plan_of(tmp_path, *TWO)
    rehearse_sets(plan, Rehearsing(finds))
    assert not capsys.readouterr().out
    rehearse_sets(plan, Rehearsing(finds), plan_only=True)
    for more in ("launch.ranks_per_run=2", "rehearse=false"):
        rehearse_sets(plan_of(tmp_path, more), Rehearsing(finds), plan_only=True)
    lines = [line.partition(", the first is ") for line in capsys.readouterr().out.splitlines()]
    assert [(counts, why.partition(": ")[2]) for counts, _, why in lines] == [
        ("sweep: 2 of 4 runs not rehearsed", "rehearsed when they begin"),
        ("sweep: 2 of 4 runs not rehearsed", "data=x is unread"),
        ("sweep: 1 of 1 runs not rehearsed", "launch.ranks_per_run=2: rehearsed when they begin"),
        ("sweep: 1 of 1 runs not rehearsed", "rehearse=false"),
    ]


def test_data_that_nobody_has_read_are_named(tmp_path, monkeypatch) -> None:
    (run,) = plan_of(tmp_path, "seed=0").runs
    monkeypatch.setattr(rehearse, "reads_files", lambda *_: True)
    found = rehearse_run(replace(run.spec, data_sha256=None))
    assert found == Verdict(skipped=f"data=blobs {rehearse.UNREAD}")


@cases("progress, shown", ("auto", True), ("none", False))
def test_what_weights_were_unwrapped_from_is_shown_once_in_a_sweep(
    progress, shown, tmp_path, capsys
) -> None:
    model = Mlp((16,)).build((8,), 4)
    file = tmp_path / "weights.pt"
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, file)
    given = (f"weights={file}", "model.hidden=[16]", "prune_at=init", f"progress={progress}")
    plan = plan_of(tmp_path, "saliency=random,magnitude", *given, "rescore_trained=true")
    assert len(plan.runs) == 2

    rehearse_sets(plan, Rehearsing(rehearse_run))

    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"sweep: weights={file}: without the prefix module."] * shown


def test_a_worker_rehearses_as_the_run_itself_would(tmp_path) -> None:
    (run,) = plan_of(tmp_path, "seed=0").runs
    verdict = rehearse_run(run.spec)
    assert verdict.parts in REHEARSED and not verdict.refused

    (other,) = plan_of(tmp_path, "saliency=woodfisher", "saliency.memory_limit_gb=0.000001").runs
    refused = rehearse_run(other.spec)
    assert not refused.parts
    assert refused.refused.startswith("saliency woodfisher needs ") and Ranks().is_main


def test_data_in_files_that_nobody_has_read_are_not_read_for_a_plan() -> None:
    class Files:
        def files(self) -> list[Path]:
            return [Path("a")]

    class Computed:
        def files(self) -> list[Path]:
            return []

    own, ours = {"_target_": "mine.Data"}, {"_target_": "harness.data.blobs.Blobs"}
    assert reads_files(ours, Files()) and reads_files(own, object())
    assert not reads_files(own, Computed()) and not reads_files(ours, object())


@pytest.fixture(name="rehearsed")
def fixture_rehearsed(monkeypatch) -> list[str]:
    """Returns the list to which each rehearsal adds its saliency."""
    found, prune = list[str](), rehearsal._prune

    def noted(of: Rehearsal) -> None:
        found.append(type(of.context.experiment.saliency).__name__)
        prune(of)

    monkeypatch.setattr(rehearsal, "_prune", noted)
    return found


def test_a_run_does_not_rehearse_what_its_sweep_has(tmp_path, rehearsed) -> None:
    (run,) = plan_of(tmp_path, "seed=0").runs
    verdict = rehearse_run(run.spec)
    assert {verdict.parts} == REHEARSED and len(rehearsed) == 1
    REHEARSED.clear()
    assert execute_run(replace(run.spec, rehearsed=verdict.parts)).state == "finished"
    assert {verdict.parts} == REHEARSED and len(rehearsed) == 1


def test_equal_parts_are_rehearsed_once_in_a_process_unless_nothing_was_run(
    tmp_path, rehearsed
) -> None:
    first, other, again = (run.spec for run in plan_of(tmp_path, "seed=0,1,2").runs)
    for spec in (first, other):
        assert execute_run(spec).state == "finished"
    assert len(rehearsed) == 1

    REHEARSED.clear()
    assert execute_run(first).state == "skipped"
    execute_run(again)
    assert len(rehearsed) == 2


def test_parts_that_were_refused_are_rehearsed_again(tmp_path, monkeypatch) -> None:
    def fail(of: Rehearsal) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(rehearsal, "_measure", fail)
    (run,) = plan_of(tmp_path, "seed=0").runs
    for _ in range(2):
        with pytest.raises(ValueError, match="RuntimeError: no"):
            execute_run(run.spec)
    assert not REHEARSED - {""}


def test_the_command_refuses_a_sweep_with_status_2(tmp_path, monkeypatch, capfd) -> None:
    def here(backend: LocalBackend, lines: Sequence[str], runs: int) -> list[Verdict | None]:
        return [worker.rehearse(line, Devices(), os.getpid()) for line in lines]

    monkeypatch.setattr(worker, "_exit_with_parent", lambda parent: None)
    monkeypatch.setattr(LocalBackend, "rehearse", here)
    small = ("saliency=woodfisher", "saliency.memory_limit_gb=0.000001", "data=blobs")
    arguments = ("-m", *TINY, *small, "seed=0,1", "launch.action=plan", f"output_dir={tmp_path}/r")
    assert run_main(monkeypatch, *arguments) == 2
    (line,) = [text for text in capfd.readouterr().err.splitlines() if text.startswith("harness")]
    assert "2 of 2 runs refused" in line and "memory_limit_gb" in line
    assert not list(tmp_path.rglob("plan-*"))
