"""Tests what a sweep does with its points, by an engine that only says what became of them."""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from grids import TINY, planned_of
from planned_runs import finish

from harness.launch.run_spec import RunSpec
from harness.launch.sweeps import sweep as module
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.run_cost import RunCost
from harness.launch.sweeps.sweep import Sweep, print_summary
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.system.atomic_files import CannotWrite, read_json
from harness.system.locks import Busy, locked
from harness.system.signals import Stopped


@dataclass
class Said:
    """Says of each point what `tell` says; last ones end first."""

    tell: Callable[[RunSpec], Outcome] = lambda point: Outcome("finished", str(point.folder))
    in_order: bool = True
    begun: list[list[str]] = field(default_factory=list)
    closed: int = 0

    def workers(self) -> int:
        return 2

    def prestart(self, points: int) -> None: ...

    def benchmark(self, line: str, points: int) -> RunCost:
        return RunCost(seconds_per_epoch=2.0, megabytes=3.0)

    def close(self) -> None: ...

    def run(self, lines: Sequence[str]) -> Generator[tuple[int, Outcome], None, None]:
        points = [RunSpec.from_json(line) for line in lines]
        self.begun.append([f"{p.command} {p.method} {p.config['seed']}" for p in points])
        try:
            for number in reversed(range(len(points))):
                yield number, self.tell(points[number])
        finally:
            self.closed += 1


def _plan(runs: Path, *grid: str, name: str = "") -> Plan:
    points = planned_of(*TINY, f"output_dir={runs}", *grid)
    folder = runs / "single"
    return Plan(folder / HOME / "plan-a.jsonl", name, folder, [], points)


def _failed(point: RunSpec, again: bool) -> Outcome:
    return Outcome("failed", str(point.folder), "no luck", retryable=again)


def test_every_point_is_carried_out_once_and_told_in_the_order_of_the_grid(tmp_path) -> None:
    engine = Said()
    ended = Sweep(_plan(tmp_path, "seed=0,1,2"), engine).run()

    assert engine.begun == [
        ["run global_magnitude 0", "run global_magnitude 1", "run global_magnitude 2"]
    ]
    assert [point.label for point, _ in ended] == ["seed=0", "seed=1", "seed=2"]
    assert [outcome.folder for _, outcome in ended] == [point.folder for point, _ in ended]


def test_what_is_finished_is_not_begun_and_what_is_new_is(tmp_path) -> None:
    for point in _plan(tmp_path, "seed=0,1", "method=random").runs:
        finish(point)
    engine = Said()

    ended = Sweep(_plan(tmp_path, "seed=0,1,2", "method=random"), engine).run()
    assert engine.begun == [["run random 2"]]
    assert [outcome.state for _, outcome in ended] == ["skipped", "skipped", "finished"]

    Sweep(_plan(tmp_path, "seed=0,1", "method=random,snip"), engine).run()
    assert engine.begun[1:] == [["run snip 0", "run snip 1"]]

    again = Said()
    Sweep(_plan(tmp_path, "seed=0,1", "method=random"), again).run()
    assert again.begun == []


def test_failed_points_are_tried_again_unless_their_input_is_wrong(tmp_path) -> None:
    tries: dict[int, int] = {}

    def tell(point: RunSpec) -> Outcome:
        seed = point.config["seed"]
        tries[seed] = tries.get(seed, 0) + 1
        if seed == 0 or seed == 1 and tries[1] == 1 or seed == 2:
            return _failed(point, again=seed != 2)
        return Outcome("finished", str(point.folder))

    ended = Sweep(_plan(tmp_path, "seed=0,1,2,3"), Said(tell), retries=2).run()

    assert tries == {0: 3, 1: 2, 2: 1, 3: 1}
    assert [o.state for _, o in ended] == ["failed", "finished", "failed", "finished"]


def test_refused_points_fail_at_once_with_their_line_and_are_never_begun(tmp_path, capsys) -> None:
    engine, plan = Said(), _plan(tmp_path, "seed=0,1,2")
    folder = plan.runs[1].folder
    ended = Sweep(replace(plan, refused={folder: "saliency=X no"}), engine, retries=1).run()

    assert engine.begun == [["run global_magnitude 0", "run global_magnitude 2"]]
    assert [outcome.state for _, outcome in ended] == ["finished", "failed", "finished"]
    log = f"{folder}/error.log"
    assert print_summary(ended) == 1
    assert f"  failed: seed=1: saliency=X no (see {log})" in capsys.readouterr().out.splitlines()
    assert Path(log).read_text() == "ValueError: saliency=X no\n"
    assert read_json(Path(folder) / "status.json")["state"] == "failed"


def test_only_failed_points_are_begun_where_that_is_asked(tmp_path) -> None:
    plan = _plan(tmp_path, "seed=0,1,2")
    finish(plan.runs[0])
    finish(plan.runs[1], "failed")
    engine = Said()

    ended = Sweep(plan, engine, action="retry_failed").run()

    assert engine.begun == [["run global_magnitude 1"]]
    assert [point.label for point, _ in ended] == ["seed=1"]


def test_where_points_begin_in_no_order_dense_trainings_come_first(tmp_path) -> None:
    plan = _plan(
        tmp_path, "seed=0,1", "method=random,snip", "schedule.unit=compression", "schedule.final=4"
    )
    engine = Said(in_order=False)
    Sweep(plan, engine).run()

    assert engine.begun[0] == ["dense random 0", "dense random 1"]
    assert sorted(engine.begun[1]) == ["run random 0", "run random 1", "run snip 0", "run snip 1"]


def test_who_shares_what_another_computes_comes_after_it(tmp_path) -> None:
    plan = _plan(
        tmp_path, "finetune=keep,lr_rewind,none", "schedule.unit=compression", "schedule.final=4"
    )
    engine = Said(in_order=False)
    Sweep(plan, engine).run()

    assert [len(phase) for phase in engine.begun] == [1, 1, 2]


def test_the_folder_of_another_sweep_is_refused_for_ever(tmp_path) -> None:
    Sweep(_plan(tmp_path, "seed=0", name="mine"), Said()).run()
    engine = Said()

    with pytest.raises(ValueError, match="single belongs to sweep=mine, not to sweep=other"):
        Sweep(_plan(tmp_path, "seed=0", name="other"), engine).run()
    assert engine.begun == []
    Sweep(_plan(tmp_path, "seed=0"), engine).run()  # one of the command line belongs to any
    assert len(engine.begun) == 1


def test_two_sweeps_at_once_are_refused_with_who_is_there(tmp_path) -> None:
    plan = _plan(tmp_path, "seed=0")
    (tmp_path / "single" / HOME).mkdir(parents=True)

    with locked(tmp_path / "single" / HOME):
        for start in (Sweep(plan, Said()).run, Sweep(plan, Said()).write):
            with pytest.raises(
                Busy, match=f"another sweep uses this folder: .* process {os.getpid()} on"
            ):
                start()


def test_a_device_that_is_taken_is_no_other_sweep(tmp_path) -> None:
    def tell(point: RunSpec) -> Outcome:
        raise Busy("all 1 slots on devices 0 are taken")

    with pytest.raises(Busy, match="^all 1 slots"):
        Sweep(_plan(tmp_path, "seed=0"), Said(tell)).run()


def test_a_signal_between_two_outcomes_ends_the_engine(tmp_path, monkeypatch) -> None:
    def stop(*_: object) -> str:
        raise Stopped()

    monkeypatch.setattr(module, "format_result", stop)
    engine = Said()
    try:
        Sweep(_plan(tmp_path, "seed=0,1"), engine).run()
    except Stopped as stopped:
        assert engine.closed == 1  # while the error, and with it every frame, is still there
        assert stopped.__traceback__ is not None
    else:
        pytest.fail("it went on")


def test_results_that_cannot_be_written_are_refused_before_the_first_point(tmp_path, monkeypatch):
    engine = Said()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write into .*file/single.*output_dir=PATH"):
        Sweep(_plan(tmp_path / "file", "seed=0"), engine).run()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        Sweep(_plan(tmp_path, "seed=0"), engine).run()
    assert engine.begun == []


def test_costs_that_cannot_be_written_down_cost_no_result(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise CannotWrite("full")

    monkeypatch.setattr(module, "write_costs", full)

    assert len(Sweep(_plan(tmp_path, "seed=0"), Said()).run()) == 1


def test_the_summary_lists_what_failed_and_decides_the_status(tmp_path, capsys) -> None:
    first, second = _plan(tmp_path, "seed=0,1").runs
    good, bad = Outcome("finished", "f"), Outcome("failed", "g", "no luck", log="g/error.log")

    assert print_summary([(first, good)]) == 0
    assert print_summary([(first, good), (second, bad)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        "sweep: 2 runs: 1 finished, 0 skipped, 1 failed",
        "  failed: seed=1: no luck (see g/error.log)",
    ]


def test_only_the_plan_is_written_where_that_is_asked(tmp_path) -> None:
    engine = Said()
    plan = _plan(tmp_path, "seed=0", name="mine")

    assert Sweep(plan, engine, action="plan").write() == 0
    assert Plan.read(plan.file) == plan
    assert engine.begun == []
    assert read_json(plan.file.with_name("sweep.json")) == {"sweep": "mine"}
