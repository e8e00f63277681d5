import math

import pandas as pd
import pytest
from conftest import cases
from published_figures import SAME, mine, write

from harness.report.published import load, match_figures, parse_published_for
from harness.report.published.convert import canonical, compression, dense_sizes, speedup
from harness.report.published.read import FIGURES
from harness.report.published.schema import COLUMNS, SIZES, SPEEDS


@pytest.fixture(scope="module")
def shipped() -> pd.DataFrame:
    return load()


def test_every_shipped_figure_names_its_paper_place_recipe_and_definition(shipped) -> None:
    required = [name for name, column in COLUMNS.items() if column.required]
    assert shipped[required].notna().all().all()
    assert not (shipped[required] == "").any().any()
    assert len(shipped) > 1000
    assert set(shipped["source"]) <= {"data", "repo", "text", "coll"}


def test_every_shipped_figure_is_of_a_known_network_and_has_a_ratio(shipped) -> None:
    sizes = dense_sizes()
    known = set(zip(sizes["model"], sizes["data"], strict=True))
    assert set(zip(shipped["model"], shipped["data"], strict=True)) <= known
    for row in shipped.to_dict("records"):
        smaller, faster = compression(row)[0], speedup(row)[0]
        assert math.isfinite(smaller) or math.isfinite(faster), row["label"]
        assert not smaller < 1 and not faster < 1, (row["file"], row["line"])


def test_shipped_accuracies_are_percent_and_near_their_dense_network(shipped) -> None:
    assert shipped["accuracy"].between(0.5, 100).all()
    assert shipped["dense"].dropna().between(50, 100).all()
    # No published pruned network gains more than three points.
    assert (shipped["accuracy"] - shipped["dense"]).max() < 3
    assert shipped["std"].max() < 12


def test_a_paper_is_the_same_paper_in_all_its_files(shipped) -> None:
    named = shipped.groupby("paper")[["authors", "year", "title", "venue"]].nunique()
    assert (named == 1).all().all()


def test_a_label_stands_for_one_method_of_one_paper(shipped) -> None:
    papers = shipped.groupby(["label", "model", "data"])["paper"].nunique()
    assert papers.max() == 1


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FIGURES.glob("*.csv")) < 200_000


def test_a_file_of_ones_own_is_read_with_its_types(tmp_path) -> None:
    rows = mine(tmp_path, 'method,size,accuracy,std,n\n"Magnitude, twice",0.1,98.2,0.1,5\n')
    (row,) = rows.to_dict("records")
    assert row["label"] == "Magnitude, twice (Me 2026)"
    assert (row["size"], row["accuracy"], row["std"], row["n"]) == (0.1, 98.2, 0.1, 5)
    assert row["recipe"] == "Adam: 20 epochs"
    assert (row["file"], row["line"]) == ("mine.csv", 17)
    assert math.isnan(row["dense"]) and row["note"] == ""


@cases(
    "row, said",
    ("A,0.1,198", "accuracy must be top-1 accuracy in % in (0, 100], got '198'"),
    ("A,0.1,nan", "accuracy must be top-1 accuracy in % in (0, 100], got 'nan'"),
    ("A,0.1,", "accuracy is missing"),
    (",0.1,98", "method is missing"),
    ("A,10,98", "size is a density of prunable weights, which must be in (0, 1], got 10"),
    ("A,0,98", "size is a density of prunable weights, which must be in (0, 1], got 0"),
    ("A,,98", "size and size_definition belong together"),
    ("A,0.1", "2 cells for 3 columns"),
    ("A,0.1,98\nA,0.1,97", "line 18: the same figure as in line 17"),
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, said) -> None:
    path = write(tmp_path, f"method,size,accuracy\n{row}\n")
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}, line 1")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("source: own", "source: hearsay", "source must be one of abs, coll, data, own"),
        ("density_prunable", "density", "size_definition must be one of compression_all"),
        ("year: 2026", "year: 26", "year must be a whole number from 1980 to 2100, got '26'"),
        ("# recipe", "# receipt", "unknown column 'receipt'; use: paper"),
        ("# size_definition: density_prunable\n", "", "size and size_definition belong together"),
        ("statistic: mean", "statistic: single\n# n: 3", "statistic=single, but n is above 1"),
    ],
)
def test_a_bad_value_for_all_rows_is_named_too(tmp_path, old, new, said) -> None:
    assert old in SAME
    path = write(tmp_path, "method,size,accuracy\nA,0.1,98\n", SAME.replace(old, new))
    with pytest.raises(ValueError, match="mine.csv, line 1") as error:
        load(path)
    assert said in str(error.value)


def test_a_figure_without_any_ratio_is_refused(tmp_path) -> None:
    same = SAME.replace("# size_definition: density_prunable\n", "")
    with pytest.raises(ValueError, match="size and speed are missing"):
        load(write(tmp_path, "method,accuracy\nA,98\n", same))


def test_shares_for_percent_and_an_empty_file_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="write top-1 in %, not as a fraction"):
        load(write(tmp_path, "method,size,accuracy\nA,0.1,0.98\n"))
    with pytest.raises(ValueError, match="has no figures"):
        load(write(tmp_path, ""))


def test_a_file_of_a_spreadsheet_is_read_and_one_of_another_encoding_is_named(tmp_path) -> None:
    text = SAME + "method,size,accuracy\nA,0.1,98\n"
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8-sig")
    assert (load(path)["paper"] == "me2026").sum() == 1
    path.write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"mine\.csv is not UTF-8 text"):
        load(path)


@cases("text", "mnist5k", "=mnist", "mnist5k=")
def test_another_data_set_must_be_asked_for_in_full(text) -> None:
    with pytest.raises(ValueError, match="write DATA=PUBLISHED"):
        parse_published_for([text])


def test_names_are_compared_without_case_and_punctuation() -> None:
    assert canonical("LeNet-300-100") == canonical("lenet_300_100")
    assert not match_figures("LeNet-300-100", "MNIST")[0].empty


def test_every_definition_has_words_and_a_range() -> None:
    for words, span in {**SIZES, **SPEEDS}.values():
        assert words and span in ("(0, 1]", "[0, 1)", "[1, 1000000]")
