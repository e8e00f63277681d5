"""Runs of every retraining that are cut off several times end in the records of a whole one."""

from pathlib import Path
from typing import Any

import pytest
from command import only_run, run_main
from cutting import EVERY_2, Cut, cut
from whole_runs import SMALL, TWO_LEVELS

from harness.pruning.rounds import Rounds
from harness.run_folder.followers import Sinks
from harness.training.loop import Loop

# 9 steps of dense training; then at each of 2 levels 6 of a penalty, if there is one, and 5 or more
# of retraining.
RUN = (
    *SMALL, *TWO_LEVELS, "training.epochs=3", "retraining.epochs=2",
    "model._target_=parts.Dropping",
)  # fmt: skip
GROWING = ("penalty=growing_l2", "penalty.epochs=2", "penalty.step_size=0.1", "penalty.interval=2")
RECALIBRATION = ("recalibration=batch_norm", "recalibration.samples=40")

MODES: dict[str, tuple[str, ...]] = {
    "lr_rewind": ("finetune=lr_rewind", "finetune.epochs=2"),
    "weight_rewind, step": ("finetune=weight_rewind", "finetune.step=4"),
    "keep, last rate": (
        "finetune=keep", "finetune.recipe=training", "finetune.epochs=2",
        "learning_rate@training.learning_rate=cosine",
    ),
    "scratch_b": ("finetune=scratch_b", "finetune.limit=1.4"),
    "scratch_e, recalibration": ("finetune=scratch_e", *RECALIBRATION),
    "distillation": ("distillation=hinton", "finetune=keep"),
    "l1": ("penalty=l1", "penalty.epochs=2"),
    "bn_l1": ("penalty=bn_l1", "penalty.epochs=2", "saliency=bn_scale", "structure=row"),
    "growing_l2": GROWING,
    "growing_l2, random": (*GROWING, "control=random", "finetune=none"),
    "all": (*GROWING, *RECALIBRATION, "distillation=hinton", "finetune=lr_rewind"),
}  # fmt: skip


def started(runs: Path, mode: str) -> int:
    with pytest.MonkeyPatch.context() as monkeypatch:
        final = ("schedule.final=0.5",) if "structure=row" in MODES[mode] else ()
        return run_main(monkeypatch, *RUN, *MODES[mode], *final, EVERY_2, f"output_dir={runs}")


def cut_off(runs: Path, mode: str, owner: type, name: str, call: int, after: bool) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, owner, name, call, after)
        with pytest.raises(Cut):
            started(runs, mode)


def records(runs: Path) -> bytes:
    return (only_run(runs) / "records.jsonl").read_bytes()


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_is_cut_off_again_and_again_ends_in_the_same_records(tmp_path, mode) -> None:
    whole, often = tmp_path / "whole", tmp_path / "often"
    assert started(whole, mode) == 0

    # Inside dense training; two or three steps into what trains next; after the record of that;
    # and inside the training that follows.
    cut_off(often, mode, Loop, "_update", 6, after=False)
    cut_off(often, mode, Loop, "_update", 7, after=True)
    cut_off(often, mode, Sinks, "log", 1, after=True)
    cut_off(often, mode, Loop, "_update", 4, after=False)
    assert started(often, mode) == 0
    assert records(often) == records(whole)


def test_a_run_that_is_cut_off_around_each_of_its_records_ends_in_the_same_ones(tmp_path) -> None:
    whole, often = tmp_path / "whole", tmp_path / "often"
    assert started(whole, "all") == 0
    # Dense; then penalised, pruned, recalibrated and finetuned, twice.
    for number in range(1, 10):
        # After a start that ended behind the last record, the next one is the first to be written.
        cut_off(often, "all", Sinks, "log", 1, after=False)
        if number < 9:
            cut_off(often, "all", Sinks, "log", 1, after=True)
    assert started(often, "all") == 0
    assert records(often) == records(whole)
    assert len(records(whole).splitlines()) == 9


def test_what_was_named_to_be_removed_is_still_named_after_a_cut(tmp_path) -> None:
    """Checks that nothing is chosen anew between "penalised" and "pruned".

    A new choice would be other weights.
    """
    cut_off(tmp_path, "growing_l2", Sinks, "log", 2, after=True)
    asked: list[Any] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        foreseen = Rounds.preview_masks
        monkeypatch.setattr(
            Rounds, "preview_masks", lambda *given: (asked.append(1), foreseen(*given))[1]
        )
        assert started(tmp_path, "growing_l2") == 0
    assert len(asked) == 1  # for level 2
