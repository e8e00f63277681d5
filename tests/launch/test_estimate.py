"""Tests what a sweep will cost: epochs counted by hand; time and disk as runs before have cost."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cases
from grids import TINY, planned_of

from harness.launch.backends.gpu_slots import Devices
from harness.launch.backends.local import LocalBackend
from harness.launch.sweeps.estimate import (
    COSTS,
    estimate_line,
    read_costs,
    seconds_left,
    write_costs,
)
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.launch.sweeps.run_cost import RunCost

FIVE_AND_THREE = ("training.epochs=5", "retraining.epochs=3")


def _points(*grid: str, runs: Path = Path("runs")) -> list[PlannedRun]:
    return planned_of(
        *TINY, *FIVE_AND_THREE, "schedule.unit=compression", f"output_dir={runs}", *grid
    )


def _plan(points: list[PlannedRun], runs: Path = Path("runs")) -> Plan:
    return Plan(runs / "single" / ".sweep" / "plan", "", runs / "single", [], points)


def _epochs(*grid: str) -> tuple[int, int]:
    """Returns (epochs of dense training, of all that follows it) of the one run of this grid."""
    (point,) = _points("schedule.final=4", *grid)
    return point.dense_epochs, point.epochs


@cases(
    "grid, epochs",
    (("finetune=keep",), 3),
    (("finetune=keep", "finetune.epochs=2"), 2),
    (("finetune=reinit",), 3),
    (("finetune=none",), 0),
    (("finetune=rewind_to_init",), 5),  # the dense recipe, from its beginning
    (("finetune=scratch_e",), 5),
    (("finetune=scratch_b",), 5),  # as if nothing became faster
    (("finetune=weight_rewind",), 4),  # from the end of epoch 1
    (("finetune=weight_rewind", "finetune.epoch=3"), 2),
    (("finetune=weight_rewind", "finetune.epochs=2"), 2),
    (("finetune=weight_rewind", "finetune.step=7"), 5),
    (("finetune=lr_rewind", "finetune.epochs=2"), 2),
    (("penalty=growing_l2", "penalty.epochs=6"), 9),
    (("schedule=geometric", "schedule.levels=4"), 12),
    (("schedule=geometric", "schedule.levels=4", "penalty=growing_l2", "penalty.epochs=1"), 16),
)
def test_epochs_after_dense_training_are_those_of_every_level(grid, epochs) -> None:
    assert _epochs(*grid) == (5, epochs)


def test_a_run_that_prunes_at_initialisation_has_no_dense_training() -> None:
    assert _epochs("prune_at=init") == (0, 3)
    assert _epochs("method=snip") == (0, 3)


def test_a_run_that_prunes_while_it_trains_trains_once() -> None:
    assert _epochs("prune_at=during_training", "schedule=geometric", "schedule.levels=4") == (0, 3)
    assert _epochs("prune_at=during_training", "gradual.start_from=trained") == (5, 3)


def test_what_no_run_can_have_counts_for_nothing() -> None:
    assert _epochs("finetune=weight_rewind", "finetune.epoch=9")[1] == 0


def test_the_line_counts_dense_trainings_once_and_shared_stages_once() -> None:
    points = _points("schedule.final=4", "finetune=keep,none", "seed=0,1")
    assert "4 runs, 4 of them to do: 2 dense trainings, 16 epochs in all" in estimate_line(
        _plan(points), points, 2
    )
    # Its first level is the other's: 5 dense epochs, 3 of the first level, 3 of the second.
    ways = _points("schedule=constant", "schedule.final=4", "schedule.levels=1,2")
    assert [point.epochs for point in ways] == [3, 6]
    assert "2 runs, 2 of them to do: 1 dense training, 11 epochs in all" in estimate_line(
        _plan(ways), ways, 2
    )
    assert "2 runs, 1 of them to do: 1 dense training, 11 epochs" in estimate_line(
        _plan(ways), ways[1:], 2
    )
    assert estimate_line(_plan(ways), [], 2) == "sweep: 2 runs, 0 of them to do"


def test_what_finished_runs_left_on_disk_is_not_counted_again() -> None:
    points = _points("schedule.final=4", "finetune=keep,none", "seed=0,1")
    # Of 2 dense trainings of 5 epochs and 2 fine-tunings of 3, seed 0 has trained and fine-tuned.
    done, left = points[:1], points[1:]
    line = estimate_line(_plan(points), left, 2, done=done)
    assert "3 of them to do: 1 dense training, 8 epochs in all" in line


def test_the_time_that_is_left_follows_from_the_epochs_that_are_left() -> None:
    one, other = _points("schedule.final=4", "finetune=keep", "seed=0,1")
    bare = _points("schedule.final=4", "finetune=none", "seed=0")
    assert seconds_left(16.0, [one], [other]) == 16.0  # 8 epochs each
    assert seconds_left(16.0, [one], bare) == 0.0  # its dense training is there
    assert seconds_left(10.0, bare, [one, other]) == 22.0  # 5 epochs in 10 s; 3 and 8 are left
    analyses = [replace(run, dense="", dense_epochs=0, epochs=0) for run in (one, other)]
    assert seconds_left(4.0, analyses[:1], analyses[1:]) == 4.0


def _ended(points: list[PlannedRun], seconds: float, size: int) -> list[tuple[PlannedRun, float]]:
    for point in points:
        Path(point.folder).mkdir(parents=True, exist_ok=True)
        (Path(point.folder) / "model").write_bytes(b"0" * size)
    return [(point, seconds) for point in points]


def test_time_and_disk_are_learned_from_runs_that_have_finished(tmp_path) -> None:
    points = _points("schedule.final=4", "seed=0,1", runs=tmp_path)
    plan = _plan(points, tmp_path)
    assert estimate_line(plan, points, 2).endswith("once runs like these have finished")

    # 2 x 8 epochs in 2 x 16 s, 2 MB each.
    write_costs(plan.folder, _ended(points, seconds=16, size=2_000_000))
    assert read_costs(plan.folder) == {points[0].kind: RunCost(2.0, 2.0)}

    more = _points("schedule.final=4", "seed=2,3,4", runs=tmp_path)
    assert estimate_line(_plan(more, tmp_path), more, 2).endswith(
        "about 24 s on 2 workers, 6 MB on disk"
    )
    assert estimate_line(_plan(more, tmp_path), more, 1).endswith(
        "about 48 s on 1 worker, 6 MB on disk"
    )
    assert estimate_line(_plan(more, tmp_path), more[:1], 9).endswith(
        "about 16 s on 1 worker, 2 MB on disk"
    )
    other = _points("schedule.final=4", "data=digits", runs=tmp_path)
    assert estimate_line(_plan(other, tmp_path), other, 2).endswith(
        "once runs like these have finished"
    )


def test_a_cost_that_is_learned_leaves_those_of_other_kinds(tmp_path) -> None:
    one = _points("schedule.final=4", runs=tmp_path)
    two = _points("schedule.final=4", "training.batch_size=7", runs=tmp_path)
    sweep = tmp_path / "single"
    write_costs(sweep, _ended(one, 8, 0))
    write_costs(sweep, _ended(two, 16, 0))
    write_costs(sweep, [])
    write_costs(sweep, [(replace(one[0], epochs=0), 5.0)])

    costs = {kind: cost.seconds_per_epoch for kind, cost in read_costs(sweep).items()}
    assert costs == {one[0].kind: 1.0, two[0].kind: 2.0}


@cases("damage", "{", "[1]", '{"a": 1}', '{"a": {"seconds": 1}}', "null")
def test_damaged_costs_are_not_known(damage, tmp_path) -> None:
    (tmp_path / COSTS).parent.mkdir()
    (tmp_path / COSTS).write_text(damage)

    assert read_costs(tmp_path / "single") == {}


def test_kinds_that_have_never_finished_are_measured_once_each_before_the_sweep(tmp_path) -> None:
    new = _points("schedule.final=4", "seed=0,1", runs=tmp_path)
    other = _points("schedule.final=4", "training.batch_size=7", runs=tmp_path)
    asked: list[str] = []

    def gauge(line: str, points: int) -> RunCost:
        asked.append(line)
        return RunCost(seconds_per_epoch=2.0, megabytes=0.25)

    said = estimate_line(_plan([*new, *other], tmp_path), [*new, *other], 2, gauge)

    # 3 x 8 epochs at 2 s each, on 2 workers
    assert said.endswith("about 24 s on 2 workers, 0.8 MB on disk")
    assert asked == [new[0].line, other[0].line] or asked == [other[0].line, new[0].line]
    write_costs(tmp_path / "single", _ended(new, 8, 0))
    estimate_line(_plan(new, tmp_path), new, 2, gauge)
    assert len(asked) == 2


def test_a_worker_measures_an_epoch_and_counts_the_bytes_of_network_and_masks(tmp_path) -> None:
    (good,) = _points("schedule.final=4", "model.hidden=[8]", runs=tmp_path)
    (wrong,) = _points("schedule.final=4", "structure=filter", runs=tmp_path)
    workers = LocalBackend(1, Devices())

    cost = workers.benchmark(good.line, 1)

    assert cost is not None and cost.seconds_per_epoch > 0
    # 8 x 8 + 8 and 4 x 8 + 4 numbers of 4 bytes, masks of 96 weights, and 0.1 MB of records.
    assert cost.megabytes == pytest.approx(0.1 + (108 * 4 + 96) / 1e6, abs=1e-3)
    assert workers.benchmark(wrong.line, 1) is None
    assert list(tmp_path.iterdir()) == []
