"""Tests kernels: one slice per output and input channel of a convolution, masked, not removed."""

import pytest
import torch
from torch import nn

import harness
from harness.metrics.macs import count_macs
from harness.pruning.prunable_model import find_prunable
from harness.structure.kernel import Kernel
from harness.vocabulary.tensors import Tensors

SCORES = torch.tensor([[[[3.0, 4.0]], [[0.0, 2.0]]]])  # 1 output, 2 inputs, kernels of 1 x 2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 5),
    )  # fmt: skip


def alive_kernels(masks: Tensors, name: str) -> torch.Tensor:
    """Returns which kernels stay; none is cut."""
    each = masks[name].flatten(2)
    assert torch.equal(each.all(dim=2), each.any(dim=2))
    return each.any(dim=2)


@pytest.mark.parametrize(
    ("pool_by", "pooled"), [("mean", [3.5, 1.0]), ("sum", [7.0, 2.0]), ("l2", [5.0, 2.0])]
)
def test_a_kernel_is_pooled_over_its_positions(pool_by, pooled) -> None:
    assert Kernel(pool_by).pool(SCORES).tolist() == [pooled]


def test_kernels_of_any_dimension_are_expanded_whole() -> None:
    units = torch.tensor([[True, False]])
    assert Kernel().expand(units, (1, 2, 3)).tolist() == [[[True] * 3, [False] * 3]]
    assert Kernel().expand(units, (1, 2, 1, 2)).tolist() == [[[[True] * 2], [[False] * 2]]]
    assert Kernel().expand(units, (1, 2, 2, 1, 1)).flatten(2).all(2).tolist() == units.tolist()


def test_the_smallest_kernels_go_and_nothing_else_does() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = harness.prune(model, 0.5, structure="kernel", allocation="uniform")
    assert list(masks) == ["0.weight", "3.weight"]  # no bias, no norm, no linear layer
    for name, kernels in (("0.weight", 18), ("3.weight", 12)):
        means = before[name].abs().flatten(2).mean(2)
        median = means.flatten().kthvalue(kernels // 2).values
        assert torch.equal(alive_kernels(masks, name), means > median)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] * masks.get(name, torch.tensor(True)))


def test_kernels_count_by_their_weights() -> None:
    model, sample = nn.Sequential(nn.Conv1d(2, 4, 5), nn.Conv1d(4, 2, 1)), torch.zeros(1, 2, 9)
    macs = count_macs(model, sample)
    scope = find_prunable(Kernel(), model, [], sample, macs).scope
    masks = {n: torch.ones_like(p) for n, p in model.named_parameters() if p.dim() > 1}
    masks["0.weight"][0, 0] = 0  # 5 of 48 weights
    assert scope.density(masks) == 43 / 48
    assert scope.describe() == "kernels by their parameters, with output layer 1"


def test_transposed_convolutions_have_kernels() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 1, 2))
    masks = harness.prune(model, keep={"0.weight": 2}, structure="kernel")
    assert int(alive_kernels(masks, "0.weight").sum()) == 2


def test_a_model_without_convolutions_is_refused() -> None:
    message = "structure=kernel has nothing to prune: the model's layers are Linear, and kernels"
    with pytest.raises(ValueError, match=message):
        harness.prune(nn.Linear(2, 2), 0.5, structure="kernel")


def test_a_saliency_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="FPGM scores the rows of 0.weight, but its"):
        harness.prune(network(), 0.5, structure="kernel", saliency="fpgm")
