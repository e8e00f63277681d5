"""Tests that the example of int8 quantises the smaller model of a run, on a small network."""

import sys

import pytest
from command import only_run, run_main
from conftest import ROOT
from whole_runs import SMALL

from harness.launch.compose import compose_config
from harness.launch.execute import build

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'pruning-harness[export]'")
sys.path.append(str(ROOT / "examples"))

RUN = (
    *SMALL, "model.hidden=[16,16]", "structure=neuron", "allocation.min_units=1", "compact=end",
    "schedule=one_shot", "schedule.final=0.5", "rehearse=false",
)  # fmt: skip


def test_a_smaller_model_is_quantised_and_measured_beside_the_masked_one(
    tmp_path, monkeypatch
) -> None:
    import int8
    import onnx

    assert run_main(monkeypatch, *RUN, f"output_dir={tmp_path / 'runs'}") == 0
    splits = build(compose_config([*RUN])).data.load()
    rows = int8.measure(
        only_run(tmp_path / "runs"), tmp_path / "int8", splits.train, splits.test, rounds=3
    )
    cells = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[2] for row in rows}
    names = ["masked, float32", "smaller, float32", "smaller, int8", "masked, float32 again"]
    assert list(cells) == names and cells[names[0]] == cells[names[1]] == cells[names[3]]
    operators = {node.op_type for node in onnx.load(tmp_path / "int8/smaller/int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
