"""Figures as a paper prints them: their width, type and panels; nothing is cut or overlaps."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pdf_type
import pytest
from conftest import cases
from survey_records import dense, make, write_run

from harness.cli.report import main
from harness.report.figures import draw, lines
from harness.report.figures import sheet as sheet_module
from harness.report.figures.latex import write_latex
from harness.report.figures.sheet import Sheet
from harness.report.page import charts, document, numbers
from harness.report.paper import FONTS, Paper, chosen_methods
from harness.report.read.load import load
from harness.report.read.survey import Survey
from harness.report.tables import print_tables, write_csv

LONG = "A method whose authors gave it a name that no column of a paper is wide enough for"
METHODS = ("SNIP", "Global Magnitude", "Layerwise Gradient", LONG)
TRAINED = {"examples": 10, "training_flops_dense": 10**11}


def write_survey(runs: Path, compressions: tuple[float, ...] = (2.0, 64.0)) -> Path:
    for number, label in enumerate(METHODS):
        for at in compressions:
            same = {"label": label, "setting": f"{number}"}
            cost = {**TRAINED, "training_flops": int(10**11 / at)}
            ratios = {"requested_compression": at, "compression": at, "speedup": 1.1 * at}
            folder = runs / f"{number}-{at:g}"
            for seed in (0, 1):
                row = make(**same, **cost, **ratios, seed=seed, top1=0.9 - number / 50 - at / 999)
                write_run(folder / str(seed), dense(**same, **cost, seed=seed), row)
    return runs


@pytest.fixture(name="survey", scope="module")
def fixture_survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return load(write_survey(tmp_path_factory.mktemp("many")))


@pytest.fixture(name="at_16x", scope="module")
def fixture_at_16x(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return load(write_survey(tmp_path_factory.mktemp("one"), (16.0,)))


@pytest.fixture(name="draws")
def fixture_draws(monkeypatch) -> Callable[[Survey, Paper], list[Sheet]]:
    """Returns a function that gives the sheets of a survey after their layout, and writes none."""
    sheets, save = list[Sheet](), Sheet.save

    def saved(sheet: Sheet, path: Path) -> list[Path]:
        sheets.append(sheet)
        return save(sheet, path)

    def draws(survey: Survey, paper: Paper) -> list[Sheet]:
        sheets.clear()
        draw.write_figures(replace(survey, paper=paper, ranks=[]), Path())
        for sheet in sheets:
            sheet.figure.draw_without_rendering()
        return [*sheets]

    monkeypatch.setattr(Sheet, "save", saved)
    monkeypatch.setattr("harness.report.figures.sheet.write", lambda figure, path: [path])
    return draws


@cases("width, font", (2.0, 7), (5.5, 8))
def test_type_has_the_size_and_the_figure_the_width_that_are_asked_for(
    width, font, survey, tmp_path, monkeypatch
) -> None:
    monkeypatch.delitem(sheet_module._METADATA, "png")
    prints = draw.write_figures(replace(survey, paper=Paper(width=width, font=font)), tmp_path)
    assert {file.name.split("-")[0] for file in prints} == {"accuracy", "change", "ranks"}
    for file in prints:
        assert pdf_type.inches(file) == pytest.approx(width)
        sizes = pdf_type.sizes(file)
        assert len(sizes) > 8 and sizes == pytest.approx([font] * len(sizes))
    assert FONTS[0] == 7


@cases("width", 2.0, 5.5)
@cases("compressions", "many", "one")
def test_no_text_is_cut_and_no_two_ticks_overlap(width, compressions, survey, at_16x, draws):
    shown = survey if compressions == "many" else at_16x
    for sheet in draws(shown, Paper(width=width, font=8)):
        drawn, page = sheet.figure.get_tightbbox(), sheet.figure.bbox_inches
        assert drawn.x0 >= page.x0 - 0.01 and drawn.x1 <= page.x1 + 0.01
        assert drawn.y0 >= page.y0 - 0.01 and drawn.y1 <= page.y1 + 0.01
        for panel in sheet.panels:
            low, high = panel.get_xlim()
            ticks = [t for t in panel.get_xticklabels() if low <= t.get_position()[0] <= high]
            boxes = [tick.get_window_extent() for tick in ticks if tick.get_text()]
            assert len(boxes) >= 2
            assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


@cases("panels", None, ("compression", "cost"))
def test_a_single_point_is_a_dot_inside_the_axes(panels, at_16x, draws) -> None:
    accuracy, *_ = draws(at_16x, Paper(panels=panels))
    assert len(accuracy.panels) == len(panels or "1")
    for panel in accuracy.panels:
        points = [line for line in panel.lines if line.get_marker() in "os^DXvP*<"]
        assert len(points) == len(METHODS)
        for line in points:
            on_paper = panel.transData.transform(line.get_xydata())
            (place,) = panel.transAxes.inverted().transform(on_paper)
            assert (place > 0.02).all() and (place < 0.98).all()


def test_costs_have_an_axis_on_which_small_differences_are_seen(survey, draws) -> None:
    (accuracy,) = draws(survey, Paper(panels=("cost",), width=3.3))
    (panel,) = accuracy.panels
    assert panel.get_xscale() == "linear"
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert "50G" in labels or "60G" in labels
    spec = charts.accuracy(lines.AXES[-1], [], {}, False, {})
    assert "log" not in str(spec)


def test_what_is_chosen_is_drawn_in_its_order_with_the_colours_of_all(survey, draws) -> None:
    chosen = ("SNIP", "Global Magnitude")
    accuracy, change = draws(survey, Paper(panels=("speedup", "compression"), methods=chosen))
    whole, _ = draws(survey, Paper())
    titles = [panel.get_xlabel() for panel in accuracy.panels]
    assert titles == ["Theoretical speed-up", "Compression (measured)"]
    assert looks(accuracy) == {name: looks(whole)[name] for name in chosen}
    assert tuple(looks(change)) == chosen
    assert "n\xa0=\xa02" in accuracy.figure.get_suptitle()


def looks(sheet: Sheet) -> dict[str, tuple[Any, Any]]:
    """Returns colour and marker by label of the legend, without the dense model."""
    handles, labels = sheet.panels[0].get_legend_handles_labels()
    found: dict[str, tuple[Any, Any]] = {}
    for handle, label in zip(handles, labels, strict=True):
        if label != "Dense":
            found[label] = handle.lines[0].get_color(), handle.lines[0].get_marker()
    return found


def test_the_latex_table_has_the_methods_that_are_chosen(survey, tmp_path) -> None:
    (file,) = write_latex(replace(survey, paper=Paper(methods=("SNIP",))), tmp_path)
    text = file.read_text()
    assert "SNIP & " in text and "Global Magnitude" not in text


def test_tables_and_page_show_what_is_chosen_and_statistics_are_of_all(
    survey, tmp_path, capsys
) -> None:
    chosen, hidden = ("SNIP", "Global Magnitude"), "Layerwise Gradient"
    found = load(survey.runs, against=hidden, paper=Paper(methods=chosen))
    print_tables(found)
    write_csv(found, tmp_path)

    printed = capsys.readouterr().out
    tables = printed.partition("average rank over")[0]
    assert not re.findall(rf"^(A method|{hidden})", tables, re.MULTILINE)
    rows = re.findall(r"^(SNIP|Global Magnitude)  ", tables, re.MULTILINE)
    assert rows == [*chosen, *chosen]  # top-1, and the differences
    assert "Note: --methods shows 2 of 4 methods; average ranks" in printed

    (page,) = document._page_sections(found)
    assert tuple(page.styles) == chosen == tuple(dict.fromkeys(page.section.paired["label"]))
    for name in ("rows", "runs"):
        rows = page.data["runs"] if name == "runs" else page.data["rows"]["points"]
        assert {row["label"] for row in rows} == set(chosen)
    shown = "".join(numbers.tables(page.section, None))
    assert "SNIP" in shown and hidden not in shown and LONG not in shown

    (ranks,) = found.ranks
    assert set(ranks.mean) == set(METHODS)
    assert set(pd.read_csv(tmp_path / "summary.csv")["label"]) > set(METHODS)


@cases(
    "options, said",
    (["--width", "0in"], "--width 0in: write a width from 2in to 40in with its unit (in, cm, mm"),
    (["--width", "5.5"], "--width 5.5: write a width"),
    (["--width=-3cm"], "--width -3cm: write a width"),
    (["--width", "nanin"], "write a width"),
    (["--width", "1e3mm"], "write a width"),
    (["--width", "99in"], "write a width"),
    (["--width", ""], "--width : write a width"),
    (["--panels", "foo"], "no such panel; use compression, speedup, measured_speedup, latency, c"),
    (["--panels", "compression,"], "--panels : there is no such panel"),
    (
        ["--latency", "batch 1"],
        "--latency 'batch 1': no result was measured so; set latency.batch_",
    ),
    (["--panels", "latency"], "--panels latency: no result has measured it; use compression, sp"),
    (["--font", "99"], "--font 99: write a size from 7 to 16 points"),
    (["--font", "6.9"], "--font 6.9: write a size from 7"),
    (["--font", "inf"], "--font inf: write a size"),
    (["--methods", "snip"], "--methods 'snip': no result has this label; use 'SNIP'"),
    (["--methods", ""], "--methods '': no result has this label; use 'SNIP'"),
    (["--claims", "--width", "5in"], "do not go together"),
)
def test_wrong_values_are_one_line_with_the_choices_and_write_nothing(
    options, said, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("harness.report.write.get_ready", lambda: None)
    write_run(tmp_path / "0", make())
    try:
        status = main([str(tmp_path), *options])
    except SystemExit as error:
        status = error.code
    assert status == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error
    assert not (tmp_path / "report").exists()


def test_a_label_with_commas_is_named_whole() -> None:
    known = ["Ours (a, b)", "SNIP"]
    assert chosen_methods(["SNIP", "Ours (a, b)", "SNIP"], known) == ("SNIP", "Ours (a, b)")


def test_the_page_says_how_its_figures_were_drawn(tmp_path, monkeypatch) -> None:
    write_run(tmp_path / "0", make())
    written = list[Survey]()
    monkeypatch.setattr("harness.report.write.get_ready", lambda: None)
    monkeypatch.setattr("harness.report.write.write", lambda *args: written.append(args[0]) or [])
    assert main([str(tmp_path), "--width", "3.3in", "--font", "8", "--methods", "SNIP"]) == 0
    (survey,) = written
    words = ("--width", "3.3in", "--methods", "SNIP", "--font", "8")
    assert survey.paper == Paper(3.3, None, ("SNIP",), 8.0, words)
    (section,) = survey.sections()
    command = document._command(survey, tmp_path / "report")
    assert command.endswith(" ".join(words)) and set(section.pruned["label"]) == {"SNIP"}
