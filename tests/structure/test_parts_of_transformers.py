"""Tests heads, inner widths and all groups: what each finds, and that it is removed exactly."""

import pytest
import torch
from conftest import component
from decoder import TOKENS, Decoder
from removed_units import half, masked
from torch import Tensor, nn

import harness
from harness.models.char_transformer import CharTransformer
from harness.models.lenet_5 import LeNet5
from harness.models.mlp import Mlp
from harness.structure.attention_head import AttentionHead
from harness.structure.ffn import Ffn
from harness.structure.group import Group

TEXT = torch.arange(12).view(2, 6)
PICTURES = torch.zeros(2, 1, 28, 28)


def char_transformer(heads: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return CharTransformer(width=8, heads=heads, depth=2).build((6,), 12)


def single_head() -> nn.Module:
    return char_transformer(heads=1)


def units_of(structure, model: nn.Module, inputs: Tensor) -> dict[str, int]:
    return {name: each.group.units for name, each in structure.units(model, inputs).items()}


def test_heads_and_inner_widths_of_a_transformer() -> None:
    model = char_transformer()
    attention, inner = (
        {f"blocks.{number}.{layer}.weight": units for number in range(2)}
        for layer, units in (("attention.query", 4), ("fc1", 32))
    )
    assert units_of(AttentionHead(), model, TEXT) == attention
    assert units_of(Ffn(), model, TEXT) == inner
    # What a single head computes is no inner width.
    assert units_of(Ffn(), single_head(), TEXT) == inner
    # The stream has layer norms.
    assert units_of(Group(), model, TEXT) == attention | inner
    assert masked(Ffn().units(model, TEXT))["blocks.0.fc1.weight"] == {
        "blocks.0.fc1.weight", "blocks.0.fc1.bias", "blocks.0.fc2.weight",
    }  # fmt: skip


def test_shared_heads_are_one_unit_and_both_sides_of_a_gate_go() -> None:
    model = Decoder()
    assert units_of(AttentionHead(), model, TOKENS) == {"attention.query.weight": 2}
    assert units_of(Ffn(), model, TOKENS) == {"ffn.gate.weight": 16}
    stream = {"attention.output.weight": 8}  # with ffn.down and the table
    both = {"attention.query.weight": 2, "ffn.gate.weight": 16}
    assert units_of(Group(), model, TOKENS) == both | stream
    units = AttentionHead().units(model, TOKENS)["attention.query.weight"]
    masks = units.masks(torch.tensor([True, False]))
    gone = {name: (~mask.flatten(1).any(1)).nonzero().flatten() for name, mask in masks.items()
            if name.endswith("weight")}  # fmt: skip
    assert gone["attention.query.weight"].tolist() == [6, 7, 8, 9, 10, 11]
    assert gone["attention.key.weight"].tolist() == gone["attention.value.weight"].tolist()
    assert gone["attention.value.weight"].tolist() == [3, 4, 5]
    assert not masks["attention.output.weight"][:, 6:].any()


@pytest.mark.parametrize("structure", ["attention_head", "ffn", "group"])
@pytest.mark.parametrize(
    ("build", "inputs"), [(char_transformer, TEXT), (Decoder, TOKENS)], ids=["char", "decoder"]
)
def test_networks_without_the_removed_units_are_the_masked_ones(structure, build, inputs) -> None:
    model = build().eval()
    masks = half(model, component("structure", structure).units(model, inputs))
    small = harness.compact(model, masks, inputs)
    sizes = {name: tuple(p.shape) for name, p in small.named_parameters()}
    changed = {name for name, p in model.named_parameters() if tuple(p.shape) != sizes[name]}
    assert changed == masks.keys()
    assert torch.allclose(small.eval()(inputs), model(inputs), atol=1e-5)


def mixed() -> nn.Module:
    """Returns transposed and grouped convolutions, a linear layer, and no attention."""
    up = nn.Sequential(nn.ConvTranspose2d(1, 6, 2, stride=2), nn.BatchNorm2d(6), nn.ReLU())
    down = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(up, down, nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def test_groups_of_transposed_convolutions_and_of_several_kinds_of_layers() -> None:
    images = torch.randn(2, 1, 4, 4)
    assert units_of(Group(), mixed(), images) == {"0.0.weight": 2, "2.weight": 5}

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc, self.o = nn.Conv2d(1, 6, 3), nn.Linear(16, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.o(self.conv(x).mean((2, 3)) + self.fc(x.flatten(1)))
            return made

    units = Group().units(Sum(), images)
    assert units["conv.weight"].weights == ("conv.weight", "fc.weight")
    small = harness.compact(model := Sum(), half(model, Group().units(model, images)), images)
    assert small.o.in_features == 3


@pytest.mark.parametrize("saliency", ["fpgm", "mean_activation"])
def test_saliencies_of_rows_refuse_a_transposed_convolution(saliency) -> None:
    images = torch.randn(4, 1, 4, 4)
    call = {"saliency": saliency, "structure": "group", "batches": [(images, torch.arange(4) % 3)]}
    with pytest.raises(ValueError, match="scores the rows of 0.0.weight, but its units are not"):
        harness.prune(mixed(), 0.5, **call)


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3))


class Added(nn.Module):
    """Adds to the outputs of linear layers a table of positions, if it has one."""

    def __init__(self, layers: int, table: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 4) for _ in range(layers))
        self.table, self.o = nn.Embedding(5, 4) if table else None, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = sum(layer(x) for layer in self.layers)
        return self.o(made + self.table(torch.arange(5)) if self.table else made)


class MultiHead(nn.Module):
    """Has the attention of torch, whose heads its class does not let go alone."""

    def __init__(self, kdim: int | None = None) -> None:
        super().__init__()
        self.fc, self.o = nn.Linear(6, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, kdim=kdim, vdim=kdim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        made = self.fc(x)
        keys = made if self.attention._qkv_same_embed_dim else x
        return self.o(self.attention(made, keys, keys)[0])  # type: ignore[no-any-return]


TIED = "heads x head_dim = width, so that a head goes with its part of the width alone"
NO_HEADS = "the model computes no attention of several heads"
NO_BLOCK = "no units of one or two linear layers are read by a single linear layer"
POSITIONS = torch.zeros(2, 5, 6)


@pytest.mark.parametrize(
    ("structure", "build", "inputs", "reason"),
    [
        ("attention_head", lambda: Mlp(hidden=[5]).build((6,), 2), torch.zeros(2, 6), NO_HEADS),
        ("attention_head", lambda: LeNet5().build((1, 28, 28), 10), PICTURES, NO_HEADS),
        ("attention_head", single_head, TEXT, NO_HEADS),
        ("attention_head", MultiHead, POSITIONS, TIED),
        ("attention_head", lambda: MultiHead(6), POSITIONS, TIED),
        ("ffn", linear, POSITIONS, NO_BLOCK),
        ("ffn", lambda: Added(3, table=False), POSITIONS, NO_BLOCK),
        ("ffn", lambda: Added(2, table=True), POSITIONS, NO_BLOCK),
        ("ffn", lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(32, 2)),
         torch.zeros(2, 1, 4, 4), NO_BLOCK),
        ("group", linear, POSITIONS, "of 0: it is an output of the model"),
    ],
)  # fmt: skip
def test_models_without_such_units_are_refused_in_one_line(
    structure, build, inputs, reason
) -> None:
    said = f"structure={structure} has nothing to prune.*{reason}; use structure=element$"
    with pytest.raises(ValueError, match=said) as error:
        component("structure", structure).units(build(), inputs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kdim", [None, 6])
def test_heads_and_width_of_torch_s_attention_go_together_and_what_it_returns_goes(kdim) -> None:
    model = MultiHead(kdim).eval()
    assert units_of(Group(), model, POSITIONS) == {"fc.weight": 2, "attention.out_proj.weight": 8}
    small = harness.compact(model, half(model, Group().units(model, POSITIONS)), POSITIONS)
    assert small.o.in_features == small.fc.out_features == 4
    assert (small.attention.num_heads, small.attention.embed_dim) == (1, 4)
