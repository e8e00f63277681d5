"""Adapts attributes that restate a size: heads, widths, shapes of views."""

import pytest
import torch
from groups_by_hand import group, layer, proven, removed_from
from torch import Tensor, nn

from harness.groups.attributes import adapt
from harness.groups.removal import slice_model

PAIRS = torch.arange(6).view(3, 2)  # a head owns two neighbours
FUSED = (PAIRS[:, None] + torch.arange(3)[:, None] * 6).flatten(1)


class MultiHead(nn.Module):
    """Has a width of 6 and 3 heads, which go together."""

    def __init__(self, kdim: int | None = None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)
        self.attention = nn.MultiheadAttention(
            6, 3, dropout=0.5, batch_first=True, kdim=kdim, vdim=kdim
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        keys = y if self.attention._qkv_same_embed_dim else x
        return self.last(self.attention(y, keys, keys, need_weights=False)[0])


def multi_head_groups(separate: bool) -> list:
    tensors = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    rows = [(f"attention.{name}", 0, "output", PAIRS) for name in tensors]
    columns = ("attention.q_proj_weight", 1, "input")
    if not separate:
        rows = [("attention.in_proj_weight", 0, "output", FUSED)]
        columns = ("attention.in_proj_weight", 1, "input")
    bias = ("attention.in_proj_bias", 0, "output", FUSED)
    out = "attention.out_proj"
    return [
        group("heads", 3, *rows, bias, (f"{out}.weight", 1, "input", PAIRS)),
        group("width", 6, *layer("first"), *layer(out), columns, ("last.weight", 1, "input")),
    ]


@pytest.mark.parametrize("kdim", [None, 5])
def test_multihead_attention_loses_heads_and_width_in_equal_shares(kdim) -> None:
    groups = multi_head_groups(separate=kdim is not None)
    inputs = torch.randn(2, 4, 5)
    removed, _ = proven(MultiHead(kdim), groups, {"heads": "101", "width": "011101"}, inputs)
    attention = removed.model.attention
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (4, 2, 2)
    assert attention.kdim == attention.vdim == (kdim or 4)
    assert attention.out_proj.out_features == 4

    with pytest.raises(ValueError, match="layer=attention: rows of its projections=4, width=6"):
        removed_from(MultiHead(kdim), groups, {"heads": "101"})


class Attention(nn.Module):
    """Attention whose inner width equals that of its input: 6 is ambiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.inner, self.heads = 6, 6, 3
        self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, 2)).transpose(1, 2)
            for part in self.qkv(x).split(self.inner, -1)
        )
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, dropout_p=0.3)
        return self.out(mixed.transpose(1, 2).reshape(*x.shape[:2], self.inner))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)
        self.blocks = nn.ModuleList(Attention() for _ in range(2))
        self.kernel_size, self.names = 7, ("a", "b")

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for block in self.blocks:
            y = y + block(y)
        return self.last(y)


def attention_groups() -> list:
    def block(n: int) -> list:
        qkv, out = f"blocks.{n}.qkv", f"blocks.{n}.out"
        rows = [(f"{qkv}.{leaf}", 0, "output", FUSED) for leaf in ("weight", "bias")]
        return [*rows, (f"{out}.weight", 1, "input", PAIRS)]

    width = [*layer("first"), ("last.weight", 1, "input")]
    for n in range(2):
        width += [*layer(f"blocks.{n}.out"), (f"blocks.{n}.qkv.weight", 1, "input")]
    heads = [group(f"heads{n}", 3, *block(n)) for n in range(2)]
    return [*heads, group("width", 6, *width)]


KEPT = {"heads0": "101", "heads1": "011", "width": "110110"}


@pytest.mark.parametrize("kept", [KEPT, {**KEPT, "width": "111110"}, {**KEPT, "heads1": "010"}])
def test_an_ambiguous_attribute_is_searched_in_the_module_that_fails(kept) -> None:
    removed, proof = proven(Net(), attention_groups(), kept, torch.randn(2, 4, 5))
    for n in range(2):
        heads = kept[f"heads{n}"].count("1")
        assert removed.attributes[f"blocks.{n}.heads"] == (3, heads)
        assert removed.attributes[f"blocks.{n}.inner"] == (6, 2 * heads)
    assert removed.model.kernel_size == 7
    assert proof.train < 1e-12


def test_recorded_attributes_build_the_same_model_again() -> None:
    model, inputs = Net(), torch.randn(2, 4, 5)
    removed, _ = proven(model, attention_groups(), KEPT, inputs)

    again = slice_model(model, removed.kept_indices)
    adapt(again, removed.attributes)

    torch.manual_seed(0)
    output = again(inputs)
    torch.manual_seed(0)
    assert torch.equal(output, removed.model(inputs))
    with pytest.raises(ValueError, match=r"block\.heads: Net has no module block"):
        adapt(again, {"block.heads": (3, 2)})


class Parts(nn.Module):
    """Splits and views by literal sizes, in a module of its own and in the network."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.last = nn.Linear(4, 7), nn.Linear(4, 2)
        self.sizes = [4, 3]
        self.view = nn.Unflatten(1, (2, 2))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.both(x).split(self.sizes, 1)
        left = self.view(left).sum(2)
        return self.last(torch.cat([left, right[:, :2]], 1))


def test_lists_and_shapes_of_modules_without_tensors_are_searched() -> None:
    halves = torch.arange(4).view(2, 2)
    groups = [
        group(
            "left", 2, ("both.weight", 0, "output", halves), ("both.bias", 0, "output", halves),
            ("last.weight", 1, "input", torch.arange(2).view(2, 1)),
        )
    ]  # fmt: skip
    removed, _ = proven(Parts(), groups, {"left": "01"}, torch.randn(3, 4))
    assert removed.model.sizes == [2, 3]
    assert removed.model.view.unflattened_size == (1, 2)


def test_numbers_that_are_equal_by_chance_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 3), nn.Linear(3, 1))
    model.hidden, model.num_layers, model.colours, model.num_heads = 8, 8, 3, 3
    groups = [
        group("0", 8, *layer("0"), ("1.weight", 1, "input")),
        group("1", 3, *layer("1"), ("2.weight", 1, "input")),
    ]
    removed, _ = removed_from(model, groups, {"0": "11110000", "1": "110"})
    assert removed.attributes == {"hidden": (8, 4), "num_heads": (3, 2)}
    assert removed.model.num_layers == 8 and removed.model.colours == 3
