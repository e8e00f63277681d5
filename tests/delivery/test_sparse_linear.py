"""Linear layers in a sparse form compute what the masked ones do."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import harness
from harness.delivery.sparse_linear import CsrLinear

INPUTS = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))


def network(**options: object) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 4)).to(**options)  # type: ignore[call-overload]


def masks_of(model: nn.Module, **densities: float) -> dict[str, Tensor]:
    """Returns masks of layers "0", "2" with these densities (layer_0=0.1)."""
    random, masks = torch.Generator().manual_seed(1), {}
    for key, density in densities.items():
        name = f"{key.removeprefix('layer_')}.weight"
        masks[name] = torch.rand(model.get_parameter(name).shape, generator=random) < density
    return masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_layers_compute_what_the_masked_ones_do(dtype) -> None:
    model, inputs = network(dtype=dtype), INPUTS.to(dtype)
    before = model.state_dict()["0.weight"].clone()
    masks = masks_of(model, layer_0=0.1, layer_2=0.15, layer_4=0.6)
    sparse = harness.sparse(model, masks, inputs)
    assert [type(layer).__name__ for layer in sparse] == [
        "CsrLinear", "ReLU", "CsrLinear", "ReLU", "Linear",
    ]  # fmt: skip
    assert sparse[0].values.numel() == int(masks["0.weight"].sum())
    assert torch.equal(model[0].weight, before)  # the given model is neither masked nor changed
    for name, mask in masks.items():
        model.get_parameter(name).data.mul_(mask)
    for each in (sparse, deepcopy(sparse)):
        torch.testing.assert_close(each(inputs), model(inputs))
        torch.testing.assert_close(each(inputs[0, 0]), model(inputs[0, 0]))


def test_a_layer_is_sparse_up_to_the_density_that_is_asked() -> None:
    model = network()
    masks = masks_of(model, layer_0=0.4, layer_2=0.6)
    sparse = harness.sparse(model, masks, INPUTS, max_density=0.5)
    assert isinstance(sparse[0], CsrLinear) and type(sparse[2]) is nn.Linear
    assert not sparse[2].weight[~masks["2.weight"]].any()


class Tied(nn.Module):
    """Reads the weight of its layer directly, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,ij->...j", self.layer(x), self.layer.weight)


REFUSED = [
    (
        network(),
        {"layer_0": 0.5},
        {},
        "no linear layer of Sequential keeps at most max_density=0.2",
    ),
    (network(), {}, {}, r"\(it has no masked ones\); prune more, or remove whole units"),
    (network(), {"layer_0": 0.1}, {"layout": "coo"}, "layout must be csr or semi_structured, got"),
    (network(), {"layer_0": 0.1}, {"layout": "semi_structured"}, "needs a GPU of compute capabil"),
    (Tied(), {"layer_layer": 0.1}, {}, "layout=csr: Tied fails with sparse weights"),
]


@pytest.mark.parametrize(("model", "densities", "options", "message"), REFUSED)
def test_what_has_no_sparse_form_is_refused_in_one_line(model, densities, options, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        harness.sparse(model, masks_of(model, **densities), INPUTS, **options)
    assert "\n" not in str(caught.value)


def test_outputs_that_differ_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(CsrLinear, "forward", lambda self, x: x @ self.weight.to_dense().t() + 0.1)
    with pytest.raises(ValueError, match="outputs differ from those of the masked model by "):
        harness.sparse(network(), masks_of(network(), layer_2=0.1), INPUTS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_of_four_weights_are_multiplied_on_a_gpu() -> None:
    model = nn.Sequential(nn.Linear(128, 128), nn.ReLU()).to("cuda", torch.float16)
    masks = harness.prune(model, structure="n_m")
    inputs = torch.randn(64, 128, device="cuda", dtype=torch.float16)
    sparse = harness.sparse(model, masks, inputs, layout="semi_structured")
    assert "SparseSemiStructured" in type(sparse[0].weight.data).__name__
