import math
from dataclasses import replace
from itertools import pairwise

import pytest
from conftest import cases, every

from harness.schedule.ac_dc import AcDc
from harness.schedule.constant import Constant
from harness.schedule.cosine import Cosine
from harness.schedule.cubic import Cubic
from harness.schedule.explicit import Explicit
from harness.schedule.exponential import Exponential
from harness.schedule.geometric import Geometric
from harness.schedule.linear import Linear
from harness.schedule.one_cycle import OneCycle
from harness.schedule.one_shot import OneShot

CURVES = [Linear, Geometric, Cubic, Exponential, Cosine, OneCycle]


def identity(density: float) -> float:
    return density


def half_of_the_inverse(compression: float) -> float:
    return 0.5 / compression


def test_one_shot_has_one_level() -> None:
    assert OneShot(final=0.1).kept_fractions(identity) == [0.1]


def test_linear_removes_the_same_number_at_each_level() -> None:
    assert Linear(final=0.5, levels=4).kept_fractions(identity) == [0.875, 0.75, 0.625, 0.5]


def test_geometric_removes_the_same_fraction_of_what_remains() -> None:
    assert Geometric(final=0.0625, levels=2).kept_fractions(identity) == [0.25, 0.0625]


def test_cubic_removes_most_at_first() -> None:
    # 1 - l/n is 3/4, 1/2, 1/4, 0; the half that goes is scaled by its cube.
    wanted = [0.5 + 0.5 * 27 / 64, 0.5 + 0.5 / 8, 0.5 + 0.5 / 64, 0.5]
    assert Cubic(final=0.5, levels=4).kept_fractions(identity) == wanted


def test_constant_asks_for_the_same_at_every_level() -> None:
    assert Constant(final=0.1).kept_fractions(identity) == [0.1]
    schedule = Constant(final=4, unit="compression", levels=3)
    assert schedule.kept_fractions(half_of_the_inverse) == [0.125, 0.125, 0.125]


def test_ac_dc_has_no_levels() -> None:
    with pytest.raises(
        ValueError, match="schedule=ac_dc alternates .*; use prune_at=during_training"
    ):
        AcDc().kept_fractions(identity)


@every("schedule")
def test_a_schedule_falls_where_levels_may_ask_for_different_shares(schedule) -> None:
    if schedule.may_grow:  # at all levels nothing
        assert schedule.varies
    else:
        assert schedule.varies == (len(set(schedule.kept_fractions(identity))) > 1)


@pytest.mark.parametrize("kind", CURVES)
def test_a_curve_falls_from_two_levels_on(kind) -> None:
    assert [kind(levels=levels).varies for levels in (1, 2)] == [False, True]


def test_equal_values_do_not_fall() -> None:
    assert not Constant(levels=3).varies
    assert not Explicit(values=[0.5, 0.5]).varies


@every("schedule")
def test_a_schedule_says_whether_it_may_grow(schedule) -> None:
    events = len(schedule.values) - 1 if isinstance(schedule, Explicit) else 4
    kept_fractions = schedule.event_fractions(identity, events)
    assert schedule.may_grow == any(later > one for one, later in pairwise(kept_fractions))


@every("schedule")
def test_a_file_has_the_defaults_of_its_class(schedule) -> None:
    if isinstance(schedule, Explicit):
        schedule = replace(schedule, values=tuple(schedule.values))
    assert schedule == type(schedule)()


def test_explicit_converts_each_value_on_its_own() -> None:
    schedule = Explicit(values=[2, 4], unit="compression")
    assert schedule.kept_fractions(half_of_the_inverse) == [0.25, 0.125]


def test_compression_is_converted_before_the_levels_are_laid() -> None:
    schedule = Geometric(final=8, unit="compression", levels=2)
    assert schedule.kept_fractions(half_of_the_inverse) == [0.25, 0.0625]


@pytest.mark.parametrize("kind", CURVES)
@cases("final", 0.05, 0.1, 0.3, 0.7, 0.9, 1.0, 1e-6)
@cases("levels", 1, 3, 7, 20)
def test_last_share_is_exactly_the_final_one_and_none_rises(kind, final, levels) -> None:
    kept_fractions = kind(final=final, levels=levels).kept_fractions(identity)

    assert len(kept_fractions) == levels
    assert kept_fractions[-1] == final
    assert kept_fractions == sorted(kept_fractions, reverse=True)
    assert all(0 < share <= 1 for share in kept_fractions)


@cases("kind", OneShot, Constant, *CURVES, Explicit)
def test_every_schedule_has_a_default_and_names_its_unit(kind) -> None:
    assert kind().unit == "density"
    assert kind().kept_fractions(identity)


@cases("kind", OneShot, Constant, AcDc, *CURVES)
def test_density_given_as_percentage_is_refused_with_the_share_to_write(kind) -> None:
    with pytest.raises(ValueError) as caught:
        kind(final=50)
    assert str(caught.value) == (
        "final must be in (0, 1] when unit is density, got 50; is it a percentage? write 0.5"
    )


@cases(
    "final, unit, says",
    (0, "density", "write the fraction to keep"),
    (-0.1, "density", "write the fraction to keep"),
    (200, "density", "is it a compression"),
    (0.05, "compression", r"parameters before / after\), got 0.05; is it a density"),
    (0.5, "speedup", r"when unit is speedup \(multiply-accumulates .* got 0.5; is it a density"),
    (math.nan, "density", "finite number, got nan"),
    (math.inf, "compression", "finite number, got inf"),
    (True, "density", "finite number, got True"),
    ("0.1", "density", "finite number, got '0.1'"),
    (0.1, "desity", "did you mean density"),
    (0.1, "compresion", "did you mean compression"),
    (2, "speed_up", "did you mean speedup"),
    (2, ["speedup"], r"unit must be .*, got \['speedup'\]"),
    (2, "macs", r"or latency \(milliseconds before / after, by latency_table\), got 'macs'"),
    (0.1, "sparsity", "kept fraction of what may be pruned"),
)
def test_final_or_unit_that_makes_no_sense_is_refused(final, unit, says) -> None:
    with pytest.raises(ValueError, match=says):
        OneShot(final=final, unit=unit)


@cases("kind", Constant, *CURVES)
@cases("levels", 0, -1, 2.0, True, "3")
def test_levels_must_be_a_positive_integer(kind, levels) -> None:
    with pytest.raises(ValueError, match=r"levels must be a whole number in \[1, 10000\], got"):
        kind(levels=levels)


@cases("kind", OneShot, Constant, AcDc, *CURVES, Explicit)
def test_rounds_below_1_are_refused(kind) -> None:
    with pytest.raises(ValueError, match=r"rounds must be .* in \[1, 10000\] or null, got 0"):
        kind(rounds=0)


@cases(
    "values, unit, says",
    ([], "density", "must be a list of finite numbers, not empty, got"),
    (0.5, "density", "must be a list"),
    ("0.5", "density", "must be a list"),
    ([0.5, 0.6], "density", "must not rise when unit is density, got 0.6 after 0.5"),
    ([4, 2], "compression", "must not fall when unit is compression, got 2 after 4"),
    ([4, 2], "speedup", "must not fall when unit is speedup, got 2 after 4"),
    ([0.5, 20], "density", r"values\[1\] must be in .* write 0.2"),
    ([0.5, math.nan], "density", r"values must be a list of finite .*, got \[0.5, nan\]"),
)
def test_explicit_values_that_make_no_sense_are_refused(values, unit, says) -> None:
    with pytest.raises(ValueError, match=says):
        Explicit(values=values, unit=unit)


def test_equal_neighbours_are_a_level_without_pruning() -> None:
    assert Explicit(values=[0.5, 0.5]).kept_fractions(identity) == [0.5, 0.5]
    twice = Explicit(values=[2, 2], unit="compression")
    assert twice.kept_fractions(half_of_the_inverse) == [0.25, 0.25]
