"""Options of `pruning-harness report` that choose what is shown."""

import io
from pathlib import Path

import pandas as pd
import pytest
from conftest import cases
from report_page import Page
from survey_records import dense, make, write_run

from harness.cli.report import main

OWN = """\
# paper: me2026
# authors: Me
# year: 2026
# title: Our runs of last year
# venue: unpublished
# source: own
# where: notebook
# model: lenet_300_100
# data: mnist
# structure: unstructured
# retraining: fine-tune
# schedule: one-shot
# size_definition: density_prunable
# statistic: mean
# recipe: Adam, 20 epochs
method,size,accuracy,std,n
<b>Own</b>,0.1,98.2,0.1,5
"""


def run(folder: Path, data: str = "mnist") -> None:
    place = {"model": "lenet_300_100", "data": data}
    place |= {f"{key}_published_as": name for key, name in place.items()}
    write_run(folder, dense(**place), make(**place))


def points(folder: Path) -> dict[str, float]:
    rows = Page(folder / "report" / "report.html").data["sections"]["section-0"]["rows"]
    return {row["label"]: row["compression"] for row in rows["published"]}


def height(png: Path) -> int:
    return int.from_bytes(png.read_bytes()[20:24], "big")


def test_published_results_stand_beside_runs_of_the_same_model_and_data(tmp_path) -> None:
    run(tmp_path / "0")
    assert main([str(tmp_path)]) == 0
    found = points(tmp_path)
    # Han et al. 2015: 12 times fewer parameters.
    assert 11.5 < found["Magnitude, layer thresholds (Han 2015)"] < 12.5
    table = pd.read_csv(tmp_path / "report" / "published.csv")
    assert set(table["label"]) == set(found)


def test_a_part_of_a_data_set_is_another_one_unless_it_is_asked_for(tmp_path, capsys) -> None:
    run(tmp_path / "0", data="mnist5k")
    assert main([str(tmp_path)]) == 0
    assert points(tmp_path) == {}
    figure = tmp_path / "report" / "accuracy-lenet_300_100-mnist5k.png"
    before = height(figure)
    assert "--published-for mnist5k=mnist" in capsys.readouterr().out
    assert main([str(tmp_path), "--published-for", "mnist5k=mnist"]) == 0
    assert "SNIP (Lee 2019) on mnist" in points(tmp_path)
    # In print they have a legend too, which takes its room.
    assert height(figure) > before
    page = Page(tmp_path / "report" / "report.html")
    assert "--published-for mnist5k=mnist</code>" in page.text


def test_figures_of_ones_own_are_shown_beside_them(tmp_path) -> None:
    run(tmp_path / "runs" / "0")
    file = tmp_path / "own.csv"
    file.write_text(OWN)
    assert main([str(tmp_path / "runs"), "--published", str(file)]) == 0
    # 266,610 parameters, of which 266,200 are weights: 266610 / (26620 + 410).
    assert points(tmp_path / "runs")["<b>Own</b> (Me 2026)"] == pytest.approx(9.8635, abs=1e-4)
    assert "<b>Own" not in Page(tmp_path / "runs" / "report" / "report.html").text


@cases(
    "options, said",
    (["--published-for", "mnist5k"], "write DATA=PUBLISHED"),
    (["--published-for", "a=b"], "no result is on data=a; use one of: mnist"),
    (["--claims", "--lint"], "do not go together"),
    (["--claims", "--published-for", "a=b"], "do not go together"),
    (["--published", "missing.csv"], "--published missing.csv is no file"),
    (["--published", "."], "--published . is no file"),
    (["--out", __file__], "is no folder; give an existing folder"),
)
def test_options_that_make_no_sense_are_one_line_and_write_nothing(options, said, tmp_path, capsys):
    run(tmp_path / "0")
    assert main([str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error
    assert not (tmp_path / "report").exists()


def test_lint_and_against_go_together_with_the_status_of_lint(tmp_path, capsys) -> None:
    run(tmp_path / "0")
    write_run(tmp_path / "1", make(label="Other", model="lenet_300_100", data="mnist"))
    assert main([str(tmp_path), "--lint", "--against", "SNIP"]) == 1
    said = capsys.readouterr().out
    assert "top-1 minus that of SNIP" in said and " missing\n" in said
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"lint.csv", "paired.csv", "report.html"} <= files


def test_claims_are_printed_and_written(tmp_path, capsys) -> None:
    run(tmp_path / "0")
    assert main([str(tmp_path), "--claims"]) == 0
    assert "not testable" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"claims.csv", "claims.html"}


def test_a_report_is_not_written_through_a_link_that_nobody_named(tmp_path, capsys) -> None:
    run(tmp_path / "runs" / "0")
    others = tmp_path / "others"
    others.mkdir()
    (tmp_path / "runs" / "report").symlink_to(others)
    assert main([str(tmp_path / "runs"), "--claims"]) == 2
    assert "report is a link" in capsys.readouterr().err and not list(others.iterdir())
    assert main([str(tmp_path / "runs"), "--claims", "--out", str(others)]) == 0


def test_ctrl_c_ends_with_130_and_no_traceback(monkeypatch, tmp_path) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.report._run", interrupted)
    assert main([str(tmp_path)]) == 130


class Left(io.StringIO):
    """Behaves as a pipe whose reader leaves after the first line; its descriptor is a spare one."""

    def __init__(self, spare: int) -> None:
        super().__init__()
        self.fileno = lambda: spare  # type: ignore[method-assign]

    def write(self, text: str) -> int:
        if "\n" in self.getvalue():
            raise BrokenPipeError
        return super().write(text)


@pytest.mark.parametrize(
    ("options", "status", "file"),
    [([], 0, "report.html"), (["--claims"], 0, "claims.html"), (["--lint"], 1, "lint.csv")],
)
def test_a_reader_that_leaves_early_changes_no_file_and_no_status(
    options,
    status,
    file,
    tmp_path,
    monkeypatch,
    capsys,
) -> None:
    run(tmp_path / "0")
    with (tmp_path / "spare").open("w") as spare:
        monkeypatch.setattr("sys.stdout", Left(spare.fileno()))
        assert main([str(tmp_path), *options]) == status
    assert (tmp_path / "report" / file).exists()
    assert capsys.readouterr().err == ""
