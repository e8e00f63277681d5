"""Schedules over the steps of one training: which steps, and which share at each."""

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
from harness.schedule.shared.gradual import Gradual

FROM_ONE = [Linear, Geometric, Cubic, Exponential, Cosine]
ENDS = [0.05, 0.1, 0.3, 0.7, 0.9, 1.0, 1e-6]


def identity(density: float) -> float:
    return density


def inverse(compression: float) -> float:
    return 1 / compression


def test_events_lie_from_begin_to_end_with_both_ends() -> None:
    assert Gradual(first_step=5, last_step=25, interval=10).events(100) == [5, 15, 25]


def test_the_last_event_is_not_beyond_the_end() -> None:
    assert Gradual(first_step=5, last_step=24, interval=10).events(100) == [5, 15]
    assert Gradual(first_step=5, last_step=26, interval=10).events(100) == [5, 15, 25]


def test_without_an_end_the_last_quarter_has_no_event() -> None:
    assert Gradual(interval=25).events(100) == [0, 25, 50, 75]
    assert Gradual(interval=25).events(99) == [0, 25, 50]
    assert Gradual(first_step=70, interval=2).events(99) == [70, 72, 74]
    assert Gradual(first_step=10, interval=20).events(100) == [10, 30, 50, 70]


def test_one_event_is_enough() -> None:
    assert Gradual(first_step=7, last_step=7).events(100) == [7]
    assert Gradual(interval=1).events(1) == [0]


def test_the_last_step_of_a_training_may_have_an_event() -> None:
    assert Gradual(last_step=99, interval=99).events(100) == [0, 99]
    assert Gradual(first_step=99, last_step=99).events(100) == [99]


@cases(
    "steps, says",
    (Gradual(interval=101), "gradual.interval must be at most 100, got 101"),
    (Gradual(first_step=100, interval=10), "gradual.first_step must be at most 99, got 100"),
    (
        Gradual(last_step=100),
        "gradual.last_step must be at most 99, so that a step .* follows .* got 100",
    ),
    (Gradual(first_step=76), "gradual.first_step must be at most 75, three quarters .* got 76"),
)
def test_events_that_a_training_does_not_have_are_refused(steps, says) -> None:
    with pytest.raises(ValueError, match=f"{says}: the training has 100 optimizer steps"):
        steps.events(100)


def test_a_training_without_a_step_has_no_events() -> None:
    with pytest.raises(ValueError, match="gradual.interval must be at most 0"):
        Gradual(interval=1).events(0)


@cases(
    "fields, says",
    ({"first_step": -1}, "first_step must be a whole number of at least 0, got -1"),
    ({"first_step": 1.0}, "first_step must be a whole number of at least 0, got 1.0"),
    (
        {"first_step": None},
        "first_step must be a whole number of at least 0, got None; it counts",
    ),
    ({"interval": 0}, "interval must be a whole number of at least 1, got 0"),
    ({"interval": True}, "interval must be a whole number of at least 1, got True"),
    ({"last_step": -1}, "last_step must be a whole number of at least 0 or null, got -1"),
    ({"last_step": "9"}, "last_step must be a whole number of at least 0 or null, got '9'"),
    (
        {"first_step": 6, "last_step": 5},
        "last_step must not be before first_step, got last_step=5 and first_step=6",
    ),
    ({"start_from": "dense"}, r"start_from must be init \(.*\) or trained \(.*\), got 'dense'"),
    ({"start_from": ["init"]}, r"start_from must be .* got \['init'\]"),
)
def test_fields_that_make_no_sense_are_refused(fields, says) -> None:
    with pytest.raises(ValueError, match=says):
        Gradual(**fields)  # type: ignore[arg-type]


def test_the_initial_network_is_pruned_every_100_steps_unless_said_otherwise() -> None:
    assert Gradual() == Gradual(first_step=0, last_step=None, interval=100, start_from="init")
    assert Gradual(start_from="trained").start_from == "trained"


def test_gradual_pruning_is_the_cubic_of_its_authors() -> None:
    # s_t = s_f + (0 - s_f)(1 - k/n)^3 with s_f = 1/2, n = 2: sparsity 0, 7/16, 1/2.
    assert Cubic(final=0.5).event_fractions(identity, events=2) == [1.0, 9 / 16, 0.5]


@pytest.mark.parametrize("kind", FROM_ONE)
@pytest.mark.parametrize("end", ENDS)
def test_the_first_event_of_a_curve_removes_nothing(kind, end) -> None:
    assert kind(final=end).event_fractions(identity, events=3)[0] == 1.0


def test_the_first_event_of_one_cycle_removes_a_little() -> None:
    # (1 + e^-9) / (1 + e^5) of what is to go.
    first = OneCycle(final=0.5).event_fractions(identity, events=4)[0]
    assert first == pytest.approx(1 - 0.5 * 0.0066936769)


@cases("kind", *FROM_ONE, OneCycle)
@pytest.mark.parametrize("end", ENDS)
@cases("events", 1, 3, 7, 100)
def test_a_curve_over_steps_ends_exactly_and_never_rises(kind, end, events) -> None:
    kept_fractions = kind(final=end).event_fractions(identity, events)

    assert len(kept_fractions) == events + 1
    assert kept_fractions[-1] == end
    assert kept_fractions == sorted(kept_fractions, reverse=True)
    assert all(0 < share <= 1 for share in kept_fractions)


@cases("kind", *FROM_ONE, OneCycle)
def test_over_steps_a_curve_has_the_shares_of_as_many_levels(kind) -> None:
    over_levels = kind(final=0.1, levels=6).kept_fractions(identity)
    assert kind(final=0.1, levels=2).event_fractions(identity, events=6)[1:] == over_levels


@cases("kind", OneShot, Constant)
def test_a_single_event_asks_for_the_end(kind) -> None:
    assert kind().event_fractions(identity, events=0) == [0.05]


@cases("kind", *FROM_ONE, OneCycle)
def test_a_curve_of_a_single_event_is_refused(kind) -> None:
    with pytest.raises(
        ValueError, match=r"gradual.interval is longer .* all would be pruned at once; lower"
    ):
        kind().event_fractions(identity, events=0)


def test_an_explicit_list_of_one_value_is_a_single_event() -> None:
    assert Explicit(values=[0.2]).event_fractions(identity, events=0) == [0.2]


@cases("kind", OneShot, Constant)
def test_one_shot_and_constant_ask_for_the_end_at_every_event(kind) -> None:
    assert kind(final=4, unit="compression").event_fractions(inverse, events=2) == [
        0.25,
        0.25,
        0.25,
    ]


def test_explicit_values_are_those_of_the_events() -> None:
    schedule = Explicit(values=[1, 2, 4], unit="compression")
    assert schedule.event_fractions(inverse, events=2) == [1.0, 0.5, 0.25]


@cases("events", 1, 4)
def test_explicit_values_need_one_event_each(events) -> None:
    with pytest.raises(ValueError) as caught:
        Explicit(values=[0.5, 0.25, 0.125]).event_fractions(identity, events)
    assert str(caught.value) == (
        f"values has 3 entries, one per event, and gradual names {events + 1} events; "
        "gradual.last_step = gradual.first_step + 2 * gradual.interval fits"
    )


def test_what_the_refusal_of_explicit_values_calls_fitting_fits() -> None:
    events = Gradual(first_step=3, last_step=3 + 2 * 7, interval=7).events(40)
    values = [0.5, 0.25, 0.125]
    assert Explicit(values=values).event_fractions(identity, len(events) - 1) == values


def test_ac_dc_alternates_and_ends_compressed() -> None:
    schedule = AcDc(final=4, unit="compression")
    assert schedule.event_fractions(inverse, events=2) == [0.25, 1.0, 0.25]
    assert schedule.event_fractions(inverse, events=4) == [0.25, 1.0, 0.25, 1.0, 0.25]


@cases("events", 0, 1, 3)
def test_ac_dc_must_end_compressed(events) -> None:
    says = f"an even number of events, at least 2, .* gradual names {events}; change"
    with pytest.raises(ValueError, match=says):
        AcDc().event_fractions(identity, events)


@every("schedule")
def test_a_value_out_of_reach_is_refused_over_steps_too(schedule) -> None:
    def out_of_reach(value: float) -> float:
        raise ValueError(f"{value} cannot be reached")

    with pytest.raises(ValueError, match="cannot be reached"):
        schedule.event_fractions(out_of_reach, events=2)
