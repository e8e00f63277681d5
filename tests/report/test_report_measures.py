"""A report names the primary measure of its runs, and turns round where lower is better."""

from pathlib import Path

import pandas as pd
import pytest
from survey_records import dense, make, write_run

from harness.report.figures import latex, lines
from harness.report.read.load import load
from harness.report.significance.pareto import front
from harness.report.tables import print_tables, write_csv
from harness.task.shared.measures import MSE

OF_MSE = dict(
    zip(("measure", "measure_title", "measure_is_fraction", "higher_is_better"), MSE, strict=True)
)
LOSSES = {"SNIP": {4.0: 0.5, 8.0: 0.9}, "Random": {4.0: 0.7, 8.0: 1.5}}


def write(runs: Path, label: str, seed: int) -> None:
    none = {"top1": None, "top5": None, "validation_top1": None, **OF_MSE}
    for ratio, error in LOSSES[label].items():
        same = {"label": label, "setting": label, "seed": seed, **none}
        measured = {"measures": {"mse": error + 0.01 * seed}, "validation_measures": {"mse": 0.3}}
        row = make(**same, **measured, requested_compression=ratio, compression=ratio)
        first = dense(**same, measures={"mse": 0.4}, validation_measures={"mse": 0.3})
        write_run(runs / f"{label}-{ratio:g}-{seed}", first, row)


@pytest.fixture(name="runs")
def fixture_runs(tmp_path: Path) -> Path:
    for label in LOSSES:
        for seed in range(3):
            write(tmp_path, label, seed)
    return tmp_path


def test_axis_table_and_files_name_the_measure_whose_lowest_value_is_best(runs, capsys) -> None:
    survey = load(runs, against="Random")
    (section,) = survey.sections()
    assert lines.primary(section.measure).title == "MSE (lower is better)"
    print_tables(survey)
    said = capsys.readouterr().out
    assert "MSE (lower is better): mean ± std (seeds)" in said and "0.51 ± 0.01 (3)" in said
    assert "MSE minus that of Random with the same seed: mean" in said and "top-1" not in said
    tex = latex.table(section)
    assert r"\textbf{0.51 $\pm$ 0.01}" in tex and "MSE (lower is better) on" in tex
    best = section.pruned[front(section.pruned, "compression_ratio_mean")]
    assert set(best["label"]) == {"SNIP"} and len(best) == 2
    assert next(iter(survey.ranks[0].mean)) == "SNIP"
    assert [*latex.write_latex(survey, runs)][0].name.startswith("mse-")
    write_csv(survey, runs)
    summary = pd.read_csv(runs / "summary.csv")
    assert summary["mse_mean"].min() == pytest.approx(0.4)
    assert not [name for name in summary.columns if "top1" in name]


def test_runs_of_several_measures_are_refused(runs) -> None:
    write_run(runs / "other", dense(label="Other"), make(label="Other"))
    with pytest.raises(ValueError, match=r"several primary measures.*mse \(.*top1 \(other"):
        load(runs)
