"""Odd but legal input: what failed throughout, what is damaged beside the records."""

import math
from pathlib import Path

import pytest
from test_report import dense, make, write_run

from harness.report import report
from harness.report.lint import check
from harness.report.survey import load

NAN = {"top1": math.nan, "top5": math.nan, "loss": math.nan}


def test_a_survey_in_which_all_has_failed_is_reported_and_checked(tmp_path: Path) -> None:
    for seed in range(2):
        nothing = {**NAN, "seed": seed, "validation_loss": None}
        write_run(tmp_path / str(seed), dense(**nothing), make(**nothing))
    assert report(tmp_path)
    rules = check(load(tmp_path)).set_index("item")
    assert rules.loc["same dense weights", "evidence"].endswith("(2 in all)")
