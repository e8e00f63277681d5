"""Tests average ranks and the critical-difference diagram."""

import math
import re
from itertools import combinations
from pathlib import Path

import matplotlib
import pytest
from conftest import cases
from matplotlib.figure import Figure
from survey_records import dense, make, write_run

from harness.report.figures import latex
from harness.report.figures.rank_figure import draw, size, to_svg
from harness.report.page.numbers import tables
from harness.report.paper import Paper
from harness.report.read.load import load
from harness.report.read.survey import Ranks
from harness.report.significance.ranks import rankings
from harness.report.tables import print_tables


def write(folder: Path, accuracies: dict[str, list[float]], **changes: object) -> None:
    """Writes a run of one seed per label and compression 2, 4, 8, ..."""
    for label, values in accuracies.items():
        for power, top1 in enumerate(values, start=1):
            place = {"label": label, "setting": label, "requested_compression": 2.0**power}
            name = "-".join([label, str(power), *map(str, changes.values())])
            write_run(folder / name, make(top1=top1, **place, **changes))


def ranked(folder: Path) -> Ranks:
    (found,) = rankings(load(folder).summary)
    return found


def test_ranks_are_averaged_over_compressions_best_first(tmp_path) -> None:
    write(tmp_path, {"A": [0.7, 0.6, 0.5], "B": [0.9, 0.8, 0.7], "C": [0.8, 0.6, 0.9]})
    found = ranked(tmp_path)
    # A: 3, 2.5, 3; B: 1, 1, 2; C: 2, 2.5, 1.
    assert found.mean == pytest.approx({"B": 4 / 3, "C": 5.5 / 3, "A": 8.5 / 3})
    assert list(found.mean) == ["B", "C", "A"]
    assert (found.settings, found.title) == (3, "lenet5 on digits")
    assert found.critical_difference == pytest.approx(2.3437 * math.sqrt(12 / 18), abs=1e-3)


def test_seeds_are_averaged_before_ranking_and_are_no_settings(tmp_path) -> None:
    # By mean A wins; by seeds B would, two to one.
    for seed, (a, b) in enumerate([(0.9, 0.5), (0.5, 0.6), (0.5, 0.6)]):
        write(tmp_path, {"A": [a, a], "B": [b, b]}, seed=seed)
    found = ranked(tmp_path)
    assert found.mean == {"A": 1, "B": 2}
    assert found.settings == 2


def test_a_result_whose_seeds_all_failed_is_last(tmp_path) -> None:
    write(tmp_path, {"A": [math.nan, 0.9], "B": [0.1, 0.8], "C": [0.2, 0.7]})
    assert ranked(tmp_path).mean == {"A": 2, "B": 2, "C": 2}


def test_a_method_without_some_results_is_left_out_and_named(tmp_path) -> None:
    write(tmp_path, {"A": [0.9, 0.8], "B": [0.8, 0.7], "C": [0.99]})
    found = ranked(tmp_path)
    assert (list(found.mean), found.left_out) == (["A", "B"], {"C": 1})
    assert "left out, without a result in some of them: C (1)" in found.caption()


def test_a_compression_of_few_methods_leaves_nobody_out(tmp_path) -> None:
    write(tmp_path, {"A": [0.9, 0.8, 0.7], "B": [0.8, 0.7], "C": [0.7, 0.6]})
    found = ranked(tmp_path)
    assert (found.settings, found.left_out) == (2, {})


def test_dense_networks_and_1x_are_no_settings(tmp_path) -> None:
    write(tmp_path, {"A": [0.9, 0.8], "B": [0.8, 0.7]})
    for label, top1 in (("A", 0.1), ("B", 0.9)):
        rows = (
            dense(label=label, setting=label),
            make(label=label, setting=label, requested_compression=1.0, top1=top1),
        )
        write_run(tmp_path / f"{label}1", *rows)
    found = ranked(tmp_path)
    assert (found.mean, found.settings) == ({"A": 1, "B": 2}, 2)


def test_models_and_data_sets_have_a_ranking_each_and_one_together(tmp_path) -> None:
    write(tmp_path, {"A": [0.9, 0.8], "B": [0.8, 0.7]})
    write(tmp_path, {"A": [0.1, 0.1], "B": [0.8, 0.7]}, model="other")
    found = rankings(load(tmp_path).summary)
    assert [one.title for one in found] == [
        "lenet5 on digits",
        "other on digits",
        "all 2 models and data sets",
    ]
    assert found[2].mean == {"A": 1.5, "B": 1.5}
    assert found[2].settings == 4


def test_4x_of_parameters_and_of_operations_are_two_settings(tmp_path) -> None:
    write(tmp_path, {"A": [0.9, 0.8], "B": [0.8, 0.7]})
    write(tmp_path, {"C": [0.9, 0.8], "D": [0.1, 0.7]}, requested_counts="macs")
    # No method has a result in more than half of the four settings' methods.
    assert rankings(load(tmp_path).summary) == []


@cases(
    "counted, title",
    (("macs",), "speed-up"), (("parameters",), "compression"),
    (("macs", "parameters"), "compression or speed-up"),
)  # fmt: skip
def test_a_table_says_which_ratio_was_asked_for(counted, title, tmp_path, capsys) -> None:
    for count in counted:
        write(tmp_path, {count: [0.9]}, requested_counts=count)
    survey = load(tmp_path)
    print_tables(survey)
    assert (
        f"top-1 accuracy in %: mean ± std (seeds), by requested {title}\n"
        in capsys.readouterr().out
    )
    (section,) = survey.sections()
    assert f"by requested {title}. " in latex.table(section)
    assert next(tables(section, None)) == f"<h3>Top-1 accuracy by requested {title}</h3>"


@pytest.mark.parametrize("values", [{"A": [0.9, 0.8]}, {"A": [0.9], "B": [0.8]}])
def test_one_method_or_one_setting_cannot_be_ranked(values, tmp_path) -> None:
    write(tmp_path, values)
    assert rankings(load(tmp_path).summary) == []


def test_methods_closer_than_the_critical_difference_are_a_group(tmp_path) -> None:
    # Twelve settings, always A before B before C but once; the difference is 2.344 x sqrt(1 / 6).
    write(tmp_path, {"A": [0.9] * 12, "B": [0.8] * 11 + [0.95], "C": [0.1] * 12})
    found = ranked(tmp_path)
    assert found.mean == pytest.approx({"A": 13 / 12, "B": 23 / 12, "C": 3})
    assert found.critical_difference == pytest.approx(0.957, abs=1e-3)
    assert found.groups == [["A", "B"]]
    assert found.friedman_p < 0.05
    assert found.table()["groups"].to_dict() == {"A": "1", "B": "1", "C": ""}


def test_where_friedman_finds_no_difference_all_are_one_group(tmp_path) -> None:
    # Mean ranks 2, 4/3 and 8/3: 12 x 3 / (3 x 4) x (4 + 16/9 + 64/9 - 12) = 8/3, p = exp(-4/3).
    write(tmp_path, {"A": [0.9, 0.8, 0.1], "B": [0.8, 0.9, 0.2], "C": [0.1, 0.1, 0.15]})
    found = ranked(tmp_path)
    assert found.friedman_p == pytest.approx(math.exp(-4 / 3))
    assert found.groups == [list(found.mean)]


WIDE = Ranks(
    "lenet5 on <digits>",
    {"Global $w$ <b>": 1.2, "Uniform & co": 2.0, "Random with a very long name": 2.8}, 12, 0.001,
    0.957, [["Global $w$ <b>", "Uniform & co"]], {},
)  # fmt: skip


def test_the_diagram_for_a_page_is_named_text_in_the_colour_of_the_page() -> None:
    svg = to_svg(WIDE)
    assert svg == to_svg(WIDE)
    assert svg.startswith("<svg") and 'role="img"' in svg and svg.endswith("</svg>")
    assert "<title>Critical-difference diagram, lenet5 on &lt;digits&gt;: average rank" in svg
    for name in ("Global $w$ &lt;b&gt;", "Uniform &amp; co", "Random with a very long name"):
        assert f"{name}  " in svg or f"  {name}" in svg
    assert "CD = 0.96" in svg
    assert "currentColor" in svg and not re.findall("#[0-9a-f]{3}", svg)
    assert not re.findall(r"<style|<script|<defs| id=|href|font-family|<metadata", svg)


@cases("asked", None, 2.0, 3.3, 5.5)
@cases("font", 7.0, 9.0)
def test_no_text_of_the_diagram_leaves_it_or_lies_on_another(asked, font) -> None:
    with matplotlib.rc_context({"font.size": font}):
        paper = Paper(asked, font=font)
        figure = Figure(figsize=size(WIDE, paper))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        draw(axes, WIDE, paper)
        figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    assert asked is None or width == asked * figure.dpi
    boxes = [text.get_window_extent() for text in axes.texts]
    for box in boxes:
        assert 0 <= box.x0 <= box.x1 <= width and 0 <= box.y0 <= box.y1 <= height
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_bar_reaches_over_each_group_and_the_ruler_is_as_long_as_the_difference() -> None:
    figure = Figure(figsize=size(WIDE, Paper()))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    draw(axes, WIDE, Paper())
    (bar,) = [line for line in axes.lines if line.get_linewidth() > 3]
    assert list(bar.get_xdata()) == pytest.approx([1.2, 2.0], abs=0.02)
    lengths = [line.get_xdata()[1] - line.get_xdata()[0] for line in axes.lines]
    assert any(length == pytest.approx(0.957) for length in lengths)
