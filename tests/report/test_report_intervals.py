"""Intervals, change against dense and few seeds, as the summary has them."""

import math
from pathlib import Path

import pandas as pd
import pytest
from conftest import cases
from survey_records import dense, make, only, write_run

from harness.report import report
from harness.report.read.load import load
from harness.report.significance.summary import cell


def write(folder: Path, dense_top1: list[float], top1: list[float]) -> None:
    for seed, (before, after) in enumerate(zip(dense_top1, top1, strict=True)):
        rows = dense(seed=seed, top1=before), make(seed=seed, top1=after)
        write_run(folder / str(seed), *rows)


def test_the_interval_of_three_seeds_is_their_range(tmp_path) -> None:
    write(tmp_path, [0.9, 0.9, 0.9], [0.8, 0.86, 0.83])
    row = only(load(tmp_path))
    assert (row["top1_fraction_low"], row["top1_fraction_high"]) == pytest.approx((0.8, 0.86))
    assert not row["few_seeds"]


def test_change_is_against_the_dense_network_of_the_same_seed_in_points(tmp_path) -> None:
    write(tmp_path, [0.90, 0.80, 0.50], [0.89, 0.78, 0.47])
    row = only(load(tmp_path))
    # -1, -2 and -3 points; between seeds accuracies differ by 40.
    assert row["change_points_mean"] == pytest.approx(-2)
    assert row["change_points_std"] == pytest.approx(1)
    ends = row["change_points_low"], row["change_points_high"]
    assert ends == pytest.approx((-3, -1))
    ratio = (0.89 / 0.90 + 0.78 / 0.80 + 0.47 / 0.50) / 3
    assert row["relative_top1_ratio_mean"] == pytest.approx(ratio)


def test_a_failed_seed_is_in_no_interval(tmp_path) -> None:
    write(tmp_path, [0.9, 0.9, 0.9], [0.8, math.nan, 0.7])
    row = only(load(tmp_path))
    assert (row["top1_fraction_low"], row["top1_fraction_high"]) == pytest.approx((0.7, 0.8))
    assert (row["seeds"], row["few_seeds"]) == (2, True)


def test_without_a_dense_network_there_is_no_change(tmp_path) -> None:
    write_run(tmp_path / "0", make())
    row = only(load(tmp_path))
    columns = ["change_points_mean", "change_points_low", "relative_top1_ratio_mean"]
    assert row[columns].isna().all()


def test_a_seed_without_a_dense_network_is_only_in_the_interval_of_accuracy(tmp_path) -> None:
    write(tmp_path, [0.9, 0.9], [0.8, 0.86])
    write_run(tmp_path / "2", make(seed=2, top1=0.7))
    row = only(load(tmp_path))
    assert (row["top1_fraction_low"], row["change_points_low"]) == pytest.approx((0.7, -10))


@cases(
    "top1, text, few",
    ([0.9], "90.00 (n=1)", True),
    ([0.9, 0.92], "91.00 ± 1.41 (n=2)", True),
    ([0.9, 0.92, 0.94], "92.00 ± 2.00 (3)", False),
    ([math.nan] * 3, "failed (3)", False),
)
def test_fewer_than_three_seeds_are_marked_and_counted_in_a_note(top1, text, few, tmp_path) -> None:
    write(tmp_path, [0.95] * len(top1), top1)
    survey = load(tmp_path)
    assert cell(only(survey)) == text
    said = [note for note in survey.notes if "fewer than 3 seeds" in note]
    assert [note[:25] for note in said] == (["1 of 1 results have fewer"] if few else [])


def test_intervals_are_in_the_csv(tmp_path) -> None:
    write(tmp_path, [0.9, 0.9, 0.9], [0.8, 0.86, 0.83])
    report(tmp_path)
    row = pd.read_csv(tmp_path / "report" / "summary.csv").iloc[-1]
    assert (row["top1_fraction_low"], row["change_points_high"]) == pytest.approx((0.8, -4))
    assert row["few_seeds"] == 0
