"""Tests collapse in the report: empty layers, cut models, dead units."""

import math
from typing import Any

import pandas as pd
import pytest
from report_page import Page
from survey_records import dense, make, notes, only, write_run

from harness.report import report
from harness.report.read.load import load
from harness.run_folder.records import Record


def collapsed(**changes: Any) -> Record:
    lost = {"density_of_weights": 0.01, "effective_density": 0.0, "dead_units": {"a": 4, "b": 2}}
    return make(**{**lost, "empty_layers": ["a.weight"], **changes})


UNMEASURED = {"effective_density": None, "empty_layers": None, "dead_units": None}


def test_collapse_is_noted_with_method_compression_and_layers(tmp_path) -> None:
    write_run(tmp_path / "0", collapsed(seed=0, empty_layers=["a.weight", "b.weight"]))
    write_run(tmp_path / "1", collapsed(seed=1, effective_density=0.002))
    write_run(tmp_path / "2", make(seed=2, density_of_weights=0.01, effective_density=0.004))

    survey = load(tmp_path)

    # Means: (0.01 + 0.01 + 0.01) / 3 and (0 + 0.002 + 0.004) / 3.
    assert notes(survey) == [
        "SNIP on lenet5, digits at 4x: no weight is left in a, b (2 of 3 seeds); no path from "
        "input to output (1 of 3 seeds); of all weights 1 % are kept and 0.2 % connect input and "
        "output"
    ]


def test_a_failed_seed_that_collapsed_is_counted_among_all_seeds(tmp_path) -> None:
    write_run(tmp_path / "0", collapsed(seed=0, top1=math.nan))
    write_run(tmp_path / "1", make(seed=1))
    (note,) = [note for note in load(tmp_path).notes if "no weight is left" in note]
    assert "in a (1 of 2 seeds); no path from input to output (1 of 2 seeds)" in note


def test_units_without_input_or_output_alone_are_numbers_and_no_note(tmp_path) -> None:
    write_run(tmp_path / "0", make(seed=0, dead_units={"fc.weight": 3, "b.weight": 2}))
    write_run(tmp_path / "1", make(seed=1, dead_units={}))
    survey = load(tmp_path)
    assert notes(survey) == []
    assert only(survey)["dead_units_count_mean"] == 2.5


def test_collapse_is_in_the_csv_and_in_the_table_of_the_page(tmp_path) -> None:
    of = {"density": 0.005, "density_of": "weights, without b"}
    write_run(tmp_path / "0", dense(), collapsed(effective_density=0.0025, **of))
    report(tmp_path)

    summary = pd.read_csv(tmp_path / "report" / "summary.csv").iloc[-1]
    assert summary["effective_density_fraction_mean"] == 0.0025
    assert (summary["density_fraction_mean"], summary["density_of"]) == (
        0.005,
        "weights, without b",
    )
    assert (summary["dead_units_count_mean"], summary["empty_layers"]) == (6, "a")
    assert (summary["collapsed_seeds"], summary["cut_seeds"]) == (1, 0)
    row = pd.read_csv(tmp_path / "report" / "records.csv").iloc[-1]
    assert (row["effective_density"], row["empty_layers"]) == (0.0025, '["a.weight"]')
    assert row["dead_units"] == '{"a": 4, "b": 2}'
    page = Page(tmp_path / "report" / "report.html")
    (shown,) = page.numbers
    assert (shown["Density, %"], shown["Density is of"]) == ("0.5", "weights, without b")
    assert shown["All weights kept, %"] == "1"
    assert shown["Weights that connect input and output, %"] == "0.25"
    assert shown["Units without live input or output"] == "6"
    assert shown["Layers without a weight"] == "a"
    assert "no weight is left in a (1 of 1 seeds)" in page.text


@pytest.mark.parametrize("others", [[], [make(seed=1)]])
def test_records_that_have_not_measured_collapse_show_nothing_of_it(others, tmp_path) -> None:
    for record in [make(**UNMEASURED), *others]:
        write_run(tmp_path / str(record.seed), record)

    survey = load(tmp_path)
    report(tmp_path)

    row, measured = only(survey), bool(others)
    assert notes(survey) == []
    assert math.isnan(row["effective_density_fraction_mean"]) != measured
    assert math.isnan(row["dead_units_count_mean"]) != measured
    first = pd.read_csv(tmp_path / "report" / "records.csv").iloc[0]
    assert first[list(UNMEASURED)].isna().all()
    (shown,) = Page(tmp_path / "report" / "report.html").numbers
    assert (shown["Weights that connect input and output, %"] != "-") == measured
    assert (shown["Units without live input or output"] != "-") == measured
