"""Files of other runtimes take a batch of any size, and compute what the model computes."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of
from torch import Tensor, nn

import harness
from harness.extras import EXTRAS, MissingExtra

HAS_ONNX = all(find_spec(name) for name in EXTRAS["export"])
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX,
    reason="needs onnx, onnxruntime, onnxscript: pip install 'pruning-harness[export]'",
)


def outputs_of(file: Path, inputs: Tensor) -> Tensor:
    if file.suffix == ".pt2":
        return torch.export.load(file).module()(inputs).detach()
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (name,) = [each.name for each in session.get_inputs()]
    return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("flattened", "torch_export"),
        ("rms_norm", "torch_export"),
        pytest.param("flattened", "onnx", marks=needs_onnx),
    ],
)
def test_a_file_takes_any_batch_and_the_model_stays(tmp_path, network, name) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[network]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    files = harness.export(model, inputs_of(model), tmp_path / "new", [name])
    inputs = inputs_of(model)[:1].repeat(5, *[1] * (inputs_of(model).dim() - 1))
    assert model.training and model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(outputs_of(files[name], inputs), model.eval()(inputs).detach())
    assert [file.name for file in (tmp_path / "new").iterdir()] == [files[name].name]


class Keyed(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first - 2 * second


def test_inputs_may_have_names(tmp_path) -> None:
    names = ["torch_export", "onnx"][: 1 + HAS_ONNX]
    inputs = {"first": torch.randn(2, 3), "second": torch.randn(2, 3)}
    assert list(harness.export(Keyed(), inputs, tmp_path, names)) == names


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, 4) + 1


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


TRACED = "export: torch.export cannot trace {} with a batch of any size"
REFUSED = [
    ("torch_export", Branch, TRACED.format("Branch")),
    ("torch_export", Fixed, TRACED.format("Fixed")),
    ("torch_export", Noisy, "export=torch_export: its outputs differ from the model's by "),
    ("tflite", Keyed, "export='tflite' is no format; choose of onnx, torch_export"),
    pytest.param(
        "onnx", Bessel, "export=onnx: ONNX cannot express the operator prims.bessel_j0; replace",
        marks=needs_onnx,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "message"), REFUSED)
def test_what_a_format_cannot_hold_is_refused_in_one_line(
    tmp_path, name, kind, message, capfd
) -> None:
    with pytest.raises(ValueError) as caught:
        harness.export(kind(), torch.randn(2, 4), tmp_path, [name])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_told_before_anything_is_written(tmp_path, monkeypatch) -> None:
    for package in EXTRAS["export"]:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'pruning-harness\[export\]'"):
        harness.export(nn.Linear(4, 2), torch.randn(2, 4), tmp_path / "new", ["onnx"])
    assert not (tmp_path / "new").exists()
