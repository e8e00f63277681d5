"""Tests that products of two activations shrink with heads and widths, as on a smaller network."""

import pytest
import torch
from conftest import component
from decoder import TOKENS, Decoder
from torch import Tensor, nn
from torch.nn import functional as F

import harness
from harness.groups.network_size import macs_of, products_left
from harness.groups.units import masks_of
from harness.metrics.macs import count_macs
from harness.models.char_transformer import CharTransformer

TEXT = torch.arange(12).view(2, 6)


def char_transformer() -> nn.Module:
    torch.manual_seed(0)
    return CharTransformer(width=8, heads=4, depth=2).build((6,), 12)


class Fused(nn.Module):
    """Computes attention of 4 heads of 3, with query, key and value in one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.qkv, self.out = nn.Embedding(12, 5), nn.Linear(5, 36), nn.Linear(12, 4)
        self.heads = 4

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.table(x)).unflatten(-1, (3, self.heads, 3)).permute(2, 0, 3, 1, 4)
        made = F.scaled_dot_product_attention(*parts.unbind(0))
        return self.out(made.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Mixed(nn.Module):
    """Multiplies channels with channels, which are units: no heads, no softmax."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.a, self.b = nn.Embedding(12, 5), nn.Linear(5, 6), nn.Linear(5, 6)
        self.c, self.out = nn.Linear(5, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.table(x)
        return self.out(self.a(x) @ self.b(x).transpose(1, 2) @ self.c(x))  # type: ignore[no-any-return]


MODELS = {
    "char": (char_transformer, TEXT),
    "decoder": (Decoder, TOKENS),
    "fused": (Fused, TEXT),
    "mixed": (Mixed, TEXT),
}


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    ("structure", "name"),
    [
        ("attention_head", "char"), ("attention_head", "decoder"), ("attention_head", "fused"),
        ("ffn", "char"), ("group", "char"), ("group", "decoder"), ("group", "mixed"),
    ],
)  # fmt: skip
def test_macs_that_are_left_are_those_of_the_compacted_network(structure, name, share) -> None:
    build, inputs = MODELS[name]
    model = build().eval()
    units = component("structure", structure).units(model, inputs)
    dense = count_macs(model, inputs[:1])
    kept = {n: torch.arange(each.count) < max(1, share * each.count) for n, each in units.items()}
    masks = masks_of(units, kept, {})
    with torch.no_grad():
        for parameter, mask in masks.items():
            model.get_parameter(parameter).mul_(mask)
    small = count_macs(harness.compact(model, masks, inputs), inputs[:1])
    counts = {n: int(flags.sum()) for n, flags in kept.items()}
    size = macs_of(model, units, dense.weights, dense.activations)
    assert size.left({n: each.count for n, each in units.items()}) == dense.dense
    assert size.left(counts) == small.dense
    left = products_left(units, counts, dense.activations)
    assert left == small.activations
    shrinks = any(counts[n] < each.count for n, each in units.items() if each.factors)
    assert (left < dense.activations) == shrinks == (structure != "ffn" and shrinks)
    assert dense.remaining(masks, left) == small.dense
