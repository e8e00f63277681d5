"""Checks what a training costs while its masks change, counted by hand."""

import json

import pytest

from harness.run_folder.records import NO_TRAINING
from harness.training.context import FitResult, TrainingCurve
from harness.training.cost_meter import CostMeter, trained_fields
from harness.vocabulary.flops import TrainingCost


class Masks:
    """They leave so many multiply-accumulates of an example's 100."""

    def __init__(self, live: int):
        self.live = live

    def __call__(self) -> int:
        return self.live


def meter(masks: Masks, first: int = 0, taught: bool = False) -> CostMeter:
    """Returns a meter of 10 samples in batches of 4, 4 and 2."""
    return CostMeter(
        samples=10, batch_size=4, first=first, dense_macs=100, live_macs=masks, has_teacher=taught
    )


def test_steps_cost_6_flops_per_live_multiply_accumulate_and_example() -> None:
    counted = meter(Masks(50))
    counted.count_until(4)
    # 4 + 4 + 2 + 4 examples
    assert counted.pop() == TrainingCost(4, 14, flops=6 * 50 * 14, flops_dense=6 * 100 * 14)


def test_what_comes_before_a_change_of_masks_costs_what_the_old_ones_leave() -> None:
    masks = Masks(100)
    counted = meter(masks)
    counted.count_until(1)
    masks.live = 50
    counted.count_until(3)
    masks.live = 10
    counted.count_until(4)
    flops = 6 * (4 * 100 + 6 * 50 + 4 * 10)
    assert counted.pop() == TrainingCost(4, 14, flops, flops_dense=6 * 100 * 14)


def test_a_step_that_looks_costs_2_flops_more_per_pruned_one() -> None:
    counted = meter(Masks(50))
    counted.count_dense_gradients(2)  # a batch of 2
    counted.count_until(4)
    assert counted.pop().flops == 6 * 50 * 14 + 2 * 50 * 2


def test_a_step_that_looks_is_not_counted_again() -> None:
    counted = meter(Masks(50))
    counted.count_dense_gradients(0)
    counted.count_until(0)
    counted.count_until(1)
    counted.count_dense_gradients(1)
    counted.count_until(2)
    assert counted.pop() == TrainingCost(2, 8, flops=(6 * 50 + 2 * 50) * 8, flops_dense=6 * 100 * 8)


def test_a_teacher_looks_at_every_example_and_is_no_cost_of_the_dense_network() -> None:
    counted = meter(Masks(50), taught=True)
    counted.count_until(1)
    counted.count_dense_gradients(1)
    counted.count_until(2)
    flops = (6 * 50 + 2 * 100) * 8 + 2 * 50 * 4
    assert counted.pop() == TrainingCost(2, 8, flops, flops_dense=6 * 100 * 8)


def test_a_training_that_begins_inside_a_recipe_sees_the_batches_that_are_left() -> None:
    counted = meter(Masks(1), first=2)
    counted.count_until(1)
    assert counted.pop().examples == 2
    counted.count_until(2)
    assert counted.pop().examples == 4


def test_what_was_taken_is_not_counted_again() -> None:
    counted = meter(Masks(50))
    counted.count_until(2)
    assert counted.pop().steps == 2
    assert counted.pop() == TrainingCost()
    counted.count_until(3)
    assert counted.pop() == TrainingCost(1, 2, flops=600, flops_dense=1200)


@pytest.mark.parametrize("cut", range(5))
def test_a_meter_goes_on_from_its_state(cut) -> None:
    masks = Masks(50)
    whole, before, after = meter(masks), meter(masks), meter(masks)
    for one in (whole, before):
        one.count_until(1)
        one.pop()
        one.count_dense_gradients(2)
    # As one that was cut off has it: plain values, and all steps so far are done.
    before.count_until(cut)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for one in (whole, after):
        one.count_until(5)
    assert after.pop() == whole.pop() == TrainingCost(4, 14, 6 * 50 * 14 + 2 * 50 * 2, 6 * 100 * 14)


def test_a_record_has_whole_epochs_as_whole_numbers_and_parts_as_fractions() -> None:
    ended = FitResult(0.5, TrainingCurve([3.0, 2.0], [0.25, 0.5]))
    found = trained_fields(TrainingCost(6, 20, 7, 9), steps_per_epoch=3, state="reset", ended=ended)
    assert (found.epochs, type(found.epochs)) == (2, int)
    assert (found.steps, found.examples, found.optimizer_state) == (6, 20, "reset")
    assert (found.training_flops, found.training_flops_dense, found.gradient_norm) == (7, 9, 0.5)
    assert (found.epoch_losses, found.epoch_validation) == ([3.0, 2.0], [0.25, 0.5])
    assert trained_fields(TrainingCost(3, 12, 1, 1), steps_per_epoch=4, state="kept").epochs == 0.75


def test_no_step_is_no_training_whatever_the_optimizer() -> None:
    assert trained_fields(TrainingCost(), steps_per_epoch=3, state="kept") == NO_TRAINING
    assert NO_TRAINING.optimizer_state == ""
