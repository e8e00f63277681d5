import math

import pytest
import torch
from conftest import cases

from harness.learning_rate.base import LearningRate
from harness.learning_rate.constant import Constant
from harness.learning_rate.cosine import Cosine
from harness.learning_rate.held import Held
from harness.learning_rate.multi_step import MultiStep
from harness.learning_rate.one_cycle import OneCycle
from harness.learning_rate.stretched import Stretched


def factors(schedule: LearningRate, steps_per_epoch: int, epochs: int) -> list[float]:
    steps = range(steps_per_epoch * epochs)
    return [schedule.factor(step, steps_per_epoch, epochs) for step in steps]


def test_constant_is_one_at_every_step() -> None:
    assert factors(Constant(), steps_per_epoch=2, epochs=2) == [1.0] * 4


def test_warm_up_is_linear_from_one_nth_to_one() -> None:
    warmed = factors(Constant(warmup_epochs=2), steps_per_epoch=2, epochs=3)
    assert warmed == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_warm_up_may_be_a_part_of_an_epoch() -> None:
    warmed = factors(Constant(warmup_epochs=0.5), steps_per_epoch=4, epochs=1)
    assert warmed == [0.5, 1.0, 1.0, 1.0]


def test_warm_up_longer_than_the_recipe_is_cut_off() -> None:
    assert factors(Constant(warmup_epochs=4), steps_per_epoch=1, epochs=2) == [0.25, 0.5]
    assert factors(Cosine(warmup_epochs=4), steps_per_epoch=1, epochs=2) == [0.25, 0.5]


def test_multi_step_multiplies_by_gamma_from_each_milestone_on() -> None:
    falling = factors(MultiStep(milestones=[1, 3], gamma=0.5), steps_per_epoch=2, epochs=4)
    assert falling == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_multi_step_warms_up_from_a_part_of_its_own_factor() -> None:
    schedule = MultiStep(milestones=[1], gamma=0.5, warmup_epochs=2)
    assert factors(schedule, steps_per_epoch=2, epochs=2) == [0.25, 0.5, 0.375, 0.5]


def test_milestone_beyond_the_recipe_is_never_reached() -> None:
    assert factors(MultiStep(milestones=[9]), steps_per_epoch=1, epochs=2) == [1.0, 1.0]


def test_cosine_passes_the_middle_at_half_and_ends_at_the_final_factor() -> None:
    schedule = Cosine(final_factor=0.2)
    assert schedule.factor(0, 10, 2) == 1.0
    assert schedule.factor(10, 10, 2) == pytest.approx(0.6)
    assert schedule.factor(20, 10, 2) == pytest.approx(0.2)
    assert schedule.factor(99, 10, 2) == pytest.approx(0.2)


def test_cosine_falls_over_the_steps_after_the_warm_up() -> None:
    falling = factors(Cosine(warmup_epochs=1), steps_per_epoch=2, epochs=3)
    half_root = math.sqrt(0.5) / 2
    assert falling == pytest.approx([0.5, 1.0, 1.0, 0.5 + half_root, 0.5, 0.5 - half_root])


def test_a_held_rate_is_the_last_of_its_own_recipe_at_every_step() -> None:
    held = Held(MultiStep(milestones=[1, 3], gamma=0.5), epochs=2)
    assert factors(held, steps_per_epoch=2, epochs=4) == [0.5] * 8
    # The last step is not the moment after it, where a cosine is at its end.
    assert Held(Cosine(), epochs=1).factor(0, 2, 9) == pytest.approx(0.5)


def test_a_warm_up_that_outlasts_the_recipe_is_held_where_it_stops() -> None:
    assert factors(Held(Constant(warmup_epochs=4), epochs=1), 2, epochs=1) == [0.25, 0.25]


def test_a_recipe_without_epochs_has_no_rate_to_hold() -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0: .*raise its epochs"):
        Held(Constant(), epochs=0)


@cases("inner", Constant(1), MultiStep([1], 0.5), Cosine(0.1, warmup_epochs=1))
def test_a_rate_stretched_to_a_multiple_takes_each_factor_so_many_times(inner) -> None:
    thrice = factors(Stretched(inner, epochs=2), steps_per_epoch=2, epochs=6)
    assert thrice == [factor for factor in factors(inner, 2, 2) for _ in range(3)]


def test_a_stretched_rate_begins_and_ends_as_its_own_recipe() -> None:
    inner = Cosine(warmup_epochs=0.5)
    for longer in range(3, 30):
        stretched = factors(Stretched(inner, epochs=3), steps_per_epoch=7, epochs=longer)
        own = factors(inner, steps_per_epoch=7, epochs=3)
        assert (stretched[0], stretched[-1]) == (own[0], own[-1])
        assert set(stretched) == set(own)


def test_a_stretched_rate_is_a_function_of_its_own_whole_steps() -> None:
    # 3 steps over 5: steps 0, 0.6, 1.2, 1.8 and 2.4 of the recipe, rounded down.
    schedule = Stretched(MultiStep(milestones=[1, 2], gamma=0.5), epochs=3)
    assert factors(schedule, steps_per_epoch=1, epochs=5) == [1.0, 1.0, 0.5, 0.5, 0.25]


@cases("kind", Constant, MultiStep, Cosine)
@cases("warmup", -1, math.nan, math.inf, "1", True)
def test_warm_up_must_be_a_number_of_epochs(kind, warmup) -> None:
    with pytest.raises(ValueError, match="warmup_epochs must be .* got .*; write 0 for no warm-up"):
        kind(warmup_epochs=warmup)


@cases("gamma", 0, -0.1, 1.5, math.nan)
def test_gamma_must_be_a_share(gamma) -> None:
    with pytest.raises(ValueError, match="gamma must be"):
        MultiStep(gamma=gamma)


@cases("factor", -0.1, 1.5, math.nan)
def test_final_factor_must_be_a_share(factor) -> None:
    with pytest.raises(
        ValueError, match=r"final_factor must be a number in \[0, 1\], got .*base rate"
    ):
        Cosine(final_factor=factor)


@cases(
    "milestones, says",
    ([], "write learning_rate=constant"), (80, "must be a list"), ("80", "must be a list"),
    ([120, 80], "must rise, got 80 after 120"), ([80, 80], "must rise, got 80 after 80"),
    ([-1, 80], "must be a list of numbers >= 0, not empty, got"), ([1, math.nan], "numbers >= 0"),
)  # fmt: skip
def test_milestones_that_make_no_sense_are_refused(milestones, says) -> None:
    with pytest.raises(ValueError, match=says):
        MultiStep(milestones=milestones)


@cases("anneal", "cosine", "linear")
@pytest.mark.parametrize("rising", [0.0, 0.3, 1.0])
def test_one_cycle_has_the_rates_of_torch(anneal, rising) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=20, pct_start=rising, div_factor=10,
        final_div_factor=50, anneal_strategy={"cosine": "cos", "linear": "linear"}[anneal],
    )  # fmt: skip
    wanted = []
    for _ in range(20):
        wanted += theirs.get_last_lr()
        optimizer.step()
        if len(wanted) < 20:
            theirs.step()
    own = OneCycle(rising=rising, start_divisor=10, end_divisor=50, anneal=anneal)
    assert factors(own, steps_per_epoch=5, epochs=4) == pytest.approx(wanted)


def test_one_cycle_of_one_step_and_beyond_its_end_is_finite() -> None:
    assert factors(OneCycle(rising=1), steps_per_epoch=1, epochs=1) == [1.0]
    assert factors(OneCycle(end_divisor=2), steps_per_epoch=1, epochs=1) == pytest.approx([1 / 50])
    assert OneCycle(end_divisor=2).factor(99, 2, 2) == pytest.approx(1 / 50)


def test_milestones_in_steps_do_not_depend_on_the_length_of_an_epoch() -> None:
    schedule = MultiStep(milestones=[3], gamma=0.5, unit="steps")
    one, other = factors(schedule, 2, 3), factors(schedule, 3, 2)
    assert one == other == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
