"""The shapes of the curves that have parameters or no plain fractions."""

import math

import pytest
from conftest import cases

from harness.schedule.cosine import Cosine
from harness.schedule.exponential import Exponential
from harness.schedule.geometric import Geometric
from harness.schedule.one_cycle import OneCycle


def identity(density: float) -> float:
    return density


def test_cosine_removes_least_at_both_ends() -> None:
    # cos is 1/2, -1/2, -1 at 60, 120 and 180 degrees.
    kept_fractions = Cosine(final=0.2, levels=3).kept_fractions(identity)
    assert kept_fractions == pytest.approx([0.2 + 0.8 * 0.75, 0.2 + 0.8 * 0.25, 0.2])


def test_what_exponential_removes_falls_by_one_factor() -> None:
    # e^(-k/3) is 1/2: 4, 2 and 1 of 7 parts go.
    kept_fractions = Exponential(final=0.3, levels=3, rate=3 * math.log(2)).kept_fractions(identity)
    assert kept_fractions == pytest.approx([0.6, 0.4, 0.3])


@cases("final", 0.01, 0.3, 0.9)
def test_exponential_at_the_rate_of_its_end_point_is_geometric(final) -> None:
    kept_fractions = Exponential(final=final, levels=6, rate=math.log(1 / final)).kept_fractions(
        identity
    )
    assert kept_fractions == pytest.approx(
        Geometric(final=final, levels=6).kept_fractions(identity)
    )


@cases("rate", 1e-12, 1e-300)
def test_exponential_at_a_rate_near_0_is_linear(rate) -> None:
    kept_fractions = Exponential(final=0.2, levels=4, rate=rate).kept_fractions(identity)
    assert kept_fractions == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_exponential_removes_three_quarters_in_an_eighth_at_the_rate_of_its_authors() -> None:
    assert Exponential(levels=8, final=0.2, rate=11.09).kept_fractions(identity)[
        0
    ] == pytest.approx(0.4)


def test_one_cycle_is_the_authors_formula() -> None:
    def sparsity(progress: float) -> float:
        return 0.9 * (1 + math.exp(-14 + 5)) / (1 + math.exp(-14 * progress + 5))

    kept_fractions = OneCycle(final=0.1, levels=4).kept_fractions(identity)
    assert kept_fractions == pytest.approx([1 - sparsity(n / 4) for n in range(1, 5)])


def test_half_of_one_cycle_is_done_at_its_steepest_point() -> None:
    # 5/20 of the way; e^(-15) is lost in the tolerance.
    kept_fractions = OneCycle(final=0.5, levels=4, alpha=20, beta=5).kept_fractions(identity)
    assert kept_fractions[0] == pytest.approx(0.75, abs=1e-6)


@cases("rate", 0, -1.0, math.nan, math.inf, True, "5")
def test_a_rate_that_does_not_slow_down_is_refused(rate) -> None:
    with pytest.raises(ValueError, match="rate must be a number above 0, got"):
        Exponential(rate=rate)


@cases(
    "fields, says",
    ({"alpha": 0}, r"alpha must be a number in \(0, 100\], got 0; the authors have 14"),
    ({"alpha": 101}, r"alpha must be .* in \(0, 100\], got 101"),
    ({"alpha": True}, "alpha must be .* got True"),
    ({"beta": 0}, "beta must be a number above 0, got 0"),
    ({"beta": 15}, "beta must be at most alpha, got beta=15 and alpha=14"),
    ({"alpha": 3}, "beta must be at most alpha, got beta=5.0 and alpha=3"),
)
def test_a_one_cycle_without_an_s_is_refused(fields, says) -> None:
    with pytest.raises(ValueError, match=says):
        OneCycle(**fields)  # type: ignore[arg-type]
