"""Reachable weights against paths that are counted: taking a reachable weight away leaves fewer."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from random_masks import pruned
from torch import Tensor, nn

from harness.metrics.connectivity import connected_weights
from harness.vocabulary.tensors import Tensors, prunable_weights


def paths(model: nn.Module, shape: tuple[int, ...]) -> float:
    """Returns the number of paths from all inputs to all outputs: inputs and weights are ones."""
    return float(model(torch.ones(1, *shape, dtype=torch.float64)).detach().sum())


@torch.no_grad()
def on_counted_paths(linear: nn.Module, shape: tuple[int, ...]) -> Tensors:
    """Finds the weights on a path by brute force, a weight at a time.

    `linear` has nothing but layers, sums and means.
    """
    linear = linear.double()
    for name, parameter in linear.named_parameters():
        parameter.zero_() if "bias" in name else parameter.copy_(parameter != 0)
    whole = paths(linear, shape)
    found = {}
    for name, weight in prunable_weights(linear).items():
        found[name] = torch.zeros(weight.shape, dtype=torch.bool)
        for index in weight.nonzero().tolist():
            weight[tuple(index)] = 0
            found[name][tuple(index)] = paths(linear, shape) < whole - 1e-9
            weight[tuple(index)] = 1
    return found


def check(build: Callable[[bool], nn.Module], shape: tuple[int, ...], share: float) -> None:
    """Checks connected_weights of build(True), the model, against counted paths.

    build(False) returns the same layers without what bends values.
    """
    both = 0
    for seed in range(6):
        torch.manual_seed(seed)
        network = pruned(build(True), share, seed)
        linear = build(False)
        state = {name: network.state_dict()[name] for name in linear.state_dict()}
        linear.load_state_dict(state)
        expected, found = (
            on_counted_paths(linear.eval(), shape),
            connected_weights(network, torch.zeros(1, *shape)),
        )
        assert found.keys() == expected.keys()
        for name, mask in expected.items():
            assert torch.equal(found[name], mask), (seed, name)
            both += bool(mask.any()) and bool((network.get_parameter(name)[~mask] != 0).any())
    assert both, "no case has weights on a path beside weights on none"


def act(kind: type[nn.Module], wanted: bool) -> nn.Module:
    return kind() if wanted else nn.Identity()


@pytest.mark.parametrize(
    "kind",
    [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Hardswish]
    + [nn.Hardsigmoid, nn.Softplus, nn.PReLU, nn.Hardtanh, nn.SELU, nn.Mish, nn.LogSigmoid],
)
def test_in_an_mlp_weights_on_a_path_are_found_exactly(kind) -> None:
    def build(bent: bool) -> nn.Module:
        layers = [nn.Linear(6, 8), act(kind, bent), nn.Linear(8, 8), act(kind, bent)]
        layers += [nn.Linear(8, 8), act(kind, bent), nn.Linear(8, 3)]
        return nn.Sequential(*layers, act(lambda: nn.Softmax(dim=1), bent))  # type: ignore

    check(build, (6,), 0.2)


class Branches(nn.Module):
    """Combines strided, grouped, padded, dilated and transposed convolutions and a residual sum.

    The model also has a layer that is called twice, norms, functional and in-place operations.
    """

    def __init__(self, bent: bool):
        super().__init__()
        self.bent = bent
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4) if bent else nn.Identity()
        self.grouped = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.twice = nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bend(self.norm(self.stem(x)))
        shortcut = x
        y = self.grouped(x)
        y += shortcut
        y = self.twice(self.bend(self.twice(y)))
        y = F.max_pool2d(y, 2) if self.bent else F.avg_pool2d(y, 2)
        y = self.up(F.group_norm(y, 2) if self.bent else y)
        y = y.amax((2, 3)) if self.bent else y.mean((2, 3))
        return self.head(F.dropout(y) if self.bent else y)

    def bend(self, x: Tensor) -> Tensor:
        return x.relu_() if self.bent else x


def test_in_a_convolutional_network_weights_on_a_path_are_found_exactly() -> None:
    check(Branches, (2, 8, 8), 0.25)
