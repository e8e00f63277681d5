"""Checks that texts of files and configs steer no terminal, no LaTeX and no spreadsheet."""

import csv
import io

import pandas as pd
import pytest
from survey_records import dense, make, write_run

from harness.cli.status import _line
from harness.launch.error_messages import one_line
from harness.launch.sweeps.sweep import format_result
from harness.report import report
from harness.report.console import to_csv
from harness.run_folder.console import Progress
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import RunStatus
from harness.system.names import printable

NASTY = "=SNIP\x1b[2J\x1b]0;x\x07\n\r\u202e\u2028\x9b1m\u200b[red]"


@pytest.mark.parametrize("text", ["SNIP", "größe ± 1", "a\xa0b", "日本", ""])
def test_what_can_be_printed_stays(text) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", [NASTY, "\x00", "\x7f", "\ud800", "\u2066", "\ufeff"])
def test_nothing_else_is_left(text) -> None:
    assert printable(text).isprintable()


def test_a_report_of_such_records_holds_no_control_character(tmp_path, capsys) -> None:
    write_run(tmp_path / "0", dense(label=NASTY), make(label=NASTY, model=f"net{NASTY}"))
    write_run(tmp_path / "1", dense(model=f"net{NASTY}"), make(label=NASTY, model=f"net{NASTY}"))
    files = report(tmp_path)

    texts = [file.read_text() for file in files if file.suffix in (".csv", ".tex")]
    for text in [*texts, capsys.readouterr().out]:
        assert all(line.isprintable() for line in text.split("\n")), text
    (summary,) = [file for file in files if file.name == "summary.csv"]
    labels = {row["label"] for row in csv.DictReader(io.StringIO(summary.read_text()))}
    assert any(label.startswith("'=SNIP") for label in labels)


def test_a_text_that_a_spreadsheet_would_compute_is_text_and_numbers_stay(tmp_path) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a=b", ""]
    table = pd.DataFrame({"=label": texts, "change": [-1.5] * 8, "count": [-2] * 8})
    to_csv(table, tmp_path / "a.csv")

    with (tmp_path / "a.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["'=label", "change", "count"]
    assert [row[0] for row in rows] == [*(f"'{printable(text)}" for text in texts[:6]), "a=b", ""]
    assert {tuple(row[1:]) for row in rows} == {("-1.5", "-2")}


def test_lines_of_commands_are_lines() -> None:
    planned = type("Planned", (), {"label": NASTY})()
    lines = [
        format_result(planned, Outcome("failed", "", NASTY)),
        _line(RunStatus(NASTY, "", "failed", reason=NASTY)),
        one_line(ValueError(NASTY)),
    ]
    assert all(line.isprintable() for line in lines), lines


def test_the_bar_of_a_run_shows_its_label_in_one_line() -> None:
    stream = io.StringIO()
    with Progress("plain", stream) as progress:
        progress.log(make(label=NASTY, density_of=NASTY))
    scope, line = stream.getvalue().splitlines()
    assert scope.isprintable() and line.isprintable()
