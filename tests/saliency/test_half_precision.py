"""A model in half precision is scored in float32, by its own rounded weights."""

import copy
from typing import Any

import pytest
import torch
from conftest import CONF
from torch import Tensor, nn

import harness
from harness.launch.instantiate import build_named
from harness.saliency.base import CalibrationData
from harness.saliency.fisher import Fisher
from harness.saliency.shared.gradient_statistics import in_float32, zero_sums
from harness.vocabulary.tensors import prunable_weights

SALIENCIES = sorted(file.stem for file in (CONF / "saliency").glob("*.yaml"))
HALVES = [torch.float16, torch.bfloat16]


def small() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(5, 3)).eval()


def data() -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [(torch.randn(9, 6, generator=random), torch.arange(9) % 3)]


def given(name: str) -> dict[str, Any]:
    unit = build_named("saliency", name, 0).granularity == "unit"
    last = {"bn_scale": ["3"]}.get(name, ["last"])
    more = {"structure": "row", "exclude": last} if unit else {}
    return {"saliency": name, "batches": data(), **more}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", SALIENCIES)
def test_scores_are_those_of_the_same_weights_in_float32(name, half) -> None:
    narrow = small().to(half)
    whole, before = copy.deepcopy(narrow).float(), copy.deepcopy(narrow.state_dict())

    found, wanted = (harness.score(model, **given(name)) for model in (narrow, whole))

    assert found.keys() == wanted.keys()
    for weight, scores in found.items():
        assert torch.equal(scores, wanted[weight]) and scores.dtype == wanted[weight].dtype
        assert scores.dtype in (torch.float32, torch.float64)
    after = narrow.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(after[key].dtype == value.dtype for key, value in before.items())


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["magnitude", "fisher", "obs", "sparsegpt", "taylor_unit"])
def test_masks_and_moved_weights_are_those_of_float32_rounded(name, half) -> None:
    narrow = small().to(half)
    whole = copy.deepcopy(narrow).float()
    found, wanted = (harness.prune(model, 0.5, **given(name)) for model in (narrow, whole))
    assert all(torch.equal(found[key], mask) for key, mask in wanted.items())
    for key, value in whole.state_dict().items():
        assert torch.equal(narrow.state_dict()[key], value.to(narrow.state_dict()[key].dtype))


@pytest.mark.parametrize("half", HALVES)
def test_gradients_below_the_range_of_half_precision_have_scores(half) -> None:
    model = nn.Linear(200, 200, bias=False).to(half)
    # Gradients of 1e-5: their squares, 1e-10, are 0 in float16.
    batches = [(torch.full((4, 200), 1e-5), torch.zeros(4, dtype=torch.int64))]

    def total(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.sum()

    scores = harness.score(model, "fisher", batches=batches, loss=total)["weight"]
    alive = model.weight.detach().float()
    assert torch.allclose(scores, alive.square() * 1e-10 / 2, rtol=1e-5)
    assert scores.count_nonzero() == alive.count_nonzero()


@pytest.mark.parametrize("half", HALVES)
def test_a_saliency_by_itself_sums_and_squares_in_float32_too(half) -> None:
    model = nn.Linear(2, 1, bias=False).to(half)
    nn.init.constant_(model.weight, 2.0**-13)
    # 300 gradients of 1: a sum in bfloat16 stops at 256.
    batches = [(torch.ones(300, 2, dtype=half), torch.zeros(300, dtype=torch.int64))]
    statistics = Fisher().statistics(
        CalibrationData(model, batches, lambda outputs, labels: outputs.sum())
    )
    assert statistics["weight"].tolist() == [[1.0, 1.0]]
    scores = Fisher().score(prunable_weights(model), statistics)
    assert scores["weight"].tolist() == [[2.0**-27, 2.0**-27]]


def test_other_models_are_not_copied_and_parts_in_float64_stay() -> None:
    assert in_float32(model := small()) is model
    assert in_float32(model.double()) is model
    model[0].half()
    wide = in_float32(model)
    assert wide[0].weight.dtype == torch.float32 and wide[3].weight.dtype == torch.float64
    model[5].weight = model[3].weight = nn.Parameter(torch.ones(2, 2).half())
    wide = in_float32(model)
    assert wide[5].weight is wide[3].weight and model[3].weight.dtype == torch.float16
    assert zero_sums({"w": torch.ones(1).half()})["w"].dtype == torch.float32


class Casting(nn.Module):
    """Casts its input to the dtype that its weights had when it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.to(torch.bfloat16))


def test_a_forward_that_casts_by_itself_is_named_and_the_model_is_as_it_was() -> None:
    model = Casting().bfloat16()
    before = copy.deepcopy(model.state_dict())
    for call in (harness.score, lambda *given, **more: harness.prune(given[0], 0.5, **more)):
        with pytest.raises(ValueError, match="Casting holds half precision.*its forward casts"):
            call(model, saliency="gradient", batches=data())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_an_error_of_dtypes_in_a_model_that_is_not_copied_is_torchs_own() -> None:
    with pytest.raises(RuntimeError, match="dtype"):
        harness.score(Casting(), "gradient", batches=data())
