"""Runs with a group lasso: in smaller models, on two ranks, and where a run was cut off."""

from pathlib import Path

import pytest
from command import only_run, records_of, run_main
from cutting import Cut, cut
from forked_ranks import harness_on_ranks
from whole_runs import SMALL

from harness.training.loop import Loop

RUN = (
    *SMALL, "model.hidden=[6,5]", "structure=neuron", "structure.pool_over=members",
    "allocation=uniform", "allocation.min_units=1", "schedule=geometric", "schedule.levels=2",
    "schedule.final=0.4", "penalty=group_lasso", "penalty.strength=0.3", "dtype=float64",
    "training.epochs=1", "retraining.epochs=1",
)  # fmt: skip
LEVELS = "compact=levels"


def run(folder: object, *more: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *more, f"output_dir={folder}") == 0


@pytest.fixture(scope="module", name="levels")
def fixture_levels(tmp_path_factory) -> Path:
    """Returns the folder of a run with compact=levels on one rank."""
    folder: Path = tmp_path_factory.mktemp("levels")
    run(folder, LEVELS)
    return only_run(folder)


def test_smaller_and_masked_networks_are_pressed_to_the_same_masks(tmp_path, levels) -> None:
    run(tmp_path, "compact=end")
    runs = [records_of(folder) for folder in (levels, only_run(tmp_path))]
    penalised = [one for one in runs[0] if one.stage == "penalised"]
    assert [one.level for one in penalised] == [1, 2]
    assert penalised[1].parameters < penalised[0].parameters
    for one, other in zip(*runs, strict=True):
        assert one.masks == other.masks
        assert one.loss == pytest.approx(other.loss, rel=1e-9)


def test_a_run_that_was_cut_off_while_pressed_ends_in_the_same_bytes(tmp_path, levels) -> None:
    # 3 steps an epoch: dense, penalty, retraining; then the second penalty, cut inside.
    more = (LEVELS, "checkpoint.every_steps=1")
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 11, after=True)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, *more, f"output_dir={tmp_path}")
    stages = [(one.level, one.stage) for one in records_of(only_run(tmp_path))]
    assert stages[-1] == (1, "finetuned")
    run(tmp_path, *more)
    for file in ("records.jsonl", "masks.safetensors", "model.safetensors"):
        assert (levels / file).read_bytes() == (only_run(tmp_path) / file).read_bytes()


def test_two_ranks_press_as_one_does(tmp_path, levels) -> None:
    done = harness_on_ranks(2, *RUN, LEVELS, f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    for alone, other in zip(records_of(levels), records_of(only_run(tmp_path)), strict=True):
        assert alone.masks == other.masks
        assert other.loss == pytest.approx(alone.loss, rel=1e-9)
