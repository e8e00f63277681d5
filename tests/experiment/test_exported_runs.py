"""With export=[...] a finished run holds files of other runtimes, of the model that is left."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from command import only_run, run_main
from whole_runs import SMALL

import harness
from harness.delivery import formats
from harness.extras import EXTRAS
from harness.run_folder.overview import scan

RUN = (
    *SMALL, "model.hidden=[6,5]", "structure=neuron", "allocation.min_units=1",
    "schedule=one_shot", "schedule.final=0.4",
)  # fmt: skip
HAS_ONNX = all(find_spec(name) for name in EXTRAS["export"])


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    return run_main(monkeypatch, *RUN, *words, f"output_dir={folder}")


def test_a_run_leaves_its_smaller_model_in_another_format(tmp_path, monkeypatch) -> None:
    assert run(monkeypatch, tmp_path, "compact=end", "export=[torch_export]") == 0
    folder = only_run(tmp_path)
    small, _ = harness.load(folder)
    file, inputs = folder / "export" / "model.pt2", torch.randn(5, 8)
    program = torch.export.load(file)
    assert program.state_dict["fc2.weight"].shape == small.get_parameter("fc2.weight").shape
    torch.testing.assert_close(program.module()(inputs), small(inputs))

    assert [each.state for each in scan(tmp_path).runs] == ["done"]
    file.unlink()
    assert [each.state for each in scan(tmp_path).runs] == ["missing"]


def test_without_compact_the_masked_model_is_exported(tmp_path, monkeypatch) -> None:
    names = ["torch_export", "onnx"][: 1 + HAS_ONNX]
    assert run(monkeypatch, tmp_path, f"export=[{','.join(names)}]", "rehearse=false") == 0
    home = only_run(tmp_path) / "export"
    assert len(list(home.iterdir())) == len(names)
    weight = torch.export.load(home / "model.pt2").state_dict["fc2.weight"]
    assert weight.shape == (5, 6) and not weight.all()


def test_a_format_that_fails_is_refused_before_any_training(tmp_path, monkeypatch, capsys) -> None:
    def refuse(*given: object) -> None:
        raise ValueError("export=onnx: ONNX cannot express the operator aten.odd; replace it")

    broken = formats.FORMATS["torch_export"]._replace(write=refuse)
    monkeypatch.setitem(formats.FORMATS, "torch_export", broken)
    assert run(monkeypatch, tmp_path, "export=[torch_export]", "model.hidden=[7]") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "harness: export=onnx: ONNX cannot express the operator aten.odd; replace it"
    assert not list(tmp_path.rglob("status.json"))


REFUSED = {
    "export=[onnx]": "export=onnx needs onnx, onnxruntime, onnxscript: pip install '",
    "export=[tflite]": "export",
    "export=onnx": "export",
}


@pytest.mark.parametrize("word", REFUSED)
def test_formats_that_a_run_cannot_write_are_refused(tmp_path, monkeypatch, capsys, word) -> None:
    for package in EXTRAS["export"]:
        monkeypatch.setitem(sys.modules, package, None)
    assert run(monkeypatch, tmp_path, word) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"harness: {REFUSED[word]}")
    assert not list(tmp_path.rglob("status.json"))
