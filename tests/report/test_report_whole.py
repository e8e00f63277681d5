"""Every part of a report is there: headings and boxes of the page, CSV files, figures for print."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from report_page import Page
from survey_records import dense, make, write_run

from harness.report import report

# Share of test images that a method is right on, at 2x and 4x: A is always ahead of B.
SHARES = {"A": (0.95, 0.9), "B": (0.9, 0.8)}
PLACE = {  # of which papers have figures
    "model": "lenet_300_100", "model_published_as": "lenet_300_100",
    "data": "mnist", "data_published_as": "mnist",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for label, shares in SHARES.items():
        for asked, top1 in zip((2.0, 4.0), shares, strict=True):
            same = {**PLACE, "label": label, "method": label, "setting": label}
            home = runs / f"{label}{asked:g}"
            cut = ["fc1.weight"] if (label, asked) == ("B", 4.0) else []
            ratios = {"requested_compression": asked, "compression": asked, "speedup": asked}
            write_run(home, dense(**same), make(**same, **ratios, top1=top1, empty_layers=cut))
            mask = {"fc1.weight": np.arange(8) < 8 / asked}
            safetensors.numpy.save_file(mask, home / "masks.safetensors")
    return report(runs)[-1].parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def test_the_page_has_a_heading_for_each_part(page) -> None:
    heads = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", page.text)
    parts = ["Average ranks", "Density of each layer", "Overlap of masks", "Runs", "Collapse"]
    assert set(parts) <= set(heads)
    assert [head for head in heads if head.startswith("Protocol: ")]


def test_the_page_says_which_network_has_collapsed(page) -> None:
    (note,) = re.findall(r"<h3>Collapse</h3><ul><li>(.*?)</li></ul>", page.text)
    assert note.startswith("B on lenet_300_100, mnist at 4x: no weight is left in fc1 (1 of 1")


def test_the_page_has_the_protocol_rule_by_rule(page) -> None:
    head, *rows = page.tables["Protocol of a comparison"]
    assert head[:2] == ["Rule", "Verdict"] and len(rows) == 14
    assert ["random baseline", "missing"] in [row[:2] for row in rows]


def test_published_results_have_boxes_of_their_own(page) -> None:
    boxes = re.findall(r'<input type="checkbox" checked value="(.*?)">(.*?)<span>', page.text)
    drawn = {label: 'fill="none"' in mark for label, mark in boxes}
    published = {row["label"] for row in page.data["sections"]["section-0"]["rows"]["published"]}
    assert published and drawn == {"A": False, "B": False} | dict.fromkeys(published, True)


def test_average_ranks_are_drawn_on_the_page_in_print_and_in_a_table(folder, page) -> None:
    (drawing,) = re.findall(r'<div class="diagram">(<svg .*?</svg>)</div>', page.text, re.DOTALL)
    assert "A  1.00" in drawing and "2.00  B" in drawing
    table = pd.read_csv(folder / "ranks.csv")
    assert table[["label", "average_rank", "over"]].to_numpy().tolist() == [
        ["A", 1.0, "lenet_300_100 on mnist"],
        ["B", 2.0, "lenet_300_100 on mnist"],
    ]


@pytest.mark.parametrize("kind, begins", [("png", b"\x89PNG"), ("pdf", b"%PDF")])
@pytest.mark.parametrize("what", ["accuracy", "change", "ranks"])
def test_each_figure_for_print_is_there(folder, what, kind, begins) -> None:
    file = folder / f"{what}-lenet_300_100-mnist.{kind}"
    assert file.read_bytes().startswith(begins) and file.stat().st_size > 5_000


def test_overlap_is_shown_method_by_method(page) -> None:
    # Both keep the first 4 of 8 weights at 2x, and the first 2 at 4x.
    assert page.tables["Overlap at 4x"] == [["Method", "A", "B"], ["A", "1", "1.00"],
                                            ["B", "1.00", "1"]]  # fmt: skip
