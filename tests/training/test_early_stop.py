"""Tests validations between steps, of which early stopping is read; they change nothing."""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from cached_training import CONTEXT, FIRST, network
from command import TINY, run_main
from forked_ranks import on_ranks
from kept_states import Kept
from small_training import trainer
from torch.optim import SGD

from harness.distributed import Ranks
from harness.run_folder.records import read
from harness.task.classification import Classification
from harness.training.context import Hooks, TrainingCurve
from harness.training.evaluation import evaluate
from harness.vocabulary.step_index import StepIndex

THERE = replace(CONTEXT, validation=CONTEXT.split, test=CONTEXT.split)
RECIPE = trainer(optimizer=partial(SGD, lr=0.1), epochs=3, batch_size=10, validate_every=2)


def test_rows_are_those_of_the_model_after_so_many_steps() -> None:
    model = copy.deepcopy(FIRST)
    curve = RECIPE.fit(model, THERE, Hooks()).curve
    assert [row[0] for row in curve.validations] == [2, 4, 6, 8]  # of 3 epochs of 3 steps
    for step, loss, top1 in curve.validations:
        stopped = copy.deepcopy(FIRST)
        assert step is not None
        RECIPE.fit(stopped, THERE, Hooks(), stop=StepIndex(0, int(step)))
        found = evaluate(stopped, CONTEXT.split, Classification(), Ranks())
        assert (loss, top1) == (found.loss, found.top1)


def test_a_training_is_the_same_with_and_without_validations() -> None:
    plain, validated = copy.deepcopy(FIRST), copy.deepcopy(FIRST)
    replace(RECIPE, validate_every=None).fit(plain, CONTEXT, Hooks())
    RECIPE.fit(validated, THERE, Hooks())
    assert all(map(torch.equal, plain.state_dict().values(), validated.state_dict().values()))


def test_early_stopping_is_read_at_the_first_smallest_loss_with_the_test_data_there() -> None:
    asked, curve = list[int](), TrainingCurve()
    for step, loss in ((2, 0.5), (4, 0.25), (6, 0.25), (8, float("nan")), (10, 0.75)):

        def test_top1(step: int = step) -> float:
            asked.append(step)
            return step / 100

        curve = curve.validated(step, loss, 0.0, test_top1)
    assert curve.early_stop == {"step": 4, "validation_loss": 0.25, "value": 0.04}
    assert asked == [2, 4] and len(curve.validations) == 5


@pytest.mark.parametrize("at", [(0, 2), (1, 0), (2, 1)])
def test_a_resumed_training_has_the_rows_of_an_uninterrupted_one(at) -> None:
    kept = Kept()
    whole = RECIPE.fit(network(), THERE, Hooks(saver=kept)).curve
    part = RECIPE.fit(network(), THERE, Hooks(), resumed=kept.states[at]).curve
    assert part == whole and whole.early_stop is not None


def on_rank(ranks: Ranks) -> TrainingCurve:
    return RECIPE.fit(copy.deepcopy(FIRST), replace(THERE, ranks=ranks), Hooks()).curve


def test_two_ranks_read_the_same_rows() -> None:
    one, other = on_ranks(2, on_rank)
    assert one == other and len(one.validations) == 4


def test_a_record_has_the_rows_and_the_accuracy_at_the_stop(tmp_path, monkeypatch) -> None:
    more = ("training.validate_every=2", "retraining.validate_every=4", "schedule=one_shot")
    assert run_main(monkeypatch, *TINY, *more, f"output_dir={tmp_path}") == 0
    (file,) = Path(tmp_path).rglob("records.jsonl")
    dense, pruned, finetuned = read(file)
    assert dense.validations and dense.early_stop and not pruned.validations
    assert [row[0] for row in finetuned.validations or []] == [4]
    assert finetuned.early_stop and finetuned.early_stop["step"] == 4
