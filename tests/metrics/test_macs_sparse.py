"""Multiply-accumulates where tensors are sparse or nested, worked by hand."""

from collections.abc import Callable

import pytest
import torch
from conftest import cases
from torch import Tensor, nn

from harness.metrics.macs import count_macs

pytestmark = pytest.mark.filterwarnings(
    "ignore:Sparse CSR tensor support:UserWarning",
    "ignore:The PyTorch API of nested tensors:UserWarning",
)


class Between(nn.Module):
    """A square weight that `made` multiplies the input by, before a layer of 4 x 2."""

    def __init__(self, made: Callable[[Tensor, Tensor], Tensor]):
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
def test_a_weight_that_becomes_or_meets_a_sparse_tensor_is_uncounted(made) -> None:
    found = count_macs(Between(made), torch.randn(1, 4))
    assert [name for names in found.uncounted.values() for name in names] == ["inner.weight"]


@cases("product", torch.sparse.mm, torch.matmul)
@cases("layout", torch.sparse_coo, torch.sparse_csr)
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
