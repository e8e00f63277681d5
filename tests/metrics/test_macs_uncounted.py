"""Operators that hide how often a weight is multiplied are named with the weight."""

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from probes import ByFunction, Use
from torch import Tensor, nn

from harness.metrics.macs import count_macs, macs

NEW_IN_TORCH = pytest.mark.filterwarnings(
    "ignore:Sparse CSR tensor support:UserWarning",
    "ignore:The PyTorch API of nested tensors:UserWarning",
)


UNKNOWN: dict[str, tuple[str, Use]] = {
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
    found = count_macs(ByFunction(way), torch.zeros(1, 4))
    (name,) = found.uncounted
    assert operator in name
    assert found.uncounted[name] == (["layer.weight"] if operator != "cond" else [])
    with pytest.raises(ValueError, match=rf"how often .*{operator}.* multiplies .* is not known"):
        macs(ByFunction(way), (4,))


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


class Scaled(nn.Module):
    def __init__(self, made: Use, scale: tuple[int, ...]):
        super().__init__()
        self.layer, self.made = nn.Linear(4, 8, bias=False), made
        self.scale = nn.Parameter(torch.full(scale, 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.made(self.layer.weight, self.scale))


@cases(
    "made, scale",
    (lambda w, g: w * g, (8, 1)),
    (lambda w, g: g * w, (1, 4)),
    (lambda w, g: w / g, (8, 1)),
    (lambda w, g: g * (w / w.norm(dim=1, keepdim=True)), (8, 1)),
    (lambda w, g: w * g.exp(), ()),
)
def test_a_weight_under_a_learned_scale_counts_as_itself(made, scale) -> None:
    network = Scaled(made, scale)
    found = count_macs(network, torch.zeros(1, 4))
    assert found.uncounted == {} and found.dense == 32
    with torch.no_grad():
        network.layer.weight[0, :3] = 0
    # A pruned entry is 0 under any scale.
    assert found.remaining({"layer.weight": network.layer.weight}) == 29


@cases("made, scale", (lambda w, g: g / w, (8, 1)), (lambda w, g: w * g, (8, 4)))
def test_what_divides_by_a_weight_or_multiplies_two_does_not(made, scale) -> None:
    found = count_macs(Scaled(made, scale), torch.zeros(1, 4))
    assert ["layer.weight"] in found.uncounted.values()


class Between(nn.Module):
    """A square weight that `made` multiplies the input by, before a layer of 4 x 2."""

    def __init__(self, made: Use):
        super().__init__()
        self.inner, self.last, self.made = nn.Linear(4, 4), nn.Linear(4, 2), made

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.made(self.inner.weight, x))


@cases(
    "made",
    lambda w, x: torch.sparse.mm(w.to_sparse(), x.t()).t(),
    lambda w, x: (w.to_sparse_csr() @ x.t()).t(),
    lambda w, x: x @ w.to_sparse().to_dense(),
    lambda w, x: torch.sparse.mm(torch.eye(4).to_sparse(), w) @ x[0],
)
@NEW_IN_TORCH
def test_a_weight_that_becomes_or_meets_a_sparse_tensor_is_uncounted(made) -> None:
    found = count_macs(Between(made), torch.randn(1, 4))
    assert [name for names in found.uncounted.values() for name in names] == ["inner.weight"]


@cases("product", torch.sparse.mm, torch.matmul)
@cases("layout", torch.sparse_coo, torch.sparse_csr)
@NEW_IN_TORCH
def test_a_sparse_adjacency_multiplies_by_the_entries_that_it_holds(layout, product) -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.last = nn.Linear(4, 3, bias=False), nn.Linear(3, 2)
            self.register_buffer("adjacency", torch.eye(5).to_sparse(layout=layout))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(product(self.adjacency, self.mix(x[0]))).unsqueeze(0)  # type: ignore

    found = count_macs(Graph(), torch.randn(1, 5, 4))

    # 5 nodes; 5 of 25 entries times 3 columns.
    assert found.weights == {"mix.weight": 5 * 12, "last.weight": 5 * 6}
    assert found.activations == 5 * 3 and found.uncounted == {}


@NEW_IN_TORCH
def test_a_weight_that_meets_a_nested_tensor_is_uncounted() -> None:
    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            nested = torch.nested.nested_tensor([x[0], x[0, :2]], layout=torch.jagged)
            return self.last(self.inner(nested).to_padded_tensor(0.0))

    found = count_macs(Ragged(), torch.randn(1, 5, 4))
    assert found.uncounted == {"aten.linear.default": ["inner.weight"]}
    assert found.weights["last.weight"] == 2 * 5 * 8
