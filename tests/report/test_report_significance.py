"""Tests of the paired differences, corrected for how many there are."""

import math
from pathlib import Path

import pandas as pd
import pytest
from conftest import cases
from paired_records import LRR, table, write
from survey_records import make, write_run

from harness.cli.report import main
from harness.report.read.load import load


def against(folder: Path, gains: dict[str, list[float]]) -> None:
    """Writes SNIP at 50 % for every seed, and methods that differ from it by these points."""
    write(folder, dict.fromkeys(range(max(map(len, gains.values()))), 0.5))
    for label, points in gains.items():
        accuracies = {seed: 0.5 + gain / 100 for seed, gain in enumerate(points)}
        write(folder, accuracies, label=label, setting=label)


def test_a_difference_has_interval_p_and_effect_size(tmp_path) -> None:
    against(tmp_path, {"A": [1, 2, 3]})
    (row,) = load(tmp_path, "SNIP").paired.to_dict("records")
    ends = row["top1_difference_points_low"], row["top1_difference_points_high"]
    assert ends == pytest.approx((1, 3))
    # t = 2 sqrt(3), 2 degrees of freedom.
    assert row["p"] == row["p_holm"] == pytest.approx(1 - math.sqrt(12 / 14))
    assert (row["test"], row["comparisons"], row["few_seeds"]) == ("t", 1, False)
    assert row["d_z"] == pytest.approx(2)


def test_p_is_corrected_over_the_comparisons_of_a_model_and_data_set(tmp_path) -> None:
    against(tmp_path, {"A": [1.0, 1.1, 0.9], "B": [0.5, -0.5, 0.1], "one": [2.0]})
    write_run(tmp_path / "x", make(model="other", top1=0.4))
    write_run(tmp_path / "y", make(model="other", top1=0.6, **LRR))

    survey = load(tmp_path, "SNIP")

    rows = survey.paired.set_index("label")
    # Of three there, one has a single seed and no p.
    assert rows["comparisons"].to_dict() == {"A": 2, "B": 2, "one": 2, LRR["label"]: 0}
    assert rows.loc["A", "p_holm"] == pytest.approx(2 * rows.loc["A", "p"])
    assert rows.loc["B", "p_holm"] == pytest.approx(rows.loc["B", "p"])
    said = "against SNIP on lenet5, digits: paired t test, Holm's correction over 2 comparisons"
    assert said in survey.notes
    assert not [note for note in survey.notes if "no p in" in note]


def test_what_holds_after_the_correction_is_marked(tmp_path) -> None:
    # p = 0.0033 and 0.03, twice the latter 0.06: then it has no mark.
    gains = {"A": [1.0, 1.1, 0.9], "B": [1.0, 1.5, 0.7], "C": [1.0, -1.0, 0.4]}
    against(tmp_path, gains)
    assert table(tmp_path) == {
        "A": {"4x": "+1.00 ± 0.10 (3) *"},
        "B": {"4x": "+1.07 ± 0.40 (3)"},
        "C": {"4x": "+0.13 ± 1.03 (3)"},
    }
    rows = load(tmp_path, "SNIP").paired.set_index("label")
    assert rows.loc["B", "p"] < 0.05 < rows.loc["B", "p_holm"]


def test_wilcoxon_says_where_it_cannot_reach_the_level(tmp_path) -> None:
    against(tmp_path, {"A": [1, 2, 3, 4, 5], "B": [1, 2, 3, 4, 5, 6]})
    survey = load(tmp_path, "SNIP", "wilcoxon")
    assert survey.paired["p"].tolist() == [2 / 32, 2 / 64]
    (said,) = [note for note in survey.notes if "cannot reach" in note]
    assert "in 1 of 2 comparisons Wilcoxon's test cannot reach 0.05" in said
    assert "with 5 seeds its smallest p is 0.0625" in said


def test_wilcoxon_says_where_only_the_correction_keeps_it_from_the_level(tmp_path) -> None:
    gains = {name: [1, 2, 3, 4, 5, 6] for name in "ABC"}
    against(tmp_path, {name: gains[name] for name in "A"})
    assert not [note for note in load(tmp_path, "SNIP", "wilcoxon").notes if "none of" in note]
    against(tmp_path / "more", gains)
    survey = load(tmp_path / "more", "SNIP", "wilcoxon")
    # 2 / 2^6 three times, which Holm makes 6 / 2^6.
    assert survey.paired["p_holm"].tolist() == [6 / 64] * 3
    (said,) = [note for note in survey.notes if "none of" in note]
    assert "none of 3 comparisons can reach 0.05 by Wilcoxon's test: 3 x 0.03125" in said
    assert not [note for note in load(tmp_path / "more", "SNIP").notes if "none of" in note]


def test_equal_differences_have_no_p_of_t_and_it_is_told(tmp_path) -> None:
    against(tmp_path, {"A": [3, 3, 3], "B": [0, 0, 0]})
    survey = load(tmp_path, "SNIP")
    rows = survey.paired.set_index("label")
    assert math.isnan(rows.loc["A", "p_holm"]) and math.isnan(rows.loc["A", "d_z"])
    assert (rows.loc["B", "p_holm"], rows.loc["B", "d_z"]) == (1, 0)
    assert any("no p in 1 comparisons with equal differences" in note for note in survey.notes)


def test_fewer_than_three_common_seeds_are_flagged(tmp_path) -> None:
    against(tmp_path, {"A": [1, 2, 3], "B": [1, 3]})
    survey = load(tmp_path, "SNIP")
    assert survey.paired["few_seeds"].tolist() == [False, True]
    said = [note for note in survey.notes if note.startswith("against") and "fewer" in note]
    assert said[0].startswith("against SNIP on lenet5, digits: 1 of 2 results have fewer than 3")


def test_the_test_is_chosen_on_the_command_line(tmp_path, capsys) -> None:
    against(tmp_path, {"A": [1, 2, 3]})
    assert main([str(tmp_path), "--against", "SNIP", "--test", "wilcoxon"]) == 0
    assert "Wilcoxon's signed-rank test, Holm's correction over 1" in capsys.readouterr().out
    row = pd.read_csv(tmp_path / "report" / "paired.csv").iloc[0]
    assert (row["test"], row["p"]) == ("wilcoxon", 0.25)


def test_an_unknown_test_is_refused_by_name(tmp_path) -> None:
    against(tmp_path, {"A": [1]})
    with pytest.raises(ValueError, match="--test must be one of t, wilcoxon, got 'sign'"):
        load(tmp_path, "SNIP", "sign")


@cases(
    "options, said",
    (["--test", "t"], "--test names the test of --against; give --against LABEL too"),
    (["--compare", "x", "--against", ""], "--compare and --against do not go together"),
    (["--lint", "--compare", "x"], "--lint and --compare do not go together"),
)
def test_options_that_do_not_go_together_are_refused_by_name(options, said, tmp_path, capsys):
    assert main([str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
