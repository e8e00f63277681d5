"""Multiply-accumulates of weights that a network scales before it multiplies by them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from conftest import cases
from torch import Tensor, nn

from harness.metrics.macs import count_macs


class Scaled(nn.Module):
    def __init__(self, made: Callable[[Tensor, Tensor], Tensor], scale: tuple[int, ...]):
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
    assert found.left({"layer.weight": network.layer.weight}) == 29


@cases("made, scale", (lambda w, g: g / w, (8, 1)), (lambda w, g: w * g, (8, 4)))
def test_what_divides_by_a_weight_or_multiplies_two_does_not(made, scale) -> None:
    found = count_macs(Scaled(made, scale), torch.zeros(1, 4))
    assert ["layer.weight"] in found.uncounted.values()
