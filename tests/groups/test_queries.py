"""Tests that attention keeps its scale where dimensions of queries and keys are removed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import harness
from harness.api.compacting import compact_with_proof
from harness.groups.units import masks_of
from harness.structure.group import Group

INPUTS = torch.randn(2, 5, 6)


class Attention(nn.Module):
    """Computes attention of one head, with queries and keys of 8 dimensions."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k = nn.Linear(6, 8, bias=bias), nn.Linear(6, 8, bias=bias)
        self.v, self.o = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.weighted(self.q(x), self.k(x), self.v(x)))  # type: ignore[no-any-return]

    def weighted(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


class Computed(Attention):
    def weighted(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v


class Fixed(Attention):
    def weighted(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v


class Fused(Attention):
    """Has queries and keys in one layer, of which no part can be multiplied alone."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.q = nn.Linear(6, 1), nn.Linear(6, 16)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x).chunk(2, -1)
        return self.o(self.weighted(q, k, self.v(x)))  # type: ignore[no-any-return]


def third(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Removes two dimensions of three of queries and keys; returns the masks."""
    units = Group().units(model, inputs)
    kept = {"q.weight": torch.arange(units["q.weight"].count) % 3 == 0}
    masks = masks_of(units, kept, {})
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    return masks


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        (Attention(), (3 / 8) ** 0.5), (Attention(bias=False), (3 / 8) ** 0.5),
        (Computed(), (3 / 8) ** 0.5), (Fixed(), None),
    ],
    ids=["fused scale", "without bias", "computed", "fixed"],
)  # fmt: skip
def test_queries_are_multiplied_where_the_scale_follows_their_width(model, factor) -> None:
    model = model.double().eval()
    inputs = INPUTS.double()
    masks = third(model, inputs)
    made = compact_with_proof(model, masks, inputs)
    names = [n for n, _ in model.named_parameters() if n.startswith("q.")] if factor else []
    assert made.scales == dict.fromkeys(names, factor)
    assert made.model.q.out_features == 3 and made.proof and made.proof.worst < 1e-12
    assert torch.allclose(made.model(inputs), model(inputs), rtol=1e-12)
    assert torch.equal(made.model.k.weight, model.k.weight[::3])


def test_values_are_not_multiplied_with_the_queries() -> None:
    model, inputs = Attention().double().eval(), INPUTS.double()
    units = Group().units(model, inputs)
    kept = {name: torch.arange(each.count) % 2 == 0 for name, each in units.items()}
    assert set(kept) == {"q.weight", "v.weight"}
    masks = masks_of(units, kept, {})
    made = compact_with_proof(model, masks, inputs)
    assert set(made.scales) == {"q.weight", "q.bias"} and made.model.v.out_features == 3


class WithValues(Fixed):
    """Has queries and values in one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.v = nn.Linear(6, 8 + 5), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        made, k = self.q(x), self.k(x)
        q, v = made.split([k.shape[-1], made.shape[-1] - k.shape[-1]], -1)
        return self.o(self.weighted(q, k, v))  # type: ignore[no-any-return]


class Normed(Attention):
    """Normalises its queries by a layer that is registered before theirs."""

    def __init__(self) -> None:
        super().__init__()
        layers = self._modules
        self._modules = {"norm": nn.BatchNorm1d(8), **layers}

    def forward(self, x: Tensor) -> Tensor:
        q = self.norm(self.q(x).mT).mT
        return self.o(self.weighted(q, self.k(x), self.v(x)))  # type: ignore[no-any-return]


class Both(nn.Module):
    """Adds what two layers of attention give."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.other = WithValues(), Attention()

    def forward(self, x: Tensor) -> Tensor:
        return self.fixed(x) + self.other(x)  # type: ignore[no-any-return]


def test_a_layer_of_queries_and_values_is_multiplied_for_no_other() -> None:
    model, inputs = Both().double().eval(), INPUTS.double()
    units = Group().units(model, inputs)
    kept = {
        name: torch.arange(each.count) % (2 if ".q." in name else 1) == 0
        for name, each in units.items()
    }
    made = compact_with_proof(model, masks_of(units, kept, {}), inputs)
    assert set(made.scales) == {"other.q.weight", "other.q.bias"}


@pytest.mark.parametrize("kind", [Fused, Normed])
def test_queries_of_which_no_layer_can_be_multiplied_are_refused_by_the_proof(kind) -> None:
    model = kind().eval()
    masks = third(model, INPUTS)
    with pytest.raises(ValueError, match="module=o: its output without the removed units differs"):
        harness.compact(model, masks, INPUTS)
