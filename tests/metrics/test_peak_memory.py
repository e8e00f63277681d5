"""The memory of a pass: what is alive at once, by hand."""

import torch
from torch import nn

from harness.metrics.peak_memory import peak_bytes

CPU, FLOAT = torch.device("cpu"), 4


def peak(model: nn.Module, inputs: torch.Tensor) -> int:
    given = [*model.state_dict().values(), inputs]
    with torch.no_grad():
        return peak_bytes(lambda: model(inputs), CPU, given)


def test_it_is_the_model_its_inputs_and_the_largest_sum_of_living_results() -> None:
    # 10 -> 100 -> 100 -> 1: two results of 100 live at once, and one of 1 beside one of 100.
    layers = [nn.Linear(10, 100), nn.Linear(100, 100), nn.Linear(100, 1)]
    weights = 10 * 100 + 100 + 100 * 100 + 100 + 100 + 1
    inputs = torch.zeros(3, 10)
    assert peak(nn.Sequential(*layers), inputs) == FLOAT * (weights + 3 * 10 + 3 * 200)


def test_views_and_operators_in_place_take_no_memory() -> None:
    inputs = torch.zeros(3, 10)
    in_place = nn.Sequential(nn.Linear(10, 6, bias=False), nn.ReLU(inplace=True), nn.Flatten())
    assert peak(in_place, inputs) == FLOAT * (60 + 30 + 18)


def test_a_result_that_stays_counts_until_the_end_of_the_pass() -> None:
    class Skip(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = x + 1
            last = (((first + 1) + 1) + 1) + 1
            return first + last

    # first, the newest and its predecessor; at the end first, last and their sum.
    assert peak(Skip(), torch.zeros(5)) == FLOAT * 5 * (1 + 3)
