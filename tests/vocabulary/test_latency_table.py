"""Tests what is read from a latency table, and which tables are refused."""

import pytest
from conftest import cases
from tables import layer, mlp_8_6_4, table, written

from harness.vocabulary.given.latency_table import (
    LayerFacts,
    LayerTimes,
    monotone,
    read_latency_table,
)

FACTS = {"fc1.weight": LayerFacts((6, 8), 48), "fc2.weight": LayerFacts((4, 6), 24)}


def test_between_four_measured_widths_the_time_is_linear_along_both() -> None:
    times = LayerTimes(LayerFacts((4, 10), 40), ((2, 4), (5, 10)), ((100, 200), (300, 800)))

    assert [times.at(2, 5), times.at(4, 10), times.at(3, 5), times.at(2, 6)] == [100, 800, 200, 120]
    assert times.at(3, 7) == 320  # 140 and 500 at two fifths of 5 to 10, and half way between
    assert times.at(1, 1) == 100  # a layer has a cost of its own
    assert times.at(0, 5) == times.at(4, 0) == 0


def test_a_wider_layer_is_never_faster() -> None:
    rows = monotone([[5, 4, 9], [3, 8, 2]])

    assert rows == ((5, 5, 9), (5, 8, 9))
    times = LayerTimes(LayerFacts((2, 3), 6), ((1, 2), (1, 2, 3)), rows)
    every = [[times.at(first, second) for second in range(4)] for first in range(3)]
    assert all(row == sorted(row) for row in every)
    assert all(list(column) == sorted(column) for column in zip(*every, strict=True))


def test_a_table_reads_layers_and_the_rest_in_nanoseconds(tmp_path) -> None:
    found = read_latency_table(written(tmp_path / "t.json", mlp_8_6_4()))

    assert found.layers["fc2.weight"].at(4, 5) == 4_000_000
    assert found.dense == 20_000_000  # 6 + 6 + 8
    found.check_model(FACTS)


def test_a_layer_may_have_the_times_of_another(tmp_path) -> None:
    content = table({"a": layer([[2], [2]], [[1.0]]), "b": {"as": "a"}})
    found = read_latency_table(written(tmp_path / "t.json", content))
    assert found.layers["b"] == found.layers["a"]


@cases(
    "facts, words",
    ({**FACTS, "fc3.weight": LayerFacts((2, 4), 8)}, "fc3.weight is no layer of its model"),
    ({"fc1.weight": FACTS["fc1.weight"]}, "fc2.weight is no layer of this model"),
    (
        {**FACTS, "fc2.weight": LayerFacts((4, 7), 28)},
        r"fc2.weight has shape=\(4, 6\) in it, but shape=\(4, 7\) in this run",
    ),
    (
        {**FACTS, "fc2.weight": LayerFacts((4, 6), 96)},
        "fc2.weight has macs=24 in it, but macs=96 in this run",
    ),
    ids=["missing", "surplus", "shape", "inputs"],
)
def test_a_table_of_another_model_is_refused_with_the_first_layer(tmp_path, facts, words) -> None:
    found = read_latency_table(written(tmp_path / "t.json", mlp_8_6_4()))
    with pytest.raises(ValueError, match=f"latency_table=.*{words}.*; measure this model"):
        found.check_model(facts)


def test_a_layer_without_times_of_its_own_is_no_missing_layer(tmp_path) -> None:
    content = {**mlp_8_6_4(), "unmeasured": ["fc3.weight"]}
    found = read_latency_table(written(tmp_path / "t.json", content))
    found.check_model({**FACTS, "fc3.weight": LayerFacts((2, 4), 8)})


def test_another_place_is_refused_with_all_that_differs_and_both_ways_out(tmp_path) -> None:
    found = read_latency_table(written(tmp_path / "t.json", mlp_8_6_4()))
    found.check_conditions({**found.conditions, "batch_size": 64})
    here = {**found.conditions, "device": "a sundial", "threads": 2}
    with pytest.raises(
        ValueError,
        match=r"device a stopwatch \(here a sundial\), threads 1 \(here 2\); measure here.*"
        "latency_table_elsewhere=true",
    ):
        found.check_conditions(here)


def changed(**values: object) -> dict[str, object]:
    """Returns the table with another fc2."""
    whole = mlp_8_6_4()
    whole["layers"]["fc2.weight"].update(values)
    return whole


@cases(
    "content, words",
    ({"latency_table": 99}, "its format is 99, this version reads 1"),
    ({"some": "JSON"}, "it is no latency table"),
    (table({}), "it has no layer with a time"),
    ({k: v for k, v in mlp_8_6_4().items() if k != "other"}, "it lacks 'other'"),
    (changed(milliseconds=[[1.0, 2.0]]), "widths and milliseconds of fc2.weight do not fit"),
    (changed(widths=[[4], [4, 2, 6]]), "widths and milliseconds of fc2.weight do not fit"),
    (changed(widths=[[4], [2, 4, 5]]), r"widths of fc2.weight do not end at its shape \(4, 6\)"),
    (changed(milliseconds=[[1.0, -2.0, 3.0]]), "-2.0 is no time in milliseconds"),
    (changed(milliseconds=[[1.0, None, 3.0]]), "None is no time in milliseconds"),
    ids=["format", "other_json", "empty", "key", "count", "falling", "shape", "negative", "null"],
)
def test_a_file_that_is_no_table_is_refused_by_its_place(tmp_path, content, words) -> None:
    path = written(tmp_path / "t.json", content)
    with pytest.raises(ValueError, match=f"latency_table={path} cannot be read .{words}"):
        read_latency_table(path)


def test_bytes_that_are_no_json_and_no_file_are_refused(tmp_path) -> None:
    (tmp_path / "t.json").write_bytes(b"\xff{")
    for name in ("t.json", "missing.json"):
        with pytest.raises(ValueError, match=f"latency_table=.*{name}"):
            read_latency_table(str(tmp_path / name))
