"""Tests statistics on examples small enough to work out by hand, or with published values."""

import math

import numpy as np
import pytest
from conftest import cases

from harness.report.significance import stats


def test_up_to_three_values_the_interval_reaches_from_the_least_to_the_greatest() -> None:
    # Three draws are all the least value with chance 1/27 = 3.7 %: more than the 2.5 % cut off.
    found = stats.intervals([[0.9, 0.7], [0.2, 0.1, 0.6]])
    assert found == pytest.approx(np.array([[0.7, 0.9], [0.1, 0.6]]))


def test_of_many_values_the_interval_is_that_of_the_normal_approximation() -> None:
    values = np.arange(100) / 100
    ((low, high),) = stats.intervals([values])
    # 1.96 x std / sqrt(n), std = 0.2887 for 0, 0.01, ..., 0.99.
    assert (low, high) == pytest.approx((0.495 - 0.0566, 0.495 + 0.0566), abs=0.003)


def test_one_value_or_none_has_no_interval_and_equal_ones_have_no_width() -> None:
    found = stats.intervals([[0.5], [], [0.1, 0.1, 0.1]])
    assert np.isnan(found[:2]).all()
    assert found[2].tolist() == [0.1, 0.1]


def test_an_interval_depends_on_no_other_cell_and_on_no_order() -> None:
    cell = [0.3, 0.1, 0.4, 0.15]
    others = [[float(n), n + 1.0, n + 2.0, n + 5.0] for n in range(700)]
    (alone,) = stats.intervals([cell])
    among = stats.intervals([*others, cell[::-1], [0.5, 0.6]])
    assert among[700].tolist() == alone.tolist()


def test_paired_t_is_that_of_a_table() -> None:
    # mean 2, std 1, n 3: t = 2 sqrt(3) = 3.464; with 2 degrees of freedom
    # p = 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14).
    assert stats.paired_p([1, 2, 3]) == pytest.approx(1 - math.sqrt(12 / 14))
    assert stats.effect_size([1, 2, 3]) == 2


@cases(
    "differences, p",
    # All signs equal: 2 of 2^6 signings are as extreme.
    ([1, 2, 3, 4, 5, 6], 2 / 64),
    # W- = 1; of 64 signings those with W- in (0, 1), and their mirrors.
    ([-1, 2, 3, 4, 5, 6], 4 / 64),
    # Ties, exact all the same: ranks 1.5, 1.5, 3, 4, 5.
    ([0.1, 0.1, 0.3, 0.4, 0.5], 2 / 32),
    # Without the zero, three are left.
    ([0, 1, 2, 3], 2 / 8),
    ([1, 1, 1], 2 / 8),
)
def test_wilcoxon_counts_signs(differences, p) -> None:
    assert stats.paired_p(differences, "wilcoxon") == pytest.approx(p)


@pytest.mark.parametrize("test", stats.TESTS)
def test_differences_that_test_nothing_have_a_stated_result(test) -> None:
    assert math.isnan(stats.paired_p([], test)) and math.isnan(stats.paired_p([3.0], test))
    assert stats.paired_p([0.0, 0.0, 0.0], test) == 1
    # Equal but for rounding.
    equal = [100 * (0.93 - 0.90), 100 * (0.53 - 0.50), 3.0]
    assert len(set(equal)) > 1
    assert math.isnan(stats.paired_p(equal, "t"))
    assert stats.paired_p(equal, "wilcoxon") == 0.25


def test_an_effect_without_spread_has_no_size_but_no_effect_has_size_zero() -> None:
    assert stats.effect_size([0.0, 0.0]) == 0
    assert math.isnan(stats.effect_size([2.0, 2.0]))
    assert math.isnan(stats.effect_size([2.0]))


def test_welch_is_students_t_for_equal_spreads() -> None:
    # Means 2 and 4, both std 1, n 3: t = 2 / sqrt(2 / 3), 4 degrees of freedom.
    t = 2 / math.sqrt(2 / 3)
    x = t / math.sqrt(t * t + 4)
    assert stats.unpaired_p([1, 2, 3], [3, 4, 5]) == pytest.approx(1 - x * (1 + (1 - x * x) / 2))


def test_welch_takes_each_spread_by_itself() -> None:
    # Means 1 and 5, squared standard errors 0 and 12 / 4: t = 4 / sqrt(3) with 3 degrees of
    # freedom, where p = 1 - 2 / pi x (atan(a) + a / (1 + a^2)) for a = t / sqrt(3).
    a = 4 / 3
    p = 1 - 2 / math.pi * (math.atan(a) + a / (1 + a * a))
    assert stats.unpaired_p([1, 1, 1, 1], [2, 8, 2, 8]) == pytest.approx(p)


def test_welch_without_a_spread_or_with_one_value_has_a_stated_result() -> None:
    assert math.isnan(stats.unpaired_p([1], [1, 2]))
    assert math.isnan(stats.unpaired_p([1, 1], [2, 2]))
    assert stats.unpaired_p([1, 1], [1, 1]) == 1


def test_holm_leaves_out_what_has_no_p_and_never_exceeds_one() -> None:
    found = stats.holm([0.02, math.nan, 0.9, 0.6])
    assert found.tolist() == pytest.approx([0.06, math.nan, 1.0, 1.0], nan_ok=True)
    assert stats.holm([]).tolist() == []


def test_holm_keeps_the_order_of_p() -> None:
    # 3 x 0.02 = 0.06, then 2 x 0.021 = 0.042, which must not overtake it.
    assert stats.holm([0.021, 0.02, 0.5]).tolist() == pytest.approx([0.06, 0.06, 0.5])


def test_equal_scores_share_their_ranks_and_failed_ones_are_last_together() -> None:
    nan = math.nan
    found = stats.ranks([[0.3 - 0.2, 0.2 - 0.1, 0.0], [nan, 0.5, nan]])
    assert found.tolist() == [[1.5, 1.5, 3.0], [2.5, 1.0, 2.5]]


def test_friedman_of_four_equal_rankings_of_three() -> None:
    # 12 x 4 / (3 x 4) x (1 + 4 + 9 - 3 x 16 / 4) = 8; with 2 degrees of freedom p = exp(-8 / 2).
    found = stats.friedman_p(np.array([[1.0, 2.0, 3.0]] * 4))
    assert found == pytest.approx(math.exp(-4))


def test_friedman_has_no_answer_for_two_methods_or_one_setting_and_one_for_equal_ranks() -> None:
    assert math.isnan(stats.friedman_p(np.array([[1.0, 2.0]] * 5)))
    assert math.isnan(stats.friedman_p(np.array([[1.0, 2.0, 3.0]])))
    assert stats.friedman_p(np.full((4, 3), 2.0)) == 1


@cases("methods, q", (2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164))
def test_nemenyi_q_is_that_of_the_published_table(methods, q) -> None:
    # Demsar 2006, table 5 (a), two-tailed, alpha = 0.05.
    assert stats.nemenyi_q(methods) == pytest.approx(q, abs=1e-3)
    expected = q * math.sqrt(methods * (methods + 1) / 60)
    assert stats.critical_difference(methods, 10) == pytest.approx(expected, rel=1e-3)
