"""Compares two result folders side by side."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from survey_records import dense, make, write_run

from harness.cli.report import main
from harness.report.read.load import load
from harness.report.significance.compare import cells

TOP1 = {0: 0.90, 1: 0.92, 2: 0.97}


def write(folder: Path, top1: dict[int, float] = TOP1, **changes: Any) -> None:
    """Writes a run per seed, with a hash of its own."""
    for seed, value in top1.items():
        same = {"run": f"{seed:012x}", "seed": seed, **changes}
        name = "-".join(map(str, same.values())).replace("/", "_")
        write_run(folder / name, dense(**same, top1=0.98), make(**same, top1=value))


def moved(points: dict[int, float]) -> dict[int, float]:
    return {seed: TOP1[seed] + change / 100 for seed, change in points.items()}


def only(folder: Path) -> "pd.Series[Any]":
    table = cells(load(folder / "a"), load(folder / "b"))
    rows = table[table["requested_compression_ratio"] > 1]
    assert len(rows) == 1
    return rows.iloc[0]


def last(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def run(folder: Path) -> int:
    return main([str(folder / "a"), "--compare", str(folder / "b")])


def test_equal_folders_have_identical_records_and_end_with_0(tmp_path, capsys) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert run(tmp_path) == 0
    expected = "identical records in 3 of 3 runs; no difference beyond seed noise in 2 cells"
    assert last(capsys) == expected
    table = pd.read_csv(tmp_path / "a" / "report" / "compare.csv")
    assert table["label"].tolist() == ["Dense", "SNIP"]
    assert table["equal"].all() and not table["differs"].any()
    assert not (tmp_path / "a" / "report" / "report.html").exists()


def test_a_difference_beyond_seed_noise_ends_with_1(tmp_path, capsys) -> None:
    write(tmp_path / "a")
    # Seeds differ by 7 points, these differences by 0.2 only.
    write(tmp_path / "b", moved({0: -1.0, 1: -1.1, 2: -0.9}))

    assert run(tmp_path) == 1

    printed = capsys.readouterr().out
    assert "identical records in 0 of 3 runs; 1 of 2 cells differ beyond seed noise" in printed
    assert "93.00 ± 3.61 (3)" in printed and "-1.00" in printed
    row = only(tmp_path)
    assert (row["test"], row["common_seeds"]) == ("paired t", 3)
    assert row["change_points"] == pytest.approx(-1)
    # Of two cells; the dense one has p = 1.
    assert row["p_holm"] == pytest.approx(2 * row["p"])


def test_a_difference_within_seed_noise_is_shown_and_ends_with_0(tmp_path, capsys) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", moved({0: -1.0, 1: 1.0, 2: 0.3}))
    assert run(tmp_path) == 0
    assert "+0.10" in capsys.readouterr().out


def test_differences_that_cancel_out_are_no_equal_cell(tmp_path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", moved({0: -1.0, 1: 1.0, 2: 0.0}))
    row = only(tmp_path)
    assert row["change_points"] == pytest.approx(0, abs=1e-9)
    assert not row["equal"]


def test_without_common_seeds_means_are_compared_by_welch(tmp_path) -> None:
    write(tmp_path / "a", {0: 0.91, 1: 0.92, 2: 0.93})
    write(tmp_path / "b", {3: 0.93, 4: 0.94, 5: 0.95})
    row = only(tmp_path)
    assert (row["test"], row["common_seeds"], row["masks"]) == ("Welch", 0, 0)
    assert row["change_points"] == pytest.approx(2)
    # t = 2 / sqrt(2 / 3), 4 degrees of freedom.
    assert row["p"] == pytest.approx(0.0705, abs=1e-3)


def test_an_equal_shift_of_all_seeds_is_held_against_the_spread_of_the_seeds(tmp_path) -> None:
    write(tmp_path / "a", {0: 0.500, 1: 0.501, 2: 0.502})
    write(tmp_path / "b", {0: 0.600, 1: 0.601, 2: 0.602})
    row = only(tmp_path)
    assert (row["test"], row["differs"]) == ("Welch", True)


def test_one_seed_that_differs_cannot_be_tested_and_is_told(tmp_path, capsys) -> None:
    write(tmp_path / "a", {0: 0.5})
    write(tmp_path / "b", {0: 0.9})
    assert run(tmp_path) == 0
    assert last(capsys).endswith("in 1 cells (1 more differ, too few seeds to tell)")


@pytest.mark.parametrize("sides", [("a", "b"), ("b", "a")])
def test_a_seed_that_fails_on_one_side_only_is_a_difference(sides, tmp_path, capsys) -> None:
    write(tmp_path / sides[0])
    write(tmp_path / sides[1], {**TOP1, 1: math.nan})
    assert run(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "(n=2, 1 failed)" in printed and "identical records in 2 of 3 runs" in printed
    assert only(tmp_path)["common_seeds"] == 2


def test_what_fails_on_both_sides_is_no_difference(tmp_path) -> None:
    for side in ("a", "b"):
        write(tmp_path / side, {**TOP1, 1: math.nan})
    assert run(tmp_path) == 0


def test_all_seeds_failed_on_both_sides_is_no_difference(tmp_path, capsys) -> None:
    for side in ("a", "b"):
        write(tmp_path / side, dict.fromkeys(range(3), math.nan))
    assert run(tmp_path) == 0
    assert last(capsys).startswith("identical records in 3 of 3 runs; no difference")


def test_equal_accuracies_with_other_masks_are_told(tmp_path, capsys) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", {0: 0.90, 1: 0.92}, masks="d1")
    write(tmp_path / "b", {2: 0.97}, masks="d2")
    assert run(tmp_path) == 0
    assert "masks are equal in 2 of 3 results of common seeds" in capsys.readouterr().out


def test_wall_times_stand_side_by_side(tmp_path, capsys) -> None:
    for side, seconds in (("a", 1.5), ("b", 2.5)):
        write(tmp_path / side)
        for folder in (tmp_path / side).iterdir():
            lines = [{"seconds": seconds}, {"level": 1, "seconds": seconds}, {"restarts": 1}]
            (folder / "timings.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert run(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "a: 3 runs, 9.0 s" in printed and "b: 3 runs, 15.0 s" in printed


def test_another_setting_of_one_method_is_compared_by_its_label(tmp_path, capsys) -> None:
    write(tmp_path / "a", setting="aaaa1")
    for seed, value in TOP1.items():
        write_run(tmp_path / "b" / str(seed), make(seed=seed, setting="bbbb1", top1=value))
    assert only(tmp_path)["equal"]
    assert run(tmp_path) == 0
    assert last(capsys) == "no difference beyond seed noise in 1 cells; 1 more in one folder only"


def test_settings_that_both_have_are_compared_by_setting(tmp_path) -> None:
    write(tmp_path / "a", setting="aaaa1")
    write(tmp_path / "b", setting="aaaa1")
    # Here only, so that the label of both gets a bracket.
    write(tmp_path / "b", moved({0: -5.0, 1: -5.5, 2: -5.2}), setting="bbbb1")
    table = cells(load(tmp_path / "a"), load(tmp_path / "b"))
    found = table.set_index("side").loc["both"]
    assert found["equal"].all()
    assert table["side"].tolist().count("right") == 1


def test_several_settings_that_only_one_side_has_are_never_taken_for_one(tmp_path) -> None:
    write(tmp_path / "a", setting="aaaa1")
    write(tmp_path / "a", setting="bbbb1")
    write(tmp_path / "b", setting="cccc1")
    table = cells(load(tmp_path / "a"), load(tmp_path / "b"))
    found = table.loc[table["requested_compression_ratio"] > 1, "side"]
    assert sorted(found) == ["left", "left", "right"]


@pytest.mark.parametrize("longer", ["a", "b"])
def test_a_run_with_a_further_record_is_not_identical(longer, tmp_path, capsys) -> None:
    for side in ("a", "b"):
        more = [make(stage="pruned", top1=0.2)] if side == longer else []
        write_run(tmp_path / side / "0", *more, make())
    assert run(tmp_path) == 0
    assert last(capsys).startswith("identical records in 0 of 1 runs")


def test_cells_of_one_folder_only_are_listed_and_are_no_difference(tmp_path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    write(tmp_path / "b", label="GraSP", setting="bbbb")
    table = cells(load(tmp_path / "a"), load(tmp_path / "b")).set_index("label")
    assert table["side"].to_dict() == {"Dense": "both", "SNIP": "both", "GraSP": "right"}
    assert run(tmp_path) == 0


def test_folders_with_nothing_in_common_are_wrong_input(tmp_path, capsys) -> None:
    write_run(tmp_path / "a" / "0", make())
    write_run(tmp_path / "b" / "0", make(model="other"))
    assert run(tmp_path) == 2
    assert "have no result in common" in capsys.readouterr().err
    assert main([str(tmp_path / "a"), "--compare", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "a" / "report").exists()
