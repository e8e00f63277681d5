"""Networks that the probe of reachable weights does not see through."""

import pytest
import torch
from torch import Tensor, nn

from harness.metrics.connectivity import connectivity


class Spike(torch.autograd.Function):
    """1 where the input is above a threshold, with a surrogate gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor, threshold: float) -> Tensor:  # type: ignore[override]
        return (x > threshold).to(x.dtype)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


@pytest.mark.parametrize("threshold", [0.01, 100.0])
def test_a_probe_that_finds_no_path_in_the_dense_network_either_says_nothing(threshold) -> None:
    class Spiking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(Spike.apply(self.one(x), threshold))

    network = Spiking()
    assert connectivity(network, torch.zeros(1, 3)).effective_density == 1.0
    with torch.no_grad():
        network.one.weight[0] = 0

    found = connectivity(network, torch.zeros(1, 3))

    assert found.effective_density is None and found.dead_units is None and found.empty == []
    assert found.unknown == "no path is found through two of the dense model" or (
        found.unknown == "no path is found through one, two of the dense model"
    )


def test_spikes_that_hide_a_few_paths_of_a_dense_network_make_it_unknown() -> None:
    class Leaky(nn.Module):
        """Implements leaky integrate-and-fire: threshold 1, reset by subtraction."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            potential, total = torch.zeros(len(x), 32, dtype=x.dtype), torch.zeros(())
            for _ in range(10):
                potential = 0.9 * potential + self.one(x)
                spikes = Spike.apply(potential, 1.0)
                potential, total = potential - spikes, total + self.two(spikes)
            return total

    network = Leaky()
    with torch.no_grad():
        network.one.weight[0, 0] = 0

    found = connectivity(network, torch.zeros(1, 6))

    assert found.effective_density is None and found.dead_units is None
    assert found.unknown == "no path is found through two of the dense model"


def test_experts_that_values_choose_make_it_unknown_and_a_layer_that_is_never_called_not() -> None:
    class Experts(nn.Module):
        def __init__(self, routed: bool) -> None:
            super().__init__()
            self.gate, self.last, self.routed = nn.Linear(6, 3), nn.Linear(5, 2), routed
            self.experts = nn.ModuleList(nn.Linear(6, 5) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            chances = self.gate(x).softmax(-1)
            chosen = chances.argmax(-1).tolist() if self.routed else [1] * len(x)
            rows = zip(chosen, x, chances, strict=True)
            return self.last(torch.stack([p[n] * self.experts[n](row) for n, row, p in rows]))

    found = {}
    for routed in (True, False):
        network = Experts(routed)
        with torch.no_grad():
            network.gate.weight[0, 0] = 0
        found[routed] = connectivity(network, torch.zeros(1, 6))

    assert found[True].effective_density is None
    assert "values decide what is called, and the probe has not called experts." in str(
        found[True].unknown
    )
    # Gate 17, one expert 30, last 10.
    assert found[False].effective_density == (17 + 30 + 10) / (18 + 90 + 10)
    assert found[False].dead_units == {"experts.0.weight": 5, "experts.2.weight": 5}


def test_effective_density_does_not_jump_at_the_first_zero() -> None:
    class Heads(nn.Module):
        """One head that no pass calls, and a kernel of which one entry meets no padding."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head, self.idle = (
                nn.Conv1d(1, 2, 3, 1, 1),
                nn.Linear(2, 2),
                nn.Linear(2, 5),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).flatten(1))

    network = Heads()
    dense = connectivity(network, torch.zeros(1, 1, 1))
    with torch.no_grad():
        network.head.weight[0, 0] = 0
    pruned = connectivity(network, torch.zeros(1, 1, 1))
    # 2 of the kernels' 6 weights, 4 of the head, none of the 10 that are idle.
    assert (dense.effective_density, pruned.effective_density) == (6 / 20, 5 / 20)
    assert dense.dead_units == pruned.dead_units == {"idle.weight": 5}


def test_kernel_entries_that_only_meet_padding_are_no_blindness() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv1d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(nn.functional.pad(x, (2, 0)))

    around = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2))
    for network, shape, paths in ((around, (1, 1, 1), 1 + 2), (Causal(), (1, 1), 1)):
        first = next(network.parameters())
        with torch.no_grad():
            first[1] = 0
        # Of the kernel that is left one entry meets an input that is not padding.
        found = connectivity(network, torch.zeros(1, *shape))
        assert found.unknown is None
        assert found.effective_density == paths / sum(
            weight.numel() for weight in network.parameters() if weight.dim() > 1
        )


def test_a_norm_written_by_hand_leaves_living_units_their_paths() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.two((x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5))

    network = Normed()
    for unit in range(4):
        with torch.no_grad():
            network.one.weight[unit, 0] = 0
        assert connectivity(network, torch.zeros(1, 6)).effective_density == (143 - unit) / 144
