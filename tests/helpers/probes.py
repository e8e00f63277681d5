"""Networks and batches on which saliencies are tried."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.vocabulary.tensors import Batch, Tensors

Use = Callable[[Tensor, Tensor], Any]


class ByFunction(nn.Module):
    """Has a layer of 8 x 4 weights, used by a given function."""

    def __init__(self, use: Use):
        super().__init__()
        self.layer, self.use = nn.Linear(4, 8, bias=False), use
        nn.init.ones_(self.layer.weight)

    def forward(self, inputs: Tensor) -> Any:
        return self.use(inputs, self.layer.weight)


class Net(nn.Module):
    """Has two norms, one frozen in eval mode, dropout, a frozen bias and an old gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.free = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(3 * 16, 4)
        self.norm.eval()
        self.fc.bias.requires_grad_(False)
        self.conv.weight.grad = torch.full_like(self.conv.weight, 7.0)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.free(self.norm(self.conv(inputs))).relu()
        return self.fc(self.drop(features.flatten(1)))


def batches() -> list[Batch]:
    random = torch.Generator().manual_seed(3)
    return [
        (torch.randn(size, 1, 6, 6, generator=random), torch.arange(size) % 4) for size in (5, 3)
    ]


def line() -> nn.Linear:
    """Returns y = 2 x; the gradient of the sum of outputs is the sum of inputs."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    return model


def inputs(*values: float) -> Batch:
    return torch.tensor(values).view(-1, 1), torch.zeros(len(values), dtype=torch.int64)


def data(samples: int = 6) -> Batch:
    stream = torch.Generator().manual_seed(5)
    values = torch.randn(samples, 3, generator=stream, dtype=torch.float64)
    return values, torch.arange(samples) % 2


def smooth() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def check_close(one: Tensors, other: Tensors, rtol: float = 1e-9) -> None:
    assert one.keys() == other.keys()
    for name in one:
        scale = float(other[name].abs().max())
        assert scale > 0
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=rtol * scale)
