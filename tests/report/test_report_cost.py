"""Checks the training cost in the report against sums by hand."""

import math
from typing import Any

import pandas as pd
from conftest import cases
from report_page import Page
from survey_records import dense, make, only, pruned, write_run

from harness.cli.report import main
from harness.report import report
from harness.report.read.cost import costs
from harness.report.read.load import load
from harness.run_folder.records import Record

OLD = {"examples": None, "training_flops": None, "training_flops_dense": None}


def spent(record: Record, epochs: float, steps: int, flops: float, of_dense: float) -> Record:
    """Returns the record with so many epochs of 100 examples, and FLOPs in TFLOP."""
    cost: dict[str, Any] = {
        "epochs": epochs, "steps": steps, "examples": round(100 * epochs),
        "training_flops": round(flops * 1e12), "training_flops_dense": round(of_dense * 1e12),
    }  # fmt: skip
    return Record(**{**vars(record), **cost})


def run(seed: int = 0, sparse: float = 1.0, **changes: Any) -> list[Record]:
    """Returns dense 4 TFLOP, penalised 2, pruned and recalibrated none, finetuned `sparse` of 2."""
    same = {"seed": seed, **changes}
    return [
        spent(dense(**same), 4, 40, 4, 4),
        spent(make(stage="penalised", **same), 2, 20, 2, 2),
        spent(make(stage="pruned", **same), 0, 0, 0, 0),
        spent(make(stage="recalibrated", **same), 0, 0, 0, 0),
        spent(make(stage="finetuned", **same), 2, 20, sparse, 2),
    ]


def test_every_record_has_what_its_run_has_cost_up_to_it(tmp_path) -> None:
    write_run(tmp_path / "a", *run())
    write_run(tmp_path / "b", *run(seed=1))
    records = load(tmp_path).records
    for _, rows in records.groupby("folder"):
        assert rows["total_epochs"].tolist() == [4, 6, 6, 6, 8]
        assert rows["total_steps"].tolist() == [40, 60, 60, 60, 80]
        assert rows["total_examples"].tolist() == [400, 600, 600, 600, 800]
        assert rows["total_training_flops"].tolist() == [4e12, 6e12, 6e12, 6e12, 7e12]
        assert rows["total_training_flops_dense"].tolist() == [4e12, 6e12, 6e12, 6e12, 8e12]


def test_a_later_level_has_cost_all_levels_before_it(tmp_path) -> None:
    levels = [make(level=n, requested_compression=2.0**n) for n in (1, 2)]
    write_run(tmp_path / "0", *(spent(row, 1.5, 15, 1, 2) for row in (dense(), *levels)))
    rows = pruned(load(tmp_path))
    assert rows["total_epochs_mean"].tolist() == [3.0, 4.5]
    assert rows["total_training_flops_mean"].tolist() == [2e12, 3e12]


def test_the_summary_has_the_mean_cost_over_seeds_of_dense_and_pruned(tmp_path) -> None:
    write_run(tmp_path / "a", *run(seed=0, sparse=0.5))
    write_run(tmp_path / "b", *run(seed=1, sparse=1.5))
    report(tmp_path)

    summary = pd.read_csv(tmp_path / "report" / "summary.csv").set_index("label")

    assert summary.loc["Dense", "total_training_flops_mean"] == 4e12
    # (4 + 2 + 0.5 + 4 + 2 + 1.5) / 2
    assert summary.loc["SNIP", "total_training_flops_mean"] == 7e12
    assert summary.loc["SNIP", "total_training_flops_dense_mean"] == 8e12
    names = ["total_epochs_mean", "total_steps_mean", "total_examples_mean"]
    assert summary.loc["SNIP", names].tolist() == [8, 80, 800]
    assert "total_epochs" in pd.read_csv(tmp_path / "report" / "records.csv")


def test_an_earlier_record_that_has_not_measured_it_leaves_no_total(tmp_path) -> None:
    first, *others = run()
    write_run(tmp_path / "0", Record(**{**vars(first), **OLD}), *others)
    survey = load(tmp_path)
    row = only(survey)
    assert all(math.isnan(row[f"total_{name}_mean"]) for name in OLD)
    assert (row["total_epochs_mean"], row["total_steps_mean"]) == (8, 80)


def test_methods_stand_beside_dense_training_with_a_range_over_compressions(tmp_path) -> None:
    write_run(tmp_path / "a", *run(sparse=1))
    write_run(tmp_path / "b", *run(sparse=0.5, requested_compression=8.0))
    at_init = make(label="GraSP", setting="bbbb")
    write_run(tmp_path / "c", spent(at_init, 4, 40, 0.4, 4))

    (section,) = load(tmp_path).sections()

    # SNIP: 4 + 2 + 1 and 4 + 2 + 0.5 TFLOP.
    table = costs(section.dense, section.pruned)
    assert table.to_dict("index") == {
        "Dense": {"Epochs": "4", "TFLOP": "4", "TFLOP / dense training": "1"},
        "GraSP": {"Epochs": "4", "TFLOP": "0.4", "TFLOP / dense training": "0.1"},
        "SNIP": {"Epochs": "8", "TFLOP": "6.5 to 7", "TFLOP / dense training": "1.625 to 1.75"},
    }


@cases("tera, unit, text", (4e6, "EFLOP", "4"), (0.004, "GFLOP", "4"), (4e-7, "MFLOP", "0.4"))
def test_the_unit_fits_the_largest_cost(tera, unit, text, tmp_path) -> None:
    write_run(tmp_path / "0", spent(make(), 1, 10, tera, tera))
    (section,) = load(tmp_path).sections()
    assert costs(section.dense, section.pruned).loc["SNIP", unit] == text


def test_several_dense_references_or_none_give_no_ratio(tmp_path) -> None:
    write_run(tmp_path / "a", *run())
    other = {"label": "GraSP", "setting": "bbbb"}
    write_run(tmp_path / "b", spent(dense(**other), 9, 90, 9, 9), spent(make(**other), 1, 1, 1, 1))
    (section,) = load(tmp_path).sections()
    for reference in (section.dense, section.dense[:0]):
        ratios = costs(reference, section.pruned)["TFLOP / dense training"]
        assert set(ratios) == {"-"}


def test_a_dense_network_that_was_not_trained_gives_no_ratio(tmp_path) -> None:
    write_run(tmp_path / "0", spent(dense(), 0, 0, 0, 0), spent(make(), 1, 10, 1, 1))
    (section,) = load(tmp_path).sections()
    table = costs(section.dense, section.pruned)
    assert table["TFLOP / dense training"].tolist() == ["-", "-"]


def test_the_cost_is_printed_and_on_the_page_where_it_was_measured(tmp_path, capsys) -> None:
    write_run(tmp_path / "new" / "0", *run())
    write_run(tmp_path / "old" / "0", dense(), make())
    for folder, measured in (("new", True), ("old", False)):
        assert main([str(tmp_path / folder)]) == 0
        printed = capsys.readouterr().out
        assert ("training cost from a run's beginning" in printed) == measured
        assert (["SNIP", "8", "7", "1.75"] in map(str.split, printed.splitlines())) == measured
        page = Page(tmp_path / folder / "report" / "report.html")
        caption = "Training cost from a run's beginning to its result, over all compressions"
        assert (["SNIP", "8", "7", "1.75"] in page.tables.get(caption, [])) == measured
