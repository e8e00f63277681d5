"""Tests how long a network takes by its table when units are removed."""

from collections import OrderedDict

import torch
from tables import layer, mlp_8_6_4, table, written
from torch import nn

from harness.groups.network_latency import NetworkLatency, latency_of
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron
from harness.vocabulary.given.latency_table import read_latency_table

MS = 1_000_000


def mlp() -> nn.Module:
    layers = OrderedDict(fc1=nn.Linear(8, 6), relu=nn.ReLU(), fc2=nn.Linear(6, 4))
    return nn.Sequential(layers)


def latency(tmp_path, content, model=None) -> NetworkLatency:
    model = model or mlp()
    units = Neuron().units(model, torch.zeros(2, 8))
    return latency_of(model, units, read_latency_table(written(tmp_path / "t.json", content)))


def test_removed_units_narrow_the_layer_that_reads_them_too(tmp_path) -> None:
    found = latency(tmp_path, mlp_8_6_4())

    # fc1 1 ms a unit; fc2 2 ms up to 4 inputs, 6 ms at 6; 8 ms stay.
    assert [found.left({"fc1.weight": kept}) for kept in (6, 5, 4, 1)] == [
        20 * MS, 17 * MS, 14 * MS, 11 * MS
    ]  # fmt: skip
    assert found.left({"fc1.weight": 0}) == 8 * MS
    assert found.removable({"fc1.weight": 6}) == 12 * MS
    assert found.removed_by_one("fc1.weight", {"fc1.weight": 6}) == 3 * MS
    assert found.removed_by_one("fc1.weight", {"fc1.weight": 4}) == 1 * MS


def test_a_part_of_the_rest_shrinks_with_what_layers_put_out(tmp_path) -> None:
    content = table(
        {
            "fc1.weight": layer([[6], [8]], [[0.0]], elements=12),
            "fc2.weight": layer([[4], [6]], [[0.0]], elements=8),
        },
        constant=1.0,
        shrinking=10.0,
    )
    found = latency(tmp_path, content)

    assert found.left({"fc1.weight": 6}) == 11 * MS
    assert found.left({"fc1.weight": 3}) == 8 * MS  # 6 + 8 of 20 elements
    assert found.removed_by_one("fc1.weight", {"fc1.weight": 6}) == 1 * MS


def test_a_depthwise_layer_has_one_width_and_shrinks_with_its_groups(tmp_path) -> None:
    model = nn.Sequential(
        OrderedDict(
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(4, 4, 3, groups=4),
            c=nn.Conv2d(4, 2, 1),
            pool=nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
    )
    content = table(
        {
            "a.weight": layer([[2, 4], [3]], [[1.0], [2.0]]),
            "b.weight": layer([[2, 4], [1]], [[10.0], [20.0]]),
            "c.weight": layer([[2], [2, 4]], [[100.0, 200.0]]),
        }
    )
    units = Filter().units(model, torch.zeros(2, 3, 8, 8))
    read = read_latency_table(written(tmp_path / "t.json", content))
    found = latency_of(model, units, read)

    assert found.left({"a.weight": 4}) == 222 * MS
    assert found.left({"a.weight": 2}) == 111 * MS
    assert found.left({"a.weight": 3}) == 166.5 * MS
