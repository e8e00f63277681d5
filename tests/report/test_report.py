"""From records to results: which count, over which seeds; tables, CSV and page as text."""

import math
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT
from report_page import Page
from survey_records import dense, make, notes, only, pruned, write_run

from harness.cli.report import _parser, main
from harness.report import report
from harness.report.figures.lines import AXES, span, ticks
from harness.report.paper import FONTS, PANELS, Paper
from harness.report.read.load import load
from harness.report.significance.summary import cell


def test_mean_and_sample_std_are_over_seeds(tmp_path) -> None:
    for seed, top1 in enumerate([0.90, 0.92, 0.94]):
        write_run(tmp_path / str(seed), make(seed=seed, top1=top1))

    row = only(load(tmp_path))

    assert row["seeds"] == 3
    assert row["top1_fraction_mean"] == pytest.approx(0.92)
    # sqrt((0.02^2 + 0 + 0.02^2) / (3 - 1))
    assert row["top1_fraction_std"] == pytest.approx(0.02)
    assert cell(row) == "92.00 ± 2.00 (3)"


def test_one_seed_has_no_std(tmp_path) -> None:
    write_run(tmp_path / "0", make(top1=0.9))
    row = only(load(tmp_path))
    assert math.isnan(row["top1_fraction_std"])
    assert cell(row) == "90.00 (n=1)"


def test_the_last_stage_of_a_level_is_its_result(tmp_path) -> None:
    write_run(tmp_path / "0", dense(top1=0.95), make(stage="pruned", top1=0.3), make(top1=0.9))
    row = only(load(tmp_path))
    assert row["stage"] == "finetuned"
    assert row["top1_fraction_mean"] == pytest.approx(0.9)
    assert row["pruned_top1_fraction_mean"] == pytest.approx(0.3)


def test_without_fine_tuning_the_pruned_stage_is_the_result_and_said_so(tmp_path) -> None:
    write_run(tmp_path / "0", make(stage="pruned", top1=0.3))
    survey = load(tmp_path)
    assert only(survey)["top1_fraction_mean"] == pytest.approx(0.3)
    assert "no fine-tuning recorded" in survey.notes[0]


def test_a_run_stopped_before_its_fine_tuning_is_not_averaged_in(tmp_path) -> None:
    write_run(tmp_path / "whole", make(seed=0, stage="pruned", top1=0.2), make(seed=0, top1=0.9))
    write_run(tmp_path / "stopped", make(seed=1, stage="pruned", top1=0.1))

    survey = load(tmp_path)

    assert cell(only(survey)) == "90.00 (n=1)"
    assert notes(survey) == ["1 left out, not yet fine-tuned: stopped"]


def test_an_iterative_run_and_single_runs_both_give_a_line(tmp_path) -> None:
    steps = [(1, 2.0), (2, 4.0)]
    iterative = [make(level=n, requested_compression=c, compression=c) for n, c in steps]
    write_run(tmp_path / "iterative", *iterative)
    for c in (2.0, 4.0):
        single = make(label="GraSP", setting="bbbb", requested_compression=c, compression=c)
        write_run(tmp_path / f"single{c}", single)

    rows = pruned(load(tmp_path))

    found = list(zip(rows["label"], rows["requested_compression_ratio"], strict=True))
    assert found == [("GraSP", 2.0), ("GraSP", 4.0), ("SNIP", 2.0), ("SNIP", 4.0)]


def test_a_compression_passed_at_a_lower_level_is_another_treatment(tmp_path) -> None:
    write_run(tmp_path / "short", make(level=1, seed=0, top1=0.5))
    write_run(tmp_path / "long", make(level=2, seed=1, top1=0.9))
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    assert survey.notes[0].endswith(": short")


def test_a_duplicate_counts_once_and_is_told(tmp_path) -> None:
    write_run(tmp_path / "first", make(top1=0.9))
    write_run(tmp_path / "second", make(top1=0.9))
    write_run(tmp_path / "third", make(top1=0.8))
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    left_out = "1 left out, duplicates of the same setting, seed and compression"
    assert notes(survey) == [f"{left_out}: second", f"{left_out} with different values: third"]


def test_settings_with_one_label_are_never_averaged(tmp_path) -> None:
    write_run(tmp_path / "short", make(setting="aaaa11112222", epochs=1, top1=0.8))
    write_run(tmp_path / "long", make(setting="bbbb11112222", epochs=9, top1=0.9))

    survey = load(tmp_path)

    rows = pruned(survey).set_index("label")
    assert rows["top1_fraction_mean"].to_dict() == {"SNIP [aaaa]": 0.8, "SNIP [bbbb]": 0.9}
    assert "[aaaa] as in short, [bbbb] as in long" in survey.notes[0]


def test_settings_that_start_alike_are_told_apart_by_more_digits(tmp_path) -> None:
    write_run(tmp_path / "a", make(setting="aaaab1"))
    write_run(tmp_path / "b", make(setting="aaaac1"))
    assert load(tmp_path).labels() == ["SNIP [aaaab]", "SNIP [aaaac]"]


def test_models_and_data_sets_get_sections_and_figures_of_their_own(tmp_path) -> None:
    write_run(tmp_path / "a", make(model="lenet5"))
    write_run(tmp_path / "b", make(model="resnet/20"))
    paths = report(tmp_path)
    assert [part.title for part in load(tmp_path).sections()] == [
        "lenet5 on digits",
        "resnet/20 on digits",
    ]
    figures = sorted(path.name for path in paths if path.suffix == ".png")
    assert figures == ["accuracy-lenet5-digits.png", "accuracy-resnet_20-digits.png"]


def test_the_dense_reference_counts_each_seed_once(tmp_path) -> None:
    for method in ("SNIP", "GraSP"):
        for seed, top1 in enumerate([0.94, 0.96]):
            rows = dense(label=method, seed=seed, top1=top1), make(label=method, seed=seed)
            write_run(tmp_path / method / str(seed), *rows)

    (section,) = load(tmp_path).sections()

    # std: sqrt(2 x 0.01^2 / 1)
    assert cell(section.dense.iloc[0]) == "95.00 ± 1.41 (n=2)"


def test_dense_networks_trained_differently_are_two_references(tmp_path) -> None:
    write_run(tmp_path / "a", dense(epochs=1, top1=0.8), make())
    write_run(tmp_path / "b", dense(label="GraSP", epochs=9, top1=0.9), make(label="GraSP"))
    survey = load(tmp_path)
    (section,) = survey.sections()
    assert section.dense["label"].tolist() == ["Dense 1", "Dense 2"]
    assert "Dense 1 on lenet5, digits is the dense model of: GraSP" in survey.notes


def test_an_untrained_network_is_no_dense_reference(tmp_path) -> None:
    write_run(tmp_path / "0", dense(stage="initial", top1=0.1), make())
    (section,) = load(tmp_path).sections()
    assert section.dense.empty


def test_a_failed_seed_is_shown_and_not_averaged_away(tmp_path) -> None:
    for seed, top1 in enumerate([0.90, 0.92, math.nan]):
        write_run(tmp_path / str(seed), make(seed=seed, top1=top1))
    survey = load(tmp_path)
    assert cell(only(survey)) == "91.00 ± 1.41 (n=2, 1 failed)"
    assert "1 of 3 seeds failed" in survey.notes[0]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_failure_though_argmax_still_hits_some(loss, tmp_path):
    write_run(tmp_path / "0", make(top1=0.1, loss=loss))
    assert cell(only(load(tmp_path))) == "failed (1)"
    assert report(tmp_path)


def test_a_network_without_operations_left_is_still_reported(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make(speedup=None, macs=0, top1=0.1))
    assert report(tmp_path, tmp_path / "out")
    row = pd.read_csv(tmp_path / "out" / "summary.csv").iloc[-1]
    assert pd.isna(row["speedup_ratio_mean"]) and row["compression_ratio_mean"] == 4
    assert "multiply-accumulates unknown" in (tmp_path / "out" / "report.html").read_text()


def test_speed_ups_that_are_not_known_are_told_with_the_operator(tmp_path) -> None:
    hidden = {"aten._cdist_forward.default": ["rows.weight"]}
    unknown = {"speedup": None, "macs": None, "uncounted_operators": hidden}
    write_run(tmp_path / "0", dense(**unknown), make(**unknown))
    write_run(tmp_path / "1", dense(seed=1), make(seed=1))
    survey = load(tmp_path)
    (note,) = [note for note in notes(survey) if "speed-up" in note]
    assert note == (
        "no theoretical speed-up in 1 of 2 results, whose weights enter operators that are not "
        "counted (aten._cdist_forward.default): 0"
    )
    assert only(survey)["speedup_ratio_mean"] == 2.0


def test_the_printed_table_is_plain_and_fits_120_columns(tmp_path, capsys) -> None:
    for power in range(1, 11):
        rows = [make(seed=seed, requested_compression=2.0**power) for seed in range(3)]
        for row in [dense(), *rows]:
            write_run(tmp_path / f"{power}-{row.seed}-{row.level}", row)

    assert main([str(tmp_path)]) == 0

    printed = capsys.readouterr().out
    table = [line for line in printed.splitlines() if not line.startswith(("Note", "/"))]
    assert "\x1b" not in printed and max(map(len, table)) <= 120
    assert all(f" {2**power}x" in printed for power in range(1, 11))
    assert "Dense: 90.00 (n=1)" in printed
    assert "90.00 ± 0.00 (3)" in printed
    assert printed.endswith(f"{tmp_path / 'report' / 'report.html'}\n")


def test_csv_has_a_row_per_result_and_every_record(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make(stage="pruned"), make())
    report(tmp_path, tmp_path / "out")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert summary["label"].tolist() == ["Dense", "SNIP"]
    assert summary["compression_ratio_mean"].tolist() == [1.0, 4.0]
    assert len(pd.read_csv(tmp_path / "out" / "records.csv")) == 3


def test_the_page_loads_nothing_and_escapes_names(tmp_path) -> None:
    attack = "</script><img src=x onerror=alert(1)> $x$ [b]"
    net = {"label": attack, "model": "<b>net</b>"}
    write_run(tmp_path / "0", dense(**net), make(**net))
    report(tmp_path)

    page = Page(tmp_path / "report" / "report.html")

    assert page.loads == []
    assert "img" not in page.tags and "b" not in page.tags
    assert page.tags.count("script") == 3  # the data, Vega-Lite, the page's own


def test_equal_records_give_equal_files(tmp_path) -> None:
    write_run(tmp_path / "0", make())
    first = [path.read_bytes() for path in report(tmp_path)]
    assert first == [path.read_bytes() for path in report(tmp_path)]


def test_ticks_are_powers_of_two_around_the_values() -> None:
    assert ticks(pd.Series([1.99, 16.1, math.inf])) == [2.0, 4.0, 8.0, 16.0]
    assert ticks(pd.Series([1.0])) == [1.0, 2.0]


def test_an_axis_reaches_beyond_its_last_value_and_panels_are_its_names() -> None:
    marks = ticks([2, 73])  # 64 is the last tick
    low, high = span(marks, [2, 73])
    assert low < 2 and high > 73
    assert tuple(axis.name for axis in AXES) == PANELS


def test_help_names_the_panels_and_sizes_that_there_are() -> None:
    said = " ".join(_parser().format_help().split())
    assert f"panels: {', '.join(PANELS)}" in said
    assert f"{FONTS[0]:g} or more (default: {Paper.font:g})" in said


def test_the_report_loads_neither_torch_nor_hydra(tmp_path) -> None:
    write_run(tmp_path / "0", make())
    code = (
        "import sys; from pathlib import Path; from harness.report import report\n"
        f"report(Path({str(tmp_path)!r}))\n"
        "assert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
