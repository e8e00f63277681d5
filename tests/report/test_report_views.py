"""Tests learning curves, the Pareto front, LaTeX, and files for print."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from report_page import Page
from survey_records import dense, make, write_run

from harness.report import report
from harness.report.figures.curves import MOST_POINTS, curves
from harness.report.figures.latex import escape, table
from harness.report.figures.styles import method_styles
from harness.report.page import numbers
from harness.report.page.heat import layer_densities
from harness.report.page.section import PageSection
from harness.report.read.load import load
from harness.report.significance.pareto import front


def learned(runs: Path) -> pd.DataFrame:
    survey = load(runs)
    return curves(survey.records, survey.results)


def test_a_curve_goes_through_dense_training_and_retraining_and_is_a_mean_over_seeds(tmp_path):
    for seed, loss in enumerate((1.0, 3.0)):
        rows = [
            dense(seed=seed, epoch_losses=[loss, 0.5], epoch_validation=[0.5, 0.6]),
            make(seed=seed, epoch_losses=[0.4], epoch_validation=[0.7]),
        ]
        write_run(tmp_path / str(seed), *rows)
    found = learned(tmp_path)
    assert found["epoch"].tolist() == [1, 2, 3]
    assert found["loss"].tolist() == [2.0, 0.5, 0.4]
    assert found["top1_percent"].tolist() == pytest.approx([50, 60, 70])


def test_records_of_earlier_versions_have_no_curves(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make())
    assert learned(tmp_path).empty
    report(tmp_path)
    page = Page(tmp_path / "report" / "report.html")
    assert not {"loss", "learning"} & set(page.data["sections"]["section-0"]["charts"])


def test_a_long_curve_is_thinned_but_keeps_both_ends(tmp_path) -> None:
    epochs = 3 * MOST_POINTS
    write_run(tmp_path / "0", make(epoch_losses=[1.0] * epochs, epoch_validation=[0.5] * epochs))
    found = learned(tmp_path)["epoch"].tolist()
    assert (len(found), found[0], found[-1]) == (MOST_POINTS, 1, epochs)


def test_the_front_holds_what_nothing_beats_in_both_ways() -> None:
    rows = pd.DataFrame(
        {
            "x": [2.0, 2.0, 4.0, 4.0, 8.0, 16.0, math.inf],
            "top1_fraction_mean": [0.95, 0.95, 0.9, 0.8, 0.9, math.nan, 0.99],
        }
    )
    # Twins are both on it; 4x is beaten by 8x with the same accuracy; what failed is not on it.
    assert front(rows, "x").tolist() == [True, True, False, False, True, False, False]


def test_a_front_of_failed_results_is_empty() -> None:
    rows = pd.DataFrame({"x": [2.0], "top1_fraction_mean": [math.nan]})
    assert front(rows, "x").tolist() == [False]


def test_densities_of_layers_are_means_over_seeds_in_the_networks_order(tmp_path) -> None:
    for seed, share in enumerate((0.1, 0.3)):
        write_run(tmp_path / str(seed), make(seed=seed, layers={"z.weight": share, "a.weight": 1}))
    found = layer_densities(load(tmp_path).results)
    assert found["layer"].tolist() == ["z.weight", "a.weight"]
    assert found["density"].tolist() == [0.2, 1.0]
    report(tmp_path)
    page = Page(tmp_path / "report" / "report.html")
    assert page.tables["SNIP"] == [["Layer", "4x"], ["z", "20"], ["a", "100"]]


def test_the_shade_of_a_density_is_its_square_root_so_that_1_and_5_percent_differ(tmp_path) -> None:
    write_run(tmp_path / "0", make(layers={"b.weight": 0.25, "a.weight": 0.01}))
    report(tmp_path)
    text = (tmp_path / "report" / "report.html").read_text()
    shown = re.findall(r'<th scope="row">([ab])</th><td style="--heat:(\d+)%">([\d.]+)</td>', text)
    # In the order of the network.
    assert shown == [("b", "50", "25"), ("a", "10", "1")]


def test_latex_has_a_row_per_method_and_the_best_mean_in_bold(tmp_path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", dense(seed=seed), make(seed=seed, top1=0.9 + 0.01 * seed))
        other = {"label": "50% of a_b", "setting": "b", "seed": seed}
        write_run(tmp_path / f"b{seed}", dense(**other), make(**other, top1=0.8))
    (section,) = load(tmp_path).sections()
    text = table(section)
    assert r"Method & 4$\times$ \\" in text
    assert r"SNIP & \textbf{91.00 $\pm$ 1.00} \\" in text
    assert r"50\% of a\_b & 80.00 $\pm$ 0.00 \\" in text
    assert [rule for rule in re.findall(r"\\(\w+rule)", text)] == [
        "toprule",
        "midrule",
        "bottomrule",
    ]
    assert text.count("{") == text.count("}")
    assert escape("[x]") == "{[}x]"
    assert escape("|g|<>") == r"\textbar{}g\textbar{}\textless{}\textgreater{}"
    assert escape("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"


def test_the_page_has_the_best_means_in_bold_and_says_n(tmp_path) -> None:
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", dense(seed=seed), make(seed=seed, top1=0.9))
        other = {"label": "Random", "setting": "b", "seed": seed}
        write_run(tmp_path / f"b{seed}", dense(**other), make(**other, top1=0.8))
    write_run(tmp_path / "a2", make(seed=2, top1=0.9))
    (section,) = load(tmp_path).sections()
    shown = "".join(numbers.tables(section, None))
    assert re.findall(r'<td class="best">(.*?)</td>', shown) == ["90.00 ± 0.00 (3)"]
    assert "Means over seeds, n\xa0=\xa02 to 3;" in shown
    page = PageSection(0, section, method_styles(["Random", "SNIP"]), pd.DataFrame())
    shown = page.html(None, {section.title: "<svg></svg>"})
    captions = re.findall("<figcaption>(.*?)</figcaption>", shown)
    ends = ": mean ± std over seeds, n\xa0=\xa02 to 3"
    assert len(captions) == 3 and all(text.endswith(ends) for text in captions)


def test_figures_and_page_say_what_was_pruned(tmp_path) -> None:
    with_output = "weights, with output layer fc3"
    write_run(tmp_path / "a", make(density_of=with_output))
    write_run(tmp_path / "b", make(label="L1", setting="b", density_of="filters, without conv1"))
    (section,) = load(tmp_path).sections()
    words = f"pruned: filters, without conv1; {with_output}"
    assert section.caption.endswith(words)
    page = PageSection(0, section, method_styles(["L1", "SNIP"]), pd.DataFrame())
    assert f"What was {words}. " in page.html(None, {section.title: "<svg></svg>"})


def test_latex_says_what_failed(tmp_path) -> None:
    write_run(tmp_path / "0", make(top1=math.nan))
    write_run(tmp_path / "1", make(label="Random", setting="b", top1=0.5))
    (section,) = load(tmp_path).sections()
    assert r"SNIP & failed \\" in table(section)


def test_figures_are_written_for_screen_and_print_per_model_and_data(tmp_path) -> None:
    for model in ("lenet5", "mlp"):
        write_run(tmp_path / model, dense(model=model), make(model=model))
    names = {path.name for path in report(tmp_path)}
    for model in ("lenet5", "mlp"):
        for kind in ("accuracy", "change"):
            assert {f"{kind}-{model}-digits.png", f"{kind}-{model}-digits.pdf"} <= names
        assert f"accuracy-{model}-digits.tex" in names
    pdf = (tmp_path / "report" / "accuracy-mlp-digits.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf


def test_a_figure_grows_with_its_legend(tmp_path) -> None:
    def height(count: int) -> int:
        runs = tmp_path / str(count)
        further = {"level": 2, "requested_compression": 8.0}
        for number in range(count):
            same = {"label": f"M {number}", "setting": str(number)}
            write_run(runs / str(number), make(**same), make(**same, **further))
        png = (report(runs)[0].parent / "accuracy-lenet5-digits.png").read_bytes()
        return int.from_bytes(png[20:24])

    # Four in a row of 1.51 em, 9 points each, 200 dots an inch.
    assert height(24) - height(4) == pytest.approx(5 * 1.51 * 9 / 72 * 200, abs=1)


def test_without_dense_training_no_change_is_drawn(tmp_path) -> None:
    write_run(tmp_path / "0", make())
    assert not [path for path in report(tmp_path) if path.name.startswith("change-")]
    charts = Page(tmp_path / "report" / "report.html").data["sections"]["section-0"]["charts"]
    assert "change" not in charts and "compression" in charts


def test_a_run_without_dense_training_is_compared_with_the_one_that_others_share(tmp_path) -> None:
    write_run(tmp_path / "a", dense(top1=0.95), make(top1=0.9))
    write_run(tmp_path / "b", make(label="GraSP", setting="b", top1=0.85))
    changes = load(tmp_path).summary.set_index("label")["change_points_mean"]
    assert changes["GraSP"] == pytest.approx(-10) and changes["SNIP"] == pytest.approx(-5)


def test_a_run_is_not_compared_with_one_of_several_dense_networks(tmp_path) -> None:
    write_run(tmp_path / "a", dense(top1=0.95), make(top1=0.9))
    write_run(tmp_path / "c", dense(top1=0.7, label="C", setting="c"), make(label="C", setting="c"))
    write_run(tmp_path / "b", make(label="GraSP", setting="b", top1=0.85))
    changes = load(tmp_path).summary.set_index("label")["change_points_mean"]
    assert math.isnan(changes["GraSP"]) and changes["C"] == pytest.approx(20)
