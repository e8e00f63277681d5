"""FPGM: distances between filters that can be added up by hand."""

import pytest
import torch
from simulated import cross_entropy
from unit_network import network

from harness.saliency.base import CalibrationData
from harness.saliency.fpgm import FPGM

# 1, 4 and 5 apart as (1, 0), (1, 4), (4, 0): 4 and 3, 4 and 5, 3 and 5.
TRIANGLE = torch.tensor([[1.0, 0.0], [1.0, 4.0], [4.0, 0.0]])


@pytest.mark.parametrize("shape", [(3, 2), (3, 1, 1, 2), (3, 2, 1)])
def test_fpgm_sums_the_distances_to_all_others(shape) -> None:
    assert FPGM().score({"w": TRIANGLE.view(shape)}, {})["w"].tolist() == [7.0, 9.0, 8.0]


def test_pruned_filters_have_no_distance() -> None:
    zero = torch.zeros(1, 2)
    rows = torch.cat([zero, TRIANGLE, -zero, zero])
    assert FPGM().score({"w": rows}, {})["w"].tolist() == [0.0, 7.0, 9.0, 8.0, 0.0, 0.0]


@pytest.mark.parametrize("rows", [torch.zeros(3, 2), torch.tensor([[0.0], [2.0], [0.0]])])
def test_no_or_one_living_filter_scores_0(rows) -> None:
    assert FPGM().score({"w": rows}, {})["w"].tolist() == [0.0, 0.0, 0.0]


def test_small_distances_of_large_filters_are_not_lost() -> None:
    # 40 filters a step of 1e-6 apart: the first is 0 + 1 + ... + 39 = 780 steps from all.
    rows = 1e4 + 1e-6 * torch.arange(40, dtype=torch.float64).view(40, 1)
    scores = FPGM().score({"w": rows}, {})["w"]
    assert scores[[0, 39]].tolist() == pytest.approx([780e-6] * 2, rel=1e-5)


def test_squares_of_large_weights_do_not_overflow() -> None:
    # 1, 3 and -1: 2 + 2, 2 + 4, 2 + 4.
    rows = torch.tensor([[1e25], [3e25], [-1e25]])
    scores = FPGM().score({"w": rows}, {})["w"]
    torch.testing.assert_close(scores, torch.tensor([4e25, 6e25, 6e25]))


def test_fpgm_needs_no_data() -> None:
    assert FPGM().statistics(CalibrationData(network(), [], cross_entropy)) == {}
