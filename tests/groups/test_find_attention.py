"""Groups of attention, whose members are written here by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.groups.find import groups_of
from harness.groups.group import Group


def free(model: nn.Module, *shape: int) -> dict[str, Group]:
    return {g.name: g for g in groups_of(model, torch.randn(shape)) if not g.pinned}


def unit(group: Group, number: int) -> dict[str, list[int]]:
    return {f"{m.name}[{m.dim}]": m.indices[number].tolist() for m in group.members}


class Attention(nn.Module):
    """Two heads of width 3, query, key and value in one layer, as vision transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(5, 18), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 2, 3).permute(2, 0, 3, 1, 4).unbind(0)
        weighed = self.weigh(q, k, v)
        return self.out(weighed.transpose(1, 2).flatten(2))

    def weigh(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class ByHand(Attention):
    def weigh(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q * 3**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


@pytest.mark.parametrize("kind", [Attention, ByHand])
def test_a_head_owns_three_blocks_of_a_fused_layer(kind) -> None:
    found = free(kind(), 2, 4, 5)["qkv"]
    rows = [3, 4, 5, 9, 10, 11, 15, 16, 17]
    assert found.units == 2
    assert unit(found, 1) == {
        "qkv.weight[0]": rows,
        "qkv.bias[0]": rows,
        "out.weight[1]": [3, 4, 5],
    }


class SharedKeys(nn.Module):
    """Four query heads of width 2 that share two key and value heads."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(5, 8), nn.Linear(5, 4), nn.Linear(5, 4)
        self.out = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(2, (-1, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for t in (k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_query_heads_that_share_a_key_head_go_with_it() -> None:
    found = free(SharedKeys(), 2, 3, 5)["q"]
    assert found.units == 2
    assert unit(found, 1)["q.weight[0]"] == [4, 5, 6, 7]
    assert unit(found, 1)["k.weight[0]"] == unit(found, 1)["v.weight[0]"] == [2, 3]
    assert unit(found, 1)["out.weight[1]"] == [4, 5, 6, 7]
