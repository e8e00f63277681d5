"""Tests measured speed in the report: one set of conditions, with its interval."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import cases
from report_page import Page
from survey_records import dense, make, write_run

from harness.report import report
from harness.report.figures.draw import write_figures
from harness.report.figures.lines import AXES, lines, measured, primary
from harness.report.figures.sheet import Sheet
from harness.report.paper import Paper
from harness.report.read.load import load
from harness.report.read.survey import Survey
from harness.report.tables import print_tables

EAGER = {
    "batch_size": 1,
    "runtime": "eager",
    "dtype": "float32",
    "threads": 1,
    "device": "cpu Fast 9000",
    "torch": "2.14.1",
}
WHERE = "batch 1, eager, float32, threads 1, cpu Fast 9000, torch 2.14.1"


def event(speedup: float, level: int = 1, **changes: Any) -> dict[str, Any]:
    """Returns an event whose quartiles are a tenth below and above the median."""
    numbers = {f"speedup_{name}": speedup + by for name, by in (("median", 0), ("low", -0.1))}
    numbers |= {"speedup_high": speedup + 0.1, "milliseconds_median": 6 / speedup}
    numbers |= {"peak_bytes": 2**20, "file_bytes": 2**21}
    return {"event": "latency", "level": level, **EAGER, **numbers, **changes}


def timed(folder: Path, *events: dict[str, Any], **changes: Any) -> None:
    write_run(folder, dense(**changes), make(**changes))
    lines_ = [json.dumps(each) + "\n" for each in events]
    (folder / "timings.jsonl").write_text("".join(lines_) + '{"event": "latency", "le')


def pruned(survey: Survey) -> "pd.Series[Any]":
    (row,) = [row for _, row in survey.summary[survey.summary["level"] > 0].iterrows()]
    return row


def notes(survey: Survey) -> list[str]:
    return [note for note in survey.notes if "measured speed" in note or "latencies" in note]


def test_medians_are_averaged_over_seeds_and_the_interval_reaches_over_all_of_them(tmp_path):
    timed(tmp_path / "0", event(9.0), event(2.0))  # the newest counts
    timed(tmp_path / "1", event(3.0), seed=1)

    row = pruned(load(tmp_path))

    speedup = [row[f"measured_speedup_ratio_{name}"] for name in ("mean", "low", "high")]
    assert speedup == [2.5, 1.9, 3.1]
    assert row["latency_ms_mean"] == (6 / 2 + 6 / 3) / 2
    assert (row["peak_bytes_mean"], row["file_bytes_mean"]) == (2**20, 2**21)
    assert row["latency_where"] == WHERE


def test_numbers_of_other_conditions_are_not_mixed_in_and_a_note_lists_them(tmp_path) -> None:
    other = event(8.0, batch_size=64)
    timed(tmp_path / "0", event(2.0), other)
    timed(tmp_path / "1", event(4.0), seed=1)
    timed(tmp_path / "2", event(7.0, device="cpu Slow"), seed=2)

    survey = load(tmp_path)
    assert pruned(survey)["measured_speedup_ratio_mean"] == 3.0
    (note,) = notes(survey)
    assert f"is that of: {WHERE}; other measurements (--latency chooses): batch 64, eager" in note
    assert "cpu Slow" in note


@cases(
    "words, mean",
    ("batch 64", 8.0),
    ("Eager, batch 1", 2.0),
    ("cpu Slow", 7.0),
    ("float32", 2.0),  # of those that fit, the first of most results
)
def test_the_user_chooses_conditions_by_their_parts(words, mean, tmp_path) -> None:
    timed(tmp_path / "0", event(2.0), event(8.0, batch_size=64), event(7.0, device="cpu Slow"))
    survey = load(tmp_path, paper=Paper(latency=words))
    assert pruned(survey)["measured_speedup_ratio_mean"] == mean


@cases("words", "batch 6", "compile", "cpu")
def test_conditions_that_nobody_measured_are_refused_with_those_that_there_are(words, tmp_path):
    timed(tmp_path / "0", event(2.0))
    with pytest.raises(ValueError, match=f"--latency '{words}': no result was measured so; ") as no:
        load(tmp_path, paper=Paper(latency=words))
    assert str(no.value).endswith(f"use parts of: {WHERE}")


def test_what_was_not_measured_is_a_note_with_its_reason(tmp_path) -> None:
    failed = {"event": "latency", "level": 1, **EAGER, "batch_size": 64, "not_measured": "no room"}
    timed(tmp_path / "0", event(2.0), failed)
    survey = load(tmp_path)
    (note,) = notes(survey)
    assert note.startswith("1 latencies were not measured: batch 64, eager, ")
    assert note.endswith(": no room")
    assert pruned(survey)["measured_speedup_ratio_mean"] == 2.0


def test_measured_and_theoretical_speed_up_have_axes_of_their_own(tmp_path) -> None:
    timed(tmp_path / "0", event(2.0))
    axes = {axis.name: axis for axis in measured(next(load(tmp_path).sections()).pruned)}
    assert axes["speedup"].full_title == "Theoretical speed-up"
    assert axes["measured_speedup"].full_title == f"Measured speed-up ({WHERE})"
    assert axes["latency"].full_title == f"Measured latency, ms ({WHERE})"
    assert len({axis.column for axis in AXES}) == len(AXES)


def test_a_point_has_its_interval_to_both_sides_and_the_std_of_accuracy_upwards(tmp_path) -> None:
    timed(tmp_path / "0", event(2.0))
    timed(tmp_path / "1", event(3.0), seed=1)
    section = next(load(tmp_path).sections())
    axis = next(axis for axis in measured(section.pruned) if axis.name == "measured_speedup")
    ((_, line),) = lines(
        section.pruned, axis, primary(section.measure), [section.pruned["label"].iloc[0]]
    )
    point = line.iloc[0]
    assert (point["x"], round(point["less"], 9), round(point["more"], 9)) == (2.5, 0.6, 0.6)
    assert point["error"] == 100 * section.pruned["top1_fraction_std"].iloc[0]


def test_a_printed_point_has_bars_in_both_directions_and_its_conditions_below(tmp_path) -> None:
    timed(tmp_path / "0", event(2.0))
    timed(tmp_path / "1", event(3.0), top1=0.5, seed=1)
    survey = load(tmp_path, paper=Paper(panels=("speedup", "measured_speedup")))
    sheets: list[Sheet] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sheet, "save", lambda sheet, path: sheets.append(sheet) or [])
        write_figures(survey, tmp_path)
    theoretical, with_clock = sheets[0].panels
    bars = [len(panel.containers[0].lines[2]) for panel in (theoretical, with_clock)]
    assert bars == [1, 2]  # of y; of x and y
    (across, _) = with_clock.containers[0].lines[2]
    assert across.get_segments()[0][:, 0] == pytest.approx([1.9, 3.1])
    assert " ".join(with_clock.get_xlabel().split()) == f"Measured speed-up ({WHERE})"


def test_the_speed_is_in_figures_tables_page_and_files_with_its_conditions(
    tmp_path, capsys
) -> None:
    same = {"requested_compression": 8.0, "level": 2}
    write_run(tmp_path / "0", dense(), make(), make(**same))
    slow = "0.50 of the theoretical speed-up of 4: use structure.round_to=16"
    events = [event(1.0, level=0), event(2.0, why_slow=slow), event(3.0, level=2, why_slow=None)]
    (tmp_path / "0" / "timings.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in events)
    )

    files = {path.name: path for path in report(tmp_path)}
    print_tables(load(tmp_path))

    (page,) = [path for name, path in files.items() if name == "report.html"]
    data = Page(page).data["sections"]["section-0"]
    point = data["rows"]["points"][0]
    ends = [point[f"measured_speedup{end}"] for end in ("", "_low", "_high")]
    assert ends == [2.0, 1.9, 2.1]
    assert point["latency"] == 3.0
    assert {"measured_speedup", "latency"} < set(data["charts"])
    text = page.read_text()
    assert f"measured with {WHERE}" in text and "2x (1.9 to 2.1)" in text and slow in text
    printed = capsys.readouterr().out
    assert f"median of passes (quartiles): {WHERE}" in printed
    assert "1x (0.9 to 1.1)" in printed and "3x (2.9 to 3.1)" in printed
    (latex,) = [path for name, path in files.items() if name.startswith("speed-")]
    written = latex.read_text()
    assert f"Measured with {WHERE}." in written
    assert r"\textbf{2.00 (1.90--2.10)} & \textbf{3.00 (2.90--3.10)}" in written
    summary = pd.read_csv(files["summary.csv"])
    assert summary["measured_speedup_ratio_high"].tolist() == [1.1, 2.1, 3.1]
    assert set(summary["latency_where"]) == {WHERE}
    assert summary["why_slow"].fillna("").tolist() == ["", slow, ""]
