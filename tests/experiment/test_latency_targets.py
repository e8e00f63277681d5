"""Tests runs whose target is milliseconds by a table: what they keep, record and are named by."""

from pathlib import Path

import pytest
import torch
from command import TINY, only_run, records_of, run_main
from conftest import cases
from forked_ranks import harness_on_ranks
from hydra.errors import HydraException
from safetensors.torch import load_file
from tables import layer, mlp_8_6_4, table, written
from whole_runs import whole_run

import harness
from harness.allocation.global_ranking import GlobalRanking
from harness.distributed import Ranks
from harness.experiment import runner, state
from harness.experiment.checks.given_table import conditions
from harness.launch.compose import compose_config
from harness.launch.execute import build

UNITS = ("structure=neuron", "allocation=uniform", "finetune=none")
TARGET = (*UNITS, "schedule.unit=latency")
SMALL = (*TINY, "data.train=40", "data.validation=8", "data.test=16", "model.hidden=[6]")
ELSEWHERE = "latency_table_elsewhere=true"


@pytest.fixture
def table_file(tmp_path: Path) -> str:
    return written(tmp_path / "table.json", mlp_8_6_4())


def test_a_target_in_latency_is_dense_by_left_milliseconds_of_the_table(
    tmp_path, table_file
) -> None:
    # Of 20 ms, 6, 5, 4, 3 ... hidden units leave 20, 17, 14, 13 ...
    whole = whole_run(tmp_path, *TARGET, "schedule.final=1.5", f"latency_table={table_file}")

    dense, pruned = whole.record(0, "dense"), whole.record(1, "pruned")
    assert (dense.table_milliseconds, dense.table_speedup) == (20.0, 1.0)
    assert int(whole.masks[1, "pruned"]["fc1.weight"].any(1).sum()) == 3  # 13 is nearer than 14
    assert (pruned.table_milliseconds, pruned.table_speedup) == (13.0, 20 / 13)
    assert (pruned.requested_counts, pruned.requested_compression) == ("nanoseconds", 1.5)


def test_a_table_beside_another_target_is_only_recorded(tmp_path, table_file) -> None:
    plain = whole_run(tmp_path, *UNITS)
    timed = whole_run(tmp_path, *UNITS, f"latency_table={table_file}")

    assert (timed.record(1, "pruned").table_milliseconds) == 13.0
    assert plain.record(1, "pruned").table_milliseconds is None
    masks, timed_masks = plain.masks[1, "pruned"], timed.masks[1, "pruned"]
    assert all(torch.equal(masks[name], timed_masks[name]) for name in masks)


def test_the_prediction_counts_a_unit_whose_weights_are_0_as_removed(tmp_path, table_file) -> None:
    given = ("schedule.final=0.5", f"latency_table={table_file}", ELSEWHERE)
    config = compose_config([*SMALL, *UNITS, *given])
    context, run = runner.prepare(build(config), Ranks(), tmp_path)
    whole, _ = state.measure(context, run)
    with torch.no_grad():
        for name in ("fc1.weight", "fc1.bias"):
            run.model.get_parameter(name)[0].zero_()

    left, _ = state.measure(context, run)

    assert (whole["table_milliseconds"], left["table_milliseconds"]) == (20.0, 17.0)


def test_a_score_per_latency_spares_units_that_cost_little_time(tmp_path) -> None:
    # Two hidden layers of 4 units; one of fc1 costs 9 ms, one of fc2 1 ms.
    slow = {"fc1.weight": layer([[1, 4], [8]], [[9.0], [36.0]])}
    slow |= {"fc2.weight": layer([[1, 4], [1, 4]], [[1.0, 1.0], [4.0, 4.0]])}
    slow |= {"fc3.weight": layer([[4], [4]], [[1.0]])}
    path = written(tmp_path / "slow.json", table(slow))
    run = ("model.hidden=[4,4]", "structure=neuron", "finetune=none", "schedule.final=0.5")

    per = ("allocation=global_ranking", "allocation.per=latency", "allocation.min_units=1")
    whole = whole_run(tmp_path, *run, *per, f"latency_table={path}")

    masks = whole.masks[1, "pruned"]
    assert [int(masks[f"fc{n}.weight"].any(1).sum()) for n in (1, 2)] == [1, 4]


def test_halp_spends_the_milliseconds_where_scores_are_worth_most(tmp_path) -> None:
    # 9 ms a unit of fc1 and fc2 in steps of two units, 10 ms each; 1 ms for the rest.
    steps = {"fc1.weight": layer([[1, 4], [8]], [[9.0], [36.0]])}
    steps |= {"fc2.weight": layer([[1, 2, 3, 4], [4]], [[10.0], [10.0], [20.0], [20.0]])}
    steps |= {"fc3.weight": layer([[4], [4]], [[1.0]])}
    path = written(tmp_path / "steps.json", table(steps))
    run = ("model.hidden=[4,4]", "structure=neuron", "finetune=none", "schedule.unit=latency")
    own = ("schedule.final=1.2", "allocation=halp", "allocation.min_units=1")

    whole = whole_run(tmp_path, *run, *own, f"latency_table={path}")

    masks = whole.masks[1, "pruned"]
    left = [int(masks[f"fc{n}.weight"].any(1).sum()) for n in (1, 2)]
    # 57 ms / 1.2 is 47.5; half of fc2's units cost what one does, so that none goes alone.
    assert left in ([4, 2], [3, 4]) and whole.record(1, "pruned").table_milliseconds in (47, 48)


def test_an_unreachable_latency_names_the_nearest_one(tmp_path, table_file) -> None:
    with pytest.raises(ValueError, match=r"latency 3.0 cannot be reached: .*at most 2\.5"):
        whole_run(tmp_path, *TARGET, "schedule.final=3.0", f"latency_table={table_file}")


@cases(
    "keys, words",
    (TARGET, "schedule.unit=latency reads milliseconds .* Give latency_table=FILE"),
    (
        (*UNITS[::2], "allocation=global_ranking", "allocation.per=latency"),
        "allocation.per=latency reads milliseconds .* Give latency_table=FILE",
    ),
    (
        ("structure=element", "schedule.unit=latency", "latency_table=TABLE"),
        "schedule.unit=latency says .* structure=element masks entries .* Use structure=.*filter",
    ),
    (("structure=element", "latency_table=TABLE"), "latency_table=.*structure=element masks"),
    ((*TARGET, "latency_table=nowhere.json"), "latency_table=nowhere.json: there is no such file"),
    (
        (*TARGET, "latency_table=TABLE", "model.hidden=[7]"),
        r"fc1.weight has shape=\(6, 8\) in it, but shape=\(7, 8\) in this run; measure this model",
    ),
    ids=["unit", "per", "masked", "beside", "missing", "widths"],
)
def test_what_a_latency_needs_is_refused_by_name_before_training(
    tmp_path, table_file, keys, words
) -> None:
    keys = [key.replace("TABLE", table_file) for key in keys]
    # What Hydra builds raises an error of its own.
    with pytest.raises((ValueError, HydraException), match=words):
        whole_run(tmp_path, "schedule.final=1", *keys)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, path: str, *keys: str) -> int:
    target = (*SMALL, *TARGET, "schedule.final=1.5", f"latency_table={path}")
    return run_main(monkeypatch, *target, f"output_dir={folder}", *keys)


def test_a_table_of_another_place_is_used_only_if_that_is_meant(
    tmp_path, monkeypatch, table_file, capsys
) -> None:
    assert run(monkeypatch, tmp_path / "runs", table_file) == 2
    said = capsys.readouterr().err
    assert "device a stopwatch" in said and ELSEWHERE in said
    assert not (tmp_path / "runs").exists()
    assert run(monkeypatch, tmp_path / "runs", table_file, ELSEWHERE) == 0

    here = table({}, **conditions(torch.device("cpu"), "float32"))["conditions"]
    own = written(tmp_path / "own.json", {**mlp_8_6_4(), "conditions": here})
    assert run(monkeypatch, tmp_path / "own", own) == 0


def test_the_bytes_of_a_table_name_a_run_and_its_path_does_not(
    tmp_path, monkeypatch, table_file
) -> None:
    content = mlp_8_6_4()
    copy = written(tmp_path / "copy.json", content)
    content["other"]["constant_ms"] = 9.0
    other = written(tmp_path / "other.json", content)
    names = []
    for number, path in enumerate((table_file, copy, other)):
        folder = tmp_path / f"runs{number}"
        assert run(monkeypatch, folder, path, ELSEWHERE) == 0
        names.append(only_run(folder).name)
    assert names[0] == names[1] != names[2]


def test_two_ranks_prune_by_a_table_as_one_does(tmp_path, monkeypatch, table_file) -> None:
    run(monkeypatch, tmp_path / "one", table_file, ELSEWHERE)
    keys = (*SMALL, *TARGET, "schedule.final=1.5", f"latency_table={table_file}", ELSEWHERE)
    done = harness_on_ranks(2, *keys, f"output_dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr

    one, two = (only_run(tmp_path / name) for name in ("one", "two"))
    masks = [load_file(folder / "masks.safetensors") for folder in (one, two)]
    assert int(masks[0]["fc1.weight"].any(1).sum()) == 3
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
    times = [record.table_milliseconds for record in records_of(two)]
    assert times == [record.table_milliseconds for record in records_of(one)] == [20.0, 13.0]


def test_a_call_has_no_table() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4))
    ranked = {"allocation": GlobalRanking(per="latency"), "structure": "neuron"}
    with pytest.raises(
        ValueError, match="allocation.per=latency reads a latency table, which only"
    ):
        harness.prune(network, 0.5, example_input=torch.zeros(2, 8), **ranked)
