"""Sensitivity analyses in the report: means over seeds, table, CSV, curves and heat map."""

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import cases
from report_page import Page
from survey_records import dense, make, write_run

from harness.cli.report import main
from harness.report import report
from harness.report.paper import Paper
from harness.report.read.layer_curves import analyses, load
from harness.report.read.load import load as load_survey
from harness.run_folder.curve_records import Sensitivity, to_lines

LAYERS = {"conv.weight": 20, "a.weight": 40}  # by position, not by name


def point(**changes: Any) -> Sensitivity:
    values = {
        "run": "0123456789ab", "setting": "aaaa11112222", "method": "magnitude-element",
        "label": "magnitude / element", "saliency": "magnitude", "structure": "element",
        "model": "lenet", "data": "digits", "seed": 0, "layer": "conv.weight", "density": 1.0,
        "kept": 20, "units": 20, "top1": 0.9, "loss": 0.2, "dense_top1": 0.9, "dense_loss": 0.2,
    }  # fmt: skip
    return Sensitivity(**{**values, **changes})


def analysis(folder: Path, top1: tuple[float, float] = (0.8, 0.5), **changes: Any) -> Path:
    """Writes an analysis of two layers at densities 1 and 0.5; `top1` is that of each at 0.5."""
    rows = []
    for (layer, units), pruned in zip(LAYERS.items(), top1, strict=True):
        for density, more in ((1.0, {}), (0.5, {"top1": pruned, "loss": 1.0})):
            place = {"layer": layer, "density": density, "kept": int(density * units)}
            rows.append(point(**place, units=units, **more, **changes))
    folder.mkdir(parents=True)
    path = folder / "sensitivity.jsonl"
    path.write_text(to_lines(rows))
    return path


def at(summary: pd.DataFrame, layer: str, density: float = 0.5) -> "pd.Series[Any]":
    rows = summary[(summary["layer"] == layer) & (summary["density"] == density)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_means_are_over_seeds_and_changes_against_each_seeds_own_network(tmp_path) -> None:
    analysis(tmp_path / "0", (0.8, 0.5), seed=0)
    analysis(tmp_path / "1", (0.6, 0.4), seed=1, dense_top1=0.8)
    analysis(tmp_path / "again", (0.6, 0.4), seed=1, dense_top1=0.8)

    row = at(load(tmp_path), "conv.weight")

    assert (row["seeds"], row["kept_units"], row["units"]) == (2, 10, 20)
    assert row["top1_fraction_mean"] == pytest.approx(0.7)
    # sqrt((0.1^2 + 0.1^2) / (2 - 1))
    assert row["top1_fraction_std"] == pytest.approx(0.1 * math.sqrt(2))
    # (80 - 90) and (60 - 80)
    assert row["change_points_mean"] == pytest.approx(-15.0)
    assert row["dense_top1_fraction_mean"] == pytest.approx(0.85)


def test_a_seed_without_a_finite_loss_does_not_count(tmp_path) -> None:
    analysis(tmp_path / "0", seed=0)
    text = analysis(tmp_path / "1", seed=1).read_text()
    (tmp_path / "1" / "sensitivity.jsonl").write_text(text.replace('"loss": 1.0', '"loss": null'))

    row = at(load(tmp_path), "a.weight")
    assert (row["seeds"], row["failed_seeds"], row["top1_fraction_mean"]) == (1, 1, 0.5)


def test_layers_stay_in_the_models_order_and_settings_apart(tmp_path) -> None:
    analysis(tmp_path / "0")
    analysis(tmp_path / "1", setting="bbbb33334444")

    found = list(analyses(load(tmp_path)))

    assert [title for title, _ in found] == [
        "Sensitivity of lenet on digits: magnitude / element [aaaa]",
        "Sensitivity of lenet on digits: magnitude / element [bbbb]",
    ]
    assert found[0][1]["layer"].tolist() == ["conv.weight"] * 2 + ["a.weight"] * 2
    assert found[0][1]["density"].tolist() == [1.0, 0.5] * 2


def test_a_folder_with_analyses_only_gives_a_report(tmp_path, capsys) -> None:
    analysis(tmp_path / "0")

    assert main([str(tmp_path)]) == 0

    said = capsys.readouterr().out
    assert re.search(r"conv\.weight +90\.0 +80\.0", said)
    assert re.search(r"a\.weight +90\.0 +50\.0", said)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        ".files", "report.html", "sensitivity.csv",
    ]  # fmt: skip
    csv = pd.read_csv(tmp_path / "report" / "sensitivity.csv")
    assert csv["layer"].tolist() == ["conv.weight"] * 2 + ["a.weight"] * 2
    assert csv["change_points_mean"].tolist() == pytest.approx([0.0, -10.0, 0.0, -40.0])


def test_the_page_draws_a_curve_per_layer_and_a_heat_map_with_numbers(tmp_path) -> None:
    analysis(tmp_path / "0")
    report(tmp_path)
    page = Page(tmp_path / "report" / "report.html")

    part = page.data["sections"]["analysis-0"]
    points = part["rows"]["points"]
    assert [point["label"] for point in points] == ["conv.weight"] * 2 + ["a.weight"] * 2
    assert [point["density"] for point in points] == [1.0, 0.5] * 2
    assert points[3] == {
        "label": "a.weight", "density": 0.5, "top1": 50.0, "top1_text": "50.00 (n=1)",
        "kept": "20 of 40", "loss": 1.0, "dense_loss": 0.2,
    }  # fmt: skip
    line = part["charts"]["layers"]["layer"][1]["encoding"]
    assert line["strokeDash"]["scale"]["domain"] == ["conv.weight", "a.weight"]
    assert len(set(map(tuple, line["strokeDash"]["scale"]["range"]))) == 2
    (cells,) = [rows for name, rows in page.tables.items() if name.startswith("Change of top-1")]
    assert cells == [
        ["Layer, density", "1", "0.5"],
        ["conv.weight", "+0.0", "-10.0"],
        ["a.weight", "+0.0", "-40.0"],
    ]


def test_runs_and_analyses_share_a_report(tmp_path) -> None:
    analysis(tmp_path / "sensitivity" / "0", label="<b>own</b>", model="lenet5")
    write_run(tmp_path / "ab" / "0", make())

    written = {path.name for path in report(tmp_path)}

    page = Page(tmp_path / "report" / "report.html")
    assert {"summary.csv", "records.csv", "sensitivity.csv", "report.html"} <= written
    assert len(load_survey(tmp_path).summary) == 1
    assert sorted(page.data["sections"]) == ["analysis-0", "section-0"]
    assert "&lt;b&gt;own&lt;/b&gt;" in page.text and "<b>own" not in page.text


@cases(
    "line, said",
    ("{\n", "line 5 is not JSON"),
    ('{"schema": 9}\n', "line 5: schema=9 is newer than schema=1"),
    ('{"schema": 1, "top2": 0}\n', "line 5: fields differ.*top2"),
    (to_lines([point(top1=93.5)]), r"line 5: top1 must be a fraction in \[0, 1\], got 93.5; redo"),
    (to_lines([point(kept="all")]), "line 5: kept must not be 'all'; redo the analysis"),
)
def test_a_line_that_cannot_be_read_is_named(line, said, tmp_path, capsys) -> None:
    path = analysis(tmp_path / "0")
    path.write_text(path.read_text() + line)

    assert main([str(tmp_path)]) == 2
    assert re.search(f"{re.escape(str(path))}, {said}", capsys.readouterr().err)
    assert not (tmp_path / "report").exists()


def test_runs_without_a_result_beside_analyses_are_told(tmp_path) -> None:
    analysis(tmp_path / "analysis")
    assert not load_survey(tmp_path).notes
    cut = write_run(tmp_path / "cut", make())
    cut.write_text(cut.read_text()[:50])
    assert load_survey(tmp_path).notes == [
        "cut/records.jsonl: line 1 is cut off (the run was stopped), and skipped"
    ]
    write_run(tmp_path / "begun", dense())
    assert load_survey(tmp_path).notes[0] == (
        "1 of 1 runs have records of level 0 only (dense, or not yet pruned): begun"
    )


def test_an_empty_folder_is_still_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"has no records"):
        load_survey(tmp_path)


@cases("paper", Paper(panels=("cost",)), Paper(methods=("SNIP",)))
def test_analyses_alone_have_no_methods_or_panels_to_choose(paper, tmp_path) -> None:
    analysis(tmp_path / "0")
    assert not load_survey(tmp_path, paper=Paper(width=5.5)).sensitivity.empty
    with pytest.raises(ValueError, match="has no records"):
        load_survey(tmp_path, paper=paper)


def test_the_legend_of_an_analysis_speaks_of_layers_only(tmp_path) -> None:
    analysis(tmp_path / "a")
    page = report(tmp_path)[-1].read_text()
    legend = page[page.index('<fieldset class="legend') : page.index("</fieldset>")]
    assert "<legend>Layers</legend>" in legend and "Grey line: nothing pruned." in legend
    assert "Pareto" not in legend and "Click a point" not in legend
