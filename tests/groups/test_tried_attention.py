"""Which layers of attention are tried without heads, how, and what that says of the others."""

import pytest
import torch
from attentions import POSITIONS, Alone, Attention, Blocks, Literal, Required
from torch import nn

from harness.groups.constraints import settle
from harness.groups.find import groups_of
from harness.groups.group import Group


def found(model: nn.Module) -> dict[str, Group]:
    return {group.name: group for group in groups_of(model.double(), POSITIONS)}


@pytest.fixture(autouse=True, name="seeded")
def fixture_seeded() -> None:
    torch.manual_seed(0)


class Added(nn.Module):
    """Adds what two networks give."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = (network(x) for network in self.networks)
        return one + two


class Unweighted(nn.Module):
    """Takes statistics as a LayerNorm, of which no unit can go."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:])


def test_only_the_kind_of_attention_that_fails_keeps_its_heads() -> None:
    groups = found(Added(Blocks(12, Literal(12, 4)), Blocks(12, Attention(12, 3))))
    assert groups["networks.0.stem"].pinned
    assert (groups["networks.1.stem"].units, groups["networks.1.stem"].pinned) == (3, "")


def test_a_norm_that_lets_no_unit_go_is_no_fault_of_the_attention() -> None:
    model = Blocks(12, Attention(12, 3))
    model.norms[0] = Unweighted()
    stem = found(model)["stem"]
    assert (stem.units, stem.pinned, stem.mixing) == (3, "", ("norms.0",))


def test_layers_of_one_class_and_size_are_tried_once(monkeypatch) -> None:
    tried, real = [], settle.runs_without_heads
    monkeypatch.setattr(settle, "runs_without_heads", lambda *a: tried.append(a) or real(*a))
    found(Blocks(12, Attention(12, 3), Attention(12, 3), Attention(12, 2)))
    assert len(tried) == 2


def test_a_layer_is_tried_with_more_than_one_head() -> None:
    assert found(Blocks(12, Alone(12, 6)))["stem"].attention == "tied"


def test_a_layer_that_does_not_run_by_itself_keeps_its_heads_free() -> None:
    groups = found(Blocks(12, Required(12, 3)))
    assert {n: g.units for n, g in groups.items() if g.attention} == {"attentions.0.qkv": 3}


def test_layers_that_share_what_reads_their_heads_are_tied_together() -> None:
    model = Blocks(12, Attention(12, 3), Attention(12, 3))
    model.attentions[1].proj = model.attentions[0].proj
    stem = found(model)["stem"]
    assert (stem.units, stem.attention, stem.pinned) == (3, "tied", "")
