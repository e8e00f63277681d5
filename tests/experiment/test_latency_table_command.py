"""Tests the command that times layers, with a clock that counts weights instead of seconds."""

import json
from pathlib import Path

import pytest
import torch
from command import TINY, only_run, records_of, run_main
from conftest import cases
from torch import Tensor, nn

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.layer_analysis import without_request
from harness.experiment.results.latency_table import TableOfLayers
from harness.groups.network_latency import latency_of
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.metrics.layer_latency import LatencyGrid
from harness.vocabulary.given.latency_table import read_latency_table

SMALL = (*TINY, "data.train=40", "data.validation=8", "data.test=16", "structure=neuron")


class Counter:
    """Stands for a clock: a layer takes 1 s a weight, ReLU 1 s a value, Flatten 20 s."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.now = 0.0
        self._take(patch, nn.Linear, lambda layer, _: layer.weight.numel())
        self._take(patch, nn.ReLU, lambda _, values: values.numel())
        self._take(patch, nn.Flatten, lambda _, __: 20)

    def __call__(self) -> float:
        return self.now

    def _take(self, patch: pytest.MonkeyPatch, kind: type[nn.Module], cost) -> None:
        forward = kind.forward

        def counted(layer: nn.Module, values: Tensor) -> Tensor:
            self.now += cost(layer, values)
            return forward(layer, values)

        patch.setattr(kind, "forward", counted)


def measured(patch: pytest.MonkeyPatch, tmp_path: Path, hidden: str, **options) -> TableOfLayers:
    """Returns the table of an MLP with these hidden layers, written to table.json."""
    experiment = build(compose_config([*SMALL, f"model.hidden={hidden}"]))
    context, state = runner.prepare(without_request(experiment), Ranks(), tmp_path)
    grid = LatencyGrid(str(tmp_path / "table.json"), 2, repeats=3, warm_up=1, **options)
    table = TableOfLayers(context, state.model, grid, ("command",), Counter(patch))
    table.write()
    return table


def test_a_table_holds_each_layer_at_widths_of_its_units_and_what_no_layer_explains(
    tmp_path, monkeypatch
) -> None:
    made = measured(monkeypatch, tmp_path, "[6]", points=3)
    content = json.loads((tmp_path / "table.json").read_text())

    first, second = content["layers"]["fc1.weight"], content["layers"]["fc2.weight"]
    assert first["widths"] == [[2, 4, 6], [8]] and second["widths"] == [[4], [2, 4, 6]]
    assert first["milliseconds"] == [[16e3], [32e3], [48e3]]  # 1000 ms a weight
    assert second["milliseconds"] == [[8e3, 16e3, 24e3]]
    assert second["milliseconds_low"] == second["milliseconds_high"] == second["milliseconds"]
    assert first["inputs"] == [[2, 8]] and first["elements"] == 12
    # 2 x 6 values of ReLU and Flatten; of every other unit removed half of the former is left.
    # 20 of 12 + 8 elements shrink to 14, so that 1 s an element explains both models.
    assert content["model"]["dense"]["milliseconds"] == 104e3
    assert content["model"]["half"]["milliseconds"] == 62e3
    assert content["other"] == {"constant_ms": 12e3, "shrinking_ms": 20e3}
    assert content["noise"] == {
        "layer": "fc1.weight", "ratio_low": 1.0, "ratio": 1.0, "ratio_high": 1.0
    }  # fmt: skip
    assert content["conditions"]["batch_size"] == 2 and content["command"] == ["command"]

    table = read_latency_table(str(tmp_path / "table.json"))
    latency = latency_of(made.model, made.context.units, table)
    assert table.dense == 104e9
    assert latency.left({"fc1.weight": 3}) == 62e9


def test_layers_of_equal_shape_are_measured_once(tmp_path, monkeypatch) -> None:
    measured(monkeypatch, tmp_path, "[8,8,8]", points=2)
    layers = json.loads((tmp_path / "table.json").read_text())["layers"]
    assert layers["fc3.weight"] == {"as": "fc2.weight"}
    assert "as" not in layers["fc1.weight"]  # as large, but its inputs are those of the data
    assert layers["fc2.weight"]["widths"] == [[4, 8], [4, 8]]


def latency(monkeypatch: pytest.MonkeyPatch, folder: Path, *keys: str) -> int:
    grid = ("latency_grid.repeats=1", "latency_grid.points=2", "latency_grid.warm_up=0")
    place = (f"output_dir={folder}/runs", f"latency_grid.file={folder}/table.json")
    return run_main(monkeypatch, *SMALL, *grid, *place, *keys, command="latency")


def test_a_run_reads_what_the_command_wrote_in_the_same_place(
    tmp_path, monkeypatch, capsys
) -> None:
    assert latency(monkeypatch, tmp_path) == 0
    assert f"finished: {tmp_path}/table.json" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()

    target = ("schedule.unit=latency", "schedule.final=1", "finetune=none")
    table = f"latency_table={tmp_path}/table.json"
    runs = f"output_dir={tmp_path}/runs"
    assert run_main(monkeypatch, *SMALL, *target, table, runs) == 0
    assert records_of(only_run(tmp_path / "runs"))[0].table_speedup == 1.0


def test_a_table_is_replaced_only_if_that_is_meant(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "table.json").write_text("mine")
    assert latency(monkeypatch, tmp_path) == 2
    assert "table.json exists; give another file, or latency_grid.overwrite=true" in (
        capsys.readouterr().err
    )
    assert (tmp_path / "table.json").read_text() == "mine"
    assert latency(monkeypatch, tmp_path, "latency_grid.overwrite=true") == 0
    assert read_latency_table(str(tmp_path / "table.json"))


def test_a_measurement_that_is_stopped_leaves_no_file(tmp_path, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TableOfLayers, "_noise", stop)  # the last thing that is measured
    assert latency(monkeypatch, tmp_path) == 130
    assert list(tmp_path.iterdir()) == []


@cases(
    "key, words",
    ("structure=element", "this structure masks entries inside weights, which saves no time"),
    ("latency_grid.points=1", "latency_grid.points must be a whole number in [2, 64], got 1"),
    ("-m", "latency measures one model alone on the machine; start it without -m"),
)
def test_what_cannot_be_measured_is_refused(tmp_path, monkeypatch, capsys, key, words) -> None:
    assert latency(monkeypatch, tmp_path, key) == 2
    assert words in capsys.readouterr().err


def test_several_ranks_are_refused(tmp_path, monkeypatch, capfd) -> None:
    assert latency(monkeypatch, tmp_path, "launch.ranks_per_run=2") == 2
    assert "latency measures in one process, and there are 2 ranks" in capfd.readouterr().err
    assert not torch.distributed.is_initialized()
