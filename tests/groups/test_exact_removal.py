"""Units are removed only where the network without them computes what the masked one computes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from removed_units import half
from torch import Tensor, nn
from torch.nn import functional as F

from harness.groups.compact import compact_model
from harness.groups.find import groups_of
from harness.structure.neuron import Neuron

INPUTS = torch.linspace(-1, 1, 24).view(3, 8)


class Ways(nn.Module):
    """Holds linear layers a, b, c and o, a table, and a buffer, and uses them in its own way."""

    def __init__(self, way: Callable[["Ways", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.table = nn.Parameter(torch.randn(1, 8))
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.o = nn.Linear(8, 3)
        self.register_buffer("scale", torch.rand(8) + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


class Cube(torch.autograd.Function):
    """Shows nothing of its forward pass to autograd."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]
        return x**3


def attended(m: Ways, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    one_head = (tensor[None, None] for tensor in (q, k, v))
    return m.o(F.scaled_dot_product_attention(*one_head, scale=0.5)[0, 0])


def written_over(m: Ways, x: Tensor) -> Tensor:
    made = m.a(x).sigmoid()
    made[:, :4] = m.b(x)[:, :4]
    return made @ m.c(x).sigmoid().t()


def shifted_through_a_view(m: Ways, x: Tensor) -> Tensor:
    made = m.a(x)
    made.view(-1).add_(1)
    return made @ m.c(x).sigmoid().t()


def without_gradients(m: Ways, x: Tensor) -> Tensor:
    return m.o(m.b(m.a(x).data).detach())


EXACT = [
    lambda m, x: m.o(Cube.apply(m.a(x))), lambda m, x: m.o(m.a(x).sigmoid() * m.scale),
    lambda m, x: m.o(m.a(x).sigmoid() + m.table), without_gradients,
    # A sum over units without a layer's columns: a factor is 0 where a unit is removed.
    lambda m, x: m.a(x) @ m.b(x).t(), lambda m, x: m.a(x).sigmoid() @ m.b(x).relu().t(),
    lambda m, x: m.o(F.normalize(m.a(x).relu() * 3)),
    lambda m, x: attended(m, m.a(x) * 2, m.b(x), m.c(x).sigmoid()),
    lambda m, x: attended(m, m.a(x) * m.scale, F.elu(m.b(x)) + 1, m.c(x)),
    lambda m, x: m.a(x).where(m.b(x) > 0.1, m.b(x).tanh()) @ m.c(x).exp().t(),
    lambda m, x: torch.baddbmm(x[:, :1, None], m.a(x)[:, None], m.b(x)[..., None]),
    # Columns that are computed from the weight.
    lambda m, x: F.linear(m.a(x).sigmoid(), m.o.weight / m.o.weight.norm()),
    lambda m, x: F.linear(m.a(x), m.o.weight - m.o.weight.mean(0)),
    lambda m, x: F.linear(m.a(x).relu(), F.softplus(m.o.weight)),
    lambda m, x: F.linear(m.a(x).sigmoid(), m.o.weight + m.b.weight[:3] @ m.c.weight),
]  # fmt: skip


@pytest.mark.parametrize("way", EXACT)
def test_networks_without_removed_units_are_the_masked_ones(way) -> None:
    model = Ways(way).eval()
    units = Neuron().units(model, INPUTS)
    masks = half(model, units)
    small = compact_model(model, masks, groups_of(model, INPUTS), INPUTS)
    assert small.model.a.weight.shape[0] == 4 and small.proof is not None


PRODUCT = "it is not 0 where it is removed, nor is what it is multiplied with"


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (lambda m, x: m.a(x).sigmoid() @ m.b(x).cos().t(), PRODUCT),
        (lambda m, x: (m.a(x) + m.scale) @ m.b(x).exp().t(), PRODUCT),
        (lambda m, x: attended(m, F.elu(m.a(x)) + 1, F.elu(m.b(x)) + 1, m.c(x)), PRODUCT),
        (lambda m, x: (m.a(x).sigmoid() - m.b(x).sigmoid()) @ m.c(x).exp().t(), PRODUCT),
        (lambda m, x: F.linear(m.a(x).sigmoid(), F.softplus(m.o.weight)), PRODUCT),
        (lambda m, x: F.linear(m.a(x) + m.scale, m.o.weight + 1), PRODUCT),
        (written_over, PRODUCT),
        (shifted_through_a_view, PRODUCT),
        (lambda m, x: m.o(F.normalize(m.a(x).sigmoid())), "linalg_vector_norm is taken over it"),
        (lambda m, x: m.o(m.a(x).unsqueeze_(1)), "operator unsqueeze_ has no rule"),
        (lambda m, x: m.o(torch.as_tensor(m.a(x).detach().numpy())), "its values leave torch"),
        (lambda m, x: m.o(m.a(x)) + m.a(x).detach().tolist()[0][1], "its values leave torch"),
        (lambda m, x: m.o(m.a(x)) * float(np.tanh(m.a(x).detach()).sum()), "values leave torch"),
        (lambda m, x: m.o(m.a(x)) * m.a(x).abs()[0, 0].item(), "it is a position"),
    ],
)
def test_units_that_the_masked_network_still_feels_stay(way, reason) -> None:
    found = {group.name: group.pinned for group in groups_of(Ways(way), INPUTS)}
    assert reason in found["a"]


@pytest.mark.parametrize("act", [nn.Sigmoid(), nn.ReLU()])
def test_an_rms_norm_rescales_only_what_is_zero(act) -> None:
    model = nn.Sequential(nn.Linear(8, 6), act, nn.RMSNorm(6), nn.Linear(6, 2))
    (first, *_) = groups_of(model, INPUTS)
    if isinstance(act, nn.ReLU):
        assert (first.mixing, first.pinned) == (("2",), "")
    else:
        assert "an RMS norm counts it, and it is not 0 where it is removed" in first.pinned


def test_a_group_is_named_after_a_layer_though_a_table_comes_first() -> None:
    found = groups_of(Ways(lambda m, x: m.o(m.a(x) + m.table)), INPUTS)
    assert [group.name for group in found] == ["a", "o"]
