"""Networks that the probe of reachable weights does not see through."""

import pytest
import torch
from torch import Tensor, nn

from harness.metrics.reach import reach


class Spike(torch.autograd.Function):
    """1 where the input is above a threshold, with a surrogate gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor, threshold: float) -> Tensor:  # type: ignore[override]
        return (x > threshold).to(x.dtype)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


@pytest.mark.parametrize("threshold", [0.01, 100.0])
def test_a_probe_that_finds_no_path_in_the_dense_network_either_says_nothing(
    threshold: float,
) -> None:
    class Spiking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(Spike.apply(self.one(x), threshold))

    network = Spiking()
    assert reach(network, (3,)).effective_density == 1.0
    with torch.no_grad():
        network.one.weight[0] = 0

    found = reach(network, (3,))

    assert found.effective_density is None and found.dead_units is None and found.empty == []
    assert found.unknown == "no path is found through two of the dense network" or (
        found.unknown == "no path is found through one, two of the dense network"
    )
