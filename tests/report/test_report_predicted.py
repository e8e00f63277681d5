"""Tests what was asked, predicted and measured beside each other in the report."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
from survey_records import dense, make, notes, only, pruned, write_run

from harness.report import report
from harness.report.read.load import load


def asked(folder: Path, **changes: object) -> None:
    """Writes a run that asked for 2x by a table, which predicts 1.95x for it."""
    target = {"requested_counts": "nanoseconds", "requested_compression": 2.0}
    record = make(**target, table_milliseconds=10.0, table_speedup=1.95)
    write_run(folder, dense(**target | {"requested_compression": 1.0}), replace(record, **changes))
    event = '{"event": "latency", "level": 1, "batch_size": 1, "speedup_median": 1.5}\n'
    (folder / "timings.jsonl").write_text(event)


def test_what_was_asked_predicted_and_measured_stands_in_one_row(tmp_path) -> None:
    asked(tmp_path / "0")
    survey = load(tmp_path)
    row = only(survey)

    numbers = ("requested_compression_ratio", "table_speedup_ratio_mean")
    assert [*row[[*numbers, "measured_speedup_ratio_mean"]]] == [2.0, 1.95, 1.5]
    assert next(survey.sections()).requested_ratio == "speed-up by latency table"
    said = notes(survey)
    assert any(
        "the requested ratio is dense / left milliseconds by a latency table of: SNIP" in s
        for s in said
    )
    assert not any("requested compression differ" in s for s in said)  # 5 % beside it

    asked(tmp_path / "1", seed=1, table_speedup=1.5)
    assert any("requested compression differ" in s for s in notes(load(tmp_path)))


def test_a_page_has_the_prediction_beside_the_measurement(tmp_path) -> None:
    asked(tmp_path / "runs" / "0")
    report(tmp_path / "runs", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Speed-up by latency table" in text and ">1.95x<" in text


def test_runs_without_a_table_have_no_prediction(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make())
    (value,) = pruned(load(tmp_path))["table_speedup_ratio_mean"]
    assert pd.isna(value)
