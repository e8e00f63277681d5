import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_page import Page

from harness import records
from harness.records import Record
from harness.report import report
from harness.report.__main__ import main
from harness.report.lines import looks, ticks
from harness.report.load import load
from harness.report.summary import cell
from harness.report.survey import Survey


def make(**changes: Any) -> Record:
    values = {
        "run": "0123456789ab",
        "method": "snip",
        "label": "SNIP",
        "setting": "aaaa11112222",
        "model": "lenet5",
        "data": "digits",
        "seed": 0,
        "level": 1,
        "stage": "finetuned",
        "target_density": 0.25,
        "target_compression": 4.0,
        "density": 0.25,
        "compression": 4.0,
        "speedup": 2.0,
        "parameters": 250,
        "macs": 500,
        "top1": 0.9,
        "top5": 1.0,
        "loss": 0.1,
        "validation_top1": 0.9,
        "validation_loss": 0.1,
        "epochs": 1,
        "steps": 10,
        "layers": {"fc.weight": 0.25},
        "masks": "d1",
        "effective_density": 0.2,
        "empty_layers": [],
        "dead_units": {"fc.weight": 3},
    }
    return Record(**{**values, **changes})


def write_run(folder: Path, *rows: Record) -> Path:
    folder.mkdir(parents=True)
    path = folder / "records.jsonl"
    path.write_text("".join(map(records.to_line, rows)))
    return path


def dense(**changes: Any) -> Record:
    level0 = {"level": 0, "stage": "dense", "target_compression": 1.0, "compression": 1.0}
    return make(**{**level0, "speedup": 1.0, "density": 1.0, "masks": "", **changes})


def pruned(survey: Survey) -> pd.DataFrame:
    return survey.summary[survey.summary["level"] > 0]


def only(survey: Survey) -> "pd.Series[Any]":
    rows = pruned(survey)
    assert len(rows) == 1
    return rows.iloc[0]


def notes(survey: Survey) -> list[str]:
    """Without those that say how few seeds these small examples have."""
    return [note for note in survey.notes if "fewer than 3 seeds" not in note]


def test_mean_and_sample_std_are_over_seeds(tmp_path: Path) -> None:
    for seed, top1 in enumerate([0.90, 0.92, 0.94]):
        write_run(tmp_path / str(seed), make(seed=seed, top1=top1))

    row = only(load(tmp_path))

    assert row["seeds"] == 3
    assert row["top1_share_mean"] == pytest.approx(0.92)
    # sqrt((0.02^2 + 0 + 0.02^2) / (3 - 1))
    assert row["top1_share_std"] == pytest.approx(0.02)
    assert cell(row) == "92.00 ± 2.00 (3)"


def test_one_seed_has_no_std(tmp_path: Path) -> None:
    write_run(tmp_path / "0", make(top1=0.9))
    row = only(load(tmp_path))
    assert math.isnan(row["top1_share_std"])
    assert cell(row) == "90.00 (n=1)"


def test_the_last_stage_of_a_level_is_its_result(tmp_path: Path) -> None:
    write_run(tmp_path / "0", dense(top1=0.95), make(stage="pruned", top1=0.3), make(top1=0.9))
    row = only(load(tmp_path))
    assert row["stage"] == "finetuned"
    assert row["top1_share_mean"] == pytest.approx(0.9)
    assert row["pruned_top1_share_mean"] == pytest.approx(0.3)


def test_without_fine_tuning_the_pruned_stage_is_the_result_and_said_so(tmp_path: Path) -> None:
    write_run(tmp_path / "0", make(stage="pruned", top1=0.3))
    survey = load(tmp_path)
    assert only(survey)["top1_share_mean"] == pytest.approx(0.3)
    assert "no fine-tuning recorded" in survey.notes[0]


def test_a_run_stopped_before_its_fine_tuning_is_not_averaged_in(tmp_path: Path) -> None:
    write_run(tmp_path / "whole", make(seed=0, stage="pruned", top1=0.2), make(seed=0, top1=0.9))
    write_run(tmp_path / "stopped", make(seed=1, stage="pruned", top1=0.1))

    survey = load(tmp_path)

    assert cell(only(survey)) == "90.00 (n=1)"
    assert notes(survey) == ["1 left out, not yet fine-tuned: stopped"]


def test_an_iterative_run_and_single_runs_both_give_a_line(tmp_path: Path) -> None:
    steps = [(1, 2.0), (2, 4.0)]
    iterative = [make(level=n, target_compression=c, compression=c) for n, c in steps]
    write_run(tmp_path / "iterative", *iterative)
    for c in (2.0, 4.0):
        single = make(label="GraSP", setting="bbbb", target_compression=c, compression=c)
        write_run(tmp_path / f"single{c}", single)

    rows = pruned(load(tmp_path))

    found = list(zip(rows["label"], rows["target_compression_ratio"], strict=True))
    assert found == [("GraSP", 2.0), ("GraSP", 4.0), ("SNIP", 2.0), ("SNIP", 4.0)]


def test_a_compression_passed_at_a_lower_level_is_another_treatment(tmp_path: Path) -> None:
    write_run(tmp_path / "short", make(level=1, seed=0, top1=0.5))
    write_run(tmp_path / "long", make(level=2, seed=1, top1=0.9))
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    assert survey.notes[0].endswith(": short")


def test_a_duplicate_counts_once_and_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "first", make(top1=0.9))
    write_run(tmp_path / "second", make(top1=0.9))
    write_run(tmp_path / "third", make(top1=0.8))
    survey = load(tmp_path)
    assert cell(only(survey)) == "90.00 (n=1)"
    left_out = "1 left out, duplicates of the same setting, seed and compression"
    assert notes(survey) == [f"{left_out}: second", f"{left_out} that have other results: third"]


def test_settings_with_one_label_are_never_averaged(tmp_path: Path) -> None:
    write_run(tmp_path / "short", make(setting="aaaa11112222", epochs=1, top1=0.8))
    write_run(tmp_path / "long", make(setting="bbbb11112222", epochs=9, top1=0.9))

    survey = load(tmp_path)

    rows = pruned(survey).set_index("label")
    assert rows["top1_share_mean"].to_dict() == {"SNIP [aaaa]": 0.8, "SNIP [bbbb]": 0.9}
    assert "[aaaa] as in short, [bbbb] as in long" in survey.notes[0]


def test_settings_that_start_alike_are_told_apart_by_more_digits(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make(setting="aaaab1"))
    write_run(tmp_path / "b", make(setting="aaaac1"))
    assert load(tmp_path).labels() == ["SNIP [aaaab]", "SNIP [aaaac]"]


def test_models_and_data_sets_get_sections_and_figures_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a", make(model="lenet5"))
    write_run(tmp_path / "b", make(model="resnet/20"))
    paths = report(tmp_path)
    assert [part.title for part in load(tmp_path).sections()] == [
        "lenet5 on digits",
        "resnet/20 on digits",
    ]
    figures = sorted(path.name for path in paths if path.suffix == ".png")
    assert figures == ["accuracy-lenet5-digits.png", "accuracy-resnet_20-digits.png"]


def test_the_dense_reference_counts_each_seed_once(tmp_path: Path) -> None:
    for method in ("SNIP", "GraSP"):
        for seed, top1 in enumerate([0.94, 0.96]):
            rows = dense(label=method, seed=seed, top1=top1), make(label=method, seed=seed)
            write_run(tmp_path / method / str(seed), *rows)

    (section,) = load(tmp_path).sections()

    # std: sqrt(2 x 0.01^2 / 1)
    assert cell(section.dense.iloc[0]) == "95.00 ± 1.41 (n=2)"


def test_dense_networks_trained_differently_are_two_references(tmp_path: Path) -> None:
    write_run(tmp_path / "a", dense(epochs=1, top1=0.8), make())
    write_run(tmp_path / "b", dense(label="GraSP", epochs=9, top1=0.9), make(label="GraSP"))
    survey = load(tmp_path)
    (section,) = survey.sections()
    assert section.dense["label"].tolist() == ["Dense 1", "Dense 2"]
    assert "Dense 1 on lenet5, digits is what these started from: GraSP" in survey.notes


def test_an_untrained_network_is_no_dense_reference(tmp_path: Path) -> None:
    write_run(tmp_path / "0", dense(stage="initial", top1=0.1), make())
    (section,) = load(tmp_path).sections()
    assert section.dense.empty


def test_a_failed_seed_is_shown_and_not_averaged_away(tmp_path: Path) -> None:
    for seed, top1 in enumerate([0.90, 0.92, math.nan]):
        write_run(tmp_path / str(seed), make(seed=seed, top1=top1))
    survey = load(tmp_path)
    assert cell(only(survey)) == "91.00 ± 1.41 (n=2, 1 failed)"
    assert "1 of 3 seeds failed" in survey.notes[0]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_failure_though_argmax_still_hits_some(
    loss: float, tmp_path: Path
) -> None:
    write_run(tmp_path / "0", make(top1=0.1, loss=loss))
    assert cell(only(load(tmp_path))) == "failed (1)"
    assert report(tmp_path)


def test_a_network_without_operations_left_is_still_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "0", make(speedup=math.inf, macs=0, top1=0.1))
    assert report(tmp_path)


def test_a_cut_last_line_is_skipped_and_told(tmp_path: Path) -> None:
    path = write_run(tmp_path / "0", make())
    with path.open("a") as file:
        file.write(records.to_line(make(level=2))[:40])
    survey = load(tmp_path)
    assert len(survey.records) == 1
    assert survey.notes[0].startswith("0/records.jsonl: line 2 is cut off")


def test_runs_that_have_not_pruned_yet_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "done", make())
    write_run(tmp_path / "waiting", dense(model="resnet20"))
    survey = load(tmp_path)
    assert [section.model for section in survey.sections()] == ["lenet5"]
    assert survey.notes[0].startswith("1 of 2 runs have records of level 0 only")
    assert survey.notes[0].endswith(": waiting")


def test_the_dense_cache_is_not_read(tmp_path: Path) -> None:
    write_run(tmp_path / ".dense" / "0", make(label="Cached"))
    write_run(tmp_path / "sweep" / "a1" / "snip-0", make())
    assert load(tmp_path).labels() == ["SNIP"]


def test_one_run_alone_can_be_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "run", make())
    assert load(tmp_path / "run").labels() == ["SNIP"]


@pytest.mark.parametrize(
    "folder, problem",
    [("missing", "is not a folder"), ("empty", "no records"), ("level0", "no pruned network yet")],
)
def test_a_folder_without_results_is_one_line_and_writes_nothing(
    folder: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "level0", dense())

    code = main([str(tmp_path / folder), "--out", str(tmp_path / "out")])

    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1 and problem in error and str(tmp_path / folder) in error
    assert not (tmp_path / "out").exists()


def test_a_broken_line_names_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "0", make()).write_text("{broken\n")
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path / '0' / 'records.jsonl'}, line 1" in capsys.readouterr().err


def test_the_printed_table_is_plain_and_fits_120_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for power in range(1, 11):
        rows = [make(seed=seed, target_compression=2.0**power) for seed in range(3)]
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


def test_csv_has_a_row_per_result_and_every_record(tmp_path: Path) -> None:
    write_run(tmp_path / "0", dense(), make(stage="pruned"), make())
    report(tmp_path, tmp_path / "out")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert summary["label"].tolist() == ["Dense", "SNIP"]
    assert summary["compression_ratio_mean"].tolist() == [1.0, 4.0]
    assert len(pd.read_csv(tmp_path / "out" / "records.csv")) == 3


def collapsed(**changes: Any) -> Record:
    lost = {"density": 0.01, "effective_density": 0.0, "dead_units": {"a": 4, "b": 2}}
    return make(**{**lost, "empty_layers": ["a.weight"], **changes})


OLD = {"effective_density": None, "empty_layers": None, "dead_units": None}


def test_collapse_is_noted_with_method_compression_and_layers(tmp_path: Path) -> None:
    write_run(tmp_path / "0", collapsed(seed=0, empty_layers=["a.weight", "b.weight"]))
    write_run(tmp_path / "1", collapsed(seed=1, effective_density=0.002))
    write_run(tmp_path / "2", make(seed=2, density=0.01, effective_density=0.004))

    survey = load(tmp_path)

    # Means: (0.01 + 0.01 + 0.01) / 3 and (0 + 0.002 + 0.004) / 3.
    assert notes(survey) == [
        "SNIP on lenet5, digits at 4x: no weight is left in a, b (2 of 3 seeds); no path from "
        "input to output (1 of 3 seeds); of all weights 1 % are kept and 0.2 % connect input and "
        "output"
    ]


def test_a_failed_seed_that_collapsed_is_counted_among_all_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "0", collapsed(seed=0, top1=math.nan))
    write_run(tmp_path / "1", make(seed=1))
    (note,) = [note for note in load(tmp_path).notes if "no weight is left" in note]
    assert "in a (1 of 2 seeds); no path from input to output (1 of 2 seeds)" in note


def test_units_without_input_or_output_alone_are_numbers_and_no_note(tmp_path: Path) -> None:
    write_run(tmp_path / "0", make(seed=0, dead_units={"fc.weight": 3, "b.weight": 2}))
    write_run(tmp_path / "1", make(seed=1, dead_units={}))
    survey = load(tmp_path)
    assert notes(survey) == []
    assert only(survey)["dead_units_count_mean"] == 2.5


def test_collapse_is_in_the_csv_and_in_the_table_of_the_page(tmp_path: Path) -> None:
    write_run(tmp_path / "0", dense(), collapsed(effective_density=0.0025))
    report(tmp_path)

    summary = pd.read_csv(tmp_path / "report" / "summary.csv").iloc[-1]
    assert summary["effective_density_share_mean"] == 0.0025
    assert (summary["dead_units_count_mean"], summary["empty_layers"]) == (6, "a")
    assert (summary["collapsed_seeds"], summary["cut_seeds"]) == (1, 0)
    row = pd.read_csv(tmp_path / "report" / "records.csv").iloc[-1]
    assert (row["effective_density"], row["empty_layers"]) == (0.0025, '["a.weight"]')
    assert row["dead_units"] == '{"a": 4, "b": 2}'
    page = Page(tmp_path / "report" / "report.html")
    (shown,) = page.numbers
    assert shown["Weights kept, %"] == "1"
    assert shown["Weights that connect input and output, %"] == "0.25"
    assert shown["Units without live input or output"] == "6"
    assert shown["Layers without a weight"] == "a"
    assert "no weight is left in a (1 of 1 seeds)" in page.text


@pytest.mark.parametrize("others", [[], [make(seed=1)]])
def test_records_that_have_not_measured_collapse_show_nothing_of_it(
    others: list[Record], tmp_path: Path
) -> None:
    for record in [make(version=2, **OLD), *others]:
        path = write_run(tmp_path / str(record.seed), record)
        if record.version == 2:
            later = {name for names in records.ADDED.values() for name in names}
            line = {k: v for k, v in vars(record).items() if k not in later}
            path.write_text(json.dumps(line) + "\n")

    survey = load(tmp_path)
    report(tmp_path)

    row, measured = only(survey), bool(others)
    assert notes(survey) == []
    assert math.isnan(row["effective_density_share_mean"]) != measured
    assert math.isnan(row["dead_units_count_mean"]) != measured
    first = pd.read_csv(tmp_path / "report" / "records.csv").iloc[0]
    assert first[list(OLD)].isna().all()
    (shown,) = Page(tmp_path / "report" / "report.html").numbers
    assert (shown["Weights that connect input and output, %"] != "-") == measured
    assert (shown["Units without live input or output"] != "-") == measured


def test_the_page_loads_nothing_and_escapes_names(tmp_path: Path) -> None:
    attack = "</script><img src=x onerror=alert(1)> $x$ [b]"
    net = {"label": attack, "model": "<b>net</b>"}
    write_run(tmp_path / "0", dense(**net), make(**net))
    report(tmp_path)

    page = Page(tmp_path / "report" / "report.html")

    assert page.loads == []
    assert "img" not in page.tags and "b" not in page.tags
    assert page.tags.count("script") == 3  # the data, Vega-Lite, the page's own


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    write_run(tmp_path / "0", make())
    first = [path.read_bytes() for path in report(tmp_path)]
    assert first == [path.read_bytes() for path in report(tmp_path)]


def test_ninety_methods_all_look_different() -> None:
    styles = looks([str(number) for number in range(90)])
    assert len(set(styles.values())) == 90


def test_ticks_are_powers_of_two_around_the_values() -> None:
    assert ticks(pd.Series([1.99, 16.1, math.inf])) == [2.0, 4.0, 8.0, 16.0]
    assert ticks(pd.Series([1.0])) == [1.0, 2.0]


def test_the_report_loads_neither_torch_nor_hydra(tmp_path: Path) -> None:
    write_run(tmp_path / "0", make())
    code = (
        "import sys; from pathlib import Path; from harness.report import report\n"
        f"report(Path({str(tmp_path)!r}))\n"
        "assert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
