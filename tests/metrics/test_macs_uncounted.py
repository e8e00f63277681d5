"""Operators that hide how often a weight is multiplied are named with the weight."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.metrics.macs import count_macs, macs

Way = Callable[[Tensor, Tensor], Any]


class By(nn.Module):
    """A layer of 8 x 4 weights that is used in one's own way."""

    def __init__(self, way: Way):
        super().__init__()
        self.layer, self.way = nn.Linear(4, 8, bias=False), way
        nn.init.ones_(self.layer.weight)

    def forward(self, inputs: Tensor) -> Any:
        return self.way(inputs, self.layer.weight)


UNKNOWN: dict[str, tuple[str, Way]] = {
    "an operator without a formula": ("_cdist_forward", torch.cdist),
    "a distance to its rows": ("sub", lambda x, w: (x[..., None, :] - w).square().sum(-1)),
    "a distance by torch": ("sub", lambda x, w: F.pairwise_distance(x[..., None, :], w)),
    "a fused product": ("addcmul", lambda x, w: torch.addcmul(x, x, w)),
    "products that nothing sums up": ("mul", lambda x, w: (x * w).relu()),
    "standardised": ("sub", lambda x, w: F.linear(x, w - w.mean())),
    "by its sign": ("where", lambda x, w: F.linear(x, torch.where(w > 0, w, 0.0))),
    "as complex numbers": ("view", lambda x, w: torch.view_as_complex(w.view(16, 2)).sum() * x),
    "written elsewhere": ("copy_", lambda x, w: F.linear(x, torch.zeros(8, 4).copy_(w))),
    "times itself": ("mm", lambda x, w: F.linear(x, w @ w.T @ w)),
    "a function of functions": (
        "cond",
        lambda x, w: torch.cond(x.sum() > 0, lambda y: y @ w.T, lambda y: y @ w.T, (x,)),
    ),
}


@pytest.mark.parametrize(("operator", "way"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_weight_whose_products_are_not_known_is_named_with_the_operator(operator, way) -> None:
    found = count_macs(By(way), torch.zeros(1, 4))
    (name,) = found.uncounted
    assert operator in name
    assert found.uncounted[name] == (["layer.weight"] if operator != "cond" else [])
    with pytest.raises(ValueError, match=rf"how often .*{operator}.* multiplies .* is not known"):
        macs(By(way), (4,))


def test_weights_that_cannot_be_pruned_are_named_too_but_no_scale_is() -> None:
    class Distances(nn.Module):
        def __init__(self, *shape: int):
            super().__init__()
            self.layer, self.points = nn.Linear(4, 4), nn.Parameter(torch.ones(shape))

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.cdist(self.layer(inputs), self.points)

    uncounted = count_macs(Distances(3, 4), torch.zeros(1, 4)).uncounted
    assert uncounted == {"aten._cdist_forward.default": ["points"]}
    assert count_macs(Distances(1, 4), torch.zeros(1, 4)).uncounted == {}


@pytest.mark.filterwarnings("ignore")
def test_operators_that_take_packed_weights_are_named() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3))
    model[0] = torch.ao.quantization.quantize_dynamic(model[:1], {nn.Linear})[0]
    found = count_macs(model, torch.zeros(1, 8))
    assert found.weights == {"1.weight": 18}
    assert found.uncounted == {"quantized.linear_dynamic.default": []}
