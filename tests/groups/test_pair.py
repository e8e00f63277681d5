"""Runs a masked and a smaller network beside each other: draws, layouts, fused kernels."""

import pytest
import torch
from groups_by_hand import group, layer, proven, removed_from
from torch import Tensor, nn

from harness.groups.proof import prove
from harness.groups.proving.differences import Difference, relative_error
from harness.groups.proving.draws import RandomOff
from harness.groups.proving.pair import Pair, open_pair


class Turned(nn.Module):
    """Has an activation whose input lies in another order than any tensor of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(3, 8), nn.Sigmoid(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        turned = self.first(x).view(len(x), -1, 2).transpose(1, 2).flatten(1)
        y = self.act(turned).view(len(x), 2, -1).transpose(1, 2).flatten(1)
        return self.last(y)


def test_an_activation_in_an_unknown_order_is_not_judged() -> None:
    pairs = torch.arange(8).view(4, 2)
    tensors = [(f"first.{leaf}", 0, "output", pairs) for leaf in ("weight", "bias")]
    groups = [group("first", 4, *tensors, ("last.weight", 1, "input", pairs))]
    _, proof = proven(Turned(), groups, {"first": "1010"}, torch.randn(2, 3))
    assert proof.eval < 1e-12


def test_layers_inside_a_frozen_encoder_are_compared() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True))
    model.requires_grad_(False).eval()
    groups = [group("0.linear1", 6, *layer("0.linear1"), ("0.linear2.weight", 1, "input"))]
    removed, masks = removed_from(model, groups, {"0.linear1": "101010"})
    pair = open_pair(model, masks, removed, groups, torch.randn(2, 3, 4))
    with torch.no_grad():
        calls, _ = pair.record(training=False)
    assert {"0.self_attn", "0.linear1", "0.norm2"} <= {call.module for call in calls}
    # A fused kernel for inference, which hides layers, needs parameters without gradients.
    assert all(parameter.requires_grad for parameter in pair.masked.parameters())


def test_draws_are_constant() -> None:
    ones = torch.ones(2, 3)
    with RandomOff():
        assert torch.equal(nn.functional.dropout(ones, 0.5), ones)
        assert torch.equal(nn.functional.dropout1d(ones, 0.25), ones)
        assert torch.equal(torch.native_dropout(ones, 0.5, True)[0], ones)
        assert torch.equal(torch.rand(3), torch.full((3,), 0.5))
        assert torch.bernoulli(0.25 * ones).tolist() == (0.25 * ones).tolist()
        negative = nn.functional.rrelu(-ones, training=True)
        assert negative.unique().numel() == 1
        queries = torch.randn(1, 2, 4, 8)
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        drop = fused(queries, queries, queries, 0.5)[0]
    assert torch.equal(drop, fused(queries, queries, queries, 0.0)[0])


def test_rounding_that_two_samples_amplify_is_tried_on_more(monkeypatch) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [group("0", 4, *layer("0"), ("1.weight", 1, "input"))]
    removed, masks = removed_from(model, groups, {"0": "1010"})
    compare, samples = Pair.compare, []

    def amplified(pair: Pair, training: bool) -> float:
        samples.append(len(pair.inputs))
        if training and not pair.widened:
            raise Difference((1, 0), "1", 2e-9)
        return compare(pair, training)

    monkeypatch.setattr(Pair, "compare", amplified)
    assert prove(model, masks, removed, groups, torch.randn(2, 3)).train < 1e-12
    assert samples == [2, 2, 8, 8, 8]


@pytest.mark.parametrize(
    ("small", "masked", "error"),
    [
        ([1.0, 4.5], [1.0, 4.0], 0.125),
        ([1e-9], [0.0], 1e-6),
        ([float("inf"), 1.0], [float("inf"), 1.0], 0.0),
        ([float("inf"), 1.0], [-float("inf"), 1.0], float("inf")),
        ([float("nan")], [1.0], float("inf")),
        ([float("nan")], [float("nan")], 0.0),
        ([], [], 0.0),
        ([1.0], [1.0, 1.0], float("inf")),
    ],
)
def test_errors_are_relative_and_non_finite_entries_must_agree(small, masked, error) -> None:
    assert relative_error(torch.tensor(small), torch.tensor(masked)) == pytest.approx(error)
