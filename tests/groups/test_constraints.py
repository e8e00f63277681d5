"""Heads of attention whose code ties their number to the width that they read."""

from collections.abc import Sequence

import pytest
import torch
from attentions import (
    POSITIONS,
    Attention,
    Biasing,
    Blocks,
    Cached,
    Concatenated,
    Free,
    Literal,
    Parted,
    Shared,
    Talking,
    encoder,
)
from torch import nn

from harness.groups.compact import Compacted, compact_model
from harness.groups.constraints import settle
from harness.groups.find import groups_of
from harness.groups.group import Group, group_masks

Groups = dict[str, Group]


def found(model: nn.Module) -> Groups:
    return {group.name: group for group in groups_of(model, POSITIONS)}


def compacted(model: nn.Module, groups: Groups, left: dict[str, Sequence[int]]) -> Compacted:
    """Returns the model with these units of these groups, and all of the others."""
    kept = {name: torch.zeros(groups[name].units, dtype=torch.bool) for name in left}
    for name, units in left.items():
        kept[name][list(units)] = True
    every = tuple(groups.values())
    masks = group_masks(every, kept, dict(model.named_parameters()))
    made = compact_model(model, masks, every, POSITIONS, "living")
    assert made.proof is not None and made.proof.tolerance == 1e-9
    return made


@pytest.fixture(autouse=True, name="seeded")
def fixture_seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("left", [[0], [1], [0, 2]])
def test_heads_go_with_their_part_of_the_width(left) -> None:
    model = Blocks(12, Attention(12, 3), Attention(12, 3)).double()
    groups = found(model)
    assert {(name, g.units, g.attention) for name, g in groups.items() if not g.pinned} == {
        ("stem", 3, "tied"), ("inner.0", 10, ""),
    }  # fmt: skip
    members = {(m.name, m.dim): m.indices[1].tolist() for m in groups["stem"].members}
    assert members["stem.weight", 0] == members["head.weight", 1] == [4, 5, 6, 7]
    assert members["attentions.1.proj.weight", 1] == [4, 5, 6, 7]
    assert members["attentions.0.table", 2] == [1]
    assert len(members["attentions.1.qkv.weight", 0]) == 12
    small = compacted(model, groups, {"stem": left, "inner.0": range(4)}).model
    assert small.attentions[0].num_heads == len(left) and small.stem.out_features == 4 * len(left)


def test_heads_of_torch_s_attention_go_with_their_part_of_the_width() -> None:
    model = encoder().double()
    groups = found(model)
    free = {name: group.units for name, group in groups.items() if not group.pinned}
    assert free == {"0": 3, "1.linear1": 10, "2.linear1": 10}
    left = {"0": [0, 2], "1.linear1": [1, 2, 7], "2.linear1": range(6)}
    small = compacted(model, groups, left).model
    for layer in (small[1], small[2]):
        assert (layer.self_attn.embed_dim, layer.self_attn.num_heads) == (8, 2)


@pytest.mark.parametrize("kind", [Free, Cached])
def test_heads_of_code_that_keeps_their_width_go_alone(kind) -> None:
    model = Blocks(12, kind(12, 3)).double()
    groups = found(model)
    units = {name: (g.units, g.attention) for name, g in groups.items() if not g.pinned}
    assert units == {"stem": (12, ""), "attentions.0.qkv": (3, "head"), "inner.0": (10, "")}
    left = {"stem": [0, 1, 2, 5, 11], "attentions.0.qkv": [1, 2]}
    assert compacted(model, groups, left).model.attentions[0].num_heads == 2


def test_heads_that_get_scores_from_around_their_layer_go_alone() -> None:
    model = Blocks(12, Biasing(12, 3)).double()
    groups = found(model)
    assert groups["stem"].units == 12
    assert {g.units for g in groups.values() if g.attention == "head"} == {3}
    (name,) = (g.name for g in groups.values() if g.attention == "head")
    compacted(model, groups, {name: [0, 2], "stem": range(7)})


def test_free_and_tied_heads_of_one_stream() -> None:
    model = Blocks(12, Free(12, 2), Attention(12, 3)).double()
    groups = found(model)
    free = {name: g.units for name, g in groups.items() if not g.pinned}
    assert free == {"stem": 3, "attentions.0.qkv": 2, "inner.0": 10}
    compacted(model, groups, {"stem": [1, 2], "attentions.0.qkv": [1]})


def test_two_numbers_of_heads_share_the_most_equal_parts() -> None:
    model = Blocks(8, Attention(8, 2), Attention(8, 4)).double()
    groups = found(model)
    members = {(m.name, m.dim): m.indices[1].tolist() for m in groups["stem"].members}
    assert groups["stem"].units == 2
    assert members["attentions.0.table", 2] == [1] and members["attentions.1.table", 2] == [2, 3]
    assert members["stem.bias", 0] == [4, 5, 6, 7]
    small = compacted(model, groups, {"stem": [1]}).model
    assert [each.num_heads for each in small.attentions] == [1, 2]


def test_query_heads_that_share_a_key_head_go_with_it_and_the_width() -> None:
    model = Blocks(12, Shared(12, 6)).double()
    groups = found(model)
    members = {(m.name, m.dim): m.indices[1].tolist() for m in groups["stem"].members}
    assert members["attentions.0.q.weight", 0] == members["stem.bias", 0] == [4, 5, 6, 7]
    assert members["attentions.0.k.weight", 0] == [2, 3]
    small = compacted(model, groups, {"stem": [0, 2]}).model.attentions[0]
    assert (small.num_heads, small.num_key_heads) == (4, 2)


def test_queries_and_values_of_one_layer_go_together_where_heads_talk() -> None:
    model = Blocks(12, Talking(12, 3)).double()
    groups = found(model)
    assert {name: g.units for name, g in groups.items() if not g.pinned} == {
        "stem": 3, "attentions.0.before": 3, "inner.0": 10,
    }  # fmt: skip
    compacted(model, groups, {"stem": [2], "attentions.0.before": [0, 1]})


def test_heads_of_several_kinds_are_units_of_several_groups() -> None:
    model = Blocks(16, Parted(16, 4)).double()
    groups = found(model)
    units = {name: (g.units, g.attention) for name, g in groups.items() if not g.pinned}
    assert units == {"stem": (1, "tied"), "stem#2": (3, "tied"), "inner.0": (10, "")}
    small = compacted(model, groups, {"stem#2": [0, 2]}).model.attentions[0]
    assert (small.num_heads, small.splits) == (3, [4, 8])


def test_channels_that_go_together_anyway_are_divided_among_the_heads() -> None:
    model = Concatenated(Attention(12, 4)).double()
    groups = found(model)
    assert {name: g.units for name, g in groups.items() if not g.pinned} == {"stem": 4}
    assert groups["stem"].members[0].indices[1].tolist() == [1, 5, 9]
    assert compacted(model, groups, {"stem": [0, 1, 3]}).model.attention.num_heads == 3


def test_code_that_needs_all_heads_keeps_them_and_the_width() -> None:
    groups = found(Blocks(12, Literal(12, 4)).double())
    assert [name for name, g in groups.items() if not g.pinned] == ["inner.0"]
    assert groups["stem"].pinned == (
        "heads x head_dim = width, and the code fails without equal shares of them, in "
        "attentions.0 (Literal)"
    )


class OnInputs(nn.Module):
    """Attends to the model's inputs themselves, and may return how it weighs them."""

    def __init__(self, heads: int, stem: bool = False, weights: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(7, 7) if stem else nn.Identity()
        self.attention = nn.MultiheadAttention(7, heads, batch_first=True)
        self.head, self.weights = nn.Linear(7, 3), weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y, weights = self.attention(x, x, x)
        return self.head(y + (weights.mean() if self.weights else 0))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            OnInputs(7),
            "heads x head_dim = width, of which a part belongs to no layer, in attention",
        ),
        (OnInputs(1, stem=True), "heads x head_dim = width, which have no equal parts, in attent"),
        (OnInputs(7, stem=True, weights=True), "mean is taken over it in attention"),
    ],
)
def test_heads_of_torch_s_attention_that_stay_say_why(model, reason) -> None:
    groups = found(model.double())
    heads = [g for g in groups.values() if any("in_proj_weight" in m.name for m in g.members)]
    assert heads and all(group.pinned.startswith(reason) for group in heads)


def test_heads_and_width_that_are_not_joined_are_refused_by_the_proof(monkeypatch) -> None:
    monkeypatch.setattr(settle, "_tied", lambda *_: ())
    model = Blocks(12, Attention(12, 3)).double()
    groups = found(model)
    with pytest.raises(ValueError, match="module=attentions.0"):
        compacted(model, groups, {"stem": range(8), "attentions.0.qkv": [0]})


@pytest.mark.parametrize("names", [["self_attn.in_proj_weight", "self_attn.in_proj_bias"], ["0"]])
def test_masks_of_heads_or_of_width_alone_remove_nothing_and_say_why(names) -> None:
    model = encoder().double()
    groups = tuple(groups_of(model, POSITIONS))
    kept = {"0": torch.tensor([True, False, True])}
    masks = group_masks(groups, kept, dict(model.named_parameters()))
    some = {name: mask for name, mask in masks.items() if any(part in name for part in names)}
    made = compact_model(model, some, groups, POSITIONS, "living")
    assert made.proof is None
    assert made.left_whole == {"0": "heads x head_dim = width, and only one of both is masked"}


def test_attention_without_heads_to_remove_costs_no_other_pass(monkeypatch) -> None:
    monkeypatch.setattr(settle, "inputs_of", None)
    layers = nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)
    assert found(nn.Sequential(*layers).double())["0"].units == 6
