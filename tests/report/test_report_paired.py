"""Checks differences between methods, seed by seed, against values by hand."""

import math

import pandas as pd
import pytest
from paired_records import LRR, table, write
from report_page import Page
from survey_records import dense, make, write_run

from harness.cli.report import main
from harness.report import report
from harness.report.read.load import load
from harness.report.significance.paired import matrix


def test_differences_are_taken_seed_by_seed(tmp_path) -> None:
    write(tmp_path, {0: 0.5, 1: 0.7, 2: 0.9})
    write(tmp_path, {0: 0.51, 1: 0.72, 2: 0.93}, **LRR)

    survey = load(tmp_path, "SNIP")

    (row,) = survey.paired.to_dict("records")
    # Of +1, +2 and +3 points; between seeds the accuracies differ by 20.
    assert row["top1_difference_points_mean"] == pytest.approx(2.0)
    assert row["top1_difference_points_std"] == pytest.approx(1.0)
    assert (row["seeds"], row["failed_seeds"], row["against"]) == (3, 0, "SNIP")
    assert table(tmp_path) == {LRR["label"]: {"4x": "+2.00 ± 1.00 (3)"}}
    assert table(tmp_path, LRR["label"]) == {"SNIP": {"4x": "-2.00 ± 1.00 (3)"}}


def test_only_seeds_that_both_have_are_compared(tmp_path) -> None:
    write(tmp_path, {0: 0.5, 1: 0.7, 9: 0.1})
    write(tmp_path, {0: 0.52, 1: 0.72, 8: 0.9}, **LRR)
    assert table(tmp_path)[LRR["label"]]["4x"] == "+2.00 ± 0.00 (n=2)"


def test_fewer_than_two_common_seeds_are_shown_with_their_number(tmp_path) -> None:
    write(tmp_path, {0: 0.5})
    write(tmp_path, {0: 0.475, 1: 0.9}, label="one", setting="b")
    write(tmp_path, {1: 0.9}, label="none", setting="c")
    assert table(tmp_path) == {"none": {"4x": "- (n=0)"}, "one": {"4x": "-2.50 (n=1)"}}
    one = load(tmp_path, "SNIP").paired.set_index("label").loc["one"]
    assert one["seeds"] == 1 and math.isnan(one["top1_difference_points_std"])


def test_a_seed_that_failed_on_either_side_is_counted_and_not_averaged(tmp_path) -> None:
    write(tmp_path, {0: 0.5, 1: math.nan, 2: 0.5, 3: 0.5})
    write(tmp_path, {0: 0.51, 1: 0.5, 2: math.nan, 3: 0.51}, **LRR)
    write(tmp_path, {2: math.nan}, label="lost", setting="c")
    assert table(tmp_path) == {
        LRR["label"]: {"4x": "+1.00 ± 0.00 (n=2, 2 failed)"},
        "lost": {"4x": "failed (1)"},
    }


def test_a_difference_that_rounds_to_nothing_has_no_minus(tmp_path) -> None:
    write(tmp_path, {0: 0.5})
    write(tmp_path, {0: 0.499999}, **LRR)
    assert table(tmp_path)[LRR["label"]]["4x"] == "+0.00 (n=1)"


def test_compressions_models_and_data_sets_are_never_mixed(tmp_path) -> None:
    for asked, gain in ((2.0, 0.01), (4.0, 0.02)):
        write(tmp_path, {0: 0.5}, requested_compression=asked)
        write(tmp_path, {0: 0.5 + gain}, **LRR, requested_compression=asked)
    write(tmp_path, {0: 0.1}, model="other")
    write(tmp_path, {0: 0.4}, **LRR, model="other")
    write(tmp_path, {0: 0.1}, data="other")
    write(tmp_path, {0: 0.6}, **LRR, data="other")

    found = [matrix(part.paired).to_dict("index") for part in load(tmp_path, "SNIP").sections()]

    assert [part[LRR["label"]] for part in found] == [
        {"2x": "+1.00 (n=1)", "4x": "+2.00 (n=1)"},
        {"4x": "+50.00 (n=1)"},
        {"4x": "+30.00 (n=1)"},
    ]


def test_a_compression_that_the_reference_lacks_has_no_common_seed(tmp_path) -> None:
    write(tmp_path, {0: 0.5})
    write(tmp_path, {0: 0.5}, **LRR, requested_compression=8.0)
    assert table(tmp_path) == {LRR["label"]: {"8x": "- (n=0)"}}


def test_where_the_reference_has_no_result_nothing_is_compared_and_it_is_told(tmp_path) -> None:
    write(tmp_path, {0: 0.5})
    write(tmp_path, {0: 0.5}, **LRR)
    write(tmp_path, {0: 0.5}, **LRR, model="other")
    survey = load(tmp_path, "SNIP")
    assert survey.paired["model"].tolist() == ["lenet5"]
    assert "SNIP has no result on other, digits: nothing to compare there" in survey.notes
    assert not [note for note in survey.notes if note.startswith("against SNIP on other")]


def test_settings_of_one_label_are_compared_by_their_own_labels(tmp_path) -> None:
    write(tmp_path, {0: 0.5}, setting="aaaa1")
    write(tmp_path, {0: 0.6}, setting="bbbb1")
    assert table(tmp_path, "SNIP [aaaa]") == {"SNIP [bbbb]": {"4x": "+10.00 (n=1)"}}


@pytest.mark.parametrize("unknown", ["snip", "Dense", ""])
def test_an_unknown_label_is_one_line_with_those_there_are(unknown, tmp_path, capsys) -> None:
    write_run(tmp_path / "dense", dense(), make())
    write(tmp_path, {0: 0.5}, **LRR)

    assert main([str(tmp_path), "--against", unknown]) == 2

    said = capsys.readouterr().err
    assert said == (
        f"harness: --against {unknown!r}: no result has this label; use one of: "
        "'Magnitude (lr_rewind)', 'SNIP'\n"
    )
    assert not (tmp_path / "report").exists()


def test_the_table_is_printed_written_and_on_the_page(tmp_path, capsys) -> None:
    attack = {"label": "<b>base</b>"}
    write(tmp_path, {0: 0.5, 1: 0.5}, **attack)
    write(tmp_path, {0: 0.51, 1: 0.51}, **LRR)

    assert main([str(tmp_path), "--against", "<b>base</b>"]) == 0

    printed = capsys.readouterr().out
    assert "top-1 minus that of <b>base</b> with the same seed, in points: mean ± std" in printed
    assert "+1.00 ± 0.00 (n=2)" in printed
    assert str(tmp_path / "report" / "paired.csv") in printed.splitlines()
    rows = pd.read_csv(tmp_path / "report" / "paired.csv").to_dict("records")
    assert [(row["label"], row["against"], row["seeds"]) for row in rows] == [
        (LRR["label"], "<b>base</b>", 2)
    ]
    page = Page(tmp_path / "report" / "report.html")
    (caption,) = [name for name in page.tables if name.startswith("Top-1 minus that of <b>base")]
    assert page.tables[caption][1][1].startswith("+1.00 ± 0.00 (n=2)")
    assert "--against" in page.text


def test_without_a_reference_nothing_of_it_is_written(tmp_path) -> None:
    write(tmp_path, {0: 0.5})
    write(tmp_path, {0: 0.5}, **LRR)
    names = {path.name for path in report(tmp_path)}
    assert "paired.csv" not in names
    names = {path.name for path in report(tmp_path, against="SNIP")}
    assert "paired.csv" in names
