"""Simulates ranks without processes, and prunes a small model iteratively, to test saliencies."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.allocation.base import Allocation
from harness.pruning.budget import RequestedSize
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.base import CalibrationData
from harness.structure.element import Element
from harness.vocabulary.tensors import Batch, Loss, Mean, Tensors, local_mean


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs.square().sum() / 2


def total(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs.sum()


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def rows(*inputs: tuple[float, ...]) -> Batch:
    """Returns a batch with these samples, in float64."""
    return torch.tensor(inputs).double(), torch.zeros(len(inputs), dtype=torch.int64)


def linear(*weight: tuple[float, ...]) -> nn.Linear:
    """Returns a layer with these rows and no bias, in float64; its weight is called "weight"."""
    values = torch.tensor(weight).double()
    layer = nn.Linear(values.shape[1], values.shape[0], bias=False).double()
    layer.weight.data.copy_(values)
    return layer


def over_ranks(statistics: Callable[[list[Batch], Mean], Tensors], *shares: list[Batch]) -> Tensors:
    """Returns the statistics of ranks with these batches; all compute one mean of them."""
    asked: list[tuple[Tensors, int]] = []

    def record(sums: Tensors, samples: int) -> Tensors:
        asked.append((copy.deepcopy(sums), samples))
        return sums

    for share in shares:
        statistics(share, record)
    shapes = [{name: value.shape for name, value in sums.items()} for sums, _ in asked]
    assert len(asked) == len(shares) and all(one == shapes[0] for one in shapes)
    joined = {name: sum(sums[name] for sums, _ in asked) for name in asked[0][0]}
    samples = sum(count for _, count in asked)
    return statistics(shares[0], lambda sums, _: local_mean(joined, samples))  # type: ignore


class Small(nn.Module):
    """Has a grouped convolution, a strided one and two linear layers; 196 weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3, padding=1, groups=2)
        self.down = nn.Conv2d(4, 2, 2, stride=2)
        self.fc1 = nn.Linear(8, 10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.down(self.conv(inputs).relu()).relu().flatten(1)
        return self.fc2(self.fc1(features).tanh())


def small_batches(count: int = 12) -> list[Batch]:
    stream = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(count, 2, 4, 4, generator=stream), torch.arange(count) % 4
    return list(zip(inputs.split(5), labels.split(5), strict=True))


def alone_and_shared(saliency: Any, model: nn.Module, loss: Loss) -> tuple[Tensors, Tensors]:
    """Returns statistics of all batches on one rank, and on three of which one has none."""
    first, *others = small_batches()
    one = saliency.statistics(CalibrationData(model, [first, *others], loss))
    three = over_ranks(
        lambda batches, mean: saliency.statistics(CalibrationData(model, batches, loss, mean)),
        [first],
        [],
        others,
    )
    return one, three


def check_prunes_exactly(saliency: Any, allocation: Allocation, *keeps: int) -> list[Tensors]:
    """Prunes a model to these counts, one after the other, and checks counts and zeros.

    Returns the weights after each event. Between events all unpruned weights change a little, as if
    trained.
    """
    model, after = Small(), []
    pruner = Pruner(saliency, Element(), allocation)
    units = pruner.structure.units(model, torch.zeros(2, 2, 4, 4))
    store = MaskStore({name: model.get_parameter(name) for name in units})
    data = Calibration(small_batches(), cross_entropy, local_mean)
    for keep in keeps:
        before = store.masks
        decision = pruner.propose(model, store, units, RequestedSize(keep, "parameters"), data)
        store.shrink_to(decision.masks)  # refuses to revive
        with torch.no_grad():
            for name, value in decision.updated_weights(store.masks).items():
                assert value.shape == model.get_parameter(name).shape
                model.get_parameter(name).copy_(value)
        store.apply_to(model)
        weights = {name: model.get_parameter(name).detach().clone() for name in units}
        assert sum(int(mask.sum()) for mask in store.masks.values()) == keep
        for name, weight in weights.items():
            assert not (store.masks[name] & ~before[name]).any()
            assert torch.equal(weight != 0, store.masks[name])
            assert weight.isfinite().all()
            model.get_parameter(name).data.mul_(1.01)
        after.append(weights)
    return after
