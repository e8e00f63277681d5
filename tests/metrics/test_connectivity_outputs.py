"""Models whose outputs are nested, whose constants are float32, or which fail in the probe."""

from collections.abc import Callable
from typing import Any

import torch
from conftest import cases
from torch import Tensor, nn

from harness.metrics.connectivity import connectivity


class Two(nn.Module):
    """Has a layer of 8 x 4 and one of 4 x 2; `forward` decides what is done with them."""

    def __init__(self, forward: Callable[["Two", Tensor], Any]) -> None:
        super().__init__()
        self.one, self.two, self.passes = nn.Linear(8, 4), nn.Linear(4, 2), forward
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        with torch.no_grad():
            self.one.weight[0] = 0

    def forward(self, x: Tensor) -> Any:
        return self.passes(self, x)


def recurrent(net: Two, x: Tensor) -> Tensor:
    start = torch.zeros(1, len(x), 4)  # float32, as tutorials write it
    return net.two(net.lstm(net.one(x).unsqueeze(1), (start, start))[0][:, -1])


@cases(
    "forward",
    lambda net, x: (net.two(net.one(x)), None),
    lambda net, x: {"logits": net.two(net.one(x)), "class": [net.one(x).argmax(1)]},
    lambda net, x: net.two(torch.einsum("bi,ij->bj", net.one(x), torch.eye(4))),
)
def test_nested_outputs_and_float32_constants_are_probed(forward) -> None:
    # Of 32 + 8 weights 8 are 0, and 2 read the unit that has none left.
    assert connectivity(Two(forward), torch.zeros(1, 8)).effective_density == 30 / 40


def test_an_lstm_with_explicit_states_is_probed() -> None:
    assert connectivity(Two(recurrent), torch.zeros(1, 8)).effective_density == 32 / 40


def test_an_operator_that_writes_in_place_is_not_repeated_on_a_copy() -> None:
    def forward(net: Two, x: Tensor) -> Tensor:
        total = torch.zeros(len(x), 2)
        total.lerp_(net.two(net.one(x)), 1.0)
        return total

    assert "dtype" in str(connectivity(Two(forward), torch.zeros(1, 8)).unknown)


@cases(
    "forward, reason",
    (lambda net, x: net.two(net.one(x))[2:].item(), "RuntimeError: a Tensor with 0 elements"),
    (lambda net, x: net.two(net.one(x)).argmax(1), "ValueError: no output is a tensor of real"),
)
def test_a_model_that_fails_in_the_probe_has_no_effective_density_for_this_reason(
    forward, reason
) -> None:
    found = connectivity(Two(forward), torch.zeros(1, 8))

    assert found.effective_density is None and found.dead_units is None and found.empty == []
    assert reason in (found.unknown or "") and "\n" not in found.unknown


def test_a_failure_that_comes_late_is_a_reason_too() -> None:
    def forward(net: Two, x: Tensor) -> Tensor:
        if not net.two.weight.all() and bool((net.two.weight == 0).all()):
            raise KeyError("nothing\nis left")
        return net.two(net.one(x))

    model = Two(forward)
    assert connectivity(model, torch.zeros(1, 8)).unknown is None
    nn.init.zeros_(model.two.weight)

    found = connectivity(model, torch.zeros(1, 8))

    assert found.effective_density is None and found.empty == ["two.weight"]
    assert found.unknown.endswith("""(KeyError: 'nothing\\nis left')""")
